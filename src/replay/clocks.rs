//! One JSON line a clock.

use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;

use crate::sla::engine::Output;
use crate::sla::instant::Instant;
use crate::sla::policy::Policies;
use crate::sla::timeline::{Clock, Context, Outcome};

/// A clock that runs when the log ends.
#[derive(Debug)]
pub struct Running {
    /// Its lead.
    pub lead_id: Arc<str>,
    /// Who has the lead, and where it is.
    pub context: Arc<Context>,
    /// The clock.
    pub clock: Clock,
}

impl Running {
    /// By lead, start and objective.
    pub fn order<'a>(&'a self, policies: &'a Policies) -> (&'a str, Instant, &'a str) {
        (&self.lead_id, self.clock.started_at, policies.name(self.clock.name))
    }
}

#[derive(Serialize)]
struct Line<'a> {
    lead_id: &'a str,
    policy: &'a str,
    objective: &'a str,
    started_at: Instant,
    due_at: Instant,
    ended_at: Option<Instant>,
    outcome: &'static str,
    breached_at: Option<Instant>,
    resolved_at: Option<Instant>,
    counted_ms: i64,
    paused_ms: i64,
    step: Option<u32>,
    owner: Option<&'a str>,
    team: Option<&'a str>,
    stage: Option<&'a str>,
}

/// Writes a clock of which the last was said.
pub fn write_ended(
    policies: &Policies,
    output: &Output,
    clock: &Clock,
    into: &mut dyn Write,
) -> io::Result<()> {
    write(policies, &output.lead_id, clock, &output.context, output.date, into)
}

/// Writes a clock that runs at `until`.
pub fn write_running(
    policies: &Policies,
    running: &Running,
    until: Instant,
    into: &mut dyn Write,
) -> io::Result<()> {
    write(policies, &running.lead_id, &running.clock, &running.context, until, into)
}

fn write(
    policies: &Policies,
    lead_id: &str,
    clock: &Clock,
    context_at_end: &Context,
    until: Instant,
    into: &mut dyn Write,
) -> io::Result<()> {
    let policy = &policies.policies[usize::from(clock.policy)];
    let objective = &policy.objectives[usize::from(clock.objective)];
    let outcome = clock.outcome(until);
    let is_breached = outcome == Outcome::Breached;
    let end = clock.end.as_ref();
    let at_breach = clock.at_breach.as_deref().filter(|_| is_breached);
    let context = at_breach.unwrap_or(context_at_end);
    let line = Line {
        lead_id,
        policy: &policy.name,
        objective: policies.name(clock.name),
        started_at: clock.started_at,
        due_at: clock.due_at,
        ended_at: end.map(|end| end.at),
        outcome: outcome.as_str(),
        breached_at: is_breached.then_some(clock.due_at),
        resolved_at: end.filter(|end| is_breached && end.is_stop()).map(|end| end.at),
        counted_ms: policies.counted_ms(objective, clock.started_at, end.map_or(until, |end| end.at)),
        paused_ms: 0,
        step: None,
        owner: context.owner.as_deref(),
        team: context.team.as_deref().or(policy.labels.get("team").map(String::as_str)),
        stage: context.stage.as_deref(),
    };
    serde_json::to_writer(into, &line).map_err(io::Error::from)
}
