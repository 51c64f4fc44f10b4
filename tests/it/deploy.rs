//! Dashboards and rules name only what the binary exports.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use overdue::config::{Sources, load, read_policies};
use overdue::metrics::Metrics;
use overdue::sla::instant::Instant;
use serde_json::Value;

const DASHBOARDS: &str = "deploy/grafana/dashboards";
const RULES: &str = "deploy/prometheus/rules.yml";
const RULES_TESTS: &str = "deploy/prometheus/rules.test.yml";

/// Labels that Prometheus adds, and the bucket's own.
const ADDED_LABELS: &[&str] = &["instance", "job", "le"];

#[test]
fn metrics_are_clean_by_promtool() {
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]);
    promtool.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().expect("promtool, of Debian's `prometheus`; `./test` installs it");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(exposition().as_bytes()).expect("promtool reads");
    drop(stdin);
    let output = child.wait_with_output().expect("promtool ends");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn dashboards_query_only_metrics_and_labels_that_exist() {
    let known = known();
    for path in dashboards() {
        let exprs = exprs(&read_json(&path));
        assert!(!exprs.is_empty(), "{} queries nothing", path.display());
        for expr in exprs {
            assert_known(&path, &expr, &known);
        }
    }
}

#[test]
fn rules_query_only_metrics_and_labels_that_exist() {
    let (rules, known) = (read(RULES), known());
    let exprs: Vec<_> = rules.split("expr:").skip(1).map(expr_alone).collect();
    assert!(exprs.len() > 10, "no rules in {RULES}");
    for expr in exprs {
        assert_known(Path::new(RULES), expr, &known);
    }
}

#[test]
fn rules_are_tested_on_series_that_exist() {
    let (tests, known) = (read(RULES_TESTS), known());
    let series: Vec<_> = tests.split("series: ").skip(1).map(|rest| rest.split(", values:").next()).collect();
    assert!(series.len() > 10, "no series in {RULES_TESTS}");
    for series in series.into_iter().flatten() {
        assert_known(Path::new(RULES_TESTS), series, &known);
    }
}

#[test]
fn panels_have_a_title_a_description_and_a_place_of_their_own() {
    for path in dashboards() {
        let dashboard = read_json(&path);
        let panels = dashboard["panels"].as_array().expect("panels");
        let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_i64().expect("an id")).collect();
        assert_eq!(ids.len(), panels.len(), "{} repeats a panel id", path.display());
        for panel in panels.iter().filter(|panel| panel["type"] != "row") {
            let title = panel["title"].as_str().expect("a title");
            assert!(panel["description"].is_string(), "`{title}` has no description");
            assert_eq!(
                panel["datasource"]["uid"], "${datasource}",
                "`{title}` names a data source of its own"
            );
        }
        for (index, panel) in panels.iter().enumerate() {
            panels[..index]
                .iter()
                .for_each(|other| assert!(!overlap(panel, other), "{panel} overlaps {other}"));
        }
    }
}

#[test]
fn the_service_that_compose_runs_is_configured() {
    let policies = top().join("deploy/policies.yaml");
    let sources = Sources {
        files: vec![top().join("deploy/overdue.yaml")],
        sets: vec![format!("policies={}", policies.display())],
        ..Sources::default()
    };
    assert!(load(&sources).is_ok(), "{:?}", load(&sources).err());
}

/// Returns what a process exposes that has the shipped policies and one partition.
fn exposition() -> String {
    let policies =
        read_policies("policies.yaml", &read("config/policies.yaml")).expect("the shipped policies");
    let metrics = Metrics::new(&policies, &["lead-events".to_owned()]).expect("metrics");
    metrics.partition_is(0, Some(Instant::from_millis(1)), 0, 0, 0);
    metrics.partition_stopped(0);
    metrics.clock_leads(0, 0);
    metrics.reading_held(0, false);
    metrics.worker_has(0, 1, 0);
    metrics.older_policies(0, false);
    String::from_utf8(metrics.expose().expect("an exposition")).expect("text")
}

/// Returns the labels of every series exposed, and of every one recorded.
fn known() -> BTreeMap<String, BTreeSet<String>> {
    let text = exposition();
    let mut known = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        known.insert(name.to_owned(), selected(line).map(str::to_owned).collect());
    }
    for name in read(RULES).lines().filter_map(|line| line.trim().strip_prefix("- record: ")) {
        // Recorded series are named by their labels first.
        let level = name.split(':').next().unwrap_or_default();
        known.insert(name.to_owned(), level.split('_').map(str::to_owned).collect());
    }
    known
}

/// Checks that every series exists, and has every label by which the text selects or sums.
fn assert_known(path: &Path, text: &str, known: &BTreeMap<String, BTreeSet<String>>) {
    for name in names(text) {
        let labels = known.get(name);
        let labels =
            labels.unwrap_or_else(|| panic!("{}: `{name}` does not exist, in `{text}`", path.display()));
        for label in selected(text).chain(summed_by(text)).filter(|label| !ADDED_LABELS.contains(label)) {
            assert!(labels.contains(label), "{}: `{name}` has no `{label}`, in `{text}`", path.display());
        }
    }
}

/// Returns the labels before every `=`, `!=`, `=~` and `!~` within braces.
fn selected(text: &str) -> impl Iterator<Item = &str> {
    let within = text.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let pairs = within.flat_map(|selector| selector.split_inclusive("\",").filter(|pair| pair.contains('"')));
    pairs.filter_map(|pair| pair.split(['=', '!']).next()).map(str::trim)
}

/// Returns the labels of every `by (…)`.
fn summed_by(text: &str) -> impl Iterator<Item = &str> {
    let lists = text.split("by (").skip(1).filter_map(|rest| rest.split(')').next());
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

/// Returns the text of rules up to the field after the expression.
fn expr_alone(rest: &str) -> &str {
    let ends = ["\n        for:", "\n        labels:", "\n      - ", "\n  - name:"].iter();
    &rest[..ends.filter_map(|end| rest.find(end)).min().unwrap_or(rest.len())]
}

/// Returns the identifiers that belong to this project, those with the level of a recorded one included.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':');
    text.split(ends).filter(|word| word.starts_with("overdue_") || word.contains(":overdue_"))
}

/// Returns every `expr` and `query` of PromQL in a dashboard, however deep.
fn exprs(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(exprs).collect(),
        Value::Object(fields) => {
            let own = ["expr", "definition"].iter().filter_map(|name| fields.get(*name)?.as_str());
            own.map(str::to_owned).chain(fields.values().flat_map(exprs)).collect()
        }
        _ => Vec::new(),
    }
}

fn overlap(one: &Value, other: &Value) -> bool {
    let span = |panel: &Value, start: &str, size: &str| {
        let number = |name: &str| panel["gridPos"][name].as_i64().expect("a grid position");
        (number(start), number(start) + number(size))
    };
    let meet = |a: (i64, i64), b: (i64, i64)| a.0 < b.1 && b.0 < a.1;
    meet(span(one, "x", "w"), span(other, "x", "w")) && meet(span(one, "y", "h"), span(other, "y", "h"))
}

fn dashboards() -> Vec<PathBuf> {
    let entries = fs::read_dir(top().join(DASHBOARDS)).expect("the folder of dashboards");
    let paths = entries.map(|entry| entry.expect("a readable folder").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect()
}

fn read_json(path: &Path) -> Value {
    let text = fs::read_to_string(path).expect("a dashboard");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read(path: &str) -> String {
    fs::read_to_string(top().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
