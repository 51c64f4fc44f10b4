//! The real worker on the model: its rules, its leads, and how it is started.

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::{ChaCha8Rng, ChaCha12Rng};

use super::cluster::{BEGINNING, Cluster, Upstream};
use super::judge::Watch;
use super::log::Payload;
use super::port::SimPort;
use super::scenario::{Process, Scenario, Setup};
use super::seeds;
use crate::config::read_policies;
use crate::metrics::Metrics;
use crate::runtime::desk::Desk;
use crate::runtime::port::Error;
use crate::runtime::shared::{Board, Health, InputTopic, Shared, StateBytes};
use crate::runtime::worker::Worker;
use crate::sla::engine;
use crate::sla::rules::Rules;
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

const POLICIES: &str = "
pipeline: {open: [new, working, qualified], won: [won], lost: [lost]}
policies:
  - name: owned
    match: {owner: [ann, bob]}
    objectives:
      first-response: {start: created, stop: contacted, within: 10s, severity: critical}
      next-reply: {start: {contacted: {direction: inbound}}, stop: contacted, within: 8s}
    stages: {new: 20s, working: 15s}
  - name: everyone
    objectives:
      first-response: {start: [created, reopened], stop: {contacted: {channel: phone}}, within: 15s, restart: true}
";

/// A worker, and what was seen of it so far.
pub struct Detector {
    worker: Worker<SimPort>,
    watch: Watch,
}

impl Process for Detector {
    fn turn(&mut self) -> Result<(), Error> {
        self.worker.turn()
    }

    fn watch(&mut self, client: u64, cluster: &mut Cluster) -> Result<(), String> {
        self.watch.look(&self.worker, client, cluster)
    }
}

/// The rules of every history.
pub fn rules() -> Arc<Rules> {
    let policies = read_policies("policies.yaml", POLICIES).unwrap_or_else(|problems| panic!("{problems}"));
    Arc::new(Rules::new(Arc::new(policies)))
}

/// The windows of the engine.
pub fn engine_settings(lateness_max_ms: i64) -> engine::Settings {
    engine::Settings {
        grace_ms: GRACE_MS,
        lateness_max_ms,
        facts_max: 10_000,
        retention_closed_ms: 7 * 86_400_000,
        retention_idle_ms: 400 * 86_400_000,
        speak_from: crate::sla::instant::Instant::MIN,
    }
}

fn shared(rules: &Arc<Rules>, port: &SimPort, lateness_max_ms: i64) -> Arc<Shared> {
    let ids = port.topic_ids();
    let topics: Vec<_> = (0..ids.len()).map(|topic| format!("leads-{topic}")).collect();
    let policies = Arc::clone(&rules.policies);
    Arc::new(Shared {
        rules: Arc::clone(rules),
        engine: engine_settings(lateness_max_ms),
        decode: decode::Settings { future_skew_max_ms: 300_000, are_files: false },
        metrics: Metrics::new(&policies, &topics).expect("metrics have names of their own"),
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
        for number in 0..rng.random_range(1..8) {
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
    let stage = ["new", "working", "qualified", "won", "lost"][rng.random_range(0..5)];
    let owner = ["ann", "bob", "cat"][rng.random_range(0..3)];
    let rest = match (number, rng.random_range(0..10)) {
        (0, _) => format!(r#""type":"lead-created","stage":"new","owner":"{owner}""#),
        (_, 0..3) => r#""type":"contacted","channel":"phone""#.to_owned(),
        (_, 3) => r#""type":"contacted","by":"automation""#.to_owned(),
        (_, 4) => r#""type":"contacted","direction":"inbound""#.to_owned(),
        (_, 5) => format!(r#""type":"lead-assigned","owner":"{owner}""#),
        (_, 6) => r#""type":"nonsense""#.to_owned(),
        (_, 7) if number > 5 => r#""type":"lead-deleted""#.to_owned(),
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
    let (rules, seed) = (rules(), setup.seed);
    let mut started = 0u64;
    Scenario::new(setup, move |port| {
        started += 1;
        let random = ChaCha12Rng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(started));
        let shared = shared(&rules, &port, lateness_max_ms);
        Detector { worker: Worker::new(port, shared, 0, random), watch: Watch::default() }
    })
}
