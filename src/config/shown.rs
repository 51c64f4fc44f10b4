//! The merged settings as YAML, each with where it was written.

use super::checked::check_settings;
use super::problem::{Place, Problems, Report};
use super::secret::{STARS, is_secret};
use super::settings::{Settings, Sources};
use super::tree::{self, Entry, Kind, Node, Value};

/// Every key with its default; what has none is there as an example, and is left out.
const DEFAULTS: &str = include_str!("../../config/overdue.yaml");
const WITHOUT_DEFAULT: &[(&str, &str)] = &[("kafka", "brokers"), ("input", "topics")];

/// The column in which comments begin, where there is room.
const COMMENT_COLUMN: usize = 44;

/// The settings that are in force, as YAML with the origin of each and without secrets, or all their problems.
pub fn shown(sources: &Sources) -> Result<String, Problems> {
    let report = Report::default();
    check_settings(&Settings::read(sources, &report), &report)?;
    let settings = Settings::read_over(defaults(&report), sources, &report);
    let mut lines = Vec::new();
    Shown { report: &report, lines: &mut lines }.node(&settings.root, &mut Vec::new());
    Ok(lines.join("\n"))
}

fn defaults(report: &Report) -> Node {
    let root = tree::parse(report, report.flag("default"), DEFAULTS);
    let mut root = root.unwrap_or_else(|| Node::plain(Place::default(), ""));
    for (section, key) in WITHOUT_DEFAULT {
        if let Some(entry) = entries(&mut root).and_then(|all| all.iter_mut().find(|e| e.key == *section))
            && let Some(entries) = entries(&mut entry.node)
        {
            entries.retain(|entry| entry.key != *key);
        }
    }
    root
}

fn entries(node: &mut Node) -> Option<&mut Vec<Entry>> {
    match &mut node.value {
        Value::Map(entries) => Some(entries),
        _ => None,
    }
}

struct Shown<'a> {
    report: &'a Report,
    lines: &'a mut Vec<String>,
}

impl Shown<'_> {
    fn node(&mut self, node: &Node, path: &mut Vec<String>) {
        let Value::Map(entries) = &node.value else { return };
        for entry in entries {
            path.push(entry.key.clone());
            self.entry(entry, path);
            path.pop();
        }
    }

    fn entry(&mut self, entry: &Entry, path: &mut Vec<String>) {
        let head = format!("{}{}:", "  ".repeat(path.len() - 1), text(&entry.key));
        match &entry.node.value {
            Value::Map(entries) if !entries.is_empty() => {
                self.lines.push(head);
                self.node(&entry.node, path);
            }
            _ => {
                let value = if is_hidden(path) { text(STARS) } else { flow(&entry.node) };
                let line = format!("{head} {value}");
                let origin = self.report.written_at(entry.node.at);
                self.lines.push(format!("{line:COMMENT_COLUMN$} # {origin}"));
            }
        }
    }
}

/// Whether a value is, or may hold, a secret.
fn is_hidden(path: &[String]) -> bool {
    matches!(path, [kafka, properties, name, ..] if kafka == "kafka" && properties == "properties" && is_secret(name))
}

fn flow(node: &Node) -> String {
    match &node.value {
        Value::Scalar(Kind::Text, written) => text(written),
        Value::Scalar(_, written) => written.clone(),
        Value::List(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Map(entries) => {
            let entry = |entry: &Entry| format!("{}: {}", text(&entry.key), flow(&entry.node));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

/// A text as YAML, in quotes where it would be read as something else.
fn text(written: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let begins_well = written.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let is_text = matches!(Node::plain(Place::default(), written).value, Value::Scalar(Kind::Text, _));
    match begins_well && is_text && written.chars().all(is_bare) {
        true => written.to_string(),
        false => serde_json::Value::from(written).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::shown;
    use crate::config::Sources;

    fn sources(folder: &tempfile::TempDir, text: &str) -> Sources {
        let path = folder.path().join("overdue.yaml");
        fs::write(&path, text).expect("a file is written");
        Sources { files: vec![path], env: BTreeMap::new(), sets: Vec::new() }
    }

    #[test]
    fn each_value_says_where_it_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut sources = sources(&folder, "kafka: {brokers: 'a:1'}\ninput:\n  topics: [b, 'true']\n");
        sources.env.insert("OVERDUE__KAFKA__GROUP".into(), "c d".into());
        sources.sets.push("input.grace=7s".into());
        let shown = shown(&sources).expect("valid settings");
        let file = sources.files[0].display();
        for (line, origin) in [
            (r#"  brokers: "a:1""#, format!("{file}:1")),
            (r#"  group: "c d""#, "OVERDUE__KAFKA__GROUP".into()),
            (r#"  topics: [b, "true"]"#, format!("{file}:3")),
            (r#"  grace: "7s""#, "--set input.grace".into()),
            (r#"  properties: {}"#, "default".into()),
            (r#"workers: 0"#, "default".into()),
        ] {
            let found = shown.lines().find(|found| found.starts_with(line)).unwrap_or_default();
            assert!(found.ends_with(&format!("# {origin}")), "{line}: `{found}` in\n{shown}");
        }
    }

    #[test]
    fn what_is_shown_is_what_was_meant() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = "kafka: {brokers: [x:1, y:2], properties: {linger.ms: 5, a: 'x: #y'}}\ninput: {topics: t}";
        let first = shown(&sources(&folder, text)).expect("valid settings");
        let again = shown(&sources(&folder, &first)).expect("what is shown can be read");
        let values = |text: &str| -> Vec<String> {
            text.lines().map(|line| line.split("  #").next().unwrap_or_default().trim_end().into()).collect()
        };
        let mut wanted = values(&first);
        assert!(wanted.iter().any(|line| line.contains(r#"a: "x: #y""#)), "{first}");
        let mut found = values(&again);
        wanted.sort();
        found.sort();
        assert_eq!(wanted, found);
    }

    #[test]
    fn secrets_are_stars_and_paths_to_them_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("pw"), "hunter2").expect("a file is written");
        let properties = "sasl.password: hunter2, ssl.key.password_file: pw, ssl.key.location: /k, \
                          ssl.key.pem: [hunter2], sasl.username: bob";
        let mut sources = sources(
            &folder,
            &format!("kafka: {{brokers: a, properties: {{{properties}}}}}\ninput: {{topics: t}}"),
        );
        sources.env.insert("OVERDUE__KAFKA__PROPERTIES__SASL__OAUTHBEARER__CONFIG".into(), "hunter2".into());
        let refused = shown(&sources).expect_err("a list is no value").to_string();
        assert!(!refused.contains("hunter2"), "{refused}");
        let text = fs::read_to_string(&sources.files[0]).expect("the file");
        fs::write(&sources.files[0], text.replace("[hunter2]", "hunter2")).expect("a file is written");
        let shown = shown(&sources).expect("valid settings");
        assert!(!shown.contains("hunter2"), "{shown}");
        for line in [
            r#"sasl.password: "***""#,
            "ssl.key.password_file: pw",
            "ssl.key.location: /k",
            "sasl.username: bob",
        ] {
            assert!(shown.contains(line), "{line}: {shown}");
        }
    }
}
