//! Minutes of faults on three brokers and several processes under load: `overdue verify` finds nothing in the end,
//! what stands is what replay says, each thing once, and nothing was said that had been answered in time.
//!
//! ```sh
//! ./test soak 60   # minutes; 5 without a number
//! ```
//!
//! The seed is printed and repeats the faults with `OVERDUE_TEST_SEED`, though not their moments.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant as Clock};

use overdue::sla::instant::Instant;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use serde_json::{Value, json};

use crate::support::detector::{Detector, Job, wait_for};
use crate::support::feed::now;
use crate::support::{Kafka, seed};

const POLICIES: &str = "
pipeline: {open: [new, working, qualified]}
objectives:
  first-response: {start: created, stop: contacted}
  qualify: {start: created, stop: {entered: qualified}}
policies:
  - name: quick
    objectives: {first-response: 3s, qualify: 8s}
    stages: {working: 5s}
";

/// The grace of the job, in milliseconds.
const GRACE_MS: i64 = 500;

const PARTITIONS: i32 = 6;

/// How much a broker's disk holds where it can be made small.
const DISK_MIB: usize = 512;

#[test]
#[ignore = "minutes of faults"]
fn a_soak_finds_nothing() {
    let Some(kafka) = Kafka::start_with_disk_of(3, DISK_MIB) else { return };
    let minutes = number("OVERDUE_SOAK_MINUTES").unwrap_or(5);
    let seed = number("OVERDUE_TEST_SEED").unwrap_or_else(|| u64::from(seed()));
    println!("OVERDUE_TEST_SEED={seed} for {minutes} minutes");
    let job = Job::new(&kafka, PARTITIONS, POLICIES).set("workers", "2");
    let load = Load::default();
    let until = Clock::now() + Duration::from_secs(60 * minutes);
    let mut fleet = Fleet::start(&job);
    thread::scope(|scope| {
        let over = Over::default();
        let (is_over, kafka, input, load) = (Arc::clone(&over.0), &kafka, job.input(), &load);
        let loading = scope.spawn(move || load.run(kafka, input, seed, &is_over));
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        while Clock::now() < until && !loading.is_finished() {
            fleet.suffer(Fault::drawn(&mut random), kafka, &mut random);
        }
        drop(over);
        loading.join().expect("the load");
    });
    let events = load.events.lock().expect("the events").clone();
    println!(
        "{} events, {} faults: {:?}",
        events.len(),
        fleet.suffered.values().sum::<usize>(),
        fleet.suffered
    );
    judge(&job, &events, &mut fleet);
    assert!(fleet.ended.is_empty(), "processes ended by themselves: {:#?}", fleet.ended);
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().and_then(|given| given.parse().ok())
}

fn below(limit: u64, random: &mut ChaCha8Rng) -> u64 {
    random.next_u64() % limit
}

/// Set when it is dropped, so also by a panic.
#[derive(Default)]
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

// What goes wrong.

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// A process is killed and started again.
    ProcessKilled,
    /// A process stands still, often for longer than its session lasts.
    ProcessPaused,
    /// A process is asked to end and started again.
    ProcessRestarted,
    /// A process joins for a while.
    ProcessJoins,
    /// A broker is killed and started again.
    BrokerKilled,
    /// A broker stands still, often for long enough to be deposed.
    BrokerPaused,
    /// A broker's disk is full for a while.
    DiskFull,
    /// Something else takes all processors for a while.
    Starved,
    /// Nothing, so that all of it can be seen to go on.
    Peace,
}

impl Fault {
    fn drawn(random: &mut ChaCha8Rng) -> Self {
        use Fault::*;
        let all = [
            ProcessKilled,
            ProcessKilled,
            ProcessPaused,
            ProcessPaused,
            ProcessRestarted,
            ProcessJoins,
            BrokerKilled,
            BrokerPaused,
            BrokerPaused,
            BrokerPaused,
            DiskFull,
            Starved,
            Peace,
        ];
        all[below(all.len() as u64, random) as usize]
    }
}

/// The processes, and what was done to them.
struct Fleet<'a> {
    job: &'a Job<'a>,
    detectors: VecDeque<(&'static str, Detector)>,
    suffered: BTreeMap<Fault, usize>,
    /// What those said last that ended by themselves.
    ended: Vec<String>,
    begun: Clock,
}

impl<'a> Fleet<'a> {
    /// Two processes have names and one has none.
    fn start(job: &'a Job<'a>) -> Self {
        let detectors = ["a", "b", ""].map(|name| (name, job.start(name))).into();
        Self { job, detectors, suffered: BTreeMap::new(), ended: Vec::new(), begun: Clock::now() }
    }

    fn suffer(&mut self, fault: Fault, kafka: &Kafka, random: &mut ChaCha8Rng) {
        let broker = 1 + below(3, random) as usize;
        let pause = Duration::from_millis(1_000 + below(13_000, random));
        println!("{:>6.1} s: {fault:?}, broker {broker}, {pause:?}", self.begun.elapsed().as_secs_f64());
        *self.suffered.entry(fault).or_default() += 1;
        let turns = below(3, random) as usize;
        self.detectors.rotate_left(turns);
        match fault {
            Fault::ProcessKilled => self.replace(Detector::kill),
            Fault::ProcessRestarted => self.replace(end_well),
            Fault::ProcessPaused => {
                self.detectors[0].1.freeze();
                sleep(pause);
                self.detectors[0].1.thaw();
            }
            Fault::ProcessJoins => {
                let guest = self.job.start("");
                sleep(pause);
                end_well(guest);
            }
            Fault::BrokerKilled => {
                kafka.kill(broker);
                sleep(pause);
                kafka.restart(broker);
            }
            Fault::BrokerPaused => {
                kafka.pause(broker);
                sleep(pause);
                kafka.resume(broker);
            }
            Fault::DiskFull if kafka.fill_disk(broker) => {
                sleep(pause);
                kafka.free_disk(broker);
                kafka.restart(broker);
            }
            Fault::DiskFull => println!("        not here: it takes root"),
            Fault::Starved => starve(pause),
            Fault::Peace => sleep(pause),
        }
        self.revive();
        // Copies catch up: two brokers at once may be away no longer than their partitions can do without.
        sleep(Duration::from_millis(2_000 + below(4_000, random)));
    }

    fn replace(&mut self, end: impl FnOnce(Detector)) {
        let (name, old) = self.detectors.pop_front().expect("three processes");
        end(old);
        self.detectors.push_back((name, self.job.start(name)));
    }

    /// Starts those again that ended by themselves, and keeps why.
    fn revive(&mut self) {
        for (name, detector) in &mut self.detectors {
            if let Some(status) = detector.ended() {
                let said = detector.said();
                let last: Vec<_> = said.lines().rev().take(12).collect();
                let last = last.into_iter().rev().collect::<Vec<_>>().join("\n");
                println!("        `{name}` ended by itself: {status}\n{last}");
                self.ended.push(format!("`{name}`: {status}\n{last}"));
                *detector = self.job.start(name);
            }
        }
    }
}

/// Asks a process to end, once it is far enough to be asked.
fn end_well(mut detector: Detector) {
    wait_for("the service has begun", || detector.get("/livez").map(drop).ok_or_else(String::new));
    let status = detector.terminate();
    assert!(status.success(), "a service that is asked to end does so: {status}");
}

fn starve(time: Duration) {
    let until = Clock::now() + time;
    thread::scope(|scope| {
        for _ in 0..2 * thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| while Clock::now() < until {});
        }
    });
}

// What goes on meanwhile.

/// An event, and when the brokers had it for good.
#[derive(Clone)]
struct Event {
    lead: String,
    at: Instant,
    line: String,
    acknowledged_at: Option<Instant>,
}

#[derive(Clone, Default)]
struct Load {
    events: Arc<Mutex<Vec<Event>>>,
}

impl ClientContext for Load {}

impl ProducerContext for Load {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, place: usize) {
        let acknowledged_at = result.is_ok().then(now);
        self.events.lock().expect("the events")[place].acknowledged_at = acknowledged_at;
    }
}

impl Load {
    /// Leads come, some are answered and moved on, in time or not, each event dated when it happens.
    fn run(&self, kafka: &Kafka, topic: &str, seed: u64, is_over: &AtomicBool) {
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ 1);
        let mut config = kafka.client();
        config.set("partitioner", "murmur2_random").set("enable.idempotence", "true").set("linger.ms", "0");
        let producer: BaseProducer<Load> = config.create_with_context(self.clone()).expect("a producer");
        let mut planned: BTreeMap<(i64, u64), (u64, &str, Option<&str>)> = BTreeMap::new();
        let (mut lead, mut number) = (0, 0);
        while !(is_over.load(Ordering::SeqCst) && planned.is_empty()) {
            let at = now();
            if !is_over.load(Ordering::SeqCst) {
                lead += 1;
                for (after_ms, kind, stage) in plan(&mut random) {
                    number += 1;
                    planned.insert((at.plus(after_ms).millis(), number), (lead, kind, stage));
                }
            }
            while let Some(due) = planned.first_entry().filter(|entry| entry.key().0 <= at.millis()) {
                let (lead, kind, stage) = due.remove();
                self.send(&producer, topic, happen(lead, kind, stage));
            }
            producer.poll(Duration::from_millis(10 + below(20, &mut random)));
        }
        producer.flush(Duration::from_secs(120)).expect("all events are delivered");
        let events = self.events.lock().expect("the events");
        assert!(events.iter().all(|event| event.acknowledged_at.is_some()), "an event was not delivered");
    }

    fn send(&self, producer: &BaseProducer<Load>, topic: &str, event: Event) {
        let place = {
            let mut events = self.events.lock().expect("the events");
            events.push(event.clone());
            events.len() - 1
        };
        let mut record = BaseRecord::with_opaque_to(topic, place).key(&event.lead).payload(&event.line);
        while let Err((error, back)) = producer.send(record) {
            assert!(matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)), "{error}");
            producer.poll(Duration::from_millis(10));
            record = back;
        }
    }
}

/// What becomes of a lead: after how many milliseconds what happens.
fn plan(random: &mut ChaCha8Rng) -> Vec<(i64, &'static str, Option<&'static str>)> {
    let mut all = vec![(0, "lead-created", Some("new"))];
    if below(10, random) < 7 {
        all.push((below(4_500, random) as i64, "contacted", None));
    }
    let mut after_ms = 0;
    for stage in ["working", "qualified"] {
        after_ms += 1 + below(6_000, random) as i64;
        if below(10, random) < 7 {
            all.push((after_ms, "stage-changed", Some(stage)));
        }
    }
    all
}

fn happen(lead: u64, kind: &str, stage: Option<&str>) -> Event {
    let (lead, at) = (format!("lead-{lead}"), now());
    let id = format!("{lead} {kind} {stage:?}");
    let mut event = json!({"type": kind, "event_id": id, "lead_id": lead, "time": at.to_string()});
    if let Some(stage) = stage {
        event["stage"] = json!(stage);
    }
    Event { lead, at, line: event.to_string(), acknowledged_at: None }
}

// What is found in the end.

/// What the breach topic has of one output.
struct Spoken {
    id: String,
    lead: String,
    date: Instant,
    retracts: Option<String>,
}

impl Spoken {
    fn parse(line: &str) -> Self {
        let event: Value = serde_json::from_str(line).expect("an output is JSON");
        let text = |path: &str| event.pointer(path).and_then(Value::as_str).map(str::to_owned);
        Self {
            id: text("/id").expect("an id"),
            lead: text("/data/lead_id").expect("a lead"),
            date: text("/time").and_then(|time| Instant::parse(&time)).expect("a date"),
            retracts: text("/data/retracts/id"),
        }
    }
}

fn judge(job: &Job<'_>, events: &[Event], fleet: &mut Fleet<'_>) {
    let lines: String = events.iter().map(|event| event.line.clone() + "\n").collect();
    sleep(Duration::from_secs(9));
    let expected: BTreeSet<String> = job.replayed(&lines).into_iter().map(|said| said.id).collect();
    assert!(expected.len() > 20, "a log of {} breaches shows little", expected.len());
    let spoken = wait_for("the breach topic has what replay says", || {
        fleet.revive();
        let spoken = spoken(job);
        compare(&expected, &spoken).map(|()| spoken)
    });
    assert_verified(job, events);
    fleet.detectors.drain(..).for_each(|(_, detector)| end_well(detector));
    let ids: BTreeSet<_> = spoken.iter().map(|one| &one.id).collect();
    assert_eq!(ids.len(), spoken.len(), "an id was said twice");
    let retracted = spoken.iter().filter(|one| one.retracts.is_some()).count();
    println!("{} said, {retracted} of them retractions, {} stand", spoken.len(), expected.len());
    let false_ones = false_breaches(events, &spoken);
    assert!(false_ones.is_empty(), "said though all had been answered in time: {false_ones:#?}");
}

/// Fails on whatever `overdue verify` finds, but for details of a breach, such as the stage of its lead, that an
/// event told too late: what was said before that stands as it was said.
fn assert_verified(job: &Job<'_>, events: &[Event]) {
    let done = job.verify(&["--wait", "10s", "--output", "json"]);
    let why = String::from_utf8_lossy(&done.stderr);
    let report: Value = serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {why}"));
    let is_excused = |finding: &&Value| {
        let date = finding["date"].as_str().and_then(Instant::parse);
        let is_late = |date: Instant| {
            let of_lead = events.iter().filter(|event| finding["lead_id"] == event.lead.as_str());
            let late = |event: &Event| event.acknowledged_at.is_none_or(|at| at > date.plus(GRACE_MS));
            of_lead.filter(|event| event.at <= date).any(late)
        };
        finding["kind"] == "different" && date.is_some_and(is_late)
    };
    let findings = report["findings"].as_array().expect("findings");
    let (excused, found): (Vec<_>, Vec<_>) = findings.iter().partition(is_excused);
    println!("{} verified, {} differ by what came too late", report["matched"], excused.len());
    assert!(found.is_empty(), "{found:#?}\n{}", report["counts"]);
}

fn spoken(job: &Job<'_>) -> Vec<Spoken> {
    let records = job.kafka.read_committed(&job.breaches);
    records.iter().map(|record| Spoken::parse(record.value.as_deref().expect("an output"))).collect()
}

fn compare(expected: &BTreeSet<String>, spoken: &[Spoken]) -> Result<(), String> {
    let taken_back: BTreeSet<_> = spoken.iter().filter_map(|one| one.retracts.as_ref()).collect();
    let stands = |one: &&Spoken| one.retracts.is_none() && !taken_back.contains(&one.id);
    let found: BTreeSet<_> = spoken.iter().filter(stands).map(|one| one.id.clone()).collect();
    let missing: Vec<_> = expected.difference(&found).collect();
    let surplus: Vec<_> = found.difference(expected).collect();
    match (missing.first(), surplus.first()) {
        (None, None) => Ok(()),
        some => Err(format!("{} missing, {} surplus: {some:?}", missing.len(), surplus.len())),
    }
}

/// What was taken back though every event of its lead dated before it was with the brokers for good within grace.
fn false_breaches<'a>(events: &[Event], spoken: &'a [Spoken]) -> Vec<(&'a String, &'a String, Instant)> {
    let mut by_lead: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    events.iter().for_each(|event| by_lead.entry(&event.lead).or_default().push(event));
    let taken_back: BTreeSet<_> = spoken.iter().filter_map(|one| one.retracts.as_ref()).collect();
    let was_known =
        |one: &Spoken, event: &&&Event| event.acknowledged_at.is_some_and(|at| at <= one.date.plus(GRACE_MS));
    let is_false = |one: &&Spoken| {
        let before: Vec<_> = by_lead[one.lead.as_str()].iter().filter(|event| event.at <= one.date).collect();
        taken_back.contains(&one.id) && before.iter().all(|event| was_known(one, event))
    };
    spoken.iter().filter(is_false).map(|one| (&one.id, &one.lead, one.date)).collect()
}
