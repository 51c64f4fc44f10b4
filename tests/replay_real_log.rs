//! A real log is judged as an independent script judges it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const UNTIL: &str = "2012-03-14T14:21:09.893Z";
const RULES: [(&str, &[&str]); 2] = [
    ("never-closed", &["fr-24h", "fr-biz4h", "st-preaccepted-7d", "st-preaccepted-biz21h"]),
    ("closed", &["fr-biz10h-cancel"]),
];

/// Lead, start, deadline, when it was satisfied, outcome.
type Verdict = (String, String, String, Option<String>, String);

#[test]
fn sixty_leads_of_a_real_log_get_the_verdicts_of_the_oracle() {
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/real-log"));
}

#[test]
fn every_lead_of_a_real_log_gets_the_verdict_of_the_oracle() {
    match std::env::var_os("OVERDUE_REAL_LOG") {
        Some(folder) => check(Path::new(&folder)),
        None => println!("skipped: OVERDUE_REAL_LOG names no folder"),
    }
}

fn check(folder: &Path) {
    check_touches(folder);
    for (policies, rules) in RULES {
        let mut judged = replay(folder, policies);
        for rule in rules {
            let expected = oracle(&folder.join("oracle").join(rule).with_extension("jsonl"));
            let found = judged.remove(*rule).unwrap_or_default();
            assert!(!expected.is_empty(), "{rule} has no verdicts");
            let wrong: Vec<_> = expected.iter().filter(|verdict| !found.contains(verdict)).collect();
            assert!(wrong.is_empty(), "{rule}: {} verdicts are missing: {:?}", wrong.len(), wrong[0]);
            assert_eq!(found.len(), expected.len(), "{rule} has clocks that the oracle has not");
        }
        assert!(judged.is_empty(), "{:?} have no oracle", judged.keys());
    }
}

/// Lead, date, and how often the gap was in breach before: each a breach or an escalation of one.
type Lapse = (String, String, u64);

/// A gap without a touch is one clock; that it lasts on is said by its escalations.
fn check_touches(folder: &Path) {
    let gaps = |objective: &str, [start, deadline]: [&str; 2], lines: &[Value]| {
        let of = |line: &Value| verdict(line, [start, deadline], &Value::Null, &text(&line["outcome"]));
        let of_it = |line: &&Value| line["objective"].as_str().is_none_or(|name| name == objective);
        lines.iter().filter(of_it).map(of).collect::<BTreeSet<Verdict>>()
    };
    let oracle = |rule: &str| -> Vec<Value> {
        let file = folder.join("oracle").join(rule).with_extension("jsonl");
        lines(&fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))).collect()
    };
    let clocks: Vec<Value> = lines(&ask(folder, "touch", "--clocks")).collect();
    let expected = gaps("touch-7d-once", ["window_start", "deadline"], &oracle("touch-7d-once"));
    assert!(expected.len() > 10, "{} gaps are few", expected.len());
    assert_eq!(gaps("touch-7d-once", ["started_at", "due_at"], &clocks), expected);

    let lapse = |line: Value| {
        line["nth_in_window"].as_u64().map(|nth| (text(&line["lead_id"]), text(&line["deadline"]), nth - 1))
    };
    let expected: BTreeSet<Lapse> = oracle("touch-7d-repeat").into_iter().filter_map(lapse).collect();
    let said = |event: Value| {
        let data = &event["data"];
        let is_lapse = matches!(data["transition"].as_str(), Some("breached" | "escalated"));
        let level = data["level"].as_u64().unwrap_or(0);
        (is_lapse && data["objective"] == "touch-7d-repeat")
            .then(|| (text(&data["lead_id"]), text(&event["time"]), level))
    };
    let found: BTreeSet<Lapse> = lines(&ask(folder, "touch", "--breaches")).filter_map(said).collect();
    assert!(expected.iter().any(|(.., nth)| 0 < *nth), "no gap is in breach twice");
    assert_eq!(found, expected);
}

/// What `overdue replay` writes to standard output when asked for this.
fn ask(folder: &Path, policies: &str, what: &str) -> Vec<u8> {
    let done = Command::new(env!("CARGO_BIN_EXE_overdue"))
        .args(["replay", "--until", UNTIL, what, "-", "--policies"])
        .arg(folder.join("policies").join(policies).with_extension("yaml"))
        .arg(folder.join("events.jsonl"))
        .output()
        .expect("overdue starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

/// The verdicts of `overdue replay`, by objective.
fn replay(folder: &Path, policies: &str) -> BTreeMap<String, Vec<Verdict>> {
    let mut judged: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for clock in lines(&ask(folder, policies, "--clocks")) {
        let outcome = match (&clock["outcome"], &clock["resolved_at"]) {
            (Value::String(outcome), Value::Null) if outcome == "breached" => "breached-never",
            (Value::String(outcome), Value::String(_)) if outcome == "breached" => "breached-late",
            (Value::String(outcome), _) => outcome,
            other => panic!("no outcome: {other:?}"),
        };
        let is_satisfied = matches!(outcome, "met" | "breached-late");
        let satisfied_at = if is_satisfied { &clock["ended_at"] } else { &Value::Null };
        let verdict = verdict(&clock, ["started_at", "due_at"], satisfied_at, outcome);
        judged.entry(text(&clock["objective"])).or_default().push(verdict);
    }
    judged
}

fn oracle(file: &Path) -> Vec<Verdict> {
    let verdicts = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let of = |line: Value| {
        verdict(&line, ["start", "deadline"], &line["satisfied_at"], line["outcome"].as_str().unwrap_or(""))
    };
    lines(&verdicts).map(of).collect()
}

fn verdict(line: &Value, [start, deadline]: [&str; 2], satisfied_at: &Value, outcome: &str) -> Verdict {
    (
        text(&line["lead_id"]),
        text(&line[start]),
        text(&line[deadline]),
        satisfied_at.as_str().map(str::to_owned),
        outcome.to_owned(),
    )
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = Value> {
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("JSON"))
}

fn text(value: &Value) -> String {
    value.as_str().map(str::to_owned).unwrap_or_else(|| panic!("no text: {value}"))
}
