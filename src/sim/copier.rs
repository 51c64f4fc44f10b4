//! A small process that keeps every exactly-once rule, and what becomes of it without each of them.
//!
//! It copies each input record into the breach topic under the record's address, with a running number
//! a key that it keeps in the changelog. It shows that the model lets a correct process pass and
//! that no safeguard is there for nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cluster::{Cluster, TopicName, Upstream};
use super::faults::{Faults, Upsets};
use super::log::{Entry, Payload};
use super::port::SimPort;
use super::scenario::{Process, Scenario, Setup, exactly_once};
use super::seeds;
use crate::runtime::port::{
    Committed, Error, Offsets, Outgoing, Partition, Polled, Port, Position, Target, Topic,
};

const PROGRESS: &[u8] = b"progress";

/// A safeguard taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// Offsets in every transaction.
    Offsets,
    /// The nonce: an unknown outcome is taken for an abort.
    NonceUndo,
    /// The nonce: an unknown outcome is taken for a commit.
    NonceKeep,
    /// The committed offset before the changelog's end.
    StableOffsetFirst,
    /// The end of the transaction before a revoked partition is released.
    EndBeforeRelease,
    /// As above, with the offsets of what was released committed later under fresh metadata.
    CommitBeforeRelease,
    /// The group's metadata of the moment the transaction began.
    BeginMetadata,
    /// A new producer after an unknown outcome; an abort instead.
    Reinit,
    /// The way back to the committed positions.
    Rewind,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct State {
    counts: BTreeMap<Vec<u8>, u64>,
    positions: Vec<i64>,
    nonce: String,
}

enum Part {
    Asking,
    Restoring { committed: Option<Vec<Option<Committed>>>, end: i64, state: State },
    Live { state: State, base: State },
}

struct Seen {
    topic: Topic,
    partition: Partition,
    offset: i64,
    key: Vec<u8>,
}

struct Copier {
    port: SimPort,
    without: Without,
    parts: BTreeMap<Partition, Part>,
    dirty: Vec<Partition>,
    /// Offsets of partitions released too early; a correct process has none.
    left: Vec<Offsets>,
    open: bool,
    lost_track: bool,
    turns: u64,
    nonces: u64,
}

impl Process for Copier {
    fn turn(&mut self) -> Result<(), Error> {
        self.turns += 1;
        let (mut seen, mut event) = (Vec::new(), None);
        self.port.poll(Duration::ZERO, 16, &mut |polled| match polled {
            Polled::Record(r) => seen.push(Seen {
                topic: r.topic,
                partition: r.partition,
                offset: r.offset,
                key: r.key.unwrap_or_default().to_vec(),
            }),
            Polled::Assigned(p) => event = Some(Polled::Assigned(p)),
            Polled::Revoked(p) => event = Some(Polled::Revoked(p)),
            Polled::Lost(p) => event = Some(Polled::Lost(p)),
            Polled::OutOfRange => event = Some(Polled::OutOfRange),
        })?;
        if let Some(event) = event {
            self.rebalance(event)?;
        }
        if self.lost_track {
            return self.find_track();
        }
        match self.apply(seen).and_then(|()| self.commit_in_time()) {
            Ok(()) => self.restore(),
            error => self.doubt(error),
        }
    }
}

impl Copier {
    fn new(port: SimPort, without: Without) -> Copier {
        Copier {
            port,
            without,
            parts: BTreeMap::new(),
            dirty: Vec::new(),
            left: Vec::new(),
            open: false,
            lost_track: false,
            turns: 0,
            nonces: 0,
        }
    }

    fn rebalance(&mut self, event: Polled<'_>) -> Result<(), Error> {
        match event {
            Polled::Assigned(partitions) => {
                self.port.accept(&partitions)?;
                self.parts.extend(partitions.into_iter().map(|p| (p, Part::Asking)));
                Ok(())
            }
            Polled::Revoked(partitions) => self.give_up(&partitions),
            Polled::Lost(partitions) => {
                self.doubt(Err(Error::Transaction("lost".to_owned())))?;
                self.forget(&partitions)
            }
            other => Err(Error::Fatal(format!("{other:?}"))),
        }
    }

    fn give_up(&mut self, partitions: &[Partition]) -> Result<(), Error> {
        let early = [Without::EndBeforeRelease, Without::CommitBeforeRelease].contains(&self.without);
        let open = self.open && !self.lost_track;
        if open && !early {
            self.port.refresh_group();
            let ended = self.commit();
            self.doubt(ended)?;
        }
        if open && self.without == Without::CommitBeforeRelease {
            match self.prepare() {
                Ok(offsets) => {
                    self.left.extend(offsets.into_iter().filter(|o| partitions.contains(&o.partition)))
                }
                error => self.doubt(error.map(|_| ()))?,
            }
        }
        self.forget(partitions)
    }

    fn forget(&mut self, partitions: &[Partition]) -> Result<(), Error> {
        partitions.iter().for_each(|p| self.port.changelog_close(*p));
        self.parts.retain(|p, _| !partitions.contains(p));
        self.dirty.retain(|p| !partitions.contains(p));
        self.port.release(partitions)
    }

    fn apply(&mut self, seen: Vec<Seen>) -> Result<(), Error> {
        for record in seen {
            self.begin()?;
            self.copy(&record)?;
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Error> {
        if !self.open {
            self.port.begin()?;
            self.open = true;
        }
        Ok(())
    }

    fn copy(&mut self, record: &Seen) -> Result<(), Error> {
        let Some(Part::Live { state, .. }) = self.parts.get_mut(&record.partition) else { return Ok(()) };
        if !self.dirty.contains(&record.partition) {
            self.dirty.push(record.partition);
        }
        let count = state.counts.entry(record.key.clone()).or_default();
        *count += 1;
        let value = count.to_string();
        let address = address(record.topic, record.partition, record.offset);
        self.port.send(outgoing(Target::Breaches, address.as_bytes(), value.as_bytes()))?;
        self.port.send(outgoing(Target::Changelog(record.partition), &record.key, value.as_bytes()))
    }

    fn commit_in_time(&mut self) -> Result<(), Error> {
        let every = if self.left.is_empty() { 3 } else { 20 };
        if self.open && self.turns.is_multiple_of(every) { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<(), Error> {
        let offsets = self.prepare()?;
        self.finish(&offsets)
    }

    fn prepare(&mut self) -> Result<Vec<Offsets>, Error> {
        self.nonces += 1;
        let nonce = format!("{}-{}", self.port.client(), self.nonces);
        let mut offsets = Vec::new();
        for partition in self.dirty.clone() {
            offsets.extend(self.progress(partition, &nonce)?);
        }
        Ok(offsets)
    }

    fn finish(&mut self, offsets: &[Offsets]) -> Result<(), Error> {
        if self.without == Without::BeginMetadata || !self.left.is_empty() {
            self.port.refresh_group();
        }
        if self.without != Without::Offsets {
            self.port.send_offsets(&[offsets, &std::mem::take(&mut self.left)].concat())?;
        }
        self.port.commit()?;
        self.open = false;
        for partition in std::mem::take(&mut self.dirty) {
            self.settle(partition, true);
        }
        Ok(())
    }

    /// Writes where a partition is into its changelog, and gives the same for the group.
    fn progress(&mut self, partition: Partition, nonce: &str) -> Result<Option<Offsets>, Error> {
        let Some(Part::Live { state, .. }) = self.parts.get_mut(&partition) else { return Ok(None) };
        if let Ok(positions) = self.port.positions(partition) {
            state.positions = positions.iter().map(|p| p.offset).collect();
        }
        nonce.clone_into(&mut state.nonce);
        let positions: Vec<_> = state.positions.iter().map(|offset| position(*offset)).collect();
        let value = encode(state);
        self.port.send(outgoing(Target::Changelog(partition), PROGRESS, value.as_bytes()))?;
        Ok(Some(Offsets { partition, positions, nonce: nonce.to_owned() }))
    }

    fn settle(&mut self, partition: Partition, committed: bool) {
        if let Some(Part::Live { state, base }) = self.parts.get_mut(&partition) {
            if committed { base.clone_from(state) } else { state.clone_from(base) }
        }
    }

    /// From here on the outcome is unknown.
    fn doubt(&mut self, result: Result<(), Error>) -> Result<(), Error> {
        match result {
            Ok(()) => Ok(()),
            Err(Error::Fatal(reason)) => Err(Error::Fatal(reason)),
            Err(_) => {
                self.lost_track = true;
                Ok(())
            }
        }
    }

    /// Ends what is open, asks what has become of it, and goes back to what is committed.
    fn find_track(&mut self) -> Result<(), Error> {
        match self.ended().and_then(|()| self.look()) {
            Ok(()) => {
                self.lost_track = false;
                self.dirty.clear();
                Ok(())
            }
            error => self.doubt(error),
        }
    }

    fn ended(&mut self) -> Result<(), Error> {
        match self.without {
            Without::Reinit if self.open => self.port.abort()?,
            Without::Reinit => {}
            _ => self.port.reinit()?,
        }
        self.open = false;
        self.left.clear();
        Ok(())
    }

    fn look(&mut self) -> Result<(), Error> {
        for partition in self.parts.keys().copied().collect::<Vec<_>>() {
            self.look_at(partition)?;
        }
        Ok(())
    }

    fn look_at(&mut self, partition: Partition) -> Result<(), Error> {
        let Some(Part::Live { state, base }) = self.parts.get_mut(&partition) else { return Ok(()) };
        let found = self.port.committed(partition, Duration::ZERO)?;
        let is = |s: &State| nonce(&found) == s.nonce;
        let committed = match self.without {
            Without::NonceUndo => false,
            Without::NonceKeep => true,
            _ if is(state) && state.nonce != base.nonce => true,
            _ if is(base) || self.without == Without::Offsets => false,
            // Somebody else committed: it is lost, and the next polls will say so.
            _ => return Err(Error::NotYet("another owner's nonce".to_owned())),
        };
        if self.dirty.contains(&partition) {
            self.settle(partition, committed);
        }
        let Some(Part::Live { base, .. }) = self.parts.get(&partition) else { return Ok(()) };
        let to: Vec<_> = base.positions.iter().map(|offset| position(*offset)).collect();
        match self.without {
            Without::Rewind => Ok(()),
            _ => self.port.rewind(partition, &to),
        }
    }

    /// One step of one partition that is not live yet.
    fn restore(&mut self) -> Result<(), Error> {
        let waiting = self.parts.iter().find(|(_, part)| !matches!(part, Part::Live { .. }));
        let Some(partition) = waiting.map(|(p, _)| *p) else { return Ok(()) };
        let Some(part) = self.parts.remove(&partition) else { return Ok(()) };
        let (part, result) = match self.restored(partition, &part) {
            Ok(next) => (next, Ok(())),
            Err(Error::NotYet(_)) => (part, Ok(())),
            Err(error) => (part, Err(error)),
        };
        self.parts.insert(partition, part);
        result
    }

    fn restored(&mut self, partition: Partition, part: &Part) -> Result<Part, Error> {
        match part {
            Part::Asking if self.without == Without::StableOffsetFirst => {
                let end = self.port.changelog_open(partition)?;
                Ok(Part::Restoring { committed: None, end, state: State::default() })
            }
            Part::Asking => {
                let committed = Some(self.port.committed(partition, Duration::ZERO)?);
                let end = self.port.changelog_open(partition)?;
                Ok(Part::Restoring { committed, end, state: State::default() })
            }
            Part::Restoring { committed, end, state } => {
                let mut state = state.clone();
                let read = |key: Option<&[u8]>, value: Option<&[u8]>| replay(&mut state, key, value);
                let at = self.port.changelog_read(partition, Duration::ZERO, &mut { read })?;
                if at < *end {
                    return Ok(Part::Restoring { committed: committed.clone(), end: *end, state });
                }
                self.go_live(partition, committed.clone(), state)
            }
            Part::Live { .. } => Err(Error::Fatal("restores what is live".to_owned())),
        }
    }

    fn go_live(
        &mut self,
        partition: Partition,
        committed: Option<Vec<Option<Committed>>>,
        mut state: State,
    ) -> Result<Part, Error> {
        let committed = match committed {
            Some(committed) => committed,
            None => self.port.committed(partition, Duration::ZERO)?,
        };
        if nonce(&committed) != state.nonce && self.without != Without::Offsets {
            // Another owner may have committed since: this process was paused and does not know it yet.
            if self.port.committed(partition, Duration::ZERO)? != committed {
                return Ok(Part::Asking);
            }
            return Err(Error::Fatal(format!("progress is `{}`, committed {committed:?}", state.nonce)));
        }
        if state.positions.is_empty() {
            state.positions = self.port.bounds(partition)?.iter().map(|b| b.first).collect();
        }
        let from: Vec<_> = state.positions.iter().map(|offset| position(*offset)).collect();
        self.port.changelog_close(partition);
        self.port.take(partition, &from)?;
        Ok(Part::Live { base: state.clone(), state })
    }
}

fn nonce(committed: &[Option<Committed>]) -> String {
    committed.first().cloned().flatten().map(|c| c.nonce).unwrap_or_default()
}

fn address(topic: Topic, partition: Partition, offset: i64) -> String {
    format!("{topic}/{partition}/{offset}")
}

fn position(offset: i64) -> Position {
    Position { offset, leader_epoch: -1 }
}

fn outgoing<'a>(target: Target, key: &'a [u8], value: &'a [u8]) -> Outgoing<'a> {
    Outgoing { target, key: Some(key), value: Some(value), headers: &[] }
}

fn encode(state: &State) -> String {
    let offsets: Vec<_> = state.positions.iter().map(i64::to_string).collect();
    format!("{} {}", state.nonce, offsets.join(" "))
}

fn replay(state: &mut State, key: Option<&[u8]>, value: Option<&[u8]>) {
    let value = String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    if key == Some(PROGRESS) {
        let mut words = value.split(' ');
        state.nonce = words.next().unwrap_or_default().to_owned();
        state.positions = words.filter_map(|word| word.parse().ok()).collect();
    } else if let Ok(count) = value.parse() {
        state.counts.insert(key.unwrap_or_default().to_vec(), count);
    }
}

/// Sixty records of three keys, some in transactions of their own that end late or abort.
fn upstream(setup: &Setup) -> Vec<Upstream> {
    use rand::RngExt;
    let mut rng = seeds::rng(setup.seed ^ 0x5eed);
    let mut record = || {
        let appended_ms = rng.random_range(0..30_000);
        let ends = (appended_ms + rng.random_range(0..20_000), rng.random_ratio(2, 3));
        Upstream {
            topic: rng.random_range(0..setup.shape.topics),
            partition: rng.random_range(0..setup.shape.partitions),
            appended_ms,
            timestamp_ms: appended_ms,
            payload: Payload { key: Some(vec![b'a' + rng.random_range(0..3)]), ..Payload::default() },
            transaction: rng.random_ratio(1, 5).then_some(ends),
            event_ms: None,
        }
    };
    (0..60).map(|_| record()).collect()
}

fn setup(seed: u64) -> Setup {
    let mut setup = Setup::drawn(seed);
    setup.upstream = upstream(&setup);
    setup
}

/// Runs one history and checks that each input record was copied exactly once, each key counted without
/// gap or repetition, and no transaction of a live process was left.
fn run(setup: Setup, without: Without) -> Result<(), String> {
    Scenario::new(setup, move |port| Copier::new(port, without)).judge(copied)
}

fn copied(cluster: &Cluster) -> Result<(), String> {
    let inputs: Vec<_> = inputs(cluster).map(|(t, p, e)| address(t, p, e.offset)).collect();
    exactly_once(cluster, TopicName::Breaches, inputs.iter().map(String::as_bytes))?;
    let copies = cluster.committed_records(TopicName::Breaches);
    let mut numbers: Vec<_> = copies.iter().map(|(_, e)| e.payload.value.clone()).collect();
    let mut expected = numbered(cluster);
    numbers.sort();
    expected.sort();
    match numbers == expected && cluster.unfinished_transactions().is_empty() {
        true => Ok(()),
        false => Err(format!("{:?}: numbers {numbers:?}", cluster.unfinished_transactions())),
    }
}

fn inputs(cluster: &Cluster) -> impl Iterator<Item = (Topic, Partition, &Entry)> {
    (0..cluster.shape.topics).flat_map(|topic| {
        let records = cluster.committed_records(TopicName::Input(topic));
        records.into_iter().map(move |(partition, entry)| (topic, partition, entry))
    })
}

/// The running numbers that the copies of all inputs must have.
fn numbered(cluster: &Cluster) -> Vec<Option<Vec<u8>>> {
    let mut counts = BTreeMap::<(Partition, Option<Vec<u8>>), u64>::new();
    let number = |(_, partition, entry): (Topic, Partition, &Entry)| {
        let count = counts.entry((partition, entry.payload.key.clone())).or_default();
        *count += 1;
        Some(count.to_string().into_bytes())
    };
    inputs(cluster).map(number).collect()
}

#[test]
fn each_input_is_copied_exactly_once() {
    seeds::check("each_input_is_copied_exactly_once", 600, |seed| run(setup(seed), Without::Nothing));
}

/// A rule that a process lives by is needed if some history goes wrong without it.
fn needed(without: Without) {
    needed_where(without, setup);
}

fn needed_where(without: Without, setup: impl Fn(u64) -> Setup) {
    let broken = seeds::breaking(5_000, |seed| run(setup(seed), without));
    let (seed, reason) = broken.unwrap_or_else(|| panic!("no seed fails without {without:?}"));
    assert!(!reason.contains("misuse"), "{without:?}, seed {seed}: {reason}");
    println!("{without:?}: seed {seed}: {reason}");
}

/// A port that sends offsets under whatever metadata its client has, or none.
fn unguarded(seed: u64) -> Setup {
    let mut setup = setup(seed);
    setup.shape.is_member_guarded = false;
    setup
}

#[test]
fn a_transaction_without_offsets_is_not_fenced() {
    needed(Without::Offsets);
}

#[test]
fn an_unknown_outcome_is_neither_a_commit_nor_an_abort() {
    needed(Without::NonceUndo);
    needed(Without::NonceKeep);
}

#[test]
fn the_changelog_end_is_read_after_the_stable_offset() {
    needed(Without::StableOffsetFirst);
}

#[test]
fn a_transaction_ends_before_its_partitions_are_released() {
    needed(Without::EndBeforeRelease);
    needed(Without::CommitBeforeRelease);
}

#[test]
fn offsets_are_fenced_by_the_metadata_of_the_beginning() {
    needed_where(Without::BeginMetadata, unguarded);
}

#[test]
fn offsets_without_a_member_are_not_fenced() {
    needed_where(Without::Nothing, unguarded);
}

#[test]
fn an_unknown_outcome_asks_for_a_new_producer() {
    needed(Without::Reinit);
}

#[test]
fn the_consumer_goes_back_after_an_abort() {
    needed(Without::Rewind);
}

#[test]
fn a_kill_at_any_call_does_no_harm() {
    let calm = |call| Setup {
        seed: 7,
        processes: 2,
        named: true,
        steps: 400,
        faults: Faults { kill_at: Some(call), ..Faults::none() },
        upsets: Upsets::none(),
        ..setup(7)
    };
    for call in 1..600 {
        let outcome = run(calm(call), Without::Nothing);
        assert_eq!(outcome, Ok(()), "killed at call {call}");
    }
}

#[test]
fn one_seed_is_one_history() {
    let trace = |seed| {
        let scenario = Scenario::new(setup(seed), |port| Copier::new(port, Without::Nothing));
        scenario.judge(|cluster| Ok(cluster.trace()))
    };
    assert_eq!(trace(11), trace(11));
    assert_ne!(trace(11), trace(12));
}
