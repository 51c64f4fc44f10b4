//! When time counts: weekly hours in a time zone, holidays, and the arithmetic of open time.

use super::instant::Instant;
use super::policy::Target;

/// When time counts.
#[derive(Debug, Clone)]
pub struct Calendar {}

impl Calendar {
    /// The instant a clock started at `start` runs out.
    pub fn due(&self, start: Instant, target: Target) -> Instant {
        let _ = (start, target);
        start
    }
}

impl Calendar {
    /// How much open time the target allows from `start`.
    pub fn target_ms(&self, start: Instant, target: Target) -> i64 {
        self.due(start, target).since(start)
    }

    /// Open milliseconds between two instants.
    pub fn counted(&self, from: Instant, to: Instant) -> i64 {
        to.since(from).max(0)
    }
}
