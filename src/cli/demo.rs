//! `overdue demo`: the service on a broker inside the process, with leads to watch.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Failure;
use super::run::{runtime, start_log};
use crate::config::{self, Config, Sources};
use crate::demo::leads::Leads;
use crate::demo::screen::{ROWS_MAX, Said, Screen};
use crate::kafka::admin;
use crate::kafka::mock::{Feeder, From, MockBroker, Tail};
use crate::runtime::shared::Shared;
use crate::serve;

const TOPIC: &str = "lead-events";
const BREACHES: &str = "overdue.breaches";
const PARTITIONS: i32 = 3;

/// Show the service at work, with leads to watch: needs neither Kafka nor configuration
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many times as fast as in life the reps answer; the promises are as much shorter
    #[arg(long, value_name = "FACTOR", default_value_t = 600.0, value_parser = positive)]
    pub speed: f64,
    /// New leads a second
    #[arg(long, value_name = "COUNT", default_value_t = 3.0, value_parser = positive)]
    pub leads_per_second: f64,
    /// Where metrics are served; where the port is taken, on another
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9464")]
    pub listen: SocketAddr,
    /// End by itself after so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<u64>,
    /// The same number gives the same leads
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// What is logged: error, warn, info, debug, trace, or a filter such as `warn,overdue=debug`
    #[arg(long, value_name = "FILTER", env = "OVERDUE_LOG", default_value = "error")]
    pub log: String,
}

/// Reads a number above zero.
pub(super) fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if number.is_finite() && number > 0.0 { Ok(number) } else { Err("must be above zero".to_owned()) }
}

/// Runs until it is asked to end.
pub fn run(args: &Args) -> Result<(), Failure> {
    start_log(&args.log, None)?;
    let topics = [TOPIC, BREACHES, "overdue.warnings", "overdue.changelog", "overdue.dead-letter"];
    let broker =
        MockBroker::start(PARTITIONS, &topics).map_err(|error| Failure::Failed(error.to_string()))?;
    let folder = Folder::new(&policies(args.speed))?;
    let config = configuration(broker.bootstrap(), &folder)?;
    runtime()?.block_on(demo(args, &config, &broker))
}

async fn demo(args: &Args, config: &Config, broker: &MockBroker) -> Result<(), Failure> {
    let listener = match serve::bind(args.listen).await {
        Ok(listener) => listener,
        Err(_) => serve::bind(SocketAddr::new(args.listen.ip(), 0)).await?,
    };
    let listens = listener.local_addr().map_err(|error| Failure::Failed(error.to_string()))?;
    let voice = serve::Voice::new(config)?;
    let layout = admin::assume(&serve::kafka_settings(config, 0));
    let layout = layout.map_err(|error| Failure::Failed(error.to_string()))?;
    let shared = serve::share(config, &layout, ROWS_MAX * 2, &voice);
    let stop = Arc::new(AtomicBool::new(false));
    let feeder = feed(args, broker, &stop)?;
    let watcher = watch(header(args, broker.bootstrap(), listens), broker, &shared, &feeder.1, &stop)?;
    let end = async {
        match args.seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => serve::asked_to_end().await,
        }
    };
    let served =
        serve::serve(config, &shared, &voice, serve::Pages::open(listener, config, &voice), end).await;
    stop.store(true, Ordering::Relaxed);
    let fed = joined(feeder.0);
    let breached = joined(watcher)?;
    fed?;
    println!("\nended: {breached} broken promises were said, each once");
    served.map_err(Failure::from)
}

fn header(args: &Args, bootstrap: &str, listens: SocketAddr) -> Vec<String> {
    let hour_s = 3600.0 / args.speed;
    vec![
        format!(
            "overdue demo: leads come in, reps answer as an audit of 2,241 companies found (HBR, 2011), {} times as fast",
            args.speed
        ),
        format!(
            "  promise    call every new lead within an hour, which is {hour_s:.1} s here; move it on within a day"
        ),
        format!("  broker     {bootstrap}, for any Kafka client: kcat -b {bootstrap} -C -t {BREACHES}"),
        format!("  metrics    http://{listens}/metrics"),
        "  said after at the earliest 500 ms, the grace that an event has to reach the log".to_owned(),
        "  end        Ctrl-C".to_owned(),
        String::new(),
    ]
}

/// What is promised, `speed` times as fast.
fn policies(speed: f64) -> String {
    let seconds = |hours: f64| (hours * 3600.0 / speed).round().max(1.0);
    format!(
        "pipeline: {{open: [new, working, qualified, proposal], won: [won], lost: [lost]}}\n\
         policies:\n\
         \x20 - name: everyone\n\
         \x20   attainment_goal: 0.8\n\
         \x20   objectives:\n\
         \x20     first-response: {{start: created, stop: contacted, within: {}s, severity: critical}}\n\
         \x20   stages: {{working: {}s, qualified: {}s}}\n",
        seconds(1.0),
        seconds(24.0),
        seconds(24.0)
    )
}

fn configuration(bootstrap: &str, folder: &Folder) -> Result<Config, Failure> {
    let sets = [
        format!("kafka.brokers={bootstrap}"),
        "kafka.group=overdue-demo".to_owned(),
        format!("input.topics=[{TOPIC}]"),
        "input.grace=500ms".to_owned(),
        "workers=1".to_owned(),
        format!("policies={}", folder.policies.display()),
    ];
    Ok(config::load(&Sources { sets: sets.to_vec(), ..Sources::default() })?)
}

type Counter = Arc<std::sync::atomic::AtomicU64>;

/// Sends leads until it is stopped.
fn feed(
    args: &Args,
    broker: &MockBroker,
    stop: &Arc<AtomicBool>,
) -> Result<(JoinHandle<Result<(), Failure>>, Counter), Failure> {
    let feeder = Feeder::connect(broker.bootstrap()).map_err(|error| Failure::Failed(error.to_string()))?;
    let mut leads = Leads::new(args.seed, serve::wall_clock(), args.leads_per_second, args.speed);
    let (stop, count) = (Arc::clone(stop), Counter::default());
    let counted = Arc::clone(&count);
    let thread = spawn("leads", move || {
        while !stop.load(Ordering::Relaxed) {
            for event in leads.until(serve::wall_clock()) {
                let sent = feeder.send(TOPIC, event.lead_id.as_bytes(), event.value.as_bytes());
                sent.map_err(|error| Failure::Failed(error.to_string()))?;
            }
            counted.store(leads.created(), Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    })?;
    Ok((thread, count))
}

/// Shows what is said until it is stopped; returns how many breaches that were.
fn watch(
    header: Vec<String>,
    broker: &MockBroker,
    shared: &Arc<Shared>,
    leads: &Counter,
    stop: &Arc<AtomicBool>,
) -> Result<JoinHandle<Result<u64, Failure>>, Failure> {
    let tail = Tail::follow(broker.bootstrap(), BREACHES, From::Beginning);
    let tail = tail.map_err(|error| Failure::Failed(error.to_string()))?;
    let (stop, shared, leads) = (Arc::clone(stop), Arc::clone(shared), Arc::clone(leads));
    spawn("screen", move || {
        let mut screen = Screen::new(header).map_err(screen_failed)?;
        while !stop.load(Ordering::Relaxed) {
            let mut wait = Duration::from_millis(200);
            while let Some((_, value)) = tail.poll(wait) {
                wait = Duration::ZERO;
                if let Some(said) = Said::read(&value) {
                    screen.say(said).map_err(screen_failed)?;
                }
            }
            let (upcoming, created) = (shared.board.upcoming(), leads.load(Ordering::Relaxed));
            let drawn = screen.draw(&upcoming, created, serve::wall_clock());
            drawn.map_err(screen_failed)?;
        }
        Ok(screen.breached())
    })
}

fn screen_failed(error: std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::NobodyReads,
        _ => Failure::Failed(format!("the terminal cannot be written to: {error}")),
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Failure> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.map_err(|error| Failure::Failed(format!("no thread can be started: {error}")))
}

fn joined<T>(thread: JoinHandle<Result<T, Failure>>) -> Result<T, Failure> {
    thread.join().unwrap_or_else(|_| Err(Failure::Failed("a thread panicked".to_owned())))
}

/// A folder that is gone with the demo, for the one file that it reads.
struct Folder {
    path: std::path::PathBuf,
    policies: std::path::PathBuf,
}

impl Folder {
    fn new(policies: &str) -> Result<Folder, Failure> {
        let path = std::env::temp_dir().join(format!("overdue-demo-{}", std::process::id()));
        let file = path.join("policies.yaml");
        std::fs::create_dir_all(&path)
            .and_then(|()| std::fs::write(&file, policies))
            .map_err(|error| Failure::Failed(format!("{}: {error}", file.display())))?;
        Ok(Folder { path, policies: file })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder for temporary files that stays behind does no harm.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
