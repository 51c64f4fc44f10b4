//! One test tried: what its policies make of its story, and whether that is what it expects.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono_tz::Tz;

use super::{Expected, LEAD, Test};
use crate::explain::{self, Account, Explanation, Origin, Transition, lasting, local};
use crate::sla::clock::Step;
use crate::sla::engine::{Arrival, Effects};
use crate::sla::rules::Rules;

/// What came of a test.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What is not as it is expected.
    pub failures: Vec<Failed>,
    /// Everything that happened; `None` where nothing did by its end.
    pub explanation: Option<Explanation>,
    /// The objectives that it started, with their policies.
    pub started: BTreeSet<(String, String)>,
    /// The objectives that it breached, with their policies.
    pub breached: BTreeSet<(String, String)>,
    /// The zone of the first calendar, in which instants are told.
    pub zone: Tz,
}

/// Something that is not as it is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// What.
    pub what: String,
    /// What is so instead, a line each.
    pub instead: Vec<String>,
}

/// Tries one test.
pub fn run(rules: &Arc<Rules>, test: &Test) -> Outcome {
    let explanation = lived(rules, test);
    let clocks = explanation.as_ref().map_or(&[][..], |explanation| &explanation.clocks);
    let all = || clocks.iter().flat_map(|clock| clock.transitions.iter().map(move |step| (clock, step)));
    let zone = rules.policies.calendars.first().map_or(Tz::UTC, |first| first.calendar.zone());
    let missing =
        test.expect.iter().filter(|expected| !all().any(|(clock, step)| expected.fits(clock, step)));
    let mut failures: Vec<_> = missing.map(|expected| missed(expected, clocks, zone)).collect();
    for never in &test.never {
        let found = all().filter(|(clock, step)| never.fits(clock, step));
        failures.extend(found.map(|(clock, step)| forbidden(never, clock, step, zone)));
    }
    let is_named = |clock: &Account, step: &Transition| {
        test.expect.iter().chain(&test.never).any(|expected| expected.names(clock, step))
    };
    let unexpected = all().filter(|(clock, step)| is_breach(step) && !is_named(clock, step));
    failures.extend(unexpected.map(|(clock, step)| surprise(clock, step, zone)));
    let place = |clock: &Account, policy: &str| (policy.to_owned(), clock.objective.clone());
    Outcome {
        failures,
        started: all().map(|(clock, step)| place(clock, &step.policy)).collect(),
        breached: all()
            .filter(|(_, step)| is_breach(step))
            .map(|(clock, step)| place(clock, &step.policy))
            .collect(),
        explanation,
        zone,
    }
}

/// Everything that happens to the lead until the end.
fn lived(rules: &Arc<Rules>, test: &Test) -> Option<Explanation> {
    let mut engine = explain::engine(rules);
    for fact in test.facts.iter().filter(|fact| fact.time <= test.until) {
        engine.apply(LEAD, fact.clone(), Arrival { at: fact.time, recorded_at: None });
    }
    let slot = engine.store().find(LEAD)?;
    // Nothing is said: the timeline up to the end is all that is looked at.
    engine.advance(test.until, 0, &mut Effects::default());
    let names = ["event".to_owned()];
    Some(explain::explain(&engine, slot, Origin { names: &names, partition: None, is_service: false }))
}

fn is_breach(step: &Transition) -> bool {
    step.transition == Step::Breached.as_str()
}

/// What was expected and did not come about, and what came of the same objective.
fn missed(expected: &Expected, clocks: &[Account], zone: Tz) -> Failed {
    let about = || clocks.iter().filter(|clock| expected.is_about(clock));
    let steps = about().flat_map(|clock| clock.transitions.iter().map(move |step| (clock, step)));
    let mut instead: Vec<_> = steps.map(|(clock, step)| compared(expected, clock, step, zone)).collect();
    if instead.is_empty() {
        instead.push("no clock of it started".to_owned());
    }
    Failed { what: format!("expected {}", expected.said(zone)), instead }
}

/// A transition; of one with the outcome that is expected also what else is not as it is expected.
fn compared(expected: &Expected, clock: &Account, step: &Transition, zone: Tz) -> String {
    let misfits = expected.misfits(clock, step, zone);
    let is_near = misfits.iter().all(|misfit| misfit.name != "outcome");
    let differs = misfits.iter().filter(|misfit| is_near && misfit.name != "at");
    said(clock, step, zone) + &differs.map(|misfit| format!("; {misfit}")).collect::<String>()
}

fn forbidden(never: &Expected, clock: &Account, step: &Transition, zone: Tz) -> Failed {
    Failed { what: format!("never {}", never.said(zone)), instead: vec![said(clock, step, zone)] }
}

fn surprise(clock: &Account, step: &Transition, zone: Tz) -> Failed {
    Failed {
        what: format!("unexpected breach: {}", said(clock, step, zone)),
        instead: vec![clock.why.clone()],
    }
}

/// `first-response breached at Fri 2026-11-20 10:15 +01:00, elapsed 15m`
fn said(clock: &Account, step: &Transition, zone: Tz) -> String {
    let level = step.level.map_or_else(String::new, |level| format!(" {level}"));
    let turn = clock.step.map_or_else(String::new, |turn| format!(", step {turn}"));
    let (at, elapsed) = (local(step.at, zone), lasting(step.elapsed_ms));
    format!("{} {}{level} at {at}{turn}, elapsed {elapsed}", clock.objective, step.transition)
}
