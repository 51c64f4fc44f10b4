//! What `overdue test` promises.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

const POLICIES: &str = "
calendars: {ams: {time_zone: Europe/Amsterdam, hours: {mon-fri: ['09:00-17:00']}}}
pipeline: {open: [new, working, parked], won: [won], lost: [lost]}
policies:
  - name: big
    match: {size: big}
    calendar: ams
    labels: {team: keys}
    objectives:
      first-response: {start: created, stop: contacted, within: 1bh, severity: high}
  - name: everyone
    calendar: ams
    labels: {team: inside}
    objectives:
      first-response:
        start: created
        stop: contacted
        within: 2h
        warn: 50%
        escalate_after: [1h, {every: 2h}]
        pause: {stage: parked}
      cadence: {touch: {by: [1d, 2d]}, while: {stage: working}}
";

/// What a test is in most of these: a lead of Monday, 2026-11-02, 10:00 in Amsterdam.
const CREATED: &str = "{at: 2026-11-02T10:00:00+01:00, type: lead-created}";

struct Folder(TempDir);

/// What a command said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Folder {
    fn new(tests: &str) -> Folder {
        let folder = Folder(TempDir::new().expect("a folder"));
        folder.write("policies.yaml", POLICIES);
        folder.write("a.test.yaml", &format!("policies: policies.yaml\ntests:\n{tests}"));
        folder
    }

    /// One test that is called `it`.
    fn of(events: &str, until: &str, rest: &str) -> Folder {
        Folder::new(&format!("- {{name: it, events: [{events}], until: {until}{rest}}}\n"))
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).expect("written");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).expect("read")
    }

    fn test(&self, args: &[&str]) -> Said {
        run(self.0.path(), args)
    }
}

fn run(folder: &Path, args: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_overdue"));
    let ran = command.arg("test").args(args).current_dir(folder).output().expect("overdue starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: ran.status.code(), out: text(&ran.stdout), err: text(&ran.stderr) }
}

/// A test of these events passes with these expectations.
#[track_caller]
fn passes(events: &str, until: &str, rest: &str) {
    let said = Folder::of(events, until, rest).test(&[]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
}

/// A test of these events fails, and says each of these.
#[track_caller]
fn fails(events: &str, until: &str, rest: &str, says: &[&str]) {
    let said = Folder::of(events, until, rest).test(&[]);
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    says.iter().for_each(|wanted| assert!(said.out.contains(wanted), "no `{wanted}` in:\n{}", said.out));
}

#[test]
fn the_shipped_policies_keep_their_tests_and_every_promise_is_started_and_broken_in_one() {
    let said = run(Path::new(env!("CARGO_MANIFEST_DIR")), &["--coverage-required"]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert!(said.out.contains("of 17 objectives 17 start, 17 are breached"), "{}", said.out);
}

#[test]
fn the_policy_that_is_said_to_cover_a_lead_is_that_of_its_clocks() {
    let said = run(Path::new(env!("CARGO_MANIFEST_DIR")), &["--format", "json"]);
    let json: Value = serde_json::from_str(&said.out).expect("JSON");
    let mut running = 0;
    for test in json["tests"].as_array().expect("tests") {
        let explanation = &test["explanation"];
        for clock in explanation["clocks"].as_array().expect("clocks") {
            if clock["is_running"] == true {
                running += 1;
                assert_eq!(clock["policy"], explanation["policy"]["name"], "{}", test["name"]);
            }
        }
    }
    assert!(running > 10, "{running} clocks run");
}

#[test]
fn every_outcome_can_be_expected() {
    let met = format!("{CREATED}, {{at: +90m, type: contacted}}");
    passes(
        &met,
        "+3h",
        ", expect: [{at: +0s, objective: first-response, outcome: started, due_at: +2h},
          {at: +1h, objective: first-response, outcome: at_risk, level: 1},
          {at: +90m, objective: first-response, outcome: met, elapsed: 1h30m, counted: 90m, policy: everyone}]",
    );
    let late =
        format!("{CREATED}, {{at: +10m, type: lead-assigned, owner: ann}}, {{at: +6h, type: contacted}}");
    passes(
        &late,
        "+7h",
        ", expect: [{at: +2h, objective: first-response, outcome: breached, owner: ann, team: inside},
          {at: +3h, objective: first-response, outcome: escalated, level: 1},
          {at: +4h, objective: first-response, outcome: escalated, level: 2},
          {at: +6h, objective: first-response, outcome: resolved, elapsed: 6h}]",
    );
    let lost = format!("{CREATED}, {{at: +1h, type: stage-changed, stage: lost}}");
    passes(&lost, "+3h", ", expect: [{at: +1h, objective: first-response, outcome: cancelled, stage: lost}]");
    let ended = format!("{CREATED}, {{at: +5h, type: stage-changed, stage: lost}}");
    passes(
        &ended,
        "+6h",
        ", expect: [{objective: first-response, outcome: breached}, {at: +5h, objective: first-response, outcome: ended}]",
    );
    let waived = format!(
        "{CREATED}, {{at: +3h, type: breach-waived, objective: first-response, who: ann, why: holiday}}"
    );
    passes(
        &waived,
        "+6h",
        ", expect: [{objective: first-response, outcome: breached}, {at: +3h, objective: first-response, outcome: waived}]",
    );
    let parked = format!(
        "{CREATED}, {{at: +1h, type: stage-changed, stage: parked}}, {{at: +3h, type: stage-changed, stage: new}}"
    );
    passes(
        &parked,
        "+5h",
        ", expect: [{at: +1h, objective: first-response, outcome: paused}, {at: +3h, objective: first-response, outcome: resumed},
          {at: +4h, objective: first-response, outcome: breached, elapsed: 4h, counted: 2h}]",
    );
    let stepped =
        "{at: 2026-11-02T10:00:00+01:00, type: stage-changed, stage: working}, {at: +1h, type: contacted}";
    passes(
        stepped,
        "+3d",
        ", expect: [{at: +1h, objective: cadence, outcome: met, step: 1}, {at: +2d, objective: cadence, outcome: breached, step: 2}]",
    );
    let grown =
        format!("{CREATED}, {{at: +30m, type: lead-updated, size: big}}, {{at: +55m, type: contacted}}");
    passes(
        &grown,
        "+2h",
        ", expect: [{at: +55m, objective: first-response, outcome: met, policy: big, severity: high, team: keys}]",
    );
}

#[test]
fn the_attributes_of_the_lead_are_those_it_is_created_with() {
    let test = "- name: big
  lead: {size: big, amount: 5000}
  events: [{at: 2026-11-02T10:00:00+01:00, type: lead-created, amount: 7}]
  until: +2h
  expect: [{at: +1h, objective: first-response, outcome: breached, policy: big}]
";
    let said = Folder::new(test).test(&["--format", "json"]);
    assert_eq!(said.code, Some(0), "{}", said.out);
    let json: Value = serde_json::from_str(&said.out).expect("JSON");
    let created = &json["tests"][0]["explanation"]["facts"][0]["fields"];
    assert_eq!((&created["size"], &created["amount"]), (&Value::from("big"), &Value::from(7)));
}

#[test]
fn a_failure_says_what_came_instead_and_the_timeline() {
    fails(
        &format!("{CREATED}, {{at: +10m, type: contacted, by: automation}}, {{at: +30m, type: contacted}}"),
        "+3h",
        ", expect: [{at: +30m, objective: first-response, outcome: met, elapsed: 20m}]",
        &[
            "FAILED it (a.test.yaml:3)",
            "expected first-response met at Mon 2026-11-02 10:30 +01:00, elapsed 20m",
            "first-response met at Mon 2026-11-02 10:30 +01:00, elapsed 30m; elapsed is 30m, not 20m",
            "policy everyone",
            "not big: size big: it has none",
            "Mon 2026-11-02 10:10 +01:00  contacted     by automation",
            "first-response started, due Mon 2026-11-02 12:00 +01:00",
            "stopped by contacted (event:3), with 1h 30m to spare",
            "30m elapsed: 30m counted, 0s paused, 0s closed",
            "0 passed, 1 failed",
        ],
    );
    fails(
        CREATED,
        "+1h",
        ", expect: [{objective: cadence, outcome: met}]",
        &["expected cadence met", "no clock of it started"],
    );
}

#[test]
fn a_breach_that_no_expectation_names_fails() {
    fails(
        CREATED,
        "+2h",
        "",
        &[
            "unexpected breach: first-response breached at Mon 2026-11-02 12:00 +01:00, elapsed 2h",
            "not contacted by",
        ],
    );
    // At its deadline it is breached, a millisecond before it is not.
    passes(CREATED, "+119m59s", "");
    // It is named with a wrong severity: that is one failure, not two.
    let said = Folder::of(
        CREATED,
        "+2h",
        ", expect: [{at: +2h, objective: first-response, outcome: breached, severity: low}]",
    )
    .test(&[]);
    assert!(
        said.out.contains("severity is none, not low") && !said.out.contains("unexpected"),
        "{}",
        said.out
    );
}

#[test]
fn what_must_never_come_about_fails() {
    let events = format!("{CREATED}, {{at: +90m, type: contacted}}");
    fails(
        &events,
        "+2h",
        ", never: [{objective: first-response, outcome: at_risk}]",
        &["never first-response at_risk", "first-response at_risk 1 at Mon 2026-11-02 11:00 +01:00"],
    );
    passes(
        &events,
        "+2h",
        ", never: [{outcome: breached}, {objective: first-response, outcome: at_risk, level: 2}]",
    );
}

#[test]
fn what_follows_the_end_of_the_story_does_not_happen() {
    passes(
        &format!("{CREATED}, {{at: +5h, type: contacted}}"),
        "+1h",
        ", never: [{outcome: met}, {outcome: breached}, {outcome: resolved}]",
    );
}

#[test]
fn a_file_with_errors_is_refused_with_every_problem_and_its_place() {
    for (test, problems) in [
        (
            "- {name: a, events: [{at: +4m, type: contactd}], until: 1h, expect: [{objctive: x, outcome: mett}]}",
            &[
                "a.test.yaml:3:27: tests[0].events[0].at: must be an instant in the first event, from which the others count",
                "a.test.yaml:3:38: tests[0].events[0].type: unknown type, did you mean `contacted`?",
                "a.test.yaml:3:57: tests[0].until: must be an instant such as `2026-12-31T09:00:00+01:00`, or a time after the first event such as `+4m` or `+1d2h`",
                "a.test.yaml:3:71: tests[0].expect[0].objctive: unknown field, did you mean `objective`?",
                "a.test.yaml:3:93: tests[0].expect[0].outcome: unknown outcome `mett`, did you mean `met`?",
            ][..],
        ),
        (
            "- {name: a, lead: {x: 1}, events: [{at: 2026-11-02T10:00:00Z, type: contacted, direction: up, lead_id: l}], until: +1h}",
            &[
                "tests[0].lead: no event is `lead-created`, which would carry these",
                "tests[0].events[0].lead_id: must not be given: a test is about one lead",
                "tests[0].events[0]: would be rejected, bad_field: `direction` is neither `outbound` nor `inbound`",
            ],
        ),
        (
            "- {name: a, events: [{at: 2026-11-02T10:00:00Z, type: contacted}], until: +1h, expect: [{objective: first-respons, outcome: met}, {outcome: met}, {objective: first-response, outcome: met, step: 1, at: +2h}]}",
            &[
                "no policy has the objective `first-respons`, did you mean `first-response`?",
                "expect[1]: needs `objective`",
                "expect[2].step: only a clock of `touch: {by: ...}` has a step; `first-response` has none",
            ],
        ),
        (
            "- {name: a, events: [{at: 2026-11-02T10:00:00Z, type: contacted}], until: +1h, expect: [{objective: first-response, outcome: met, at: +2h}]}",
            &["expect: `first-response met at Mon 2026-11-02 12:00 +00:00` is after `until`"],
        ),
        (
            "- {name: a, events: [{at: 2026-11-02T10:00:00Z, type: contacted}], until: +1h}\n- {name: a, events: []}",
            &["tests[1]: needs `until`", "tests[1].events: must hold an event"],
        ),
        (
            "- {name: a, events: [{at: 2026-11-02T10:00:00Z, type: contacted}], until: +1h}\n- {name: a, events: [{at: 2026-11-02T10:00:00Z, type: contacted}], until: +1h}",
            &["tests[1]: `a` is the name of tests[0] already"],
        ),
        ("  []", &["tests: must hold a test"]),
    ] {
        let said = Folder::new(test).test(&[]);
        assert_eq!((said.code, said.out.as_str()), (Some(78), ""), "{test}: {}", said.err);
        for problem in problems {
            assert!(said.err.contains(problem), "no `{problem}` in:\n{}", said.err);
        }
    }
}

#[test]
fn policies_with_errors_are_refused() {
    let folder = Folder::of(CREATED, "+1h", "");
    folder.write("policies.yaml", "policies: [{name: a, objectives: {x: {start: creatd}}}]");
    let said = folder.test(&[]);
    assert_eq!(said.code, Some(78), "{}", said.err);
    assert!(
        said.err.contains("policies.yaml:1:") && said.err.contains("did you mean `created`"),
        "{}",
        said.err
    );
}

const TWO: &str =
    "- {name: in time, events: [{at: 2026-11-02T10:00:00+01:00, type: lead-created}], until: +1h}
- {name: too late & more, events: [{at: 2026-11-02T10:00:00+01:00, type: lead-created}], until: +3h}
";

#[test]
fn a_filter_names_the_tests_that_are_tried() {
    let folder = Folder::new(TWO);
    let said = folder.test(&["--filter", "time"]);
    assert_eq!(said.code, Some(0), "{}", said.out);
    assert!(!said.out.contains("too late") && !said.out.contains("objectives"), "{}", said.out);
    assert_eq!(folder.test(&["--filter", "late"]).code, Some(1));
    let none = folder.test(&["--filter", "nothing"]);
    assert_eq!(none.code, Some(2));
    assert!(none.err.contains("no test has a name that contains `nothing`"), "{}", none.err);
    assert_eq!(folder.test(&["--filter", "time", "--coverage-required"]).code, Some(2));
}

#[test]
fn what_no_test_tries_is_listed() {
    let folder = Folder::of(CREATED, "+1h", "");
    let said = folder.test(&[]);
    assert_eq!(said.code, Some(0));
    for line in [
        "policies.yaml: of 3 objectives 1 start, 0 are breached",
        "never started: big/first-response",
        "never breached: everyone/first-response",
        "never started: everyone/cadence",
    ] {
        assert!(said.out.contains(line), "no `{line}` in:\n{}", said.out);
    }
    assert_eq!(folder.test(&["--coverage-required"]).code, Some(1));
}

#[test]
fn results_are_written_for_programs() {
    let folder = Folder::new(TWO);
    let said = folder.test(&["--format", "junit", "--output", "tests.xml"]);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{}", said.err);
    let xml = folder.read("tests.xml");
    for part in [
        "<testsuite name=\"a.test.yaml\" tests=\"2\"",
        "failures=\"1\"",
        "<testcase name=\"in time\" classname=\"a.test.yaml\"",
        "<testcase name=\"too late &amp; more\"",
        "<failure message=\"unexpected breach: first-response breached at Mon 2026-11-02 12:00 +01:00",
        "first-response started, due",
    ] {
        assert!(xml.contains(part), "no `{part}` in:\n{xml}");
    }
    let json: Value = serde_json::from_str(&folder.test(&["--format", "json"]).out).expect("JSON");
    assert_eq!((&json["passed"], &json["failed"]), (&Value::from(1), &Value::from(1)));
    assert_eq!(json["tests"][1]["explanation"]["clocks"][0]["outcome"], "breached");
    assert_eq!(json["coverage"][0]["objectives"][1]["is_breached"], true);
}

#[test]
fn the_same_story_gives_the_same_output_whenever_it_is_told() {
    let folder = Folder::new(TWO);
    for format in ["text", "json", "junit"] {
        let first = folder.test(&["--format", format]);
        assert!(!first.out.is_empty());
        assert_eq!(folder.test(&["--format", format]).out, first.out);
    }
}

#[test]
fn other_policies_can_be_tried_on_the_same_stories() {
    let folder = Folder::new(TWO);
    folder.write("slow.yaml", &POLICIES.replace("within: 2h", "within: 4h"));
    assert_eq!(folder.test(&["a.test.yaml"]).code, Some(1));
    assert_eq!(folder.test(&["a.test.yaml", "--policies", "slow.yaml"]).code, Some(0));
    // Without a file those beside the policies.
    assert_eq!(folder.test(&["--policies", "slow.yaml"]).code, Some(0));
}

#[test]
fn without_any_test_there_is_nothing_to_do() {
    let folder = TempDir::new().expect("a folder");
    let said = run(folder.path(), &[]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("no file of tests was named, and there is no `*.test.yaml`"), "{}", said.err);
    let missing = run(folder.path(), &["b.test.yaml"]);
    assert_eq!(missing.code, Some(78));
    assert!(missing.err.contains("b.test.yaml: can't be read"), "{}", missing.err);
}
