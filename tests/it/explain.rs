//! `overdue explain` on a real broker and of a running service.

use serde_json::Value;

use crate::support::Kafka;
use crate::support::detector::{Detector, Job, wait_for, wait_until};
use crate::support::feed::{Event, Feed, Raw, now};

const PROMISE: &str = "
policies:
  - name: one
    objectives: {first-response: {start: created, stop: contacted, within: 1s, escalate_after: 30d}}
";
const TOKEN: &str = "a-token-that-nobody-guesses";

/// A service that has breached `lead-1` and heard a bad record of it.
fn breached(job: &Job<'_>, kafka: &Kafka) -> Detector {
    let detector = job.start_ready("");
    let feed = Feed::java(kafka);
    let created = now();
    let others: Vec<_> = (0..40).map(|lead| Event::created(&format!("other-{lead}"), created)).collect();
    feed.write(job.input(), &others);
    feed.write(job.input(), &[Event::created("lead-1", created)]);
    let bad = Raw { key: Some(b"lead-1"), value: Some(b"{\"lead_id\":\"lead-1\"}"), ..Raw::default() };
    feed.write_raw(job.input(), &bad);
    wait_until("the lead is breached", || job.said().iter().any(|said| said.lead_id == "lead-1"));
    detector
}

/// What the command says as JSON.
fn explained(job: &Job<'_>, words: &str) -> Value {
    let (code, said) = job.command(&format!("explain lead-1 --output json {words}"));
    assert_eq!(code, Some(0), "{said}");
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

#[test]
fn a_lead_is_explained_from_its_topic_as_by_the_service() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = Job::new(kafka, 3, PROMISE);
    let detector = breached(&job, kafka);
    let address = detector.http().expect("an address");
    let asked = explained(&job, &format!("--url http://{address}"));
    let read = explained(&job, "--log error");
    for (explanation, is_said) in [(&asked, Value::Bool(true)), (&read, Value::Null)] {
        let clock = &explanation["clocks"][0];
        assert_eq!(clock["outcome"], "breached", "{explanation:#}");
        assert_eq!(clock["transitions"][1]["is_said"], is_said);
        assert_eq!(clock["planned"][0]["transition"], "escalated");
        assert_eq!(explanation["policy"]["name"], "one");
        assert_eq!(explanation["rejected"][0]["topic"], job.input());
        assert_eq!(explanation["facts"][0]["topic"], job.input());
    }
    let place = |explanation: &Value| {
        let fact = &explanation["clocks"][0]["started_by"];
        (fact["partition"].clone(), fact["offset"].clone(), fact["event_id"].clone())
    };
    assert_eq!(place(&asked), place(&read));
    assert_eq!(asked["clocks"][0]["due_at"], read["clocks"][0]["due_at"]);
    let (code, table) = job.command(&format!("explain lead-1 --url http://{address}"));
    assert_eq!(code, Some(0));
    assert!(table.contains("first-response: breached") && table.contains("  said"), "{table}");
}

#[test]
fn a_lead_that_nobody_knows_is_not_found() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = Job::new(kafka, 1, PROMISE);
    let detector = breached(&job, kafka);
    let address = detector.http().expect("an address");
    let (code, said) = job.command(&format!("explain nobody --url http://{address}"));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no lead `nobody` is known"), "{said}");
    let (code, said) = job.command("explain nobody");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("no event of lead `nobody` is in `{}`", job.input())), "{said}");
    // Whatever a lead is called, it is a part of the path.
    for name in ["a%2Fb", "%22", "..%2F..%2Fmetrics", "%F0%9F%A6%80"] {
        let path = format!("/api/v1/leads/{name}/explain");
        assert_eq!(detector.get(&path).map(|(status, _)| status), Some(404), "{name}");
    }
}

#[test]
fn an_explanation_needs_the_token() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = Job::new(kafka, 1, PROMISE);
    let token = job.file("token", &format!("{TOKEN}\n"));
    let job = job.set("http.token_file", &token);
    let detector = breached(&job, kafka);
    let address = detector.http().expect("an address");
    let (code, said) = job.command(&format!("explain lead-1 --url http://{address}"));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--token-file"), "{said}");
    let explanation = explained(&job, &format!("--url http://{address} --token-file {token}"));
    assert_eq!(explanation["lead_id"], "lead-1");
}

#[test]
fn what_another_instance_has_is_not_answered_for() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = Job::new(kafka, 2, PROMISE).set("workers", "1");
    let one = breached(&job, kafka);
    let other = job.start_ready("");
    let status = |detector: &Detector, lead: &str| {
        let path = format!("/api/v1/leads/{lead}/explain");
        wait_for("an answer", || detector.get(&path).ok_or_else(String::new)).0
    };
    // Each has one of the partitions: between them they know every lead, each once.
    wait_until("the partitions are divided", || {
        let leads: Vec<_> = (0..40).map(|lead| format!("other-{lead}")).collect();
        let mut all = leads.iter().map(|lead| {
            let mut statuses = [status(&one, lead), status(&other, lead)];
            statuses.sort_unstable();
            statuses
        });
        all.all(|statuses| statuses == [200, 503])
    });
    let all_said: Vec<_> = (0..40)
        .filter_map(|lead| one.get(&format!("/api/v1/leads/other-{lead}/explain")))
        .filter(|(status, _)| *status == 503)
        .collect();
    assert!(all_said.iter().all(|(_, said)| said.contains("may be with another instance")), "{all_said:?}");
    assert!(!all_said.is_empty());
}
