//! The windows of an engine where a test or a benchmark is not about them.

use overdue::sla::engine::Settings;
use overdue::sla::instant::Instant;

const DAY_MS: i64 = 86_400_000;

/// Those of a service whose configuration says nothing of them.
pub const SETTINGS: Settings = Settings {
    grace_ms: 5_000,
    lateness_max_ms: 7 * DAY_MS,
    facts_max: 10_000,
    retention_closed_ms: 7 * DAY_MS,
    retention_idle_ms: 400 * DAY_MS,
    speak_from: Instant::MIN,
};
