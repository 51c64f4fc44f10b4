//! What nobody meant to write: records, policies, settings and changelogs that are good ones with pieces put in,
//! taken out and repeated, or bytes at random.
//!
//! Each runs for a bounded number of inputs with any other test. For as long as wanted, guided by what the code does
//! with an input: `tests/fuzz decode`. What that finds is kept in `tests/__fuzz__` and is tried first from then on.

#[path = "support/settings.rs"]
mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;

use overdue::config::{self, Problems, Sources, read_policies};
use overdue::sla::engine::{Arrival, Effects, Engine, Settings};
use overdue::sla::fact::Fact;
use overdue::sla::instant::Instant;
use overdue::sla::rules::Rules;
use overdue::sla::store::{Lead, Store};
use overdue::wire::changelog::{Reader, Unreadable, Writer};
use overdue::wire::dead_letter::DeadLetter;
use overdue::wire::decode::{self, Decoder, FIELDS_BYTES_MAX, NAME_BYTES_MAX};
use overdue::wire::record::Record;
use settings::SETTINGS;

const NOW: Instant = Instant::from_millis(1_767_225_600_000);
const DAY_MS: i64 = 86_400_000;
/// More edits than these leave nothing of what was edited.
const EDITS_MAX: usize = 12;

/// Tries so many inputs, or those of `tests/fuzz`.
macro_rules! try_hostile {
    ($count:expr, $property:expr) => {
        bolero::check!().with_iterations($count).with_max_len(512).for_each(|bytes: &[u8]| $property(bytes))
    };
}

/// A good text with pieces put in, taken out, exchanged and repeated as the bytes say; or the bytes themselves.
fn hostile(good: &[&str], pieces: &[&[u8]], bytes: &[u8]) -> Vec<u8> {
    let Some((&choice, edits)) = bytes.split_first() else { return Vec::new() };
    if choice == u8::MAX {
        return edits.to_vec();
    }
    let mut text = good[usize::from(choice) % good.len()].as_bytes().to_vec();
    for edit in edits.chunks_exact(5).take(EDITS_MAX) {
        let [what, high, low, piece, count] = [edit[0], edit[1], edit[2], edit[3], edit[4]];
        let at = usize::from(u16::from_be_bytes([high, low])) % (text.len() + 1);
        let end = (at + usize::from(count)).min(text.len());
        let piece = pieces[usize::from(piece) % pieces.len()];
        match what % 6 {
            0 => drop(text.splice(at..at, piece.iter().copied())),
            1 => drop(text.drain(at..(at + 1 + usize::from(count % 8)).min(text.len()))),
            2 => drop(text.splice(at..end, piece.iter().copied())),
            3 => drop(text.splice(at..at, piece.repeat(1 << (count % 10)))),
            4 => drop(text.splice(at..at, text[at..end].repeat(1 + usize::from(what / 6)))),
            _ => text.truncate(at.max(1)),
        }
    }
    text
}

// Records.

const EVENTS: &[&str] = &[
    r#"{"event_id":"e1","type":"lead-created","lead_id":"L1","time":"2025-12-31T23:00:00+01:00","stage":"new","owner":"ann","segment":"enterprise","deal":{"size":1.5,"tags":["a"],"none":null}}"#,
    r#"{"type":"contacted","lead_id":17,"direction":"inbound","by":"human","channel":"phone","outcome":"talked"}"#,
    r#"{"type":"stage-changed","lead_id":"L1","event_id":"s","stage":"working","time":"2026-01-01T00:00:00Z"}"#,
    r#"{"type":"lead-assigned","lead_id":"L1","owner":null}"#,
    r#"{"type":"paused","lead_id":"L1","until":"2026-01-02T00:00:00Z"}"#,
    r#"{"type":"lead-merged","lead_id":"L1","into":"L2","event_id":"m"}"#,
    r#"{"type":"breach-waived","lead_id":"L1","objective":"x","started_at":"2026-01-01T00:00:00Z"}"#,
    r#"{"specversion":"1.0","id":"1","source":"/crm","type":"contacted","subject":"L9","time":"2025-12-31T00:00:00Z","data":{"channel":"phone","x":{"y":[1,{"z":2}]}}}"#,
];

const JSON_PIECES: &[&[u8]] = &[
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"{\"a\":",
    b"[[[[",
    b" ",
    b"\t",
    b"\n",
    b"\x1b[2J",
    b"\\ud800",
    b"\\u0000",
    b"\\u202e",
    b"1e999",
    b"-0",
    b"-",
    b"0.1",
    b"123456789012345678901234567890",
    b"18446744073709551616",
    b"-9223372036854775809",
    b"null",
    b"true",
    b"NaN",
    b"0000-01-01T00:00:00+23:59",
    b"9999-12-31T23:59:59-23:59",
    b"2016-12-31T23:59:60Z",
    b"\"a\":1,",
    b"\"lead_id\":",
    b"\"event_id\":7,",
    b"\"type\":\"contacted\",",
    b"\"stage\":\"\",",
    b"\"specversion\":\"1.0\",",
    b"\"data\":",
    b"\"time\":",
    b"\"n\":{\"n\":{\"n\":",
    b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

#[test]
fn decode() {
    try_hostile!(60_000, |bytes: &[u8]| {
        let value = hostile(EVENTS, JSON_PIECES, bytes);
        let cloud_event: &[(&str, Option<&[u8]>)] =
            &[("ce_specversion", Some(b"1.0")), ("ce_id", Some(b"\xff")), ("ce_type", Some(b"contacted"))];
        for (are_files, headers) in [(false, &[][..]), (true, &[][..]), (false, cloud_event)] {
            let key = bytes.get(1..9);
            let (topic, timestamp) = (0, (!are_files).then_some(NOW));
            let record =
                Record { topic, partition: 0, offset: 1, timestamp, key, value: Some(&value), headers };
            decodes_soundly(are_files, &record);
            decodes_soundly(are_files, &Record { value: None, key: Some(&value), ..record });
        }
    });
}

fn decodes_soundly(are_files: bool, record: &Record<'_>) {
    let mut decoder = Decoder::new(decode::Settings { future_skew_max_ms: 300_000, are_files });
    match decoder.decode(record) {
        Ok(event) => {
            assert!((1..=NAME_BYTES_MAX).contains(&event.lead_id.len()), "a lead has a name");
            assert!(event.fact.bytes() <= FIELDS_BYTES_MAX + 8 * NAME_BYTES_MAX, "a fact is bounded");
            assert!(record.timestamp.is_none_or(|at| event.fact.time <= at.plus(300_000)), "rule F9");
            let written = postcard::to_stdvec(&event.fact).expect("a fact can be written");
            let read: Fact = postcard::from_bytes(&written).expect("what was written can be read");
            assert_eq!((&read, read.identity_hash()), (&event.fact, event.fact.identity_hash()));
            assert_eq!(read.fields().count(), read.raw_fields().count());
            // Its buffers hold nothing of the record before.
            assert_eq!(decoder.decode(record).as_ref(), Ok(&event));
        }
        Err(rejected) => {
            assert!(rejected.detail.len() < 1_000, "{}", rejected.detail);
            assert!(!rejected.detail.chars().any(char::is_control), "{:?}", rejected.detail);
            let letter = DeadLetter::new(record, "leads", rejected.reason, &rejected.detail);
            assert_eq!((letter.key.as_deref(), letter.value.as_deref()), (record.key, record.value));
        }
    }
}

// Policies.

const POLICIES: &[&str] = &[
    include_str!("../config/policies.yaml"),
    "policies: [{name: a, match: {n: 1.5, b: true}, objectives: {x: {start: created, stop: contacted, within: 1h}}}]",
    "base: &b {start: created, stop: contacted, within: 1h}\npolicies: [{name: a, objectives: {x: *b, y: *b}}]",
    "calendars: {c: {time_zone: UTC, hours: {mon-sun: [\"22:00-06:00\"]}, holidays: [{date: 2026-12-25, hours: [\"10:00-12:00\"]}]}}\n\
     policies: [{name: a, calendar: c, objectives: {x: {start: reopened, stop: {any: [contacted, {entered: won}]}, within: 3bd, restart: true}}}]",
];

const YAML_PIECES: &[&[u8]] = &[
    b"\0",
    b"\xff",
    b"\x1b[2J",
    b"\xe2\x80\xae",
    b"\xef\xbb\xbf",
    b"\xc2\x85",
    b"\t",
    b"\n",
    b"\r",
    b" ",
    b"  ",
    b"-",
    b"- ",
    b":",
    b": ",
    b"? ",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"[[[[[[[[",
    b"{a: ",
    b"&a ",
    b"*a",
    b"*a, ",
    b"<<: *a\n",
    b"<<",
    b"!!str ",
    b"!!binary ",
    b"%YAML 1.1\n",
    b"---\n",
    b"...\n",
    b"|\n",
    b">",
    b"\"",
    b"'",
    b"\\",
    b"# ",
    b"~",
    b"null",
    b".nan",
    b".inf",
    b"-0",
    b"1e999",
    b"0x1F",
    b"0o17",
    b"9999999999999999999",
    b"1bd",
    b"1bh",
    b"36500d",
    b"99999999999w",
    b"1ms",
    b"24:00",
    b"00:00-24:00",
    b"9999-12-31",
    b"0001-01-01",
    b"within: ",
    b"start: ",
    b"contacted",
    b"created",
    b"assigned",
    b"$owner",
    b"not: ",
    b"any: ",
    b"all: ",
    b"entered: ",
    b"left: ",
    b"while: ",
    b"match: ",
    b"calendar: ",
    b"time_zone: ",
    b"mon-fri: ",
    b"holidays: ",
    b"policies:\n",
    b"objectives: ",
    b"stages: ",
    b"Africa/Casablanca",
];

#[test]
fn policies() {
    try_hostile!(15_000, |bytes: &[u8]| {
        let text = hostile(POLICIES, YAML_PIECES, bytes);
        match read_policies("policies.yaml", &String::from_utf8_lossy(&text)) {
            Ok(policies) => {
                drop(judged(&Arc::new(Rules::new(Arc::new(policies))), &[0x10, 0x23, 0x36, 0x40, 0x11]))
            }
            Err(problems) => can_be_shown(&problems),
        }
    });
}

/// What is wrong is said, of a length that can be read, and drives no terminal.
fn can_be_shown(problems: &Problems) {
    assert!(!problems.0.is_empty());
    for problem in &problems.0 {
        let text = problem.to_string();
        let drives = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
        assert!(!text.chars().any(drives), "{text:?}");
        assert!(text.len() < 20_000, "{} bytes: {problem:?}", text.len());
    }
}

const KEEPS_FEW: Settings = Settings { facts_max: 200, ..SETTINGS };

/// An engine after events, one to three of each byte, that are judged now and then.
fn judged(rules: &Arc<Rules>, script: &[u8]) -> Engine {
    let mut engine = Engine::new(Arc::clone(rules), KEEPS_FEW);
    for (step, &byte) in script.iter().enumerate() {
        apply(&mut engine, step, byte);
        commit(&mut engine, |_, _| {});
    }
    engine
}

fn apply(engine: &mut Engine, step: usize, byte: u8) {
    let mut decoder = Decoder::new(decode::Settings { future_skew_max_ms: 0, are_files: true });
    let stage = ["new", "working", "won", "lost"][usize::from(byte >> 6)];
    let at = NOW.plus(step as i64 * 600_000 - i64::from(byte % 3) * DAY_MS);
    let kind = match byte & 15 {
        0..=2 => "lead-created",
        3..=6 => "contacted",
        7..=9 => "stage-changed",
        10 => "lead-assigned",
        11 => "paused",
        12 => "resumed",
        13 => "lead-updated",
        14 => "lead-deleted",
        _ => "breach-waived",
    };
    let lead = byte >> 4 & 3;
    let value = format!(
        r#"{{"event_id":"{step}","type":"{kind}","lead_id":"lead-{lead}","time":"{at}","stage":"{stage}","owner":"ann","objective":"x","segment":"enterprise","source":"web","n":1.5}}"#
    );
    let offset = step as i64;
    let record = Record {
        topic: 0,
        partition: 0,
        offset,
        timestamp: None,
        key: None,
        value: Some(value.as_bytes()),
        headers: &[],
    };
    let event = decoder.decode(&record).expect("a good event");
    engine.apply(&event.lead_id, event.fact, Arrival { at, recorded_at: None });
    if byte.is_multiple_of(5) {
        engine.advance(at.plus(i64::from(byte) * 3_600_000), usize::MAX, &mut Effects::default());
    }
}

/// Hands over the changelog records of what was done, and keeps it.
fn commit(engine: &mut Engine, mut sink: impl FnMut(&[u8], Option<&[u8]>)) {
    let mut writer = Writer::default();
    for (id, before, now) in engine.store().touched() {
        let written = writer.write(id, before, now, &mut |key, value| {
            sink(key, value);
            Ok::<(), Unreadable>(())
        });
        assert_eq!(written, Ok(()));
    }
    engine.store_mut().commit();
}

// The changelog.

type Topic = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Reads a topic as a service does that takes a partition over.
fn restored(topic: &Topic) -> Result<Store, Unreadable> {
    let (mut reader, mut store) = (Reader::default(), Store::default());
    for (key, value) in topic {
        reader.take(Some(key), value.as_deref(), &mut store)?;
    }
    reader.finish(&mut store)?;
    Ok(store)
}

/// What is kept of every lead, by name.
fn kept(store: &Store) -> BTreeMap<Arc<str>, Lead> {
    let lead = |slot| {
        let (found, mut lead) = (store.lead(slot).clone(), Lead::default());
        (lead.base, lead.facts, lead.decided) = (found.base, found.facts, found.decided);
        (lead.spoken, lead.rejected) = (found.spoken, found.rejected);
        (lead.folded_until, lead.wait_until, lead.touched_at) =
            (found.folded_until, found.wait_until, found.touched_at);
        (Arc::clone(store.id(slot)), lead)
    };
    store.slots().map(lead).collect()
}

#[test]
fn changelog() {
    let policies = read_policies("policies.yaml", POLICIES[0]).expect("good policies");
    let rules = Arc::new(Rules::new(Arc::new(policies)));
    try_hostile!(4_000, |bytes: &[u8]| {
        let (faults, script) = bytes.split_at(bytes.len().min(8));
        let (mut engine, mut topic) = (Engine::new(Arc::clone(&rules), KEEPS_FEW), Topic::new());
        let per_commit = 1 + usize::from(faults.first().copied().unwrap_or_default() % 16);
        for (step, &byte) in script.iter().enumerate() {
            apply(&mut engine, step, byte);
            if step % per_commit == 0 || step + 1 == script.len() {
                commit(&mut engine, |key, value| drop(topic.insert(key.to_vec(), value.map(<[u8]>::to_vec))));
            }
        }
        let store = restored(&topic).expect("what was written can be read");
        assert_eq!(kept(&store), kept(engine.store()));
        refuses_what_is_broken(&topic, faults);
    });
}

/// A record that was cut or has something behind it is refused; one that was changed does not do harm.
fn refuses_what_is_broken(topic: &Topic, faults: &[u8]) {
    let [_, which, what, high, low, byte, ..] = faults else { return };
    let full: Vec<_> = topic.iter().filter_map(|(key, value)| Some((key, value.as_ref()?))).collect();
    let Some((key, value)) = full.get(usize::from(*which) % full.len().max(1)) else { return };
    let at = usize::from(u16::from_be_bytes([*high, *low])) % value.len();
    let mut broken = (*value).clone();
    match what % 3 {
        0 => broken.truncate(at),
        1 => broken.push(*byte),
        _ => broken[at] = *byte,
    }
    let read = restored(&Topic::from([((*key).clone(), Some(broken))]));
    assert!(what % 3 == 2 || read.is_err(), "a broken record was taken for a whole one");
    let mut key = (*key).clone();
    key.truncate(usize::from(*byte) % (key.len() + 1));
    let _ = restored(&Topic::from([(key, Some((*value).clone()))]));
    let _ = restored(&Topic::from([
        (b"P".to_vec(), Some((*value).clone())),
        (b"G1".to_vec(), Some(faults.to_vec())),
    ]));
}

#[test]
fn a_lead_of_100_000_touches_writes_little_with_each() {
    const TOUCHES: i64 = 100_000;
    let policies = read_policies("policies.yaml", POLICIES[1]).expect("good policies");
    let mut engine = Engine::new(Arc::new(Rules::new(Arc::new(policies))), SETTINGS);
    let mut decoder = Decoder::new(decode::Settings { future_skew_max_ms: 0, are_files: true });
    let (mut topic, mut written, mut largest) = (Topic::new(), 0, 0);
    let mut input = 0;
    for offset in 0..TOUCHES {
        let at = NOW.plus(offset * 10);
        let value = format!(
            r#"{{"event_id":"touch-{offset}","type":"contacted","lead_id":"busy","time":"{at}","channel":"phone","outcome":"connected"}}"#
        );
        input += value.len();
        let record = Record {
            topic: 0,
            partition: 0,
            offset,
            timestamp: None,
            key: None,
            value: Some(value.as_bytes()),
            headers: &[],
        };
        let event = decoder.decode(&record).expect("a good event");
        engine.apply(&event.lead_id, event.fact, Arrival { at, recorded_at: None });
        if offset % 100 == 99 {
            let mut bytes = 0;
            commit(&mut engine, |key, value| {
                bytes += key.len() + value.map_or(0, <[u8]>::len);
                topic.insert(key.to_vec(), value.map(<[u8]>::to_vec));
            });
            written += bytes;
            largest = largest.max(bytes);
        }
    }
    commit(&mut engine, |key, value| drop(topic.insert(key.to_vec(), value.map(<[u8]>::to_vec))));
    println!(
        "{input} bytes in, {written} bytes of changelog in commits of 100 events, {largest} in the largest"
    );
    assert!(largest < 128 * 1024, "{largest} bytes for a hundred events");
    assert!(written < input * 5, "{written} bytes for {input}");
    assert_eq!(kept(&restored(&topic).expect("it can be read")), kept(engine.store()));
}

// Settings.

const FILES: &[&str] = &[
    include_str!("../config/overdue.yaml"),
    "kafka: {brokers: 'a:1', properties: {sasl.password: hunter2}}\ninput: {topics: [a, b], grace: 1s}\nstate_bytes_max: 4GiB\n",
];

const SETTING_PIECES: &[&[u8]] = &[
    b"\0",
    b"\xff",
    b"\x1b[2J",
    b"\n",
    b"\t",
    b" ",
    b":",
    b": ",
    b"-",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"&a ",
    b"*a",
    b"\"",
    b"'",
    b"|\n",
    b"~",
    b"-1",
    b"1e999",
    b"99999999999999999999",
    b"1h",
    b"0s",
    b"36500d",
    b"1TiB",
    b"any",
    b"kafka:\n  ",
    b"properties: ",
    b"brokers: ",
    b"topics: ",
    b"workers: ",
    b"listen: ",
    b"0.0.0.0:0",
    b"[::1]:99999",
    b"input.",
    b"_file: /dev/null",
    b"=",
    b"..",
];

#[test]
fn settings() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (file, policies) = (folder.path().join("overdue.yaml"), folder.path().join("policies.yaml"));
    std::fs::write(&policies, POLICIES[1]).expect("the policies");
    try_hostile!(1_500, |bytes: &[u8]| {
        let text = hostile(FILES, SETTING_PIECES, bytes);
        std::fs::write(&file, &text).expect("the settings");
        let set = String::from_utf8_lossy(bytes.get(..12).unwrap_or_default()).into_owned();
        let line = String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned();
        for sets in [vec![], vec![set, line.replacen(": ", "=", 1)]] {
            let sources = Sources { files: vec![file.clone()], env: BTreeMap::new(), sets };
            if let Err(problems) = config::load(&sources) {
                can_be_shown(&problems);
            }
        }
    });
}
