//! What `state_bytes_max` is compared with, against what the system says: alone in its process.

#[path = "support/settings.rs"]
mod settings;

use std::fs;
use std::sync::Arc;

use overdue::config::read_policies;
use overdue::demo::leads::Leads;
use overdue::sla::engine::{Arrival, Effects, Engine};
use overdue::sla::instant::Instant;
use overdue::sla::rules::Rules;
use overdue::wire::decode::{self, Decoder};
use overdue::wire::record::Record;
use settings::SETTINGS;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const POLICIES: &str = include_str!("../benches/catch-up.policies.yaml");
const LEADS: f64 = 100_000.0;
const DAYS: i64 = 5;
const START: Instant = Instant::from_millis(1_767_600_000_000);

/// Bytes of memory that the process has, as the system counts them.
fn resident() -> f64 {
    let pages = fs::read_to_string("/proc/self/statm").expect("the system's figures");
    let pages: f64 = pages.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4096.0
}

#[test]
fn the_estimate_of_the_state_is_near_what_it_takes() {
    let policies = read_policies("policies.yaml", POLICIES).expect("good policies");
    let mut engine = Engine::new(Arc::new(Rules::new(Arc::new(policies))), SETTINGS);
    let mut decoder = Decoder::new(decode::Settings { future_skew_max_ms: 0, are_files: false });
    let mut leads = Leads::new(1, START, LEADS / (DAYS * 86_400) as f64, 1.0);
    let (empty, mut offset) = (resident(), 0);
    for minute in 1..=DAYS * 24 * 60 {
        let until = START.plus(minute * 60_000);
        for event in leads.until(until) {
            offset += 1;
            let (timestamp, key) = (Some(event.at), Some(event.lead_id.as_bytes()));
            let (value, headers) = (Some(event.value.as_bytes()), &[][..]);
            let record = Record { topic: 0, partition: 0, offset, timestamp, key, value, headers };
            let read = decoder.decode(&record).expect("a good event");
            engine.apply(&read.lead_id, read.fact, Arrival { at: event.at, recorded_at: timestamp });
        }
        while engine.advance(until.minus(5_000), 10_000, &mut Effects::default()) {}
        engine.store_mut().commit();
    }
    let (estimate, count) = (engine.store().bytes() as f64, engine.store().len());
    let taken = resident() - empty;
    println!(
        "{count} leads of {offset} events: {:.0} MB estimated, {:.0} MB resident, {:.0} bytes a lead",
        estimate / 1e6,
        taken / 1e6,
        taken / count as f64
    );
    assert!((0.75..=1.25).contains(&(estimate / taken)), "the estimate is {:.2} of it", estimate / taken);
}
