//! Taking a partition over: committed offsets, changelog, and whether the two belong together. Rule 4.

use std::sync::Arc;
use std::time::Duration;

use super::history::History;
use super::port::{Bounds, Committed, Error, Partition, Port, Position};
use super::shared::{InputTopic, Shared};
use super::task::{DOUBT_MS, Reading, Start, Task, losses};
use crate::safeguard::{Safeguard, holds};
use crate::sla::engine::Engine;
use crate::sla::instant::Instant;
use crate::sla::rules::Rules;
use crate::wire::changelog::{Input, Progress, Reader, Unreadable};
use crate::wire::routing::{Partitioner, Routing};

/// A partition on its way to being processed.
pub struct Restore {
    partition: Partition,
    began_at: Instant,
    engine: Engine,
    reader: Reader,
    stage: Stage,
    /// The changelog's end, where it was asked for too early.
    early_end: Option<i64>,
    is_second: bool,
    has_warned: bool,
    /// Since when the input's log looks as if it had lost records.
    doubted_since: Option<Instant>,
}

enum Stage {
    /// The stable committed offsets come first: a predecessor's transaction may still be open.
    Committed,
    /// Then the changelog's end, and everything up to it.
    Changelog { committed: Vec<Option<Committed>>, end: Option<i64> },
}

/// How far a step got.
pub enum Restored {
    /// There is more to do.
    NotYet,
    /// It can be processed from here.
    Ready(Box<Task>, Duration),
}

/// Why a partition cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Waiting may mend it, or the worker cannot go on.
    #[error(transparent)]
    Port(#[from] Error),
    /// The whole service is set up against its changelog.
    #[error("{0}")]
    Service(String),
    /// This partition's state and offsets do not belong together.
    #[error("{0}")]
    Partition(String),
}

/// Taking a partition over that takes longer is worth a word.
const SLOW_MS: i64 = 10_000;
const WAIT: Duration = Duration::from_millis(50);

impl Restore {
    /// Begins to take a partition over.
    pub fn new(shared: &Shared, partition: Partition, now: Instant) -> Restore {
        Restore {
            partition,
            began_at: now,
            engine: empty(shared),
            reader: Reader::default(),
            stage: Stage::Committed,
            early_end: None,
            is_second: false,
            has_warned: false,
            doubted_since: None,
        }
    }

    /// Does one bounded step.
    pub fn step<P: Port>(&mut self, shared: &Arc<Shared>, port: &mut P) -> Result<Restored, Refused> {
        self.warn_if_slow(port.now());
        match &mut self.stage {
            Stage::Committed => {
                let end = match self.early_end {
                    None if !holds(Safeguard::StableOffsetFirst) => match port.changelog_open(self.partition)
                    {
                        Err(Error::NotYet(_)) => return Ok(Restored::NotYet),
                        opened => Some(*self.early_end.insert(opened?)),
                    },
                    end => end,
                };
                let committed = match port.committed(self.partition, WAIT) {
                    Err(Error::NotYet(_)) => return Ok(Restored::NotYet),
                    other => other?,
                };
                self.stage = Stage::Changelog { committed, end };
                Ok(Restored::NotYet)
            }
            Stage::Changelog { end, .. } => {
                let end = match end {
                    Some(end) => *end,
                    None => match port.changelog_open(self.partition) {
                        Err(Error::NotYet(_)) => return Ok(Restored::NotYet),
                        opened => *end.insert(opened?),
                    },
                };
                if !self.read(port, end)? {
                    return Ok(Restored::NotYet);
                }
                self.finish(shared, port)
            }
        }
    }

    /// Says once what a partition waits for that takes long.
    fn warn_if_slow(&mut self, now: Instant) {
        if self.has_warned || now.since(self.began_at) < SLOW_MS {
            return;
        }
        self.has_warned = true;
        let waits_for = match &self.stage {
            Stage::Committed => {
                "the group's committed offsets, which a predecessor's open transaction holds back"
            }
            Stage::Changelog { end: None, .. } => "the end of the changelog",
            Stage::Changelog { .. } => "the rest of the changelog, or the bounds of the input",
        };
        tracing::warn!(partition = self.partition, waits_for, "taking the partition over takes long");
    }

    /// Reads some of the changelog, and says whether its end was reached.
    fn read<P: Port>(&mut self, port: &mut P, end: i64) -> Result<bool, Refused> {
        let (store, reader) = (self.engine.store_mut(), &mut self.reader);
        let mut unreadable = None;
        let position = port.changelog_read(self.partition, WAIT, &mut |key, value| {
            if let Err(error) = reader.take(key, value, store) {
                unreadable.get_or_insert(error);
            }
        });
        match (unreadable, position) {
            (Some(error @ Unreadable::Format(_)), _) => Err(Refused::Service(error.to_string())),
            (Some(error), _) => Err(Refused::Partition(error.to_string())),
            (None, Err(Error::NotYet(_))) => Ok(false),
            (None, position) => Ok(end <= position? || !holds(Safeguard::ChangelogToItsEnd)),
        }
    }

    fn finish<P: Port>(&mut self, shared: &Arc<Shared>, port: &mut P) -> Result<Restored, Refused> {
        let Stage::Changelog { committed, .. } = &self.stage else { return Ok(Restored::NotYet) };
        let bounds = match port.bounds(self.partition) {
            Err(Error::NotYet(_)) => return Ok(Restored::NotYet),
            bounds => bounds?,
        };
        let whole = self.reader.finish(self.engine.store_mut());
        whole.map_err(|error| Refused::Partition(error.to_string()))?;
        let progress = self.reader.progress();
        if let Some(progress) = progress {
            check_service(shared, progress).map_err(Refused::Service)?;
        }
        let history = self.history(shared).map_err(Refused::Partition)?;
        let readings = match where_to_start(shared, committed, progress, &bounds) {
            Ok(readings) => readings,
            // Somebody may have gone on with the partition between the two looks: look again.
            Err(_) if !self.is_second => {
                port.changelog_close(self.partition);
                *self = Restore { is_second: true, ..Restore::new(shared, self.partition, self.began_at) };
                return Ok(Restored::NotYet);
            }
            Err(why) => return Err(Refused::Partition(why)),
        };
        let now = port.now();
        let losses = losses(&readings, &bounds);
        // A broker that was deposed may have answered: what it says counts when it is said again.
        if !losses.is_empty() && now.since(*self.doubted_since.get_or_insert(now)) < DOUBT_MS {
            return Ok(Restored::NotYet);
        }
        port.changelog_close(self.partition);
        let mut task = self.task(shared, history, readings, now);
        if !losses.is_empty() {
            task.lose(&losses, &bounds, now);
        }
        port.take(self.partition, &task.positions())?;
        let took = Duration::from_millis(now.since(self.began_at).unsigned_abs());
        Ok(Restored::Ready(Box::new(task), took))
    }

    /// The policy files that judged so far; at a first start the one that was loaded. Rule T13.
    fn history(&self, shared: &Shared) -> Result<History, String> {
        let records = self.reader.editions().map_err(|error| error.to_string())?;
        match (records.is_empty(), self.reader.progress()) {
            (true, None) => Ok(History::begin(&shared.policies.latest())),
            (true, Some(_)) => {
                Err("the changelog has lost the policies that it was written under".to_owned())
            }
            (false, _) => History::restore(records, &shared.policies),
        }
    }

    /// From when on the partition speaks, which is fixed at its first start. Rule H9.
    fn speak_from(&self, shared: &Shared) -> Instant {
        let configured = shared.engine.speak_from;
        let Some(progress) = self.reader.progress() else { return configured };
        let fixed = progress.speak_from.unwrap_or(Instant::MIN);
        if fixed != configured {
            let said =
                |from: Instant| if from == Instant::MIN { "the beginning".into() } else { from.to_string() };
            tracing::warn!(
                partition = self.partition,
                counts = said(fixed),
                configured = said(configured),
                "`input.speak_from` was fixed when the partition was first processed: that one counts"
            );
        }
        fixed
    }

    /// The task that goes on from what was read.
    fn task(&mut self, shared: &Arc<Shared>, history: History, readings: Vec<Reading>, now: Instant) -> Task {
        let progress = self.reader.progress();
        let known =
            progress.and_then(|progress| progress.partitioner.as_deref()).and_then(Partitioner::parse);
        let forgotten_until = progress.and_then(|progress| progress.forgotten_until).unwrap_or(Instant::MIN);
        let begun = || new_incarnation(self.partition, now);
        let incarnation = progress.map_or_else(begun, |progress| progress.incarnation.clone());
        let speak_from = self.speak_from(shared);
        let mut engine = std::mem::replace(&mut self.engine, empty(shared));
        engine.judge_by(history.rules(), speak_from);
        engine.restored(forgotten_until, now);
        let routing = Routing::new(shared.partitions, shared.partitioner.or(known));
        Task::new(
            Arc::clone(shared),
            self.partition,
            Start { incarnation, engine, history, readings, routing },
        )
    }
}

/// An engine that promises nothing before it is known what was promised.
fn empty(shared: &Shared) -> Engine {
    Engine::new(Arc::new(Rules::of_editions(&[])), shared.engine)
}

/// Told apart by when and for what it was made; two never begin in one partition at one instant.
fn new_incarnation(partition: Partition, now: Instant) -> String {
    let hash = blake3::hash(format!("{partition} {}", now.millis()).as_bytes());
    hash.to_hex()[..16].to_owned()
}

/// Whether the changelog was written for this service as it is set up now.
fn check_service(shared: &Shared, progress: &Progress) -> Result<(), String> {
    if progress.partitions != shared.partitions {
        return Err(format!(
            "the input topics had {} partitions and have {} now: leads have moved, and their clocks have not; give \
             the service a new `changelog` topic and a new `kafka.group`",
            progress.partitions, shared.partitions
        ));
    }
    let before: Vec<_> = progress.inputs.iter().map(|input| input.topic.as_str()).collect();
    let now: Vec<_> = shared.topics.iter().map(|topic| topic.name.as_str()).collect();
    if before != now {
        return Err(format!(
            "the changelog was written for the input topics {before:?}, and these are {now:?}: give the service a \
             new `changelog` topic and a new `kafka.group`"
        ));
    }
    Ok(())
}

/// Where to read on, if offsets and changelog agree.
fn where_to_start(
    shared: &Shared,
    committed: &[Option<Committed>],
    progress: Option<&Progress>,
    bounds: &[Bounds],
) -> Result<Vec<Reading>, String> {
    let offsets: Vec<_> =
        committed.iter().map(|committed| committed.as_ref().map(|c| c.position.offset)).collect();
    match progress {
        None if offsets.iter().all(Option::is_none) => {
            Ok(shared.topics.iter().zip(bounds).map(|(topic, bounds)| at_first(topic, bounds)).collect())
        }
        None => Err(format!(
            "the group has committed offsets {offsets:?}, but the changelog has no progress record: its topic was \
             made anew or emptied; give the service a new `kafka.group`, or restore the changelog"
        )),
        Some(progress) => {
            let positions: Vec<_> = progress.inputs.iter().map(|input| input.position).collect();
            let agree = committed.iter().zip(&positions).all(|(committed, position)| {
                committed.as_ref().is_none_or(|committed| {
                    committed.position.offset == position.offset && committed.nonce == progress.nonce
                })
            });
            let has_expired = offsets.iter().all(Option::is_none);
            if !holds(Safeguard::ProgressAgainstOffsets)
                || agree && (has_expired || offsets.iter().all(Option::is_some))
            {
                return Ok(progress.inputs.iter().map(where_left).collect());
            }
            let at: Vec<_> = positions.iter().map(|position| position.offset).collect();
            Err(format!(
                "the group has committed offsets {offsets:?}, but the changelog's progress is at {at:?} with nonce \
                 {}: offsets were reset by hand or another service writes to one of them; set the group's offsets \
                 back, or give the service a new `changelog` topic and a new `kafka.group`",
                progress.nonce
            ))
        }
    }
}

/// The first record of a log that was never read.
fn at_first(topic: &InputTopic, bounds: &Bounds) -> Reading {
    Reading {
        position: Position { offset: bounds.first, leader_epoch: -1 },
        topic_id: bounds.topic_id.clone().or_else(|| topic.id.as_deref().map(Arc::from)),
        read_before: 0,
    }
}

/// Where a log was left.
fn where_left(input: &Input) -> Reading {
    Reading {
        position: input.position,
        topic_id: input.id.as_deref().map(Arc::from),
        read_before: input.read_before,
    }
}
