//! The windowed state of one partition: its leads, when each is due next, and what a transaction touched.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};

use super::agenda::Agenda;
use super::clock::{Clock, Dated, Gap, Key, Step};
use super::fact::{Fact, Facts};
use super::instant::Instant;
use super::policy::NameId;
use super::settled::Settled;
use super::timeline::Course;

/// What is kept of one lead.
///
/// Facts and what was spoken lie in chunks, each filled and then left alone, so that a lead with a long
/// history does not write all of it again with each event.
#[derive(Debug, Clone, PartialEq)]
pub struct Lead {
    /// What the facts no longer kept came to.
    pub base: Option<Box<Course>>,
    /// Facts at or before this change nothing any more. Rule F10.
    pub folded_until: Instant,
    /// The facts since.
    pub facts: Facts,
    /// Clocks of folded facts that have not been spoken to their end.
    pub decided: Vec<Clock>,
    /// Those that breached, were spoken to their end, and can still be waived.
    pub settled: Settled,
    /// What was spoken of it, also of clocks that it no longer has; in the order of [`Spoken::key`]. Rule I1.
    pub spoken: Vec<Spoken>,
    /// Records that were rejected and may have been its proof, oldest first.
    pub rejected: Vec<RejectedAt>,
    /// Nothing is spoken of it before this instant, for a fact came late. Rule H8.
    pub wait_until: Option<Instant>,
    /// The local time at which its last fact was applied. Rule H10.
    pub touched_at: Instant,
    /// The chunk that is being filled; those before it are full.
    pub chunk: u32,
    /// How many facts and spoken transitions were put into it.
    pub chunk_items: u32,
    /// About how many bytes they take.
    pub chunk_bytes: u32,
    /// The clocks that ran or were not spoken to their end when it was last looked at.
    pub open: Vec<OpenClock>,
    /// Whether it comes from the changelog and was not looked at since.
    pub was_restored: bool,
    /// Since when it is merged into another lead. Rule T11.
    pub merged_at: Option<Instant>,
    is_unplanned: bool,
    transaction: u64,
    /// How many bytes of it are counted in its store.
    counted_bytes: usize,
}

/// A transition that was spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spoken {
    /// When the clock started.
    pub started_at: Instant,
    /// The clock's objective.
    pub name: NameId,
    /// Of the clocks that start together which it is, from 1; else 0.
    pub turn: u16,
    /// The transition.
    pub step: Step,
    /// Of warnings and escalations which one, from 1; else 0.
    pub level: u16,
    /// Its date.
    pub date: Instant,
    /// The policy that promised it.
    pub policy: u16,
    /// How often it was retracted.
    pub times_retracted: u32,
    /// Whether it stands, that is was not retracted since.
    pub stands: bool,
    /// Whether nobody was told, because it is dated before what is spoken of. Rule H9.
    pub is_silent: bool,
    /// In which of its lead's chunks it is kept.
    #[serde(skip)]
    pub chunk: u32,
}

impl Spoken {
    /// What tells transitions of one lead apart.
    pub fn key(&self) -> SpokenKey {
        (self.clock(), self.step, self.level, self.date)
    }

    /// What names the clock within its lead.
    pub fn clock(&self) -> Key {
        (self.started_at, self.name, self.turn)
    }
}

/// What tells transitions of one lead apart.
pub type SpokenKey = (Key, Step, u16, Instant);

/// The key of a clock's step.
pub fn spoken_key(clock: &Clock, dated: &Dated) -> SpokenKey {
    (clock.key(), dated.step, dated.level, dated.date)
}

/// Where a record that was rejected can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedAt {
    /// Its record timestamp, if it has one.
    pub recorded_at: Option<Instant>,
    /// The input topic, in the order of the configuration.
    pub topic: u16,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

/// A running clock, as far as boards and gauges go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenClock {
    /// Index of its policy.
    pub policy: u16,
    /// Index of its objective in that policy.
    pub objective: u16,
    /// Of the clocks that start together which it is, from 1; else 0.
    pub turn: u16,
    /// When it started.
    pub started_at: Instant,
    /// When it is due; `None` while it is paused, or where it has no target.
    pub due_at: Option<Instant>,
    /// How far it is.
    pub state: OpenState,
}

/// How far a clock is that has not been spoken to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenState {
    /// It runs, and neither a warning nor a breach was spoken.
    OnTrack,
    /// It runs, and a warning was spoken, no breach.
    AtRisk,
    /// It is paused with no end in sight, and no breach was spoken.
    Paused,
    /// It runs, and its breach was spoken.
    Overdue,
    /// It has ended, which was not spoken.
    Ending,
}

impl Default for Lead {
    fn default() -> Lead {
        Lead {
            base: None,
            folded_until: Instant::MIN,
            facts: Facts::default(),
            decided: Vec::new(),
            settled: Settled::default(),
            spoken: Vec::new(),
            rejected: Vec::new(),
            wait_until: None,
            touched_at: Instant::MIN,
            chunk: 0,
            chunk_items: 0,
            chunk_bytes: 0,
            open: Vec::new(),
            was_restored: false,
            merged_at: None,
            is_unplanned: false,
            transaction: 0,
            counted_bytes: 0,
        }
    }
}

/// A chunk is full with so many facts and spoken transitions.
const CHUNK_ITEMS_MAX: u32 = 64;
/// A chunk is full with so many bytes.
const CHUNK_BYTES_MAX: u32 = 256 * 1024;

/// About how many bytes a spoken transition takes where it is written.
const SPOKEN_BYTES: usize = 24;

/// About what the places of a lead in the map, in the agenda and in lists of work take, in bytes.
const PLACE_BYTES: usize = 80;

/// About what a block of memory takes that holds so many bytes: allocators round up, an eighth at most.
const fn allocated(bytes: usize) -> usize {
    bytes + bytes / 12
}

/// About what a list takes, the room for more included.
fn vec_bytes<T>(vec: &Vec<T>) -> usize {
    allocated(vec.capacity() * size_of::<T>())
}

impl Lead {
    /// About how many bytes of memory it takes.
    fn bytes(&self) -> usize {
        let bodies: usize = self.facts.as_slice().iter().map(|fact| allocated(fact.bytes())).sum();
        size_of::<Slot>()
            + PLACE_BYTES
            + bodies
            + allocated(self.facts.capacity() * size_of::<Fact>())
            + vec_bytes(&self.spoken)
            + vec_bytes(&self.decided)
            + self.decided.iter().map(Clock::bytes).sum::<usize>()
            + allocated(self.settled.bytes())
            + vec_bytes(&self.rejected)
            + vec_bytes(&self.open)
            + self.base.as_ref().map_or(0, |base| allocated(base.bytes()))
    }

    /// The chunk of a new fact or spoken transition.
    pub fn open_chunk(&mut self) -> u32 {
        if CHUNK_ITEMS_MAX <= self.chunk_items || CHUNK_BYTES_MAX <= self.chunk_bytes {
            self.chunk += 1;
            (self.chunk_items, self.chunk_bytes) = (0, 0);
        }
        self.chunk
    }

    /// Notes that something was put into the open chunk.
    pub fn fill_chunk(&mut self, bytes: usize) {
        self.chunk_items += 1;
        self.chunk_bytes = self.chunk_bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Packs a clock that was spoken to its end; one that cannot be packed stays as it is.
    pub fn settle(&mut self, clock: Clock) {
        let key = clock.key();
        let spoken = self.spoken.iter().filter(|spoken| spoken.clock() == key).copied().collect();
        let item = (clock, spoken);
        if self.settled.add(&item) {
            self.spoken.retain(|spoken| spoken.clock() != key);
        } else {
            self.decided.push(item.0);
        }
    }

    /// Unpacks all clocks that were settled.
    pub fn unsettle(&mut self) {
        for (clock, spoken) in self.settled.take_beyond(0) {
            self.decided.push(clock);
            for spoken in spoken {
                if let Err(place) = self.find_spoken(spoken.key()) {
                    self.speak(place, spoken);
                }
            }
        }
    }

    /// Enters what was spoken at its place, into the open chunk.
    pub fn speak(&mut self, place: usize, spoken: Spoken) {
        let chunk = self.open_chunk();
        self.fill_chunk(SPOKEN_BYTES);
        self.spoken.insert(place, Spoken { chunk, ..spoken });
    }

    /// The same with nothing packed.
    pub fn unpacked(&self) -> Cow<'_, Lead> {
        if self.settled.is_empty() {
            return Cow::Borrowed(self);
        }
        let mut lead = self.clone();
        lead.unsettle();
        Cow::Owned(lead)
    }

    /// The place of a spoken transition, or where it would be.
    pub fn find_spoken(&self, key: SpokenKey) -> Result<usize, usize> {
        self.spoken.binary_search_by_key(&key, Spoken::key)
    }
}

/// The leads of one partition.
#[derive(Debug)]
pub struct Store {
    slots: Slots,
    shards: Vec<HashTable<u32>>,
    hasher: RandomState,
    /// When each lead is due next.
    pub agenda: Agenda,
    unplanned: Vec<u32>,
    /// The latest fact of any lead forgotten. Rule F10.
    pub forgotten_until: Instant,
    /// When records were lost before they were read, in order. Rule H6.
    gaps: Vec<Gap>,
    /// How many of them are committed.
    gaps_committed: usize,
    transaction: u64,
    touched: Vec<Touched>,
    /// Whether transactions are remembered at all.
    is_transactional: bool,
    forgotten_before: Instant,
    tally: Tally,
    bytes: usize,
}

/// A lead that the transaction touched, and what it was before.
#[derive(Debug)]
struct Touched {
    id: Arc<str>,
    before: Option<Lead>,
    /// Where it was then; it may have gone since.
    slot: u32,
}

/// How many clocks of each objective run: by policy and objective, on track, at risk, overdue and paused.
pub type Tally = BTreeMap<(u16, u16), [i64; 4]>;

/// One map of all leads would stand still for seconds while it grows.
const SHARDS: usize = 256;

impl Default for Store {
    fn default() -> Store {
        Store {
            slots: Slots::default(),
            shards: (0..SHARDS).map(|_| HashTable::new()).collect(),
            hasher: RandomState::default(),
            agenda: Agenda::default(),
            unplanned: Vec::new(),
            forgotten_until: Instant::MIN,
            gaps: Vec::new(),
            gaps_committed: 0,
            transaction: 1,
            touched: Vec::new(),
            is_transactional: true,
            forgotten_before: Instant::MIN,
            tally: Tally::new(),
            bytes: 0,
        }
    }
}

impl Store {
    /// A store that remembers nothing of transactions: for those who never abort one.
    pub fn without_transactions() -> Store {
        Store { is_transactional: false, ..Store::default() }
    }

    /// How many clocks of each objective run.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Notes which clocks of a lead run, in exchange for what was noted before.
    pub fn note_open(&mut self, slot: u32, open: Vec<OpenClock>) {
        self.count(&open, 1);
        let before = std::mem::replace(&mut self.note(slot).open, open);
        self.count(&before, -1);
    }

    /// About how many bytes of memory the leads take that were looked at since they changed.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts anew what a lead takes.
    pub fn note_bytes(&mut self, slot: u32) {
        let id_bytes = self.id(slot).len();
        let lead = self.note(slot);
        let now = lead.bytes() + allocated(16 + id_bytes);
        let before = std::mem::replace(&mut lead.counted_bytes, now);
        self.bytes = self.bytes + now - before;
    }

    fn count(&mut self, open: &[OpenClock], by: i64) {
        for clock in open {
            let counts = self.tally.entry((clock.policy, clock.objective)).or_default();
            match clock.state {
                OpenState::OnTrack => counts[0] += by,
                OpenState::AtRisk => counts[1] += by,
                OpenState::Overdue => counts[2] += by,
                OpenState::Paused => counts[3] += by,
                OpenState::Ending => {}
            }
        }
    }

    /// How many leads it holds.
    pub fn len(&self) -> usize {
        self.slots.len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The slot of a lead.
    pub fn find(&self, lead_id: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(lead_id);
        self.shards[shard_of(hash)].find(hash, |slot| **self.slots.id(*slot) == *lead_id).copied()
    }

    /// The slot of a lead, new where it is not known.
    pub fn find_or_insert(&mut self, lead_id: &str) -> u32 {
        self.find(lead_id).unwrap_or_else(|| self.insert(Arc::from(lead_id), Lead::default()))
    }

    /// The lead in a slot.
    pub fn lead(&self, slot: u32) -> &Lead {
        &self.slots.get(slot).1
    }

    /// The name of the lead in a slot.
    pub fn id(&self, slot: u32) -> &Arc<str> {
        self.slots.id(slot)
    }

    /// The lead in a slot, to be changed: what it was is remembered until the transaction ends.
    pub fn touch(&mut self, slot: u32) -> &mut Lead {
        let (id, lead) = self.slots.get_mut(slot);
        if self.is_transactional && lead.transaction != self.transaction {
            self.touched.push(Touched { id: Arc::clone(id), before: Some(lead.clone()), slot });
            lead.transaction = self.transaction;
        }
        lead
    }

    /// The lead in a slot, to change what is not kept in the changelog.
    pub fn note(&mut self, slot: u32) -> &mut Lead {
        self.slots.get_mut(slot).1
    }

    /// Puts a lead in, as new within the transaction.
    fn insert(&mut self, id: Arc<str>, mut lead: Lead) -> u32 {
        lead.transaction = self.transaction;
        let slot = self.place(Arc::clone(&id), lead);
        if self.is_transactional {
            self.touched.push(Touched { id, before: None, slot });
        }
        slot
    }

    /// Puts a lead in as the changelog has it.
    pub fn restore(&mut self, lead_id: &str, lead: Option<Lead>) {
        if let Some(slot) = self.find(lead_id) {
            self.take_out(slot);
        }
        if let Some(lead) = lead {
            let slot = self.place(Arc::from(lead_id), Lead { transaction: 0, was_restored: true, ..lead });
            self.mark_unplanned(slot);
        }
    }

    /// Forgets a lead. Rule H10.
    pub fn forget(&mut self, slot: u32) {
        self.touch(slot);
        self.take_out(slot);
    }

    fn place(&mut self, id: Arc<str>, lead: Lead) -> u32 {
        let hash = self.hasher.hash_one(&*id);
        let slot =
            self.slots.put(id, Lead { is_unplanned: false, open: Vec::new(), counted_bytes: 0, ..lead });
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.shards[shard_of(hash)].insert_unique(hash, slot, |slot| hasher.hash_one(&**slots.id(*slot)));
        slot
    }

    fn take_out(&mut self, slot: u32) -> Option<Lead> {
        self.agenda.set(slot, None);
        let hash = self.hasher.hash_one(&**self.slots.id(slot));
        if let Ok(entry) = self.shards[shard_of(hash)].find_entry(hash, |found| *found == slot) {
            entry.remove();
        }
        let lead = self.slots.take(slot);
        if let Some(lead) = &lead {
            self.count(&lead.open, -1);
            self.bytes -= lead.counted_bytes;
        }
        lead
    }

    /// Notes that a lead must be looked at before anything can be said to be due.
    pub fn mark_unplanned(&mut self, slot: u32) {
        let lead = self.note(slot);
        if !lead.is_unplanned {
            lead.is_unplanned = true;
            self.unplanned.push(slot);
        }
    }

    /// Takes one lead that must be looked at.
    pub fn next_unplanned(&mut self) -> Option<u32> {
        while let Some(slot) = self.unplanned.pop() {
            if let Some((_, lead)) = self.slots.find_mut(slot)
                && lead.is_unplanned
            {
                lead.is_unplanned = false;
                return Some(slot);
            }
        }
        None
    }

    /// Whether some lead must be looked at.
    pub fn has_unplanned(&self) -> bool {
        !self.unplanned.is_empty()
    }

    /// The leads the transaction touched, each as it was before and as it is now; `None` is one that was not
    /// there.
    pub fn touched(&self) -> impl Iterator<Item = (&Arc<str>, Option<&Lead>, Option<&Lead>)> {
        self.touched.iter().map(|touched| (&touched.id, touched.before.as_ref(), self.touched_lead(touched)))
    }

    fn touched_lead(&self, touched: &Touched) -> Option<&Lead> {
        match self.slots.find(touched.slot) {
            Some((id, lead)) if Arc::ptr_eq(id, &touched.id) => Some(lead),
            _ => self.find(&touched.id).map(|slot| self.lead(slot)),
        }
    }

    /// How many leads the transaction touched.
    pub fn touched_count(&self) -> usize {
        self.touched.len()
    }

    /// Whether the transaction changed anything.
    pub fn is_touched(&self) -> bool {
        !self.touched.is_empty() || self.gaps_committed < self.gaps.len()
    }

    /// The transaction was committed: what it did stays.
    pub fn commit(&mut self) {
        self.touched.clear();
        self.transaction += 1;
        self.forgotten_before = self.forgotten_until;
        self.gaps_committed = self.gaps.len();
    }

    /// The transaction was aborted: every lead it touched is as it was before.
    pub fn abort(&mut self) {
        self.transaction += 1;
        self.forgotten_until = self.forgotten_before;
        for touched in std::mem::take(&mut self.touched).into_iter().rev() {
            self.restore(&touched.id, touched.before);
        }
        if self.gaps_committed < self.gaps.len() {
            self.gaps.truncate(self.gaps_committed);
            self.mark_all_unplanned();
        }
    }

    /// When records were lost before they were read, in order. Rule H6.
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// The gaps that the transaction added.
    pub fn gaps_added(&self) -> &[Gap] {
        &self.gaps[self.gaps_committed..]
    }

    /// Puts a gap in as the changelog has it.
    pub fn restore_gap(&mut self, gap: Gap) {
        let place = self.gaps.partition_point(|known| known.at < gap.at);
        if self.gaps.get(place).is_none_or(|known| known.at != gap.at) {
            self.gaps.insert(place, gap);
        }
        self.gaps_committed = self.gaps.len();
    }

    /// Records were lost: every lead must be looked at, for what was open is undecidable. Rule H6.
    pub fn add_gap(&mut self, gap: Gap) {
        self.gaps.push(gap);
        let decided = |slot: &u32| !self.lead(*slot).decided.is_empty();
        let slots: Vec<u32> = self.slots().filter(decided).collect();
        for slot in slots {
            self.touch(slot).decided.iter_mut().for_each(|clock| clock.note_gap(&[gap]));
        }
        self.mark_all_unplanned();
    }

    /// The clock shows this now, and may have been ahead when leads began to wait: none waits for longer.
    pub fn shorten_waits(&mut self, now: Instant) {
        let is_longer = |slot: &u32| self.lead(*slot).wait_until > Some(now);
        let slots: Vec<u32> = self.slots().filter(is_longer).collect();
        for slot in slots {
            self.note(slot).wait_until = Some(now);
            self.mark_unplanned(slot);
        }
        for before in self.touched.iter_mut().filter_map(|touched| touched.before.as_mut()) {
            before.wait_until = before.wait_until.map(|until| until.min(now));
        }
    }

    /// Which clocks run is not known any more, for it was noted under other rules.
    pub fn forget_open(&mut self) {
        let slots: Vec<u32> = self.slots().collect();
        for slot in slots {
            self.note_open(slot, Vec::new());
            // What runs when it is looked at next has been counted as started.
            self.note(slot).was_restored = true;
        }
        self.tally.clear();
    }

    /// Notes that every lead must be looked at.
    pub fn mark_all_unplanned(&mut self) {
        let slots: Vec<u32> = self.slots().collect();
        slots.into_iter().for_each(|slot| self.mark_unplanned(slot));
    }

    /// Restoring has ended.
    pub fn restored(&mut self, forgotten_until: Instant) {
        self.forgotten_until = forgotten_until;
        self.forgotten_before = forgotten_until;
    }

    /// Every lead, in no order that means anything.
    pub fn slots(&self) -> impl Iterator<Item = u32> {
        self.slots.taken()
    }
}

/// The bits that the tables do not use to tell entries apart.
fn shard_of(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
}

/// A lead by its id, or room for one.
type Slot = Option<(Arc<str>, Lead)>;

/// Leads in pieces of memory that never move.
#[derive(Debug, Default)]
struct Slots {
    chunks: Vec<Vec<Slot>>,
    free: Vec<u32>,
    len: usize,
}

const CHUNK: usize = 1024;

impl Slots {
    fn put(&mut self, id: Arc<str>, lead: Lead) -> u32 {
        self.len += 1;
        if let Some(slot) = self.free.pop() {
            self.chunks[slot as usize / CHUNK][slot as usize % CHUNK] = Some((id, lead));
            return slot;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let last = self.chunks.len() - 1;
        self.chunks[last].push(Some((id, lead)));
        (last * CHUNK + self.chunks[last].len() - 1) as u32
    }

    fn take(&mut self, slot: u32) -> Option<Lead> {
        let (_, lead) = self.chunks[slot as usize / CHUNK][slot as usize % CHUNK].take()?;
        self.free.push(slot);
        self.len -= 1;
        Some(lead)
    }

    fn find_mut(&mut self, slot: u32) -> Option<&mut (Arc<str>, Lead)> {
        self.chunks.get_mut(slot as usize / CHUNK)?.get_mut(slot as usize % CHUNK)?.as_mut()
    }

    fn find(&self, slot: u32) -> Option<&(Arc<str>, Lead)> {
        self.chunks.get(slot as usize / CHUNK)?.get(slot as usize % CHUNK)?.as_ref()
    }

    fn get(&self, slot: u32) -> &(Arc<str>, Lead) {
        let taken = self.chunks[slot as usize / CHUNK][slot as usize % CHUNK].as_ref();
        taken.expect("a slot that is referred to holds a lead")
    }

    fn get_mut(&mut self, slot: u32) -> (&Arc<str>, &mut Lead) {
        let (id, lead) = self.find_mut(slot).expect("a slot that is referred to holds a lead");
        (id, lead)
    }

    fn id(&self, slot: u32) -> &Arc<str> {
        &self.get(slot).0
    }

    fn taken(&self) -> impl Iterator<Item = u32> {
        let entries = self.chunks.iter().flatten().enumerate();
        entries.filter(|(_, entry)| entry.is_some()).map(|(slot, _)| slot as u32)
    }
}
