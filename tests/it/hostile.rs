//! Hostile records among good ones, on a real broker: none is lost, each is kept with its bytes and its reason,
//! and the good ones are judged as if there were no others. Section 7.
//!
//! `OVERDUE_SEED=17` repeats a run. Not a promise but a figure, of a million records:
//!
//! ```text
//! cargo test --release --test it -- --ignored --nocapture a_million_hostile_records
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant as Clock};

use overdue::demo::leads::Leads;
use overdue::wire::decode::RECORD_BYTES_MAX;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rdkafka::message::{Header, Headers, OwnedHeaders};
use rdkafka::producer::BaseRecord;

use crate::support::detector::{Detector, Job, Said, wait_for};
use crate::support::feed::{Feed, now};
use crate::support::{Kafka, seed};

const PROMISES: &str = "
pipeline: {open: [new, working, qualified, proposal], won: [won], lost: [lost]}
policies:
  - name: everyone
    objectives:
      first-response: {start: created, stop: contacted, within: 1h}
    stages: {new: 1d, working: 1d, qualified: 1d, proposal: 1d}
";
const PARTITIONS: i32 = 4;
const DAY_MS: i64 = 86_400_000;

#[test]
fn hostile_records_are_kept_and_the_good_ones_judged() {
    let Some(kafka) = Kafka::shared() else { return };
    drown(kafka, 30_000, true);
}

#[test]
#[ignore = "it takes minutes, and is a measurement"]
fn a_million_hostile_records() {
    let Some(kafka) = Kafka::own() else { return };
    let good = drown(&kafka, 1_000_000, false);
    let mixed = drown(&kafka, 1_000_000, true);
    println!(
        "{good:.0} good records a second, {mixed:.0} with every second one hostile: {:.2}",
        mixed / good
    );
}

/// Runs a service over so many records; returns how many of them it took in a second.
fn drown(kafka: &Kafka, count: usize, is_hostile: bool) -> f64 {
    let seed = std::env::var("OVERDUE_SEED")
        .map_or_else(|_| u64::from(seed()), |text| text.parse().expect("a seed"));
    println!("OVERDUE_SEED={seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let job = Job::new(kafka, PARTITIONS, PROMISES).set("input.partitioner", "murmur2").set("workers", "2");
    // So long ago that every promise was kept or broken before.
    let until = now().minus(3 * DAY_MS);
    let (mut leads, per_lead) =
        (Leads::new(seed, until.minus(2 * DAY_MS), count as f64 / (2.0 * 86_400.0) / 2.0, 1.0), 2);
    let mut good = leads.until(until);
    good.truncate(if is_hostile { count / per_lead } else { count });
    let (feed, mut lines, mut expected, mut bytes) = (Feed::java(kafka), String::new(), 0, 0);
    for event in &good {
        feed.queue(BaseRecord::to(job.input()).key(event.lead_id.as_bytes()).payload(event.value.as_bytes()));
        lines.push_str(&event.value);
        lines.push('\n');
        if is_hostile {
            let bad = Hostile::draw(&mut random);
            feed.queue(bad.record(job.input()));
            bytes += bad.value.len();
            expected += 1;
        }
    }
    feed.finish();
    let total = good.len() + expected;
    let begun = Clock::now();
    let mut detector = job.start_ready("");
    wait_until_taken(&mut detector, total);
    let rate = total as f64 / begun.elapsed().as_secs_f64();
    let megabytes = (bytes + lines.len()) as f64 / 1e6;
    println!(
        "{total} records of {megabytes:.0} MB, {expected} of them hostile: {rate:.0} a second from the start"
    );
    println!("{:.0} MB resident", detector.metric("process_resident_memory_bytes", "") / 1e6);
    let replayed = standing(&job.replayed(&lines));
    assert!(total / 20 < replayed.len(), "a log of {} breaches shows little", replayed.len());
    wait_for("the breach topic has what replay says", || {
        detector.assert_runs();
        let found = standing(&job.said());
        let (missing, extra) = (replayed.difference(&found).count(), found.difference(&replayed).count());
        if missing + extra == 0 { Ok(()) } else { Err(format!("{missing} missing, {extra} too many")) }
    });
    assert!(detector.terminate().success());
    let (sources, letters) = (sources(kafka, &job), letters(kafka, &job));
    assert_eq!(letters.len(), expected, "each hostile record is kept once");
    assert_eq!(sources.len(), expected);
    for (place, source) in &sources {
        assert_eq!(letters.get(place), Some(source), "{place:?}");
    }
    rate
}

fn wait_until_taken(detector: &mut Detector, count: usize) {
    let deadline = Clock::now() + Duration::from_secs(60) + Duration::from_micros(count as u64 * 500);
    loop {
        detector.assert_runs();
        let taken = detector.metric("overdue_events_consumed_total", "")
            + detector.metric("overdue_events_rejected_total", "");
        if count as f64 <= taken {
            return;
        }
        assert!(Clock::now() < deadline, "{taken} of {count} records were taken in");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn standing(said: &[Said]) -> BTreeSet<String> {
    let retracted: BTreeSet<_> = said.iter().filter_map(|said| said.retracts.clone()).collect();
    let stand = said.iter().filter(|said| said.retracts.is_none() && !retracted.contains(&said.id));
    stand.map(|said| said.id.clone()).collect()
}

/// What became of a hostile record: why it is one, and all its bytes.
#[derive(Debug, PartialEq, Eq)]
struct Fate {
    reason: String,
    key: Option<Vec<u8>>,
    length: usize,
    sha256: [u8; 32],
}

/// Where a record lies in the input.
type Place = (i64, i64);

fn sources(kafka: &Kafka, job: &Job<'_>) -> BTreeMap<Place, Fate> {
    let mut found = BTreeMap::new();
    kafka.read_raw(job.input(), |message| {
        use rdkafka::Message;
        let Some(reason) = header(message, "expected") else { return };
        let value = message.payload().unwrap_or_default();
        let (key, length) = (message.key().map(<[u8]>::to_vec), value.len());
        let fate = Fate { reason, key, length, sha256: digest(value) };
        found.insert((i64::from(message.partition()), message.offset()), fate);
    });
    found
}

fn letters(kafka: &Kafka, job: &Job<'_>) -> BTreeMap<Place, Fate> {
    let mut found = BTreeMap::new();
    kafka.read_raw(&job.dead_letter, |message| {
        use rdkafka::Message;
        let text = |name: &str| header(message, name);
        let number = |name: &str| text(name).and_then(|text| text.parse::<i64>().ok());
        let value = message.payload().unwrap_or_default();
        let (length, sha256) = match (number("length"), text("sha256")) {
            (Some(length), Some(hex)) => (length as usize, of_hex(&hex)),
            _ => (value.len(), digest(value)),
        };
        let key = message.key().map(<[u8]>::to_vec);
        let reason = text("reason").expect("a reason");
        assert_eq!(text("expected").as_ref(), Some(&reason), "{:?}", text("detail"));
        let place = (number("partition").expect("a partition"), number("offset").expect("an offset"));
        assert!(
            found.insert(place, Fate { reason, key, length, sha256 }).is_none(),
            "{place:?} is there twice"
        );
    });
    found
}

fn header(message: &impl rdkafka::Message, name: &str) -> Option<String> {
    let found = message.headers()?.iter().filter(|header| header.key == name).last()?;
    Some(String::from_utf8_lossy(found.value.unwrap_or_default()).into_owned())
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).into()
}

fn of_hex(text: &str) -> [u8; 32] {
    std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hexadecimal digits"))
}

/// A record that cannot be used.
struct Hostile {
    reason: &'static str,
    key: Option<Vec<u8>>,
    value: Vec<u8>,
}

impl Hostile {
    fn draw(random: &mut ChaCha8Rng) -> Self {
        let lead = format!("bad-{}", random.random_range(0..5_000));
        let with = |more: &str| format!(r#"{{"lead_id":"{lead}","type":"contacted"{more}}}"#).into_bytes();
        let mut key = Some(lead.clone().into_bytes());
        let (reason, value) = match random.random_range(0..30_u32) {
            0 => ("not_json", noise(random)),
            1 => ("not_json", with("")[..random.random_range(1..30)].to_vec()),
            2 => ("not_json", b"[".repeat(random.random_range(200..20_000))),
            3 => ("not_json", br#"{"a":"#.repeat(random.random_range(200..5_000))),
            4 => ("not_json", with(",\"x\":\"\0\"")),
            5 => ("not_json", with(r#","x":"\ud800""#)),
            6 => ("not_json", with(",\"x\":1e999")),
            7 => ("not_json", [b"\xef\xbb\xbf".to_vec(), with("")].concat()),
            8 => ("not_json", [with(""), b"x".to_vec()].concat()),
            9 => ("not_json", with(",\"x\":\"").into_iter().chain([0xff, 0xc3, b'"', b'}']).collect()),
            10 => ("not_json", b" ".repeat(random.random_range(0..100_000))),
            11 => ("no_lead_id", br#"{"type":"contacted","lead_id":""}"#.to_vec()),
            12 => ("no_lead_id", b"[[],{},\"\",-0,1e5,null]".to_vec()),
            13 => ("no_lead_id", random.random_range(0..u64::MAX).to_string().into_bytes()),
            14 => ("no_type", format!(r#"{{"lead_id":"{lead}","type":null}}"#).into_bytes()),
            15 => ("unknown_type", with(r#","type":"\u001b[2J\u0000contacted""#)),
            16 => ("bad_field", with(r#","time":"9999-99-99T99:99:99Z""#)),
            17 => ("bad_field", with(r#","time":"0000-00-00T00:00:00Z""#)),
            18 => ("bad_field", with(",\"event_id\":18446744073709551616")),
            19 => ("bad_field", with(r#","lead_id":123456789012345678901234567890"#)),
            20 => ("bad_field", with(r#","lead_id":{"$ne":null}"#)),
            21 => ("bad_field", with(r#","direction":"sideways""#)),
            22 => ("future", with(r#","time":"9999-12-31T23:59:59-23:59""#)),
            23 => ("oversize", with(&format!(r#","event_id":"{}""#, "e".repeat(2_000)))),
            24 => ("oversize", with(&format!(r#","lead_id":"{}""#, "l".repeat(1_025)))),
            25 => (
                "oversize",
                with(&format!(r#","{}":{{{}"b":1}}"#, "n".repeat(9_000), "\"a\":0,".repeat(400))),
            ),
            26 => {
                key = None;
                ("misrouted", with(""))
            }
            27 => {
                key = Some(vec![0xff; random.random_range(1..50)]);
                ("misrouted", with(""))
            }
            28 if random.random_range(0..50) == 0 => ("oversize", vec![b'x'; RECORD_BYTES_MAX + 1]),
            28 => ("bad_field", with(r#","by":"robot","by":7"#)),
            _ => ("misrouted", with(r#","lead_id":"another""#)),
        };
        Self { reason, key, value }
    }

    fn record<'a>(&'a self, topic: &'a str) -> BaseRecord<'a, [u8], [u8]> {
        let empty = Header { key: "\u{1b}[2J", value: None::<&[u8]> };
        let broken = Header { key: "broken", value: Some(&b"\xff\0\xc3"[..]) };
        let expected = Header { key: "expected", value: Some(self.reason.as_bytes()) };
        let headers = OwnedHeaders::new().insert(empty).insert(broken).insert(expected);
        let mut record = BaseRecord::to(topic).payload(&self.value[..]).headers(headers);
        record.key = self.key.as_deref();
        record
    }
}

/// Bytes of which no JSON begins.
fn noise(random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = vec![0; random.random_range(1..2_000)];
    random.fill_bytes(&mut bytes);
    bytes[0] |= 0x80;
    bytes
}
