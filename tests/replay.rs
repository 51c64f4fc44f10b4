//! What `overdue replay` promises on the command line.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const POLICIES: &str = "policies:
  - name: everyone
    labels: {team: sales}
    attainment_goal: 0.9
    objectives:
      first-response: {start: created, stop: contacted, within: 1h}
";

/// L1 met, L2 breached and resolved, L3 breached and running, L4 open.
const EVENTS: [&str; 6] = [
    r#"{"event_id":"1","type":"lead-created","lead_id":"L1","time":"2026-03-02T09:00:00Z","stage":"new","owner":"ann"}"#,
    r#"{"event_id":"2","type":"lead-created","lead_id":"L2","time":"2026-03-02T09:10:00Z"}"#,
    r#"{"event_id":"3","type":"contacted","lead_id":"L1","time":"2026-03-02T10:00:00Z"}"#,
    r#"{"event_id":"4","type":"lead-created","lead_id":"L3","time":"2026-03-02T10:05:00Z"}"#,
    r#"{"event_id":"5","type":"contacted","lead_id":"L2","time":"2026-03-02T11:30:00Z"}"#,
    r#"{"event_id":"6","type":"lead-created","lead_id":"L4","time":"2026-03-02T11:45:00Z"}"#,
];

struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        let folder = Folder(TempDir::new().expect("a folder"));
        folder.write("policies.yaml", POLICIES.as_bytes());
        folder.write("events.jsonl", EVENTS.join("\n").as_bytes());
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).expect("written");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("read")
    }

    fn replay(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("overdue starts")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_overdue"));
        command.current_dir(self.0.path()).args(["replay", "--policies", "policies.yaml"]).args(args);
        command
    }

    fn report(&self, args: &[&str]) -> Value {
        let done = self.replay(&[&["--output", "json"], args].concat());
        assert!(done.status.success(), "{}", stderr(&done));
        serde_json::from_slice(&done.stdout).expect("a report")
    }
}

fn stderr(done: &Output) -> String {
    String::from_utf8_lossy(&done.stderr).into_owned()
}

fn stdout(done: &Output) -> String {
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn fields(text: &str, names: &[&str]) -> Vec<String> {
    let of = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let values = names.iter().map(|name| line.pointer(name).cloned().unwrap_or_default());
        values.map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect::<Vec<_>>().join(" ")
    };
    text.lines().map(of).collect()
}

#[test]
fn clocks_and_breaches_say_what_became_of_every_promise() {
    let folder = Folder::new();
    let report = folder.report(&["--clocks", "clocks", "--breaches", "breaches", "events.jsonl"]);
    let row = &report["objectives"][0];
    for (field, value) in [("clocks", 4), ("met", 1), ("breached", 2), ("resolved", 1), ("open", 1)] {
        assert_eq!(row[field], value, "{field}");
    }
    assert_eq!(
        fields(
            &folder.read("clocks"),
            &["/lead_id", "/outcome", "/due_at", "/ended_at", "/counted_ms", "/team"]
        ),
        [
            "L1 met 2026-03-02T10:00:00.000Z 2026-03-02T10:00:00.000Z 3600000 sales",
            "L2 breached 2026-03-02T10:10:00.000Z 2026-03-02T11:30:00.000Z 8400000 sales",
            "L3 breached 2026-03-02T11:05:00.000Z null 6000000 sales",
            "L4 open 2026-03-02T12:45:00.000Z null 0 sales",
        ]
    );
    assert_eq!(
        fields(
            &folder.read("breaches"),
            &["/subject", "/data/transition", "/time", "/data/evidence/0/topic", "/data/evidence/0/offset"]
        ),
        [
            "L2 breached 2026-03-02T10:10:00.000Z events.jsonl 2",
            "L3 breached 2026-03-02T11:05:00.000Z events.jsonl 4",
            "L2 resolved 2026-03-02T11:30:00.000Z events.jsonl 2",
        ]
    );
}

#[test]
fn until_leaves_later_events_out() {
    let folder = Folder::new();
    let report = folder.report(&["--until", "2026-03-02T12:10:00+01:00", "events.jsonl"]);
    assert_eq!(report["left_out"], 2);
    assert_eq!(report["objectives"][0]["resolved"], 0);
    assert_eq!(report["objectives"][0]["breached_open"], 2);
    let report = folder.report(&["--until", "2026-03-03T00:00:00Z", "events.jsonl"]);
    assert_eq!(report["objectives"][0]["breached"], 3);
}

#[test]
fn any_order_of_lines_and_any_number_of_files_gives_the_same() {
    let folder = Folder::new();
    let all = folder.report(&["--clocks", "ordered", "events.jsonl"]);
    assert_eq!(all["in_order"], true);
    let mut reversed = EVENTS;
    reversed.reverse();
    folder.write("reversed.jsonl", reversed.join("\n").as_bytes());
    let report = folder.report(&["--clocks", "disordered", "reversed.jsonl"]);
    assert_eq!(report["in_order"], false);
    assert_eq!(folder.read("disordered"), folder.read("ordered"));

    let half = |start: usize| EVENTS[start..].iter().step_by(2).copied().collect::<Vec<_>>().join("\n");
    folder.write("odd.jsonl", half(0).as_bytes());
    folder.write("even.jsonl", half(1).as_bytes());
    let report = folder.report(&["--clocks", "merged", "odd.jsonl", "even.jsonl"]);
    assert_eq!(report["in_order"], true, "sorted files are merged by time");
    assert_eq!(folder.read("merged"), folder.read("ordered"));
}

#[test]
fn standard_input_and_output_do() {
    let folder = Folder::new();
    let mut child = folder
        .command(&["--clocks", "-", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("overdue starts");
    let mut reversed = EVENTS;
    reversed.reverse();
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(reversed.join("\r\n").as_bytes()).expect("written");
    drop(stdin);
    let done = child.wait_with_output().expect("it ends");
    folder.report(&["--clocks", "ordered", "events.jsonl"]);
    assert_eq!(stdout(&done), folder.read("ordered"));
    assert!(stderr(&done).contains("first-response"), "the report is out of the way");
}

#[test]
fn rejected_lines_are_counted_and_shown_and_make_breaches_uncertain() {
    let folder = Folder::new();
    let huge = format!(r#"{{"type":"contacted","lead_id":"L1","note":"{}"}}"#, "x".repeat(1_500_000));
    let bad = [
        b"\xef\xbb\xbf  ".as_slice(),
        b"not json",
        b"",
        br#"{"type":"contacted","lead_id":"L3"}"#,
        b"{\"lead_id\":\"\xff\"}",
        huge.as_bytes(),
    ];
    let events = [bad.join(&b'\n'), EVENTS.join("\n").into_bytes(), EVENTS[0].into()].join(&b'\n');
    folder.write("bad.jsonl", &events);
    let done = folder.replay(&["--output", "json", "--breaches", "breaches", "bad.jsonl"]);
    let report: Value = serde_json::from_slice(&done.stdout).expect("a report");
    let reasons = &report["rejected_by_reason"];
    assert_eq!(
        (&reasons["not_json"], &reasons["no_time"], &reasons["oversize"]),
        (&2.into(), &1.into(), &1.into())
    );
    assert_eq!((&report["events"], &report["duplicates"]), (&11.into(), &1.into()));
    let shown = stderr(&done);
    assert!(shown.contains("bad.jsonl:4: no_time: "), "{shown}");
    assert_eq!(
        fields(&folder.read("breaches"), &["/subject", "/data/transition", "/data/uncertain"]),
        ["L2 breached false", "L3 breached true", "L2 resolved false"]
    );
}

#[test]
fn a_bad_policy_is_shown_with_its_line_and_exits_78() {
    let folder = Folder::new();
    folder.write("policies.yaml", POLICIES.replace("1h", "soon").as_bytes());
    let done = folder.replay(&["events.jsonl"]);
    assert_eq!(done.status.code(), Some(78));
    assert!(stderr(&done).starts_with("policies.yaml:6:"), "{}", stderr(&done));
}

#[test]
fn what_cannot_be_read_or_written_is_named_and_exits_2() {
    let folder = Folder::new();
    for (args, named) in [
        (["missing.jsonl"].as_slice(), "missing.jsonl"),
        (&["."], "`.`"),
        (&["--clocks", "no/such/folder", "events.jsonl"], "no/such/folder"),
        (&["--clocks", "events.jsonl", "events.jsonl"], "both read and written"),
        (&["--clocks", "-", "--breaches", "-", "events.jsonl"], "same file"),
        (&["--until", "yesterday", "events.jsonl"], "RFC 3339"),
    ] {
        let done = folder.replay(args);
        assert_eq!(done.status.code(), Some(2), "{args:?}");
        assert!(stderr(&done).contains(named), "{args:?}: {}", stderr(&done));
    }
    assert_eq!(folder.read("events.jsonl"), EVENTS.join("\n"), "no input is harmed");
}

#[test]
fn nothing_to_judge_is_no_failure() {
    let folder = Folder::new();
    folder.write("empty.jsonl", b"");
    let done = folder.replay(&["--clocks", "clocks", "empty.jsonl"]);
    assert!(done.status.success());
    assert!(stdout(&done).contains("0 events of 0 leads"), "{}", stdout(&done));
    assert!(Path::new(&folder.path("clocks")).exists());
}
