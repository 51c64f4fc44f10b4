//! A secret is in no log, error or page, whatever goes wrong and however much is logged.

use crate::support::Kafka;
use crate::support::detector::{Job, wait_until};
use crate::support::feed::{Event, Feed, now};
use crate::support::guarded::{Guarded, PASSWORD};

const PROMISE: &str = "
policies:
  - name: one
    objectives: {first-response: {start: created, stop: contacted, within: 1s}}
";
const TOKEN: &str = "a-token-that-nobody-guesses";

#[track_caller]
fn assert_is_clean(said: &str) {
    for secret in [PASSWORD, TOKEN] {
        let line = said.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "a secret is shown");
    }
}

#[test]
fn the_most_talkative_log_of_a_whole_run_has_no_secret() {
    let Some(guarded) = Guarded::shared() else { return };
    let job = Job::new(&guarded.kafka, 1, PROMISE);
    let token = job.file("token", TOKEN);
    let job = guarded.by_password().iter().fold(job, |job, (name, value)| job.set(name, value));
    let job = job.set("http.token_file", &token).set("kafka.properties.debug", "all");
    let mut detector = job.start_logging("", "trace");
    detector.wait_until_ready();
    Feed::java(job.kafka).write(job.input(), &[Event::created("lead-1", now())]);
    wait_until("a breach is said", || job.said().len() == 1);
    for page in ["/metrics", "/readyz", "/livez", "/"] {
        let answer = detector.ask("GET", page, &[&format!("Authorization: Bearer {TOKEN}")]);
        assert_is_clean(&answer.map(|answer| answer.head + &answer.body).unwrap_or_default());
    }
    assert!(detector.terminate().success());
    let said = detector.said();
    assert!(said.contains("librdkafka") && said.contains("SCRAM"), "the library's own lines are in the log");
    assert_is_clean(&said);
}

#[test]
fn no_command_shows_a_secret_that_is_in_the_configuration_itself() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = Job::new(kafka, 1, PROMISE).set("kafka.properties.sasl.password", PASSWORD);
    for command in ["check", "config show"] {
        let (code, said) = job.command(command);
        assert_eq!(code, Some(0), "{command}: {said}");
        assert_is_clean(&said);
    }
    assert!(job.command("config show").1.contains(r#"sasl.password: "***""#));
}

#[test]
fn what_is_wrong_with_a_configuration_is_said_without_its_secrets() {
    let Some(kafka) = Kafka::shared() else { return };
    for (text, says) in [
        ("kafka: {properties: {sasl.password: [PW]}}", "must be a single value"),
        ("kafka:\n  sasl:\n    password:\n      PW", "unknown field"),
        ("kafka:\n  properties:\n    sasl.password: 'PW\n", "overdue.yaml:4:1: "),
        ("kafka:\n  properties:\n    sasl.password: \"PW\" PW\n", "overdue.yaml:"),
        ("kafka: {properties: {\nsasl.password:\nPW: [ }", "overdue.yaml:"),
        ("kafka: {properties: {sasl.password: *PW}}", "overdue.yaml:"),
        ("kafka: {properties: {sasl.password: !PW x}}", "tag"),
        ("kafka: {properties: {sasl.password: PW, sasl.password_file: token}}", "is given twice"),
        (
            "kafka: {properties: {sasl.password_file: nowhere}, group: {PW: PW}}",
            "can't be read: no such file",
        ),
        ("kafka: {properties: {security.protocol: ssl, ssl.key.pem: PW, ssl.certificate.pem: PW}}", "ssl"),
    ] {
        let job = Job::new(kafka, 1, PROMISE);
        job.file("token", TOKEN);
        job.file("overdue.yaml", &text.replace("PW", PASSWORD));
        let (code, said) = job.refusal();
        assert_eq!(code, Some(78), "{text}: {said}");
        assert!(said.contains(says), "{text}: {said}");
        assert_is_clean(&said);
        for command in ["check", "config show"] {
            assert_is_clean(&job.command(command).1);
        }
    }
}
