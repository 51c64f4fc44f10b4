//! What one event costs: reading it, entering it, and judging its lead.

#[path = "../tests/support/settings.rs"]
mod settings;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use overdue::config::read_policies;
use overdue::demo::leads::{Event, Leads};
use overdue::sla::engine::{Arrival, Effects, Engine};
use overdue::sla::instant::Instant;
use overdue::sla::rules::Rules;
use overdue::wire::decode::{self, Decoder};
use overdue::wire::encode::Encoder;
use overdue::wire::record::Record;
use settings::SETTINGS;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const POLICIES: &str = include_str!("catch-up.policies.yaml");

const START: Instant = Instant::from_millis(1_767_600_000_000);
const DAY_MS: i64 = 86_400_000;

fn rules() -> Arc<Rules> {
    let policies = read_policies("policies.yaml", POLICIES).unwrap_or_else(|problems| panic!("{problems}"));
    Arc::new(Rules::new(Arc::new(policies)))
}

/// A week of 10,000 leads, in the order of time.
fn events() -> Vec<Event> {
    let mut leads = Leads::new(1, START, 10_000.0 / 86_400.0, 1.0);
    let mut events = leads.until(START.plus(DAY_MS));
    let first_day = leads.created();
    events.extend(leads.until(START.plus(7 * DAY_MS)).into_iter().filter(|event| {
        event.lead_id.trim_start_matches("lead-").parse::<u64>().is_ok_and(|number| number <= first_day)
    }));
    events
}

fn record(offset: usize, event: &Event) -> Record<'_> {
    Record {
        topic: 0,
        partition: 0,
        offset: offset as i64,
        timestamp: Some(event.at),
        key: Some(event.lead_id.as_bytes()),
        value: Some(event.value.as_bytes()),
        headers: &[],
    }
}

fn filled(rules: &Arc<Rules>, events: &[Event]) -> Engine {
    let (mut engine, mut decoder) = (Engine::new(Arc::clone(rules), SETTINGS), decoder());
    for (offset, event) in events.iter().enumerate() {
        if let Ok(decoded) = decoder.decode(&record(offset, event)) {
            let arrival = Arrival { at: event.at, recorded_at: Some(event.at) };
            engine.apply(&decoded.lead_id, decoded.fact, arrival);
        }
    }
    engine.store_mut().commit();
    engine
}

fn decoder() -> Decoder {
    Decoder::new(decode::Settings { future_skew_max_ms: 300_000, are_files: false })
}

fn judge(mut engine: Engine, effects: &mut Effects) -> Engine {
    while engine.advance(START.plus(30 * DAY_MS), 1_000, effects) {}
    engine
}

fn bench(criterion: &mut Criterion) {
    let (rules, events) = (rules(), events());
    let mut group = criterion.benchmark_group("an event");
    group.throughput(Throughput::Elements(events.len() as u64)).sample_size(20);
    group.bench_function("is read", |bencher| {
        let mut decoder = decoder();
        bencher.iter(|| {
            for (offset, event) in events.iter().enumerate() {
                black_box(decoder.decode(&record(offset, event)).is_ok());
            }
        });
    });
    group.bench_function("is read and entered", |bencher| {
        bencher.iter_with_large_drop(|| filled(&rules, &events));
    });
    group.bench_function("is judged at last", |bencher| {
        bencher.iter_batched(
            || filled(&rules, &events),
            |engine| judge(engine, &mut Effects::default()),
            BatchSize::PerIteration,
        );
    });
    let mut effects = Effects::default();
    drop(judge(filled(&rules, &events), &mut effects));
    let encoder = Encoder::new(vec!["lead-events".to_owned()]);
    group.throughput(Throughput::Elements(effects.outputs.len() as u64));
    group.bench_function("has its outputs written", |bencher| {
        bencher.iter(|| {
            for output in &effects.outputs {
                black_box(encoder.encode(&rules, output, 0, START));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
