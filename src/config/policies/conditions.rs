//! Reads what starts and stops a clock.

use super::matching::{contact_field, scalar, values};
use crate::config::cursor::Cursor;
use crate::config::problem::{did_you_mean, listed};
use crate::config::tree::Value;
use crate::sla::policy::{Condition, Destination, FieldTest, Operand, Pipeline, Scalar};

/// Conditions that are written as a bare word.
const WORDS: &[&str] = &["created", "assigned", "reopened", "contacted"];

/// Reads a condition or a list of which any must hold.
pub(super) fn read(conditions: &Cursor<'_>, pipeline: &Pipeline) -> Option<Vec<Condition>> {
    conditions.some(|condition| one(condition, pipeline))
}

fn one(condition: &Cursor<'_>, pipeline: &Pipeline) -> Option<Condition> {
    match condition.node.value {
        Value::Map(_) => of_map(condition, pipeline),
        Value::List(_) => condition.refuse("must be a condition, not a list in a list"),
        Value::Scalar(..) => word(condition),
    }
}

fn word(condition: &Cursor<'_>) -> Option<Condition> {
    match condition.text()? {
        "created" => Some(Condition::Created),
        "assigned" => Some(Condition::Assigned),
        "reopened" => Some(Condition::Reopened),
        "contacted" => Some(any_contact()),
        stage @ ("entered" | "left") => {
            condition.refuse(format!("`{stage}` needs a stage, such as `{{{stage}: qualified}}`"))
        }
        other => {
            let near = did_you_mean(other, WORDS.iter().copied());
            let near = if near.is_empty() { format!(", must be one of {}", allowed()) } else { near };
            condition.refuse(format!("unknown condition `{other}`{near}"))
        }
    }
}

fn allowed() -> String {
    format!("{}, `{{contacted: ...}}`, `{{entered: ...}}`, `{{left: ...}}`", listed(WORDS.iter().copied()))
}

fn of_map(condition: &Cursor<'_>, pipeline: &Pipeline) -> Option<Condition> {
    let fields = condition.fields(&["contacted", "entered", "left", "to"], &[])?;
    let (contact, entered, left) = (fields.get("contacted"), fields.get("entered"), fields.get("left"));
    if let (None, Some(to)) = (left, fields.get("to")) {
        to.key_problem("belongs to `left`");
    }
    match (contact, entered, left) {
        (Some(contact), None, None) => contacted(contact),
        (None, Some(stages), None) => stages.some(stage).map(Condition::Entered),
        (None, None, Some(stages)) => {
            let from = stages.some(stage);
            let to = fields.get("to").map(|to| to.some(|to| destination(to, pipeline)));
            Some(Condition::Left { from: from?, to: to.map_or(Some(None), |to| to.map(Some))? })
        }
        (None, None, None) if fields.refused => None,
        (None, None, None) => condition.refuse(format!("must be one of {}", allowed())),
        _ => condition.refuse("must be one condition; a list of conditions means any of them"),
    }
}

/// Reads the name of a stage.
pub(super) fn stage(stage: &Cursor<'_>) -> Option<String> {
    stage.text().map(str::to_string)
}

fn destination(to: &Cursor<'_>, pipeline: &Pipeline) -> Option<Destination> {
    let (destination, listed, list) = match to.text()? {
        "forward" => (Destination::Forward, !pipeline.open.is_empty(), "open"),
        "won" => (Destination::Won, !pipeline.won.is_empty(), "won"),
        "lost" => (Destination::Lost, !pipeline.lost.is_empty(), "lost"),
        stage => return Some(Destination::Stage(stage.to_string())),
    };
    match listed {
        true => Some(destination),
        false => to.refuse(format!("`{}` needs stages in `pipeline.{list}`", to.text()?)),
    }
}

/// The contact that is asked for where a policy says no more.
pub(super) fn any_contact() -> Condition {
    Condition::Contacted(with_defaults(None, None, Vec::new()))
}

/// Reads which contacts are asked for.
pub(super) fn contacted(contact: &Cursor<'_>) -> Option<Condition> {
    let (mut direction, mut by, mut others) = (None, None, Vec::new());
    let mut complete = true;
    for (path, value) in contact.entries()? {
        let test = match path {
            "direction" => one_of(&value, &["outbound", "inbound"]).map(|tests| direction = Some(tests)),
            "by" => one_of(&value, &["human", "automation"]).map(|tests| by = Some(tests)),
            _ => field(path, &value).map(|test| others.push(test)),
        };
        complete &= test.is_some();
    }
    complete.then(|| Condition::Contacted(with_defaults(direction, by, others)))
}

/// Adds what a contact is asked for where the policy does not say. Rule F7.
fn with_defaults(
    direction: Option<Vec<Operand>>,
    by: Option<Vec<Operand>>,
    others: Vec<FieldTest>,
) -> Vec<FieldTest> {
    let asked = |path: &str, any_of: Option<Vec<Operand>>, default: &str| {
        let any_of = any_of.unwrap_or_else(|| vec![text(default)]);
        // No operand is left where the policy asks for `any`.
        (!any_of.is_empty()).then(|| FieldTest { path: path.to_string(), any_of })
    };
    let defaults = [asked("direction", direction, "outbound"), asked("by", by, "human")];
    defaults.into_iter().flatten().chain(others).collect()
}

fn text(value: &str) -> Operand {
    Operand::Value(Scalar::Text(value.to_string()))
}

/// Reads some of `allowed`; none at all where `any` is among them.
fn one_of(value: &Cursor<'_>, allowed: &[&str]) -> Option<Vec<Operand>> {
    let names = values(value, |value| match value.text()? {
        name if name == "any" || allowed.contains(&name) => Some(name),
        name => {
            let allowed = listed(allowed.iter().copied());
            value.refuse(format!("`{name}` is not one of {allowed}, `any`"))
        }
    })?;
    let any = names.contains(&"any");
    Some(names.into_iter().filter(|_| !any).map(text).collect())
}

fn field(path: &str, value: &Cursor<'_>) -> Option<FieldTest> {
    let path = contact_field(path, value);
    let any_of = values(value, operand);
    Some(FieldTest { path: path?, any_of: any_of? })
}

fn operand(value: &Cursor<'_>) -> Option<Operand> {
    match scalar(value)? {
        Scalar::Text(text) if text == "$owner" => Some(Operand::Owner),
        Scalar::Text(text) if text.starts_with('$') => {
            value.refuse(format!("unknown reference `{text}`, must be `$owner`"))
        }
        scalar => Some(Operand::Value(scalar)),
    }
}
