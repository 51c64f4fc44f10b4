//! Records of the changelog: every lead's state under its id, and one record of progress a partition.
//!
//! | key | value |
//! |---|---|
//! | `L` and the lead id | format number, then the lead's head, with the chunk that is being filled; none once the lead is forgotten |
//! | `C`, the number of a full chunk in four bytes, and the lead id | format number, then its facts and what was spoken; none once it is empty |
//! | `G` and when it was found | [`GapRecord`] as JSON |
//! | `R` and a number from 0 | the policy file that was taken up then, [`EditionRecord`] as JSON |
//! | `P` | [`Progress`] as JSON |

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::record::Position;
use crate::sla::clock::{Clock, Gap};
use crate::sla::fact::Fact;
use crate::sla::instant::Instant;
use crate::sla::settled::Settled;
use crate::sla::store::{Lead, RejectedAt, Spoken, Store};
use crate::sla::timeline::Course;

/// The first byte of every lead's value.
const FORMAT: u8 = 3;

/// A record of the changelog that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Another version wrote it.
    #[error(
        "the changelog has format {0}, and this version reads {FORMAT}: give the service a new `changelog` topic and \
         a new `kafka.group`, which judges the input topics from their beginning"
    )]
    Format(u8),
    /// It makes no sense.
    #[error("a changelog record cannot be read: {0}")]
    Content(String),
}

/// What a partition's changelog belongs to and how far its input was applied. One is written with every
/// transaction that touches the partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The format of the partition's records.
    pub format: u8,
    /// Drawn at the first start, so that a changelog that was made anew is told apart.
    pub incarnation: String,
    /// How many partitions every input topic has.
    pub partitions: i32,
    /// The input topics, in the order of the configuration.
    pub inputs: Vec<Input>,
    /// The transaction's nonce, also the metadata of the offsets it committed.
    pub nonce: String,
    /// The version of the policies that judged.
    pub policies: String,
    /// What is dated before it is told to nobody; none is the beginning. Fixed at the first start. Rule H9.
    pub speak_from: Option<Instant>,
    /// The latest fact of any lead forgotten. Rule F10.
    pub forgotten_until: Option<Instant>,
    /// How keys are found to be partitioned.
    pub partitioner: Option<String>,
}

/// How far one input topic was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Its name.
    pub topic: String,
    /// Its id, where the cluster gives one.
    pub id: Option<String>,
    /// The next record to read.
    pub position: Position,
    /// Below this every record was read once before the log lost some of them: what was settled by then is
    /// not rejected again as too late.
    #[serde(default)]
    pub read_before: i64,
}

/// A policy file that the partition took up: written with the transaction that did so. Rule T13.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditionRecord {
    /// It is in force from here to the next one; none is the beginning.
    pub from: Option<Instant>,
    /// Hash of its text.
    pub version: String,
    /// Which of two files is the newer one, where it says so.
    pub revision: Option<u64>,
    /// Its text.
    pub text: String,
    /// The texts of the files it refers to, by the names it uses.
    pub files: BTreeMap<String, String>,
}

/// Records were lost before they were read. Written with the offsets that skip them. Rule H6.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapRecord {
    /// When that was found.
    pub at: Instant,
    /// What is dated at or before this was known before; none where nothing was.
    pub proven_until: Option<Instant>,
    /// The logs that lost records.
    pub losses: Vec<Loss>,
}

/// What one log lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The input topic.
    pub topic: String,
    /// The next record to be read before.
    pub from: i64,
    /// The next record to be read since.
    pub to: i64,
    /// How it was found.
    pub why: String,
}

impl GapRecord {
    /// What the engine needs to know of it.
    pub fn gap(&self) -> Gap {
        Gap { at: self.at, proven_until: self.proven_until.unwrap_or(Instant::MIN) }
    }
}

/// What a record says.
#[derive(Debug)]
enum Entry<'a> {
    /// A lead's head is so, or the lead is forgotten.
    Head(&'a str, Option<Box<Head>>),
    /// A lead's full chunk is so, or is empty.
    Chunk(&'a str, u32, Option<Chunk>),
    /// Records were lost.
    Gap(Box<GapRecord>),
    /// A policy file was taken up.
    Edition(usize, Box<EditionRecord>),
    /// The partition's progress.
    Progress(Box<Progress>),
}

/// Everything of a lead but what lies in full chunks.
#[derive(Debug, Deserialize)]
struct Head {
    base: Option<Box<Course>>,
    folded_until: Instant,
    items: Chunk,
    decided: Vec<Clock>,
    settled: Settled,
    rejected: Vec<RejectedAt>,
    wait_until: Option<Instant>,
    touched_at: Instant,
    chunk: u32,
    chunk_items: u32,
    chunk_bytes: u32,
    full_chunks: u32,
}

/// A head as it is written.
#[derive(Serialize)]
struct HeadOf<'a> {
    base: &'a Option<Box<Course>>,
    folded_until: Instant,
    items: Items<'a>,
    decided: &'a [Clock],
    settled: &'a Settled,
    rejected: &'a [RejectedAt],
    wait_until: Option<Instant>,
    touched_at: Instant,
    chunk: u32,
    chunk_items: u32,
    chunk_bytes: u32,
    full_chunks: u32,
}

/// Facts and what was spoken, of one chunk.
#[derive(Debug, Default, Deserialize)]
struct Chunk {
    facts: Vec<Fact>,
    spoken: Vec<Spoken>,
}

/// Those items of a lead that are in one chunk, as they are written.
#[derive(Default, PartialEq, Serialize)]
struct Items<'a> {
    facts: Vec<&'a Fact>,
    spoken: Vec<&'a Spoken>,
}

/// The key of the progress record.
pub const PROGRESS_KEY: &[u8] = b"P";

/// A gap's key: there is one of each moment.
pub fn gap_key(gap: &GapRecord) -> Vec<u8> {
    format!("G{}", gap.at.millis()).into_bytes()
}

/// Writes a gap.
pub fn gap_value(gap: &GapRecord) -> Result<Vec<u8>, Unreadable> {
    serde_json::to_vec(gap).map_err(|error| Unreadable::Content(error.to_string()))
}

/// A policy file's key: they are numbered from 0 in the order in which they were taken up.
pub fn edition_key(number: usize) -> Vec<u8> {
    format!("R{number}").into_bytes()
}

/// Writes a policy file.
pub fn edition_value(edition: &EditionRecord) -> Result<Vec<u8>, Unreadable> {
    serde_json::to_vec(edition).map_err(|error| Unreadable::Content(error.to_string()))
}

/// Whether a record is about the partition as a whole, and about no lead.
pub fn is_about_partition(key: &[u8]) -> bool {
    key == PROGRESS_KEY || key.starts_with(b"R")
}

/// Writes the progress.
pub fn progress_value(progress: &Progress) -> Result<Vec<u8>, Unreadable> {
    serde_json::to_vec(progress).map_err(|error| Unreadable::Content(error.to_string()))
}

/// The format number of what this version writes.
pub const fn format() -> u8 {
    FORMAT
}

/// Takes the key and the value of one record after another; no value is a tombstone.
pub type Sink<'a, E> = &'a mut dyn FnMut(&[u8], Option<&[u8]>) -> Result<(), E>;

/// Writes leads, each as its head and those full chunks that changed.
#[derive(Debug, Default)]
pub struct Writer {
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Writer {
    /// Writes what became of a lead: it was so and is so now, or was not there.
    pub fn write<E: From<Unreadable>>(
        &mut self,
        lead_id: &str,
        before: Option<&Lead>,
        now: Option<&Lead>,
        sink: Sink<'_, E>,
    ) -> Result<(), E> {
        // What was open before is in the head that is replaced: only full chunks have records of their own.
        let (_, old) = before.filter(|lead| 0 < lead.chunk).map(chunks).unwrap_or_default();
        let (open, new) = now.map(chunks).unwrap_or_default();
        let numbers: BTreeSet<u32> = old.keys().chain(new.keys()).copied().collect();
        for number in numbers.into_iter().filter(|number| old.get(number) != new.get(number)) {
            self.start_key(b'C', &number.to_be_bytes(), lead_id);
            self.put(new.get(&number), sink)?;
        }
        self.start_key(b'L', &[], lead_id);
        self.put(now.map(|lead| head_of(lead, open, new.len())).as_ref(), sink)
    }

    fn start_key(&mut self, kind: u8, number: &[u8], lead_id: &str) {
        self.key.clear();
        self.key.push(kind);
        self.key.extend_from_slice(number);
        self.key.extend_from_slice(lead_id.as_bytes());
    }

    fn put<E: From<Unreadable>>(
        &mut self,
        value: Option<&impl Serialize>,
        sink: Sink<'_, E>,
    ) -> Result<(), E> {
        let Some(value) = value else { return sink(&self.key, None) };
        self.value.clear();
        self.value.push(FORMAT);
        postcard::to_io(value, &mut self.value).map_err(|error| Unreadable::Content(error.to_string()))?;
        sink(&self.key, Some(&self.value))
    }
}

fn head_of<'a>(lead: &'a Lead, items: Items<'a>, full_chunks: usize) -> HeadOf<'a> {
    HeadOf {
        base: &lead.base,
        folded_until: lead.folded_until,
        items,
        decided: &lead.decided,
        settled: &lead.settled,
        rejected: &lead.rejected,
        wait_until: lead.wait_until,
        touched_at: lead.touched_at,
        chunk: lead.chunk,
        chunk_items: lead.chunk_items,
        chunk_bytes: lead.chunk_bytes,
        full_chunks: full_chunks as u32,
    }
}

/// The chunk of a lead that is being filled, and the full ones that are not empty, by number.
fn chunks(lead: &Lead) -> (Items<'_>, BTreeMap<u32, Items<'_>>) {
    let (mut open, mut full) = (Items::default(), BTreeMap::<u32, Items<'_>>::new());
    for fact in lead.facts.as_slice() {
        items(&mut open, &mut full, lead, fact.chunk).facts.push(fact);
    }
    for spoken in &lead.spoken {
        items(&mut open, &mut full, lead, spoken.chunk).spoken.push(spoken);
    }
    (open, full)
}

fn items<'a, 'lead>(
    open: &'a mut Items<'lead>,
    full: &'a mut BTreeMap<u32, Items<'lead>>,
    lead: &Lead,
    chunk: u32,
) -> &'a mut Items<'lead> {
    if chunk == lead.chunk { open } else { full.entry(chunk).or_default() }
}

/// Reads a partition's records into a store, from the first to the last.
#[derive(Debug, Default)]
pub struct Reader {
    progress: Option<Box<Progress>>,
    editions: BTreeMap<usize, EditionRecord>,
    /// Leads of more than one chunk, until all of those have been read.
    large: BTreeMap<String, Large>,
}

#[derive(Debug, Default)]
struct Large {
    head: Option<Box<Head>>,
    chunks: BTreeMap<u32, Chunk>,
}

impl Reader {
    /// Takes the next record.
    pub fn take(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        store: &mut Store,
    ) -> Result<(), Unreadable> {
        match read(key, value)? {
            Entry::Progress(progress) => self.progress = Some(progress),
            Entry::Edition(number, edition) => drop(self.editions.insert(number, *edition)),
            Entry::Gap(gap) => store.restore_gap(gap.gap()),
            Entry::Head(lead_id, Some(head)) if head.chunk > 0 => {
                store.restore(lead_id, None);
                self.large.entry(lead_id.to_owned()).or_default().head = Some(head);
            }
            Entry::Head(lead_id, head) => {
                store.restore(lead_id, head.map(|head| head.into_lead(BTreeMap::new())));
                self.large.remove(lead_id);
            }
            Entry::Chunk(lead_id, number, Some(chunk)) => {
                self.large.entry(lead_id.to_owned()).or_default().chunks.insert(number, chunk);
            }
            Entry::Chunk(lead_id, number, None) => {
                if let Some(large) = self.large.get_mut(lead_id) {
                    large.chunks.remove(&number);
                }
            }
        }
        Ok(())
    }

    /// The progress that was read last.
    pub fn progress(&self) -> Option<&Progress> {
        self.progress.as_deref()
    }

    /// The policy files that the partition took up, in order.
    pub fn editions(&self) -> Result<Vec<EditionRecord>, Unreadable> {
        let first_missing = (0..self.editions.len()).find(|number| !self.editions.contains_key(number));
        match first_missing {
            Some(number) => Err(Unreadable::Content(format!("the policy file number {number} is missing"))),
            None => Ok(self.editions.values().cloned().collect()),
        }
    }

    /// Everything has been read: leads of more than one chunk are put together.
    pub fn finish(&mut self, store: &mut Store) -> Result<(), Unreadable> {
        for (lead_id, Large { head, chunks }) in std::mem::take(&mut self.large) {
            match head {
                Some(head) if head.full_chunks as usize == chunks.len() => {
                    store.restore(&lead_id, Some(head.into_lead(chunks)));
                }
                None if chunks.is_empty() => {}
                _ => return Err(Unreadable::Content(format!("lead `{lead_id}` is not whole"))),
            }
        }
        Ok(())
    }
}

impl Head {
    fn into_lead(self, chunks: BTreeMap<u32, Chunk>) -> Lead {
        let (mut facts, mut spoken) = (Vec::new(), Vec::new());
        for (number, chunk) in chunks.into_iter().chain([(self.chunk, self.items)]) {
            facts.extend(chunk.facts.into_iter().map(|fact: Fact| fact.in_chunk(number)));
            spoken.extend(chunk.spoken.into_iter().map(|spoken| Spoken { chunk: number, ..spoken }));
        }
        spoken.sort_unstable_by_key(Spoken::key);
        let mut lead = Lead::default();
        lead.base = self.base;
        lead.folded_until = self.folded_until;
        lead.facts = facts.into_iter().collect();
        lead.decided = self.decided;
        lead.settled = self.settled;
        lead.spoken = spoken;
        lead.rejected = self.rejected;
        lead.wait_until = self.wait_until;
        lead.touched_at = self.touched_at;
        (lead.chunk, lead.chunk_items, lead.chunk_bytes) = (self.chunk, self.chunk_items, self.chunk_bytes);
        lead
    }
}

fn read<'a>(key: Option<&'a [u8]>, value: Option<&[u8]>) -> Result<Entry<'a>, Unreadable> {
    match (key, value) {
        (Some(PROGRESS_KEY), Some(value)) => {
            let progress: Progress = serde_json::from_slice(value).map_err(|_| format_of(value))?;
            if progress.format != FORMAT {
                return Err(Unreadable::Format(progress.format));
            }
            Ok(Entry::Progress(Box::new(progress)))
        }
        (Some([b'G', ..]), Some(value)) => {
            let gap =
                serde_json::from_slice(value).map_err(|error| Unreadable::Content(error.to_string()))?;
            Ok(Entry::Gap(gap))
        }
        (Some([b'R', number @ ..]), Some(value)) => {
            let number =
                text(number)?.parse().map_err(|_| Unreadable::Content("an unknown key".to_owned()))?;
            let edition =
                serde_json::from_slice(value).map_err(|error| Unreadable::Content(error.to_string()))?;
            Ok(Entry::Edition(number, edition))
        }
        (Some([b'L', lead_id @ ..]), value) => Ok(Entry::Head(text(lead_id)?, value.map(parse).transpose()?)),
        (Some([b'C', a, b, c, d, lead_id @ ..]), value) => {
            let number = u32::from_be_bytes([*a, *b, *c, *d]);
            Ok(Entry::Chunk(text(lead_id)?, number, value.map(parse).transpose()?))
        }
        _ => Err(Unreadable::Content("an unknown key".to_owned())),
    }
}

/// Why a record of progress cannot be read: other versions keep other things in it.
fn format_of(value: &[u8]) -> Unreadable {
    #[derive(Deserialize)]
    struct Format {
        format: u8,
    }
    match serde_json::from_slice(value) {
        Ok(Format { format }) if format != FORMAT => Unreadable::Format(format),
        Ok(_) => Unreadable::Content("a record of progress".to_owned()),
        Err(error) => Unreadable::Content(error.to_string()),
    }
}

fn text(lead_id: &[u8]) -> Result<&str, Unreadable> {
    std::str::from_utf8(lead_id).map_err(|_| Unreadable::Content("a lead id that is not UTF-8".to_owned()))
}

fn parse<T: DeserializeOwned>(value: &[u8]) -> Result<T, Unreadable> {
    match value.split_first() {
        Some((&FORMAT, rest)) => match postcard::take_from_bytes(rest) {
            Ok((value, [])) => Ok(value),
            Ok(_) => Err(Unreadable::Content("bytes follow its end".to_owned())),
            Err(error) => Err(Unreadable::Content(error.to_string())),
        },
        Some((format, _)) => Err(Unreadable::Format(*format)),
        None => Err(Unreadable::Content("an empty value".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::sla::fact::{Draft, FieldsBuf, Identity, Kind};

    fn touch(number: i64) -> Fact {
        let (id, fields) = (number.to_string(), FieldsBuf::default());
        Fact::new(&Draft {
            time: Instant::from_millis(number),
            topic: 0,
            offset: number,
            kind: Kind::Contacted,
            identity: Identity::Event { source: None, id: &id },
            fingerprint: 0,
            stage: None,
            fields: &fields,
        })
    }

    fn add(lead: &mut Lead, number: i64) {
        let chunk = lead.open_chunk();
        lead.facts.add(touch(number).in_chunk(chunk));
        lead.fill_chunk(10);
    }

    /// The facts with their chunks, and how far the open one is filled.
    type Kept = (Vec<(Fact, u32)>, (u32, u32, u32));

    fn kept(lead: &Lead) -> Kept {
        let facts = lead.facts.as_slice().iter().map(|fact| (fact.clone(), fact.chunk));
        (facts.collect(), (lead.chunk, lead.chunk_items, lead.chunk_bytes))
    }

    /// A compacted topic.
    #[derive(Default)]
    struct Topic {
        records: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
        bytes: usize,
    }

    impl Topic {
        fn write(&mut self, before: Option<&Lead>, now: Option<&Lead>) -> usize {
            self.bytes = 0;
            let written = Writer::default().write("a", before, now, &mut |key, value| {
                self.bytes += key.len() + value.map_or(0, <[u8]>::len);
                self.records.insert(key.to_vec(), value.map(<[u8]>::to_vec));
                Ok::<(), Unreadable>(())
            });
            assert_eq!(written, Ok(()));
            self.bytes
        }

        fn restored(&self) -> Result<Option<Kept>, Unreadable> {
            let (mut reader, mut store) = (Reader::default(), Store::default());
            for (key, value) in &self.records {
                reader.take(Some(key), value.as_deref(), &mut store)?;
            }
            reader.finish(&mut store)?;
            Ok(store.find("a").map(|slot| kept(store.lead(slot))))
        }
    }

    #[test]
    fn a_long_history_is_written_once_and_comes_back_whole() {
        let (mut topic, mut lead) = (Topic::default(), Lead::default());
        let mut largest = 0;
        for number in 0..1_000 {
            let before = lead.clone();
            add(&mut lead, number);
            largest = topic.write((number > 0).then_some(&before), Some(&lead)).max(largest);
        }
        assert!(largest < 2 * 64 * 40 + 100, "{largest} bytes for one event of a thousand");
        assert_eq!(topic.restored(), Ok(Some(kept(&lead))));
    }

    #[test]
    fn a_late_fact_rewrites_what_it_changes_and_folding_empties_chunks() {
        let (mut topic, mut lead) = (Topic::default(), Lead::default());
        (0..300).for_each(|number| add(&mut lead, 1_000 + number));
        topic.write(None, Some(&lead));
        let before = lead.clone();
        add(&mut lead, 5);
        lead.facts.drain_first(100);
        topic.write(Some(&before), Some(&lead));
        assert_eq!(topic.restored(), Ok(Some(kept(&lead))));
        topic.write(Some(&lead), None);
        assert_eq!(topic.restored(), Ok(None));
        assert!(topic.records.values().all(Option::is_none));
    }

    #[test]
    fn another_format_is_refused_with_the_way_out() {
        let (mut reader, mut store) = (Reader::default(), Store::default());
        for (key, value) in
            [(PROGRESS_KEY, br#"{"format":2,"incarnation":"x"}"#.as_slice()), (b"La", &[2, 0, 0])]
        {
            let refused = reader.take(Some(key), Some(value), &mut store).expect_err("another format");
            assert_eq!(refused, Unreadable::Format(2));
            assert!(refused.to_string().contains("new `changelog` topic"), "{refused}");
        }
    }

    #[test]
    fn policy_files_come_back_in_their_order_and_none_may_be_missing() {
        let edition = |number: usize| EditionRecord {
            from: (0 < number).then(|| Instant::from_millis(number as i64)),
            version: number.to_string(),
            revision: None,
            text: String::new(),
            files: BTreeMap::new(),
        };
        let (mut reader, mut store) = (Reader::default(), Store::default());
        let mut take = |reader: &mut Reader, number| {
            let value = edition_value(&edition(number)).expect("JSON");
            reader.take(Some(&edition_key(number)), Some(&value), &mut store).expect("a record");
        };
        (1..12).for_each(|number| take(&mut reader, number));
        assert!(reader.editions().is_err(), "number 0 is missing");
        take(&mut reader, 0);
        assert_eq!(reader.editions(), Ok((0..12).map(edition).collect()));
    }

    #[test]
    fn a_lead_that_is_not_whole_is_refused() {
        let (mut topic, mut lead) = (Topic::default(), Lead::default());
        (0..200).for_each(|number| add(&mut lead, number));
        topic.write(None, Some(&lead));
        for key in topic.records.keys().cloned().collect::<Vec<_>>() {
            let taken = topic.records.remove(&key).expect("a record");
            assert_eq!(topic.restored(), Err(Unreadable::Content("lead `a` is not whole".to_owned())));
            topic.records.insert(key, taken);
        }
    }
}
