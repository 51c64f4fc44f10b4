//! Results for people and for programs.

use console::Style;
use serde_json::{Value as Json, json as object};

use super::{Coverage, Covered, Outcome, Test, TestFile};
use crate::explain::{local, timeline};

/// A file of tests, and what came of those that were tried.
#[derive(Debug)]
pub struct Tried<'a> {
    /// The file.
    pub file: &'a TestFile,
    /// Its tests in order, each with what came of it.
    pub results: Vec<(&'a Test, Outcome)>,
}

impl Tried<'_> {
    /// How many tests failed.
    pub fn failed(&self) -> usize {
        self.results.iter().filter(|(_, outcome)| !outcome.failures.is_empty()).count()
    }
}

/// The results for people: a line a test, what failed with its timeline, what no test tries, and a summary.
pub fn shown(files: &[Tried<'_>], coverage: &[Coverage], has_colour: bool) -> String {
    let paint = Paint { has_colour };
    let mut text = String::new();
    for file in files {
        text += &format!("{}\n", file.file.path.display());
        for (test, outcome) in &file.results {
            let word = match outcome.failures.is_empty() {
                true => paint.green("ok    "),
                false => paint.red("FAILED"),
            };
            text += &format!("  {word} {}\n", test.name);
        }
    }
    for (test, outcome) in files.iter().flat_map(|file| &file.results) {
        if !outcome.failures.is_empty() {
            text += &format!("\n{} {} ({})\n", paint.red("FAILED"), test.name, test.at);
            text += &failure(test, outcome);
        }
    }
    coverage.iter().for_each(|coverage| text += &uncovered(coverage));
    let failed: usize = files.iter().map(Tried::failed).sum();
    let passed = files.iter().map(|file| file.results.len()).sum::<usize>() - failed;
    let summary = format!("{passed} passed, {failed} failed");
    text + &format!("\n{}\n", if failed == 0 { paint.green(&summary) } else { paint.red(&summary) })
}

/// What is not as a test expects it, and the lead's timeline.
pub(super) fn failure(test: &Test, outcome: &Outcome) -> String {
    let mut text = String::new();
    for failed in &outcome.failures {
        text += &format!("  {}\n", failed.what);
        failed.instead.iter().for_each(|line| text += &format!("    {line}\n"));
    }
    text += &format!("  until {}:\n", local(test.until, outcome.zone));
    match &outcome.explanation {
        None => text += "    nothing\n",
        Some(explanation) => {
            timeline(explanation).lines().for_each(|line| text += &format!("  {line}\n"));
        }
    }
    text
}

fn uncovered(coverage: &Coverage) -> String {
    let count = |is: fn(&Covered) -> bool| coverage.objectives.iter().filter(|one| is(one)).count();
    let (all, started) = (coverage.objectives.len(), count(|one| one.is_started));
    let breached = count(|one| one.is_breached);
    let head =
        format!("\n{}: of {all} objectives {started} start, {breached} are breached", coverage.policies);
    let line = |one: &Covered| match (one.is_started, one.is_breached) {
        (false, _) => Some(format!("  never started: {}/{}\n", one.policy, one.objective)),
        (true, false) => Some(format!("  never breached: {}/{}\n", one.policy, one.objective)),
        (true, true) => None,
    };
    head + "\n" + &coverage.objectives.iter().filter_map(line).collect::<String>()
}

/// The results for programs.
pub fn json(files: &[Tried<'_>], coverage: &[Coverage]) -> Json {
    let test = |file: &Tried<'_>, test: &Test, outcome: &Outcome| {
        let failures =
            outcome.failures.iter().map(|failed| object!({"what": failed.what, "instead": failed.instead}));
        object!({
            "file": file.file.path.display().to_string(),
            "at": test.at,
            "name": test.name,
            "passed": outcome.failures.is_empty(),
            "failures": failures.collect::<Vec<_>>(),
            "explanation": outcome.explanation,
        })
    };
    let all =
        files.iter().flat_map(|file| file.results.iter().map(move |(t, outcome)| test(file, t, outcome)));
    let tests: Vec<_> = all.collect();
    let failed: usize = files.iter().map(Tried::failed).sum();
    object!({"passed": tests.len() - failed, "failed": failed, "tests": tests, "coverage": coverage})
}

/// Colours, where there are some.
struct Paint {
    has_colour: bool,
}

impl Paint {
    fn green(&self, text: &str) -> String {
        self.with(Style::new().green(), text)
    }

    fn red(&self, text: &str) -> String {
        self.with(Style::new().red(), text)
    }

    fn with(&self, style: Style, text: &str) -> String {
        style.force_styling(self.has_colour).apply_to(text).to_string()
    }
}
