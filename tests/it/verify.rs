//! `overdue verify` on a real broker: a service that did right has no findings, and whatever is tampered with is
//! found.

use std::thread::sleep;
use std::time::Duration;

use overdue::sla::clock::Step;
use overdue::sla::identity::Said;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::support::detector::{Job, wait_for, wait_until, wait_until_past};
use crate::support::feed::{Event, Feed, Raw, now};
use crate::support::{Kafka, Record};

const WITHIN: Duration = Duration::from_secs(30);

/// A contact within a second keeps the promise.
const PROMISE: &str = "
policies:
  - name: one
    objectives: {first-response: {start: created, stop: contacted, within: 1s}}
";

/// The arguments that leave no time for what cannot come any more.
const AT_ONCE: [&str; 4] = ["--wait", "2s", "--transaction-timeout", "3s"];

// A service that did right.

#[test]
fn a_service_that_runs_and_says_what_it_should_has_no_findings() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = Job::new(kafka, 3, PROMISE).set("workers", "2").set("output.outcomes", "");
    let _detector = job.start_ready("");
    let feed = Feed::java(kafka);
    for round in 0..4 {
        let leads: Vec<_> = (0..10).map(|lead| format!("lead-{round}-{lead}")).collect();
        feed.write(job.input(), &leads.iter().map(|lead| Event::created(lead, now())).collect::<Vec<_>>());
        let answered = leads.iter().step_by(2).map(|lead| Event::contacted(lead, now()));
        feed.write(job.input(), &answered.collect::<Vec<_>>());
        sleep(Duration::from_millis(400));
    }
    feed.write_raw(job.input(), &keyed("bad", "so much for json"));
    feed.write_raw(job.input(), &keyed("other", &Event::created("lead-0-0", now()).line));
    wait_until_past(now().plus(1_600));
    let report = job.verified(&[]).assert_clean();
    assert_eq!(report["matched"], 20, "{report:#}");
    assert_eq!(report["rejected"], json!({"misrouted": 1, "not_json": 1}));
    assert_eq!(report["leads"], 40);
}

#[test]
fn a_breach_that_was_taken_back_has_no_findings() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = judged(kafka, &["lead-1", "lead-2"]);
    let feed = Feed::java(kafka);
    // The answer was given in time and came late.
    let created = job.created_at("lead-1");
    let _detector = job.start_ready("");
    feed.write(job.input(), &[Event::contacted("lead-1", created.plus(300))]);
    wait_until("the breach is taken back", || job.said().iter().any(|said| said.retracts.is_some()));
    let report = job.verified(&[]).assert_clean();
    assert_eq!((&report["matched"], &report["said"]), (&json!(1), &json!(3)), "{report:#}");
}

#[test]
fn met_clocks_are_verified_where_they_are_written() {
    let Some(kafka) = Kafka::shared() else { return };
    let outcomes = kafka.create_topic("outcomes", 1, &[]);
    let job = Job::new(kafka, 1, PROMISE).set("output.outcomes", &outcomes);
    let _detector = job.start_ready("");
    let at = now();
    let events =
        [Event::created("good", at), Event::contacted("good", at.plus(200)), Event::created("bad", at)];
    Feed::java(kafka).write(job.input(), &events);
    wait_until("the breach is said", || job.said().len() == 1);
    assert_eq!(job.verified(&[]).assert_clean()["matched"], 2);
    let other = kafka.create_topic("outcomes", 1, &[]);
    let found = job.verified(&["--set", &format!("output.outcomes={other}"), "--wait", "1s"]).findings();
    assert_eq!(found, ["missing good met"]);
}

// What was said.

#[test]
fn what_was_tampered_with_is_found() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = judged(kafka, &["kept", "twice", "lost", "changed", "moved"]);
    let copy = kafka.create_topic("copy", 1, &[]);
    for record in kafka.read_committed(&job.breaches) {
        let value = record.value.clone().expect("an output");
        match record.key.as_deref() {
            Some("lost") => {}
            Some("twice") => (0..2).for_each(|_| put(kafka, &copy, &record, &value)),
            Some("changed") => {
                put(kafka, &copy, &record, &changed(&value, "/data/clock/due_at", "2026-01-01T00:00:00Z"))
            }
            Some("moved") => put(kafka, &copy, &record, &changed(&value, "/time", "2026-01-01T00:00:00Z")),
            _ => put(kafka, &copy, &record, &value),
        }
        if record.key.as_deref() == Some("kept") {
            let extra = of_another(&value, "never-there");
            put(kafka, &copy, &Record { key: Some("never-there".into()), ..record }, &extra);
        }
    }
    kafka.produce(&copy, None, "noise", "so much for json");
    let breaches = format!("output.breaches={copy}");
    let verified = job.verified(&[&["--set", &breaches], &AT_ONCE[..]].concat());
    // What was moved has the id of what it was.
    let mut expected = vec![
        "different changed breached data.clock.due_at",
        "different moved breached id",
        "different moved breached time",
        "duplicate twice breached",
        "extra never-there breached",
        "missing lost breached",
        "unreadable",
    ];
    let mut found = verified.findings();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected, "{:#}", verified.report);
    assert_eq!(verified.code, Some(1));
    let twice = verified.report["findings"].as_array().expect("findings");
    let twice = twice.iter().find(|one| one["kind"] == "duplicate").expect("a duplicate");
    assert_eq!(twice["at"]["topic"], copy.as_str());
    job.verified(&[]).assert_clean();
}

#[test]
fn a_table_names_the_lead_and_the_record() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = judged(kafka, &["lead-1"]);
    let copy = kafka.create_topic("copy", 1, &[]);
    let said = job.verify(&[&["--set", &format!("output.breaches={copy}")], &AT_ONCE[..]].concat());
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert_eq!(said.status.code(), Some(1), "{text}");
    assert!(text.contains("missing") && text.contains("lead-1") && text.contains("first-response"), "{text}");
    assert!(text.contains(&copy) && text.contains(job.input()), "{text}");
}

#[test]
fn breaches_that_the_service_cannot_know_yet_are_not_missed() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = judged(kafka, &["lead-1"]);
    // The service is down: what lapses now is missing, and what lapsed before an instant is not.
    let until = now().to_string();
    Feed::java(kafka).write(job.input(), &[Event::created("lead-2", now())]);
    wait_until_past(now().plus(1_600));
    let mut found = job.verified(&AT_ONCE).findings();
    found.sort_unstable();
    assert_eq!(found, ["missing lead-2 breached", "unread"]);
    let found = job.verified(&[&["--until", &until], &AT_ONCE[..]].concat()).findings();
    assert_eq!(found, ["unread"]);
}

#[test]
fn a_service_that_lags_behind_is_given_time() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = judged(kafka, &["lead-1"]);
    Feed::java(kafka).write(job.input(), &[Event::created("lead-2", now())]);
    wait_until_past(now().plus(1_600));
    let verified = std::thread::scope(|scope| {
        let verifying = scope.spawn(|| job.verified(&["--wait", "60s"]));
        sleep(Duration::from_secs(1));
        let _detector = job.start_ready("");
        verifying.join().expect("a report")
    });
    assert_eq!(verified.assert_clean()["matched"], 2);
}

// What was rejected.

#[test]
fn dead_letters_that_are_missing_or_without_cause_are_found() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = Job::new(kafka, 1, PROMISE);
    let mut detector = job.start_ready("");
    let feed = Feed::java(kafka);
    feed.write_raw(job.input(), &keyed("bad", "so much for json"));
    feed.write(job.input(), &[Event::created("good", now())]);
    wait_until("the breach is said", || job.said().len() == 1);
    assert!(detector.terminate().success());
    job.verified(&[]).assert_clean();
    let other = kafka.create_topic("dead", 1, &[]);
    let letters = format!("output.dead_letter={other}");
    let found = job.verified(&[&["--set", &letters], &AT_ONCE[..]].concat()).findings();
    assert_eq!(found, ["dead_letter_missing"]);
    let letter = |offset: &str, reason: &str| {
        let headers = [("reason", reason), ("topic", job.input()), ("partition", "0"), ("offset", offset)];
        feed.write_raw(&other, &Raw { headers: &headers, ..keyed("bad", "so much for json") });
    };
    letter("0", "not_json");
    letter("1", "too_late");
    // The lead was left out, as it says there, and should not have been.
    let mut found = job.verified(&[&["--set", &letters], &AT_ONCE[..]].concat()).findings();
    found.sort_unstable();
    assert_eq!(found, ["dead_letter_extra", "extra good breached"]);
}

#[test]
fn what_came_too_late_is_left_out_as_the_dead_letters_say() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = Job::new(kafka, 1, PROMISE).set("input.lateness_max", "1s");
    let mut detector = job.start_ready("");
    let feed = Feed::java(kafka);
    let long_ago = now().minus(3_600_000);
    feed.write(job.input(), &[Event::created("settled", long_ago)]);
    wait_until("the breach is said", || job.said().len() == 1);
    feed.write(job.input(), &[Event::contacted("settled", long_ago.minus(500))]);
    wait_until("the answer is rejected", || job.dead_letters().len() == 1);
    assert!(detector.terminate().success());
    let report = job.verified(&[]).assert_clean();
    assert_eq!((&report["matched"], &report["rejected"]), (&json!(1), &json!({"too_late": 1})));
}

// Logs that are not whole.

#[test]
fn leads_whose_records_were_deleted_are_not_checkable() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = judged(kafka, &["gone", "gone-too"]);
    delete_before(kafka, job.input(), 0, 2);
    let mut detector = job.start_ready("");
    wait_until_past(now().plus(600));
    let feed = Feed::java(kafka);
    feed.write(job.input(), &[Event::contacted("gone", now()), Event::created("whole", now())]);
    wait_until("the breach is said", || job.said().len() == 4);
    assert!(detector.terminate().success());
    let report = job.verified(&[]).assert_clean();
    // Two breaches, and the late answer to one of them.
    assert_eq!(report["not_checkable"], json!({"input_deleted": 3}), "{report:#}");
    assert_eq!(report["matched"], 1);
    assert_eq!(report["topics"][0]["partitions"][0]["first"], 2);
}

#[test]
fn breaches_that_were_deleted_are_not_missed() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = judged(kafka, &["one", "two"]);
    delete_before(kafka, &job.breaches, 0, 1);
    let report = job.verified(&AT_ONCE).assert_clean();
    assert_eq!((&report["not_checkable"], &report["matched"]), (&json!({"output_deleted": 1}), &json!(1)));
}

// Transactions.

#[test]
fn a_transaction_that_nobody_ends_is_found_where_it_begins() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = judged(kafka, &["lead-1"]);
    let producer = open_transaction(kafka, &job.breaches);
    let verified = job.verified(&AT_ONCE);
    assert_eq!(verified.findings(), ["hanging"], "{:#}", verified.report);
    let at = &verified.report["findings"][0]["at"];
    // The breach and its transaction's marker come before it.
    assert_eq!(*at, json!({"topic": job.breaches, "partition": 0, "offset": 2}));
    producer.abort_transaction(WITHIN).expect("the end of the transaction");
    job.verified(&[]).assert_clean();
}

#[test]
fn what_a_transaction_in_the_input_holds_back_is_not_missed() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = judged(kafka, &["lead-1"]);
    let producer = open_transaction(kafka, job.input());
    Feed::java(kafka).write(job.input(), &[Event::created("lead-2", now())]);
    wait_until_past(now().plus(1_600));
    let verified = job.verified(&["--wait", "6s", "--transaction-timeout", "3s"]);
    assert_eq!(verified.findings(), ["hanging"], "{:#}", verified.report);
    producer.abort_transaction(WITHIN).expect("the end of the transaction");
}

// How it fails.

#[test]
fn what_cannot_be_asked_is_said_with_its_exit_code() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = judged(kafka, &["lead-1"]);
    for (setting, code, words) in [
        ("kafka.brokers=127.0.0.1:1", 2, "127.0.0.1:1"),
        ("output.breaches=no-such-topic", 78, "topic `no-such-topic` does not exist"),
        ("input.grace=soon", 78, "input.grace"),
    ] {
        let done = job.verify(&["--set", setting]);
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{setting}: {said}");
        assert!(said.contains(words), "{setting}: {said}");
    }
}

// Helpers.

/// What a verification came to.
struct Verified {
    code: Option<i32>,
    report: Value,
}

impl Verified {
    /// One word a finding with its lead, transition and the fields that differ.
    fn findings(&self) -> Vec<String> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let word = |finding: &Value| {
            let names = ["kind", "lead_id", "transition"].map(|name| text(&finding[name]));
            let fields = finding["differences"].as_array().into_iter().flatten();
            let words: Vec<_> =
                names.into_iter().chain(fields.map(|field| text(&field["field"]))).flatten().collect();
            words.join(" ")
        };
        self.report["findings"].as_array().into_iter().flatten().map(word).collect()
    }

    fn assert_clean(self) -> Value {
        assert!(self.findings().is_empty() && self.code == Some(0), "{:?}: {:#}", self.code, self.report);
        self.report
    }
}

impl Job<'_> {
    fn verified(&self, args: &[&str]) -> Verified {
        let done = self.verify(&[&["--output", "json"], args].concat());
        let report = serde_json::from_slice(&done.stdout);
        let said = String::from_utf8_lossy(&done.stderr);
        Verified { code: done.status.code(), report: report.unwrap_or_else(|e| panic!("{e}: {said}")) }
    }

    fn created_at(&self, lead: &str) -> overdue::sla::instant::Instant {
        let records = self.kafka.read_committed(self.input());
        let of_lead = records.into_iter().find(|record| record.key.as_deref() == Some(lead));
        let event: Value =
            serde_json::from_str(&of_lead.and_then(|r| r.value).expect("a lead")).expect("JSON");
        serde_json::from_value(event["time"].clone()).expect("a time")
    }
}

/// A service of one partition that said a breach of each of these leads, and ended.
fn judged<'a>(kafka: &'a Kafka, leads: &[&str]) -> Job<'a> {
    let job = Job::new(kafka, 1, PROMISE);
    let mut detector = job.start_ready("");
    let at = now();
    let events: Vec<_> = (0..).zip(leads).map(|(ms, lead)| Event::created(lead, at.plus(ms))).collect();
    Feed::java(kafka).write(job.input(), &events);
    wait_for("every lead is overdue", || {
        let said = job.said();
        if said.len() == leads.len() { Ok(()) } else { Err(format!("{said:?}")) }
    });
    assert!(detector.terminate().success());
    job
}

fn keyed<'a>(key: &'a str, value: &'a str) -> Raw<'a> {
    Raw { key: Some(key.as_bytes()), value: Some(value.as_bytes()), ..Raw::default() }
}

/// Writes a record again with another value.
fn put(kafka: &Kafka, topic: &str, record: &Record, value: &str) {
    let producer: BaseProducer = kafka.client().create().expect("a producer");
    let headers = record
        .headers
        .iter()
        .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(value) }));
    let key = record.key.as_deref().unwrap_or_default();
    let copy = BaseRecord::to(topic).key(key).payload(value).headers(headers);
    producer.send(copy).map_err(|(error, _)| error).expect("a record in the queue");
    producer.flush(WITHIN).expect("the record on the broker");
}

/// The same breach of another lead, with the id that it would have.
fn of_another(value: &str, lead: &str) -> String {
    let mut event: Value = serde_json::from_str(value).expect("JSON");
    let instant = |value: &Value| serde_json::from_value(value.clone()).expect("an instant");
    let said = Said {
        lead_id: lead,
        objective: "first-response",
        started_at: instant(&event["data"]["clock"]["started_at"]),
        turn: 0,
        level: 0,
        step: Step::Breached,
        date: instant(&event["time"]),
        times_retracted: 0,
    };
    event["id"] = said.id().to_string().into();
    event["data"]["lead_id"] = lead.into();
    event.to_string()
}

fn changed(value: &str, path: &str, to: &str) -> String {
    let mut event: Value = serde_json::from_str(value).expect("JSON");
    *event.pointer_mut(path).expect("a field") = to.into();
    event.to_string()
}

/// A transaction with one record, left open for longer than any test takes.
fn open_transaction(kafka: &Kafka, topic: &str) -> BaseProducer {
    let mut config = kafka.client();
    config.set("transactional.id", format!("open-{topic}")).set("transaction.timeout.ms", "600000");
    let producer: BaseProducer = config.create().expect("a transactional producer");
    producer.init_transactions(WITHIN).expect("a transactional id");
    producer.begin_transaction().expect("a transaction");
    let record = BaseRecord::to(topic).partition(0).key("lead-9").payload("{}");
    producer.send(record).map_err(|(error, _)| error).expect("a record in the queue");
    producer.flush(WITHIN).expect("the record on the broker");
    producer
}

/// Deletes the start of a log, as retention does.
fn delete_before(kafka: &Kafka, topic: &str, partition: i32, offset: i64) {
    let admin: AdminClient<DefaultClientContext> = kafka.client().create().expect("an admin client");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("an offset");
    let options = AdminOptions::new();
    let asked = admin.delete_records(&list, &options);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(asked).expect("an answer of the leader");
}
