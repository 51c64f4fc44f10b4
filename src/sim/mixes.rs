//! Kinds of history, each with one class of trouble frequent enough to hurt, and what must hold of all.

use std::collections::BTreeMap;

use super::cluster::{BEGINNING, Cluster, Shape};
use super::detector::{SPAN_MS, WEEK_MS, scenario, upstream};
use super::faults::{Faults, Upsets};
use super::judge::{self, Expected};
use super::scenario::Setup;
use super::{seeds, shrink};

/// A kind of history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// Every record is in time; processes die, pause and move partitions.
    InTime,
    /// The same, and what is settled is folded at once.
    Folding,
    /// Some records come too late.
    Late,
    /// Leaders are deposed and go on answering, or fall silent.
    Leaders,
    /// Records are lost.
    Losses,
    /// Wall clocks are set, or wrong from the start.
    Clocks,
    /// Two processes have one name.
    Twins,
    /// Everybody is away until the group's offsets expire.
    Outages,
    /// The input topics get another partition.
    Growth,
    /// The policies are written anew, not for every process at the same time.
    Edits,
}

impl Mix {
    /// All of them.
    pub const ALL: [Mix; 10] = [
        Mix::InTime,
        Mix::Folding,
        Mix::Late,
        Mix::Leaders,
        Mix::Losses,
        Mix::Clocks,
        Mix::Twins,
        Mix::Outages,
        Mix::Growth,
        Mix::Edits,
    ];

    /// One history of this kind.
    pub fn drawn(self, seed: u64) -> Setup {
        let setup = Setup { quiet_ms: 120_000, ..Setup::drawn(seed) };
        let (shape, upsets) = (setup.shape.clone(), setup.upsets.clone());
        let mut setup = match self {
            Mix::InTime | Mix::Folding | Mix::Late => setup,
            Mix::Leaders => Setup {
                shape: Shape { brokers: 2 + (seed % 2) as u8, ..shape },
                upsets: Upsets { leaders: 400, ..upsets },
                ..setup
            },
            Mix::Losses => Setup {
                shape: Shape { brokers: 1 + (seed % 3) as u8, ..shape },
                upsets: Upsets { losses: 30, leaders: 30, ..upsets },
                ..setup
            },
            Mix::Clocks => Setup {
                shape: Shape { clocks_astray: 3, ..shape },
                upsets: Upsets { clocks: 100, ..upsets },
                ..setup
            },
            Mix::Twins => Setup {
                processes: 2 + 2 * usize::from(seed.is_multiple_of(2)),
                named: true,
                are_twins: true,
                may_end: &["another process has this instance's name"],
                ..setup
            },
            Mix::Outages => Setup { upsets: Upsets { outages: 60, ..upsets }, ..setup },
            Mix::Edits => Setup { upsets: Upsets { edits: 100, ..upsets }, ..setup },
            Mix::Growth => {
                Setup { upsets: Upsets { growth: 20, ..upsets }, may_end: &["partitions"], ..setup }
            }
        };
        if seed % 4 == 3 {
            setup.speak_from = BEGINNING.plus(SPAN_MS / 3);
        }
        let lateness_ms = if self == Mix::Late { 30_000 } else { 0 };
        setup.upstream = upstream(&setup, lateness_ms);
        setup
    }

    fn lateness_max_ms(self) -> i64 {
        if self == Mix::Folding { 4_000 } else { WEEK_MS }
    }

    fn expected(self) -> Expected {
        match self {
            Mix::Late | Mix::Losses => Expected::Truth,
            Mix::Growth => Expected::NothingFalse,
            _ => Expected::NoRetraction,
        }
    }

    /// Runs a history of this kind.
    pub fn run(self, setup: &Setup) -> Result<(), shrink::Failure> {
        let scenario = scenario(setup.clone(), self.lateness_max_ms());
        scenario.judge(|cluster| judge::judge(cluster, self.expected(), setup.speak_from)).map_err(|reason| {
            let cluster = scenario.cluster().borrow();
            shrink::Failure { reason, struck: cluster.chaos.struck().clone(), trace: cluster.trace() }
        })
    }

    /// Runs the history of a seed; one that fails is made as small as it goes, and told.
    fn check(self, seed: u64) -> Result<(), String> {
        let setup = self.drawn(seed);
        self.run(&setup).map_err(|failure| shrink::told(setup, failure, &|setup| self.run(setup)))
    }
}

fn check(mix: Mix, test: &str, count: u64) {
    seeds::check(&format!("--lib sim::mixes::{test}"), count, |seed| mix.check(seed));
}

#[test]
fn no_breach_is_false_or_missed_or_said_twice() {
    check(Mix::InTime, "no_breach_is_false_or_missed_or_said_twice", 2_000);
}

#[test]
fn what_is_folded_stays_said() {
    check(Mix::Folding, "what_is_folded_stays_said", 1_000);
}

#[test]
fn late_truth_is_put_right() {
    check(Mix::Late, "late_truth_is_put_right", 1_000);
}

#[test]
fn a_deposed_leader_proves_nothing() {
    check(Mix::Leaders, "a_deposed_leader_proves_nothing", 1_500);
}

#[test]
fn what_was_open_when_records_were_lost_is_undecidable() {
    check(Mix::Losses, "what_was_open_when_records_were_lost_is_undecidable", 1_500);
}

#[test]
fn a_wrong_clock_says_nothing_false() {
    check(Mix::Clocks, "a_wrong_clock_says_nothing_false", 1_000);
}

#[test]
fn two_processes_of_one_name_do_no_harm() {
    check(Mix::Twins, "two_processes_of_one_name_do_no_harm", 1_000);
}

#[test]
fn expired_offsets_are_found_in_the_changelog() {
    check(Mix::Outages, "expired_offsets_are_found_in_the_changelog", 500);
}

#[test]
fn another_partition_stops_all_that_is_said() {
    check(Mix::Growth, "another_partition_stops_all_that_is_said", 500);
}

#[test]
fn other_policies_judge_nothing_anew() {
    check(Mix::Edits, "other_policies_judge_nothing_anew", 1_500);
}

#[test]
fn a_kill_at_any_call_does_no_harm() {
    let calm = |call| Setup {
        processes: 2,
        named: true,
        steps: 300,
        faults: Faults { kill_at: Some(call), ..Faults::none() },
        upsets: Upsets::none(),
        ..Mix::InTime.drawn(7)
    };
    for call in 1..400 {
        let reason = Mix::InTime.run(&calm(call)).err().map(|failure| failure.reason);
        assert_eq!(reason, None, "killed at call {call}");
    }
}

#[test]
fn the_histories_have_something_to_say() {
    let mut counts = BTreeMap::<String, usize>::new();
    for seed in 0..20 {
        let setup = Mix::InTime.drawn(seed);
        let mut cluster = Cluster::new(seed, setup.shape.clone());
        cluster.schedule(setup.upstream.iter().cloned());
        cluster.advance(10 * SPAN_MS);
        for transition in judge::transitions(&cluster).expect("replays") {
            *counts.entry(transition).or_default() += 1;
        }
    }
    let said: Vec<_> = counts.keys().map(String::as_str).collect();
    let all = ["at_risk", "breached", "cancelled", "ended", "escalated", "met", "resolved", "waived"];
    assert_eq!(said, all, "{counts:?}");
}

#[test]
fn a_history_told_again_is_the_same() {
    for (mix, seed) in Mix::ALL.into_iter().zip(0..) {
        let trace = |setup: &Setup| {
            let scenario = scenario(setup.clone(), WEEK_MS);
            scenario.judge(|cluster| Ok((cluster.trace(), cluster.chaos.struck().clone())))
        };
        let setup = mix.drawn(seed);
        let Ok((told, script)) = trace(&setup) else { continue };
        let again = trace(&Setup { script: Some(script.clone()), ..setup });
        assert_eq!(again, Ok((told, script)), "{mix:?}, seed {seed}");
    }
}
