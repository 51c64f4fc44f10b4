//! A log that loses records before they are read: what was open is undecidable, and everything goes on. Rule H6.

use crate::support::Kafka;
use crate::support::detector::{Detector, Job, Said, wait_for, wait_until_past};
use crate::support::feed::{Event, Feed, now};

const PROMISE: &str = "
policies:
  - name: one
    objectives: {first-response: {start: created, stop: contacted, within: 12s}}
";

/// What stands, by lead.
fn stands(job: &Job<'_>) -> Vec<(String, String)> {
    let said: Vec<Said> = job.said();
    let mut all: Vec<_> = said.iter().map(|said| (said.lead_id.clone(), said.transition.clone())).collect();
    all.sort();
    all
}

/// Waits until exactly these transitions have been said, and sees that it stays so.
fn wait_until_exactly(job: &Job<'_>, detectors: &mut [&mut Detector], expected: &[(&str, &str)]) {
    let expected: Vec<_> =
        expected.iter().map(|(lead, what)| ((*lead).to_owned(), (*what).to_owned())).collect();
    wait_for("everything is said", || {
        detectors.iter_mut().for_each(|detector| detector.assert_runs());
        let found = stands(job);
        if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
    });
    wait_until_past(now().plus(2_000));
    assert_eq!(stands(job), expected);
    let breaches_since = expected.iter().filter(|(lead, _)| lead == "later").count();
    assert_eq!(job.assert_verified(), breaches_since as u64, "what was lost is not judged");
}

/// Waits until the service knows of the loss: what begins before that is undecidable too.
fn wait_until_found(detector: &Detector) {
    wait_for("the loss is found", || {
        let gaps = detector.metric("overdue_log_gaps_total", "");
        if gaps == 1.0 { Ok(()) } else { Err(gaps.to_string()) }
    });
}

#[test]
fn what_retention_took_before_it_was_read_makes_no_breach() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = Job::new(kafka, 1, PROMISE);
    let feed = Feed::java(kafka);
    let mut detector = job.start_ready("");
    feed.write(job.input(), &[Event::created("early", now().plus(-20_000)), Event::created("open", now())]);
    detector.wait_until_consumed(2);
    wait_for("the first breach", || if job.said().is_empty() { Err(String::new()) } else { Ok(()) });
    detector.terminate();
    feed.write(job.input(), &[Event::contacted("open", now())]);
    kafka.delete_records(job.input(), 0);
    let mut detector = job.start_ready("");
    feed.write(job.input(), &[Event::created("later", now()), Event::created("kept", now())]);
    feed.write(job.input(), &[Event::contacted("kept", now())]);
    let expected = [("early", "breached"), ("later", "breached"), ("open", "undecidable")];
    wait_until_exactly(&job, &mut [&mut detector], &expected);
    assert_eq!(detector.metric("overdue_log_gaps_total", ""), 1.0);
    // The loss is part of the state: whoever takes over says nothing again.
    detector.kill();
    let mut detector = job.start_ready("");
    wait_until_exactly(&job, &mut [&mut detector], &expected);
}

#[test]
fn records_lost_under_the_eyes_of_a_running_service_make_no_breach() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = Job::new(kafka, 1, PROMISE);
    let feed = Feed::java(kafka);
    let mut detector = job.start_ready("");
    feed.write(job.input(), &[Event::created("open", now())]);
    detector.wait_until_consumed(1);
    detector.freeze();
    // The fetch that is under way is answered with the first record that comes.
    feed.write(job.input(), &[Event::contacted("filler", now())]);
    wait_until_past(now().plus(1_000));
    feed.write(job.input(), &[Event::contacted("open", now())]);
    kafka.delete_records(job.input(), 0);
    detector.thaw();
    wait_until_found(&detector);
    feed.write(job.input(), &[Event::created("later", now())]);
    let expected = [("later", "breached"), ("open", "undecidable")];
    wait_until_exactly(&job, &mut [&mut detector], &expected);
}

/// A topic that was made anew with fewer records than had been read, or with more, which no offset shows.
fn made_anew(fillers: i64, is_running: bool) {
    let Some(kafka) = Kafka::shared() else { return };
    let job = Job::new(kafka, 1, PROMISE);
    let feed = Feed::java(kafka);
    let mut detector = job.start_ready("");
    feed.write(job.input(), &[Event::created("open", now()), Event::created("other", now())]);
    detector.wait_until_consumed(2);
    if !is_running {
        detector.terminate();
    }
    kafka.recreate_topic(job.input(), 1);
    let fillers: Vec<_> =
        (0..fillers).map(|n: i64| Event::contacted(&format!("filler-{n}"), now().plus(-n))).collect();
    let feed = Feed::java(kafka);
    feed.write(job.input(), &fillers);
    let mut detector = if is_running { detector } else { job.start_ready("") };
    wait_until_found(&detector);
    feed.write(job.input(), &[Event::created("later", now())]);
    let expected = [("later", "breached"), ("open", "undecidable"), ("other", "undecidable")];
    wait_until_exactly(&job, &mut [&mut detector], &expected);
}

#[test]
fn a_topic_made_anew_and_short_is_read_from_its_start() {
    made_anew(0, false);
}

#[test]
fn a_topic_made_anew_and_long_is_read_from_its_start() {
    made_anew(5, false);
}

#[test]
fn a_topic_made_anew_and_short_while_the_service_runs_is_read_from_its_start() {
    made_anew(0, true);
}

#[test]
fn a_topic_made_anew_and_long_while_the_service_runs_is_read_from_its_start() {
    made_anew(5, true);
}
