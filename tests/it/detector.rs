//! `overdue run` on a real broker says what `overdue replay` says, each thing once, whatever happens to it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{env, fs, thread};

use overdue::sla::instant::Instant;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::support::detector::{Detector, Job, Said, wait_for, wait_until, wait_until_past};
use crate::support::feed::{Event, Feed, now};
use crate::support::{Kafka, seed};

const NEVER_CLOSED: &str = "never-closed.yaml";
const CLOSED: &str = "closed.yaml";

/// Promises that lapse while a test waits.
const QUICK: &str = "
pipeline: {open: [new, working, qualified]}
objectives:
  first-response: {start: created, stop: contacted}
  qualify: {start: created, stop: {entered: qualified}}
policies:
  - name: quick
    objectives: {first-response: 2s, qualify: 4s}
    stages: {working: 3s}
";

/// One promise, kept by a contact.
fn promise(within: &str) -> String {
    format!(
        "policies:\n  - name: one\n    objectives:\n      \
         first-response: {{start: created, stop: contacted, within: {within}}}\n"
    )
}

// The same as replay.

#[test]
fn one_process_says_what_replay_says() {
    let Some(kafka) = Kafka::shared() else { return };
    let log = RealLog::read(NEVER_CLOSED);
    let job = Job::new(kafka, 6, &log.policies);
    Feed::java(kafka).write(job.input(), &log.events);
    let detector = job.start("");
    assert_says_what_replay_says(&job, &log.lines(), [detector], Retractions::None);
}

#[test]
fn a_log_spread_by_librdkafkas_partitioner_gives_the_same() {
    let Some(kafka) = Kafka::shared() else { return };
    let log = RealLog::read(CLOSED);
    let job = Job::new(kafka, 6, &log.policies);
    Feed::librdkafka(kafka).write(job.input(), &log.events);
    let detector = job.start("");
    assert_says_what_replay_says(&job, &log.lines(), [detector], Retractions::None);
    assert!(job.dead_letters().is_empty(), "no key is where it should not be");
}

#[test]
fn three_processes_of_two_workers_say_what_one_would() {
    let Some(kafka) = Kafka::shared() else { return };
    let log = RealLog::read(NEVER_CLOSED);
    let job = Job::new(kafka, 6, &log.policies).set("workers", "2");
    Feed::java(kafka).write(job.input(), &log.events);
    let detectors = [job.start(""), job.start(""), job.start("")];
    assert_says_what_replay_says(&job, &log.lines(), detectors, Retractions::None);
}

#[test]
fn killed_processes_that_have_names_say_everything_once() {
    let Some(kafka) = Kafka::shared() else { return };
    let mut random = random();
    let job = Job::new(kafka, 6, QUICK).set("workers", "2");
    let mut fleet = Fleet::start(&job, ["a", "b", "c"]);
    let plan = Planned::leads(300, 10_000, &mut random);
    let lines = fleet.kill_while(&mut random, || play(&Feed::java(kafka), &job, &plan));
    wait_until_past(now().plus(4_500));
    assert_says_what_replay_says(&job, &lines, fleet.detectors, Retractions::Some);
}

#[test]
fn every_partition_has_an_owner_after_kills_in_the_middle_of_rebalances() {
    let Some(kafka) = Kafka::shared() else { return };
    let mut random = random();
    let job = Job::new(kafka, 6, QUICK).set("workers", "2");
    let mut fleet = Fleet::start(&job, ["a", "b", "c"]);
    for _ in 0..8 {
        thread::sleep(Duration::from_millis(50 + below(700, &mut random)));
        fleet.kill_one(&mut random);
    }
    wait_for("every partition has an owner", || {
        fleet.detectors.iter_mut().for_each(Detector::assert_runs);
        let owned = fleet.detectors.iter().map(|detector| detector.metric("overdue_assigned_partitions", ""));
        let owned: Vec<_> = owned.collect();
        if owned.iter().sum::<f64>() == 6.0 { Ok(()) } else { Err(format!("{owned:?}")) }
    });
}

#[test]
fn killed_processes_without_names_say_everything_once() {
    let Some(kafka) = Kafka::shared() else { return };
    let mut random = random();
    let log = RealLog::read(NEVER_CLOSED);
    // What is read in parts is late for what was read before it.
    let job = Job::new(kafka, 6, &log.policies).set("workers", "2").set("input.lateness_max", "20000d");
    let mut fleet = Fleet::start(&job, ["", "", ""]);
    let (feed, third) = (Feed::java(kafka), log.events.len().div_ceil(3));
    for (part, events) in log.events.chunks(third).enumerate() {
        feed.write(job.input(), events);
        thread::sleep(Duration::from_millis(below(500, &mut random)));
        fleet.kill_one(&mut random);
        let so_far = &log.events[..part * third + events.len()];
        wait_until_said(&job, &standing(&job.replayed(&lines(so_far))), &mut fleet.detectors);
    }
    assert_says_what_replay_says(&job, &log.lines(), fleet.detectors, Retractions::Some);
}

#[test]
fn a_broker_that_restarts_in_the_middle_changes_nothing() {
    let Some(kafka) = Kafka::own() else { return };
    let log = RealLog::read(NEVER_CLOSED);
    let job = Job::new(&kafka, 6, &log.policies).set("workers", "2").set("input.lateness_max", "20000d");
    let detector = job.start_ready("");
    log.trickle(&Feed::java(&kafka), &job, |part| {
        if part == TRICKLE_PARTS / 2 {
            kafka.restart(1);
        }
    });
    assert_says_what_replay_says(&job, &log.lines(), [detector], Retractions::Some);
}

#[test]
fn a_commit_whose_answer_is_lost_counts_once() {
    let Some(kafka) = Kafka::own() else { return };
    let log = RealLog::read(NEVER_CLOSED);
    let feed = Feed::java(&kafka);
    let proxy = kafka.proxy();
    let job = || {
        let job = Job::new(&kafka, 6, &log.policies).set("workers", "1");
        feed.write(job.input(), &log.events);
        job.set("kafka.brokers", proxy.address())
    };
    // The client library asks again and is told.
    for commits in [0, 1] {
        let job = job();
        proxy.lose_answer_after(commits);
        let detector = job.start("solo");
        tick_until(&feed, &job, "an answer is lost", || proxy.has_lost());
        assert_says_what_replay_says(&job, &log.lines(), [detector], Retractions::None);
    }
    // The process is gone before it could ask.
    for commits in [0, 1] {
        let job = job();
        proxy.lose_answer_and_cut_after(commits);
        let detector = job.start("solo");
        tick_until(&feed, &job, "an answer is lost", || proxy.has_lost());
        detector.kill();
        proxy.mend();
        let detector = job.start("solo");
        assert_says_what_replay_says(&job, &log.lines(), [detector], Retractions::None);
    }
    // Nobody answers for so long that the client library gives up.
    let job = job();
    proxy.lose_answer_and_cut_after(1);
    let detector = job.start("solo");
    tick_until(&feed, &job, "an answer is lost", || proxy.has_lost());
    wait_until("the commit is given up", || detector.said().contains("its outcome is being found out"));
    proxy.mend();
    assert_says_what_replay_says(&job, &log.lines(), [detector], Retractions::None);
}

#[test]
fn two_topics_are_read_as_one_log() {
    let Some(kafka) = Kafka::shared() else { return };
    let log = RealLog::read(NEVER_CLOSED);
    let inputs = ["created", "rest"].map(|name| kafka.create_topic(name, 6, &[]));
    let job = Job::of_inputs(kafka, inputs.into(), &log.policies).set("workers", "2");
    let is_created = |event: &&Event| event.line.contains("lead-created");
    let (created, rest): (Vec<_>, Vec<_>) = log.events.iter().partition(is_created);
    let feed = Feed::java(kafka);
    feed.write(&job.inputs[1], rest);
    feed.write(&job.inputs[0], created);
    let detectors = [job.start(""), job.start("")];
    assert_says_what_replay_says(&job, &log.lines(), detectors, Retractions::None);
}

// Never a false breach.

#[test]
fn a_detector_that_was_down_accuses_nobody_who_answered_in_time() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = Job::new(kafka, 2, &promise("8s"));
    let feed = Feed::java(kafka);
    let mut detector = job.start_ready("solo");
    let leads: Vec<_> = (0..20).map(|lead| format!("lead-{lead}")).collect();
    let at = now();
    feed.write(job.input(), &leads.iter().map(|lead| Event::created(lead, at)).collect::<Vec<_>>());
    detector.wait_until_consumed(leads.len());
    detector.kill();
    let (answered, ignored) = leads.split_at(10);
    let answers: Vec<_> = answered.iter().map(|lead| Event::contacted(lead, at.plus(1_000))).collect();
    feed.write(job.input(), &answers);
    wait_until_past(at.plus(9_000));
    let mut detector = job.start("solo");
    wait_until_breached(&job, ignored);
    detector.wait_until_known(2, now());
    assert_eq!(leads_of(&job.said()), set(ignored), "nothing was ever said of the others");
}

#[test]
fn a_silent_topic_still_breaches() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = Job::new(kafka, 3, &promise("1s"));
    let _detector = job.start_ready("");
    Feed::java(kafka).write(job.input(), &[Event::created("lead-1", now())]);
    wait_until_breached(&job, &["lead-1".to_owned()]);
}

#[test]
fn brokers_that_cannot_be_reached_prove_nothing() {
    let Some(kafka) = Kafka::own() else { return };
    let proxy = kafka.proxy();
    let job = Job::new(&kafka, 1, &promise("5s")).set("kafka.brokers", proxy.address());
    let feed = Feed::java(&kafka);
    let mut detector = job.start_ready("solo");
    let names = |kind: &str| [format!("answered-{kind}"), format!("ignored-{kind}")];
    // The detector is cut off, producers are not.
    let (unreachable, at) = (names("unreachable"), now());
    feed.write(job.input(), &unreachable.clone().map(|lead| Event::created(&lead, at)));
    detector.wait_until_consumed(2);
    proxy.cut();
    feed.write(job.input(), &[Event::contacted(&unreachable[0], at.plus(1_000))]);
    wait_until_past(at.plus(7_000));
    detector.assert_runs();
    assert_eq!(job.said(), [], "nothing can be proven yet");
    proxy.mend();
    wait_until_breached(&job, &unreachable[1..]);
    // The broker itself says nothing for a while.
    let (frozen, at) = (names("frozen"), now());
    feed.write(job.input(), &frozen.clone().map(|lead| Event::created(&lead, at)));
    feed.write(job.input(), &[Event::contacted(&frozen[0], at.plus(1_000))]);
    kafka.pause(1);
    wait_until_past(at.plus(7_000));
    kafka.resume(1);
    let ignored = [unreachable[1].clone(), frozen[1].clone()];
    detector.assert_runs();
    wait_until_breached(&job, &ignored);
    detector.wait_until_known(1, now());
    assert_eq!(leads_of(&job.said()), set(&ignored), "nothing was ever said of the others");
}

#[test]
fn late_truth_takes_a_breach_back_once() {
    let Some(kafka) = Kafka::shared() else { return };
    let job = Job::new(kafka, 1, &promise("1s"));
    let feed = Feed::java(kafka);
    let mut detector = job.start_ready("solo");
    let at = now();
    feed.write(job.input(), &[Event::created("lead-1", at)]);
    wait_until_breached(&job, &["lead-1".to_owned()]);
    feed.write(job.input(), &[Event::contacted("lead-1", at.plus(500))]);
    let said =
        wait_for("the breach is taken back", || Some(job.said()).filter(|s| s.len() == 2).ok_or("".into()));
    assert_eq!([said[0].transition.as_str(), &said[1].transition], ["breached", "retracted"]);
    assert_eq!(said[1].retracts.as_ref(), Some(&said[0].id));
    detector.kill();
    detector = job.start("solo");
    detector.wait_until_known(1, now());
    assert!(detector.terminate().success());
    detector = job.start("solo");
    detector.wait_until_known(1, now());
    assert_eq!(job.said(), said, "restarts repeat nothing");
}

// What the tests begin with.

/// Prints what repeats the same choices; the moments of what happens are not among them.
fn random() -> ChaCha8Rng {
    let given = env::var("OVERDUE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(seed()));
    println!("OVERDUE_TEST_SEED={seed}");
    ChaCha8Rng::seed_from_u64(seed)
}

fn below(limit: u64, random: &mut ChaCha8Rng) -> u64 {
    random.next_u64() % limit
}

/// Leads of a real log under one of its policy files, or as many copies of a few.
struct RealLog {
    events: Vec<Event>,
    policies: String,
}

const COPIES: usize = 6;
const TRICKLE_PARTS: usize = 40;

impl RealLog {
    fn read(policies: &str) -> Self {
        let given = env::var_os("OVERDUE_REAL_LOG").map(PathBuf::from);
        let copies = if given.is_some() { 1 } else { COPIES };
        let few = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/real-log");
        let folder = given.unwrap_or_else(few);
        let read = |path: PathBuf| fs::read_to_string(path).expect("a file of the real log");
        let lines = read(folder.join("events.jsonl"));
        let events =
            (0..copies).flat_map(|copy| lines.lines().map(move |line| renamed(line, copy))).collect();
        Self { events, policies: read(folder.join("policies").join(policies)) }
    }

    fn lines(&self) -> String {
        lines(&self.events)
    }

    /// Writes the log in parts over some seconds.
    fn trickle(&self, feed: &Feed, job: &Job<'_>, mut between: impl FnMut(usize)) {
        for (part, events) in self.events.chunks(self.events.len().div_ceil(TRICKLE_PARTS)).enumerate() {
            feed.write(job.input(), events);
            between(part);
            thread::sleep(Duration::from_millis(250));
        }
    }
}

/// The same event of another lead.
fn renamed(line: &str, copy: usize) -> Event {
    let mut event: Value = serde_json::from_str(line).expect("an event");
    for name in ["lead_id", "event_id"] {
        event[name] = json!(format!("{}-{copy}", event[name].as_str().expect("a name")));
    }
    Event { lead_id: event["lead_id"].as_str().expect("a lead").to_owned(), line: event.to_string() }
}

fn lines(events: &[Event]) -> String {
    events.iter().map(|event| event.line.clone() + "\n").collect()
}

/// An event that will happen.
struct Planned {
    after_ms: u64,
    lead: usize,
    kind: &'static str,
    stage: Option<&'static str>,
}

impl Planned {
    /// So many leads within a time, some answered, some moved on, in time or not.
    fn leads(count: usize, within_ms: u64, random: &mut ChaCha8Rng) -> Vec<Planned> {
        let mut plan = Vec::new();
        for lead in 0..count {
            let mut after_ms = below(within_ms, random);
            let mut then = |kind, stage, at| plan.push(Planned { after_ms: at, lead, kind, stage });
            then("lead-created", Some("new"), after_ms);
            if below(10, random) < 7 {
                then("contacted", None, after_ms + below(3_500, random));
            }
            for stage in ["working", "qualified"] {
                after_ms += 1 + below(3_500, random);
                if below(10, random) < 6 {
                    then("stage-changed", Some(stage), after_ms);
                }
            }
        }
        plan.sort_by_key(|planned| planned.after_ms);
        plan
    }

    fn happen(&self, at: Instant) -> Event {
        let Planned { lead, kind, stage, .. } = self;
        let lead_id = format!("lead-{lead}");
        let id = format!("{lead_id} {kind} {stage:?}");
        let mut event = json!({"type": kind, "event_id": id, "lead_id": lead_id, "time": at.to_string()});
        if let Some(stage) = stage {
            event["stage"] = json!(stage);
        }
        Event { lead_id, line: event.to_string() }
    }
}

/// Lets what is planned happen, each event dated when it does, and returns the log.
fn play(feed: &Feed, job: &Job<'_>, plan: &[Planned]) -> String {
    let start = now();
    let mut happened = Vec::new();
    for planned in plan {
        wait_until_past(start.plus(planned.after_ms as i64));
        let event = planned.happen(now());
        feed.hand(job.input(), [&event]);
        happened.push(event);
    }
    feed.finish();
    lines(&happened)
}

/// Processes of one service that are killed and started again.
struct Fleet<'a> {
    job: &'a Job<'a>,
    names: [&'static str; 3],
    detectors: Vec<Detector>,
}

impl<'a> Fleet<'a> {
    fn start(job: &'a Job<'a>, names: [&'static str; 3]) -> Self {
        Self { job, names, detectors: names.map(|name| job.start(name)).into() }
    }

    /// Kills one of them every second or two, and starts it again, while something is done.
    fn kill_while<T: Send>(&mut self, random: &mut ChaCha8Rng, does: impl FnOnce() -> T + Send) -> T {
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            let doing = scope.spawn(|| {
                let done = does();
                is_done.store(true, Ordering::SeqCst);
                done
            });
            while !is_done.load(Ordering::SeqCst) && !doing.is_finished() {
                thread::sleep(Duration::from_millis(1_000 + below(1_500, random)));
                self.kill_one(random);
            }
            doing.join().expect("what was done meanwhile")
        })
    }

    fn kill_one(&mut self, random: &mut ChaCha8Rng) {
        let victim = below(self.names.len() as u64, random) as usize;
        let started = |detector: Detector| {
            detector.kill();
            self.job.start(self.names[victim])
        };
        let old = self.detectors.swap_remove(victim);
        self.detectors.push(started(old));
        let last = self.detectors.len() - 1;
        self.detectors.swap(victim, last);
    }
}

/// Writes leads that promise nothing soon until something has happened: each is a reason to commit.
fn tick_until(feed: &Feed, job: &Job<'_>, what: &str, mut has_happened: impl FnMut() -> bool) {
    let mut tick = 0;
    wait_until(what, || {
        tick += 1;
        feed.write(job.input(), &[Event::created(&format!("tick-{tick}"), now())]);
        has_happened()
    });
}

// What the tests end with.

#[derive(Clone, Copy, PartialEq, Eq)]
enum Retractions {
    /// Nothing may be said that has to be taken back.
    None,
    /// The log came in parts, so that what was said of a part may be taken back.
    Some,
}

/// Waits until what stands in the breach topic is what replay says, and ends the processes.
fn assert_says_what_replay_says(
    job: &Job<'_>,
    lines: &str,
    detectors: impl IntoIterator<Item = Detector>,
    retractions: Retractions,
) {
    let mut detectors: Vec<_> = detectors.into_iter().collect();
    let expected = standing(&job.replayed(lines));
    assert!(expected.len() > 20, "a log of {} breaches shows little", expected.len());
    wait_until_said(job, &expected, &mut detectors);
    for detector in &mut detectors {
        assert!(detector.terminate().success(), "a service that is asked to end does so");
    }
    let said = job.said();
    compare(&expected, &said).unwrap_or_else(|why| panic!("after the end: {why}"));
    let retracted = said.iter().filter(|said| said.retracts.is_some()).count();
    println!("{} said, {retracted} of them retractions", said.len());
    assert!(retractions == Retractions::Some || retracted == 0, "{retracted} breaches were taken back");
    let verified = job.assert_verified();
    assert_eq!(verified, expected.len() as u64, "every breach is checked, and what became of it");
}

/// What stands: ids and what they say.
type Standing = BTreeSet<(String, String)>;

fn wait_until_said(job: &Job<'_>, expected: &Standing, detectors: &mut [Detector]) {
    wait_for("the breach topic has what replay says", || {
        detectors.iter_mut().for_each(Detector::assert_runs);
        compare(expected, &job.said())
    });
}

fn compare(expected: &Standing, said: &[Said]) -> Result<(), String> {
    let found = standing(said);
    let missing: Vec<_> = expected.difference(&found).collect();
    let surplus: Vec<_> = found.difference(expected).collect();
    let is_same = missing.is_empty() && surplus.is_empty();
    is_same
        .then_some(())
        .ok_or_else(|| format!("{} missing {:?}, surplus {surplus:?}", missing.len(), missing.first()))
}

/// The ids of what was said and not taken back; nothing may be said twice.
fn standing(said: &[Said]) -> Standing {
    let ids: BTreeSet<_> = said.iter().map(|said| &said.id).collect();
    assert_eq!(ids.len(), said.len(), "an id was said twice");
    let retracted: BTreeSet<_> = said.iter().filter_map(|said| said.retracts.as_ref()).collect();
    let stands = |said: &&Said| said.retracts.is_none() && !retracted.contains(&said.id);
    said.iter().filter(stands).map(|said| (said.id.clone(), said.transition.clone())).collect()
}

fn wait_until_breached(job: &Job<'_>, leads: &[String]) {
    wait_for("the leads are overdue", || {
        let said = job.said();
        standing(&said);
        let breached = said.iter().filter(|said| said.transition == "breached").cloned().collect::<Vec<_>>();
        if leads_of(&breached).is_superset(&set(leads)) { Ok(()) } else { Err(format!("{said:?}")) }
    });
}

fn leads_of(said: &[Said]) -> BTreeSet<String> {
    said.iter().map(|said| said.lead_id.clone()).collect()
}

fn set(leads: &[String]) -> BTreeSet<String> {
    leads.iter().cloned().collect()
}
