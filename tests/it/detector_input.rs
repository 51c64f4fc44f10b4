//! What `overdue run` does with what it cannot use, on a real broker. Section 7.

use serde_json::json;

use crate::support::detector::{Detector, Job, wait_for};
use crate::support::feed::{Event, Feed, Raw, now};
use crate::support::{Kafka, Record};

/// A contact within a second keeps the promise.
const PROMISE: &str = "
policies:
  - name: one
    objectives: {first-response: {start: created, stop: contacted, within: 1s}}
";

#[test]
fn what_cannot_be_used_is_kept_with_the_reason_and_the_rest_goes_on() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = Job::new(kafka, 2, PROMISE).set("input.partitioner", "murmur2").set("input.lateness_max", "1s");
    let feed = Feed::java(kafka);
    let _detector = job.start_ready("");
    let (at, later) = (now(), now().plus(3_600_000));
    let event = |kind: &str| Event::of("bad", kind, at).line;
    let huge = "x".repeat(1_000_001);
    let bad = [
        ("not_json", "so much for json".to_owned()),
        ("no_lead_id", json!({"type": "contacted", "time": at.to_string()}).to_string()),
        ("no_type", json!({"lead_id": "bad", "time": at.to_string()}).to_string()),
        ("unknown_type", event("lead-yodelled")),
        ("bad_field", json!({"type": "contacted", "lead_id": "bad", "time": "yesterday"}).to_string()),
        ("oversize", huge),
        ("future", Event::contacted("bad", later).line),
    ];
    for (reason, value) in &bad {
        let headers = [("trace", *reason)];
        feed.write_raw(job.input(), &Raw { headers: &headers, ..keyed("bad", value) });
    }
    let misrouted = Event::contacted("bad", at).line;
    let home = kafka.read_committed(job.input())[0].partition;
    feed.write_raw(job.input(), &Raw { key: None, ..keyed("", &misrouted) });
    feed.write_raw(job.input(), &keyed("other", &misrouted));
    feed.write_raw(job.input(), &Raw { partition: Some(1 - home), ..keyed("bad", &misrouted) });
    // Settled before: the lead is long overdue. Merged: it lives on elsewhere.
    let long_ago = at.minus(3_600_000);
    feed.write(job.input(), &[Event::created("settled", long_ago)]);
    wait_until_overdue(&job, "settled");
    feed.write_raw(job.input(), &keyed("settled", &Event::contacted("settled", long_ago.minus(500)).line));
    let merge = json!({"type": "lead-merged", "lead_id": "gone", "time": now().to_string(), "into": "kept"});
    feed.write_raw(job.input(), &keyed("gone", &merge.to_string()));
    let merged = Event::contacted("gone", now().plus(1)).line;
    feed.write_raw(job.input(), &keyed("gone", &merged));
    feed.write(job.input(), &[Event::created("good", now())]);
    wait_until_overdue(&job, "good");

    let mut expected: Vec<_> = bad.iter().map(|(reason, _)| *reason).collect();
    expected.extend(["misrouted", "misrouted", "misrouted", "too_late", "merged"]);
    expected.sort_unstable();
    let letters = letters(&job, expected.len());
    let mut reasons: Vec<_> = letters.iter().map(|letter| header(letter, "reason")).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, expected);
    let sources = kafka.read_committed(job.input());
    for letter in &letters {
        assert_tells_all(letter, &sources, job.input());
    }
}

/// A dead letter has what its record had, and where that was.
fn assert_tells_all(letter: &Record, sources: &[Record], topic: &str) {
    let number = |name: &str| header(letter, name).parse::<i64>().expect("a number");
    let is_source =
        |r: &&Record| (i64::from(r.partition), r.offset) == (number("partition"), number("offset"));
    let source = sources.iter().find(is_source).expect("the rejected record");
    assert_eq!(header(letter, "topic"), topic);
    assert_eq!(letter.key, source.key);
    assert_eq!(letter.headers[..source.headers.len()], source.headers[..]);
    let (value, whole) = (letter.value.as_ref(), source.value.as_ref());
    match header(letter, "reason") {
        "oversize" => {
            assert!(whole.zip(value).is_some_and(|(whole, cut)| whole.starts_with(cut)));
            assert_eq!(number("length"), 1_000_001);
            assert_eq!(header(letter, "sha256").len(), 64);
        }
        _ => assert_eq!(value, whole),
    }
}

#[test]
fn foreign_types_are_passed_over_where_that_is_asked_for() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = Job::new(kafka, 1, PROMISE).set("input.unknown_types", "ignore");
    let feed = Feed::java(kafka);
    let detector = job.start_ready("");
    feed.write(job.input(), &[Event::of("good", "lead-yodelled", now()), Event::created("good", now())]);
    feed.write_raw(job.input(), &keyed("good", "so much for json"));
    wait_until_overdue(&job, "good");
    let letters = letters(&job, 1);
    assert_eq!(header(&letters[0], "reason"), "not_json");
    assert_eq!(detector.metric("overdue_events_rejected_total", "unknown_type"), 0.0);
}

#[test]
fn breaches_of_a_lead_with_a_rejected_record_say_so() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = Job::new(kafka, 1, PROMISE);
    let feed = Feed::java(kafka);
    let _detector = job.start_ready("");
    feed.write(job.input(), &[Event::created("lead-1", now())]);
    feed.write_raw(job.input(), &keyed("lead-1", "so much for json"));
    wait_until_overdue(&job, "lead-1");
    let breach = kafka.read_committed(&job.breaches)[0].value.clone().expect("a breach");
    let breach: serde_json::Value = serde_json::from_str(&breach).expect("JSON");
    assert_eq!(breach["data"]["uncertain"], true);
    assert_eq!(breach["data"]["rejected"], json!([{"topic": job.input(), "partition": 0, "offset": 1}]));
}

#[test]
fn a_tombstone_deletes_its_lead() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = Job::new(kafka, 1, PROMISE);
    let feed = Feed::java(kafka);
    let mut detector = job.start_ready("");
    feed.write(job.input(), &[Event::created("gone", now()), Event::created("stays", now())]);
    feed.write_raw(job.input(), &Raw { key: Some(b"gone"), ..Raw::default() });
    wait_until_overdue(&job, "stays");
    detector.wait_until_known(1, now());
    assert!(job.said().iter().all(|said| said.lead_id == "stays"));
    assert!(job.dead_letters().is_empty());
}

#[test]
fn cloud_events_are_read_in_either_mode() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = Job::new(kafka, 1, PROMISE);
    let feed = Feed::java(kafka);
    let mut detector = job.start_ready("");
    let at = now();
    let leads = ["structured", "binary"];
    feed.write(job.input(), &leads.map(|lead| Event::created(lead, at)));
    let (contacted, ignored) = (at.plus(500).to_string(), Event::created("ignored", at));
    let structured = json!({
        "specversion": "1.0", "id": "1", "source": "/crm", "type": "contacted", "subject": "structured",
        "time": contacted, "data": {"channel": "phone"},
    });
    feed.write_raw(job.input(), &keyed("structured", &structured.to_string()));
    let headers = [
        ("ce_specversion", "1.0"),
        ("ce_id", "2"),
        ("ce_source", "/crm"),
        ("ce_type", "contacted"),
        ("ce_subject", "binary"),
        ("ce_time", &contacted),
    ];
    feed.write_raw(job.input(), &Raw { headers: &headers, ..keyed("binary", r#"{"channel": "phone"}"#) });
    feed.write(job.input(), &[ignored]);
    wait_until_overdue(&job, "ignored");
    detector.wait_until_known(1, now());
    assert!(job.dead_letters().is_empty());
    let standing = detector.metric("overdue_breaches_total", "breached")
        - detector.metric("overdue_breaches_total", "retracted");
    assert_eq!(standing, 1.0, "{:?}", job.said());
}

#[test]
fn leads_named_by_numbers_and_keys_of_other_kinds_are_accepted() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = Job::new(kafka, 2, PROMISE).set("input.keyed_by", "any");
    let _detector: Detector = job.start_ready("");
    let created = json!({"type": "lead-created", "lead_id": 42, "time": now().to_string()}).to_string();
    Feed::java(kafka).write_raw(job.input(), &keyed("account-7", &created));
    wait_until_overdue(&job, "42");
    assert!(job.dead_letters().is_empty());
}

fn keyed<'a>(key: &'a str, value: &'a str) -> Raw<'a> {
    Raw { key: Some(key.as_bytes()), value: Some(value.as_bytes()), ..Raw::default() }
}

fn wait_until_overdue(job: &Job<'_>, lead: &str) {
    wait_for("the lead is overdue", || {
        let said = job.said();
        let is_it = said.iter().any(|said| said.lead_id == lead && said.transition == "breached");
        if is_it { Ok(()) } else { Err(format!("{said:?}, {:?}", job.dead_letters())) }
    });
}

fn letters(job: &Job<'_>, count: usize) -> Vec<Record> {
    wait_for("the dead letters are there", || {
        let letters = job.dead_letters();
        if count <= letters.len() { Ok(letters) } else { Err(format!("{letters:?}")) }
    })
}

fn header<'a>(letter: &'a Record, name: &str) -> &'a str {
    let found = letter.headers.iter().find(|(found, _)| found == name);
    found.map_or("", |(_, value)| value.as_str())
}
