//! Takes each safeguard away and looks for a history that goes wrong: none is there for nothing.
//!
//! Not in the list, for nothing can be taken away: a horizon begins with its task and is never stored, so that
//! evidence ends with an assignment; and a transaction is written only where it is committed, so that
//! partitions may be given up in the middle of one. The group's metadata can be read at any moment between
//! begin and commit without harm to this worker, as long as a port sends no offsets without a member: the
//! rules about it save work that would be undone. What they save a process from that writes as it goes is
//! shown in [`super::copier`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::cluster::BEGINNING;
use super::detector::engine_settings;
use super::mixes::Mix;
use crate::config::read_policies;
use crate::runtime::port::Record;
use crate::safeguard::{Safeguard, without};
use crate::sla::engine::{Arrival, Effects, Engine};
use crate::sla::horizon::Horizon;
use crate::sla::instant::Instant;
use crate::sla::rules::Rules;
use crate::wire::decode::{self, Decoder};

/// So many histories of each kind are tried.
const SEEDS: u64 = 3_000;

/// Each alone is taken away.
fn alone(safeguard: Safeguard) -> &'static [Safeguard] {
    let place = Safeguard::ALL.iter().position(|one| *one == safeguard).unwrap_or_default();
    &ALL[place..=place]
}

static ALL: [Safeguard; Safeguard::ALL.len()] = Safeguard::ALL;

/// Where one of them is missing the others do: only without all of them does a history go wrong.
const IN_DEPTH: [&[Safeguard]; 1] = [
    // A clock that was not set since it was seen to be right does not lead, as long as clocks do not drift.
    &[Safeguard::ClockLead, Safeguard::ClockSeen],
];

/// Shown elsewhere, for no history of a whole service can show them.
const ELSEWHERE: [Safeguard; 8] = [
    // Below, for it takes a load that never ends.
    Safeguard::ProbesInOrder,
    // Below, by the horizon alone: the client and the bounds of the log find the same loss.
    Safeguard::EndNotBelowKnown,
    // Below, by the horizon alone: brokers that have not heard of an election for so long are no part of the
    // model, and the second opinion finds the others.
    Safeguard::LeaderEpoch,
    // Below, by the engine alone: what is said too early is taken back, and in the end the truth stands.
    Safeguard::WaitAfterLateFact,
    Safeguard::WaitAfterRestore,
    // By the copier: this worker looks a second time where offsets and progress differ.
    Safeguard::StableOffsetFirst,
    Safeguard::ProgressAgainstOffsets,
    // Two processes that fence each other for ever say nothing twice, and in the quiet each has its turn.
    Safeguard::FenceOfOnesName,
];

/// The kinds of history that are most likely to need a safeguard.
fn mixes(safeguard: Safeguard) -> &'static [Mix] {
    match safeguard {
        Safeguard::ChangelogToItsEnd | Safeguard::RewindAfterAbort => &[Mix::InTime],
        Safeguard::FenceOfOnesName => &[Mix::Twins],
        Safeguard::GapRecord
        | Safeguard::EndNotBelowKnown
        | Safeguard::TopicId
        | Safeguard::PositionInLog
        | Safeguard::RefusedPosition => &[Mix::Losses],
        Safeguard::EditionRecord => &[Mix::Edits],
        Safeguard::ErrorIsNoAnswer => &[Mix::InTime],
        Safeguard::LeaderEpoch | Safeguard::SecondOpinion | Safeguard::SameEpochAfterwards => &[Mix::Leaders],
        Safeguard::PartitionCount => &[Mix::Growth],
        Safeguard::EpochOnClockStep | Safeguard::ClockLead | Safeguard::ClockSeen => &[Mix::Clocks],
        Safeguard::RetractionWaits => &[Mix::Clocks, Mix::Late],
        _ => &[Mix::InTime, Mix::Folding, Mix::Late],
    }
}

/// The first history that goes wrong without a safeguard.
fn breaking(missing: &'static [Safeguard]) -> Option<(Mix, u64, String)> {
    let count = std::env::var("OVERDUE_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SEEDS);
    let places = (0..count).flat_map(|seed| mixes(missing[0]).iter().map(move |mix| (*mix, seed)));
    for (mix, seed) in places {
        let run = || without(missing, || mix.run(&mix.drawn(seed)));
        let reason = match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(())) => continue,
            Ok(Err(failure)) => failure.reason,
            Err(_) => "a process panicked".to_owned(),
        };
        return Some((mix, seed, reason));
    }
    None
}

/// Whether the horizon moves where the log always grows faster than it is read.
fn moves_under_load() -> bool {
    let mut horizon = Horizon::new(0, [(0, -1)]);
    for second in 0..100 {
        let (now, ticket) = (Instant::from_millis(second * 1_000), second.unsigned_abs());
        horizon.asked(ticket, now);
        horizon.answered(ticket, 0, now, 10 * second + 10, 0).expect("the log grows");
        horizon.applied(0, 10 * second, 0);
    }
    horizon.known_until().is_some()
}

#[test]
fn a_probe_that_is_not_reached_is_not_forgotten_for_a_newer_one() {
    assert!(moves_under_load());
    assert!(!without(&[Safeguard::ProbesInOrder], moves_under_load));
}

/// Whether an answer of this end and leader epoch moves a horizon that has read ten records under epoch 3.
fn believes(end: i64, leader_epoch: i32) -> bool {
    let mut horizon = Horizon::new(0, [(10, 3)]);
    horizon.asked(1, Instant::from_millis(1));
    // What is refused does not move it.
    let _ = horizon.answered(1, 0, Instant::from_millis(1), end, leader_epoch);
    horizon.known_until().is_some()
}

#[test]
fn an_end_below_what_was_read_and_an_older_leader_are_refused() {
    assert!(believes(10, 3) && !believes(9, 3) && !believes(10, 2));
    assert!(without(&[Safeguard::EndNotBelowKnown], || believes(9, 3)));
    assert!(without(&[Safeguard::LeaderEpoch], || believes(10, 2)));
}

const SECOND: i64 = 1_000;

/// Outputs about a lead whose creation came to light at second 100, when the horizon had passed its deadline,
/// once the horizon is at second 99; where it is taken over, that is at second 120, and the horizon at 119.
fn says_early(is_taken_over: bool) -> bool {
    let policies = "policies: [{name: p, objectives: {o: {start: created, stop: contacted, within: 10s}}}]";
    let policies = read_policies("policies.yaml", policies).unwrap_or_else(|problems| panic!("{problems}"));
    let rules = Arc::new(Rules::new(Arc::new(policies)));
    let mut engine = Engine::new(rules, engine_settings(super::detector::WEEK_MS, Instant::MIN));
    let (mut effects, at) = (Effects::default(), |second: i64| BEGINNING.plus(second * SECOND));
    engine.advance(at(90), 10, &mut effects);
    let value = format!(r#"{{"type":"lead-created","lead_id":"a","time":"{}"}}"#, at(0));
    let record = Record {
        topic: 0,
        partition: 0,
        offset: 0,
        timestamp: Some(at(1)),
        key: None,
        value: Some(value.as_bytes()),
        headers: &[],
    };
    let mut decoder = Decoder::new(decode::Settings { future_skew_max_ms: 0, are_files: false });
    let event = decoder.decode(&record).unwrap_or_else(|why| panic!("{why:?}"));
    engine.apply(&event.lead_id, event.fact, Arrival { at: at(100), recorded_at: record.timestamp });
    let until = if is_taken_over {
        engine.forget_horizon();
        engine.restored(Instant::MIN, at(120));
        at(119)
    } else {
        at(99)
    };
    while engine.advance(until, 10, &mut effects) {}
    !effects.outputs.is_empty()
}

#[test]
fn a_lead_whose_fact_came_late_waits_also_for_who_takes_it_over() {
    assert!(!says_early(false) && !says_early(true));
    assert!(without(&[Safeguard::WaitAfterLateFact], || says_early(false)));
    assert!(without(&[Safeguard::WaitAfterRestore], || says_early(true)));
}

fn check(is_one_of: impl Fn(usize) -> bool) {
    let is_deep = |one: &Safeguard| IN_DEPTH.iter().any(|together| together.contains(one));
    let single = Safeguard::ALL.into_iter().filter(|one| !is_deep(one) && !ELSEWHERE.contains(one));
    let all = single.map(alone).chain(IN_DEPTH);
    let mut superfluous = Vec::new();
    for (_, missing) in all.enumerate().filter(|(place, _)| is_one_of(*place)) {
        match breaking(missing) {
            Some((mix, seed, reason)) => {
                println!("without {missing:?}: {mix:?}, seed {seed}: {reason}");
                assert!(!reason.contains("misuse"), "{missing:?}, {mix:?}, seed {seed}: {reason}");
            }
            None => {
                println!("without {missing:?}: nothing goes wrong");
                superfluous.push(missing);
            }
        }
    }
    let nothing: [&[Safeguard]; 0] = [];
    assert_eq!(superfluous, nothing, "no history goes wrong without these");
}

// Two halves, for two cores.

#[test]
fn each_safeguard_is_needed() {
    check(|place| place % 2 == 0);
}

#[test]
fn each_other_safeguard_is_needed() {
    check(|place| place % 2 == 1);
}
