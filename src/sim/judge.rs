//! What must hold of a history of workers: while it runs, and once it is quiet.
//!
//! While it runs: whoever speaks knows every event in time up to its horizon, the horizon does not go back
//! within an epoch, and the changelog restores what is in memory. Once it is quiet: each record was applied
//! by exactly one transaction unless it was lost, what was lost left a gap and nothing else did, what
//! stands is what the log implies, each id was said once, and each bad record is in the dead-letter topic once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::cluster::{BEGINNING, Cluster, TopicName};
use super::detector::{SPAN_MS, WEEK_MS, engine_settings, rules, rules_of};
use super::log::Entry;
use super::port::SimPort;
use crate::runtime::port::{Partition, Record, Topic};
use crate::runtime::task::Task;
use crate::runtime::worker::Worker;
use crate::sla::clock::Gap;
use crate::sla::engine::{Arrival, Effects, Engine};
use crate::sla::instant::Instant;
use crate::sla::rules::Rules;
use crate::sla::store::Store;
use crate::wire::changelog::{self, EditionRecord};
use crate::wire::decode::{self, Decoder};
use crate::wire::encode::Encoder;

/// The changelog is compared with memory every so many turns.
const COMPARE_EVERY: u64 = 24;

/// What is expected of one kind of history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Every record is in time: nothing is ever taken back.
    NoRetraction,
    /// Late truth is put right in the end.
    Truth,
    /// Nothing false is said, though much may be missing: the service has stopped.
    NothingFalse,
}

/// What was seen of one worker.
#[derive(Debug, Default)]
pub struct Watch {
    turns: u64,
    spoken_until: BTreeMap<Partition, Option<Instant>>,
}

impl Watch {
    /// Looks at a worker after a turn.
    pub fn look(
        &mut self,
        worker: &Worker<SimPort>,
        client: u64,
        cluster: &mut Cluster,
    ) -> Result<(), String> {
        self.turns += 1;
        for task in worker.tasks() {
            self.look_at_horizon(task, cluster)?;
            let is_committed = !task.is_dirty() && cluster.is_settled(client, task.partition());
            if is_committed && self.turns.is_multiple_of(COMPARE_EVERY) {
                is_restored_by_changelog(task, cluster)?;
            }
        }
        Ok(())
    }

    fn look_at_horizon(&mut self, task: &Task, cluster: &mut Cluster) -> Result<(), String> {
        let (partition, now) = (task.partition(), task.engine().spoken_until());
        let before = self.spoken_until.insert(partition, now).flatten();
        let Some(until) = now.filter(|_| now != before) else { return Ok(()) };
        if before.is_some_and(|before| until < before) {
            return Err(format!("the horizon of partition {partition} goes back within an epoch"));
        }
        is_known(task, until, cluster)
    }
}

/// Whether every event in time and dated up to `until` is applied.
fn is_known(task: &Task, until: Instant, cluster: &mut Cluster) -> Result<(), String> {
    let partition = task.partition();
    let topics = 0..cluster.shape.topics;
    if cluster.has_grown || topics.clone().any(|topic| cluster.hurt.contains(&(topic, partition))) {
        return Ok(());
    }
    let ms = until.since(BEGINNING);
    if cluster.events_to_come(partition).any(|event| event <= until) {
        return Err(format!(
            "partition {partition} is said to be known to {ms}, and an event is not even there"
        ));
    }
    for (topic, position) in topics.zip(task.positions()) {
        let mut ahead = cluster.log(TopicName::Input(topic), partition).entries_from(position.offset);
        if let Some(entry) = ahead.find(|entry| entry.event.is_some_and(|event| event <= until)) {
            let offset = entry.offset;
            return Err(format!(
                "{topic}/{partition} is said to be known to {ms}, and {offset} is not applied"
            ));
        }
    }
    Ok(())
}

/// Whether a fresh start would have what is in memory.
fn is_restored_by_changelog(task: &Task, cluster: &Cluster) -> Result<(), String> {
    let Restored { store: restored, editions } = restored(cluster, task.partition())?;
    if editions != task.history().records() {
        return Err("the changelog has other policies than memory".to_owned());
    }
    let (memory, changelog) = (digest(task.engine().store()), digest(&restored));
    let differing = memory.iter().find(|(id, lead)| changelog.get(*id) != Some(lead));
    let surplus = changelog.keys().find(|id| !memory.contains_key(*id));
    match differing.map(|(id, _)| id).or(surplus) {
        None if restored.gaps() == task.engine().store().gaps() => Ok(()),
        None => Err("the changelog has other gaps than memory".to_owned()),
        Some(id) => {
            let lead = |store: &Store| store.find(id).map(|slot| format!("{:?}", store.lead(slot)));
            Err(format!(
                "the changelog restores `{id}` of partition {} as {:?}, and in memory it is {:?}",
                task.partition(),
                lead(&restored),
                lead(task.engine().store())
            ))
        }
    }
}

/// What a fresh start would have.
struct Restored {
    store: Store,
    editions: Vec<EditionRecord>,
}

impl Restored {
    fn rules(&self) -> Result<Arc<Rules>, String> {
        if self.editions.is_empty() { Ok(rules()) } else { rules_of(self.editions.clone()) }
    }
}

fn restored(cluster: &Cluster, partition: Partition) -> Result<Restored, String> {
    let (mut store, mut reader) = (Store::default(), changelog::Reader::default());
    for (_, entry) in
        cluster.committed_records(TopicName::Changelog).into_iter().filter(|(p, _)| *p == partition)
    {
        let (key, value) = (entry.payload.key.as_deref(), entry.payload.value.as_deref());
        reader.take(key, value, &mut store).map_err(|error| error.to_string())?;
    }
    reader.finish(&mut store).map_err(|error| error.to_string())?;
    let editions = reader.editions().map_err(|error| error.to_string())?;
    Ok(Restored { store, editions })
}

/// Leads by name, as the changelog keeps them. The instant up to which a lead waits is another after a restart.
fn digest(store: &Store) -> BTreeMap<String, Vec<u8>> {
    let lead = |slot: u32| {
        let (id, mut lead, mut bytes) = (store.id(slot), store.lead(slot).clone(), Vec::new());
        lead.wait_until = lead.wait_until.map(|_| Instant::MIN);
        let written = changelog::Writer::default().write(id, None, Some(&lead), &mut |key, value| {
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(value.unwrap_or_default());
            Ok::<(), changelog::Unreadable>(())
        });
        written.expect("a lead can be written");
        (id.to_string(), bytes)
    };
    store.slots().map(lead).collect()
}

/// What tells a transition apart, whatever happened to its record: clock, transition, date.
pub type Claim = (String, String, String);

/// Looks at what is in the logs once it is quiet.
pub fn judge(cluster: &Cluster, expected: Expected, speak_from: Instant) -> Result<(), String> {
    let (found, retracted) = standing(cluster)?;
    let mut truth = BTreeSet::new();
    for partition in 0..cluster.shape.partitions {
        let restored = restored(cluster, partition)?;
        let (records, gaps): (_, &[Gap]) = match expected {
            Expected::NothingFalse => (all(cluster), &[]),
            _ => (applied(cluster), restored.store.gaps()),
        };
        let records = records.filter(|(_, p, _)| *p == partition);
        truth.extend(implied(records, gaps, &restored.rules()?, speak_from)?);
    }
    if expected == Expected::NothingFalse {
        return match found.difference(&truth).next() {
            None => Ok(()),
            Some(claim) => Err(format!("{claim:?} is false")),
        };
    }
    applied_once(cluster)?;
    if expected == Expected::NoRetraction && !retracted.is_empty() {
        return Err(format!("{retracted:?} was taken back, and every record was in time"));
    }
    let may_differ =
        |claim: &&Claim| expected == Expected::Truth && is_told_once(claim, found.contains(*claim));
    let differences: Vec<_> = found.symmetric_difference(&truth).filter(|claim| !may_differ(claim)).collect();
    if let Some(first) = differences.first() {
        let what = if found.contains(*first) { "is false" } else { "is missing" };
        return Err(format!("{first:?} {what}, of {} differences", differences.len()));
    }
    dead_letters(cluster)
}

/// What late truth does not take back: a warning is told once, whatever its date, and an escalation stays. Rules T7
/// and H8.
fn is_told_once((_, transition, _): &Claim, is_told: bool) -> bool {
    transition == "at_risk" || (transition == "escalated" && is_told)
}

/// Records with their topic and partition.
type Records<'a> = Box<dyn Iterator<Item = (Topic, Partition, &'a Entry)> + 'a>;

/// Every record that is readable now.
fn all(cluster: &Cluster) -> Records<'_> {
    let topics = 0..cluster.shape.topics;
    Box::new(topics.flat_map(|topic| {
        let records = cluster.committed_records(TopicName::Input(topic));
        records.into_iter().map(move |(partition, entry)| (topic, partition, entry))
    }))
}

/// Every record that a committed transaction applied.
fn applied(cluster: &Cluster) -> Records<'_> {
    let places = (0..cluster.shape.topics).flat_map(|t| (0..cluster.shape.partitions).map(move |p| (t, p)));
    Box::new(places.flat_map(|at| cluster.applied(at).iter().map(move |entry| (at.0, at.1, entry))))
}

/// Each readable record was applied by exactly one transaction, except behind a gap, where all that is left is
/// read again; those that were not were lost, which left a gap in their partition; and there is no gap where
/// nothing was lost.
fn applied_once(cluster: &Cluster) -> Result<(), String> {
    let mut serials = BTreeSet::new();
    let mut with_gap = BTreeSet::new();
    for partition in 0..cluster.shape.partitions {
        if !restored(cluster, partition)?.store.gaps().is_empty() {
            with_gap.insert(partition);
        }
    }
    for (topic, partition, entry) in applied(cluster) {
        let is_new = serials.insert((topic, partition, entry.serial));
        if !is_new && !with_gap.contains(&partition) {
            return Err(format!("{topic}/{partition}/{} was applied twice", entry.offset));
        }
    }
    let lost = cluster.lost.iter().map(|(topic, partition, entry)| (*topic, *partition, entry));
    let unread: BTreeMap<_, _> = all(cluster)
        .chain(lost)
        .filter(|(topic, partition, entry)| !serials.contains(&(*topic, *partition, entry.serial)))
        .map(|(topic, partition, entry)| (partition, (topic, entry.offset)))
        .collect();
    for partition in 0..cluster.shape.partitions {
        let has_gap = with_gap.contains(&partition);
        // Where a log was cut and has grown again the client does not say which: every one in doubt is skipped.
        let is_hurt = !cluster.hurt.is_empty();
        match unread.get(&partition) {
            Some(at) if !has_gap => {
                return Err(format!("{at:?} of {partition} was not applied, and there is no gap"));
            }
            None if has_gap && !is_hurt => return Err(format!("a gap in {partition}, and nothing was lost")),
            _ => {}
        }
    }
    Ok(())
}

/// The transitions that stand once these records have been read, judged by the engine on its own.
fn implied<'a>(
    records: impl Iterator<Item = (Topic, Partition, &'a Entry)>,
    gaps: &[Gap],
    rules: &Arc<Rules>,
    speak_from: Instant,
) -> Result<BTreeSet<Claim>, String> {
    let mut engine = Engine::new(Arc::clone(rules), engine_settings(WEEK_MS, speak_from));
    gaps.iter().for_each(|gap| engine.store_mut().restore_gap(*gap));
    let mut decoder = Decoder::new(decode::Settings { future_skew_max_ms: 300_000, are_files: false });
    for (topic, partition, entry) in records {
        if let Ok(event) = decoder.decode(&record(topic, partition, entry)) {
            let arrival = Arrival { at: entry.timestamp, recorded_at: None };
            engine.apply(&event.lead_id, event.fact, arrival);
        }
    }
    let mut effects = Effects::default();
    while engine.advance(BEGINNING.plus(100 * SPAN_MS), 100, &mut effects) {}
    let encoder = Encoder::new(Vec::new());
    effects
        .outputs
        .iter()
        .filter(|output| !output.is_silent)
        .map(|output| claim(&encoder.encode(rules, output, 0, Instant::MIN).value))
        .collect()
}

fn record(topic: Topic, partition: Partition, entry: &Entry) -> Record<'_> {
    Record {
        topic,
        partition,
        offset: entry.offset,
        timestamp: Some(entry.timestamp),
        key: entry.payload.key.as_deref(),
        value: entry.payload.value.as_deref(),
        headers: &[],
    }
}

fn claim(value: &[u8]) -> Result<Claim, String> {
    let event: Value = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let data = &event["data"];
    Ok((text(&data["clock"]["id"]), text(&data["transition"]), text(&event["time"])))
}

/// The transitions that stand for a reader of the output topics, each id being there once, and those taken back.
fn standing(cluster: &Cluster) -> Result<(BTreeSet<Claim>, Vec<Claim>), String> {
    let mut by_id = BTreeMap::new();
    let mut retracted = Vec::new();
    for topic in [TopicName::Breaches, TopicName::Warnings, TopicName::Outcomes] {
        for (_, entry) in cluster.committed_records(topic) {
            let value = entry.payload.value.as_deref().unwrap_or_default();
            let event: Value = serde_json::from_slice(value).map_err(|error| error.to_string())?;
            let id = event["id"].as_str().unwrap_or_default().to_owned();
            if let Some(named) = event["data"]["retracts"]["id"].as_str() {
                retracted.push(named.to_owned());
            }
            if by_id.insert(id.clone(), claim(value)?).is_some() {
                return Err(format!("`{id}` was said twice: {}", String::from_utf8_lossy(value)));
            }
        }
    }
    let mut taken_back = Vec::new();
    for id in &retracted {
        match by_id.remove(id) {
            Some(claim) => taken_back.push(claim),
            None => return Err(format!("`{id}` was retracted and never said")),
        }
    }
    let claims = by_id.into_values().filter(|(_, transition, _)| transition != "retracted").collect();
    Ok((claims, taken_back))
}

/// Each record that was applied and cannot be used is in the dead-letter topic once.
fn dead_letters(cluster: &Cluster) -> Result<(), String> {
    let is_nonsense = |value: &[u8]| String::from_utf8_lossy(value).contains("nonsense");
    let values = applied(cluster).map(|(.., entry)| entry.payload.value.as_deref().unwrap_or_default());
    let bad = values.filter(|value| is_nonsense(value)).count();
    match cluster.committed_records(TopicName::DeadLetter).len() {
        letters if letters == bad => Ok(()),
        letters => Err(format!("{letters} dead letters of {bad} bad records")),
    }
}

/// The transitions that the log of a history implies where nothing goes wrong, for a look at how much it says.
pub fn transitions(cluster: &Cluster) -> Result<Vec<String>, String> {
    Ok(implied(all(cluster), &[], &rules(), Instant::MIN)?
        .into_iter()
        .map(|(_, transition, _)| transition)
        .collect())
}
