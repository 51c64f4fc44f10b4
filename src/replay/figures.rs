//! How many clocks of each objective were met, and how fast.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::sla::instant::Instant;
use crate::sla::policy::{Objective, Policies, Policy, Target};
use crate::sla::timeline::{Clock, Outcome, Step};

/// Counts by policy and objective, in the order of the policies.
#[derive(Debug)]
pub struct Figures(Vec<Vec<Tally>>);

#[derive(Debug)]
struct Tally {
    row: Row,
    response_ms: Option<Histogram<u64>>,
}

/// The figures of one objective of one policy.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Row {
    /// The policy.
    pub policy: String,
    /// The objective.
    pub objective: String,
    /// What the promise counts: `elapsed` time, or `open` time of its calendar.
    pub counts: &'static str,
    /// How many clocks there were.
    pub clocks: u64,
    /// Stopped in time.
    pub met: u64,
    /// Not stopped in time, whatever came later: the sum of the three that follow.
    pub breached: u64,
    /// Breached and running.
    pub breached_open: u64,
    /// Stopped late.
    pub resolved: u64,
    /// Ended with the breach standing.
    pub ended: u64,
    /// Ended in time without a stop.
    pub cancelled: u64,
    /// Running, and not due.
    pub open: u64,
    /// Share of met among met and breached; `None` where there is neither.
    pub attainment: Option<f64>,
    /// What the policy wants it to be.
    pub attainment_goal: Option<f64>,
    /// Counted time from start to stop of clocks that were stopped, in time or late.
    pub response_ms: Option<Percentiles>,
}

/// Percentiles in milliseconds, to three significant digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// Half are this fast.
    pub p50: u64,
    /// Nine in ten are this fast.
    pub p90: u64,
    /// Nineteen in twenty are this fast.
    pub p95: u64,
    /// Ninety-nine in a hundred are this fast.
    pub p99: u64,
}

impl Figures {
    /// Nothing counted yet.
    pub fn new(policies: &Policies) -> Figures {
        let tally = |policy: &Policy, objective: &Objective| Tally {
            row: Row {
                policy: policy.name.clone(),
                objective: policies.name(objective.name).to_owned(),
                counts: if matches!(objective.target(), Target::Elapsed(_)) { "elapsed" } else { "open" },
                attainment_goal: policy.attainment_goal,
                ..Row::default()
            },
            response_ms: Histogram::new(3).ok(),
        };
        let tallies =
            |policy: &Policy| policy.objectives.iter().map(|objective| tally(policy, objective)).collect();
        Figures(policies.policies.iter().map(tallies).collect())
    }

    /// Counts a clock that ended with this step.
    pub fn count_ended(&mut self, policies: &Policies, clock: &Clock, step: Step) {
        let tally = self.tally(clock);
        tally.row.clocks += 1;
        match step {
            Step::Met => tally.row.met += 1,
            Step::Cancelled => tally.row.cancelled += 1,
            Step::Resolved => tally.row.resolved += 1,
            Step::Ended | Step::Breached => tally.row.ended += 1,
            // Files have no gaps.
            Step::Undecidable => {}
        }
        if let (Step::Met | Step::Resolved, Some(end), Some(histogram)) =
            (step, &clock.end, &mut tally.response_ms)
        {
            let objective =
                &policies.policies[usize::from(clock.policy)].objectives[usize::from(clock.objective)];
            let counted_ms = policies.counted_ms(objective, clock.started_at, end.at);
            // It grows with what it is given, so nothing is refused.
            let _ = histogram.record(counted_ms.unsigned_abs());
        }
    }

    /// Counts a clock that runs at `until`.
    pub fn count_running(&mut self, clock: &Clock, until: Instant) {
        let row = &mut self.tally(clock).row;
        row.clocks += 1;
        match clock.outcome(until) {
            Outcome::Breached => row.breached_open += 1,
            _ => row.open += 1,
        }
    }

    /// The figures, in the order of the policies.
    pub fn rows(self) -> Vec<Row> {
        self.0.into_iter().flatten().map(Tally::finish).collect()
    }

    fn tally(&mut self, clock: &Clock) -> &mut Tally {
        &mut self.0[usize::from(clock.policy)][usize::from(clock.objective)]
    }
}

impl Tally {
    fn finish(self) -> Row {
        let row = self.row;
        let breached = row.breached_open + row.resolved + row.ended;
        let judged = row.met + breached;
        Row {
            breached,
            attainment: (judged > 0).then(|| row.met as f64 / judged as f64),
            response_ms: self.response_ms.filter(|histogram| !histogram.is_empty()).map(|h| percentiles(&h)),
            ..row
        }
    }
}

fn percentiles(histogram: &Histogram<u64>) -> Percentiles {
    let at = |quantile: f64| histogram.value_at_quantile(quantile);
    Percentiles { p50: at(0.5), p90: at(0.9), p95: at(0.95), p99: at(0.99) }
}
