//! `overdue check`: says offline what is wrong with the configuration, or what it promises.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::config::{self, PolicyFile, Problems, written_target};
use crate::sla::policy::{
    Comparison, Condition, Destination, FieldTest, Match, Objective, Operand, Policies, Policy, Scalar, Test,
};

/// Exit code of a bad configuration, as in `sysexits.h`.
const EXIT_CONFIG: u8 = 78;
/// Read where no other file is named.
pub(super) const CONFIG_FILE: &str = "overdue.yaml";

/// Validate configuration and policies offline, and say what is promised
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Every problem is shown with its file, line and column; any makes the exit code 78.\n\n\
        Examples:\n  \
        overdue check --config overdue.yaml\n  \
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

/// Prints every problem and fails, or prints every promise.
pub fn check(args: &Args) -> ExitCode {
    match read(args) {
        Ok((file, warnings)) => {
            warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
            println!("{}", printed(&file, args.output));
            ExitCode::SUCCESS
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
    leads: String,
    objective: &'a str,
    promise: String,
    within: String,
    calendar: Option<&'a str>,
    severity: Option<&'a str>,
}

fn printed(file: &PolicyFile, output: Output) -> String {
    let promises = promises(&file.policies);
    match output {
        Output::Table => {
            let path = file.path.display();
            format!("{path}: version {}\n{}", file.policies.version, table(&promises))
        }
        Output::Json => {
            serde_json::json!({"policies_version": file.policies.version, "promises": promises}).to_string()
        }
    }
}

fn table(promises: &[Promise<'_>]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["POLICY", "LEADS", "PROMISE", "CALENDAR", "SEVERITY"]);
    for promise in promises {
        table.add_row([
            promise.policy,
            &promise.leads,
            &format!("{}: {}", promise.objective, promise.promise),
            promise.calendar.unwrap_or("-"),
            promise.severity.unwrap_or("-"),
        ]);
    }
    table
}

fn promises(policies: &Policies) -> Vec<Promise<'_>> {
    let of = |policy| move |objective| promise(policies, policy, objective);
    policies.policies.iter().flat_map(|policy| policy.objectives.iter().map(of(policy))).collect()
}

fn promise<'a>(policies: &'a Policies, policy: &'a Policy, objective: &'a Objective) -> Promise<'a> {
    Promise {
        policy: &policy.name,
        leads: leads(&policy.matches),
        objective: policies.name(objective.name),
        promise: in_words(objective),
        within: written_target(objective.target()),
        calendar: policies.calendar(objective).map(|calendar| calendar.name.as_str()),
        severity: objective.severity.as_deref(),
    }
}

fn leads(matches: &[Match]) -> String {
    let test = |test: &Test| match test {
        Test::AnyOf(scalars) => either(scalars.iter().map(scalar)),
        Test::NoneOf(scalars) => format!("other than {}", either(scalars.iter().map(scalar))),
        Test::Compared(Comparison::AtLeast, bound) => format!("at least {bound}"),
        Test::Compared(Comparison::Above, bound) => format!("above {bound}"),
        Test::Compared(Comparison::AtMost, bound) => format!("at most {bound}"),
        Test::Compared(Comparison::Below, bound) => format!("below {bound}"),
        Test::Present(true) => "given".to_string(),
        Test::Present(false) => "not given".to_string(),
    };
    let one = |one: &Match| {
        format!("{} {}", one.path, one.tests.iter().map(test).collect::<Vec<_>>().join(" and "))
    };
    match matches {
        [] => "every lead".to_string(),
        _ => matches.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

/// `contacted within 1h of created`
fn in_words(objective: &Objective) -> String {
    let conditions = |conditions: &[Condition]| either(conditions.iter().map(condition));
    let (stop, start) = (conditions(objective.stop()), conditions(objective.start()));
    let mut words = format!("{stop} within {} of {start}", written_target(objective.target()));
    if let Some(stages) = &objective.while_stages {
        words += &format!(", while in {}", either(stages.iter().cloned()));
    }
    if objective.restarts() {
        words += ", restarting";
    }
    words
}

fn condition(condition: &Condition) -> String {
    match condition {
        Condition::Created => "created".to_string(),
        Condition::Assigned => "assigned".to_string(),
        Condition::Reopened => "reopened".to_string(),
        Condition::Contacted(tests) => contacted(tests),
        Condition::Entered(stages) => format!("entered {}", either(stages.iter().cloned())),
        Condition::Left { from, to } => {
            let to = to.iter().map(|to| format!(" for {}", either(to.iter().map(destination))));
            format!("left {}{}", either(from.iter().cloned()), to.collect::<String>())
        }
    }
}

/// Says only how the contact differs from an outbound one by a human.
fn contacted(tests: &[FieldTest]) -> String {
    let default = |path: &str, value: &str| FieldTest {
        path: path.to_string(),
        any_of: vec![Operand::Value(Scalar::Text(value.to_string()))],
    };
    let defaults = [default("direction", "outbound"), default("by", "human")];
    let any = defaults.iter().filter(|default| tests.iter().all(|test| test.path != default.path));
    let any = any.map(|default| format!("{} any", default.path));
    let asked = tests.iter().filter(|test| !defaults.contains(test));
    let asked = asked.map(|test| format!("{} {}", test.path, either(test.any_of.iter().map(operand))));
    let words: Vec<_> = any.chain(asked).collect();
    match words.as_slice() {
        [] => "contacted".to_string(),
        _ => format!("contacted ({})", words.join(", ")),
    }
}

fn destination(destination: &Destination) -> String {
    match destination {
        Destination::Stage(stage) => stage.clone(),
        Destination::Forward => "a later stage".to_string(),
        Destination::Won => "a won stage".to_string(),
        Destination::Lost => "a lost stage".to_string(),
    }
}

fn operand(operand: &Operand) -> String {
    match operand {
        Operand::Value(value) => scalar(value),
        Operand::Owner => "the owner".to_string(),
    }
}

fn scalar(scalar: &Scalar) -> String {
    match scalar {
        Scalar::Bool(value) => value.to_string(),
        Scalar::Number(value) => value.to_string(),
        Scalar::Text(value) => value.clone(),
        Scalar::Other => "an object or a list".to_string(),
    }
}

fn either(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use super::{Args, Output, check, printed, promises, read};
    use crate::config::{PolicyFile, read_policies};

    fn args(policies: &Path) -> Args {
        let policies = Some(policies.to_path_buf());
        Args { config: Vec::new(), sets: Vec::new(), policies, output: Output::Table }
    }

    fn file(text: &str) -> PolicyFile {
        let policies = read_policies("policies.yaml", text).expect("valid policies");
        let (path, files) = (PathBuf::from("policies.yaml"), BTreeMap::new());
        PolicyFile { path, text: text.to_string(), files, policies }
    }

    /// The promise that an objective with these fields and one hour is.
    fn says(fields: &str, words: &str) {
        let text = format!(
            "pipeline: {{open: [new], won: [won], lost: [lost]}}\n\
             policies: [{{name: all, objectives: {{x: {{within: 1h, {fields}}}}}}}]"
        );
        let file = file(&text);
        assert_eq!(promises(&file.policies)[0].promise, words, "{fields}");
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
            "entered a or b within 1h of assigned or reopened, restarting",
        );
        says(
            "start: {entered: new}, while: {stage: new}, stop: {left: new, to: [forward, lost, x]}",
            "left new for a later stage or a lost stage or x within 1h of entered new, while in new",
        );
    }

    #[test]
    fn promises_are_printed_for_people_and_for_programs() {
        let file = file(
            "policies: [{name: all, match: {a: [b, 1]}, objectives: {x: {start: created, stop: contacted, within: 90m}}}]",
        );
        let table = printed(&file, Output::Table);
        for words in ["all", "a b or 1", "x: contacted within 1h30m of created"] {
            assert!(table.contains(words), "{words}: {table}");
        }
        let json: serde_json::Value = serde_json::from_str(&printed(&file, Output::Json)).expect("JSON");
        assert_eq!(json["policies_version"].as_str(), Some(file.policies.version.as_str()));
        assert_eq!(json["promises"][0]["promise"], "contacted within 1h30m of created");
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
