//! Reads which leads a policy covers, and the values it compares.

use crate::config::cursor::{Cursor, unsupported};
use crate::config::tree::{Kind, Value};
use crate::sla::policy::{Match, Scalar, Test};

/// Fields that describe an event and are attributes of no lead. Rule F8.
const EVENT_FIELDS: &[&str] = &["event_id", "type", "lead_id", "time"];
/// Comparisons that a later version knows.
const LATER_OPERATORS: &[&str] = &["gte", "gt", "lte", "lt", "not", "present"];
/// Largest integer that no other one is rounded to, 2^53 - 1.
const NUMBER_MAX: f64 = 9_007_199_254_740_991.0;

/// Reads `match`.
pub(super) fn read(matches: &Cursor<'_>) -> Option<Vec<Match>> {
    let read: Vec<_> = matches.entries()?.into_iter().map(|(path, value)| one(path, &value)).collect();
    read.into_iter().collect()
}

fn one(path: &str, value: &Cursor<'_>) -> Option<Match> {
    let path = attribute(path, value);
    let any_of = values(value, scalar);
    Some(Match { path: path?, tests: vec![Test::AnyOf(any_of?)] })
}

fn attribute(path: &str, value: &Cursor<'_>) -> Option<String> {
    let top = path.split('.').next().unwrap_or_default();
    if top == "stage" {
        value.key_problem("the stage is never an attribute; use `while: {stage: ...}` on an objective");
    } else if EVENT_FIELDS.contains(&top) {
        value.key_problem(format!("`{top}` describes one event and is never an attribute of the lead"));
    } else {
        return dotted(path, value);
    }
    None
}

/// The path of a contact's field.
pub(super) fn contact_field(path: &str, value: &Cursor<'_>) -> Option<String> {
    let top = path.split('.').next().unwrap_or_default();
    if EVENT_FIELDS.contains(&top) {
        value.key_problem(format!("`{top}` names the event and is never a detail of the contact"));
        return None;
    }
    dotted(path, value)
}

fn dotted(path: &str, value: &Cursor<'_>) -> Option<String> {
    if path.split('.').any(str::is_empty) {
        value.key_problem("must be a field or a dotted path such as `company.size`");
        return None;
    }
    Some(path.to_string())
}

/// Reads a value or a list of values, each with `read`.
pub(super) fn values<'a, T>(
    value: &Cursor<'a>,
    read: impl FnMut(&Cursor<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    if let Value::Map(_) = value.node.value {
        return operators(value);
    }
    value.some(read)
}

fn operators<T>(value: &Cursor<'_>) -> Option<T> {
    let entries = value.entries()?;
    let mut later = entries.iter().filter(|(name, _)| LATER_OPERATORS.contains(name)).peekable();
    if later.peek().is_none() {
        return value.refuse("must be a value or a list of values");
    }
    for (name, operator) in later {
        operator.key_problem(unsupported(name));
    }
    None
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
