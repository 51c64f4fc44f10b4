//! The service's configuration as checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::ops::{Deref, RangeInclusive};
use std::path::PathBuf;
use std::sync::Arc;

use super::cursor::{Cursor, Fields, unsupported};
use super::duration;
use super::policies::{Folder, read_policies_with};
use super::problem::{Problems, Report, listed};
use super::secret::{Secret, is_secret};
use super::settings::{Settings, Sources, read_text};
use crate::sla::instant::Instant;
use crate::sla::policy::Policies;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Longest commit interval, in milliseconds: transactions must end well before brokers abort them.
const COMMIT_INTERVAL_MS_MAX: i64 = 5000;
/// Shortest token, in characters: nobody guesses so many.
const TOKEN_CHARS_MIN: usize = 16;
/// Most worker threads.
const WORKERS_MAX: usize = 1024;

/// Properties the service decides itself, with what to do instead or why.
const OWN_PROPERTIES: &[(&str, &str)] = &[
    ("bootstrap.servers", "set `kafka.brokers`"),
    ("metadata.broker.list", "set `kafka.brokers`"),
    ("group.id", "set `kafka.group`"),
    ("group.instance.id", "set `kafka.instance`"),
    ("enable.auto.commit", "offsets are committed in the transaction of the breaches"),
    ("auto.commit.enable", "offsets are committed in the transaction of the breaches"),
    ("auto.commit.interval.ms", "set `commit_interval`"),
    ("enable.auto.offset.store", "offsets are committed in the transaction of the breaches"),
    ("auto.offset.reset", "where to start is decided by what was committed"),
    ("isolation.level", "facts of an aborted transaction must not count"),
    (
        "transactional.id",
        "it must be fixed per instance and worker, so that a restart fences its predecessor",
    ),
    ("enable.idempotence", "transactions need it"),
    ("partition.assignment.strategy", "partitions move by cooperative-sticky assignment"),
    ("group.protocol", "partitions move by cooperative-sticky assignment"),
    ("group.remote.assignor", "partitions move by cooperative-sticky assignment"),
];

/// The configuration of the service.
#[derive(Debug, Clone)]
pub struct Config {
    /// How Kafka is reached.
    pub kafka: Kafka,
    /// What is read.
    pub input: Input,
    /// How long leads are kept.
    pub retention: Retention,
    /// Where to is written.
    pub output: Output,
    /// The topic that holds the state.
    pub changelog: String,
    /// What was promised, with the text it was read from.
    pub policies: Arc<PolicyFile>,
    /// Worker threads; 0 is one a core.
    pub workers: usize,
    /// Time between commits, in milliseconds.
    pub commit_interval_ms: i64,
    /// How much the state of a process may take, in bytes; 0 is no limit.
    pub state_bytes_max: u64,
    /// How the service is asked.
    pub http: Http,
}

/// How the service is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What must be shown to see more than metrics and health.
    pub token: Option<Secret>,
}

/// A file of policies.
#[derive(Debug, Clone)]
pub struct PolicyFile {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
    /// The files it refers to, by the names it uses for them, relative to its folder.
    pub files: BTreeMap<String, String>,
    /// What that means.
    pub policies: Policies,
}

/// How Kafka is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kafka {
    /// Addresses separated by commas.
    pub brokers: String,
    /// The consumer group.
    pub group: String,
    /// A stable name of this process; `None` is a random one.
    pub instance: Option<String>,
    /// Settings of librdkafka, passed through.
    pub properties: Properties,
    /// Whether missing topics of the service's own are made.
    pub create_topics: bool,
}

/// Settings of librdkafka. Their values may be secrets and are not in the debug output.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(BTreeMap<String, String>);

/// What is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Topics, co-partitioned by lead, in the order that decides ties. Rule F3.
    pub topics: Vec<String>,
    /// How long after it happened an event may take to be in the log, in milliseconds.
    pub grace_ms: i64,
    /// How far after its record timestamp an event may be dated, in milliseconds. Rule F9.
    pub future_skew_max_ms: i64,
    /// How long judged facts can still be changed by late ones, in milliseconds. Rule H10.
    pub lateness_max_ms: i64,
    /// By how much the local clock may lead the brokers', in milliseconds. Rule H4.
    pub clock_skew_max_ms: i64,
    /// Most facts that are kept of a lead. Rule H10.
    pub facts_max: usize,
    /// What the key of a record is.
    pub keyed_by: KeyedBy,
    /// How producers choose the partition of a key.
    pub partitioner: Partitioner,
    /// What becomes of events of another type.
    pub unknown_types: UnknownTypes,
    /// What is dated before it is not spoken; `None` is the beginning. Rule H9.
    pub speak_from: Option<Instant>,
}

/// What the key of a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyedBy {
    /// The lead's id; any other key is misrouted.
    LeadId,
    /// Anything that sends all events of a lead to one partition.
    Any,
}

/// How producers choose the partition of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitioner {
    /// Found from the first records.
    Auto,
    /// The default of Java's client.
    Murmur2,
    /// The default of librdkafka.
    Crc32,
    /// Neither; the partition is not checked.
    Other,
}

/// What becomes of events of another type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownTypes {
    /// They go to the dead-letter topic.
    DeadLetter,
    /// They are passed over.
    Ignore,
}

/// How long leads are kept. Rule H10.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Of a closed lead, in milliseconds.
    pub closed_ms: i64,
    /// Of a lead that nothing can be said of any more, in milliseconds.
    pub idle_ms: i64,
}

/// Where to is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The topic of breaches and what becomes of them.
    pub breaches: String,
    /// The topic of warnings.
    pub warnings: String,
    /// The topic of clocks met or cancelled; `None` where it is not written.
    pub outcomes: Option<String>,
    /// The topic of rejected records.
    pub dead_letter: String,
}

impl Deref for Properties {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Config {
    /// What no log, error or page may hold.
    pub fn secrets(&self) -> Vec<&str> {
        let properties = self.kafka.properties.iter().filter(|(name, _)| is_secret(name));
        let token = self.http.token.iter().map(Secret::reveal);
        properties.map(|(_, value)| value.as_str()).chain(token).collect()
    }

    /// What is allowed and seldom meant.
    pub fn warnings(&self) -> Vec<String> {
        let property = |name: &str| self.kafka.properties.get(name).map(|value| value.to_lowercase());
        let is = |name: &str, values: &[&str]| {
            property(name).is_some_and(|found| values.contains(&found.as_str()))
        };
        let mut warnings = Vec::new();
        if !self.http.listen.ip().is_loopback() && self.http.token.is_none() {
            warnings.push(format!(
                "`http.listen` is {}, which others can reach, and there is no `http.token_file`: anyone there may \
                 ask this service everything",
                self.http.listen
            ));
        }
        if is("security.protocol", &["sasl_plaintext"]) {
            let why = "anyone on the way can read what is sent";
            warnings.push(format!("`kafka.properties.security.protocol` is `sasl_plaintext`: {why}"));
        }
        if is("enable.ssl.certificate.verification", &["false", "f", "0"]) {
            let name = "enable.ssl.certificate.verification";
            warnings.push(format!("`kafka.properties.{name}` is off: anyone may pose as the brokers"));
        }
        if is("ssl.endpoint.identification.algorithm", &["none"]) {
            let name = "ssl.endpoint.identification.algorithm";
            warnings.push(format!(
                "`kafka.properties.{name}` is `none`: whoever has a certificate of the same authority may pose as \
                 the brokers"
            ));
        }
        warnings
    }
}

/// Reads the configuration with its policies. The errors are all its problems.
pub fn load(sources: &Sources) -> Result<Config, Problems> {
    let report = Report::default();
    let settings = Settings::read(sources, &report);
    let (read, path) = read(&settings, &report);
    let read = report.finish(read);
    match (read, path.map(load_policies)) {
        (Ok(read), Some(Ok(policies))) => Ok(read.with(policies)),
        (Ok(_), Some(Err(problems))) => Err(problems),
        (Err(mut problems), Some(Err(more))) => {
            problems.0.extend(more.0);
            Err(problems)
        }
        (Err(problems), _) => Err(problems),
        (Ok(_), None) => Err(Problems::one("policies", "must be a path")),
    }
}

/// Reads the configuration without its policies, for its problems.
pub(super) fn check_settings(settings: &Settings, report: &Report) -> Result<(), Problems> {
    let (read, _) = read(settings, report);
    report.finish(read).map(drop)
}

/// Reads a file of policies. The errors are all its problems.
pub fn load_policies(path: PathBuf) -> Result<PolicyFile, Problems> {
    let name = path.display().to_string();
    let text = read_text(&path).map_err(|message| Problems::one(&name, message))?;
    let beside = Folder(path.parent().map(PathBuf::from).unwrap_or_default());
    let (policies, files) = read_policies_with(&name, &text, &beside)?;
    Ok(PolicyFile { path, text, files, policies })
}

/// All of the configuration but its policies.
struct Read {
    kafka: Kafka,
    input: Input,
    retention: Retention,
    output: Output,
    changelog: String,
    workers: usize,
    commit_interval_ms: i64,
    state_bytes_max: u64,
    http: Http,
}

impl Read {
    fn with(self, policies: PolicyFile) -> Config {
        Config {
            kafka: self.kafka,
            input: self.input,
            retention: self.retention,
            output: self.output,
            changelog: self.changelog,
            policies: Arc::new(policies),
            workers: self.workers,
            commit_interval_ms: self.commit_interval_ms,
            state_bytes_max: self.state_bytes_max,
            http: self.http,
        }
    }
}

const ROOT_FIELDS: &[&str] = &[
    "kafka",
    "input",
    "retention",
    "output",
    "changelog",
    "policies",
    "workers",
    "commit_interval",
    "state_bytes_max",
    "http",
];

/// Reads everything, also what comes after a problem; the second is the path of the policies.
fn read(settings: &Settings, report: &Report) -> (Option<Read>, Option<PathBuf>) {
    let cursor = Cursor::root(&settings.root, report);
    let Some(fields) = cursor.fields(ROOT_FIELDS, &[]) else { return (None, None) };
    let root = Section { fields: Some(fields), of: cursor };
    let path = match root.get("policies") {
        Some(path) => path.text().map(|text| settings.resolve(path.node.at, text)),
        None => Some(settings.beside("policies.yaml")),
    };
    let kafka = kafka(&root, settings);
    let (input, output) = (input(&root), output(&root));
    let changelog = root.topic("changelog", "overdue.changelog");
    check_topics(&root, input.as_ref(), output.as_ref(), changelog.as_ref());
    let retention = retention(&root);
    let workers = root.whole("workers", 0, 0..=WORKERS_MAX);
    let commit_interval_ms = root.ms("commit_interval", 100, 1..=COMMIT_INTERVAL_MS_MAX, "from 1ms to 5s");
    let state_bytes_max = root.bytes("state_bytes_max", 0);
    let http = http(&root, settings);
    let all = || {
        Some(Read {
            kafka: kafka?,
            input: input?,
            retention: retention?,
            output: output?,
            changelog: changelog?,
            workers: workers?,
            commit_interval_ms: commit_interval_ms?,
            state_bytes_max: state_bytes_max?,
            http: http?,
        })
    };
    (all(), path)
}

fn kafka(root: &Section<'_>, settings: &Settings) -> Option<Kafka> {
    let kafka = root.section("kafka", &["brokers", "group", "instance", "properties", "create_topics"], &[]);
    let brokers = kafka.list("brokers", "a broker such as `localhost:9092`");
    let group = kafka.text("group", "overdue");
    let instance = kafka.maybe("instance");
    let properties = properties(&kafka, settings);
    let create_topics = kafka.get("create_topics").map_or(Some(true), |field| field.boolean());
    Some(Kafka {
        brokers: brokers?.join(","),
        group: group?,
        instance: instance?,
        properties: properties?,
        create_topics: create_topics?,
    })
}

fn properties(kafka: &Section<'_>, settings: &Settings) -> Option<Properties> {
    let mut properties = BTreeMap::new();
    let Some(field) = kafka.get("properties") else { return Some(Properties(properties)) };
    let mut complete = true;
    for (name, value) in field.entries()? {
        let read = property(name, &value, settings);
        complete &= read.is_some();
        if let Some((name, text)) = read
            && properties.insert(name.clone(), text).is_some()
        {
            value.key_problem(format!("`{name}` is given twice"));
        }
    }
    complete.then_some(Properties(properties))
}

/// Reads a property; one whose name ends in `_file` from that file.
fn property(name: &str, value: &Cursor<'_>, settings: &Settings) -> Option<(String, String)> {
    let (name, file) = match name.strip_suffix("_file") {
        Some(name) => (name, true),
        None => (name, false),
    };
    if let Some((_, why)) = OWN_PROPERTIES.iter().find(|(own, _)| *own == name) {
        value.key_problem(format!("is not free to set: {why}"));
        return None;
    }
    let written = value.written()?;
    if !file {
        return Some((name.to_string(), written.to_string()));
    }
    Some((name.to_string(), secret_file(value, written, settings)?))
}

const INPUT_FIELDS: &[&str] = &[
    "topics",
    "grace",
    "future_skew_max",
    "lateness_max",
    "clock_skew_max",
    "facts_max",
    "keyed_by",
    "partitioner",
    "unknown_types",
    "speak_from",
];

fn input(root: &Section<'_>) -> Option<Input> {
    let input = root.section("input", INPUT_FIELDS, &[]);
    let topics = input.list("topics", "a topic such as `lead-events`");
    let grace_ms = input.ms("grace", 5000, 0..=DAY_MS, "at most 1d");
    let future_skew_max_ms = input.ms("future_skew_max", 300_000, 0..=i64::MAX, "");
    let lateness_max_ms = input.ms("lateness_max", 7 * DAY_MS, 1..=i64::MAX, "longer than zero");
    let clock_skew_max_ms = input.ms("clock_skew_max", 1000, 1..=3_600_000, "from 1ms to 1h");
    let facts_max = input.whole("facts_max", 10_000, 1..=10_000_000);
    let keyed_by = input.choice("keyed_by", &[("lead_id", KeyedBy::LeadId), ("any", KeyedBy::Any)]);
    let partitioner = input.choice(
        "partitioner",
        &[
            ("auto", Partitioner::Auto),
            ("murmur2", Partitioner::Murmur2),
            ("crc32", Partitioner::Crc32),
            ("other", Partitioner::Other),
        ],
    );
    let unknown_types = input.choice(
        "unknown_types",
        &[("dead_letter", UnknownTypes::DeadLetter), ("ignore", UnknownTypes::Ignore)],
    );
    let speak_from = input.maybe_instant("speak_from");
    Some(Input {
        topics: topics?,
        grace_ms: grace_ms?,
        future_skew_max_ms: future_skew_max_ms?,
        lateness_max_ms: lateness_max_ms?,
        clock_skew_max_ms: clock_skew_max_ms?,
        facts_max: facts_max?,
        keyed_by: keyed_by?,
        partitioner: partitioner?,
        unknown_types: unknown_types?,
        speak_from: speak_from?,
    })
}

fn retention(root: &Section<'_>) -> Option<Retention> {
    let retention = root.section("retention", &["closed", "idle"], &[]);
    let closed_ms = retention.ms("closed", 7 * DAY_MS, 0..=i64::MAX, "");
    let idle_ms = retention.ms("idle", 400 * DAY_MS, 1..=i64::MAX, "longer than zero");
    Some(Retention { closed_ms: closed_ms?, idle_ms: idle_ms? })
}

fn output(root: &Section<'_>) -> Option<Output> {
    let output = root.section("output", &["breaches", "warnings", "outcomes", "clocks", "dead_letter"], &[]);
    output.later("clocks", "");
    let breaches = output.topic("breaches", "overdue.breaches");
    let warnings = output.topic("warnings", "overdue.warnings");
    let outcomes = output.maybe("outcomes");
    let dead_letter = output.topic("dead_letter", "overdue.dead-letter");
    Some(Output { breaches: breaches?, warnings: warnings?, outcomes: outcomes?, dead_letter: dead_letter? })
}

fn http(root: &Section<'_>, settings: &Settings) -> Option<Http> {
    let http = root.section("http", &["listen", "token_file"], &[]);
    let (listen, token) = (listen(&http), token(&http, settings));
    Some(Http { listen: listen?, token: token? })
}

fn listen(http: &Section<'_>) -> Option<SocketAddr> {
    let default = SocketAddr::from(([127, 0, 0, 1], 9464));
    let Some(listen) = http.get("listen") else { return Some(default) };
    let parsed = listen.text()?.parse().ok();
    parsed.or_else(|| listen.refuse("must be an address and port such as `127.0.0.1:9464` or `[::]:9464`"))
}

fn token(http: &Section<'_>, settings: &Settings) -> Option<Option<Secret>> {
    let Some(path) = http.maybe("token_file")? else { return Some(None) };
    let Some(field) = http.get("token_file") else { return Some(None) };
    let token = secret_file(field, &path, settings)?;
    let is_visible = token.bytes().all(|byte| byte.is_ascii_graphic());
    match is_visible && TOKEN_CHARS_MIN <= token.len() {
        true => Some(Some(Secret::new(token))),
        false => field.refuse(format!(
            "`{path}` must hold one token of at least {TOKEN_CHARS_MIN} visible ASCII characters"
        )),
    }
}

/// The text of a file that holds a secret, without the end of its line.
fn secret_file(field: &Cursor<'_>, path: &str, settings: &Settings) -> Option<String> {
    let path = settings.resolve(field.node.at, path);
    match read_text(&path) {
        Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_string()),
        Err(message) => field.refuse(format!("`{}` {message}", path.display())),
    }
}

/// Every topic has a name that Kafka takes and one purpose.
fn check_topics(
    root: &Section<'_>,
    input: Option<&Input>,
    output: Option<&Output>,
    changelog: Option<&String>,
) {
    let mut topics: Vec<(&str, &str, &str)> = Vec::new();
    topics
        .extend(input.iter().flat_map(|input| &input.topics).map(|name| ("input", "topics", name.as_str())));
    if let Some(output) = output {
        topics.push(("output", "breaches", &output.breaches));
        topics.push(("output", "warnings", &output.warnings));
        topics.extend(output.outcomes.iter().map(|name| ("output", "outcomes", name.as_str())));
        topics.push(("output", "dead_letter", &output.dead_letter));
    }
    topics.extend(changelog.map(|name| ("", "changelog", name.as_str())));
    let mut known = BTreeSet::new();
    for (section, field, name) in topics {
        if !is_topic(name) {
            root.say(section, field, &format!("`{name}` is not a name that Kafka allows for a topic"));
        } else if !known.insert(name) {
            root.say(section, field, &format!("`{name}` is in use for something else already"));
        }
    }
}

fn is_topic(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=249).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(allowed)
}

/// A map of settings of which any may be absent.
struct Section<'a> {
    of: Cursor<'a>,
    fields: Option<Fields<'a>>,
}

impl<'a> Section<'a> {
    /// The field where something is written for it.
    fn get(&self, name: &str) -> Option<&Cursor<'a>> {
        self.fields.as_ref()?.get(name).filter(|field| !field.node.is_null())
    }

    fn section(&self, name: &str, known: &[&str], later: &[&str]) -> Section<'a> {
        match self.get(name) {
            Some(field) => Section { of: field.clone(), fields: field.fields(known, later) },
            None => Section { of: self.missing(name), fields: None },
        }
    }

    /// Where a field would be that is not written.
    fn missing(&self, name: &str) -> Cursor<'a> {
        let dot = if self.of.path.is_empty() { "" } else { "." };
        Cursor { path: format!("{}{dot}{name}", self.of.path), ..self.of.clone() }
    }

    /// Says a problem with a field of a section, or of this map where that is empty.
    fn say(&self, section: &str, field: &str, message: &str) {
        let found = match section {
            "" => self.get(field).cloned(),
            _ => self.get(section).and_then(|section| {
                let entries = section.entries()?.into_iter();
                entries.filter(|(name, _)| *name == field).map(|(_, cursor)| cursor).next()
            }),
        };
        let path = format!("{section}.{field}");
        found.unwrap_or_else(|| self.missing(path.trim_start_matches('.'))).problem(message);
    }

    /// Refuses a setting of a later version, unless it says what is so anyway.
    fn later(&self, name: &str, default: &str) {
        if let Some(field) = self.get(name)
            && *field.node != super::tree::Node::text(field.node.at, default)
        {
            field.key_problem(unsupported(name));
        }
    }

    fn text(&self, name: &str, default: &str) -> Option<String> {
        self.get(name).map_or(Some(default), |field| field.text()).map(str::to_string)
    }

    fn topic(&self, name: &str, default: &str) -> Option<String> {
        self.text(name, default)
    }

    /// A text that may be empty, which is none.
    fn maybe(&self, name: &str) -> Option<Option<String>> {
        match self.get(name) {
            Some(field) => {
                let text = field.written()?.trim();
                Some((!text.is_empty()).then(|| text.to_string()))
            }
            None => Some(None),
        }
    }

    /// An instant; a text that is empty is none.
    fn maybe_instant(&self, name: &str) -> Option<Option<Instant>> {
        match self.get(name) {
            Some(field) if !field.written()?.trim().is_empty() => field.instant().map(Some),
            _ => Some(None),
        }
    }

    /// A list that must hold something, or its items in one text, separated by commas.
    fn list(&self, name: &str, what: &str) -> Option<Vec<String>> {
        let Some(field) = self.get(name) else {
            return self.missing(name).refuse(format!("must name {what}"));
        };
        let items: Option<Vec<_>> = field.items_or_one().iter().map(Cursor::text).collect();
        let items: Vec<_> =
            items?.iter().flat_map(|item| item.split(',')).map(|item| item.trim().to_string()).collect();
        match items.is_empty() || items.iter().any(String::is_empty) {
            true => field.refuse(format!("must name {what}")),
            false => Some(items),
        }
    }

    fn ms(&self, name: &str, default: i64, range: RangeInclusive<i64>, allowed: &str) -> Option<i64> {
        let Some(field) = self.get(name) else { return Some(default) };
        match duration::setting_ms(field.written()?) {
            Ok(ms) if range.contains(&ms) => Some(ms),
            Ok(_) => field.refuse(format!("must be {allowed}")),
            Err(message) => field.refuse(message),
        }
    }

    fn whole(&self, name: &str, default: usize, range: RangeInclusive<usize>) -> Option<usize> {
        let Some(field) = self.get(name) else { return Some(default) };
        match field.written()?.parse() {
            Ok(number) if range.contains(&number) => Some(number),
            _ => field.refuse(format!("must be a whole number from {} to {}", range.start(), range.end())),
        }
    }

    /// A number of bytes, such as `4GiB`.
    fn bytes(&self, name: &str, default: u64) -> Option<u64> {
        const UNITS: [(&str, u32); 4] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("", 0)];
        let Some(field) = self.get(name) else { return Some(default) };
        let text = field.written()?;
        let known = UNITS.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)));
        let number = known.and_then(|(digits, shift)| digits.parse::<u64>().ok()?.checked_mul(1 << shift));
        number.or_else(|| field.refuse("must be a number of bytes such as `4GiB`, or 0 for no limit"))
    }

    /// One of the named choices; the first where nothing is written.
    fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let Some(field) = self.get(name) else { return choices.first().map(|(_, choice)| *choice) };
        let text = field.text()?;
        let found = choices.iter().find(|(choice, _)| *choice == text).map(|(_, choice)| *choice);
        let names = choices.iter().map(|(choice, _)| *choice);
        found.or_else(|| field.refuse(format!("`{text}` is not one of {}", listed(names))))
    }
}

#[cfg(test)]
mod tests;
