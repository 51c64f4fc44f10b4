//! What `overdue run` does where something is at its end: its memory, its brokers' time, their reach, their disks.

use std::collections::HashSet;
use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant as Clock};

use rdkafka::Message;
use rdkafka::message::Headers;
use rdkafka::producer::BaseRecord;

use crate::support::Kafka;
use crate::support::detector::{Detector, Job, wait_for, wait_until, wait_until_past};
use crate::support::feed::{Event, Feed, now};

/// A contact within a second keeps the promise.
const PROMISE: &str = "
policies:
  - name: one
    objectives: {first-response: {start: created, stop: contacted, within: 1s}}
";

fn breached(job: &Job<'_>) -> Vec<String> {
    let said = job.said();
    assert!(said.iter().all(|said| said.transition == "breached"), "{said:?}");
    let mut leads: Vec<_> = said.into_iter().map(|said| said.lead_id).collect();
    leads.sort();
    leads
}

fn wait_until_breached(job: &Job<'_>, detectors: &mut [&mut Detector], leads: &[String]) {
    let mut expected = leads.to_vec();
    expected.sort();
    wait_for("every breach is said, and no other", || {
        detectors.iter_mut().for_each(|detector| detector.assert_runs());
        let found = breached(job);
        if found == expected { Ok(()) } else { Err(format!("{} of {}", found.len(), expected.len())) }
    });
}

/// Writes leads until a service holds back; returns their names.
fn fill(job: &Job<'_>, feed: &Feed, detector: &mut Detector) -> Vec<String> {
    let mut leads = Vec::new();
    while detector.metric("overdue_reading_held", "") == 0.0 {
        assert!(leads.len() < 50_000, "the state has no limit");
        let batch: Vec<_> = (0..500).map(|n| format!("lead-{}", leads.len() + n)).collect();
        feed.write(job.input(), &batch.iter().map(|lead| Event::created(lead, now())).collect::<Vec<_>>());
        leads.extend(batch);
        let taken = leads.len() as f64;
        wait_until("they are taken in, or reading is held", || {
            detector.metric("overdue_reading_held", "") > 0.0
                || taken <= detector.metric("overdue_events_consumed_total", "")
        });
        sleep(Duration::from_millis(600));
    }
    leads
}

fn full_job(kafka: &Kafka) -> Job<'_> {
    Job::new(kafka, 4, PROMISE).set("state_bytes_max", "1MiB").set("workers", "2")
}

/// It reads nothing, says so, and is not said to be broken.
fn assert_holds(job: &Job<'_>, feed: &Feed, detector: &mut Detector) -> Vec<String> {
    let said = detector.said();
    assert!(said.contains("the state is larger than `state_bytes_max`"), "{said}");
    sleep(Duration::from_millis(1_000));
    let before = detector.metric("overdue_events_consumed_total", "");
    let (answered, open) = (now(), ["kept-1", "kept-2", "late-1", "late-2"]);
    feed.write(job.input(), &open.map(|lead| Event::created(lead, answered)));
    feed.write(job.input(), &["kept-1", "kept-2"].map(|lead| Event::contacted(lead, answered.plus(100))));
    wait_until_past(answered.plus(3_000));
    detector.assert_runs();
    assert_eq!(detector.metric("overdue_events_consumed_total", ""), before, "it reads on");
    assert_eq!(detector.get("/livez").map(|(status, _)| status), Some(200));
    vec!["late-1".to_owned(), "late-2".to_owned()]
}

#[test]
fn a_service_whose_state_is_full_goes_on_when_another_takes_partitions_over() {
    let Some(kafka) = Kafka::shared() else { return };
    let (job, feed) = (full_job(kafka), Feed::java(kafka));
    let mut first = job.start_ready("");
    let mut leads = fill(&job, &feed, &mut first);
    leads.extend(assert_holds(&job, &feed, &mut first));
    let mut second = job.start_ready("");
    wait_until("reading goes on", || first.metric("overdue_reading_held", "") == 0.0);
    wait_until_breached(&job, &mut [&mut first, &mut second], &leads);
    assert!(first.said().contains("the state fits again"));
}

#[test]
fn a_service_whose_state_is_full_goes_on_with_a_higher_limit() {
    let Some(kafka) = Kafka::shared() else { return };
    let (job, feed) = (full_job(kafka), Feed::java(kafka));
    let mut detector = job.start_ready("");
    let mut leads = fill(&job, &feed, &mut detector);
    leads.extend(assert_holds(&job, &feed, &mut detector));
    assert!(detector.terminate().success());
    let job = job.set("state_bytes_max", "1GiB");
    let mut detector = job.start_ready("");
    wait_until_breached(&job, &mut [&mut detector], &leads);
    assert_eq!(detector.metric("overdue_reading_held", ""), 0.0);
}

#[test]
fn brokers_out_of_reach_for_longer_than_any_timeout_cost_nothing_but_time() {
    let Some(kafka) = Kafka::own() else { return };
    let proxy = kafka.proxy();
    let job = Job::new(&kafka, 2, PROMISE).set("kafka.brokers", proxy.address());
    let feed = Feed::java(&kafka);
    let mut detector = job.start_ready("");
    feed.write(job.input(), &[Event::created("before", now())]);
    detector.wait_until_consumed(1);
    proxy.cut();
    let cut = now();
    // What happens meanwhile is in the log in time; only the service cannot read it.
    feed.write(job.input(), &[Event::created("kept", cut), Event::created("missed", cut)]);
    feed.write(job.input(), &[Event::contacted("kept", cut.plus(100))]);
    wait_until_past(cut.plus(20_000));
    detector.assert_runs();
    assert_eq!(detector.get("/livez").map(|(status, _)| status), Some(200));
    wait_until("page and metric say that no partition is left", || {
        let unready = detector.get("/readyz").is_some_and(|(status, _)| status == 503);
        unready && detector.metric("overdue_assigned_partitions", "") == 0.0
    });
    let said = detector.said();
    assert!(said.contains("partitions were lost") && said.contains("brokers are down"), "{said}");
    proxy.mend();
    let leads = ["before".to_owned(), "missed".to_owned()];
    wait_until_breached(&job, &mut [&mut detector], &leads);
    detector.wait_until_ready();
    wait_until("every partition is taken again", || {
        detector.metric("overdue_assigned_partitions", "") == 2.0
    });
}

#[test]
fn slow_brokers_delay_what_is_said_and_change_nothing() {
    let Some(kafka) = Kafka::own() else { return };
    let proxy = kafka.proxy();
    let job = Job::new(&kafka, 2, PROMISE).set("kafka.brokers", proxy.address());
    let feed = Feed::java(&kafka);
    // Also taking partitions over is slow: the questions for committed offsets must be given their time.
    proxy.delay(Duration::from_millis(400));
    let mut detector = job.start_ready("");
    let (mut leads, begun) = (Vec::new(), now());
    for n in 0..20 {
        let (kept, missed) = (format!("kept-{n}"), format!("missed-{n}"));
        feed.write(job.input(), &[Event::created(&kept, now()), Event::created(&missed, now())]);
        feed.write(job.input(), &[Event::contacted(&kept, now())]);
        leads.push(missed);
        wait_until_past(begun.plus(250 * (n + 1)));
    }
    wait_until_breached(&job, &mut [&mut detector], &leads);
    assert_eq!(detector.metric("overdue_rebalances_total", "lost"), 0.0, "no partition is lost for it");
    proxy.delay(Duration::ZERO);
    feed.write(job.input(), &[Event::created("after", now())]);
    leads.push("after".to_owned());
    wait_until_breached(&job, &mut [&mut detector], &leads);
}

/// Not a promise but a figure: `OVERDUE_STORM=1000000 cargo test --release --test it -- --nocapture storm`.
#[test]
fn a_storm_of_deadlines_in_one_second_is_said_in_steps() {
    let Some(kafka) = Kafka::own() else { return };
    let count = std::env::var("OVERDUE_STORM").map_or(20_000_u32, |text| text.parse().expect("a number"));
    let job = Job::new(&kafka, 4, PROMISE).set("workers", "2").set("input.partitioner", "murmur2");
    let (feed, at) = (Feed::java(&kafka), now().minus(60_000));
    for n in 0..count {
        let event = Event::created(&format!("lead-{n}"), at.plus(i64::from(n % 1_000)));
        feed.queue(BaseRecord::to(job.input()).key(event.lead_id.as_bytes()).payload(event.line.as_bytes()));
    }
    feed.finish();
    let begun = Clock::now();
    let mut detector = job.start_ready("");
    let assigned = detector.metric("overdue_rebalances_total", "");
    let (mut resident, mut taken) = (0.0_f64, None);
    let deadline = Clock::now() + Duration::from_secs(90) + Duration::from_micros(500 * u64::from(count));
    loop {
        detector.assert_runs();
        resident = resident.max(detector.metric("process_resident_memory_bytes", ""));
        if taken.is_none() && f64::from(count) <= detector.metric("overdue_events_consumed_total", "") {
            taken = Some(begun.elapsed());
        }
        if f64::from(count) <= detector.metric("overdue_breaches_total", "") {
            break;
        }
        assert_eq!(detector.get("/livez").map(|(status, _)| status), Some(200), "its loops come round");
        assert!(Clock::now() < deadline, "not all breaches are said");
        sleep(Duration::from_millis(50));
    }
    println!(
        "{count} deadlines in one second: taken in after {taken:?}, said after {:?}, at most {:.0} MB resident, \
         {:.0} MB of them estimated as state",
        begun.elapsed(),
        resident / 1e6,
        detector.metric("overdue_state_bytes", "") / 1e6
    );
    assert_eq!(detector.metric("overdue_rebalances_total", ""), assigned, "the group did not notice");
    assert!(detector.terminate().success());
    let (mut ids, mut records) = (HashSet::new(), 0);
    kafka.read_raw(&job.breaches, |message| {
        records += 1;
        let id = message.headers().and_then(|all| all.iter().find(|header| header.key == "ce_id"));
        ids.insert(id.and_then(|id| id.value).expect("an id").to_vec());
    });
    assert_eq!((ids.len(), records), (count as usize, count as usize), "each is said once");
}

#[test]
fn a_log_that_cannot_be_written_ends_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let policies = folder.path().join("policies.yaml");
    fs::write(&policies, PROMISE).expect("the policies");
    // Each failure to connect is a line, from threads of the client library as well.
    let settings = ["kafka.brokers=127.0.0.1:1", "input.topics=[leads]", "http.listen=127.0.0.1:0"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_overdue"));
    command.current_dir(folder.path()).args(["run", "--log", "debug"]);
    for setting in settings {
        command.args(["--set", setting]);
    }
    command.args(["--set", &format!("policies={}", policies.display())]);
    let full = fs::File::options().write(true).open("/dev/full").expect("a disk that is full");
    let mut process = command.stderr(full).spawn().expect("overdue starts");
    sleep(Duration::from_secs(3));
    let ended = process.try_wait().expect("the state of a process");
    let _ = (process.kill(), process.wait());
    assert_eq!(ended, None);
}

/// A disk that is full ends a broker with one log folder. The folder of the brokers must be on a small disk:
///
/// ```text
/// mount -t tmpfs -o size=600m none /mnt && TMPDIR=/mnt cargo test --release --test it -- --ignored full_disk
/// ```
#[test]
#[ignore = "it fills the disk that holds temporary folders"]
fn a_full_disk_of_a_broker_costs_nothing_but_time() {
    let Some(kafka) = Kafka::own() else { return };
    let (job, feed) = (Job::new(&kafka, 2, PROMISE), Feed::java(&kafka));
    let mut detector = job.start_ready("");
    feed.write(job.input(), &[Event::created("before", now())]);
    wait_until_breached(&job, &mut [&mut detector], &["before".to_owned()]);
    feed.write(job.input(), &[Event::created("open", now().plus(3_000))]);
    detector.wait_until_consumed(2);
    let filler = std::env::temp_dir().join("filler");
    let mut file = fs::File::create(&filler).expect("a file");
    let written = std::io::copy(&mut std::io::repeat(0), &mut file);
    assert!(written.is_err(), "the disk takes everything");
    wait_until("the log says what is wrong", || {
        detector.assert_runs();
        detector.said().contains("WARN") || detector.said().contains("ERROR")
    });
    sleep(Duration::from_secs(15));
    detector.assert_runs();
    println!("{}", detector.said());
    drop(file);
    fs::remove_file(&filler).expect("the file is removed");
    kafka.restart(1);
    feed.write(job.input(), &[Event::created("after", now())]);
    wait_until_breached(&job, &mut [&mut detector], &["before", "open", "after"].map(str::to_owned));
}
