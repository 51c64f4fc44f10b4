//! Policies in plain words.

use super::duration::written as written_target;
use crate::sla::policy::{
    CalendarChoice, Comparison, Condition, Destination, Entry, Escalation, FieldTest, Match, Objective,
    Operand, Pause, Penalty, Policies, Promise, Reentry, Scalar, Target, Test, TouchForm, Validity, Warning,
};

/// Which leads match.
pub fn leads(matches: &[Match]) -> String {
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

/// When a version is valid; `None` is always. Rule T13.
pub fn valid(valid: Validity) -> Option<String> {
    match (valid.from, valid.until) {
        (None, None) => None,
        (Some(from), None) => Some(format!("valid from {from}")),
        (None, Some(until)) => Some(format!("valid until {until}")),
        (Some(from), Some(until)) => Some(format!("valid from {from} until {until}")),
    }
}

/// `contacted within 1h of created`
pub fn promise(objective: &Objective) -> String {
    let mut words = match &objective.promise {
        Promise::Response(response) => {
            let targets: Vec<_> = response.within.iter().map(|entry| written_target(entry.target)).collect();
            format!(
                "{} within {} of {}",
                any_of(&response.stop),
                targets.join(" or "),
                any_of(&response.start)
            )
        }
        Promise::Touch(touch) => format!("{} {}", any_of(&touch.what), how_often(&touch.form)),
    };
    if let Some(stages) = &objective.while_stages {
        words += &format!(", while in {}", either(stages.iter().cloned()));
    }
    words
}

/// Any of some conditions.
pub fn any_of(conditions: &[Condition]) -> String {
    either(conditions.iter().map(condition))
}

fn how_often(form: &TouchForm) -> String {
    match form {
        TouchForm::Every(target) => format!("at least every {}", written_target(*target)),
        TouchForm::PerWindow(count, target) => {
            format!("at least {} in every {}", times(*count), written_target(*target))
        }
        TouchForm::Within(count, target) => {
            format!("at least {} within {}", times(*count), written_target(*target))
        }
        TouchForm::PerStage(count) => format!("at least {} before leaving", times(*count)),
        TouchForm::By(steps) => {
            let step = |(index, step): (usize, &Target)| {
                let time = if index == 0 { " time" } else { "" };
                format!("the {}{time} within {}", ordinal(index + 1), written_target(*step))
            };
            format!("for {}", steps.iter().enumerate().map(step).collect::<Vec<_>>().join(", "))
        }
    }
}

fn times(count: u32) -> String {
    if count == 1 { "once".to_string() } else { format!("{count} times") }
}

fn ordinal(number: usize) -> String {
    const NAMES: [&str; 5] = ["first", "second", "third", "fourth", "fifth"];
    let name = number.checked_sub(1).and_then(|index| NAMES.get(index));
    name.map_or_else(|| format!("{number}th"), |name| name.to_string())
}

/// The calendar by name; where an attribute chooses, the one of most leads and the others.
pub fn calendar(policies: &Policies, choice: &CalendarChoice) -> Option<String> {
    let name = |index: usize| policies.calendars[index].name.as_str();
    match choice {
        CalendarChoice::None => None,
        CalendarChoice::One(index) => Some(name(*index).to_string()),
        CalendarChoice::By { path, calendars, default } => {
            let others = calendars.iter().filter(|(_, index)| *index != default);
            let others = others.map(|(value, index)| format!("{} for {path} {value}", name(*index)));
            Some([name(*default).to_string()].into_iter().chain(others).collect::<Vec<_>>().join(", "))
        }
    }
}

/// What an objective has besides its promise, a line each.
pub fn details(objective: &Objective) -> Vec<String> {
    let (mut lines, mut rest) = (Vec::new(), Vec::new());
    if let Promise::Response(response) = &objective.promise {
        lines.extend(response.within.iter().filter(|_| response.within.len() > 1).map(entry));
        rest.extend(
            response.restart.then(|| "a second start cancels the clock and starts another".to_string()),
        );
        rest.extend(reentry(response.reentry).map(str::to_string));
    }
    lines.extend(pause(&objective.pause));
    lines.extend(list("warned ", objective.warn.iter().map(warning), ", ", ""));
    lines.extend(list("escalated ", objective.escalate.iter().map(escalation), " and ", " after a breach"));
    lines.extend(rest);
    let cost = |penalty: &Penalty| format!("a breach costs {} {}", penalty.amount, penalty.currency);
    lines.extend(objective.penalty.iter().map(cost));
    lines
}

fn list(before: &str, words: impl Iterator<Item = String>, between: &str, after: &str) -> Option<String> {
    let words: Vec<_> = words.collect();
    (!words.is_empty()).then(|| format!("{before}{}{after}", words.join(between)))
}

fn entry(entry: &Entry) -> String {
    let started = entry
        .started_open
        .map(|open| format!("started while the calendar is {}", if open { "open" } else { "closed" }));
    let target = written_target(entry.target);
    match (entry.matches.as_slice(), started) {
        ([], None) => format!("{target} for all others"),
        ([], Some(started)) => format!("{target} for any {started}"),
        (matches, None) => format!("{target} for {}", leads(matches)),
        (matches, Some(started)) => format!("{target} for {}, {started}", leads(matches)),
    }
}

fn pause(pause: &Pause) -> Option<String> {
    let stages = either(pause.stages.iter().cloned());
    match (pause.by_facts, pause.stages.as_slice()) {
        (true, []) => None,
        (false, []) => Some("never paused".to_string()),
        (true, _) => Some(format!("paused while in {stages}, and between `paused` and `resumed`")),
        (false, _) => Some(format!("paused only while in {stages}")),
    }
}

fn warning(warning: &Warning) -> String {
    match warning {
        Warning::Percent(percent) => format!("when {percent} % is used up"),
        Warning::Left(left) => format!("when {} are left", written_target(*left)),
    }
}

fn escalation(step: &Escalation) -> String {
    match step {
        Escalation::After(step) => written_target(*step),
        Escalation::Every(step, None) => format!("every {} (without end)", written_target(*step)),
        Escalation::Every(step, Some(count)) => {
            format!("every {} ({})", written_target(*step), times(*count))
        }
    }
}

fn reentry(reentry: Reentry) -> Option<&'static str> {
    match reentry {
        Reentry::New => None,
        Reentry::FirstOnly => Some("only the first start of a lead counts"),
        Reentry::Cumulative => Some("a start after an earlier clock has what that left of the time"),
    }
}

/// One condition.
pub fn condition(condition: &Condition) -> String {
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

/// What a contact's field must be.
pub fn either_of(test: &FieldTest) -> String {
    either(test.any_of.iter().map(operand))
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
