//! What happens, as Prometheus metrics: one method a fact. Never a lead or a person as a label.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    CounterVec, Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::runtime::trouble::Kind as Trouble;
use crate::sla::clock::Step;
use crate::sla::instant::Instant;
use crate::sla::policy::{Objective, Penalty, Policies, Policy, Target};
use crate::wire::decode::Reason;

/// Every metric of one process; a copy counts into the same.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    promises: Promises,
    events: Events,
    clocks: Clocks,
    partitions: Partitions,
    workers: Workers,
    hindrances: Hindrances,
}

/// What was promised, as constants.
#[derive(Debug, Clone)]
struct Promises {
    build_info: IntGaugeVec,
    policy_info: IntGaugeVec,
    target_seconds: GaugeVec,
    goal_ratio: GaugeVec,
    reloads: IntCounterVec,
    reload_failed: IntGauge,
    kept_older: IntGaugeVec,
}

/// What came in.
#[derive(Debug, Clone)]
struct Events {
    consumed: IntCounterVec,
    rejected: IntCounterVec,
    duplicate: IntCounterVec,
    conflicting: IntCounterVec,
    late: IntCounterVec,
    ignored: IntCounterVec,
}

/// What became of clocks.
#[derive(Debug, Clone)]
struct Clocks {
    clocks_started: IntCounterVec,
    clocks_closed: IntCounterVec,
    breaches: IntCounterVec,
    warnings: IntCounterVec,
    penalties: CounterVec,
    penalties_cancelled: CounterVec,
    open_clocks: IntGaugeVec,
    response_seconds: HistogramVec,
    detection_delay_seconds: HistogramVec,
}

/// How far partitions are.
#[derive(Debug, Clone)]
struct Partitions {
    lag_records: IntGaugeVec,
    horizon_timestamp_seconds: GaugeVec,
    horizon_stalled_seconds: GaugeVec,
    stopped_partitions: IntGaugeVec,
    leads: IntGaugeVec,
    abandoned: IntCounter,
    probes: IntCounterVec,
    gaps: IntCounterVec,
    state_bytes: IntGaugeVec,
}

/// How the threads do.
#[derive(Debug, Clone)]
struct Workers {
    restore_seconds: Histogram,
    restoring_partitions: IntGaugeVec,
    assigned_partitions: IntGaugeVec,
    rebalances: IntCounterVec,
    transactions: IntCounterVec,
    transaction_seconds: Histogram,
    commit_timestamp_seconds: Gauge,
    up_workers: IntGauge,
}

/// What the threads have to put up with.
#[derive(Debug, Clone)]
struct Hindrances {
    clock_steps: IntCounter,
    clock_lead_seconds: GaugeVec,
    reading_held: IntGaugeVec,
    kafka_errors: IntCounterVec,
    kafka_trouble: IntGaugeVec,
}

/// Seconds that a response may take, before the targets of the policies are added.
const RESPONSE_SECONDS: [f64; 16] = [
    15.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    900.0,
    1800.0,
    3600.0,
    7200.0,
    14400.0,
    28800.0,
    86400.0,
    172_800.0,
    604_800.0,
    1_209_600.0,
];

const DELAY_SECONDS: [f64; 15] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 300.0];

/// How a breach was detected.
const LIVE: &str = "live";
const LATE_DATA: &str = "late_data";

/// The states of running clocks, in the order in which they are counted.
const STATES: [&str; 4] = ["on_track", "at_risk", "overdue", "paused"];

const CLOCK: &[&str] = &["policy", "objective"];

impl Metrics {
    /// Metrics of a process that judges by these policies; what can be zero is there from the start.
    pub fn new(policies: &Policies, topics: &[String]) -> Result<Metrics, prometheus::Error> {
        let registry = Registry::new();
        let make = Make { registry: &registry };
        let metrics = Metrics {
            promises: Promises::new(&make)?,
            events: Events::new(&make)?,
            clocks: Clocks::new(&make, policies)?,
            partitions: Partitions::new(&make)?,
            workers: Workers::new(&make)?,
            hindrances: Hindrances::new(&make)?,
            registry,
        };
        metrics.prepare(topics);
        metrics.promise(policies);
        #[cfg(target_os = "linux")]
        metrics.registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// Sets what is constant, and makes what can be counted start at zero.
    fn prepare(&self, topics: &[String]) {
        let revision = option_env!("OVERDUE_REVISION").unwrap_or("unknown");
        self.promises.build_info.with_label_values(&[env!("CARGO_PKG_VERSION"), revision]).set(1);
        for topic in topics {
            for reason in Reason::ALL {
                self.events.rejected.with_label_values(&[topic, reason.as_str()]);
            }
            for kind in crate::sla::fact::Kind::ALL {
                self.events.consumed.with_label_values(&[topic, kind.as_str()]);
            }
            for counter in [
                &self.events.duplicate,
                &self.events.conflicting,
                &self.events.late,
                &self.events.ignored,
                &self.partitions.gaps,
            ] {
                counter.with_label_values(&[topic]);
            }
        }
        for (counter, values) in [
            (&self.workers.transactions, ["committed", "aborted"].as_slice()),
            (&self.workers.rebalances, &["assigned", "revoked", "lost"]),
            (&self.partitions.probes, &["answered", "unanswered", "refused", "unconfirmed", "deposed"]),
            (&self.promises.reloads, &["loaded", "unchanged", "failed"]),
        ] {
            values.iter().for_each(|value| drop(counter.with_label_values(&[value])));
        }
        for kind in Trouble::ALL {
            self.hindrances.kafka_errors.with_label_values(&[kind.as_str()]);
            self.kafka_trouble(kind, false);
        }
        for mode in [LIVE, LATE_DATA] {
            self.clocks.detection_delay_seconds.with_label_values(&[mode]);
        }
    }

    /// These policies are the ones loaded last; what can be counted of them is there from now on.
    pub fn promise(&self, policies: &Policies) {
        self.promises.policy_info.reset();
        self.promises.target_seconds.reset();
        self.promises.goal_ratio.reset();
        for policy in &policies.policies {
            for objective in &policy.objectives {
                self.say_promise(policies, policy, objective);
                self.prepare_clocks(&policy.name, policies.name(objective.name), objective);
            }
        }
    }

    fn say_promise(&self, policies: &Policies, policy: &Policy, objective: &Objective) {
        let labels = [policy.name.as_str(), policies.name(objective.name)];
        let severity = objective.severity.as_deref().unwrap_or_default();
        let calendar = policies.calendar(objective).map_or("", |named| named.name.as_str());
        let info = [labels[0], labels[1], severity, calendar, &policies.version];
        self.promises.policy_info.with_label_values(&info).set(1);
        if let Target::Elapsed(ms) | Target::Open(ms) = objective.target() {
            self.promises.target_seconds.with_label_values(&labels).set(ms as f64 / 1000.0);
        }
        if let Some(goal) = policy.attainment_goal {
            self.promises.goal_ratio.with_label_values(&labels).set(goal);
        }
    }

    /// Makes what can be counted of an objective's clocks start at zero.
    fn prepare_clocks(&self, policy: &str, name: &str, objective: &Objective) {
        let labels = [policy, name];
        self.clocks_running(policy, name, [0; 4]);
        self.clocks.clocks_started.with_label_values(&labels);
        self.clocks.response_seconds.with_label_values(&labels);
        self.clocks.warnings.with_label_values(&labels);
        if let Some(penalty) = &objective.penalty {
            let labels = [policy, name, &penalty.currency];
            self.clocks.penalties.with_label_values(&labels);
            self.clocks.penalties_cancelled.with_label_values(&labels);
        }
        for outcome in ["met", "breached", "cancelled", "waived"] {
            self.clocks.clocks_closed.with_label_values(&[policy, name, outcome]);
        }
        let severity = objective.severity.as_deref().unwrap_or_default();
        for transition in ["breached", "escalated", "resolved", "ended", "waived", "retracted"] {
            self.clocks.breaches.with_label_values(&[policy, name, severity, transition]);
        }
    }

    /// Everything in the text format of Prometheus.
    pub fn expose(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// Events of a kind were read and count.
    pub fn events_consumed(&self, topic: &str, kind: &str, count: u64) {
        self.events.consumed.with_label_values(&[topic, kind]).inc_by(count);
    }

    /// A record was rejected.
    pub fn event_rejected(&self, topic: &str, reason: Reason) {
        self.events.rejected.with_label_values(&[topic, reason.as_str()]).inc();
    }

    /// Events were known already.
    pub fn events_duplicate(&self, topic: &str, count: u64) {
        self.events.duplicate.with_label_values(&[topic]).inc_by(count);
    }

    /// Events repeated an identity with other content.
    pub fn events_conflicting(&self, topic: &str, count: u64) {
        self.events.conflicting.with_label_values(&[topic]).inc_by(count);
    }

    /// Events came late.
    pub fn events_late(&self, topic: &str, count: u64) {
        self.events.late.with_label_values(&[topic]).inc_by(count);
    }

    /// Events of unknown types were passed over.
    pub fn events_ignored(&self, topic: &str, count: u64) {
        self.events.ignored.with_label_values(&[topic]).inc_by(count);
    }

    /// A clock started.
    pub fn clock_started(&self, policy: &str, objective: &str) {
        self.clocks.clocks_started.with_label_values(&[policy, objective]).inc();
    }

    /// A clock got its outcome. One that is waived is counted beside its breach. Rule T17.
    pub fn clock_closed(&self, policy: &str, objective: &str, step: Step) {
        if matches!(step, Step::Met | Step::Breached | Step::Cancelled | Step::Undecidable | Step::Waived) {
            self.clocks.clocks_closed.with_label_values(&[policy, objective, step.as_str()]).inc();
        }
    }

    /// A warning was written.
    pub fn warned(&self, policy: &str, objective: &str) {
        self.clocks.warnings.with_label_values(&[policy, objective]).inc();
    }

    /// A breach costs so much, or it does again. Rule T19.
    pub fn penalty_due(&self, policy: &str, objective: &str, penalty: &Penalty) {
        let amount = f64::try_from(penalty.amount).unwrap_or_default();
        self.clocks.penalties.with_label_values(&[policy, objective, &penalty.currency]).inc_by(amount);
    }

    /// A breach that was counted costs nothing after all. Rule T19.
    pub fn penalty_cancelled(&self, policy: &str, objective: &str, penalty: &Penalty) {
        let amount = f64::try_from(penalty.amount).unwrap_or_default();
        let labels = [policy, objective, &penalty.currency];
        self.clocks.penalties_cancelled.with_label_values(&labels).inc_by(amount);
    }

    /// The policy file was read again: it is `loaded`, `unchanged` or `failed`.
    pub fn reloaded(&self, result: &str) {
        self.promises.reloads.with_label_values(&[result]).inc();
        self.promises.reload_failed.set(i64::from(result == "failed"));
    }

    /// Whether a partition keeps its policies because the file that was loaded is an older one. Rule T13.
    pub fn older_policies(&self, partition: i32, is_kept: bool) {
        self.promises.kept_older.with_label_values(&[&partition.to_string()]).set(i64::from(is_kept));
    }

    /// A record was written to the breach topic.
    pub fn breach_written(&self, policy: &str, objective: &str, severity: &str, transition: &str) {
        self.clocks.breaches.with_label_values(&[policy, objective, severity, transition]).inc();
    }

    /// A clock was met, early or late.
    pub fn responded(&self, policy: &str, objective: &str, counted_ms: i64) {
        self.clocks
            .response_seconds
            .with_label_values(&[policy, objective])
            .observe(counted_ms as f64 / 1000.0);
    }

    /// A breach was committed this long after it could first have been proven.
    pub fn breach_detected(&self, delay_ms: i64, is_late_data: bool) {
        let mode = if is_late_data { LATE_DATA } else { LIVE };
        self.clocks
            .detection_delay_seconds
            .with_label_values(&[mode])
            .observe(delay_ms.max(0) as f64 / 1000.0);
    }

    /// So many more or fewer clocks of an objective run on track, at risk, overdue, and are paused.
    pub fn clocks_running(&self, policy: &str, objective: &str, more: [i64; 4]) {
        for (state, more) in STATES.iter().zip(more) {
            self.clocks.open_clocks.with_label_values(&[policy, objective, state]).add(more);
        }
    }

    /// How far a partition is.
    pub fn partition_is(
        &self,
        partition: i32,
        horizon: Option<Instant>,
        stalled_ms: i64,
        lag: i64,
        leads: usize,
    ) {
        let label = partition.to_string();
        let horizon_seconds = horizon.map_or(0.0, |horizon| horizon.millis() as f64 / 1000.0);
        self.partitions.horizon_timestamp_seconds.with_label_values(&[&label]).set(horizon_seconds);
        self.partitions.horizon_stalled_seconds.with_label_values(&[&label]).set(stalled_ms as f64 / 1000.0);
        self.partitions.lag_records.with_label_values(&[&label]).set(lag);
        self.partitions.leads.with_label_values(&[&label]).set(leads as i64);
    }

    /// A partition belongs to somebody else now.
    pub fn partition_gone(&self, partition: i32) {
        let label = partition.to_string();
        // A series that is not there cannot be removed, which is as well.
        let _ = self.partitions.horizon_timestamp_seconds.remove_label_values(&[&label]);
        let _ = self.partitions.horizon_stalled_seconds.remove_label_values(&[&label]);
        let _ = self.partitions.lag_records.remove_label_values(&[&label]);
        let _ = self.partitions.leads.remove_label_values(&[&label]);
        let _ = self.partitions.stopped_partitions.remove_label_values(&[&label]);
        let _ = self.partitions.state_bytes.remove_label_values(&[&label]);
        let _ = self.promises.kept_older.remove_label_values(&[&label]);
    }

    /// A partition was given up for a permanent error.
    pub fn partition_stopped(&self, partition: i32) {
        self.partitions.stopped_partitions.with_label_values(&[&partition.to_string()]).set(1);
    }

    /// A partition was restored.
    pub fn restored(&self, took: Duration) {
        self.workers.restore_seconds.observe(took.as_secs_f64());
    }

    /// What a worker has.
    pub fn worker_has(&self, worker: usize, assigned: usize, restoring: usize) {
        let worker = worker.to_string();
        self.workers.assigned_partitions.with_label_values(&[&worker]).set(assigned as i64);
        self.workers.restoring_partitions.with_label_values(&[&worker]).set(restoring as i64);
    }

    /// The group moved partitions.
    pub fn rebalanced(&self, kind: &str) {
        self.workers.rebalances.with_label_values(&[kind]).inc();
    }

    /// A transaction was committed.
    pub fn committed(&self, at: Instant, took: Duration) {
        self.workers.transactions.with_label_values(&["committed"]).inc();
        self.workers.transaction_seconds.observe(took.as_secs_f64());
        self.workers.commit_timestamp_seconds.set(at.millis() as f64 / 1000.0);
    }

    /// A transaction was aborted or lost, and undone.
    pub fn aborted(&self) {
        self.workers.transactions.with_label_values(&["aborted"]).inc();
    }

    /// Leads were forgotten with a breach standing.
    pub fn leads_abandoned(&self, count: usize) {
        self.partitions.abandoned.inc_by(count as u64);
    }

    /// A probe came back.
    pub fn probed(&self, result: &str) {
        self.partitions.probes.with_label_values(&[result]).inc();
    }

    /// Records of a topic were lost before they were read.
    pub fn log_lost(&self, topic: &str) {
        self.partitions.gaps.with_label_values(&[topic]).inc();
    }

    /// The leads of a partition take so much memory.
    pub fn state_takes(&self, partition: i32, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.partitions.state_bytes.with_label_values(&[&partition.to_string()]).set(bytes);
    }

    /// Whether a worker reads nothing because the state is too large.
    pub fn reading_held(&self, worker: usize, is_held: bool) {
        self.hindrances.reading_held.with_label_values(&[&worker.to_string()]).set(i64::from(is_held));
    }

    /// The wall clock was set.
    pub fn clock_stepped(&self) {
        self.hindrances.clock_steps.inc();
    }

    /// By how much the local clock leads the brokers' at least, as a worker sees it.
    pub fn clock_leads(&self, worker: usize, lead_ms: i64) {
        let seconds = lead_ms as f64 / 1000.0;
        self.hindrances.clock_lead_seconds.with_label_values(&[&worker.to_string()]).set(seconds);
    }

    /// A client met an error of its brokers.
    pub fn kafka_failed(&self, kind: Trouble) {
        self.hindrances.kafka_errors.with_label_values(&[kind.as_str()]).inc();
    }

    /// Whether a kind of trouble lasts.
    pub fn kafka_trouble(&self, kind: Trouble, lasts: bool) {
        self.hindrances.kafka_trouble.with_label_values(&[kind.as_str()]).set(i64::from(lasts));
    }

    /// A worker began or ended.
    pub fn worker_count(&self, by: i64) {
        self.workers.up_workers.add(by);
    }
}

fn response_buckets(policies: &Policies) -> Vec<f64> {
    let objectives = policies.policies.iter().flat_map(|policy| &policy.objectives);
    let targets = objectives.filter_map(|objective| match objective.target() {
        Target::Elapsed(ms) | Target::Open(ms) => Some(ms as f64 / 1000.0),
        Target::OpenDays(_) => None,
    });
    let mut buckets: Vec<f64> = RESPONSE_SECONDS.into_iter().chain(targets).collect();
    buckets.sort_by(f64::total_cmp);
    buckets.dedup();
    buckets
}

impl Promises {
    fn new(make: &Make<'_>) -> Result<Promises, prometheus::Error> {
        Ok(Promises {
            build_info: make.gauges(
                "build_info",
                "Build of this process; always 1.",
                &["version", "revision"],
            )?,
            policy_info: make.gauges(
                "policy_info",
                "Promises in force; always 1. Join on policy and objective.",
                &["policy", "objective", "severity", "calendar", "policy_version"],
            )?,
            target_seconds: make.seconds(
                "objective_target_seconds",
                "Time the objective allows, on its own calendar; absent where it is counted in open days.",
                CLOCK,
            )?,
            goal_ratio: make.seconds(
                "objective_attainment_goal_ratio",
                "Share of clocks that should be met.",
                CLOCK,
            )?,
            reloads: make.counters(
                "policy_reloads_total",
                "Times that the policy file was read again, by what came of it.",
                &["result"],
            )?,
            reload_failed: make.add(IntGauge::with_opts(opts(
                "policy_reload_failed",
                "1 while the policy file cannot be used as it is and the one before stays in force.",
            ))?)?,
            kept_older: make.gauges(
                "policy_older",
                "1 while a partition keeps its policies because the revision of the loaded file is lower.",
                &["partition"],
            )?,
        })
    }
}

impl Events {
    fn new(make: &Make<'_>) -> Result<Events, prometheus::Error> {
        Ok(Events {
            consumed: make.counters(
                "events_consumed_total",
                "Input records read, by type of event; rejected ones have none.",
                &["topic", "type"],
            )?,
            rejected: make.counters(
                "events_rejected_total",
                "Input records sent to the dead-letter topic.",
                &["topic", "reason"],
            )?,
            duplicate: make.counters(
                "events_duplicate_total",
                "Events that were known already and changed nothing.",
                &["topic"],
            )?,
            conflicting: make.counters(
                "events_conflicting_total",
                "Events that repeat a known identity with other content; the first counts.",
                &["topic"],
            )?,
            late: make.counters(
                "events_late_total",
                "Events that reached the log more than the grace after they happened.",
                &["topic"],
            )?,
            ignored: make.counters(
                "events_ignored_total",
                "Events of unknown types passed over as configured.",
                &["topic"],
            )?,
        })
    }
}

impl Clocks {
    fn new(make: &Make<'_>, policies: &Policies) -> Result<Clocks, prometheus::Error> {
        Ok(Clocks {
            clocks_started: make.counters("clocks_started_total", "Clocks started.", CLOCK)?,
            clocks_closed: make.counters("clocks_closed_total", "Clocks that got their outcome; a breach counts when the deadline passes, not when someone answers at last. One that is waived counts as waived and as breached.", &["policy", "objective", "outcome"])?,
            breaches: make.counters("breaches_total", "Records written to the breach topic.", &["policy", "objective", "severity", "transition"])?,
            warnings: make.counters("warnings_total", "Records written to the topic of warnings.", CLOCK)?,
            penalties: make.sums("penalties_total", "Penalties of breaches, in units of the currency.", &["policy", "objective", "currency"])?,
            penalties_cancelled: make.sums("penalties_cancelled_total", "Penalties counted before whose breach was waived or retracted; what is due is penalties_total less this.", &["policy", "objective", "currency"])?,
            open_clocks: make.gauges("open_clocks", "Clocks running now; the states do not overlap. A pause whose end is known does not make one paused.", &["policy", "objective", "state"])?,
            response_seconds: make.histograms("response_duration_seconds", "Time a clock took to be met, early or late, on its own calendar.", response_buckets(policies), CLOCK)?,
            detection_delay_seconds: make.histograms("detection_delay_seconds", "From the end of grace after a deadline to the commit of its breach; late_data where the events themselves came late.", DELAY_SECONDS.to_vec(), &["mode"])?,
        })
    }
}

impl Partitions {
    fn new(make: &Make<'_>) -> Result<Partitions, prometheus::Error> {
        Ok(Partitions {
            lag_records: make.gauges(
                "kafka_consumer_lag_records",
                "Records of a partition known to be unread, over all input topics.",
                &["partition"],
            )?,
            horizon_timestamp_seconds: make.seconds(
                "horizon_timestamp_seconds",
                "Unix time up to which every event of a partition is known; 0 while none is.",
                &["partition"],
            )?,
            horizon_stalled_seconds: make.seconds(
                "horizon_stalled_seconds",
                "For how long something was due in a partition that could not be proven.",
                &["partition"],
            )?,
            stopped_partitions: make.gauges(
                "stopped_partition",
                "Partitions given up for a permanent error; 1 for each.",
                &["partition"],
            )?,
            leads: make.gauges("leads", "Leads kept.", &["partition"])?,
            abandoned: make.add(IntCounter::with_opts(opts(
                "leads_abandoned_total",
                "Leads forgotten with a breach standing and nothing more to say.",
            ))?)?,
            probes: make.counters(
                "probes_total",
                "Questions for a log's end, by what came of them.",
                &["result"],
            )?,
            state_bytes: make.gauges(
                "state_bytes",
                "About how many bytes of memory the leads of a partition take.",
                &["partition"],
            )?,
            gaps: make.counters(
                "log_gaps_total",
                "Times that records of a topic were found lost before they were read; what was open then is undecidable.",
                &["topic"],
            )?,
        })
    }
}

impl Workers {
    fn new(make: &Make<'_>) -> Result<Workers, prometheus::Error> {
        Ok(Workers {
            restore_seconds: make
                .histogram("restore_duration_seconds", "Time to restore a partition from the changelog.")?,
            restoring_partitions: make.gauges(
                "restoring_partitions",
                "Partitions being restored, by worker.",
                &["worker"],
            )?,
            assigned_partitions: make.gauges(
                "assigned_partitions",
                "Partitions that the group gave this process, by worker.",
                &["worker"],
            )?,
            rebalances: make.counters("rebalances_total", "Rebalances of the consumer group.", &["kind"])?,
            transactions: make.counters("transactions_total", "Transactions by result.", &["result"])?,
            transaction_seconds: make
                .histogram("transaction_duration_seconds", "Time to write and commit a transaction.")?,
            commit_timestamp_seconds: make.add(Gauge::with_opts(opts(
                "commit_last_success_timestamp_seconds",
                "Unix time of the last commit.",
            ))?)?,
            up_workers: make.add(IntGauge::with_opts(opts("workers", "Worker threads running."))?)?,
        })
    }
}

impl Hindrances {
    fn new(make: &Make<'_>) -> Result<Hindrances, prometheus::Error> {
        Ok(Hindrances {
            clock_steps: make.add(IntCounter::with_opts(opts(
                "clock_steps_total",
                "Times the wall clock was set while the service ran; proofs under way start over.",
            ))?)?,
            clock_lead_seconds: make.seconds(
                "clock_lead_seconds",
                "By how much the local clock leads the brokers' at least; beyond `clock_skew_max` nothing is said.",
                &["worker"],
            )?,
            reading_held: make.gauges(
                "reading_held",
                "1 while a worker reads nothing because the state is larger than `state_bytes_max`.",
                &["worker"],
            )?,
            kafka_errors: make.counters(
                "kafka_errors_total",
                "Errors that clients met at their brokers, by what is wrong.",
                &["kind"],
            )?,
            kafka_trouble: make.gauges(
                "kafka_trouble",
                "Whether something is wrong with the brokers now: 1 while it lasts.",
                &["kind"],
            )?,
        })
    }
}

/// Makes metrics and enters them in a registry.
struct Make<'a> {
    registry: &'a Registry,
}

impl Make<'_> {
    fn add<C: Collector + Clone + 'static>(&self, collector: C) -> Result<C, prometheus::Error> {
        self.registry.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        self.add(IntCounterVec::new(opts(name, help), labels)?)
    }

    /// Counters that are no whole numbers.
    fn sums(&self, name: &str, help: &str, labels: &[&str]) -> Result<CounterVec, prometheus::Error> {
        self.add(CounterVec::new(opts(name, help), labels)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
        self.add(IntGaugeVec::new(opts(name, help), labels)?)
    }

    /// Gauges that are no whole numbers.
    fn seconds(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, prometheus::Error> {
        self.add(GaugeVec::new(opts(name, help), labels)?)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        buckets: Vec<f64>,
        labels: &[&str],
    ) -> Result<HistogramVec, prometheus::Error> {
        self.add(HistogramVec::new(HistogramOpts::from(opts(name, help)).buckets(buckets), labels)?)
    }

    fn histogram(&self, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
        let opts = HistogramOpts::from(opts(name, help)).buckets(DELAY_SECONDS.to_vec());
        self.add(Histogram::with_opts(opts)?)
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("overdue_{name}"), help)
}
