//! Warnings, waivers, what is not spoken of, and policies that change while the service runs, on a real broker.

use std::collections::BTreeSet;

use overdue::sla::instant::Instant;
use serde_json::Value;

use crate::support::Kafka;
use crate::support::detector::{Detector, Job, wait_until, wait_until_past};
use crate::support::feed::{Event, Feed, Raw, now};

/// One promise, of which there is more to say.
fn promise(head: &str, more: &str) -> String {
    format!(
        "{head}\npolicies:\n  - name: one\n    objectives:\n      \
         first-response: {{start: created, stop: contacted, {more}}}\n"
    )
}

/// The outputs of a topic.
fn outputs(kafka: &Kafka, topic: &str) -> Vec<Value> {
    let records = if kafka.has_topic(topic) { kafka.read_committed(topic) } else { Vec::new() };
    let value = |record: crate::support::Record| record.value.expect("an output");
    records.into_iter().map(|record| serde_json::from_str(&value(record)).expect("JSON")).collect()
}

/// The transitions of a lead among outputs, in the order in which they were written.
fn transitions<'a>(outputs: &'a [Value], lead: &str) -> Vec<&'a str> {
    let of_lead = outputs.iter().filter(|output| output["data"]["lead_id"] == lead);
    of_lead.map(|output| output["data"]["transition"].as_str().expect("a word")).collect()
}

fn waive(job: &Job<'_>, feed: &Feed, lead: &str, at: Instant) {
    let value = format!(
        r#"{{"type":"breach-waived","lead_id":"{lead}","objective":"first-response","who":"vp","why":"a storm","time":"{at}"}}"#
    );
    let (key, value) = (Some(lead.as_bytes()), Some(value.as_bytes()));
    feed.write_raw(job.input(), &Raw { key, value, ..Raw::default() });
}

fn metric(detector: &Detector, name: &str, label: &str) -> f64 {
    detector.metric(&format!("overdue_{name}"), label)
}

fn wait_until_said(job: &Job<'_>, lead: &str, transition: &str) -> Value {
    wait_until(&format!("{lead} is {transition}"), || {
        transitions(&outputs(job.kafka, &job.breaches), lead).contains(&transition)
    });
    let all = outputs(job.kafka, &job.breaches);
    let is_it =
        |output: &&Value| output["data"]["lead_id"] == lead && output["data"]["transition"] == transition;
    all.iter().find(is_it).expect("the output").clone()
}

#[test]
fn warnings_have_a_topic_and_what_is_waived_costs_nothing() {
    let Some(kafka) = Kafka::shared() else { return };
    let more = "within: 2s, warn: 50%, escalate_after: 1s, penalty: {amount: 49.5, currency: EUR}";
    let job = Job::new(kafka, 1, &promise("", more));
    let detector = job.start_ready("");
    let feed = Feed::java(kafka);
    feed.write(job.input(), &[Event::created("late", now()), Event::created("excused", now())]);
    waive(&job, &feed, "excused", now());
    wait_until_said(&job, "late", "escalated");
    waive(&job, &feed, "late", now());
    let waived = wait_until_said(&job, "late", "waived");
    assert_eq!(waived["data"]["waiver"]["why"], "a storm");
    let breaches = outputs(kafka, &job.breaches);
    assert_eq!(transitions(&breaches, "late"), ["breached", "escalated", "waived"]);
    assert_eq!(transitions(&breaches, "excused"), ["waived"]);
    let warnings = outputs(kafka, &job.warnings);
    assert_eq!(transitions(&warnings, "late"), ["at_risk"]);
    assert!(warnings.iter().all(|warning| warning["type"] == "dev.overdue.at-risk.v1"));
    wait_until("it is counted", || metric(&detector, "clocks_closed_total", "waived") == 2.0);
    assert_eq!(metric(&detector, "clocks_closed_total", "breached"), 2.0);
    assert_eq!(metric(&detector, "warnings_total", ""), warnings.len() as f64);
    assert_eq!(metric(&detector, "breaches_total", "escalated"), 1.0);
    assert_eq!(metric(&detector, "penalties_total", "EUR"), 49.5);
    assert_eq!(metric(&detector, "penalties_cancelled_total", "EUR"), 49.5);
    job.assert_verified();
}

#[test]
fn what_is_dated_before_speak_from_counts_and_is_told_to_nobody() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = Job::new(kafka, 1, &promise("", "within: 1s, warn: 50%"));
    let from = now();
    let job = job.set("input.speak_from", &from.to_string());
    let feed = Feed::java(kafka);
    let long_ago = from.minus(3_600_000);
    feed.write(job.input(), &[Event::created("old", long_ago), Event::created("new", now())]);
    let mut detector = job.start_ready("");
    wait_until_said(&job, "new", "breached");
    feed.write(job.input(), &[Event::contacted("old", now()), Event::created("newer", now())]);
    wait_until_said(&job, "newer", "breached");
    assert_eq!(transitions(&outputs(kafka, &job.breaches), "old"), [""; 0]);
    wait_until("all of them are counted", || metric(&detector, "clocks_closed_total", "breached") == 3.0);
    assert_eq!(metric(&detector, "breaches_total", "breached"), 2.0);
    assert!(detector.terminate().success());
    job.assert_verified();
    let job = job.set("input.speak_from", "");
    let detector = job.start_ready("");
    assert!(detector.said().contains("that one counts"), "{}", detector.said());
    feed.write(job.input(), &[Event::created("last", now())]);
    wait_until_said(&job, "last", "breached");
    assert_eq!(transitions(&outputs(kafka, &job.breaches), "old"), [""; 0]);
    job.assert_verified();
}

#[test]
fn other_policies_are_taken_up_without_a_restart_and_bad_ones_are_not() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = Job::new(kafka, 2, &promise("", "within: 1h"));
    let mut detector = job.start_ready("");
    let feed = Feed::java(kafka);
    feed.write(job.input(), &[Event::created("open", now())]);
    detector.wait_until_consumed(1);
    wait_until_past(now().plus(1_500));
    assert!(job.said().is_empty());

    // A target that becomes shorter than the clock has run.
    job.promise(&promise("", "within: 1s"));
    let breach = wait_until_said(&job, "open", "breached");
    assert_eq!(breach["data"]["cause"], "policy_edit");
    assert_eq!(breach["data"]["clock"]["target_ms"], 1_000);
    assert_eq!(metric(&detector, "policy_reloads_total", "loaded"), 1.0);

    // A file that cannot be used.
    job.promise(
        "policies:\n  - name: one\n    objectives: {x: {start: created, stop: contacted, within: soon}}\n",
    );
    wait_until("the file is refused", || metric(&detector, "policy_reload_failed", "") == 1.0);
    assert!(detector.said().contains("policies.yaml:3:"), "{}", detector.said());
    feed.write(job.input(), &[Event::created("by the one before", now())]);
    wait_until_said(&job, "by the one before", "breached");

    // A good one again, by signal.
    job.promise(&promise("", "within: 2s"));
    detector.hang_up();
    wait_until("the file is loaded", || metric(&detector, "policy_reload_failed", "") == 0.0);
    assert_eq!(metric(&detector, "policy_reloads_total", "loaded"), 2.0);
    let in_force = || {
        let said = detector.said();
        said.lines().filter(|line| line.contains("other policies are in force")).count() == 4
    };
    wait_until("both partitions have taken it up", in_force);
    feed.write(job.input(), &[Event::created("by the last", now())]);
    let breach = wait_until_said(&job, "by the last", "breached");
    assert_eq!(breach["data"]["clock"]["target_ms"], 2_000);
    assert_eq!(breach["data"]["cause"], Value::Null);
    assert!(detector.terminate().success());

    // What was taken up is known after a restart, and nothing is said again.
    let said = job.said();
    let mut detector = job.start_ready("");
    feed.write(job.input(), &[Event::contacted("open", now())]);
    wait_until_said(&job, "open", "resolved");
    detector.wait_until_known(2, now());
    assert!(!detector.said().contains("other policies are in force"), "{}", detector.said());
    let again = job.said();
    assert_eq!(again.len(), said.len() + 1, "{again:?}");
    let ids: BTreeSet<_> = again.iter().map(|said| &said.id).collect();
    assert_eq!(ids.len(), again.len(), "each id is there once: {again:?}");
    job.assert_verified();
}

#[test]
fn a_service_that_starts_with_other_policies_takes_them_up_unless_they_are_older() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = Job::new(kafka, 1, &promise("revision: 2", "within: 1s"));
    let feed = Feed::java(kafka);
    let judged = |lead: &str, target_ms: i64| {
        let mut detector = job.start_ready("");
        feed.write(job.input(), &[Event::created(lead, now())]);
        let breach = wait_until_said(&job, lead, "breached");
        assert_eq!(breach["data"]["clock"]["target_ms"], target_ms, "{}", detector.said());
        let is_older = metric(&detector, "policy_older", "") == 1.0;
        assert!(detector.terminate().success());
        is_older
    };
    assert!(!judged("first", 1_000));
    job.promise(&promise("revision: 1", "within: 1h"));
    assert!(judged("by the newer ones", 1_000));
    job.promise(&promise("revision: 3", "within: 2s"));
    assert!(!judged("by the newest", 2_000));
    job.assert_verified();
}
