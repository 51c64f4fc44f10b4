//! Takes each safeguard away and looks for a history that goes wrong: none is there for nothing.
//!
//! Not in the list, for nothing can be taken away: a horizon begins with its task and is never stored, so that
//! evidence ends with an assignment; and a transaction is written only where it is committed, so that
//! partitions may be given up in the middle of one. The group's metadata can be read at any moment between
//! begin and commit without harm to this worker, as long as a port sends no offsets without a member: the
//! rules about it save work that would be undone. What they save a process from that writes as it goes is
//! shown in [`super::copier`].

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::mixes::Mix;
use crate::safeguard::{Safeguard, without};
use crate::sla::horizon::Horizon;
use crate::sla::instant::Instant;

/// So many histories of each kind are tried.
const SEEDS: u64 = 1_500;

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
    // In the tests of the horizon: the client and the bounds of the log find the same loss.
    Safeguard::EndNotBelowKnown,
    // In the tests of the horizon: brokers that have not heard of an election for so long are no part of the
    // model, and the second opinion finds the others.
    Safeguard::LeaderEpoch,
    // In the stories of late facts: what is said too early is taken back, and in the end the truth stands.
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
        Safeguard::ErrorIsNoAnswer => &[Mix::InTime],
        Safeguard::LeaderEpoch | Safeguard::SecondOpinion => &[Mix::Leaders],
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
