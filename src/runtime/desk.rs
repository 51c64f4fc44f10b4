//! Questions about leads, which workers answer between their turns.
//!
//! A worker gives a copy of what it knows, and whoever asked puts the explanation together, so that no question
//! holds a worker up.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::port::Partition;
use super::task::Task;
use crate::explain::{self, Explanation, Origin};
use crate::sla::clock::Gap;
use crate::sla::engine::Effects;
use crate::sla::instant::Instant;
use crate::sla::rules::Rules;
use crate::sla::store::Lead;
use crate::wire::routing::Partitioner;

/// So many questions may wait for a worker; more are turned away.
const QUESTIONS_MAX: usize = 64;

/// Where questions wait for the workers.
#[derive(Debug, Default)]
pub struct Desk {
    workers: Vec<Tray>,
}

#[derive(Debug)]
struct Tray {
    put: mpsc::Sender<Question>,
    take: Mutex<mpsc::Receiver<Question>>,
}

/// What somebody wants to know.
#[derive(Debug)]
pub struct Question {
    /// The lead.
    pub lead_id: String,
    answer: oneshot::Sender<Answer>,
}

/// What one worker knows.
#[derive(Debug, Default)]
pub struct Answer {
    /// The lead, where the worker has it.
    pub found: Option<Box<Snapshot>>,
    /// The partitions that it processes.
    pub live: Vec<Partition>,
    /// The partitions that are being restored, or wait until it is known how a transaction ended.
    pub restoring: Vec<Partition>,
    /// How keys are partitioned, where it has been found out.
    pub partitioner: Option<Partitioner>,
}

/// All that is known of a lead, as it was between two turns.
#[derive(Debug)]
pub struct Snapshot {
    partition: Partition,
    lead_id: String,
    lead: Lead,
    gaps: Vec<Gap>,
    rules: Arc<Rules>,
    horizon: Option<Instant>,
}

impl Desk {
    /// For so many workers.
    pub fn new(workers: usize) -> Desk {
        let tray = |_| {
            let (put, take) = mpsc::channel(QUESTIONS_MAX);
            Tray { put, take: Mutex::new(take) }
        };
        Desk { workers: (0..workers).map(tray).collect() }
    }

    /// Asks every worker; `None` is one that has too many questions already.
    pub fn ask(&self, lead_id: &str) -> Vec<Option<oneshot::Receiver<Answer>>> {
        let ask = |tray: &Tray| {
            let (answer, told) = oneshot::channel();
            let question = Question { lead_id: lead_id.to_owned(), answer };
            tray.put.try_send(question).ok().map(|()| told)
        };
        self.workers.iter().map(ask).collect()
    }

    /// The next question for a worker that somebody still wants to know.
    pub fn next(&self, worker: usize) -> Option<Question> {
        let mut tray = self.workers.get(worker)?.take.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| tray.try_recv().ok()).find(|question| !question.answer.is_closed())
    }
}

impl Question {
    /// Says what the worker knows.
    pub fn answer(self, answer: Answer) {
        // Whoever asked may have gone.
        let _ = self.answer.send(answer);
    }
}

impl Answer {
    /// Adds what a task knows of a lead.
    pub fn hear(&mut self, task: &Task, lead_id: &str) {
        self.live.push(task.partition());
        self.partitioner = self.partitioner.or(task.partitioner());
        if self.found.is_none() {
            self.found = Snapshot::of(task, lead_id).map(Box::new);
        }
    }
}

impl Snapshot {
    fn of(task: &Task, lead_id: &str) -> Option<Snapshot> {
        let engine = task.engine();
        let store = engine.store();
        let slot = store.find(lead_id)?;
        Some(Snapshot {
            partition: task.partition(),
            lead_id: lead_id.to_owned(),
            lead: store.lead(slot).clone(),
            gaps: store.gaps().to_vec(),
            rules: Arc::clone(engine.rules()),
            horizon: engine.spoken_until(),
        })
    }

    /// Explains the lead; `topics` are the names of the input topics.
    pub fn explain(self, topics: &[String]) -> Option<Explanation> {
        let mut engine = explain::engine(&self.rules);
        engine.store_mut().restore(&self.lead_id, Some(self.lead));
        self.gaps.iter().for_each(|gap| engine.store_mut().restore_gap(*gap));
        if let Some(horizon) = self.horizon {
            // No lead is looked at: what was said is what the service has said.
            engine.advance(horizon, 0, &mut Effects::default());
        }
        let slot = engine.store().find(&self.lead_id)?;
        let origin = Origin { names: topics, partition: Some(self.partition), is_service: true };
        Some(explain::explain(&engine, slot, origin))
    }
}
