//! Names of outputs that every replay and retry repeats. Rule I1.

use std::fmt::{self, Write};

use super::clock::Step;
use super::instant::Instant;

/// The identity of one output: 32 hexadecimal digits.
///
/// The first 16 bytes of the BLAKE3 hash of these fields, each but the last followed by a line feed: the version `1`,
/// the lead id's length in bytes, the lead id, the objective's length in bytes, the objective, the clock's start, the
/// transition's word, its level (0 where it has none), the transition's date, and how often this output was
/// retracted before; of clocks that start together also which of them it is, from 1. Instants are milliseconds since 1970; all numbers are decimal. A retraction hashes `retracted` and
/// the word of what it retracts as its transition, joined by a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OutputId([u8; 16]);

/// What an output says of a clock, as far as its identity goes.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// The lead.
    pub lead_id: &'a str,
    /// The objective's name.
    pub objective: &'a str,
    /// When the clock started.
    pub started_at: Instant,
    /// Of the clocks that start together which it is, from 1; else 0.
    pub turn: u16,
    /// The transition.
    pub step: Step,
    /// Of warnings and escalations which one, from 1; else 0.
    pub level: u16,
    /// Its date.
    pub date: Instant,
    /// How often it was retracted before.
    pub times_retracted: u32,
}

impl Said<'_> {
    /// The identity of saying so.
    pub fn id(&self) -> OutputId {
        self.hash("")
    }

    /// The identity of taking it back.
    pub fn retraction_id(&self) -> OutputId {
        self.hash("retracted ")
    }

    fn hash(&self, prefix: &str) -> OutputId {
        let mut text = String::with_capacity(128 + self.lead_id.len());
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "1\n{}\n{}\n{}\n{}\n{}\n{prefix}{}\n{}\n{}\n{}",
            self.lead_id.len(),
            self.lead_id,
            self.objective.len(),
            self.objective,
            self.started_at.millis(),
            self.step.as_str(),
            self.level,
            self.date.millis(),
            self.times_retracted,
        );
        if 0 < self.turn {
            let _ = write!(text, "\n{}", self.turn);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..16]);
        OutputId(id)
    }
}

impl fmt::Display for OutputId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_hashed_are_part_of_the_schema() {
        let said = Said {
            lead_id: "L1",
            objective: "first-response",
            started_at: Instant::from_millis(1_000),
            turn: 0,
            step: Step::Breached,
            level: 0,
            date: Instant::from_millis(3_601_000),
            times_retracted: 0,
        };
        let text = "1\n2\nL1\n14\nfirst-response\n1000\nbreached\n0\n3601000\n0";
        assert_eq!(said.id().to_string(), blake3::hash(text.as_bytes()).to_hex()[..32]);
        assert_eq!(said.id().to_string(), "0bd3d34c3ee95ebf867f4ba699e307dd");
        assert_ne!(said.id(), said.retraction_id());
        assert_ne!(said.id(), Said { times_retracted: 1, ..said }.id());
        let text = "1\n2\nL1\n7\ncadence\n1000\nescalated\n2\n3601000\n0\n3";
        let third = Said { objective: "cadence", turn: 3, step: Step::Escalated, level: 2, ..said };
        assert_eq!(third.id().to_string(), blake3::hash(text.as_bytes()).to_hex()[..32]);
    }
}
