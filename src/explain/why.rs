//! Why a clock is where it is, in a sentence.

use super::account::Scene;
use super::time::{lasting, lasting_open, local};
use crate::config::words;
use crate::sla::clock::{EndKind, Outcome, Span};
use crate::sla::fact::Value;
use crate::sla::instant::Instant;
use crate::sla::policy::Promise;

/// Why it is where it is.
pub(super) fn why(scene: &Scene<'_>) -> String {
    match scene.outcome() {
        Outcome::Met => met(scene),
        Outcome::Breached => breached(scene),
        Outcome::Cancelled => cancelled(scene),
        Outcome::Waived => waived(scene),
        Outcome::Undecidable => "records were lost before they were read while it ran".to_owned(),
        Outcome::Open => open(scene),
    }
}

/// Counted time, in words.
fn counted(scene: &Scene<'_>, ms: i64) -> String {
    if scene.clock.allowed.counting().is_some() { lasting_open(ms) + " of open time" } else { lasting(ms) }
}

/// `contacted (events.jsonl:3)`, or how it came without a fact.
fn by(scene: &Scene<'_>) -> String {
    scene.end_fact().map_or_else(|| "what came before it".to_owned(), |fact| fact.to_string())
}

fn met(scene: &Scene<'_>) -> String {
    let spare = scene.target_ms().map(|target| target - scene.counted_until(scene.known_until()));
    match spare.filter(|spare| 0 <= *spare) {
        Some(0) => format!("stopped by {} at the last moment", by(scene)),
        Some(spare) => format!("stopped by {}, with {} to spare", by(scene), counted(scene, spare)),
        None => format!("stopped by {}", by(scene)),
    }
}

fn breached(scene: &Scene<'_>) -> String {
    let asked = asked(scene);
    let Some(breach) = scene.clock.breach() else { return format!("not {asked} in time") };
    let due = local(breach.due_at, scene.zone);
    let Some(end) = scene.clock.end.as_ref().filter(|end| end.at <= scene.until) else {
        return format!("not {asked} by {due}, and {} late by now", late(scene, scene.until));
    };
    let late = late(scene, end.at);
    match end.why {
        EndKind::Stop => format!("stopped by {}, {late} late", by(scene)),
        EndKind::Over => format!("not {asked} by {due}, when its time was over for good"),
        _ => format!("not {asked} by {due}; ended by {}, {late} late", by_end(scene)),
    }
}

/// Counted time beyond the target. Rule T5.
fn late(scene: &Scene<'_>, at: Instant) -> String {
    let over = scene.counted_until(at) - scene.target_ms().unwrap_or_default();
    counted(scene, over.max(0))
}

fn asked(scene: &Scene<'_>) -> String {
    match &scene.objective().promise {
        Promise::Response(response) => words::any_of(&response.stop),
        Promise::Touch(touch) => format!("{} often enough", words::any_of(&touch.what)),
    }
}

fn cancelled(scene: &Scene<'_>) -> String {
    format!("ended by {} before it was due", by_end(scene))
}

/// What ended a clock that nothing stopped.
fn by_end(scene: &Scene<'_>) -> String {
    match scene.clock.end.as_ref().map(|end| end.why) {
        Some(EndKind::Change(cause)) => {
            format!("a policy that does not promise it ({})", cause.as_str())
        }
        _ => by(scene),
    }
}

fn waived(scene: &Scene<'_>) -> String {
    let Some(waiver) = &scene.clock.waiver else { return "waived".to_owned() };
    let text = |name: &str| match waiver.fact.field(name) {
        Some(Value::Text(text)) => Some(text.to_owned()),
        _ => None,
    };
    let who = text("who").map_or_else(String::new, |who| format!(" by {who}"));
    let reason = text("why").map_or_else(String::new, |why| format!(": {why}"));
    format!("its breach is waived{who}{reason}")
}

fn open(scene: &Scene<'_>) -> String {
    let left = scene.target_ms().map(|target| target - scene.counted_until(scene.until));
    let left = left.map(|left| format!("{} left", counted(scene, left.max(0))));
    let is_now = |pause: &&Span| pause.contains(scene.until);
    match (scene.clock.pauses.iter().find(is_now), left) {
        (Some(pause), left) => {
            let left = left.map_or_else(String::new, |left| format!(", {left}"));
            format!("paused since {}{left}", local(pause.from, scene.zone))
        }
        (None, Some(left)) => format!("runs, {left}"),
        (None, None) => "runs until the stages are left".to_owned(),
    }
}
