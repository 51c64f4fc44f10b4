//! One JSON line a clock.

use std::io::{self, Write};

use serde::Serialize;

use crate::sla::clock::{Clock, Context, Outcome};
use crate::sla::instant::Instant;
use crate::sla::rules::Rules;

#[derive(Serialize)]
struct Line<'a> {
    lead_id: &'a str,
    policy: &'a str,
    objective: &'a str,
    started_at: Instant,
    due_at: Option<Instant>,
    ended_at: Option<Instant>,
    outcome: &'static str,
    breached_at: Option<Instant>,
    resolved_at: Option<Instant>,
    counted_ms: i64,
    paused_ms: i64,
    step: Option<u16>,
    owner: Option<&'a str>,
    team: Option<&'a str>,
    stage: Option<&'a str>,
}

/// Writes what became of a clock by `until`; `context` is who has the lead then, and where it is.
pub fn write(
    rules: &Rules,
    lead_id: &str,
    clock: &Clock,
    context: &Context,
    until: Instant,
    into: &mut dyn Write,
) -> io::Result<()> {
    let policy = rules.policy(clock.policy);
    let outcome = clock.outcome(rules, until);
    let is_breached = matches!(outcome, Outcome::Breached | Outcome::Waived);
    let breach = clock.breach().filter(|_| is_breached);
    let ended_at = clock.ended_at();
    let at_end = clock.end.as_ref().map(|end| &*end.context);
    let at_breach = clock.at_breach.as_deref().filter(|_| is_breached);
    let context = at_breach.or(at_end).unwrap_or(context);
    let is_resolved = clock.end.as_ref().is_some_and(|end| is_breached && end.is_stop());
    let counted_until = ended_at.unwrap_or(until);
    let line = Line {
        lead_id,
        policy: &policy.name,
        objective: rules.policies.name(clock.name),
        started_at: clock.started_at,
        due_at: clock.deadline(until),
        ended_at,
        outcome: outcome.as_str(),
        breached_at: breach.map(|breach| breach.at),
        resolved_at: ended_at.filter(|_| is_resolved),
        counted_ms: clock.counted_ms(rules, clock.started_at, counted_until),
        paused_ms: clock.paused_ms(clock.started_at, counted_until),
        step: (0 < clock.turn).then_some(clock.turn),
        owner: context.owner.as_deref(),
        team: context.team.as_deref().or(policy.labels.get("team").map(String::as_str)),
        stage: context.stage.as_deref(),
    };
    serde_json::to_writer(into, &line).map_err(io::Error::from)
}
