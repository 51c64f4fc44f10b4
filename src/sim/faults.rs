//! What can go wrong, how often, and what did.

use std::collections::BTreeMap;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::runtime::port::{Partition, Topic};

/// How often each thing goes wrong at a call, in calls out of ten thousand.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// The process is killed before the call has an effect.
    pub kill_before: u32,
    /// The process is killed when the call has had its effect and before it sees the answer.
    pub kill_after: u32,
    /// The answer of a commit, an abort or offsets is lost: applied, not applied, or applied later.
    pub lost: u32,
    /// A request reaches the broker twice.
    pub repeated: u32,
    /// The broker is busy; the call can be repeated.
    pub not_yet: u32,
    /// The process stands still as under SIGSTOP while the others go on.
    pub pause: u32,
    /// The call takes a while: others act before it has its effect.
    pub slow: u32,
    /// A probe is answered with an error.
    pub probe_error: u32,
    /// No other broker says who leads.
    pub no_opinion: u32,
    /// The process is killed at this call, counted over all processes from 1.
    pub kill_at: Option<u64>,
}

impl Faults {
    /// No fault at all.
    pub fn none() -> Faults {
        Faults::default()
    }

    /// Draws which kinds of fault this history has and how often: histories with few kinds reach
    /// further than histories with all.
    pub fn drawn(rng: &mut ChaCha8Rng) -> Faults {
        let mut draw = |max: u32| if rng.random_ratio(1, 2) { rng.random_range(0..=max) } else { 0 };
        Faults {
            kill_before: draw(60),
            kill_after: draw(60),
            lost: draw(1500),
            repeated: draw(1500),
            not_yet: draw(1500),
            pause: draw(100),
            slow: draw(1500),
            probe_error: draw(3000),
            no_opinion: draw(3000),
            kill_at: None,
        }
    }
}

/// What a call can suffer besides being killed, paused or slowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Risk {
    /// Nothing: it happens inside the process.
    Local,
    /// It reads: a busy broker says so.
    Read,
    /// It writes: its answer can be lost.
    Write,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It happens and is answered.
    Go,
    /// The process dies before it.
    KillBefore,
    /// It happens; the process dies.
    KillAfter,
    /// The broker is busy.
    NotYet,
    /// It happens; the answer is lost.
    LostApplied,
    /// It never reaches the broker.
    LostDropped,
    /// It reaches the broker after the client has given up.
    LostDelayed,
    /// It reaches the broker, is answered, and reaches it again before anything else of that client does. One
    /// that came still later could end the next transaction, which no client of this protocol can prevent.
    Repeated,
}

impl Faults {
    /// Decides what becomes of call number `call`.
    fn fate(&self, rng: &mut ChaCha8Rng, risk: Risk, call: u64) -> Fate {
        match () {
            () if self.kill_at == Some(call) => Fate::KillBefore,
            () if hit(rng, self.kill_before) => Fate::KillBefore,
            () if hit(rng, self.kill_after) => Fate::KillAfter,
            () if risk == Risk::Read && hit(rng, self.not_yet) => Fate::NotYet,
            () if risk == Risk::Write && hit(rng, self.lost) => lost(rng),
            () if risk == Risk::Write && hit(rng, self.repeated) => Fate::Repeated,
            () => Fate::Go,
        }
    }
}

impl Fate {
    fn suits(self, risk: Risk) -> bool {
        match self {
            Fate::Go | Fate::KillBefore | Fate::KillAfter => true,
            Fate::NotYet => risk == Risk::Read,
            Fate::LostApplied | Fate::LostDropped | Fate::LostDelayed | Fate::Repeated => risk == Risk::Write,
        }
    }
}

/// How often each thing goes wrong between turns, in steps out of ten thousand.
#[derive(Debug, Clone, Default)]
pub struct Upsets {
    /// A process is killed, ended well, paused, or stops to poll while its background threads go on.
    pub processes: u32,
    /// The changelog is compacted.
    pub compactions: u32,
    /// A leader is deposed, falls silent, or a follower falls behind.
    pub leaders: u32,
    /// Records are lost: expired, truncated, or their topic made anew.
    pub losses: u32,
    /// A wall clock is set.
    pub clocks: u32,
    /// All processes are away for so long that the group's offsets expire.
    pub outages: u32,
    /// The input topics get another partition.
    pub growth: u32,
    /// The policies of a process are written anew.
    pub edits: u32,
}

/// One thing that goes wrong between turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upset {
    /// A process is killed.
    Kill(usize),
    /// A process ends well.
    End(usize),
    /// A process stands still, its background threads too.
    Freeze(usize),
    /// A process does not come round; its background threads do.
    Hang(usize),
    /// The changelog is compacted.
    Compact,
    /// Another broker leads, and the one before does not know it for so many milliseconds.
    Elect(Topic, Partition, i64),
    /// The leader can't be asked for so many milliseconds.
    Silence(Topic, Partition, i64),
    /// A follower falls behind for so many milliseconds.
    FallBehind(Topic, Partition, i64),
    /// Retention removes all but so many records.
    Expire(Topic, Partition, i64),
    /// An unclean election loses so many records.
    Truncate(Topic, Partition, i64),
    /// The topic is deleted and made again.
    Recreate(Topic),
    /// A process's wall clock is set by so many milliseconds.
    SetClock(usize, i64),
    /// Everybody is away until the group's offsets have expired.
    Outage,
    /// The input topics get another partition.
    Grow,
    /// A process's policies are written anew.
    Edit(usize),
}

impl Upsets {
    /// Nothing goes wrong.
    pub fn none() -> Upsets {
        Upsets::default()
    }

    /// Draws what goes wrong at one step, of a world of so many processes, topics and partitions.
    pub fn draw(&self, rng: &mut ChaCha8Rng, world: (usize, Topic, Partition)) -> Option<Upset> {
        let (processes, topics, partitions) = world;
        let process = rng.random_range(0..processes.max(1));
        let (topic, partition) = (rng.random_range(0..topics), rng.random_range(0..partitions));
        let kind = rng.random_range(0..12);
        match () {
            () if hit(rng, self.processes) => Some(match kind {
                0..3 => Upset::Freeze(process),
                3..5 => Upset::Hang(process),
                5..8 => Upset::End(process),
                _ => Upset::Kill(process),
            }),
            () if hit(rng, self.compactions) => Some(Upset::Compact),
            () if hit(rng, self.leaders) => Some(match kind {
                0..7 => Upset::Elect(topic, partition, rng.random_range(0..8_000)),
                7..10 => Upset::FallBehind(topic, partition, rng.random_range(1..=BEHIND_MS_MAX)),
                _ => Upset::Silence(topic, partition, rng.random_range(1..10_000)),
            }),
            () if hit(rng, self.losses) => Some(match kind {
                0..4 => Upset::Expire(topic, partition, rng.random_range(0..4)),
                4..9 => Upset::Truncate(topic, partition, rng.random_range(1..8)),
                _ => Upset::Recreate(topic),
            }),
            () if hit(rng, self.clocks) => Some(Upset::SetClock(process, far(rng))),
            () if hit(rng, self.outages) => Some(Upset::Outage),
            () if hit(rng, self.growth) => Some(Upset::Grow),
            () if hit(rng, self.edits) => Some(Upset::Edit(process)),
            () => None,
        }
    }
}

/// A follower falls behind for at most so long, which grace has to cover.
pub const BEHIND_MS_MAX: i64 = 300;

fn far(rng: &mut ChaCha8Rng) -> i64 {
    let ms = [600, 8_000, 60_000][rng.random_range(0..3)];
    rng.random_range(ms / 2..ms) * if rng.random_ratio(1, 2) { 1 } else { -1 }
}

/// One thing that went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strike {
    /// At a call.
    Fate(Fate),
    /// Before a call, for so many milliseconds.
    Pause(i64),
    /// Before a call.
    Slow,
    /// At a probe.
    ProbeError,
    /// At a probe.
    NoOpinion,
    /// Between turns.
    Upset(Upset),
}

/// All that went wrong in one history, by the number of the place where something could.
pub type Script = BTreeMap<u64, Strike>;

/// Decides at each place where something can go wrong whether it does: by chance, or by a script.
#[derive(Debug)]
pub struct Chaos {
    rng: ChaCha8Rng,
    places: u64,
    calls: u64,
    is_over: bool,
    script: Option<Script>,
    struck: Script,
}

impl Chaos {
    /// What a script says, or chance where there is none.
    pub fn new(rng: ChaCha8Rng, script: Option<Script>) -> Chaos {
        Chaos { rng, places: 0, calls: 0, is_over: false, script, struck: Script::new() }
    }

    /// Nothing goes wrong any more.
    pub fn end(&mut self) {
        self.is_over = true;
    }

    /// What went wrong so far.
    pub fn struck(&self) -> &Script {
        &self.struck
    }

    /// What goes wrong at this place.
    pub fn strike(&mut self, draw: impl FnOnce(&mut ChaCha8Rng) -> Option<Strike>) -> Option<Strike> {
        if self.is_over {
            return None;
        }
        self.places += 1;
        let strike = match &self.script {
            Some(script) => script.get(&self.places).copied(),
            None => draw(&mut self.rng),
        };
        if let Some(strike) = strike {
            self.struck.insert(self.places, strike);
        }
        strike
    }

    /// What becomes of a call.
    pub fn fate(&mut self, faults: &Faults, risk: Risk) -> Fate {
        self.calls += 1;
        let call = self.calls;
        let drawn =
            |rng: &mut ChaCha8Rng| Some(faults.fate(rng, risk, call)).filter(|fate| *fate != Fate::Go);
        match self.strike(|rng| drawn(rng).map(Strike::Fate)) {
            Some(Strike::Fate(fate)) if fate.suits(risk) => fate,
            _ => Fate::Go,
        }
    }

    /// Whether a call is held up, and for how long the process then stands still.
    pub fn stall(&mut self, faults: &Faults, pause_ms_max: i64) -> Option<Option<i64>> {
        let strike = self.strike(|rng| match () {
            () if hit(rng, faults.pause) => Some(Strike::Pause(rng.random_range(1..=pause_ms_max))),
            () if hit(rng, faults.slow) => Some(Strike::Slow),
            () => None,
        });
        match strike {
            Some(Strike::Pause(ms)) => Some(Some(ms)),
            Some(Strike::Slow) => Some(None),
            _ => None,
        }
    }

    /// Whether this happens, at this rate.
    pub fn hits(&mut self, strike: Strike, rate: u32) -> bool {
        self.strike(|rng| hit(rng, rate).then_some(strike)) == Some(strike)
    }
}

/// True `rate` times out of ten thousand.
pub fn hit(rng: &mut ChaCha8Rng, rate: u32) -> bool {
    rate > 0 && rng.random_ratio(rate.min(10_000), 10_000)
}

fn lost(rng: &mut ChaCha8Rng) -> Fate {
    [Fate::LostApplied, Fate::LostDropped, Fate::LostDelayed][rng.random_range(0..3)]
}
