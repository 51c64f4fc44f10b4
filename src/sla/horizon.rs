//! How far the truth is known: probes in, horizon out. Rules H1-H6.
//!
//! A probe is a question to a partition's leader for the end of its log, asked at a known instant. Once every
//! record below that end has been applied, everything that was in the log at that instant is
//! known. Silence proves nothing, neither do record timestamps, and no answer means no evidence.

use std::collections::VecDeque;

use super::instant::Instant;
use crate::safeguard::{Safeguard, holds};

/// How far one partition number is known, over all its input topics, within one epoch.
///
/// An epoch is the time between two moments at which evidence ends: assignment, rewind, abort, a clock that was
/// set. Into a new one goes only what can refuse evidence: the ends and the leaders seen. Rule H4.
#[derive(Debug, Clone)]
pub struct Horizon {
    grace_ms: i64,
    inputs: Vec<Input>,
    asked: VecDeque<Asked>,
}

/// What is known of one input topic.
#[derive(Debug, Clone)]
struct Input {
    position: i64,
    end_max: i64,
    leader_epoch_max: i32,
    read_at: Instant,
    unreached: VecDeque<Probe>,
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    asked_at: Instant,
    end: i64,
}

/// A probe under way.
#[derive(Debug, Clone)]
struct Asked {
    ticket: u64,
    sent_at: Instant,
    open: usize,
    /// What was known of each input's end when it was sent: an answer below it proves a loss, one below what
    /// was read since does not.
    floors: Vec<i64>,
}

/// Why an answer is no evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The log ends before what was read of it: some of it is lost.
    #[error("the log ends at {end}, but {known} was read or seen before")]
    LogLost {
        /// The end in the answer.
        end: i64,
        /// The position or earlier end above it.
        known: i64,
    },
    /// A deposed leader answered.
    #[error("leader epoch {epoch} is older than {known}, which was seen before")]
    OldLeader {
        /// The leader epoch of the answer.
        epoch: i32,
        /// The newest one seen.
        known: i32,
    },
}

impl Horizon {
    /// Nothing is known; reading begins at these offsets, one for each input topic, with the leader epoch of
    /// the record before or -1.
    pub fn new(grace_ms: i64, positions: impl IntoIterator<Item = (i64, i32)>) -> Horizon {
        let inputs = positions.into_iter().map(|(position, leader_epoch)| Input {
            position,
            end_max: 0,
            leader_epoch_max: leader_epoch,
            read_at: Instant::MIN,
            unreached: VecDeque::new(),
        });
        Horizon { grace_ms, inputs: inputs.collect(), asked: VecDeque::new() }
    }

    /// Evidence ends here, and reading goes on at these offsets of the same logs. Rule H4.
    pub fn new_epoch(&mut self, positions: impl IntoIterator<Item = i64>) {
        self.asked.clear();
        for (input, position) in self.inputs.iter_mut().zip(positions) {
            input.position = position;
            input.read_at = Instant::MIN;
            input.unreached.clear();
        }
    }

    /// Every fact dated at or before this is known, if anything is. Rule H2.
    pub fn known_until(&self) -> Option<Instant> {
        let read_at = self.inputs.iter().map(|input| input.read_at);
        let read_at = if holds(Safeguard::MinimumOverInputs) { read_at.min()? } else { read_at.max()? };
        let grace_ms = if holds(Safeguard::Grace) { self.grace_ms } else { 0 };
        (read_at != Instant::MIN).then(|| read_at.minus(grace_ms))
    }

    /// Everything below `position` of this input is applied, the last of it written under this leader epoch.
    pub fn applied(&mut self, topic: u16, position: i64, leader_epoch: i32) {
        let Some(input) = self.inputs.get_mut(usize::from(topic)) else { return };
        input.position = input.position.max(position);
        input.leader_epoch_max = input.leader_epoch_max.max(leader_epoch);
        input.settle();
    }

    /// Whether to ask now, for something planned at `due`. Rule H3.
    pub fn wants_probe(&self, now: Instant, due: Instant) -> bool {
        let needed = due.plus(self.grace_ms);
        let is_outstanding = self.asked.iter().any(|asked| asked.sent_at >= needed)
            || self.inputs.iter().any(|input| input.unreached.iter().any(|probe| probe.asked_at >= needed));
        needed <= now && !is_outstanding
    }

    /// A probe of every input is under way.
    pub fn asked(&mut self, ticket: u64, now: Instant) {
        let floors = self.inputs.iter().map(|input| input.position.max(input.end_max)).collect();
        self.asked.push_back(Asked { ticket, sent_at: now, open: self.inputs.len(), floors });
    }

    /// Whether an answer is awaited. An end that was named and is not reached may have been lost since, which only
    /// asking again shows. Rule H6.
    pub fn is_awaiting(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Whether an answer is awaited, or the end that one named has not been reached.
    pub fn is_asking(&self) -> bool {
        !self.asked.is_empty() || self.inputs.iter().any(|input| !input.unreached.is_empty())
    }

    /// Whether this probe belongs to this epoch.
    pub fn expects(&self, ticket: u64) -> bool {
        self.asked.iter().any(|asked| asked.ticket == ticket)
    }

    /// An input's part of a probe got no answer, which proves nothing.
    pub fn unanswered(&mut self, ticket: u64) {
        self.close_one(ticket);
    }

    /// An input's leader named its log end. Rule H2; what is refused is no evidence. Rule H6.
    pub fn answered(
        &mut self,
        ticket: u64,
        topic: u16,
        asked_at: Instant,
        end: i64,
        leader_epoch: i32,
    ) -> Result<(), Refusal> {
        let asked = self.asked.iter().find(|asked| asked.ticket == ticket);
        let floor = asked.and_then(|asked| asked.floors.get(usize::from(topic)).copied());
        self.close_one(ticket);
        let (Some(input), Some(known)) = (self.inputs.get_mut(usize::from(topic)), floor) else {
            return Ok(());
        };
        if leader_epoch >= 0 && leader_epoch < input.leader_epoch_max && holds(Safeguard::LeaderEpoch) {
            return Err(Refusal::OldLeader { epoch: leader_epoch, known: input.leader_epoch_max });
        }
        if end < known && holds(Safeguard::EndNotBelowKnown) {
            return Err(Refusal::LogLost { end, known });
        }
        input.leader_epoch_max = input.leader_epoch_max.max(leader_epoch);
        input.end_max = input.end_max.max(end);
        if !holds(Safeguard::ProbesInOrder) {
            input.unreached.clear();
        }
        input.unreached.push_back(Probe { asked_at, end });
        input.settle();
        Ok(())
    }

    fn close_one(&mut self, ticket: u64) {
        if let Some(asked) = self.asked.iter_mut().find(|asked| asked.ticket == ticket) {
            asked.open -= 1;
        }
        self.asked.retain(|asked| asked.open > 0);
    }

    /// How many records are known to be unread, over all inputs.
    pub fn unread(&self) -> i64 {
        self.inputs.iter().map(|input| (input.end_max - input.position).max(0)).sum()
    }
}

impl Input {
    /// Takes the probes whose end has been reached, oldest first.
    fn settle(&mut self) {
        let is_reached = |probe: &&Probe| probe.end <= self.position || !holds(Safeguard::ProbeReached);
        while let Some(probe) = self.unreached.front().filter(is_reached) {
            self.read_at = self.read_at.max(probe.asked_at);
            self.unreached.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE_MS: i64 = 5_000;

    fn at(seconds: i64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    #[test]
    fn nothing_is_known_before_a_probe_is_reached() {
        let mut horizon = Horizon::new(GRACE_MS, [(10, -1)]);
        assert_eq!(horizon.known_until(), None);
        horizon.asked(1, at(100));
        assert_eq!(horizon.answered(1, 0, at(100), 12, 0), Ok(()));
        horizon.applied(0, 11, 0);
        assert_eq!(horizon.known_until(), None);
        horizon.applied(0, 12, 0);
        assert_eq!(horizon.known_until(), Some(at(95)));
    }

    #[test]
    fn the_slowest_input_decides() {
        let mut horizon = Horizon::new(GRACE_MS, [(0, -1), (0, -1)]);
        horizon.asked(1, at(100));
        assert_eq!(horizon.answered(1, 0, at(100), 0, 0), Ok(()));
        assert_eq!(horizon.known_until(), None);
        assert_eq!(horizon.answered(1, 1, at(101), 0, 0), Ok(()));
        assert_eq!(horizon.known_until(), Some(at(95)));
    }

    #[test]
    fn an_unreached_probe_is_not_replaced_by_a_newer_one() {
        let mut horizon = Horizon::new(GRACE_MS, [(0, -1)]);
        for (ticket, seconds, end) in [(1, 100, 5), (2, 200, 50)] {
            horizon.asked(ticket, at(seconds));
            assert_eq!(horizon.answered(ticket, 0, at(seconds), end, 0), Ok(()));
        }
        horizon.applied(0, 5, 0);
        assert_eq!(horizon.known_until(), Some(at(95)));
    }

    #[test]
    fn it_asks_once_for_each_plan_and_not_before_grace_has_passed() {
        let mut horizon = Horizon::new(GRACE_MS, [(0, -1)]);
        assert!(!horizon.wants_probe(at(104), at(100)));
        assert!(horizon.wants_probe(at(105), at(100)));
        horizon.asked(1, at(105));
        assert!(!horizon.wants_probe(at(106), at(100)));
        assert!(horizon.wants_probe(at(106), at(101)));
        horizon.unanswered(1);
        assert!(horizon.wants_probe(at(106), at(100)));
    }

    #[test]
    fn an_end_below_what_was_read_or_seen_is_loss_and_an_older_leader_is_nobody() {
        let mut horizon = Horizon::new(GRACE_MS, [(10, -1)]);
        let mut answer = |ticket, end, leader_epoch| {
            horizon.asked(ticket, at(1));
            horizon.answered(ticket, 0, at(1), end, leader_epoch)
        };
        assert_eq!(answer(1, 9, 3), Err(Refusal::LogLost { end: 9, known: 10 }));
        assert_eq!(answer(2, 20, 3), Ok(()));
        assert_eq!(answer(3, 19, 3), Err(Refusal::LogLost { end: 19, known: 20 }));
        assert_eq!(answer(4, 20, 2), Err(Refusal::OldLeader { epoch: 2, known: 3 }));
        assert_eq!(horizon.known_until(), None);
    }

    #[test]
    fn what_was_read_while_the_answer_was_on_its_way_is_no_loss() {
        let mut horizon = Horizon::new(GRACE_MS, [(10, -1)]);
        horizon.asked(1, at(100));
        horizon.applied(0, 15, 0);
        assert_eq!(horizon.answered(1, 0, at(100), 12, 0), Ok(()));
        assert_eq!(horizon.known_until(), Some(at(95)));
    }

    #[test]
    fn a_new_epoch_knows_nothing_and_still_refuses_what_was_refused() {
        let mut horizon = Horizon::new(GRACE_MS, [(10, 2)]);
        horizon.asked(1, at(100));
        assert_eq!(horizon.answered(1, 0, at(100), 10, 3), Ok(()));
        assert_eq!(horizon.known_until(), Some(at(95)));
        horizon.asked(2, at(101));
        horizon.new_epoch([5]);
        assert_eq!((horizon.known_until(), horizon.expects(2)), (None, false));
        horizon.asked(3, at(102));
        assert_eq!(horizon.answered(3, 0, at(102), 9, 3), Err(Refusal::LogLost { end: 9, known: 10 }));
        horizon.asked(4, at(103));
        assert_eq!(horizon.answered(4, 0, at(103), 12, 2), Err(Refusal::OldLeader { epoch: 2, known: 3 }));
    }

    #[test]
    fn a_leader_older_than_what_was_read_is_nobody() {
        let mut horizon = Horizon::new(GRACE_MS, [(10, -1)]);
        horizon.applied(0, 11, 4);
        horizon.asked(1, at(100));
        assert_eq!(horizon.answered(1, 0, at(100), 11, 3), Err(Refusal::OldLeader { epoch: 3, known: 4 }));
    }
}
