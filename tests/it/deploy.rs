//! Dashboards and rules name only what the binary exports.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// SWAP ME: the names that the metrics module registers, once it lists them itself.
const METRICS: &[&str] = &[
    "overdue_assigned_partitions",
    "overdue_breaches_total",
    "overdue_build_info",
    "overdue_clocks_closed_total",
    "overdue_clocks_started_total",
    "overdue_commit_last_success_timestamp_seconds",
    "overdue_detection_delay_seconds",
    "overdue_events_conflicting_total",
    "overdue_events_consumed_total",
    "overdue_events_duplicate_total",
    "overdue_events_late_total",
    "overdue_events_rejected_total",
    "overdue_horizon_stalled_seconds",
    "overdue_horizon_timestamp_seconds",
    "overdue_kafka_consumer_lag_records",
    "overdue_leads",
    "overdue_objective_attainment_goal_ratio",
    "overdue_objective_target_seconds",
    "overdue_open_clocks",
    "overdue_policy_info",
    "overdue_rebalances_total",
    "overdue_response_duration_seconds",
    "overdue_restore_duration_seconds",
    "overdue_restoring_partitions",
    "overdue_transaction_duration_seconds",
    "overdue_transactions_total",
];

const DASHBOARDS: &str = "deploy/grafana/dashboards";
const RULES: &str = "deploy/prometheus/rules.yml";

#[test]
fn dashboards_query_only_metrics_that_exist() {
    let known = known_names();
    for path in dashboards() {
        let exprs = exprs(&read_json(&path));
        assert!(!exprs.is_empty(), "{} queries nothing", path.display());
        for expr in exprs {
            assert_known(&path, &expr, &known);
        }
    }
}

#[test]
fn rules_query_only_metrics_that_exist() {
    assert_known(Path::new(RULES), &rules(), &known_names());
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

/// Returns metrics, the series of histograms, and the names that the rules record.
fn known_names() -> BTreeSet<String> {
    let series = |metric: &&str| ["", "_bucket", "_count", "_sum"].map(|part| format!("{metric}{part}"));
    let rules = rules();
    let recorded = rules.lines().filter_map(|line| line.trim().strip_prefix("- record: "));
    METRICS.iter().flat_map(series).chain(recorded.map(str::to_owned)).collect()
}

fn assert_known(path: &Path, text: &str, known: &BTreeSet<String>) {
    for name in names(text) {
        assert!(known.contains(name), "{}: `{name}` does not exist, in `{text}`", path.display());
    }
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

fn rules() -> String {
    fs::read_to_string(top().join(RULES)).expect("the rules")
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
