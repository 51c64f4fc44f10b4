//! Reads which leads a policy covers, and the values it compares.

use crate::config::cursor::Cursor;
use crate::config::problem::listed;
use crate::config::tree::{Kind, Value};
use crate::sla::policy::{Comparison, Match, Scalar, Test};

/// Fields that describe an event and are attributes of no lead. Rule F8.
const EVENT_FIELDS: &[&str] = &["event_id", "type", "lead_id", "time"];
/// What a value may be compared by, besides being equal.
const OPERATORS: &[&str] = &["gte", "gt", "lte", "lt", "not", "present"];
/// Largest integer that no other one is rounded to, 2^53 - 1.
const NUMBER_MAX: f64 = 9_007_199_254_740_991.0;

/// Reads `match`.
pub(super) fn read(matches: &Cursor<'_>) -> Option<Vec<Match>> {
    let read: Vec<_> = matches.entries()?.into_iter().map(|(path, value)| one(path, &value)).collect();
    read.into_iter().collect()
}

fn one(path: &str, value: &Cursor<'_>) -> Option<Match> {
    let path = attribute(path).map_err(|message| value.key_problem(message)).ok();
    let tests = tests(value);
    Some(Match { path: path?, tests: tests? })
}

/// The path of an attribute of a lead.
pub(super) fn attribute(path: &str) -> Result<String, String> {
    let top = path.split('.').next().unwrap_or_default();
    if top == "stage" {
        Err("the stage is never an attribute; use `while: {stage: ...}` on an objective".to_string())
    } else if EVENT_FIELDS.contains(&top) {
        Err(format!("`{top}` describes one event and is never an attribute of the lead"))
    } else {
        dotted(path)
    }
}

/// The path of a contact's field.
pub(super) fn contact_field(path: &str, value: &Cursor<'_>) -> Option<String> {
    let top = path.split('.').next().unwrap_or_default();
    if EVENT_FIELDS.contains(&top) {
        value.key_problem(format!("`{top}` names the event and is never a detail of the contact"));
        return None;
    }
    dotted(path).map_err(|message| value.key_problem(message)).ok()
}

fn dotted(path: &str) -> Result<String, String> {
    match path.split('.').any(str::is_empty) {
        true => Err("must be a field or a dotted path such as `company.size`".to_string()),
        false => Ok(path.to_string()),
    }
}

/// Reads a value or a list of values, each with `read`.
pub(super) fn values<'a, T>(
    value: &Cursor<'a>,
    read: impl FnMut(&Cursor<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    if let Value::Map(_) = value.node.value {
        return value.refuse("must be a value or a list of values");
    }
    value.some(read)
}

/// Reads what an attribute must be: a value, a list of values, or operators that must all hold.
fn tests(value: &Cursor<'_>) -> Option<Vec<Test>> {
    let Value::Map(_) = value.node.value else {
        return values(value, scalar).map(|scalars| vec![Test::AnyOf(scalars)]);
    };
    let fields = value.fields(OPERATORS, &[])?;
    let operators: Vec<_> =
        value.entries()?.into_iter().filter(|(name, _)| fields.get(name).is_some()).collect();
    if operators.is_empty() && !fields.refused {
        return value.refuse(format!("must hold some of {}", listed(OPERATORS.iter().copied())));
    }
    let read: Vec<_> = operators.iter().map(|(name, operand)| operator(name, operand)).collect();
    read.into_iter().collect()
}

fn operator(name: &str, operand: &Cursor<'_>) -> Option<Test> {
    let comparison = match name {
        "not" => return values(operand, scalar).map(Test::NoneOf),
        "present" => return operand.boolean().map(Test::Present),
        "gte" => Comparison::AtLeast,
        "gt" => Comparison::Above,
        "lte" => Comparison::AtMost,
        _ => Comparison::Below,
    };
    match scalar(operand)? {
        Scalar::Number(bound) => Some(Test::Compared(comparison, bound)),
        _ => operand.refuse("must be a number: order is only between numbers"),
    }
}

/// Reads one value to compare with.
pub(super) fn scalar(value: &Cursor<'_>) -> Option<Scalar> {
    match &value.node.value {
        Value::Scalar(Kind::Text, text) => Some(Scalar::Text(text.clone())),
        Value::Scalar(Kind::Bool(truth), _) => Some(Scalar::Bool(*truth)),
        Value::Scalar(Kind::Number(number), _) if number.abs() <= NUMBER_MAX => Some(Scalar::Number(*number)),
        Value::Scalar(Kind::Number(_), text) => {
            value.refuse(format!("`{text}` is beyond what JSON numbers hold exactly, below 2^53"))
        }
        Value::Scalar(Kind::Null, _) => value.refuse("must not be null: nothing is equal to an absent value"),
        _ => value.refuse("must be a single value"),
    }
}
