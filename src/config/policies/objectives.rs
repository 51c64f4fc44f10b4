//! Reads objectives: shared definitions, and those of a policy laid over them.

use super::{Shared, conditions};
use crate::config::cursor::{Cursor, Fields, unsupported};
use crate::config::duration;
use crate::config::problem::did_you_mean;
use crate::config::tree::Value;
use crate::sla::policy::{
    CalendarChoice, Condition, Entry, NameId, Objective, Pause, Promise, Reentry, Response, Target,
};

/// What an objective may hold.
const FIELDS: &[&str] = &["start", "stop", "while", "restart", "within", "calendar", "severity"];
/// What an entry of `stages` may hold: it starts and stops by its name.
const STAGE_FIELDS: &[&str] = &["while", "restart", "within", "calendar", "severity"];
/// What a later version knows of an objective.
const LATER_FIELDS: &[&str] = &["warn", "escalate_after", "pause", "touch", "reentry", "penalty"];

/// An objective as written in one place.
pub(super) struct Written<'a> {
    name: String,
    /// Of an entry of `stages`: the stage it is about.
    stage: Option<&'a str>,
    /// `None` where its problems are reported already.
    fields: Option<Fields<'a>>,
}

/// The objectives of a map, each as it is written.
pub(super) fn written<'a>(objectives: &Cursor<'a>) -> Option<Vec<Written<'a>>> {
    let entries = objectives.entries()?.into_iter();
    let one = |(name, value): (&'a str, Cursor<'a>)| {
        let name = checked_name(name, &value);
        Written { name, stage: None, fields: fields(&value, FIELDS) }
    };
    Some(entries.map(one).collect())
}

/// The objectives that `stages` is short for: `stage-NAME`, from entering to leaving.
pub(super) fn of_stages<'a>(stages: &Cursor<'a>, others: &[Written<'a>]) -> Option<Vec<Written<'a>>> {
    let entries = stages.entries()?.into_iter();
    let one = |(stage, value): (&'a str, Cursor<'a>)| {
        let name = format!("stage-{}", checked_name(stage, &value));
        if others.iter().any(|other| other.name == name) {
            value.key_problem(format!("`{name}` is among the policy's `objectives` already"));
        }
        Written { name, stage: Some(stage), fields: fields(&value, STAGE_FIELDS) }
    };
    Some(entries.map(one).collect())
}

fn checked_name(name: &str, value: &Cursor<'_>) -> String {
    if name.trim().is_empty() || name.chars().any(char::is_control) {
        value.key_problem("must have a name");
    }
    name.to_string()
}

fn fields<'a>(value: &Cursor<'a>, known: &[&str]) -> Option<Fields<'a>> {
    match value.node.value {
        Value::Map(_) => value.fields(known, LATER_FIELDS),
        Value::List(_) => conditional(value),
        _ if value.node.is_null() => {
            value.refuse("must be a duration or a map of fields; `{}` takes the shared definition as it is")
        }
        Value::Scalar(..) => Some(Fields::bare("within", value)),
    }
}

fn conditional<T>(within: &Cursor<'_>) -> Option<T> {
    within.refuse(unsupported("within: [...]"))
}

/// Reports what is wrong with the shared definitions, used or not.
pub(super) fn check_shared(shared: &Shared<'_>) {
    for fields in shared.objectives.iter().filter_map(|written| written.fields.as_ref()) {
        Parts::read(fields, None, shared);
    }
}

/// The fields of an objective that are written, each read; the outer `None` of one is a problem.
struct Parts {
    start: Option<Option<Vec<Condition>>>,
    stop: Option<Option<Vec<Condition>>>,
    within: Option<Option<Target>>,
    while_stages: Option<Option<Vec<String>>>,
    restart: Option<bool>,
    calendar: Option<Option<usize>>,
    severity: Option<Option<String>>,
}

impl Parts {
    fn read(fields: &Fields<'_>, stage: Option<&str>, shared: &Shared<'_>) -> Parts {
        let start = stage.map(|stage| vec![Condition::Entered(vec![stage.to_string()])]);
        let stop = stage.map(|stage| vec![Condition::Left { from: vec![stage.to_string()], to: None }]);
        let conditions = |field: &Cursor<'_>| conditions::read(field, &shared.pipeline);
        Parts {
            start: start.map_or_else(|| optional(fields.get("start"), conditions), |start| Some(Some(start))),
            stop: stop.map_or_else(|| optional(fields.get("stop"), conditions), |stop| Some(Some(stop))),
            within: optional(fields.get("within"), target),
            while_stages: optional(fields.get("while"), while_stages),
            restart: fields.get("restart").map_or(Some(false), Cursor::boolean),
            calendar: optional(fields.get("calendar"), |field| calendar_index(field, shared)),
            severity: optional(fields.get("severity"), |field| field.text().map(str::to_string)),
        }
    }
}

/// `Some(None)` where nothing is written, `None` where it has a problem.
fn optional<'a, T>(
    field: Option<&Cursor<'a>>,
    read: impl FnOnce(&Cursor<'a>) -> Option<T>,
) -> Option<Option<T>> {
    field.map_or(Some(None), |field| read(field).map(Some))
}

fn target(within: &Cursor<'_>) -> Option<Target> {
    match within.node.value {
        Value::List(_) => conditional(within),
        _ => duration::target(within.written()?).map_err(|message| within.problem(message)).ok(),
    }
}

fn while_stages(condition: &Cursor<'_>) -> Option<Vec<String>> {
    let fields = condition.fields(&["stage"], &[])?;
    match fields.get("stage") {
        Some(stages) => stages.some(conditions::stage),
        None if fields.refused => None,
        None => condition.refuse("needs `stage`"),
    }
}

/// The index of the calendar that is named.
pub(super) fn calendar_index(field: &Cursor<'_>, shared: &Shared<'_>) -> Option<usize> {
    if let Value::Map(_) = field.node.value {
        return field.refuse(unsupported("calendar: {by: ...}"));
    }
    let name = field.text()?;
    let names = || shared.calendars.iter().map(|(name, _)| *name);
    names().position(|known| known == name).or_else(|| {
        let near = did_you_mean(name, names());
        field.refuse(format!("unknown calendar `{name}`{near}"))
    })
}

/// Reads an objective of a policy, which gives it `calendar` where it has none of its own.
pub(super) fn read<'a>(
    written: &Written<'a>,
    calendar: Option<&Cursor<'a>>,
    shared: &mut Shared<'a>,
) -> Option<Objective> {
    let fields = laid_over(written, shared)?;
    let parts = Parts::read(&fields, written.stage, shared);
    require(&fields, &parts);
    let within = parts.within??;
    let calendar = match parts.calendar? {
        Some(own) => Some(own),
        None => optional(calendar, |field| calendar_index(field, shared))?,
    };
    can_hold(&fields, within, calendar, shared)?;
    Some(Objective {
        name: name_id(&written.name, &mut shared.names),
        promise: Promise::Response(Response {
            start: parts.start??,
            stop: parts.stop??,
            restart: parts.restart?,
            reentry: Reentry::New,
            within: vec![Entry { matches: Vec::new(), started_open: None, target: within }],
        }),
        while_stages: parts.while_stages?,
        pause: Pause::default(),
        warn: Vec::new(),
        escalate: Vec::new(),
        calendar: calendar.map_or(CalendarChoice::None, CalendarChoice::One),
        severity: parts.severity?,
        penalty: None,
    })
}

fn laid_over<'a>(written: &Written<'a>, shared: &Shared<'a>) -> Option<Fields<'a>> {
    let upper = written.fields.clone()?;
    match shared.objectives.iter().find(|lower| lower.name == written.name) {
        Some(lower) => Some(lower.fields.clone()?.under(upper)),
        None => Some(upper),
    }
}

fn require(fields: &Fields<'_>, parts: &Parts) {
    let missing = [
        ("`start`", matches!(parts.start, Some(None))),
        ("`stop`", matches!(parts.stop, Some(None))),
        ("`within`", matches!(parts.within, Some(None))),
    ];
    let missing: Vec<_> = missing.iter().filter(|(_, missing)| *missing).map(|(name, _)| *name).collect();
    if !missing.is_empty() && !fields.refused {
        fields.of.key_problem(format!("needs {}", missing.join(", ")));
    }
}

/// Whether the calendar has time for the target. Rule C5.
fn can_hold(fields: &Fields<'_>, target: Target, calendar: Option<usize>, shared: &Shared<'_>) -> Option<()> {
    let within = fields.get("within")?;
    match (target, calendar) {
        (Target::Elapsed(_), _) => Some(()),
        (_, None) => {
            let text = duration::written(target);
            within.refuse(format!("`{text}` needs a `calendar`, on the objective or on its policy"))
        }
        (_, Some(index)) => {
            let (name, calendar) = &shared.calendars[index];
            match calendar.as_ref()?.can_hold(target) {
                true => Some(()),
                false => within.refuse(format!("is more than ten years of calendar `{name}` hold")),
            }
        }
    }
}

fn name_id(name: &str, names: &mut Vec<String>) -> NameId {
    let index = names.iter().position(|known| known == name).unwrap_or_else(|| {
        names.push(name.to_string());
        names.len() - 1
    });
    // More names than an id can tell apart are refused at the end.
    NameId::try_from(index).unwrap_or(NameId::MAX)
}
