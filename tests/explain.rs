//! What `overdue explain` promises of files.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

const EVENTS: &str = "tests/fixtures/explain/events.jsonl";

fn explain(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_overdue"));
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR"))).env_remove("OVERDUE_CONFIG");
    let ran = command.arg("explain").args(args).output().expect("overdue starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ran.status.code(), text(&ran.stdout), text(&ran.stderr))
}

fn explained(lead: &str, args: &[&str]) -> Value {
    let all = [&[lead, "--policies", "config/policies.yaml", "--output", "json", EVENTS], args].concat();
    let (code, out, err) = explain(&all);
    assert_eq!(code, Some(0), "{err}");
    serde_json::from_str(&out).expect("JSON")
}

fn clock<'a>(explanation: &'a Value, objective: &str) -> &'a Value {
    let clocks = explanation["clocks"].as_array().expect("clocks");
    clocks.iter().find(|clock| clock["objective"] == objective).expect("a clock of the objective")
}

#[test]
fn facts_are_told_with_the_records_that_hold_them() {
    let explanation = explained("lead-42", &[]);
    let facts = explanation["facts"].as_array().expect("facts");
    let told: Vec<_> = facts.iter().map(|fact| (fact["offset"].clone(), fact["event_id"].clone())).collect();
    let expected = [(1, "e1"), (2, "e2"), (4, "e4"), (5, "e5"), (6, "e6")];
    assert_eq!(told, expected.map(|(line, id)| (json!(line), json!(id))));
    assert_eq!(facts[0]["fields"]["amount"], 20000);
    assert_eq!(explanation["rejected"], json!([{"topic": EVENTS, "partition": null, "offset": 7}]));
}

#[test]
fn a_clock_says_what_it_counted_and_what_decided() {
    let explanation = explained("lead-42", &[]);
    let response = clock(&explanation, "first-response");
    assert_eq!(response["outcome"], "breached");
    assert_eq!(
        (&response["due_at"], &response["target"]),
        (&json!("2026-03-20T16:05:00.000Z"), &json!("15bm"))
    );
    assert_eq!(response["started_by"]["event_id"], "e1");
    let last = response["transitions"].as_array().and_then(|all| all.last()).expect("a transition");
    assert_eq!((&last["transition"], &last["by"]["event_id"]), (&json!("resolved"), &json!("e5")));
    // Friday 16:50 to 17:30 and Monday 09:00 to 09:20.
    assert_eq!(response["counted_ms"], 60 * 60_000);
    let missed = &response["missed"][0];
    assert_eq!(missed["by"]["event_id"], "e2");
    assert_eq!(missed["because"], json!(["by is \"automation\", not human"]));
}

#[test]
fn elapsed_time_is_counted_paused_or_closed() {
    let explanation = explained("lead-42", &["--at", "2026-03-24T12:00:00+01:00"]);
    for clock in explanation["clocks"].as_array().expect("clocks") {
        let ms = |name: &str| clock[name].as_i64().expect("a number");
        assert_eq!(ms("elapsed_ms"), ms("counted_ms") + ms("paused_ms") + ms("closed_ms"), "{clock:#}");
    }
    let qualify = clock(&explanation, "qualify");
    let pause = json!([{"from": "2026-03-20T16:30:00.000Z", "to": "2026-03-24T08:00:00.000Z"}]);
    assert_eq!(qualify["pauses"], pause);
    // Friday 17:30 to Tuesday 09:00; of the rest, the 40 minutes of Friday and the three hours of Tuesday count.
    assert_eq!((&qualify["paused_ms"], &qualify["closed_ms"]), (&json!(315_000_000), &json!(0)));
    assert_eq!(qualify["counted_ms"], 220 * 60_000);
    assert_eq!(qualify["outcome"], "open");
    assert_eq!(qualify["planned"][1]["transition"], "breached");
}

#[test]
fn while_a_lead_is_parked_its_clock_has_no_deadline() {
    let explanation = explained("lead-42", &["--at", "2026-03-23T12:00:00+01:00"]);
    let qualify = clock(&explanation, "qualify");
    assert_eq!((&qualify["due_at"], &qualify["planned"]), (&Value::Null, &json!([])));
    let why = qualify["why"].as_str().expect("a reason");
    assert!(why.starts_with("paused since Fri 2026-03-20 17:30 +01:00, "), "{why}");
    assert_eq!(explanation["left_out"], 1);
}

#[test]
fn it_says_which_policies_cover_a_lead_and_which_do_not() {
    let tried = |lead: &str| explained(lead, &[])["policy"].clone();
    assert_eq!(tried("lead-42")["name"], "enterprise-inbound");
    let covers = &tried("lead-42")["tried"][0];
    assert_eq!(covers["because"][2], "amount at least 10000: it is 20000");
    let other = tried("lead-43");
    assert_eq!(other["name"], "everyone-else");
    let words: Vec<_> =
        other["tried"].as_array().expect("policies").iter().map(|one| &one["because"]).collect();
    assert_eq!(
        words,
        [
            &json!(["amount at least 10000: it is 500"]),
            &json!(["source partner: it is \"web\""]),
            &json!(["every lead"]),
        ]
    );
}

#[test]
fn a_table_is_for_people() {
    let (code, out, _) = explain(&["lead-42", "-p", "config/policies.yaml", EVENTS]);
    assert_eq!(code, Some(0));
    for line in [
        "lead lead-42, stage working; judged until Tue 2026-03-24 12:00 +01:00",
        "policy enterprise-inbound",
        "  could not be used: tests/fixtures/explain/events.jsonl:7",
        "first-response: breached [critical]",
        "  stopped by contacted (tests/fixtures/explain/events.jsonl:5, event e5), 45m of open time late",
    ] {
        assert!(out.lines().any(|found| found == line), "no `{line}` in:\n{out}");
    }
}

#[test]
fn a_lead_that_nobody_mentions_is_not_known() {
    let (code, out, err) = explain(&["lead-4", "-p", "config/policies.yaml", EVENTS]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert_eq!(err, "error: no event of lead `lead-4` is in those files\n");
    let early = ["lead-43", "-p", "config/policies.yaml", EVENTS, "--at", "2026-01-01T00:00:00Z"];
    assert_eq!(explain(&early).0, Some(1));
}

#[test]
fn what_cannot_be_read_or_asked_is_said() {
    let (code, _, err) = explain(&["lead-42", "-p", "config/policies.yaml", "no-such.jsonl"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("cannot read `no-such.jsonl`"), "{err}");
    for (url, says) in [
        ("https://localhost", "it must begin with `http://`"),
        ("localhost:9464", "it must begin with `http://`"),
        ("http://127.0.0.1:1", "cannot ask `http://127.0.0.1:1`"),
    ] {
        let (code, _, err) = explain(&["lead-42", "--url", url]);
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains(says), "{err}");
    }
    assert_eq!(explain(&["lead-42", "--url", "http://x", EVENTS]).0, Some(2));
    assert_eq!(explain(&["lead-42", "-p", "no-such.yaml", EVENTS]).0, Some(78));
}
