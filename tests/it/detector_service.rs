//! How `overdue run` starts, refuses to start, shows how it is, and ends, on a real broker.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::Kafka;
use crate::support::detector::{Job, wait_until};
use crate::support::feed::{Event, Feed, now};

const PROMISE: &str = "
policies:
  - name: one
    objectives: {first-response: {start: created, stop: contacted, within: 1s}}
";

const REFUSED: Option<i32> = Some(78);

#[test]
fn a_compacted_input_is_refused() {
    let Some(kafka) = Kafka::shared() else { return };
    let input = kafka.create_topic("leads", 1, &[("cleanup.policy", "compact")]);
    let (code, said) = Job::of_inputs(kafka, vec![input.clone()], PROMISE).refusal();
    assert_eq!(code, REFUSED, "{said}");
    assert!(said.contains(&format!("input topic `{input}` has cleanup.policy `compact`")), "{said}");
}

#[test]
fn an_input_that_is_missing_is_refused_by_name() {
    let Some(kafka) = Kafka::shared() else { return };
    let (code, said) = Job::of_inputs(kafka, vec!["no-such-leads".into()], PROMISE).refusal();
    assert_eq!(code, REFUSED, "{said}");
    assert!(said.contains("input topic `no-such-leads` does not exist"), "{said}");
}

#[test]
fn inputs_of_different_partition_counts_are_refused() {
    let Some(kafka) = Kafka::shared() else { return };
    let inputs = vec![kafka.create_topic("leads", 2, &[]), kafka.create_topic("touches", 3, &[])];
    let (code, said) = Job::of_inputs(kafka, inputs, PROMISE).refusal();
    assert_eq!(code, REFUSED, "{said}");
    assert!(said.contains("input topics must have the same number of partitions"), "{said}");
}

#[test]
fn topics_that_must_not_be_made_are_asked_for_by_the_commands_that_make_them() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = Job::new(kafka, 3, PROMISE).set("kafka.create_topics", "false");
    let (code, said) = job.refusal();
    assert_eq!(code, REFUSED, "{said}");
    let command = |topic: &str| {
        let brokers = kafka.bootstrap();
        format!("kafka-topics.sh --bootstrap-server {brokers} --create --topic {topic} --partitions 3")
    };
    for topic in [&job.breaches, &job.warnings, &job.dead_letter, &job.changelog] {
        assert!(said.lines().any(|line| line.starts_with(&command(topic))), "{said}");
        assert!(!kafka.has_topic(topic), "`{topic}` was made");
    }
    let changelog = said.lines().find(|line| line.starts_with(&command(&job.changelog)));
    assert!(changelog.is_some_and(|line| line.contains("--config cleanup.policy=compact")), "{said}");
}

#[test]
fn another_partition_count_is_refused() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = judged(kafka, 1);
    kafka.add_partitions(job.input(), 2);
    let (code, said) = job.refusal();
    assert_eq!(code, REFUSED, "{said}");
    assert!(said.contains("has 1 partitions and the input topics have 2"), "{said}");
    kafka.add_partitions(&job.changelog, 2);
    let (code, said) = job.refusal();
    assert_eq!(code, REFUSED, "{said}");
    assert!(said.contains("the input topics had 1 partitions and have 2 now"), "{said}");
}

#[test]
fn a_service_is_ready_once_it_has_its_partitions() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = Job::new(kafka, 2, PROMISE).set("workers", "2");
    let mut detector = job.start("");
    wait_until("the service lives", || detector.get("/livez").is_some_and(|(status, _)| status == 200));
    detector.wait_until_ready();
    assert_eq!(detector.get("/readyz").map(|(_, page)| page).as_deref(), Some("ok\n"));
}

#[test]
fn a_service_whose_brokers_are_away_lives_and_is_not_ready() {
    let Some(kafka) = Kafka::own() else { return };
    let proxy = kafka.proxy();
    let job = Job::new(&kafka, 1, PROMISE).set("kafka.brokers", proxy.address());
    assert!(job.start_ready("solo").terminate().success());
    proxy.cut();
    let detector = job.start("solo");
    let unready = || detector.get("/readyz").is_some_and(|(status, _)| status == 503);
    wait_until("the service says that it is not ready", unready);
    assert_eq!(detector.get("/livez").map(|(status, _)| status), Some(200));
    proxy.mend();
    wait_until("the service is ready", || detector.get("/readyz").is_some_and(|(status, _)| status == 200));
}

#[test]
fn metrics_are_as_prometheus_wants_them() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = Job::new(kafka, 1, PROMISE);
    let detector = job.start_ready("");
    let feed = Feed::java(kafka);
    feed.write(job.input(), &[Event::created("late", now()), Event::of("x", "lead-yodelled", now())]);
    wait_until("a breach is counted", || detector.metric("overdue_breaches_total", "breached") == 1.0);
    feed.write(job.input(), &[Event::contacted("late", now())]);
    wait_until("its end is counted", || detector.metric("overdue_breaches_total", "resolved") == 1.0);
    assert_eq!(detector.metric("overdue_events_rejected_total", "unknown_type"), 1.0);
    assert_eq!(detector.metric("overdue_clocks_started_total", ""), 1.0);
    let (_, page) = detector.get("/metrics").expect("the metrics");
    check_with_promtool(&page);
}

/// Says nothing where there is no promtool; the test command installs it.
fn check_with_promtool(page: &str) {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut promtool) = command.spawn() else { return };
    promtool.stdin.take().expect("its input").write_all(page.as_bytes()).expect("the page is read");
    let checked = promtool.wait_with_output().expect("promtool ends");
    let said = [checked.stdout, checked.stderr].concat();
    assert!(checked.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn a_service_that_is_asked_to_end_leaves_its_group() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = Job::new(kafka, 2, PROMISE).set("workers", "2");
    let mut detector = job.start_ready("");
    assert_eq!(kafka.members(&job.group), 2);
    assert_eq!(detector.terminate().code(), Some(0));
    assert_eq!(kafka.members(&job.group), 0);
}

/// A service that has said something and ended.
fn judged(kafka: &Kafka, partitions: i32) -> Job<'_> {
    let job = Job::new(kafka, partitions, PROMISE);
    let mut detector = job.start_ready("");
    Feed::java(kafka).write(job.input(), &[Event::created("lead-1", now())]);
    wait_until("a breach is said", || job.said().len() == 1);
    assert!(detector.terminate().success());
    job
}
