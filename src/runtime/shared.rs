//! What the workers of one process have in common: settings, rules, and where they report to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::desk::Desk;
use super::history::Shelf;
use super::port::{Partition, Topic};
use crate::metrics::Metrics;
use crate::sla::clock::Context;
use crate::sla::engine;
use crate::sla::instant::Instant;
use crate::wire::decode;
use crate::wire::encode::Encoder;
use crate::wire::routing::Partitioner;

/// What the workers of one process have in common. Nothing in it is changed but counters and the
/// policy file.
#[derive(Debug)]
pub struct Shared {
    /// The policy file that was loaded last, which partitions take up.
    pub policies: Shelf,
    /// Windows and limits of the engine.
    pub engine: engine::Settings,
    /// How records are read.
    pub decode: decode::Settings,
    /// How outputs are written.
    pub encoder: Encoder,
    /// The input topics.
    pub topics: Vec<InputTopic>,
    /// How many partitions every input topic has.
    pub partitions: i32,
    /// Whether keys must be lead ids and lie in their own partition.
    pub is_keyed_by_lead: bool,
    /// How producers partition keys, where the configuration says it.
    pub partitioner: Option<Partitioner>,
    /// Whether events of unknown types are passed over rather than rejected.
    pub ignores_unknown_types: bool,
    /// Whether met and cancelled clocks are written too.
    pub writes_outcomes: bool,
    /// How long records and outputs may wait for a commit.
    pub commit_interval_ms: i64,
    /// By how much the local clock may lead the brokers' before nothing is said any more. Rule H4.
    pub clock_skew_max_ms: i64,
    /// How much memory the state takes, and how much it may.
    pub state: StateBytes,
    /// Where what happens is counted.
    pub metrics: Metrics,
    /// Where it shows whether the process works.
    pub health: Health,
    /// Where the clocks that are due next are shown.
    pub board: Board,
    /// Where questions wait for the workers.
    pub desk: Desk,
}

/// The clocks that are due next.
#[derive(Debug, Default)]
pub struct Board {
    rows_max: usize,
    rows: Mutex<BTreeMap<Partition, Vec<Upcoming>>>,
}

/// A running clock that has not breached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upcoming {
    /// When it is due.
    pub due_at: Instant,
    /// Its lead.
    pub lead_id: Arc<str>,
    /// Its policy.
    pub policy: String,
    /// Its objective.
    pub objective: String,
    /// Who has the lead, and where it is.
    pub context: Arc<Context>,
}

impl Board {
    /// A board of so many clocks; of none, it costs nothing.
    pub fn new(rows_max: usize) -> Board {
        Board { rows_max, rows: Mutex::default() }
    }

    /// How many clocks it shows.
    pub fn rows_max(&self) -> usize {
        self.rows_max
    }

    /// What it shows of a partition.
    pub fn show(&self, partition: Partition, upcoming: Vec<Upcoming>) {
        self.lock().insert(partition, upcoming);
    }

    /// The clocks that are due next, of all partitions.
    pub fn upcoming(&self) -> Vec<Upcoming> {
        let mut upcoming: Vec<_> = self.lock().values().flatten().cloned().collect();
        upcoming.sort_by(|a, b| (a.due_at, &a.lead_id).cmp(&(b.due_at, &b.lead_id)));
        upcoming.truncate(self.rows_max);
        upcoming
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Partition, Vec<Upcoming>>> {
        // What a thread left that panicked is as good as any: the next look replaces it.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much memory the leads of a process take, by worker, and how much they may.
#[derive(Debug)]
pub struct StateBytes {
    workers: Vec<AtomicUsize>,
    max: usize,
}

impl StateBytes {
    /// For so many workers; at most `max` bytes, or 0 for no limit.
    pub fn new(workers: usize, max: u64) -> StateBytes {
        let workers = (0..workers).map(|_| AtomicUsize::new(0)).collect();
        StateBytes { workers, max: usize::try_from(max).unwrap_or(usize::MAX) }
    }

    /// A worker's leads take so much.
    pub fn worker_has(&self, worker: usize, bytes: usize) {
        if let Some(worker) = self.workers.get(worker) {
            worker.store(bytes, Ordering::Relaxed);
        }
    }

    /// Whether nothing more may be read: there is more than may be, or, once that was so, nearly as much.
    pub fn is_full(&self, was_full: bool) -> bool {
        let bytes: usize = self.workers.iter().map(|worker| worker.load(Ordering::Relaxed)).sum();
        let limit = if was_full { self.max - self.max / 20 } else { self.max };
        0 < self.max && limit < bytes
    }
}

/// An input topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputTopic {
    /// Its name.
    pub name: String,
    /// Its id, where the cluster gives one.
    pub id: Option<String>,
}

impl Shared {
    /// The name of an input topic.
    pub fn topic(&self, topic: Topic) -> &str {
        self.topics.get(usize::from(topic)).map_or("", |topic| topic.name.as_str())
    }
}

/// Whether the workers live, and whether they are ready.
#[derive(Debug, Default)]
pub struct Health {
    workers: Vec<WorkerHealth>,
}

/// How one worker is.
#[derive(Debug, Default)]
struct WorkerHealth {
    turned_at_ms: AtomicI64,
    restoring: AtomicUsize,
    stopped: AtomicUsize,
    has_joined: AtomicBool,
}

impl Health {
    /// For so many workers.
    pub fn new(workers: usize) -> Health {
        Health { workers: (0..workers).map(|_| WorkerHealth::default()).collect() }
    }

    /// A worker's loop has come round.
    pub fn turned(&self, worker: usize, now: Instant) {
        if let Some(worker) = self.workers.get(worker) {
            worker.turned_at_ms.store(now.millis(), Ordering::Relaxed);
        }
    }

    /// What a worker has.
    pub fn worker_has(&self, worker: usize, restoring: usize, stopped: usize, has_joined: bool) {
        if let Some(worker) = self.workers.get(worker) {
            worker.restoring.store(restoring, Ordering::Relaxed);
            worker.stopped.store(stopped, Ordering::Relaxed);
            worker.has_joined.store(has_joined, Ordering::Relaxed);
        }
    }

    /// Why the process is not alive, if it is not: a loop that has not come round for so long.
    pub fn not_alive(&self, now: Instant, limit_ms: i64) -> Option<String> {
        let late = |worker: &WorkerHealth| {
            let turned_at = Instant::from_millis(worker.turned_at_ms.load(Ordering::Relaxed));
            let since_ms = now.since(turned_at);
            (turned_at.millis() != 0 && limit_ms < since_ms).then_some(since_ms)
        };
        self.workers.iter().enumerate().find_map(|(index, worker)| {
            late(worker).map(|since_ms| format!("worker {index} has not come round for {since_ms} ms"))
        })
    }

    /// Why the process is not ready, if it is not.
    pub fn not_ready(&self) -> Option<String> {
        self.workers.iter().enumerate().find_map(|(index, worker)| {
            let restoring = worker.restoring.load(Ordering::Relaxed);
            let stopped = worker.stopped.load(Ordering::Relaxed);
            if !worker.has_joined.load(Ordering::Relaxed) {
                Some(format!("worker {index} has not joined the group"))
            } else if restoring > 0 {
                Some(format!("worker {index} restores {restoring} partitions"))
            } else if stopped > 0 {
                Some(format!("worker {index} has given up {stopped} partitions"))
            } else {
                None
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::StateBytes;

    #[test]
    fn reading_goes_on_once_the_state_is_clearly_below_its_limit() {
        let state = StateBytes::new(2, 1_000);
        state.worker_has(0, 600);
        state.worker_has(1, 400);
        assert!(!state.is_full(false));
        state.worker_has(1, 401);
        assert!(state.is_full(false));
        state.worker_has(1, 360);
        assert!(state.is_full(true) && !state.is_full(false));
        state.worker_has(1, 350);
        assert!(!state.is_full(true));
        let unlimited = StateBytes::new(1, 0);
        unlimited.worker_has(0, usize::MAX);
        assert!(!unlimited.is_full(false));
    }
}
