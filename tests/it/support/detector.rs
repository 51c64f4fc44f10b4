//! `overdue run` as a process of its own: how it is set up, started, watched and ended.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant as Clock};

use overdue::sla::instant::Instant;
use serde_json::Value;
use tempfile::TempDir;

use super::kafka::unique;
use super::{Kafka, Record};

/// No condition takes so long unless something is broken.
const WITHIN: Duration = Duration::from_secs(90);

/// No page takes so long.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Waits for a condition; what it waits for is said where it does not come.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    wait_for(what, || if is_so() { Ok(()) } else { Err(String::new()) });
}

/// Waits for a value; what it waits for, and why it is not there, is said where it does not come.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Clock::now() + WITHIN;
    loop {
        match look() {
            Ok(found) => return found,
            Err(why) => assert!(Clock::now() < deadline, "waited {WITHIN:?} in vain until {what}: {why}"),
        }
        sleep(Duration::from_millis(50));
    }
}

/// Waits for the wall clock.
pub fn wait_until_past(instant: Instant) {
    let left = instant.since(super::feed::now());
    sleep(Duration::from_millis(u64::try_from(left + 1).unwrap_or(0)));
}

/// One service: its topics, its group, its policies, and what differs from the usual settings.
pub struct Job<'a> {
    pub kafka: &'a Kafka,
    pub inputs: Vec<String>,
    pub breaches: String,
    pub warnings: String,
    pub dead_letter: String,
    pub changelog: String,
    pub group: String,
    folder: TempDir,
    settings: BTreeMap<String, String>,
}

impl<'a> Job<'a> {
    /// A service of one input topic.
    pub fn new(kafka: &'a Kafka, partitions: i32, policies: &str) -> Self {
        Self::of_inputs(kafka, vec![kafka.create_topic("leads", partitions, &[])], policies)
    }

    /// A service of these input topics, with a short grace.
    pub fn of_inputs(kafka: &'a Kafka, inputs: Vec<String>, policies: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let job = Self {
            kafka,
            inputs,
            breaches: unique("breaches"),
            warnings: unique("warnings"),
            dead_letter: unique("dead"),
            changelog: unique("state"),
            group: unique("overdue"),
            folder,
            settings: BTreeMap::new(),
        };
        job.promise(policies);
        job.set("input.grace", "500ms").set("kafka.properties.session.timeout.ms", "6000")
    }

    /// Writes other policies.
    pub fn promise(&self, policies: &str) {
        fs::write(self.policies(), policies).expect("the policies");
    }

    /// Changes a setting.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The first input topic.
    pub fn input(&self) -> &str {
        &self.inputs[0]
    }

    /// Starts a process; without an instance it has no name.
    pub fn start(&self, instance: &str) -> Detector {
        self.start_logging(instance, "info,overdue=debug")
    }

    /// As [`Job::start`], with another filter of the log.
    pub fn start_logging(&self, instance: &str, filter: &str) -> Detector {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let log = self.folder.path().join(format!("{}.log", COUNT.fetch_add(1, Ordering::Relaxed)));
        let mut command = self.service(instance, filter);
        command.stderr(File::create(&log).expect("a log file"));
        Detector { process: command.spawn().expect("overdue starts"), log, http: OnceLock::new() }
    }

    /// Starts a process and waits until it has taken over what the group gives it.
    pub fn start_ready(&self, instance: &str) -> Detector {
        let mut detector = self.start(instance);
        detector.wait_until_ready();
        detector
    }

    /// Runs a process that must end by itself; returns its exit code and what it said.
    pub fn refusal(&self) -> (Option<i32>, String) {
        let mut detector = self.start("");
        (detector.wait_until_ended().code(), detector.said())
    }

    /// What has been written to the breach topic.
    pub fn said(&self) -> Vec<Said> {
        let there_is = self.kafka.has_topic(&self.breaches);
        let records = if there_is { self.kafka.read_committed(&self.breaches) } else { Vec::new() };
        records.iter().map(Said::of).collect()
    }

    /// What has been written to the dead-letter topic.
    pub fn dead_letters(&self) -> Vec<Record> {
        let there_is = self.kafka.has_topic(&self.dead_letter);
        if there_is { self.kafka.read_committed(&self.dead_letter) } else { Vec::new() }
    }

    /// What `overdue replay` says of events until now.
    pub fn replayed(&self, lines: &str) -> Vec<Said> {
        let events = self.folder.path().join("events.jsonl");
        fs::write(&events, lines).expect("the events");
        let mut command = Command::new(env!("CARGO_BIN_EXE_overdue"));
        let until = super::feed::now().to_string();
        command.args(["replay", "--until", &until, "--breaches", "-", "--policies"]);
        let done = command.arg(self.policies()).arg(events).output().expect("overdue starts");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).lines().map(Said::parse).collect()
    }

    /// Runs `overdue verify` on what this service did.
    pub fn verify(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_overdue"));
        command
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .env_remove("OVERDUE_CONFIG")
            .arg("verify");
        self.configure(&mut command, "");
        command.args(args).output().expect("overdue starts")
    }

    /// Fails unless `overdue verify` finds everything as it should be; returns how many transitions stand.
    pub fn assert_verified(&self) -> u64 {
        let done = self.verify(&["--wait", "10s", "--output", "json"]);
        let (report, why) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{report}{why}");
        let report: Value = serde_json::from_str(&report).expect("a report");
        report["matched"].as_u64().expect("a count")
    }

    fn policies(&self) -> PathBuf {
        self.folder.path().join("policies.yaml")
    }

    /// Writes a file beside the policies, and returns where it is.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    /// Runs another command with these settings; returns its exit code and everything it said.
    pub fn command(&self, words: &str) -> (Option<i32>, String) {
        let mut command = self.overdue(&words.split(' ').collect::<Vec<_>>(), "");
        let done = command.stdout(Stdio::piped()).output().expect("overdue starts");
        let said = [done.stdout, done.stderr].concat();
        (done.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    fn service(&self, instance: &str, filter: &str) -> Command {
        self.overdue(&["run", "--log", filter, "--log-format", "text"], instance)
    }

    fn overdue(&self, words: &[&str], instance: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_overdue"));
        command.current_dir(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
        command.env_remove("OVERDUE_CONFIG").args(words);
        self.configure(&mut command, instance);
        command
    }

    /// Adds the settings.
    fn configure(&self, command: &mut Command, instance: &str) {
        let policies = self.policies().display().to_string();
        let own = [
            ("kafka.brokers", self.kafka.bootstrap()),
            ("kafka.group", &self.group),
            ("kafka.instance", instance),
            ("output.breaches", &self.breaches),
            ("output.warnings", &self.warnings),
            ("output.dead_letter", &self.dead_letter),
            ("changelog", &self.changelog),
            ("policies", &policies),
            ("http.listen", "127.0.0.1:0"),
        ];
        let given = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in own.into_iter().chain(given) {
            command.arg("--set").arg(format!("{name}={value}"));
        }
        command.arg("--set").arg(format!("input.topics=[{}]", self.inputs.join(", ")));
    }
}

/// What a page answered.
pub struct Answer {
    pub status: u16,
    /// Status and header lines in lower case.
    pub head: String,
    pub body: String,
}

/// A running process, killed when the value is dropped.
pub struct Detector {
    process: Child,
    log: PathBuf,
    http: OnceLock<String>,
}

impl Detector {
    /// Ends it as a power cut would.
    pub fn kill(mut self) {
        self.end();
    }

    /// Asks it to end, and waits until it has.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait_until_ended()
    }

    /// Asks it to read its policies again.
    pub fn hang_up(&self) {
        self.signal("HUP");
    }

    /// Stops it where it is.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().expect("the state of a process")
    }

    fn wait_until_ended(&mut self) -> ExitStatus {
        let process = &mut self.process;
        let mut ended = || process.try_wait().expect("the state of a process");
        wait_for("the service has ended", || ended().ok_or_else(String::new))
    }

    /// Asks for a page; a process that does not listen gives none.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        self.ask("GET", path, &[]).map(|answer| (answer.status, answer.body))
    }

    /// Asks anything, with these header lines.
    pub fn ask(&self, method: &str, path: &str, headers: &[&str]) -> Option<Answer> {
        let more: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        self.say(&format!("{method} {path} HTTP/1.1\r\nHost: overdue\r\nConnection: close\r\n{more}\r\n"))
    }

    /// Says something to it, and reads until it hangs up; a process that does not listen gives nothing.
    pub fn say(&self, text: &str) -> Option<Answer> {
        let mut stream = TcpStream::connect(self.http()?).ok()?;
        stream.set_read_timeout(Some(ANSWER_WITHIN)).ok()?;
        // It may hang up before it has heard everything.
        let _ = stream.write_all(text.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer { status, head: head.to_lowercase(), body: body.to_owned() })
    }

    /// Waits until it has joined the group and restored what it was given.
    pub fn wait_until_ready(&mut self) {
        wait_until("the service is ready", || {
            self.assert_runs();
            self.get("/readyz").is_some_and(|(status, _)| status == 200)
        });
    }

    /// Where it listens, once it has said so.
    pub fn http(&self) -> Option<&String> {
        if self.http.get().is_none() {
            let said = self.said();
            let address = said.split(" http=").nth(1)?.split_once(['\n', ' '])?.0;
            self.http.get_or_init(|| address.to_owned());
        }
        self.http.get()
    }

    /// The sum of a metric over its labels, of those series whose labels contain a text.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        self.series(name, label).iter().sum()
    }

    /// Waits until it has taken in so many events.
    pub fn wait_until_consumed(&mut self, events: usize) {
        wait_until("the service has taken in the events", || {
            self.assert_runs();
            events as f64 <= self.metric("overdue_events_consumed_total", "")
        });
    }

    /// Waits until it knows of so many partitions everything that happened before an instant.
    pub fn wait_until_known(&mut self, partitions: usize, until: Instant) {
        wait_until("the horizon has come so far", || {
            self.assert_runs();
            let horizons = self.series("overdue_horizon_timestamp_seconds", "");
            horizons.len() == partitions && horizons.iter().all(|at| until.millis() as f64 <= at * 1000.0)
        });
    }

    /// What it has logged.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails where the process has ended.
    pub fn assert_runs(&mut self) {
        let ended = self.process.try_wait().expect("the state of a process");
        assert!(ended.is_none(), "the service ended with {ended:?}:\n{}", tail(&self.log));
    }

    fn series(&self, name: &str, label: &str) -> Vec<f64> {
        let Some((_, page)) = self.get("/metrics") else { return Vec::new() };
        let of = |line: &str| {
            let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
            let (labels, value) = rest.rsplit_once(' ')?;
            labels.contains(label).then(|| value.parse().ok()).flatten()
        };
        page.lines().filter_map(of).collect()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.process.id())]).status();
        assert!(sent.is_ok_and(|status| status.success()), "the service took no signal {name}");
    }

    fn end(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Detector {
    fn drop(&mut self) {
        let ready = thread::panicking().then(|| self.get("/readyz"));
        self.end();
        if let Some(ready) = ready {
            eprintln!("--- the end of {} {ready:?}\n{}", self.log.display(), tail(&self.log));
        }
    }
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// One output, as a reader of the breach topic gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub id: String,
    pub transition: String,
    pub lead_id: String,
    /// The output that a retraction takes back.
    pub retracts: Option<String>,
}

impl Said {
    fn of(record: &Record) -> Self {
        let said = Self::parse(record.value.as_deref().expect("an output"));
        assert_eq!(record.key.as_ref(), Some(&said.lead_id), "outputs are keyed by their lead");
        let id = record.headers.iter().find(|(name, _)| name == "ce_id").map(|(_, id)| id);
        assert_eq!(id, Some(&said.id), "the header names the output");
        said
    }

    fn parse(line: &str) -> Self {
        let event: Value = serde_json::from_str(line).expect("an output is JSON");
        let text = |path: &str| event.pointer(path).and_then(Value::as_str).map(str::to_owned);
        Self {
            id: text("/id").expect("an id"),
            transition: text("/data/transition").expect("a transition"),
            lead_id: text("/data/lead_id").expect("a lead"),
            retracts: text("/data/retracts/id"),
        }
    }
}
