//! `overdue simulate`: leads as in the demo, for a cluster of one's own.

use std::time::Duration;

use super::Failure;
use super::demo::positive;
use super::run::{runtime, start_log};
use crate::demo::leads::Leads;
use crate::kafka::mock::Feeder;
use crate::serve;

/// Send simulated leads to a topic of your Kafka, until Ctrl-C
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  overdue simulate --brokers localhost:9092 --topic lead-events --speed 600"
)]
pub struct Args {
    /// Addresses of brokers, separated by commas
    #[arg(long, value_name = "HOST:PORT")]
    pub brokers: String,
    /// The topic, which must exist
    #[arg(long, value_name = "NAME", default_value = "lead-events")]
    pub topic: String,
    /// New leads a second
    #[arg(long, value_name = "COUNT", default_value_t = 2.0, value_parser = positive)]
    pub leads_per_second: f64,
    /// How many times as fast as in life the reps answer
    #[arg(long, value_name = "FACTOR", default_value_t = 60.0, value_parser = positive)]
    pub speed: f64,
    /// The same number gives the same leads
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
}

/// Sends until it is asked to end.
pub fn run(args: &Args) -> Result<(), Failure> {
    start_log("warn", None)?;
    let failed = |error: crate::runtime::port::Error| Failure::Failed(error.to_string());
    let feeder = Feeder::connect(&args.brokers).map_err(failed)?;
    let start = serve::wall_clock();
    let leads = Leads::new(args.seed, start, args.leads_per_second, args.speed);
    let mut leads = leads.named(&format!("lead-{:x}", start.millis() / 1000));
    runtime()?.block_on(async {
        let end = serve::asked_to_end();
        tokio::pin!(end);
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        loop {
            tokio::select! {
                () = &mut end => break,
                _ = tick.tick() => {}
            }
            for event in leads.until(serve::wall_clock()) {
                feeder.send(&args.topic, event.lead_id.as_bytes(), event.value.as_bytes()).map_err(failed)?;
            }
        }
        println!("{} leads", leads.created());
        feeder.flush(Duration::from_secs(10)).map_err(failed)
    })
}
