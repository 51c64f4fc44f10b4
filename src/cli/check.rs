//! `overdue check`: says offline what is wrong with the configuration, or what it promises.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use serde::Serialize;

use crate::config::{self, PolicyFile, Problem, Problems, words, written_target};
use crate::sla::instant::Instant;
use crate::sla::policy::{Objective, Policies, Policy};

mod example;

use example::Example;

/// Exit code of a bad configuration, as in `sysexits.h`.
const EXIT_CONFIG: u8 = 78;
/// Read where no other file is named.
pub(super) const CONFIG_FILE: &str = "overdue.yaml";

/// Validate configuration and policies offline, and say what is promised
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Every problem is shown with its file, line and column; any makes the exit code 78. What is allowed \
        and seldom meant is a warning: a policy that covers no lead, a stage that the pipeline does not have, `15m` \
        where there is a calendar, a warning or an escalation that never comes, holidays known for less than a year, \
        what nothing refers to.\n\n\
        Examples:\n  \
        overdue check --config overdue.yaml\n  \
        overdue check --policies policies.yaml --strict\n  \
        overdue check --policies policies.yaml --at 2026-12-24T15:00:00+01:00\n  \
        overdue check --policies policies.yaml --output json"
)]
pub struct Args {
    /// A configuration file; repeated, later ones over earlier ones [default: overdue.yaml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Vec<PathBuf>,
    /// A setting by its path, over those of files and environment; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Policies to check instead of the configured ones; without --config and --set nothing else is checked
    #[arg(short, long, value_name = "FILE")]
    pub policies: Option<PathBuf>,
    /// When the clocks of the examples start [default: Friday 2026-11-27 16:30 on each calendar]
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub at: Option<Instant>,
    /// Warnings make the exit code 1
    #[arg(long)]
    pub strict: bool,
    /// How the promises are printed
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    pub output: Output,
}

/// How the promises are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

fn instant(text: &str) -> Result<Instant, String> {
    Instant::parse(text).ok_or_else(|| "must be an instant such as 2026-12-31T09:00:00+01:00".to_string())
}

/// Prints every problem and fails, or prints every promise.
pub fn check(args: &Args) -> ExitCode {
    match read(args) {
        Ok((file, warnings)) => {
            let now = Instant::from_millis(chrono::Utc::now().timestamp_millis());
            let lints = config::lints(&file.path.display().to_string(), &file.text, &file.policies, now);
            warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
            lints.iter().for_each(|lint| eprintln!("warning: {lint}"));
            println!("{}", printed(&file, &warnings, &lints, args));
            match args.strict && !(lints.is_empty() && warnings.is_empty()) {
                true => ExitCode::FAILURE,
                false => ExitCode::SUCCESS,
            }
        }
        Err(problems) => {
            eprintln!("{problems}");
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

/// The policies, and what is allowed in the settings and seldom meant.
fn read(args: &Args) -> Result<(PolicyFile, Vec<String>), Problems> {
    if let (Some(path), [], []) = (&args.policies, args.config.as_slice(), args.sets.as_slice()) {
        return config::load_policies(path.clone()).map(|file| (file, Vec::new()));
    }
    let mut sources = super::run::sources(&args.config, &args.sets);
    sources.sets.extend(args.policies.iter().map(|path| format!("policies={}", path.display())));
    config::load(&sources).map(|config| (PolicyFile::clone(&config.policies), config.warnings()))
}

/// One objective of one policy, in plain words.
#[derive(Debug, Serialize)]
struct Promise<'a> {
    policy: &'a str,
    valid: Option<String>,
    leads: String,
    objective: &'a str,
    promise: String,
    within: Vec<String>,
    calendar: Option<String>,
    details: Vec<String>,
    severity: Option<&'a str>,
    examples: Vec<Example>,
}

fn printed(file: &PolicyFile, warnings: &[String], lints: &[Problem], args: &Args) -> String {
    let promises = promises(&file.policies, args.at);
    match args.output {
        Output::Table => {
            let revision = file.policies.revision.map(|revision| format!(", revision {revision}"));
            let head = format!("{}: version {}", file.path.display(), file.policies.version);
            format!("{head}{}\n{}", revision.unwrap_or_default(), listed(&promises))
        }
        Output::Json => {
            let warnings: Vec<_> = warnings.iter().cloned().chain(lints.iter().map(in_one_line)).collect();
            serde_json::json!({
                "policies_version": file.policies.version,
                "revision": file.policies.revision,
                "promises": promises,
                "warnings": warnings,
            })
            .to_string()
        }
    }
}

fn in_one_line(lint: &Problem) -> String {
    Problem { line: None, ..lint.clone() }.to_string()
}

/// The promises for people, each policy with its own.
fn listed(promises: &[Promise<'_>]) -> String {
    let (mut text, mut policy) = (String::new(), None);
    for promise in promises {
        let head = (promise.policy, &promise.valid);
        if policy.replace(head) != Some(head) {
            let valid = promise.valid.iter().map(|valid| format!(", {valid}")).collect::<String>();
            text += &format!("\n{}: {}{valid}\n", promise.policy, promise.leads);
        }
        text += &shown(promise);
    }
    text.trim_end().to_string()
}

fn shown(promise: &Promise<'_>) -> String {
    let calendar = promise.calendar.iter().map(|calendar| format!(", on {calendar}"));
    let severity = promise.severity.iter().map(|severity| format!(" [{severity}]"));
    let head = format!("  {}: {}", promise.objective, promise.promise);
    let mut text = head + &calendar.chain(severity).collect::<String>() + "\n";
    promise.details.iter().for_each(|detail| text += &format!("      {detail}\n"));
    promise.examples.iter().for_each(|example| text += &format!("      e.g. {example}\n"));
    text
}

fn promises(policies: &Policies, at: Option<Instant>) -> Vec<Promise<'_>> {
    let of = |policy| move |objective| promise(policies, policy, objective, at);
    policies.policies.iter().flat_map(|policy| policy.objectives.iter().map(of(policy))).collect()
}

fn promise<'a>(
    policies: &'a Policies,
    policy: &'a Policy,
    objective: &'a Objective,
    at: Option<Instant>,
) -> Promise<'a> {
    Promise {
        policy: &policy.name,
        valid: words::valid(policy.valid),
        leads: words::leads(&policy.matches),
        objective: policies.name(objective.name),
        promise: words::promise(objective),
        within: objective.targets().into_iter().map(written_target).collect(),
        calendar: words::calendar(policies, &objective.calendar),
        details: words::details(objective),
        severity: objective.severity.as_deref(),
        examples: example::examples(policies, policy, objective, at),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use super::{Args, Output, check, printed, promises, read};
    use crate::config::{PolicyFile, lints, read_policies};

    fn args(policies: &Path) -> Args {
        Args {
            config: Vec::new(),
            sets: Vec::new(),
            policies: Some(policies.to_path_buf()),
            at: None,
            strict: false,
            output: Output::Table,
        }
    }

    fn file(text: &str) -> PolicyFile {
        let policies = read_policies("policies.yaml", text).unwrap_or_else(|problems| panic!("{problems}"));
        let (path, files) = (PathBuf::from("policies.yaml"), BTreeMap::new());
        PolicyFile { path, text: text.to_string(), files, policies }
    }

    const SHARED: &str = "\
calendars:
  ams: {time_zone: Europe/Amsterdam, hours: {mon-fri: \"09:00-17:00\"}}
  nyc: {time_zone: America/New_York, hours: {mon-fri: \"09:00-17:00\"}}
pipeline: {open: [new, working], won: [won], lost: [lost]}
";

    fn of(fields: &str) -> PolicyFile {
        file(&format!("{SHARED}policies: [{{name: all, calendar: ams, objectives: {{x: {{{fields}}}}}}}]"))
    }

    /// The promise that an objective with these fields and one hour is.
    #[track_caller]
    fn says(fields: &str, words: &str) {
        let file = of(&format!("{fields}, within: 1h"));
        assert_eq!(promises(&file.policies, None)[0].promise, words, "{fields}");
    }

    /// The details that an objective with these fields has.
    #[track_caller]
    fn details(fields: &str, expected: &[&str]) {
        assert_eq!(promises(&of(fields).policies, None)[0].details, expected, "{fields}");
    }

    /// The examples for an objective with these fields.
    #[track_caller]
    fn examples(fields: &str, expected: &[&str]) {
        let file = of(fields);
        let found: Vec<_> =
            promises(&file.policies, None)[0].examples.iter().map(|one| one.to_string()).collect();
        assert_eq!(found, expected, "{fields}");
    }

    #[test]
    fn a_promise_is_said_in_plain_words() {
        says("start: created, stop: contacted", "contacted within 1h of created");
        says(
            "start: {contacted: {direction: inbound}}, stop: {contacted: {actor: $owner, by: any}}",
            "contacted (by any, actor the owner) within 1h of contacted (direction inbound)",
        );
        says(
            "start: [assigned, reopened], restart: true, stop: {entered: [a, b]}",
            "entered a or b within 1h of assigned or reopened",
        );
        says(
            "start: {entered: new}, while: {stage: new}, stop: {left: new, to: [forward, lost, x]}",
            "left new for a later stage or a lost stage or x within 1h of entered new, while in new",
        );
    }

    #[test]
    fn how_often_to_touch_is_said_in_plain_words() {
        let says = |touch: &str, words: &str| {
            let file = of(&format!("touch: {touch}"));
            assert_eq!(promises(&file.policies, None)[0].promise, words, "{touch}");
        };
        says("{every: 3bd}", "contacted at least every 3bd");
        says("{at_least: 2, per: 1w}", "contacted at least 2 times in every 7d");
        says("{at_least: 1, within: 1d}", "contacted at least once within 1d");
        says("{at_least: 5, per: stage}", "contacted at least 5 times before leaving");
        says(
            "{by: [1h, 1bd, 3bd], contacted: {channel: call}}",
            "contacted (channel call) for the first time within 1h, the second within 1bd, the third within 3bd",
        );
        let file = of("touch: {every: 1d}, while: {stage: [new, working]}");
        assert_eq!(
            promises(&file.policies, None)[0].promise,
            "contacted at least every 1d, while in new or working"
        );
    }

    #[test]
    fn what_an_objective_has_besides_is_said_in_plain_words() {
        let start = "start: created, stop: contacted";
        details(&format!("{start}, within: 1d"), &[]);
        details(
            &format!(
                "{start}, within: [{{if: {{source: chat, n: {{gte: 5}}}}, started: open, target: 5m}}, {{started: closed, target: 1d}}, 15bm]"
            ),
            &[
                "5m for source chat, n at least 5, started while the calendar is open",
                "1d for any started while the calendar is closed",
                "15bm for all others",
            ],
        );
        details(&format!("{start}, within: 1d, pause: none"), &["never paused"]);
        details(
            &format!("{start}, within: 1d, pause: {{stage: [a, b]}}"),
            &["paused while in a or b, and between `paused` and `resumed`"],
        );
        details(&format!("{start}, within: 1d, pause: [none, {{stage: a}}]"), &["paused only while in a"]);
        details(
            &format!("{start}, within: 4bh, warn: [50%, 5bm left]"),
            &["warned when 50 % is used up, when 5bm are left"],
        );
        details(
            &format!("{start}, within: 1d, escalate_after: [1bh, {{every: 7d, times: 3}}]"),
            &["escalated 1bh and every 7d (3 times) after a breach"],
        );
        details(
            &format!("{start}, within: 1d, escalate_after: {{every: 7d, times: unlimited}}"),
            &["escalated every 7d (without end) after a breach"],
        );
        details(
            &format!(
                "{start}, within: 1d, restart: true, reentry: cumulative, penalty: {{amount: 49.90, currency: EUR}}"
            ),
            &[
                "a second start cancels the clock and starts another",
                "a start after an earlier clock has what that left of the time",
                "a breach costs 49.90 EUR",
            ],
        );
        details(
            &format!("{start}, within: 1d, reentry: first_only"),
            &["only the first start of a lead counts"],
        );
    }

    #[test]
    fn an_example_is_reckoned_on_the_calendar() {
        let start = "start: created, stop: contacted";
        examples(
            &format!(
                "{start}, within: 1bh, warn: [50%, 15bm left], escalate_after: [1bh, {{every: 7d, times: 3}}]"
            ),
            &["created on Friday 2026-11-27 16:30 (Europe/Amsterdam): due Monday 2026-11-30 09:30; \
               warned Friday 2026-11-27 17:00, Monday 2026-11-30 09:15; \
               escalated Monday 2026-11-30 10:30, Monday 2026-12-07 09:30 and on"],
        );
        examples(
            &format!("{start}, within: 1bd, warn: 50%"),
            &[
                "created on Friday 2026-11-27 16:30 (Europe/Amsterdam): due Monday 2026-11-30 17:00; warned Monday 2026-11-30 12:45",
            ],
        );
        examples(
            "touch: {by: [1d, 2bd]}, while: {stage: working}",
            &[
                "in working since Friday 2026-11-27 16:30 (Europe/Amsterdam): due Saturday 2026-11-28 16:30, Tuesday 2026-12-01 17:00",
            ],
        );
        examples("touch: {at_least: 3, per: stage}", &[]);
    }

    #[test]
    fn an_example_is_given_for_each_target_and_each_calendar() {
        examples(
            "start: assigned, stop: contacted, calendar: {by: region, us: nyc, default: ams}, \
             within: [{if: {source: chat}, target: 5m}, {started: closed, target: 1d}, 15bm]",
            &[
                "assigned on Friday 2026-11-27 16:30 (Europe/Amsterdam), source chat: due Friday 2026-11-27 16:35",
                "assigned on Friday 2026-11-27 16:30 (Europe/Amsterdam): due Friday 2026-11-27 16:45",
                "assigned on Friday 2026-11-27 16:30 (America/New_York), region us, source chat: due Friday 2026-11-27 16:35",
                "assigned on Friday 2026-11-27 16:30 (America/New_York), region us: due Friday 2026-11-27 16:45",
            ],
        );
    }

    #[test]
    fn an_example_starts_when_the_version_is_valid_or_as_asked() {
        let version = |valid: &str| {
            let text = format!(
                "policies: [{{name: a, {valid}, objectives: {{x: {{start: created, stop: contacted, within: 1h}}}}}}]"
            );
            promises(&file(&text).policies, None)[0].examples[0].to_string()
        };
        let due = |day: &str| format!("created on Friday {day} 16:30 (UTC): due Friday {day} 17:30");
        assert_eq!(version("effective_from: 2026-11-27"), due("2026-11-27"));
        assert_eq!(version("effective_from: 2027-01-01"), due("2027-01-01"));
        assert_eq!(version("effective_from: 2027-01-02"), due("2027-01-08"));
        assert_eq!(version("effective_until: 2026-11-27"), due("2026-11-20"));
        let asked = crate::sla::instant::Instant::parse("2026-07-01T10:00:30Z");
        let file = of("start: created, stop: contacted, within: 1h");
        assert_eq!(
            promises(&file.policies, asked)[0].examples[0].to_string(),
            "created on Wednesday 2026-07-01 12:00:30 (Europe/Amsterdam): due Wednesday 2026-07-01 13:00:30"
        );
    }

    #[test]
    fn promises_are_printed_for_people_and_for_programs() {
        let text = "revision: 3\npolicies: [{name: all, effective_from: 2026-01-01, match: {a: [b, 1]}, objectives: {x: {start: created, stop: contacted, within: 90m, severity: high}}}]";
        let file = file(text);
        let mut args = args(Path::new("policies.yaml"));
        let shown = printed(&file, &[], &[], &args);
        let version = &file.policies.version;
        assert_eq!(
            shown,
            format!(
                "policies.yaml: version {version}, revision 3\n\n\
                 all: a b or 1, valid from 2026-01-01T00:00:00.000Z\n  \
                 x: contacted within 1h30m of created [high]\n      \
                 e.g. created on Friday 2026-11-27 16:30 (UTC): due Friday 2026-11-27 18:00"
            )
        );
        args.output = Output::Json;
        let warnings = ["of the settings".to_string()];
        let lints = lints(
            "policies.yaml",
            &text.replace("b, 1", "b"),
            &file.policies,
            crate::sla::instant::Instant::MIN,
        );
        let json: serde_json::Value =
            serde_json::from_str(&printed(&file, &warnings, &lints, &args)).expect("JSON");
        assert_eq!(json["policies_version"].as_str(), Some(file.policies.version.as_str()));
        assert_eq!(json["promises"][0]["promise"], "contacted within 1h30m of created");
        assert_eq!(json["promises"][0]["examples"][0]["due_at"][0], "2026-11-27T18:00:00.000Z");
        assert_eq!(json["warnings"], serde_json::json!(["of the settings"]));
    }

    #[test]
    fn warnings_fail_only_where_asked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("policies.yaml");
        let text = "objectives: {unused: {start: created}}\npolicies: [{name: a, objectives: {}}]";
        std::fs::write(&path, text).expect("a file is written");
        let code = |strict| format!("{:?}", check(&Args { strict, ..args(&path) }));
        assert_eq!(code(false), format!("{:?}", std::process::ExitCode::SUCCESS));
        assert_eq!(code(true), format!("{:?}", std::process::ExitCode::FAILURE));
    }

    #[test]
    fn policies_alone_need_no_configuration() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/policies.yaml");
        assert!(read(&args(&shipped)).is_ok());
    }

    #[test]
    fn problems_exit_with_78() {
        let code = check(&args(Path::new("no-such-file.yaml")));
        assert_eq!(format!("{code:?}"), format!("{:?}", std::process::ExitCode::from(78)));
    }
}
