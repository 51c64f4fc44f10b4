//! One partition number of every input topic: its state, its horizon, and what its next commit carries.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::history::{History, Loaded, Next};
use super::port::{
    Answer, Bounds, Error, LogEnd, Offsets, Outgoing, Partition, Port, Position, Record, SecondOpinion,
    Target, Topic,
};
use super::report;
use super::shared::{Shared, Upcoming};
use crate::safeguard::{Safeguard, holds};
use crate::sla::clock::Step;
use crate::sla::engine::{Applied, Arrival, Effects, Engine, Output};
use crate::sla::horizon::{Horizon, Refusal};
use crate::sla::instant::Instant;
use crate::sla::rules::Rules;
use crate::sla::store::{OpenClock, OpenState, RejectedAt, Tally};
use crate::wire::changelog::{self, GapRecord, Input, Loss, Progress};
use crate::wire::dead_letter::DeadLetter;
use crate::wire::decode::{Decoder, NAME_BYTES_MAX, Reason, Rejected};
use crate::wire::encode::Encoded;
use crate::wire::routing::{Partitioner, Routing};

/// One partition number that is being processed.
pub struct Task {
    shared: Arc<Shared>,
    partition: Partition,
    incarnation: String,
    engine: Engine,
    history: History,
    /// Which of the files that were loaded was looked at last.
    looked_at: u64,
    /// Which one waits to be taken up, and since when.
    noticed: Option<(u64, Instant)>,
    decoder: Decoder,
    routing: Routing,
    horizon: Horizon,
    committed: Vec<Reading>,
    readings: Vec<Reading>,
    doubted_since: Vec<Option<Instant>>,
    /// Whether its client may have stopped to read it for nothing.
    wants_rewind: bool,
    /// Inputs whose position may have been refused although their log holds it.
    is_suspect: Vec<bool>,
    pending: Pending,
    wants_commit: bool,
    probe_after: Instant,
    stalled_since: Option<Instant>,
    published: Tally,
}

/// How far one input is read, and which log it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The next record.
    pub position: Position,
    /// The topic's id, where the cluster gives one.
    pub topic_id: Option<Arc<str>>,
    /// Below this every record was read once before the log lost some of them.
    pub read_before: i64,
}

impl Reading {
    /// Why the log is not the one that was read so far, if it is not. Rule H6.
    pub fn loss(&self, bounds: &Bounds) -> Option<String> {
        let Bounds { first, end, topic_id } = bounds;
        let offset = self.position.offset;
        match (&self.topic_id, topic_id) {
            (Some(before), Some(now)) if before != now && holds(Safeguard::TopicId) => {
                Some(format!("the topic was made anew: it had the id {before} and has {now}"))
            }
            _ if !holds(Safeguard::PositionInLog) => None,
            _ if offset < *first => {
                Some(format!("the log begins at {first}, and {offset} was to be read next"))
            }
            _ if *end < offset => Some(format!("the log ends at {end}, and {offset} was to be read next")),
            _ => None,
        }
    }

    /// The same input after a loss: everything that is there is read, for what was lost may have been
    /// replaced. What was known already changes nothing.
    fn after_loss(&self, bounds: &Bounds) -> Reading {
        let is_same = self.topic_id == bounds.topic_id || bounds.topic_id.is_none();
        let read_before = self.read_before.max(self.position.offset);
        Reading {
            position: Position { offset: bounds.first, leader_epoch: -1 },
            topic_id: bounds.topic_id.clone().or_else(|| self.topic_id.clone()),
            read_before: if is_same { read_before } else { 0 },
        }
    }
}

/// An input that lost records, and how that was found.
pub type Found = (Topic, String);

/// What the next commit carries besides state, and what it counts.
#[derive(Default)]
struct Pending {
    gaps: Vec<GapRecord>,
    outputs: Vec<Output>,
    letters: Vec<DeadLetter>,
    letters_bytes: usize,
    effects: Effects,
    rejected: Vec<(u16, Reason)>,
    consumed: BTreeMap<(u16, &'static str), u64>,
    duplicate: BTreeMap<u16, u64>,
    conflicting: BTreeMap<u16, u64>,
    late: BTreeMap<u16, u64>,
    ignored: BTreeMap<u16, u64>,
    since: Option<Instant>,
}

/// Where a task starts.
pub struct Start {
    /// Drawn when the partition's changelog began.
    pub incarnation: String,
    /// The state, as the changelog has it.
    pub engine: Engine,
    /// The policy files that were taken up.
    pub history: History,
    /// Where to read on.
    pub readings: Vec<Reading>,
    /// How keys are partitioned, where that was found before.
    pub routing: Routing,
}

/// A partition is asked about again no sooner than this.
const PROBE_INTERVAL_MS: i64 = 50;
/// A partition where nothing is planned is asked about this often, for its metrics.
const PROBE_IDLE_MS: i64 = 5_000;
/// So many bytes of dead letters weigh as one output.
const LETTER_BYTES: usize = 2_048;
/// What may be said by somebody who does not know better is believed when it is said again so much later.
pub const DOUBT_MS: i64 = 2_000;

impl Task {
    /// Begins to process a partition.
    pub fn new(shared: Arc<Shared>, partition: Partition, start: Start) -> Task {
        let horizon = new_horizon(&shared, &start.readings);
        Task {
            decoder: Decoder::new(shared.decode),
            shared,
            partition,
            incarnation: start.incarnation,
            engine: start.engine,
            history: start.history,
            looked_at: 0,
            noticed: None,
            routing: start.routing,
            horizon,
            committed: start.readings.clone(),
            doubted_since: vec![None; start.readings.len()],
            wants_rewind: false,
            is_suspect: vec![false; start.readings.len()],
            readings: start.readings,
            pending: Pending::default(),
            wants_commit: true,
            probe_after: Instant::MIN,
            stalled_since: None,
            published: Tally::new(),
        }
    }

    /// Its number.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// Its state.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The policy files that it has taken up.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// How keys are partitioned, where it has been found out.
    pub fn partitioner(&self) -> Option<Partitioner> {
        self.routing.partitioner()
    }

    /// Where the committed state reads on.
    pub fn committed(&self) -> Vec<Position> {
        self.committed.iter().map(|reading| reading.position).collect()
    }

    /// Where it reads on.
    pub fn positions(&self) -> Vec<Position> {
        self.readings.iter().map(|reading| reading.position).collect()
    }

    /// Takes a record in. Section 7: what cannot be used is kept for the dead-letter topic.
    pub fn apply(&mut self, record: &Record<'_>, now: Instant) {
        self.pending.since.get_or_insert(now);
        let event = match self.decoder.decode(record) {
            Ok(event) => event,
            Err(rejected) => return self.reject(record, rejected, now),
        };
        if let Err(rejected) = self.check_route(record, &event.lead_id) {
            return self.reject(record, rejected, now);
        }
        let kind = event.fact.kind.as_str();
        let arrival = Arrival { at: now, recorded_at: record.timestamp };
        let applied = self.engine.apply(&event.lead_id, event.fact, arrival);
        let rejected = |reason, detail: &str| Rejected {
            reason,
            detail: detail.to_owned(),
            lead_id: Some(event.lead_id.to_string()),
        };
        match applied {
            Applied::TooLate | Applied::Merged if self.was_read_before(record) => {
                self.pending.count(record.topic, kind, Applied::Duplicate);
            }
            Applied::TooLate => {
                self.reject(record, rejected(Reason::TooLate, "what it could change is settled"), now);
            }
            Applied::Merged => {
                self.reject(record, rejected(Reason::Merged, "the lead is merged into another"), now);
            }
            applied => self.pending.count(record.topic, kind, applied),
        }
    }

    /// Whether the log lost records after this one was read for the first time.
    fn was_read_before(&self, record: &Record<'_>) -> bool {
        self.readings
            .get(usize::from(record.topic))
            .is_some_and(|reading| record.offset < reading.read_before)
    }

    /// Whether a record lies in its lead's partition.
    fn check_route(&mut self, record: &Record<'_>, lead_id: &str) -> Result<(), Rejected> {
        if !self.shared.is_keyed_by_lead {
            return Ok(());
        }
        let checked = self.routing.check(record.key, lead_id, record.partition);
        checked.map_err(|misrouted| Rejected {
            reason: Reason::Misrouted,
            detail: misrouted.as_str().to_owned(),
            lead_id: Some(lead_id.to_owned()),
        })
    }

    fn reject(&mut self, record: &Record<'_>, rejected: Rejected, now: Instant) {
        if rejected.reason == Reason::UnknownType && self.shared.ignores_unknown_types {
            *self.pending.ignored.entry(record.topic).or_default() += 1;
            return;
        }
        let topic = self.shared.topic(record.topic);
        let letter = DeadLetter::new(record, topic, rejected.reason, &rejected.detail);
        self.pending.letters_bytes += letter.bytes();
        self.pending.letters.push(letter);
        self.pending.rejected.push((record.topic, rejected.reason));
        let of_key = || record.key.and_then(|key| std::str::from_utf8(key).ok()).map(str::to_owned);
        let is_of_another_partition = |lead_id: &str| {
            rejected.reason == Reason::Misrouted && self.engine.store().find(lead_id).is_none()
        };
        // What was settled or came from a merged lead proves nothing about clocks that are open.
        if matches!(rejected.reason, Reason::TooLate | Reason::Merged) {
            return;
        }
        // A name too long to be a lead's is none.
        let is_name = |lead_id: &String| (1..=NAME_BYTES_MAX).contains(&lead_id.len());
        let lead_id = rejected.lead_id.clone().or_else(of_key).filter(is_name);
        if let Some(lead_id) = lead_id.filter(|lead_id| !is_of_another_partition(lead_id)) {
            let place = RejectedAt {
                recorded_at: record.timestamp,
                topic: record.topic,
                partition: record.partition,
                offset: record.offset,
            };
            let arrival = Arrival { at: now, recorded_at: record.timestamp };
            self.engine.mark_rejected(&lead_id, place, arrival);
        }
    }

    /// Everything below these positions is applied.
    pub fn applied(&mut self, positions: Vec<Position>) {
        for (topic, (reading, position)) in self.readings.iter_mut().zip(positions).enumerate() {
            self.horizon.applied(topic as u16, position.offset, position.leader_epoch);
            reading.position = position;
        }
    }

    /// The inputs that lost records, as their bounds show. Rule H6.
    pub fn losses(&self, bounds: &[Bounds]) -> Vec<Found> {
        losses(&self.readings, bounds)
    }

    /// Records of these inputs were lost before they were read. What is open is undecidable, and reading goes
    /// on at the first record that is there; the next commit carries both. Rule H6.
    pub fn lose(&mut self, found: &[Found], bounds: &[Bounds], now: Instant) {
        let gap = self.engine.lose(now);
        let mut losses = Vec::new();
        for (topic, why) in found {
            let place = usize::from(*topic);
            let (Some(reading), Some(bounds)) = (self.readings.get_mut(place), bounds.get(place)) else {
                continue;
            };
            let (from, name) = (reading.position.offset, self.shared.topic(*topic).to_owned());
            *reading = reading.after_loss(bounds);
            let to = reading.position.offset;
            tracing::error!(
                topic = name,
                partition = self.partition,
                from,
                to,
                why,
                "records were lost before they were read: what is open is undecidable"
            );
            losses.push(Loss { topic: name, from, to, why: why.clone() });
        }
        let proven_until = (gap.proven_until != Instant::MIN).then_some(gap.proven_until);
        self.pending.gaps.push(GapRecord { at: gap.at, proven_until, losses });
        self.pending.since.get_or_insert(now);
        // Of the new log nothing is known, not even who led it.
        self.horizon = new_horizon(&self.shared, &self.readings);
        self.doubted_since.fill(None);
        self.is_suspect.fill(false);
        self.engine.forget_horizon();
    }

    /// A position was refused and none lies outside its log: some log was cut below its position and has grown
    /// past it again since, which only a leader of a later epoch than the position's can have done. Which one it
    /// was the client does not say. Rule H6.
    pub fn suspect(&mut self) {
        if !holds(Safeguard::RefusedPosition) {
            return;
        }
        self.is_suspect.fill(true);
    }

    /// Whether its client has to be told once more where to read, which it is told once.
    pub fn take_rewind(&mut self) -> bool {
        std::mem::take(&mut self.wants_rewind)
    }

    /// Why a log may have been cut and grown again, if it may.
    fn may_be_another(&mut self, place: usize, end: &LogEnd) -> Option<String> {
        let is_suspect = self.is_suspect.get_mut(place).is_some_and(std::mem::take);
        let epoch = self.readings.get(place)?.position.leader_epoch;
        let is_another = is_suspect && 0 <= epoch && epoch < end.leader_epoch;
        self.wants_rewind |= is_suspect && !is_another;
        is_another.then(|| {
            format!(
                "its position of leader epoch {epoch} was refused, and the epoch is {} now",
                end.leader_epoch
            )
        })
    }

    /// A probe's answer for one input. Rules H2 and H6. Says how records of it were lost, if they were.
    pub fn answered(&mut self, answer: &Answer) -> Result<Option<Found>, Error> {
        if !self.horizon.expects(answer.ticket) {
            return Ok(None);
        }
        let end = match &answer.end {
            Ok(end) => end,
            // The client says so with an offset below nought.
            Err(_) if !holds(Safeguard::ErrorIsNoAnswer) => &LogEnd {
                offset: -1,
                leader_epoch: -1,
                second_opinion: SecondOpinion::Same,
                topic_id: None,
                partitions: None,
            },
            Err(error) => {
                self.unanswered(answer, "unanswered", error);
                return Ok(None);
            }
        };
        self.check_partitions(answer.topic, end)?;
        match end.second_opinion {
            _ if !holds(Safeguard::SecondOpinion) => return Ok(self.weigh(answer, end)),
            SecondOpinion::Other => self.unanswered(answer, "deposed", "another broker names another leader"),
            SecondOpinion::None => self.unanswered(answer, "unconfirmed", "no second broker says who leads"),
            SecondOpinion::OnlyBroker | SecondOpinion::Same => return Ok(self.weigh(answer, end)),
        }
        Ok(None)
    }

    /// It proves nothing, and nothing is wrong with what is known.
    fn unanswered(&mut self, answer: &Answer, result: &str, why: &str) {
        self.shared.metrics.probed(result);
        let topic = self.shared.topic(answer.topic);
        tracing::debug!(topic, partition = self.partition, why, "no evidence from a leader");
        self.horizon.unanswered(answer.ticket);
    }

    /// Refuses topics that have grown. An answer may be older than what the service began with.
    fn check_partitions(&self, topic: Topic, end: &LogEnd) -> Result<(), Error> {
        let expected = self.shared.partitions;
        match end.partitions {
            Some(count) if count > expected && holds(Safeguard::PartitionCount) => {
                Err(Error::Refused(format!(
                    "the input topic `{}` had {expected} partitions and has {count} now: leads have moved, and their \
                 clocks have not; give the service a new `changelog` topic and a new `kafka.group`",
                    self.shared.topic(topic)
                )))
            }
            _ => Ok(()),
        }
    }

    /// Takes a leader's word, or what it shows to be lost.
    fn weigh(&mut self, answer: &Answer, end: &LogEnd) -> Option<Found> {
        let place = usize::from(answer.topic);
        let known_id = self.readings.get(place).and_then(|reading| reading.topic_id.as_ref());
        if let (Some(before), Some(now)) = (known_id, &end.topic_id)
            && before != now
            && holds(Safeguard::TopicId)
        {
            let why = format!("the topic was made anew: it had the id {before} and has {now}");
            return self.doubt(answer, why);
        }
        if let Some(why) = self.may_be_another(place, end) {
            self.refuse(answer.topic, &why);
            return Some((answer.topic, why));
        }
        let (at, offset) = (answer.asked_at, end.offset);
        match self.horizon.answered(answer.ticket, answer.topic, at, offset, end.leader_epoch) {
            Ok(()) => {
                self.shared.metrics.probed("answered");
                self.doubted_since.get_mut(place)?.take();
                None
            }
            // No leader of the same or a later epoch is behind what was read: it is gone.
            Err(refusal @ Refusal::LogLost { .. }) if end.leader_epoch >= 0 => {
                self.refuse(answer.topic, &refusal.to_string());
                Some((answer.topic, refusal.to_string()))
            }
            Err(refusal) => self.doubt(answer, refusal.to_string()),
        }
    }

    fn refuse(&mut self, topic: Topic, why: &str) {
        self.shared.metrics.probed("refused");
        tracing::warn!(topic = self.shared.topic(topic), partition = self.partition, why, "no evidence");
        self.new_epoch();
    }

    /// A sign of loss that may come from a broker that does not know better: believed when it comes again.
    fn doubt(&mut self, answer: &Answer, why: String) -> Option<Found> {
        self.refuse(answer.topic, &why);
        let since = self.doubted_since.get_mut(usize::from(answer.topic))?;
        let since = *since.get_or_insert(answer.asked_at);
        (DOUBT_MS <= answer.asked_at.since(since)).then_some((answer.topic, why))
    }

    /// Speaks what the horizon has reached, at most of `budget` leads, and says whether more is left.
    pub fn advance(&mut self, budget: usize, now: Instant) -> bool {
        self.notice_policies(now);
        let Some(horizon) = self.horizon.known_until() else { return false };
        self.look_at_policies(horizon, now);
        let effects = &mut self.pending.effects;
        let has_more = self.engine.advance(horizon, budget, effects);
        if !effects.outputs.is_empty() {
            self.pending.outputs.append(&mut effects.outputs);
        }
        if !self.pending.outputs.is_empty() || self.engine.store().is_touched() {
            self.pending.since.get_or_insert(now);
        }
        has_more
    }

    /// Notices that another policy file was loaded than the one in force.
    fn notice_policies(&mut self, now: Instant) {
        let count = self.shared.policies.count();
        if self.looked_at == count || self.noticed.is_some_and(|(noticed, _)| noticed == count) {
            return;
        }
        let is_same = self.history.next(&self.shared.policies.latest()) == Next::Same;
        self.noticed = (!is_same).then_some((count, now));
        if is_same {
            self.looked_at = count;
            self.shared.metrics.older_policies(self.partition, false);
        }
    }

    /// Takes the policy file up that was loaded last, unless it is an older one. Rule T13.
    ///
    /// A horizon from before it was noticed may be old where nothing was planned, and would let the file judge
    /// what happened before anybody had written it.
    fn look_at_policies(&mut self, horizon: Instant, now: Instant) {
        let grace_ms = self.shared.engine.grace_ms;
        let Some((count, _)) = self.noticed.filter(|(_, at)| at.minus(grace_ms) <= horizon) else { return };
        (self.looked_at, self.noticed) = (count, None);
        let loaded = self.shared.policies.latest();
        let next = self.history.next(&loaded);
        self.shared.metrics.older_policies(self.partition, next == Next::Older);
        let version = loaded.policies.version.as_str();
        match next {
            Next::Same => {}
            Next::Newer => self.take_up(&loaded, horizon, now),
            Next::Older => tracing::warn!(
                partition = self.partition,
                version,
                revision = loaded.policies.revision,
                in_force = self.history.version(),
                in_force_revision = self.history.revision(),
                "the loaded policies have a lower revision than those of the partition, which stay in force"
            ),
            Next::TooMany => tracing::error!(
                partition = self.partition,
                version,
                in_force = self.history.version(),
                "the partition has taken up more policies than it can tell apart; those in force stay: give the \
                 service a new `changelog` topic and a new `kafka.group`"
            ),
        }
    }

    /// No verdict that was spoken is judged anew.
    fn take_up(&mut self, loaded: &Loaded, horizon: Instant, now: Instant) {
        let proven_until = self.engine.proven_until().max(horizon).max(self.history.last_from());
        let from = proven_until.plus(1);
        self.history.take_up(loaded, from);
        self.engine.take_up(self.history.rules());
        self.pending.since.get_or_insert(now);
        let version = loaded.policies.version.as_str();
        tracing::info!(partition = self.partition, version, %from, "other policies are in force");
    }

    /// When the next thing planned could first be proven.
    pub fn next_due(&mut self) -> Option<Instant> {
        let grace_ms = self.shared.engine.grace_ms;
        self.engine.next_due().map(|due| due.plus(grace_ms))
    }

    /// Whether its leaders should be asked for their log ends now. Rule H3.
    pub fn wants_probe(&mut self, now: Instant) -> bool {
        if now < self.probe_after {
            return false;
        }
        let grace_ms = self.shared.engine.grace_ms;
        let awaited = self.noticed.map(|(_, at)| at.minus(grace_ms));
        let planned = self.engine.next_due().into_iter().chain(awaited).min();
        let is_planned = planned.is_some_and(|due| self.horizon.wants_probe(now, due));
        is_planned || (self.probe_after.plus(PROBE_IDLE_MS) <= now && !self.horizon.is_awaiting())
    }

    /// A probe of its leaders is under way.
    pub fn asked(&mut self, ticket: u64, now: Instant) {
        self.horizon.asked(ticket, now);
        self.probe_after = now.plus(PROBE_INTERVAL_MS);
    }

    /// Whether an answer to a probe is awaited.
    pub fn is_asking(&self) -> bool {
        self.horizon.is_asking()
    }

    /// Since when something waits to be committed.
    pub fn dirty_since(&self) -> Option<Instant> {
        let since = self.pending.since.or(self.wants_commit.then_some(Instant::MIN));
        since.filter(|_| self.is_dirty())
    }

    /// Commits soon, whether anything has changed or not: what is written shows the brokers' clock. Rule H4.
    pub fn want_commit(&mut self) {
        self.wants_commit = true;
    }

    /// Whether a breach or another output waits to be committed.
    pub fn has_outputs(&self) -> bool {
        !self.pending.outputs.is_empty()
    }

    /// How many leads and outputs the next commit writes; a dead letter weighs as its bytes do.
    pub fn weight(&self) -> usize {
        let letters = self.pending.letters_bytes / LETTER_BYTES;
        self.engine.store().touched_count() + self.pending.outputs.len() + letters
    }

    /// About how many bytes its leads take.
    pub fn state_bytes(&self) -> usize {
        self.engine.store().bytes()
    }

    /// Whether a commit would change anything.
    pub fn is_dirty(&self) -> bool {
        self.wants_commit
            || self.readings != self.committed
            || self.history.is_unwritten()
            || self.engine.store().is_touched()
            || !self.pending.outputs.is_empty()
            || !self.pending.letters.is_empty()
    }

    /// Adds everything to the transaction: outputs, dead letters, changelog, progress. Rules 1 and 4.
    pub fn write<P: Port>(&self, port: &mut P, nonce: &str, now: Instant) -> Result<Offsets, Error> {
        for output in &self.pending.outputs {
            if let Some(target) = self.target_of(output) {
                self.send_output(port, target, output, now)?;
            }
        }
        for letter in &self.pending.letters {
            port.send(Outgoing {
                target: Target::DeadLetter,
                key: letter.key.as_deref(),
                value: letter.value.as_deref(),
                headers: &letter.headers(),
            })?;
        }
        self.write_changelog(port, nonce)?;
        Ok(Offsets { partition: self.partition, positions: self.positions(), nonce: nonce.to_owned() })
    }

    fn target_of(&self, output: &Output) -> Option<Target> {
        match output.step {
            _ if output.is_silent => None,
            Step::Breached
            | Step::Resolved
            | Step::Ended
            | Step::Undecidable
            | Step::Escalated
            | Step::Waived => Some(Target::Breaches),
            Step::AtRisk => Some(Target::Warnings),
            Step::Met | Step::Cancelled => self.shared.writes_outcomes.then_some(Target::Outcomes),
        }
    }

    fn send_output<P: Port>(
        &self,
        port: &mut P,
        target: Target,
        output: &Output,
        now: Instant,
    ) -> Result<(), Error> {
        let encoded: Encoded = self.shared.encoder.encode(self.engine.rules(), output, self.partition, now);
        port.send(Outgoing {
            target,
            key: Some(output.lead_id.as_bytes()),
            value: Some(&encoded.value),
            headers: &encoded.headers(),
        })
    }

    fn write_changelog<P: Port>(&self, port: &mut P, nonce: &str) -> Result<(), Error> {
        let target = Target::Changelog(self.partition);
        let mut send = |key: &[u8], value: Option<&[u8]>| {
            port.send(Outgoing { target, key: Some(key), value, headers: &[] })
        };
        let mut writer = changelog::Writer::default();
        for (lead_id, before, now) in self.engine.store().touched() {
            writer.write(lead_id, before, now, &mut send)?;
        }
        for gap in self.pending.gaps.iter().filter(|_| holds(Safeguard::GapRecord)) {
            send(&changelog::gap_key(gap), Some(&changelog::gap_value(gap)?))?;
        }
        for (number, edition) in self.history.unwritten().filter(|_| holds(Safeguard::EditionRecord)) {
            send(&changelog::edition_key(number), Some(&changelog::edition_value(edition)?))?;
        }
        let progress = changelog::progress_value(&self.progress(nonce))?;
        send(changelog::PROGRESS_KEY, Some(&progress))
    }

    fn progress(&self, nonce: &str) -> Progress {
        let inputs = self.shared.topics.iter().zip(&self.readings).map(|(topic, reading)| Input {
            topic: topic.name.clone(),
            id: reading.topic_id.as_deref().map(str::to_owned),
            position: reading.position,
            read_before: reading.read_before,
        });
        let (forgotten_until, speak_from) = (self.engine.store().forgotten_until, self.engine.speak_from());
        Progress {
            format: changelog::format(),
            incarnation: self.incarnation.clone(),
            partitions: self.shared.partitions,
            inputs: inputs.collect(),
            nonce: nonce.to_owned(),
            policies: self.history.version().to_owned(),
            speak_from: (speak_from != Instant::MIN).then_some(speak_from),
            forgotten_until: (forgotten_until != Instant::MIN).then_some(forgotten_until),
            partitioner: self.routing.partitioner().map(|partitioner| partitioner.to_string()),
        }
    }

    /// The transaction was committed with these positions.
    pub fn commit(&mut self, positions: Vec<Position>, now: Instant) {
        let pending = std::mem::take(&mut self.pending);
        pending.report(&self.shared, self.engine.rules(), now);
        self.engine.store_mut().commit();
        self.history.commit();
        self.wants_commit = false;
        self.committed.clone_from(&self.readings);
        for (committed, position) in self.committed.iter_mut().zip(positions) {
            committed.position = position;
        }
    }

    /// What could undo the transaction is gone. Only a history without a safeguard does so.
    pub fn forget_undo(&mut self) {
        self.engine.store_mut().commit();
    }

    /// The transaction was not committed: everything is as it was before it. Rule 5.
    pub fn abort(&mut self) {
        self.pending = Pending::default();
        if holds(Safeguard::UndoAfterAbort) {
            self.engine.store_mut().abort();
            self.take_back();
        }
        self.readings.clone_from(&self.committed);
        if holds(Safeguard::EpochOnAbort) {
            self.new_epoch();
        }
    }

    /// What the transaction took up is in force no more.
    fn take_back(&mut self) {
        if self.history.abort() {
            self.publish_nothing();
            self.engine.take_back(self.history.rules());
            (self.looked_at, self.noticed) = (0, None);
        }
    }

    /// The wall clock was set: what was proven by it is not, and nobody waits for the old one. Rule H4.
    pub fn clock_was_set(&mut self, now: Instant) {
        self.new_epoch();
        self.engine.store_mut().shorten_waits(now);
        self.probe_after = Instant::MIN;
        self.pending.since = self.pending.since.map(|since| since.min(now));
        self.doubted_since.fill(None);
        self.stalled_since = None;
        self.noticed = None;
        self.wants_commit = true;
    }

    /// Evidence ends here. Rule H4.
    pub fn new_epoch(&mut self) {
        self.horizon.new_epoch(self.readings.iter().map(|reading| reading.position.offset));
        self.engine.forget_horizon();
    }

    /// Brings the gauges up to date.
    pub fn publish(&mut self, now: Instant) {
        let known_until = self.horizon.known_until();
        let provable = self.next_due().filter(|due| *due <= now);
        let is_stalled = provable.is_some() && known_until.is_none_or(|known| known.plus(10_000) < now);
        self.stalled_since = is_stalled.then(|| self.stalled_since.unwrap_or(now));
        let stalled_ms = self.stalled_since.map_or(0, |since| now.since(since));
        let (unread, leads) = (self.horizon.unread(), self.engine.store().len());
        self.shared.metrics.partition_is(self.partition, known_until, stalled_ms, unread, leads);
        self.shared.metrics.state_takes(self.partition, self.state_bytes());
        let tally = self.engine.store().tally().clone();
        self.publish_tally(tally);
        let rows_max = self.shared.board.rows_max();
        if rows_max > 0 {
            self.shared.board.show(self.partition, self.upcoming(rows_max));
        }
    }

    /// The clocks that are due next.
    fn upcoming(&self, rows_max: usize) -> Vec<Upcoming> {
        let store = self.engine.store();
        let on_track = |slot: u32| {
            let is_ahead = |clock: &&OpenClock| matches!(clock.state, OpenState::OnTrack | OpenState::AtRisk);
            let open = store.lead(slot).open.iter().filter(is_ahead);
            open.filter_map(move |clock| Some((clock.due_at?, slot, clock.policy, clock.objective)))
        };
        let mut clocks: Vec<_> = store.slots().flat_map(on_track).collect();
        clocks.sort_unstable();
        clocks.truncate(rows_max);
        let rules = self.engine.rules();
        let row = |(due_at, slot, policy, objective)| Upcoming {
            due_at,
            lead_id: Arc::clone(store.id(slot)),
            policy: rules.policy(policy).name.clone(),
            objective: rules.policies.name(rules.objective(policy, objective).name).to_owned(),
            context: self.engine.context(slot),
        };
        clocks.into_iter().map(row).collect()
    }

    fn publish_nothing(&mut self) {
        let nothing = self.published.keys().map(|key| (*key, [0; 4])).collect();
        self.publish_tally(nothing);
        self.published.clear();
    }

    fn publish_tally(&mut self, tally: Tally) {
        let rules = self.engine.rules();
        for ((policy, objective), now) in &tally {
            let before = self.published.get(&(*policy, *objective)).copied().unwrap_or_default();
            if *now != before {
                let promise = rules.objective(*policy, *objective);
                let more = std::array::from_fn(|state| now[state] - before[state]);
                let name = rules.policies.name(promise.name);
                self.shared.metrics.clocks_running(&rules.policy(*policy).name, name, more);
            }
        }
        self.published = tally;
    }
}

impl Drop for Task {
    /// Its gauges go with it.
    fn drop(&mut self) {
        self.publish_nothing();
        self.shared.metrics.partition_gone(self.partition);
    }
}

/// The inputs that lost records, as their bounds show. Rule H6.
pub fn losses(readings: &[Reading], bounds: &[Bounds]) -> Vec<Found> {
    let loss = |(topic, (reading, bounds)): (usize, (&Reading, &Bounds))| {
        reading.loss(bounds).map(|why| (topic as Topic, why))
    };
    readings.iter().zip(bounds).enumerate().filter_map(loss).collect()
}

fn new_horizon(shared: &Shared, readings: &[Reading]) -> Horizon {
    let positions = readings.iter().map(|reading| (reading.position.offset, reading.position.leader_epoch));
    Horizon::new(shared.engine.grace_ms, positions)
}

impl Pending {
    fn count(&mut self, topic: u16, kind: &'static str, applied: Applied) {
        *self.consumed.entry((topic, kind)).or_default() += 1;
        let counter = match applied {
            Applied::New { is_late: true } => &mut self.late,
            Applied::Duplicate => &mut self.duplicate,
            Applied::Conflicting => &mut self.conflicting,
            Applied::New { is_late: false } | Applied::TooLate | Applied::Merged => return,
        };
        *counter.entry(topic).or_default() += 1;
    }

    /// Counts what is committed now, and so counted once.
    fn report(&self, shared: &Shared, rules: &Rules, now: Instant) {
        let metrics = &shared.metrics;
        for ((topic, kind), count) in &self.consumed {
            metrics.events_consumed(shared.topic(*topic), kind, *count);
        }
        for (topic, reason) in &self.rejected {
            metrics.event_rejected(shared.topic(*topic), *reason);
        }
        self.duplicate
            .iter()
            .for_each(|(topic, count)| metrics.events_duplicate(shared.topic(*topic), *count));
        self.conflicting
            .iter()
            .for_each(|(topic, count)| metrics.events_conflicting(shared.topic(*topic), *count));
        self.late.iter().for_each(|(topic, count)| metrics.events_late(shared.topic(*topic), *count));
        self.ignored.iter().for_each(|(topic, count)| metrics.events_ignored(shared.topic(*topic), *count));
        for (policy, objective) in &self.effects.started {
            let promise = rules.objective(*policy, *objective);
            metrics.clock_started(&rules.policy(*policy).name, rules.policies.name(promise.name));
        }
        let losses = self.gaps.iter().flat_map(|gap| &gap.losses);
        losses.for_each(|loss| metrics.log_lost(&loss.topic));
        metrics.leads_abandoned(self.effects.abandoned);
        for output in &self.outputs {
            report::output(shared, rules, output, now);
        }
    }
}
