//! What can go wrong at a call, and how often.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// How often each thing goes wrong, in calls out of ten thousand.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// The process is killed before the call has an effect.
    pub kill_before: u32,
    /// The process is killed when the call has had its effect and before it sees the answer.
    pub kill_after: u32,
    /// The answer of a commit, an abort or offsets is lost: applied, not applied, or applied later.
    pub lost: u32,
    /// The broker is busy; the call can be repeated.
    pub not_yet: u32,
    /// The process stands still as under SIGSTOP while the others go on.
    pub pause: u32,
    /// The call takes a while: others act before it has its effect.
    pub slow: u32,
    /// A probe is answered with an error.
    pub probe_error: u32,
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
            not_yet: draw(1500),
            pause: draw(100),
            slow: draw(1500),
            probe_error: draw(3000),
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
}

impl Faults {
    /// Decides what becomes of call number `call`.
    pub fn fate(&self, rng: &mut ChaCha8Rng, risk: Risk, call: u64) -> Fate {
        match () {
            () if self.kill_at == Some(call) => Fate::KillBefore,
            () if hit(rng, self.kill_before) => Fate::KillBefore,
            () if hit(rng, self.kill_after) => Fate::KillAfter,
            () if risk == Risk::Read && hit(rng, self.not_yet) => Fate::NotYet,
            () if risk == Risk::Write && hit(rng, self.lost) => lost(rng),
            () => Fate::Go,
        }
    }
}

/// True `rate` times out of ten thousand.
pub fn hit(rng: &mut ChaCha8Rng, rate: u32) -> bool {
    rate > 0 && rng.random_ratio(rate.min(10_000), 10_000)
}

fn lost(rng: &mut ChaCha8Rng) -> Fate {
    [Fate::LostApplied, Fate::LostDropped, Fate::LostDelayed][rng.random_range(0..3)]
}
