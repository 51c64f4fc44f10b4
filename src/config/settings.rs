//! Settings as written: files, then environment, then flags, laid over each other.
//!
//! The environment is read by the crate `config`. Laying over is done here, because its values know neither
//! line nor column, and every problem names both.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use ::config::{ConfigError, Environment, Source};

use super::problem::{Place, Report};
use super::tree::{self, Entry, Node, Value};

/// How a variable of the environment that is a setting begins.
const VARIABLE_PREFIX: &str = "OVERDUE";
/// What stands after that, and between the keys of a path.
const VARIABLE_SEPARATOR: &str = "__";
/// Words that a line with a secret is likely to hold.
const SECRET_WORDS: &[&str] =
    &["properties", "password", "secret", "token", "jaas", "sasl", "credential", "pem", "key"];

/// Where settings come from, each kind laid over the one before it.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Files, later ones over earlier ones.
    pub files: Vec<PathBuf>,
    /// The environment; only names that begin with `OVERDUE__`, in either case, are looked at.
    pub env: BTreeMap<String, String>,
    /// `KEY=VALUE` of each `--set`.
    pub sets: Vec<String>,
}

impl Sources {
    /// These files and flags with the environment of this process.
    pub fn of_process(files: Vec<PathBuf>, sets: Vec<String>) -> Sources {
        let text = |os: OsString| os.to_string_lossy().into_owned();
        let env = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        Sources { files, env: env.collect(), sets }
    }
}

/// What was written, merged; every value knows where it was.
#[derive(Debug)]
pub(super) struct Settings {
    pub root: Node,
    /// The folder that relative paths of an origin start from.
    folders: BTreeMap<usize, PathBuf>,
    /// That of the last file.
    folder: PathBuf,
}

impl Settings {
    /// Reads and merges all sources; what cannot be read is left out and reported.
    pub fn read(sources: &Sources, report: &Report) -> Settings {
        let root = Node { at: report.flag("settings"), value: Value::Map(Vec::new()) };
        Settings::read_over(root, sources, report)
    }

    /// As [`Settings::read`], laid over what is there already.
    pub fn read_over(root: Node, sources: &Sources, report: &Report) -> Settings {
        let mut settings = Settings { root, folders: BTreeMap::new(), folder: PathBuf::new() };
        for path in &sources.files {
            settings.add_file(path, report);
        }
        match variables(&sources.env) {
            Ok(variables) => variables.iter().for_each(|(path, value)| {
                settings.add(report.flag(&variable(path)), path.split('.'), value, report);
            }),
            Err(error) => report.add(report.flag("environment"), "", &error.to_string()),
        }
        for set in &sources.sets {
            settings.add_flag(set, report);
        }
        settings
    }

    /// The path from where it was written.
    pub fn resolve(&self, at: Place, path: &str) -> PathBuf {
        self.folders.get(&at.origin).map_or_else(|| PathBuf::from(path), |folder| folder.join(path))
    }

    /// The path from the folder of the last file.
    pub fn beside(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    fn add_file(&mut self, path: &Path, report: &Report) {
        let name = path.display().to_string();
        let text = match read_text(path) {
            Ok(text) => text,
            Err(message) => return report.add(report.flag(&name), "", &message),
        };
        let origin = report.file(&name, &text);
        withhold_secrets(report, origin, &text);
        self.folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        self.folders.insert(origin.origin, self.folder.clone());
        match tree::parse(report, origin, &text) {
            Some(node) if matches!(node.value, Value::Map(_)) => merge(&mut self.root, node),
            Some(node) if !node.is_null() => report.add(node.at, "", "must be a map"),
            _ => {}
        }
    }

    fn add_flag(&mut self, set: &str, report: &Report) {
        match set.split_once('=') {
            Some((path, value)) => {
                let path = path.trim();
                self.add(report.flag(&format!("--set {path}")), path.split('.'), value, report);
            }
            None => report.add(report.flag("--set"), "", "must be KEY=VALUE, such as `kafka.group=overdue`"),
        }
    }

    fn add<'p>(&mut self, at: Place, path: impl Iterator<Item = &'p str>, value: &str, report: &Report) {
        let path: Vec<_> = path.collect();
        let nested = match path.as_slice() {
            // A property's name has dots, and its value is a text whatever it looks like.
            ["kafka", "properties", name @ ..] if !name.is_empty() => {
                Some(nest(&["kafka", "properties", &name.join(".")], Node::text(at, value)))
            }
            _ => leaf(at, value, report).map(|leaf| nest(&path, leaf)),
        };
        nested.into_iter().for_each(|node| merge(&mut self.root, node));
    }
}

/// The variables that are settings, by dotted path.
fn variables(env: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ConfigError> {
    let env = env.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let variables = Environment::with_prefix(VARIABLE_PREFIX)
        .separator(VARIABLE_SEPARATOR)
        .source(Some(env))
        .collect()?;
    variables.into_iter().map(|(path, value)| Ok((path, value.into_string()?))).collect()
}

/// The variable that sets what a dotted path names.
fn variable(path: &str) -> String {
    let name = path.to_uppercase().replace('.', VARIABLE_SEPARATOR);
    format!("{VARIABLE_PREFIX}{VARIABLE_SEPARATOR}{name}")
}

/// Reads a file of text.
pub(crate) fn read_text(path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("can't be read: {error}").to_lowercase())?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8")
    })
}

fn leaf(at: Place, value: &str, report: &Report) -> Option<Node> {
    match value.trim_start().starts_with(['[', '{']) {
        true => tree::parse(report, at, value),
        false if value.is_empty() => Some(Node::text(at, "")),
        false => Some(Node::plain(at, value)),
    }
}

fn nest(path: &[&str], leaf: Node) -> Node {
    path.iter().rev().fold(leaf, |node, key| {
        let at = node.at;
        Node { at, value: Value::Map(vec![Entry { key: key.to_string(), at, node }]) }
    })
}

/// Lays `upper` over `lower`: maps key by key, anything else whole, nothing over anything not at all.
fn merge(lower: &mut Node, upper: Node) {
    let at = upper.at;
    match (&mut lower.value, upper.value) {
        (Value::Map(lower), Value::Map(upper)) => {
            upper.into_iter().for_each(|entry| merge_entry(lower, entry))
        }
        (_, Value::Scalar(tree::Kind::Null, _)) => {}
        (_, value) => *lower = Node { at, value },
    }
}

fn merge_entry(entries: &mut Vec<Entry>, upper: Entry) {
    match entries.iter_mut().find(|entry| entry.key == upper.key) {
        Some(lower) => {
            if !upper.node.is_null() {
                lower.at = upper.at;
            }
            merge(&mut lower.node, upper.node);
        }
        None => entries.push(upper),
    }
}

/// Keeps lines that may hold a secret out of problems, also of those of the syntax: lines with a telling word,
/// those that are deeper, and those within brackets that such a line opens.
fn withhold_secrets(report: &Report, origin: Place, text: &str) {
    let (mut within, mut brackets) = (None, 0);
    for (number, line) in text.lines().enumerate() {
        let depth = line.len() - line.trim_start().len();
        let is_deeper = within.is_some_and(|outer| outer < depth || line.trim().is_empty());
        if is_deeper || 0 < brackets {
            report.withhold(origin.origin, number);
        } else {
            within = may_hold_secret(line).then_some(depth);
        }
        if within.is_some() {
            report.withhold(origin.origin, number);
            brackets = (brackets + opened(line)).max(0);
        }
    }
}

fn may_hold_secret(line: &str) -> bool {
    // The one setting whose name has a telling word and whose value is none.
    let lower = line.to_lowercase().replace("keyed_by", "");
    SECRET_WORDS.iter().any(|word| lower.contains(word))
}

/// How many more brackets a line opens than it closes.
fn opened(line: &str) -> i64 {
    let count = |brackets: [char; 2]| line.matches(brackets).count() as i64;
    count(['{', '[']) - count(['}', ']'])
}
