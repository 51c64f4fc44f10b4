//! The real worker on the model: its rules, its leads, and how it is started.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use rand::{RngExt, SeedableRng};
use rand_chacha::{ChaCha8Rng, ChaCha12Rng};

use super::cluster::{BEGINNING, Cluster, Upstream};
use super::judge::Watch;
use super::log::Payload;
use super::port::{Disk, SimPort};
use super::scenario::{Process, Scenario, Setup};
use super::seeds;
use crate::config::{PolicyFile, read_policies};
use crate::metrics::Metrics;
use crate::runtime::desk::Desk;
use crate::runtime::history::{History, Shelf};
use crate::runtime::port::Error;
use crate::runtime::shared::{Board, Health, InputTopic, Shared, StateBytes};
use crate::runtime::worker::Worker;
use crate::sla::engine;
use crate::sla::instant::Instant;
use crate::sla::rules::Rules;
use crate::wire::changelog::EditionRecord;
use crate::wire::decode;
use crate::wire::encode::Encoder;
use crate::wire::routing::Partitioner;

/// Covers what a record takes, a follower that falls behind, a broker that has not heard of an election, and
/// what a process's clock is off.
const GRACE_MS: i64 = 3_000;
/// How long a record that is in time takes at most.
const DELAY_MS_MAX: i64 = 1_200;
/// A clock that is known to be further ahead silences its process.
const CLOCK_SKEW_MAX_MS: i64 = 1_000;
const LEADS: i64 = 12;
/// Longer than any history.
pub const WEEK_MS: i64 = 7 * 86_400_000;
/// Deadlines and records lie in the first so many milliseconds.
pub const SPAN_MS: i64 = 60_000;

/// What can be promised, all of the language but windows that follow each other for ever.
const OBJECTIVES: &str = "
pipeline: {open: [new, working, qualified, nurture], won: [won], lost: [lost]}
objectives:
  first-response:
    start: created
    stop: contacted
    severity: critical
    warn: [50%, 2s left]
    escalate_after: [3s, {every: 7s, times: 3}]
    penalty: {amount: 10, currency: EUR}
  next-reply: {start: {contacted: {direction: inbound}}, stop: contacted, warn: 50%}
  owner-first-touch: {start: assigned, restart: true, stop: {contacted: {actor: $owner}}}
  qualify:
    start: created
    stop: {entered: [qualified, lost]}
    pause: {stage: nurture}
    warn: 4s left
    escalate_after: 5s
  rhythm: {while: {stage: [working, qualified]}, touch: {every: 6s}, escalate_after: {every: 5s, times: 2}}
  meetings: {while: {stage: qualified}, touch: {at_least: 1, per: stage, contacted: {channel: phone}}}
  cadence: {touch: {by: [3s, 8s, 20s]}}
  opening: {while: {stage: working}, touch: {at_least: 1, within: 7s}}
  handoff: {start: {entered: won}, stop: {contacted: {channel: phone}}}
  win-back: {start: reopened, stop: contacted, within: 5s}
policies:
";

/// What is promised to whom, before and after each time that somebody writes it anew.
const PROMISES: [&str; 3] = [
    "
  - name: large
    match: {segment: large, owner: {not: [cat]}}
    objectives:
      {first-response: 10s, next-reply: 8s, owner-first-touch: 6s, qualify: 25s, rhythm: {}, meetings: {}, cadence: {}}
    stages: {new: 20s, working: {within: 15s, reentry: cumulative}}
  - name: owned
    effective_until: 2026-05-28T20:27:05Z
    match: {owner: [ann, bob]}
    objectives:
      first-response: {within: [{if: {segment: small}, target: 5s}, 10s], pause: none}
      next-reply: 8s
      opening: {}
      handoff: 9s
    stages: {new: 20s, working: {within: 15s, reentry: first_only}}
  - name: owned
    effective_from: 2026-05-28T20:27:05Z
    match: {owner: [ann, bob]}
    objectives: {first-response: 8s, next-reply: 6s, cadence: {}}
    stages: {new: 15s, working: 10s}
  - name: everyone
    objectives:
      first-response: {start: [created, reopened], stop: {contacted: {channel: phone}}, within: 15s, restart: true}
      win-back: {}
",
    "
  - name: large
    match: {segment: large}
    objectives: {first-response: 6s, next-reply: 12s, qualify: 15s, rhythm: {}, handoff: 5s}
    stages: {new: 12s, working: {within: 20s, reentry: cumulative}}
  - name: everyone
    objectives:
      first-response: {within: 12s, warn: 80%}
      win-back: {}
      opening: {}
",
    "
  - name: everyone
    objectives: {first-response: 20s, owner-first-touch: 9s, qualify: 20s, meetings: {}, cadence: {}}
    stages: {new: 25s, qualified: 10s}
",
];

/// How often the policies can be written anew.
const EDITIONS: usize = PROMISES.len();

/// A worker, and what was seen of it so far.
pub struct Detector {
    worker: Worker<SimPort>,
    shared: Arc<Shared>,
    disk: Disk,
    edition: usize,
    watch: Watch,
}

impl Process for Detector {
    fn turn(&mut self) -> Result<(), Error> {
        let edition = self.disk.edition();
        if edition != self.edition {
            self.edition = edition;
            self.shared.policies.put(policy_file(edition));
        }
        self.worker.turn()
    }

    fn watch(&mut self, client: u64, cluster: &mut Cluster) -> Result<(), String> {
        self.watch.look(&self.worker, client, cluster)
    }
}

/// The policies as they were written for the n-th time, from 0.
fn policy_file(edition: usize) -> Arc<PolicyFile> {
    static FILES: OnceLock<Vec<Arc<PolicyFile>>> = OnceLock::new();
    let files = FILES.get_or_init(|| (0..EDITIONS).map(read_edition).collect());
    Arc::clone(&files[edition.min(EDITIONS - 1)])
}

fn read_edition(edition: usize) -> Arc<PolicyFile> {
    let promises = PROMISES[edition];
    let text = format!("revision: {edition}\n{OBJECTIVES}{promises}");
    let policies = read_policies("policies.yaml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    Arc::new(PolicyFile { path: "policies.yaml".into(), text, files: BTreeMap::new(), policies })
}

/// The rules that these files make; each is read once for all histories.
pub fn rules_of(editions: Vec<EditionRecord>) -> Result<Arc<Rules>, String> {
    static SHELF: OnceLock<Shelf> = OnceLock::new();
    let shelf = SHELF.get_or_init(|| Shelf::new(policy_file(0)));
    History::restore(editions, shelf).map(|history| history.rules())
}

/// The rules of a history in which nobody writes the policies anew.
pub fn rules() -> Arc<Rules> {
    Arc::new(Rules::new(Arc::new(policy_file(0).policies.clone())))
}

/// The windows of the engine.
pub fn engine_settings(lateness_max_ms: i64, speak_from: Instant) -> engine::Settings {
    engine::Settings {
        grace_ms: GRACE_MS,
        lateness_max_ms,
        facts_max: 10_000,
        retention_closed_ms: 7 * 86_400_000,
        retention_idle_ms: 400 * 86_400_000,
        speak_from,
    }
}

fn shared(port: &SimPort, edition: usize, windows: engine::Settings) -> Arc<Shared> {
    let ids = port.topic_ids();
    let topics: Vec<_> = (0..ids.len()).map(|topic| format!("leads-{topic}")).collect();
    let file = policy_file(edition);
    Arc::new(Shared {
        engine: windows,
        decode: decode::Settings { future_skew_max_ms: 300_000, are_files: false },
        metrics: Metrics::new(&file.policies, &topics).expect("metrics have names of their own"),
        policies: Shelf::new(file),
        encoder: Encoder::new(topics.clone()),
        topics: topics.into_iter().zip(ids).map(|(name, id)| InputTopic { name, id: Some(id) }).collect(),
        partitions: port.partitions(),
        is_keyed_by_lead: true,
        partitioner: Some(Partitioner::Other),
        ignores_unknown_types: false,
        writes_outcomes: true,
        commit_interval_ms: 100,
        clock_skew_max_ms: CLOCK_SKEW_MAX_MS,
        state: StateBytes::new(1, 0),
        health: Health::new(1),
        board: Board::new(0),
        desk: Desk::default(),
    })
}

/// Leads and what happens to them; where `lateness_ms` is more than nothing, some of it is told too late.
pub fn upstream(setup: &Setup, lateness_ms: i64) -> Vec<Upstream> {
    let mut rng = seeds::rng(setup.seed ^ 0x1ead);
    let mut records = Vec::new();
    for lead in 0..LEADS {
        let partition = (lead % i64::from(setup.shape.partitions)) as i32;
        let born_ms = rng.random_range(0..SPAN_MS / 2);
        for number in 0..rng.random_range(1..10) {
            let at_ms =
                if number == 0 { born_ms } else { born_ms + rng.random_range(-2_000..SPAN_MS / 2).max(0) };
            let is_late = lateness_ms > 0 && rng.random_ratio(1, 8);
            let delay_ms =
                if is_late { rng.random_range(0..lateness_ms) } else { rng.random_range(0..DELAY_MS_MAX) };
            let ends_ms = at_ms + delay_ms + rng.random_range(0..15_000);
            let record = Upstream {
                topic: rng.random_range(0..setup.shape.topics),
                partition,
                appended_ms: at_ms + delay_ms,
                timestamp_ms: at_ms + delay_ms,
                payload: event(&mut rng, lead, number, at_ms),
                event_ms: (!is_late).then_some(at_ms),
                transaction: rng.random_ratio(1, 10).then_some((ends_ms, rng.random_ratio(2, 3))),
            };
            if rng.random_ratio(1, 10) {
                records.push(Upstream { transaction: None, ..record.clone() });
            }
            records.push(record);
        }
    }
    records
}

fn event(rng: &mut ChaCha8Rng, lead: i64, number: i64, at_ms: i64) -> Payload {
    let lead_id = format!("L{lead}");
    let head = format!(
        r#""event_id":"{lead_id}-{number}","lead_id":"{lead_id}","time":"{}""#,
        BEGINNING.plus(at_ms)
    );
    let stage = ["new", "working", "working", "qualified", "nurture", "won", "lost"][rng.random_range(0..7)];
    let owner = ["ann", "bob", "cat"][rng.random_range(0..3)];
    let segment = ["small", "large"][rng.random_range(0..2)];
    let objective = ["first-response", "next-reply", "qualify", "cadence"][rng.random_range(0..4)];
    let until = BEGINNING.plus(at_ms + rng.random_range(1_000..12_000));
    let rest = match (number, rng.random_range(0..16)) {
        (0, _) => {
            format!(r#""type":"lead-created","stage":"new","owner":"{owner}","segment":"{segment}""#)
        }
        (_, 0..3) => format!(r#""type":"contacted","channel":"phone","actor":"{owner}""#),
        (_, 3) => r#""type":"contacted","by":"automation""#.to_owned(),
        (_, 4) => r#""type":"contacted","direction":"inbound""#.to_owned(),
        (_, 5) => format!(r#""type":"lead-assigned","owner":"{owner}""#),
        (_, 6) => r#""type":"nonsense""#.to_owned(),
        (_, 7) if number > 5 => r#""type":"lead-deleted""#.to_owned(),
        (_, 8) => format!(r#""type":"lead-updated","segment":"{segment}""#),
        (_, 9) => r#""type":"paused""#.to_owned(),
        (_, 10) => format!(r#""type":"paused","until":"{until}""#),
        (_, 11) => r#""type":"resumed""#.to_owned(),
        (_, 12) => format!(r#""type":"breach-waived","objective":"{objective}","who":"vp","why":"a storm""#),
        _ => format!(r#""type":"stage-changed","stage":"{stage}""#),
    };
    Payload {
        key: Some(lead_id.into_bytes()),
        value: Some(format!("{{{head},{rest}}}").into_bytes()),
        headers: Vec::new(),
    }
}

/// A history of workers.
pub fn scenario(setup: Setup, lateness_max_ms: i64) -> Scenario<Detector> {
    let (seed, windows) = (setup.seed, engine_settings(lateness_max_ms, setup.speak_from));
    let mut started = 0u64;
    Scenario::new(setup, move |port| {
        started += 1;
        let random = ChaCha12Rng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(started));
        let disk = port.disk();
        let edition = disk.edition();
        let shared = shared(&port, edition, windows);
        let worker = Worker::new(port, Arc::clone(&shared), 0, random);
        Detector { worker, shared, disk, edition, watch: Watch::default() }
    })
}
