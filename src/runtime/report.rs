//! What is counted of an output once it is committed.

use super::shared::Shared;
use crate::sla::clock::{Clock, Step};
use crate::sla::engine::{Output, Saying};
use crate::sla::instant::Instant;
use crate::sla::policy::Penalty;
use crate::sla::rules::Rules;
use crate::wire::encode::kind_of;

/// Counts an output of these rules. What nobody is told of counts all the same, but not as written. Rule H9.
pub fn output(shared: &Shared, rules: &Rules, output: &Output, now: Instant) {
    let (policy, name) = names(rules, output);
    if !output.is_silent {
        written(shared, rules, output);
    }
    if let Some(penalty) = penalty(rules, output) {
        count_penalty(shared, rules, output, penalty);
    }
    let Saying::Happened { clock, is_late_data, .. } = &output.saying else { return };
    closed(shared, rules, output, clock);
    if output.step == Step::Breached && !output.is_silent {
        let provable = output.date.plus(shared.engine.grace_ms);
        shared.metrics.breach_detected(now.since(provable), *is_late_data);
    }
    if matches!(output.step, Step::Met | Step::Resolved) {
        let counted_ms = clock.counted_ms(rules, clock.started_at, output.date);
        shared.metrics.responded(policy, name, counted_ms);
    }
    tracing::debug!(lead_id = %output.lead_id, kind = kind_of(output), id = %output.id, "said");
}

fn names<'a>(rules: &'a Rules, output: &Output) -> (&'a str, &'a str) {
    (&rules.policy(output.policy).name, rules.policies.name(output.name))
}

fn penalty<'a>(rules: &'a Rules, output: &Output) -> Option<&'a Penalty> {
    let objective = rules.objective_named(output.policy, output.name)?;
    rules.objective(output.policy, objective).penalty.as_ref()
}

/// A record went to the topic of warnings, or to that of breaches.
fn written(shared: &Shared, rules: &Rules, output: &Output) {
    let (policy, name) = names(rules, output);
    let objective = rules.objective_named(output.policy, output.name);
    let promise = objective.map(|objective| rules.objective(output.policy, objective));
    let severity = promise.and_then(|promise| promise.severity.as_deref()).unwrap_or_default();
    let is_retraction = matches!(output.saying, Saying::Retracted { .. });
    let transition = if is_retraction { "retracted" } else { output.step.as_str() };
    match output.step {
        Step::Met | Step::Cancelled => {}
        Step::AtRisk => shared.metrics.warned(policy, name),
        _ => shared.metrics.breach_written(policy, name, severity, transition),
    }
}

/// The outcome of a clock; one waived in advance is breached and waived at once. Rule T17.
fn closed(shared: &Shared, rules: &Rules, output: &Output, clock: &Clock) {
    let (policy, name) = names(rules, output);
    if is_waived_in_advance(output, clock) {
        shared.metrics.clock_closed(policy, name, Step::Breached);
    }
    shared.metrics.clock_closed(policy, name, output.step);
}

fn is_waived_in_advance(output: &Output, clock: &Clock) -> bool {
    output.step == Step::Waived && clock.breach().is_some_and(|breach| breach.at == output.date)
}

/// Once a breached clock, none when waived or retracted. Rule T19.
fn count_penalty(shared: &Shared, rules: &Rules, output: &Output, penalty: &Penalty) {
    let (policy, name) = names(rules, output);
    let metrics = &shared.metrics;
    match (output.step, &output.saying) {
        (Step::Breached, Saying::Happened { .. }) => metrics.penalty_due(policy, name, penalty),
        (Step::Breached, Saying::Retracted { .. }) => metrics.penalty_cancelled(policy, name, penalty),
        (Step::Waived, Saying::Happened { clock, .. }) if !is_waived_in_advance(output, clock) => {
            metrics.penalty_cancelled(policy, name, penalty);
        }
        (Step::Waived, Saying::Retracted { has_breached: true, .. }) => {
            metrics.penalty_due(policy, name, penalty);
        }
        _ => {}
    }
}
