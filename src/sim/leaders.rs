//! Who leads a partition, who believes that it still does, and what the other brokers have heard of it.
//!
//! A leader that was paused or cut off answers with the end that it had, in its own epoch, until it hears
//! that it was deposed. The others hear of an election at most [`HEARD_MS_MAX`] after it: grace has to cover
//! that, besides what a record takes and what a clock is off, for a broker that has not heard of the new
//! leader confirms the old one.

use crate::sla::instant::Instant;

/// How long after an election a broker may still name the leader before it.
pub const HEARD_MS_MAX: i64 = 400;

/// A broker's number.
pub type Broker = u8;

/// Who leads one partition.
#[derive(Debug, Default)]
pub struct Leadership {
    elections: Vec<Election>,
    deposed: Option<Deposed>,
    silent_until: Option<Instant>,
}

#[derive(Debug)]
struct Election {
    leader: Broker,
    /// When each broker hears of it.
    heard_at: Vec<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Deposed {
    broker: Broker,
    end: (i64, i32),
    until: Instant,
}

impl Leadership {
    /// The leader, broker 0 before the first election.
    pub fn leader(&self) -> Broker {
        self.elections.last().map_or(0, |election| election.leader)
    }

    /// Another broker leads. The one before answers with `end` until `until`; `heard_at` says when each broker
    /// hears of it, which the new leader does at once.
    pub fn elect(&mut self, leader: Broker, heard_at: Vec<Instant>, end: (i64, i32), until: Instant) {
        self.deposed = Some(Deposed { broker: self.leader(), end, until });
        self.elections.push(Election { leader, heard_at });
    }

    /// Nobody can ask the leader before this.
    pub fn fall_silent(&mut self, until: Instant) {
        self.silent_until = Some(until);
    }

    /// Whether the leader can't be asked.
    pub fn is_silent(&self, now: Instant) -> bool {
        self.silent_until.is_some_and(|until| now < until)
    }

    /// The deposed leader, and the end that it would answer with, while it does not know.
    pub fn deposed(&self, now: Instant) -> Option<(Broker, (i64, i32))> {
        let deposed = self.deposed.filter(|deposed| now < deposed.until)?;
        Some((deposed.broker, deposed.end))
    }

    /// The leader as a broker names it.
    pub fn named_by(&self, broker: Broker, now: Instant) -> Broker {
        let has_heard =
            |election: &&Election| election.leader == broker || election.heard_at[usize::from(broker)] <= now;
        self.elections.iter().rev().find(has_heard).map_or(0, |election| election.leader)
    }
}
