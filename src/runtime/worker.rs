//! One thread's work: a consumer, a producer, and the partitions that the group gave it.
//!
//! A turn of the loop polls, applies, answers the group, restores, takes answers to probes, speaks, asks and commits,
//! each in a bounded step. Nothing else changes a task, so a turn can be cut after any call to the port
//! and begun anew by another worker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha12Rng;

use super::desk;
use super::port::{Answer, Bounds, Error, Offsets, Partition, Polled, Port};
use super::restore::{Refused, Restore, Restored};
use super::shared::Shared;
use super::task::{DOUBT_MS, Found, Task};
use super::trouble::Repeats;
use crate::safeguard::{Safeguard, holds};
use crate::sla::instant::Instant;

/// One thread's work.
pub struct Worker<P> {
    port: P,
    shared: Arc<Shared>,
    index: usize,
    random: ChaCha12Rng,
    partitions: BTreeMap<Partition, Phase>,
    transaction: Transaction,
    tickets: u64,
    restored_last: Partition,
    has_joined: bool,
    /// Partitions whose logs may have lost records, and what is known of that already.
    suspects: BTreeMap<Partition, Suspicion>,
    clock: ClockGuard,
    /// Whether nothing is read, for the state is too large.
    is_held: bool,
    is_busy: bool,
    published_at: Instant,
    writing_since: Instant,
    fences: u32,
    told: Repeats,
}

/// What a partition is in.
enum Phase {
    Restoring(Box<Restore>),
    Live(Box<Task>),
    /// Given up for a permanent error, until the group moves it.
    Stopped,
}

/// Signs that a partition's log has lost records. Rule H6.
struct Suspicion {
    /// What is certain.
    found: Vec<Found>,
    since: Instant,
}

/// What is known of the local wall clock. Rule H4.
#[derive(Default)]
struct ClockGuard {
    /// The wall clock less the boot-time clock, in milliseconds, a turn ago.
    offset_ms: Option<i64>,
    /// Whether what this worker committed since the clock was last set showed that it does not lead by too much,
    /// or that the brokers' clock cannot be seen.
    is_proven: bool,
    is_ahead: bool,
    looked_at: Option<Instant>,
}

/// What the producer is in.
enum Transaction {
    /// None is open.
    None,
    /// One is open, with the group's metadata of its beginning.
    Open,
    /// One has ended, nobody knows how. Rule 6.
    Unknown(Unknown),
}

/// A transaction whose outcome must be found out.
struct Unknown {
    nonce: String,
    offsets: Vec<Offsets>,
    is_initialised: bool,
    why: String,
}

enum GroupEvent {
    Assigned(Vec<Partition>),
    Revoked(Vec<Partition>),
    Lost(Vec<Partition>),
    OutOfRange,
}

/// Records taken in one turn.
const RECORDS_MAX: usize = 10_000;
/// Leads looked at in one turn, over all partitions.
const LEADS_MAX: usize = 10_000;
/// Leads and outputs that a transaction may gather before its time is up.
const WEIGHT_MAX: usize = 20_000;
/// How long a turn may wait for records when nothing else is due.
const IDLE: Duration = Duration::from_millis(50);
/// How long it may wait while an answer is on its way that no poll will notice.
const BRISK: Duration = Duration::from_millis(2);
/// A transaction that took so long may have been timed out by its coordinator.
const SLOW_MS: i64 = 5_000;
/// How long a turn may take for restoring.
const RESTORE_MS: i64 = 100;
/// A wall clock that goes so far off the boot-time clock from one turn to the next was set. Rule H4.
const CLOCK_STEP_MS: i64 = 500;
/// How often a worker that is silent because its clock leads looks at the brokers' clock.
const CLOCK_LOOK_MS: i64 = 5_000;
/// Gauges are brought up to date this often.
const PUBLISH_MS: i64 = 500;

impl<P: Port> Worker<P> {
    /// A worker that has no partition yet.
    pub fn new(port: P, shared: Arc<Shared>, index: usize, random: ChaCha12Rng) -> Worker<P> {
        Worker {
            port,
            shared,
            index,
            random,
            partitions: BTreeMap::new(),
            transaction: Transaction::None,
            tickets: 0,
            restored_last: -1,
            has_joined: false,
            suspects: BTreeMap::new(),
            clock: ClockGuard::default(),
            is_held: false,
            is_busy: false,
            published_at: Instant::MIN,
            writing_since: Instant::MIN,
            fences: 0,
            told: Repeats::default(),
        }
    }

    /// Comes round once. An error ends the worker; what was not committed is done again by the next.
    pub fn turn(&mut self) -> Result<(), Error> {
        self.shared.health.turned(self.index, self.port.now());
        self.watch_clock();
        self.find_out()?;
        self.begin()?;
        let events = self.poll()?;
        for event in events {
            self.answer(event)?;
        }
        self.take_answers()?;
        self.make_good()?;
        self.restore()?;
        self.advance();
        self.ask();
        self.commit_if_due()?;
        self.hold_if_full()?;
        self.publish();
        self.answer_questions();
        Ok(())
    }

    /// The partitions that are processed, to be looked at; none while it is being found out how a transaction
    /// ended.
    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        let is_known = !matches!(self.transaction, Transaction::Unknown(_));
        self.partitions.values().filter_map(move |phase| match phase {
            Phase::Live(task) if is_known => Some(&**task),
            _ => None,
        })
    }

    /// Commits what is done and gives every partition back.
    pub fn stop(&mut self) -> Result<(), Error> {
        if matches!(self.transaction, Transaction::Open) {
            self.commit()?;
        }
        let partitions: Vec<_> = std::mem::take(&mut self.partitions).into_keys().collect();
        self.port.release(&partitions)
    }

    /// Begins a transaction before anything is decided in it. Rule 3.
    fn begin(&mut self) -> Result<(), Error> {
        let has_tasks = self.partitions.values().any(|phase| matches!(phase, Phase::Live(_)));
        if has_tasks && matches!(self.transaction, Transaction::None) {
            match self.port.begin() {
                Ok(()) => self.transaction = Transaction::Open,
                Err(error) => self.lose(String::new(), Vec::new(), error)?,
            }
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<Vec<GroupEvent>, Error> {
        let wait = self.patience();
        // No later than this, whatever the records wait for. Rule H8.
        let arrival = self.port.now().plus(wait.as_millis() as i64);
        let is_known = !matches!(self.transaction, Transaction::Unknown(_));
        let mut events = Vec::new();
        let mut count = 0;
        let partitions = &mut self.partitions;
        self.port.poll(wait, RECORDS_MAX, &mut |polled| match polled {
            Polled::Record(record) => {
                count += 1;
                if let Some(Phase::Live(task)) = partitions.get_mut(&record.partition)
                    && is_known
                {
                    task.apply(&record, arrival);
                }
            }
            Polled::Assigned(given) => events.push(GroupEvent::Assigned(given)),
            Polled::Revoked(wanted) => events.push(GroupEvent::Revoked(wanted)),
            Polled::Lost(lost) => events.push(GroupEvent::Lost(lost)),
            Polled::OutOfRange => events.push(GroupEvent::OutOfRange),
        })?;
        self.is_busy = count > 0;
        if is_known {
            self.note_positions()?;
        }
        Ok(events)
    }

    /// How long a poll may wait: not beyond the next thing to do.
    fn patience(&mut self) -> Duration {
        if self.is_busy || matches!(self.transaction, Transaction::Unknown(_)) {
            return Duration::ZERO;
        }
        let now = self.port.now();
        let mut patience = IDLE;
        for phase in self.partitions.values_mut() {
            let next = match phase {
                Phase::Restoring(_) => Duration::ZERO,
                Phase::Stopped => IDLE,
                Phase::Live(task) if task.is_asking() => BRISK,
                Phase::Live(task) => {
                    let commit = task.dirty_since().map(|since| since.plus(self.shared.commit_interval_ms));
                    let next = [task.next_due(), commit].into_iter().flatten().min();
                    next.map_or(IDLE, |at| duration_ms(at.since(now)).max(BRISK))
                }
            };
            patience = patience.min(next);
        }
        patience
    }

    fn note_positions(&mut self) -> Result<(), Error> {
        for (partition, phase) in &mut self.partitions {
            if let Phase::Live(task) = phase {
                task.applied(self.port.positions(*partition)?);
            }
        }
        Ok(())
    }

    fn answer(&mut self, event: GroupEvent) -> Result<(), Error> {
        match event {
            GroupEvent::Assigned(given) => {
                self.shared.metrics.rebalanced("assigned");
                self.has_joined = true;
                self.fences = 0;
                self.settle()?;
                let now = self.port.now();
                for partition in &given {
                    let restore = Restore::new(&self.shared, *partition, now);
                    self.partitions.insert(*partition, Phase::Restoring(Box::new(restore)));
                }
                self.port.accept(&given)
            }
            GroupEvent::Revoked(wanted) => {
                self.shared.metrics.rebalanced("revoked");
                self.settle()?;
                self.give_up(&wanted)
            }
            GroupEvent::Lost(lost) => {
                self.shared.metrics.rebalanced("lost");
                // Until the group takes it in again, it is not ready.
                self.has_joined = false;
                tracing::warn!(?lost, "partitions were lost: the group went on without this worker");
                self.drop_transaction("the group went on without this worker")?;
                self.give_up(&lost)
            }
            GroupEvent::OutOfRange => {
                let since = self.port.now();
                for partition in self.partitions.keys() {
                    let suspicion = Suspicion { found: Vec::new(), since };
                    self.suspects.entry(*partition).or_insert(suspicion);
                }
                Ok(())
            }
        }
    }

    /// Ends the transaction while the partitions are still this worker's. Rule 3.
    fn settle(&mut self) -> Result<(), Error> {
        if matches!(self.transaction, Transaction::Open) {
            self.port.refresh_group();
            self.commit()?;
            if matches!(self.transaction, Transaction::Open) {
                self.port.refresh_group();
            }
        }
        Ok(())
    }

    fn give_up(&mut self, partitions: &[Partition]) -> Result<(), Error> {
        for partition in partitions {
            if let Some(Phase::Restoring(_)) = self.partitions.remove(partition) {
                self.port.changelog_close(*partition);
            }
        }
        self.port.release(partitions)
    }

    fn drop_transaction(&mut self, why: &str) -> Result<(), Error> {
        if !matches!(self.transaction, Transaction::Open) {
            return Ok(());
        }
        match self.port.abort() {
            Ok(()) => {
                self.transaction = Transaction::None;
                self.undo()
            }
            Err(error) => self.lose(String::new(), Vec::new(), Error::Transaction(format!("{why}: {error}"))),
        }
    }

    /// Every task is as it was before the transaction, and reads on from there. Rule 5.
    fn undo(&mut self) -> Result<(), Error> {
        self.shared.metrics.aborted();
        self.rewind_all()
    }

    /// Finds out how a transaction ended, once somebody can say. Rule 6.
    fn find_out(&mut self) -> Result<(), Error> {
        let Transaction::Unknown(unknown) = &mut self.transaction else { return Ok(()) };
        if !unknown.is_initialised {
            let restarted = match holds(Safeguard::NewProducer) || unknown.nonce.is_empty() {
                true => self.port.reinit(),
                false => self.port.abort().or_else(|_| self.port.reinit()),
            };
            match restarted {
                Err(Error::NotYet(why)) => {
                    if self.told.is_news(&why, self.port.now().millis()) {
                        tracing::warn!(why, "the producer cannot start anew; nothing is said until it can");
                    }
                    return Ok(());
                }
                Err(Error::Fenced(_)) if self.fences < 2 => {
                    self.fences += 1;
                    return Ok(());
                }
                reinit => reinit?,
            }
            unknown.is_initialised = true;
        }
        let ours = unknown.offsets.iter().map(|offsets| offsets.partition);
        let first =
            ours.into_iter().find(|partition| matches!(self.partitions.get(partition), Some(Phase::Live(_))));
        let first = first.filter(|_| holds(Safeguard::Nonce));
        let Some(is_committed) = was_committed(&mut self.port, first, &unknown.nonce, &mut self.told)? else {
            return Ok(());
        };
        let Transaction::Unknown(unknown) = std::mem::replace(&mut self.transaction, Transaction::None)
        else {
            return Ok(());
        };
        if self.told.is_news(&format!("{is_committed} {}", unknown.why), self.port.now().millis()) {
            tracing::warn!(why = unknown.why, is_committed, "a transaction's outcome was found out");
        }
        if is_committed {
            self.keep(unknown.offsets, Duration::ZERO);
            self.rewind_all()
        } else {
            self.undo()
        }
    }

    /// Every task is as it was committed, and reads on from there: also after a commit that had to be found
    /// out, for what was polled meanwhile was not applied.
    fn rewind_all(&mut self) -> Result<(), Error> {
        for (partition, phase) in &mut self.partitions {
            if let Phase::Live(task) = phase {
                task.abort();
                if holds(Safeguard::RewindAfterAbort) {
                    self.port.rewind(*partition, &task.committed())?;
                }
            }
        }
        Ok(())
    }

    /// The transaction has ended, nobody knows how.
    fn lose(&mut self, nonce: String, offsets: Vec<Offsets>, error: Error) -> Result<(), Error> {
        match &error {
            Error::Fatal(_) | Error::Refused(_) => return Err(error),
            // The coordinator fences a transaction that took too long as well; that is nobody else's doing.
            Error::Fenced(_) if SLOW_MS <= self.port.now().since(self.writing_since) => {}
            Error::Fenced(why) if self.fences >= 1 && holds(Safeguard::FenceOfOnesName) => {
                return Err(Error::Fatal(format!(
                    "another process has this instance's name: it was fenced twice in a row ({why}); give each \
                     process its own `kafka.instance`"
                )));
            }
            Error::Fenced(_) => self.fences += 1,
            Error::NotYet(_) | Error::Transaction(_) => {}
        }
        if !holds(Safeguard::UndoLogWhileUnknown) {
            let live = self.partitions.values_mut();
            live.for_each(|phase| {
                if let Phase::Live(task) = phase {
                    task.forget_undo()
                }
            });
        }
        let why = error.to_string();
        if self.told.is_news(&why, self.port.now().millis()) {
            tracing::warn!(%error, "a transaction failed; its outcome is being found out");
        }
        self.transaction = Transaction::Unknown(Unknown { nonce, offsets, is_initialised: false, why });
        Ok(())
    }

    /// Takes partitions over, one bounded step of each until the time of a turn is up. Rule 11.
    fn restore(&mut self) -> Result<(), Error> {
        let until = self.port.now().plus(RESTORE_MS);
        let is_restoring = |phase: &Phase| matches!(phase, Phase::Restoring(_));
        let restoring: Vec<_> =
            self.partitions.iter().filter(|(_, p)| is_restoring(p)).map(|(n, _)| *n).collect();
        let first = restoring.partition_point(|partition| *partition <= self.restored_last);
        for partition in restoring[first..].iter().chain(&restoring[..first]).copied() {
            self.restored_last = partition;
            self.restore_one(partition)?;
            if until <= self.port.now() {
                break;
            }
        }
        Ok(())
    }

    fn restore_one(&mut self, partition: Partition) -> Result<(), Error> {
        let Some(Phase::Restoring(restore)) = self.partitions.get_mut(&partition) else { return Ok(()) };
        match restore.step(&self.shared, &mut self.port) {
            Ok(Restored::NotYet) => Ok(()),
            Ok(Restored::Ready(task, took)) => {
                tracing::info!(partition, ?took, "restored");
                self.shared.metrics.restored(took);
                self.partitions.insert(partition, Phase::Live(task));
                Ok(())
            }
            Err(Refused::Port(error)) => Err(error),
            Err(Refused::Service(why)) => Err(Error::Refused(why)),
            Err(Refused::Partition(why)) => {
                tracing::error!(partition, why, "the partition cannot be processed");
                self.port.changelog_close(partition);
                self.stop_partition(partition);
                Ok(())
            }
        }
    }

    fn stop_partition(&mut self, partition: Partition) {
        self.partitions.insert(partition, Phase::Stopped);
        self.shared.metrics.partition_stopped(partition);
    }

    /// Goes on behind what was lost, once the brokers have said what that is: what is decided is committed, then
    /// the gap with the offsets that skip it. Rule H6.
    fn make_good(&mut self) -> Result<(), Error> {
        let suspects: Vec<_> = self.suspects.keys().copied().collect();
        for partition in suspects {
            let Some(Phase::Live(task)) = self.partitions.get_mut(&partition) else {
                self.suspects.remove(&partition);
                continue;
            };
            task.new_epoch();
            let bounds = match self.port.bounds(partition) {
                Err(Error::NotYet(_)) => continue,
                bounds => bounds?,
            };
            let Some(suspicion) = self.suspects.get_mut(&partition) else { continue };
            let is_old = DOUBT_MS <= self.port.now().since(suspicion.since);
            let seen = task.losses(&bounds);
            let is_known = |(topic, _): &Found| suspicion.found.iter().any(|(known, _)| known == topic);
            let unknown: Vec<_> = seen.into_iter().filter(|found| !is_known(found)).collect();
            // A broker that was deposed may have answered: what it says counts when it is said again.
            if !unknown.is_empty() && !is_old {
                continue;
            }
            suspicion.found.extend(unknown);
            let found = self.suspects.remove(&partition).map_or_else(Vec::new, |suspicion| suspicion.found);
            match self.partitions.get_mut(&partition) {
                Some(Phase::Live(task)) if found.is_empty() => task.suspect(),
                _ => self.skip_gap(partition, found, &bounds)?,
            }
        }
        Ok(())
    }

    fn skip_gap(&mut self, partition: Partition, found: Vec<Found>, bounds: &[Bounds]) -> Result<(), Error> {
        if matches!(self.transaction, Transaction::Open) {
            self.commit()?;
        }
        let now = self.port.now();
        if !matches!(self.transaction, Transaction::Open) {
            self.suspects.insert(partition, Suspicion { found, since: now });
            return Ok(());
        }
        if let Some(Phase::Live(task)) = self.partitions.get_mut(&partition) {
            if !found.is_empty() {
                task.lose(&found, bounds, now);
            }
            // Also where nothing is lost: the client has stopped reading.
            self.port.rewind(partition, &task.positions())?;
        }
        Ok(())
    }

    fn take_answers(&mut self) -> Result<(), Error> {
        let (partitions, suspects, since) = (&mut self.partitions, &mut self.suspects, self.port.now());
        let mut refused = Ok(());
        self.port.answers(&mut |answer: Answer| {
            if let Some(Phase::Live(task)) = partitions.get_mut(&answer.partition) {
                match task.answered(&answer) {
                    Ok(None) => {}
                    Ok(Some(found)) => {
                        let suspicion = Suspicion { found: Vec::new(), since };
                        suspects.entry(answer.partition).or_insert(suspicion).found.push(found);
                    }
                    Err(error) => refused = Err(error),
                }
            }
        });
        refused?;
        let stopped = self.partitions.iter_mut().filter_map(|(partition, phase)| match phase {
            Phase::Live(task) => task.take_rewind().then_some(*partition),
            Phase::Restoring(_) | Phase::Stopped => None,
        });
        for partition in stopped.collect::<Vec<_>>() {
            self.skip_gap(partition, Vec::new(), &[])?;
        }
        Ok(())
    }

    /// Ends all evidence where the wall clock was set since the last turn. Rule H4.
    fn watch_clock(&mut self) {
        let now = self.port.now();
        let offset_ms = now.millis() - self.port.uptime_ms();
        let before = self.clock.offset_ms.replace(offset_ms);
        let is_step = |step: &i64| step.abs() > CLOCK_STEP_MS && holds(Safeguard::EpochOnClockStep);
        let Some(step_ms) = before.map(|before| offset_ms - before).filter(is_step) else {
            return;
        };
        tracing::warn!(step_ms, "the wall clock was set; proofs under way start over");
        self.shared.metrics.clock_stepped();
        // What the brokers' clock showed was shown of another clock.
        self.clock.is_proven = false;
        self.published_at = Instant::MIN;
        self.suspects.values_mut().for_each(|suspicion| suspicion.since = now);
        for phase in self.partitions.values_mut() {
            if let Phase::Live(task) = phase {
                task.clock_was_set(now);
            }
        }
    }

    /// Whether the local clock is known not to lead the brokers' by too much, as far as their clock can be seen.
    /// While it does, progress is committed now and then, for the sake of its append time. Rule H4.
    fn may_speak(&mut self) -> bool {
        let lead_ms = self.port.clock_lead().map(|lead| lead.least_ms);
        let is_ahead = lead_ms.is_some_and(|lead_ms| self.shared.clock_skew_max_ms < lead_ms);
        let is_ahead = is_ahead && holds(Safeguard::ClockLead);
        if is_ahead != self.clock.is_ahead {
            self.clock.is_ahead = is_ahead;
            match is_ahead {
                true => tracing::error!(lead_ms, "the local clock leads the brokers': nothing is said"),
                false => tracing::info!(lead_ms, "the local clock no longer leads the brokers'"),
            }
        }
        let now = self.port.now();
        let is_time = |at: Instant| CLOCK_LOOK_MS <= now.since(at).abs();
        if (is_ahead || !self.clock.is_proven) && self.clock.looked_at.is_none_or(is_time) {
            self.clock.looked_at = Some(now);
            for phase in self.partitions.values_mut() {
                if let Phase::Live(task) = phase {
                    task.want_commit();
                }
            }
        }
        (self.clock.is_proven || !holds(Safeguard::ClockSeen)) && !is_ahead
    }

    /// A commit has shown the brokers' clock; a process that stood still meanwhile knows no better. Rule H4.
    fn see_clock(&mut self) {
        let most_ms = self.port.clock_lead().map(|lead| lead.most_ms);
        let is_right = most_ms.is_none_or(|most_ms| most_ms <= self.shared.clock_skew_max_ms);
        if !is_right && !self.clock.is_proven {
            tracing::warn!(
                most_ms,
                "the local clock may lead the brokers' by more than `input.clock_skew_max`: nothing is said until \
                 an answer comes sooner"
            );
        }
        self.clock.is_proven |= is_right;
    }

    fn advance(&mut self) {
        if !matches!(self.transaction, Transaction::Open) || !self.may_speak() {
            return;
        }
        let now = self.port.now();
        let budget = (LEADS_MAX / self.partitions.len().max(1)).max(1);
        for phase in self.partitions.values_mut() {
            if let Phase::Live(task) = phase {
                self.is_busy |= task.advance(budget, now);
            }
        }
    }

    fn ask(&mut self) {
        if !matches!(self.transaction, Transaction::Open) {
            return;
        }
        let now = self.port.now();
        let mut asked = Vec::new();
        for (partition, phase) in &mut self.partitions {
            if let Phase::Live(task) = phase
                && task.wants_probe(now)
            {
                task.asked(self.tickets, now);
                asked.push(*partition);
            }
        }
        if !asked.is_empty() {
            self.port.probe(self.tickets, &asked);
            self.tickets += 1;
        }
    }

    fn commit_if_due(&mut self) -> Result<(), Error> {
        if !matches!(self.transaction, Transaction::Open) {
            return Ok(());
        }
        let (mut since, mut weight, mut speaks) = (None, 0, false);
        for phase in self.partitions.values() {
            if let Phase::Live(task) = phase {
                since = [since, task.dirty_since()].into_iter().flatten().min();
                weight += task.weight();
                speaks |= task.has_outputs();
            }
        }
        let now = self.port.now();
        let is_old = since.is_some_and(|since| since.plus(self.shared.commit_interval_ms) <= now);
        if is_old || WEIGHT_MAX <= weight || (speaks && !self.is_busy) {
            self.commit()?;
        }
        Ok(())
    }

    /// Writes and commits one transaction: outputs, changelog and offsets of all tasks that changed. Rule 1.
    fn commit(&mut self) -> Result<(), Error> {
        let began_at = self.port.now();
        self.writing_since = began_at;
        let nonce = format!("{:016x}", self.random.next_u64());
        let mut offsets = Vec::new();
        for phase in self.partitions.values() {
            if let Phase::Live(task) = phase
                && task.is_dirty()
            {
                match task.write(&mut self.port, &nonce, began_at) {
                    Ok(written) => offsets.push(written),
                    Err(error) => return self.lose(nonce, offsets, error),
                }
            }
        }
        if offsets.is_empty() {
            return Ok(());
        }
        let committed = self.send_offsets(&offsets).and_then(|()| self.port.commit());
        if let Err(error) = committed {
            return self.lose(nonce, offsets, error);
        }
        self.fences = 0;
        self.see_clock();
        self.transaction = Transaction::None;
        let took = Duration::from_millis(self.port.now().since(began_at).unsigned_abs());
        self.keep(offsets, took);
        self.begin()
    }

    /// Offsets also where they are unchanged: a transaction without any is not fenced. Rule 1.
    fn send_offsets(&mut self, offsets: &[Offsets]) -> Result<(), Error> {
        if holds(Safeguard::OffsetsInEveryTransaction) {
            return self.port.send_offsets(offsets);
        }
        let has_moved = |offsets: &&Offsets| match self.partitions.get(&offsets.partition) {
            Some(Phase::Live(task)) => task.committed() != offsets.positions,
            _ => false,
        };
        let moved: Vec<_> = offsets.iter().filter(has_moved).cloned().collect();
        if moved.is_empty() { Ok(()) } else { self.port.send_offsets(&moved) }
    }

    /// The transaction was committed: its state stays.
    fn keep(&mut self, offsets: Vec<Offsets>, took: Duration) {
        let now = self.port.now();
        self.shared.metrics.committed(now, took);
        for Offsets { partition, positions, .. } in offsets {
            if let Some(Phase::Live(task)) = self.partitions.get_mut(&partition) {
                task.commit(positions, now);
            }
        }
    }

    /// Reads nothing more while the state of the process is too large. Nothing is lost by it: what is not read
    /// stays in the log, and nothing is said to be proven.
    fn hold_if_full(&mut self) -> Result<(), Error> {
        let tasks = self.partitions.values().filter_map(|phase| match phase {
            Phase::Live(task) => Some(task.state_bytes()),
            Phase::Restoring(_) | Phase::Stopped => None,
        });
        let bytes = tasks.sum();
        self.shared.state.worker_has(self.index, bytes);
        let is_full = self.shared.state.is_full(self.is_held);
        if is_full == self.is_held {
            return Ok(());
        }
        match is_full {
            true => tracing::error!(
                bytes,
                "the state is larger than `state_bytes_max`: nothing is read until the limit is raised, \
                 or another instance takes partitions over"
            ),
            false => tracing::info!(bytes, "the state fits again: reading goes on"),
        }
        self.port.hold(is_full)?;
        self.is_held = is_full;
        self.shared.metrics.reading_held(self.index, is_full);
        Ok(())
    }

    /// Tells those who asked about a lead what is known of it.
    fn answer_questions(&self) {
        while let Some(question) = self.shared.desk.next(self.index) {
            let mut answer = desk::Answer::default();
            let is_known = !matches!(self.transaction, Transaction::Unknown(_));
            for (partition, phase) in &self.partitions {
                match phase {
                    Phase::Live(task) if is_known => answer.hear(task, &question.lead_id),
                    Phase::Live(_) | Phase::Restoring(_) => answer.restoring.push(*partition),
                    Phase::Stopped => {}
                }
            }
            question.answer(answer);
        }
    }

    fn publish(&mut self) {
        let now = self.port.now();
        if now.since(self.published_at) < PUBLISH_MS {
            return;
        }
        self.published_at = now;
        let (mut restoring, mut stopped) = (0, 0);
        for phase in self.partitions.values_mut() {
            match phase {
                Phase::Restoring(_) => restoring += 1,
                Phase::Stopped => stopped += 1,
                Phase::Live(task) => task.publish(now),
            }
        }
        if let Some(lead) = self.port.clock_lead() {
            self.shared.metrics.clock_leads(self.index, lead.least_ms);
        }
        self.shared.metrics.worker_has(self.index, self.partitions.len(), restoring);
        self.shared.health.worker_has(self.index, restoring, stopped, self.has_joined);
    }
}

/// Whether a transaction that carried offsets of this partition was committed; `None` while nobody can
/// say. Rule 6.
fn was_committed<P: Port>(
    port: &mut P,
    partition: Option<Partition>,
    nonce: &str,
    told: &mut Repeats,
) -> Result<Option<bool>, Error> {
    let Some(partition) = partition else { return Ok(Some(false)) };
    match port.committed(partition, IDLE) {
        Err(Error::NotYet(why)) => {
            if told.is_news(&why, port.now().millis()) {
                tracing::warn!(why, "committed offsets cannot be read; nothing is said until they can");
            }
            Ok(None)
        }
        Err(error) => Err(error),
        Ok(committed) => Ok(Some(committed.iter().flatten().any(|committed| committed.nonce == nonce))),
    }
}

fn duration_ms(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
