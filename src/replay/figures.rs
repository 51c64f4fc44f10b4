//! How many clocks of each objective were met, how fast, and what the others cost.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use rust_decimal::Decimal;
use serde::Serialize;

use crate::sla::clock::{Clock, EndKind, Outcome};
use crate::sla::instant::Instant;
use crate::sla::policy::{Objective, Policies, Policy, Target};
use crate::sla::rules::Rules;

/// Counts by policy and objective, in the order of the policies; versions of a policy are one.
#[derive(Debug)]
pub struct Figures {
    tallies: Vec<Tally>,
    /// The tally of each objective of each policy.
    places: Vec<Vec<usize>>,
}

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
    /// Not stopped in time, which was waived. Rule T17.
    pub waived: u64,
    /// Ended in time without a stop.
    pub cancelled: u64,
    /// Running, and not due.
    pub open: u64,
    /// Share of met among met, breached and waived; `None` where there is none of them.
    pub attainment: Option<f64>,
    /// Share of met among met and breached: what was waived is left out. Rule T17.
    pub attainment_adjusted: Option<f64>,
    /// What the policy wants it to be.
    pub attainment_goal: Option<f64>,
    /// What the breaches cost, by currency. Rule T19.
    pub penalty: BTreeMap<String, Decimal>,
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
        let mut figures = Figures { tallies: Vec::new(), places: Vec::new() };
        for policy in &policies.policies {
            let places = policy.objectives.iter().map(|one| figures.place(policies, policy, one)).collect();
            figures.places.push(places);
        }
        figures
    }

    fn place(&mut self, policies: &Policies, policy: &Policy, objective: &Objective) -> usize {
        let name = policies.name(objective.name);
        let is_it = |tally: &Tally| tally.row.policy == policy.name && tally.row.objective == name;
        self.tallies.iter().position(is_it).unwrap_or_else(|| {
            let is_elapsed = matches!(objective.target(), Target::Elapsed(_));
            let row = Row {
                policy: policy.name.clone(),
                objective: name.to_owned(),
                counts: if is_elapsed { "elapsed" } else { "open" },
                attainment_goal: policy.attainment_goal,
                ..Row::default()
            };
            self.tallies.push(Tally { row, response_ms: Histogram::new(3).ok() });
            self.tallies.len() - 1
        })
    }

    /// Counts what became of a clock by `until`.
    pub fn count(&mut self, rules: &Rules, clock: &Clock, until: Instant) {
        let place = self.places[usize::from(clock.policy)][usize::from(clock.objective)];
        let Tally { row, response_ms } = &mut self.tallies[place];
        row.clocks += 1;
        let outcome = clock.outcome(rules, until);
        let end = clock.end.as_ref();
        match (outcome, end.map(|end| end.why)) {
            (Outcome::Met, _) => row.met += 1,
            (Outcome::Cancelled, _) => row.cancelled += 1,
            (Outcome::Waived, _) => row.waived += 1,
            (Outcome::Breached, None) => row.breached_open += 1,
            (Outcome::Breached, Some(EndKind::Stop)) => row.resolved += 1,
            (Outcome::Breached, Some(_)) => row.ended += 1,
            // Files have no gaps.
            (Outcome::Open | Outcome::Undecidable, _) => row.open += 1,
        }
        let objective = rules.objective(clock.policy, clock.objective);
        if let (Outcome::Breached, Some(penalty)) = (outcome, &objective.penalty) {
            *row.penalty.entry(penalty.currency.clone()).or_default() += penalty.amount;
        }
        if let (Some(end), Some(histogram)) = (end.filter(|end| end.is_stop()), response_ms) {
            let counted_ms = clock.counted_ms(rules, clock.started_at, end.at);
            // It grows with what it is given, so nothing is refused.
            let _ = histogram.record(counted_ms.unsigned_abs());
        }
    }

    /// The figures, in the order of the policies.
    pub fn rows(self) -> Vec<Row> {
        self.tallies.into_iter().map(Tally::finish).collect()
    }
}

impl Tally {
    fn finish(self) -> Row {
        let row = self.row;
        let breached = row.breached_open + row.resolved + row.ended;
        let share = |of: u64| (0 < of).then(|| row.met as f64 / of as f64);
        Row {
            breached,
            attainment: share(row.met + breached + row.waived),
            attainment_adjusted: share(row.met + breached),
            response_ms: self.response_ms.filter(|histogram| !histogram.is_empty()).map(|h| percentiles(&h)),
            ..row
        }
    }
}

fn percentiles(histogram: &Histogram<u64>) -> Percentiles {
    let at = |quantile: f64| histogram.value_at_quantile(quantile);
    Percentiles { p50: at(0.5), p90: at(0.9), p95: at(0.95), p99: at(0.99) }
}
