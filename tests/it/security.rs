//! The whole service behind passwords, certificates and access rules, on a real broker.

use crate::support::detector::{Job, wait_until};
use crate::support::feed::{Event, Feed, now};
use crate::support::guarded::{Guarded, PASSWORD};

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
