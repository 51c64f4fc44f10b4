//! The whole service behind passwords, certificates and access rules, on a real broker.

use std::thread;

use crate::support::detector::{Detector, Job, wait_for, wait_until};
use crate::support::feed::{Event, Feed, now};
use crate::support::guarded::{Denied, Flaw, Guarded, PASSWORD};

const PROMISE: &str = "
policies:
  - name: one
    objectives: {first-response: {start: created, stop: contacted, within: 1s}}
";

fn job<'a>(guarded: &'a Guarded, settings: Vec<(&'static str, String)>) -> Job<'a> {
    let job = Job::new(&guarded.kafka, 2, PROMISE);
    settings.iter().fold(job, |job, (name, value)| job.set(name, value))
}

/// Writes a lead that nobody answers, and waits until it is said.
fn breach(job: &Job<'_>, lead: &str) {
    Feed::java(job.kafka).write(job.input(), &[Event::created(lead, now())]);
    wait_until("a breach is said", || job.said().iter().any(|said| said.lead_id == lead));
}

#[test]
fn a_service_that_comes_with_a_password_judges() {
    let Some(guarded) = Guarded::shared() else { return };
    let job = job(guarded, guarded.by_password());
    let mut detector = job.start_ready("");
    breach(&job, "lead-1");
    assert!(detector.terminate().success());
    assert!(!detector.said().contains(PASSWORD));
}

#[test]
fn a_service_that_comes_with_a_certificate_judges() {
    let Some(guarded) = Guarded::shared() else { return };
    let job = job(guarded, guarded.by_certificate());
    let mut detector = job.start_ready("");
    breach(&job, "lead-1");
    assert!(detector.terminate().success());
}

const REFUSED: Option<i32> = Some(78);

/// Says that something is wrong, of which kind, and what; in the log, a metric and the health page, and runs on.
#[track_caller]
fn assert_says(detector: &mut Detector, kind: &str, words: &str) {
    wait_for("the trouble shows", || {
        detector.assert_runs();
        let Some((status, page)) = detector.get("/readyz") else { return Err("no page".into()) };
        let is_shown = status == 503 && page.contains(&format!("{kind}: ")) && page.contains(words);
        if is_shown { Ok(()) } else { Err(page) }
    });
    assert!(detector.metric("overdue_kafka_errors_total", kind) > 0.0);
    assert_eq!(detector.metric("overdue_kafka_trouble", kind), 1.0);
    assert_eq!(detector.get("/livez").map(|(status, _)| status), Some(200), "it lives");
    let said = detector.said();
    let lines = said.lines().filter(|line| line.contains("WARN") && line.contains(words)).count();
    assert!(lines > 0, "the log does not say `{words}`");
}

/// Is ready again by itself, without having flooded its log.
#[track_caller]
fn assert_recovers(detector: &mut Detector) {
    detector.wait_until_ready();
    for kind in ["authentication", "tls", "authorization"] {
        assert_eq!(detector.metric("overdue_kafka_trouble", kind), 0.0);
    }
    let said = detector.said();
    let loud: Vec<_> = said.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
    assert!(loud.len() < 40, "a flood of {} lines:\n{}", loud.len(), loud.join("\n"));
}

#[test]
fn a_changelog_that_may_not_be_made_is_refused_with_the_command_that_makes_it() {
    let Some(guarded) = Guarded::shared() else { return };
    let job = job(guarded, guarded.by_password());
    guarded.deny(Denied::CreateTopic(&job.changelog));
    let (code, said) = job.refusal();
    assert_eq!(code, REFUSED, "{said}");
    assert!(said.contains("Topic authorization failed"), "{said}");
    assert!(said.contains(&format!("--create --topic {}", job.changelog)), "{said}");
}

#[test]
fn a_service_that_may_not_start_says_what_it_needs() {
    let Some(guarded) = Guarded::shared() else { return };
    let job = job(guarded, guarded.by_certificate());
    guarded.deny(Denied::ReadGroup(&job.group));
    let (code, said) = job.refusal();
    assert_eq!(code, REFUSED, "{said}");
    assert!(said.contains(&format!("the group `{}` may not be used", job.group)), "{said}");
}

#[test]
fn rights_that_are_taken_from_a_running_service_stop_it_until_they_are_given_back() {
    let Some(guarded) = Guarded::shared() else { return };
    thread::scope(|scope| {
        for what in 0..4 {
            scope.spawn(move || {
                let job = job(guarded, guarded.by_password()).set("workers", "1");
                let (denied, words) = match what {
                    0 => (Denied::ReadTopic(job.input()), job.input()),
                    1 => (Denied::WriteTopic(&job.breaches), job.breaches.as_str()),
                    2 => (Denied::WriteTopic(&job.changelog), job.changelog.as_str()),
                    _ => (Denied::ReadGroup(&job.group), "Group authorization failed"),
                };
                let mut detector = job.start_ready("");
                breach(&job, "before");
                guarded.deny(denied);
                Feed::java(job.kafka).write(job.input(), &[Event::created("meanwhile", now())]);
                assert_says(&mut detector, "authorization", words);
                guarded.allow(denied);
                breach(&job, "after");
                assert_recovers(&mut detector);
                let mut leads: Vec<_> = job.said().into_iter().map(|said| said.lead_id).collect();
                leads.sort();
                assert_eq!(leads, ["after", "before", "meanwhile"], "each is said once");
            });
        }
    });
}

#[test]
fn a_transactional_id_that_is_taken_away_stops_the_service_until_it_is_given_back() {
    let Some(guarded) = Guarded::start() else { return };
    let job = job(&guarded, guarded.by_password());
    let mut detector = job.start_ready("one");
    breach(&job, "before");
    guarded.deny(Denied::TransactionalIds);
    Feed::java(job.kafka).write(job.input(), &[Event::created("meanwhile", now())]);
    assert_says(&mut detector, "authorization", "Transactional Id authorization failed");
    let (code, said) = job.refusal();
    assert_eq!(code, REFUSED, "one that starts is refused: {said}");
    guarded.allow(Denied::TransactionalIds);
    breach(&job, "after");
    assert_recovers(&mut detector);
    assert_eq!(job.said().len(), 3);
}

#[test]
fn a_wrong_password_is_said_and_waited_for() {
    let Some(guarded) = Guarded::start() else { return };
    let job = job(&guarded, guarded.by_password());
    let words = "SASL authentication error";
    guarded.password("another");
    let mut detector = job.start("");
    assert_says(&mut detector, "authentication", words);
    guarded.password(PASSWORD);
    breach(&job, "first");
    assert_recovers(&mut detector);
    // Open connections stay what they are; new ones are refused.
    guarded.password("another");
    guarded.kafka.restart(1);
    assert_says(&mut detector, "authentication", words);
    guarded.password(PASSWORD);
    breach(&job, "second");
    assert_recovers(&mut detector);
    assert!(!detector.said().contains(PASSWORD));
}

#[test]
fn a_brokers_certificate_that_is_no_good_is_said_and_waited_for() {
    let Some(guarded) = Guarded::start() else { return };
    let job = job(&guarded, guarded.by_certificate());
    let mut detector = job.start_ready("");
    for (flaw, words) in [
        (Flaw::Expired, "certificate is not accepted: it has expired"),
        (Flaw::OtherHost, "certificate is not accepted: it is for another host name"),
        (Flaw::UnknownAuthority, "it is signed by an authority that `ssl.ca.location` does not hold"),
    ] {
        guarded.certificates.of_server(flaw);
        guarded.kafka.restart(1);
        assert_says(&mut detector, "tls", words);
    }
    guarded.certificates.of_server(Flaw::Nothing);
    guarded.kafka.restart(1);
    breach(&job, "after");
    detector.wait_until_ready();
}

#[test]
fn an_own_certificate_that_is_no_good_is_said() {
    let Some(guarded) = Guarded::start() else { return };
    for (flaw, words) in [
        (Some(Flaw::Expired), "the brokers do not take this client's certificate: it has expired"),
        (Some(Flaw::UnknownAuthority), "they do not trust who signed it"),
        (None, "the brokers ask for a client certificate and got none"),
    ] {
        guarded.certificates.of_client(flaw.unwrap_or(Flaw::Nothing));
        let mut settings = guarded.by_certificate();
        settings.retain(|(name, _)| {
            flaw.is_some() || !name.contains("ssl.certificate") && !name.contains("ssl.key")
        });
        let job = job(&guarded, settings);
        assert_says(&mut job.start(""), "tls", words);
    }
    let other = guarded.certificates.other_authority();
    let job = job(&guarded, guarded.by_password()).set("kafka.properties.ssl.ca.location", &other);
    assert_says(&mut job.start(""), "tls", "signed by an authority that `ssl.ca.location` does not hold");
}
