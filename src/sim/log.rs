//! One partition: what was appended, and what a reader may see of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::runtime::port::{Bounds, Position};
use crate::sla::instant::Instant;

/// Tombstones survive compaction for so long: `delete.retention.ms`, 24 h by default.
const TOMBSTONE_KEPT_MS: i64 = 86_400_000;

/// Header names and values, owned.
pub type Headers = Vec<(String, Option<Vec<u8>>)>;

/// What a producer writes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payload {
    /// The key, if it has one.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Header names and values.
    pub headers: Headers,
}

/// What an entry is to a read_committed reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Written outside a transaction.
    Plain,
    /// Its transaction runs: nothing from here on is readable.
    Open,
    /// Its transaction was committed.
    Committed,
    /// Its transaction was aborted: never handed over.
    Aborted,
    /// The control record that ends a transaction: takes an offset, never handed over.
    Marker,
}

impl State {
    fn is_readable(self) -> bool {
        matches!(self, State::Plain | State::Committed)
    }
}

/// One offset of a log that still holds something.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its offset; compaction leaves holes.
    pub offset: i64,
    /// Tells it apart from whatever else ever had its offset.
    pub serial: u64,
    /// The leader epoch it was appended in.
    pub leader_epoch: i32,
    /// The record timestamp.
    pub timestamp: Instant,
    /// The producer id of a transactional record or marker.
    pub producer: Option<u64>,
    /// What a read_committed reader makes of it.
    pub state: State,
    /// The date of the event in it, where its producer was in time: what a horizon at or after it vouches for.
    pub event: Option<Instant>,
    /// What was written; empty in a marker.
    pub payload: Payload,
}

/// A partition's log. Its high watermark is its end, except while a follower holds it back: what is not
/// replicated is shown to nobody and is no part of the end that a consumer is told.
#[derive(Debug, Default)]
pub struct Log {
    entries: Vec<Entry>,
    serials: u64,
    first: i64,
    end: i64,
    held_at: Option<i64>,
    leader_epoch: i32,
    /// Where each leader's first record is or will be, by epoch.
    epochs: BTreeMap<i32, i64>,
    open: BTreeMap<u64, i64>,
}

impl Log {
    /// Ends this log and begins another in its place, as deleting a topic and making it again does. Returns
    /// what was readable.
    pub fn recreate(&mut self) -> Vec<Entry> {
        let old = std::mem::take(self);
        self.serials = old.serials;
        let stable = old.stable_end();
        old.entries.into_iter().filter(|e| e.offset < stable && e.state.is_readable()).collect()
    }

    /// The entries from an offset on that are not aborted and no markers, readable or not.
    pub fn entries_from(&self, offset: i64) -> impl Iterator<Item = &Entry> {
        let start = self.entries.partition_point(|e| e.offset < offset);
        self.entries[start..].iter().filter(|e| !matches!(e.state, State::Aborted | State::Marker))
    }

    /// Appends a record, of a transaction if it has a producer id, and returns its offset.
    pub fn append(&mut self, payload: Payload, timestamp: Instant, producer: Option<u64>) -> i64 {
        let state = if producer.is_some() { State::Open } else { State::Plain };
        if let Some(id) = producer {
            self.open.entry(id).or_insert(self.end);
        }
        self.push(payload, timestamp, producer, state)
    }

    /// Dates what was appended last.
    pub fn date_last(&mut self, event: Option<Instant>) {
        if let Some(last) = self.entries.last_mut() {
            last.event = event;
        }
    }

    /// Whether a producer's transaction is open here.
    pub fn has_open(&self, id: u64) -> bool {
        self.open.contains_key(&id)
    }

    /// Ends a producer's transaction with a control marker, which takes an offset of its own.
    pub fn end_transaction(&mut self, id: u64, commit: bool, now: Instant) {
        let outcome = if commit { State::Committed } else { State::Aborted };
        let theirs = |e: &&mut Entry| e.producer == Some(id) && e.state == State::Open;
        self.entries.iter_mut().filter(theirs).for_each(|e| e.state = outcome);
        self.open.remove(&id);
        self.push(Payload::default(), now, Some(id), State::Marker);
    }

    fn push(&mut self, payload: Payload, timestamp: Instant, producer: Option<u64>, state: State) -> i64 {
        let (offset, leader_epoch) = (self.end, self.leader_epoch);
        self.entries.push(Entry {
            offset,
            serial: self.serials,
            leader_epoch,
            timestamp,
            producer,
            state,
            event: None,
            payload,
        });
        self.serials += 1;
        self.end += 1;
        offset
    }

    /// What is replicated everywhere, the end that every consumer is told.
    pub fn high_watermark(&self) -> i64 {
        self.held_at.unwrap_or(self.end)
    }

    /// A follower falls behind, so that the high watermark stands still, or catches up.
    pub fn hold_watermark(&mut self, is_held: bool) {
        self.held_at = is_held.then(|| self.high_watermark());
    }

    /// The last stable offset: the first record of the oldest open transaction, else the high watermark.
    pub fn stable_end(&self) -> i64 {
        let end = self.high_watermark();
        self.open.values().copied().min().map_or(end, |first| first.min(end))
    }

    /// First offset and end.
    pub fn bounds(&self) -> Bounds {
        Bounds { first: self.first, end: self.high_watermark(), topic_id: None }
    }

    /// The high watermark and the leader epoch, as the leader gives them to a read_uncommitted asker.
    pub fn leader_end(&self) -> (i64, i32) {
        (self.high_watermark(), self.leader_epoch)
    }

    /// Whether a reader may stand at this offset: elsewhere the broker says OFFSET_OUT_OF_RANGE.
    pub fn holds(&self, offset: i64) -> bool {
        (self.first..=self.end).contains(&offset)
    }

    /// Whether this log is the one in which a reader came as far as this, as OffsetForLeaderEpoch tells: a
    /// client asks so after each change of leader, and says the position is out of range where it is not.
    pub fn continues(&self, at: Position) -> bool {
        let next = self.epochs.range(at.leader_epoch.saturating_add(1)..).next();
        at.leader_epoch < 0 || at.offset <= next.map_or(self.end, |(_, first)| *first)
    }

    /// Reads at most `max` entries from a position, read_committed, and moves it: it stops at the last
    /// stable offset and passes control and aborted entries and the holes of compaction.
    pub fn read(&self, at: &mut Position, max: usize) -> Vec<&Entry> {
        let start = self.entries.partition_point(|e| e.offset < at.offset);
        let stable = self.entries.partition_point(|e| e.offset < self.stable_end());
        let stop = stable.min(start + max).max(start);
        let passed = &self.entries[start..stop];
        if let Some(last) = passed.last() {
            *at = Position { offset: last.offset + 1, leader_epoch: last.leader_epoch };
        }
        if stop == stable {
            at.offset = at.offset.max(self.stable_end());
        }
        passed.iter().filter(|e| e.state.is_readable()).collect()
    }

    /// What a read_committed reader of the whole log sees.
    pub fn committed(&self) -> impl Iterator<Item = &Entry> {
        let stable = self.stable_end();
        self.entries.iter().filter(move |e| e.offset < stable && e.state.is_readable())
    }

    /// Keeps the latest committed record of each key, as `cleanup.policy=compact` does: only below the last
    /// stable offset, offsets stay, the last entry stays, aborted records go, old tombstones go.
    pub fn compact(&mut self, now: Instant) {
        let (stable, end) = (self.stable_end(), self.end);
        let mut seen = BTreeSet::new();
        let mut kept: Vec<Entry> = self.entries.drain(..).rev().collect();
        kept.retain(|e| {
            let untouched = e.offset >= stable || e.state == State::Marker;
            untouched || survives(e, &mut seen, now) || e.offset == end - 1
        });
        kept.reverse();
        self.entries = kept;
    }

    /// Removes what lies below an offset, as retention and DeleteRecords do, and returns what was readable of it.
    pub fn delete_before(&mut self, first: i64) -> Vec<Entry> {
        let (first, stable) = (self.first.max(first.min(self.high_watermark())), self.stable_end());
        self.first = first;
        let gone = self.entries.extract_if(.., |e| e.offset < first);
        gone.filter(|e| e.offset < stable && e.state.is_readable()).collect()
    }

    /// Loses everything from an offset on to a new leader, as an unclean election does, and returns what was
    /// readable of it.
    pub fn truncate(&mut self, end: i64) -> Vec<Entry> {
        let (end, stable) = (self.end.min(end.max(self.first)), self.stable_end());
        self.end = end;
        self.held_at = self.held_at.map(|held| held.min(end));
        // The broker forgets the leaders of what is gone as well.
        self.epochs.retain(|_, first| *first < end);
        self.open.retain(|_, first| *first < end);
        let gone = self.entries.extract_if(.., |e| e.offset >= end);
        let readable = gone.filter(|e| e.offset < stable && e.state.is_readable()).collect();
        self.move_leader();
        readable
    }

    /// Loses what was shown to nobody, as where a producer does not wait for all followers.
    pub fn drop_unreplicated(&mut self) {
        let end = self.high_watermark();
        self.end = end;
        self.entries.retain(|e| e.offset < end);
        self.open.retain(|_, first| *first < end);
    }

    /// Gives the partition another leader, of the next epoch.
    pub fn move_leader(&mut self) {
        self.leader_epoch += 1;
        self.epochs.insert(self.leader_epoch, self.end);
    }
}

fn survives(entry: &Entry, seen: &mut BTreeSet<Option<Vec<u8>>>, now: Instant) -> bool {
    let expired = entry.payload.value.is_none() && now.since(entry.timestamp) > TOMBSTONE_KEPT_MS;
    entry.state.is_readable() && seen.insert(entry.payload.key.clone()) && !expired
}

#[cfg(test)]
mod tests {
    use super::{Log, Payload};
    use crate::runtime::port::Position;
    use crate::sla::instant::Instant;

    /// Runs `+k` plain, `1k` of producer 1, `c1` commit, `a1` abort, `#` compact; then reads from the start.
    fn check(script: &str, read: &str, position: i64, end: i64) {
        let (mut log, now) = (Log::default(), Instant::from_millis(0));
        for word in script.split_whitespace() {
            match word.as_bytes() {
                [b'+', key @ ..] => _ = log.append(payload(key), now, None),
                [b'c', id] => log.end_transaction(u64::from(*id), true, now),
                [b'a', id] => log.end_transaction(u64::from(*id), false, now),
                [id, key @ ..] if !key.is_empty() => _ = log.append(payload(key), now, Some(u64::from(*id))),
                _ => log.compact(now),
            }
        }
        let mut at = Position { offset: 0, leader_epoch: -1 };
        let seen: Vec<_> = log.read(&mut at, 100).iter().map(|e| text(&e.payload)).collect();
        assert_eq!((seen.join(" ").as_str(), at.offset, log.bounds().end), (read, position, end), "{script}");
    }

    fn payload(key: &[u8]) -> Payload {
        Payload { key: Some(key.to_vec()), value: Some(key.to_vec()), headers: vec![] }
    }

    fn text(payload: &Payload) -> String {
        String::from_utf8_lossy(payload.key.as_deref().unwrap_or_default()).into_owned()
    }

    #[test]
    fn a_position_passes_trailing_markers_and_aborted_tails() {
        check("+a 1b c1", "a b", 3, 3);
        check("+a 1b 1c a1", "a", 4, 4);
        check("1b a1", "", 2, 2);
    }

    #[test]
    fn reading_stops_at_the_last_stable_offset() {
        check("1a c1 1b a1 2c +d", "a", 4, 6);
        check("1a 2b c2", "", 0, 3);
        check("1a 2b c2 a1", "b", 4, 4);
    }

    #[test]
    fn compaction_keeps_the_latest_committed_record_of_each_key() {
        check("+a +b +a #", "b a", 3, 3);
        check("+a 1a a1 #", "a", 3, 3);
        check("+a +b 1a +b #", "a b", 2, 4);
    }
}
