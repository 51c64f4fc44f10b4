//! Reads objectives: shared definitions, and those of a policy laid over them.

use super::touch;
use super::within::{self, Within};
use super::{Shared, aside, choice, conditions};
use crate::config::cursor::{Cursor, Fields};
use crate::config::duration;
use crate::config::tree::Value;
use crate::sla::policy::{
    CalendarChoice, Condition, Escalation, NameId, Objective, Pause, Penalty, Promise, Reentry, Response,
    Target, Warning,
};

/// What says what an objective promises; an entry of `stages` does so by its name.
const SUBJECT: &[&str] = &["start", "stop", "touch"];
/// What else an objective may hold.
const TERMS: &[&str] = &[
    "while",
    "pause",
    "restart",
    "reentry",
    "within",
    "warn",
    "escalate_after",
    "calendar",
    "severity",
    "penalty",
];

/// An objective as written in one place.
pub(super) struct Written<'a> {
    pub name: String,
    /// Of an entry of `stages`: the stage it is about.
    pub stage: Option<&'a str>,
    /// `None` where its problems are reported already.
    pub fields: Option<Fields<'a>>,
}

/// The objectives of a map, each as it is written.
pub(super) fn written<'a>(objectives: &Cursor<'a>) -> Option<Vec<Written<'a>>> {
    let entries = objectives.entries()?.into_iter();
    let one = |(name, value): (&'a str, Cursor<'a>)| {
        let name = checked_name(name, &value);
        Written { name, stage: None, fields: fields(&value, &[SUBJECT, TERMS].concat()) }
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
        Written { name, stage: Some(stage), fields: fields(&value, TERMS) }
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
        Value::Map(_) => value.fields(known, &[]),
        _ if value.node.is_null() => {
            value.refuse("must be a duration or a map of fields; `{}` takes the shared definition as it is")
        }
        _ => Some(Fields::bare("within", value)),
    }
}

/// Reports what is wrong with the shared definitions, used or not.
pub(super) fn check_shared(shared: &Shared<'_>) {
    for fields in shared.objectives.iter().filter_map(|written| written.fields.as_ref()) {
        Parts::read(fields, None, shared);
    }
}

/// The fields of an objective that are written, each read; the outer `None` of one is a problem.
struct Parts<'a> {
    start: Option<Option<Vec<Condition>>>,
    stop: Option<Option<Vec<Condition>>>,
    within: Option<Option<Within<'a>>>,
    touch: Option<Option<touch::Written<'a>>>,
    while_stages: Option<Option<Vec<String>>>,
    pause: Option<Option<Pause>>,
    restart: Option<bool>,
    reentry: Option<Option<Reentry>>,
    warn: Option<Option<Vec<Warning>>>,
    escalate: Option<Option<Vec<Escalation>>>,
    calendar: Option<Option<CalendarChoice>>,
    severity: Option<Option<String>>,
    penalty: Option<Option<Penalty>>,
}

impl<'a> Parts<'a> {
    fn read(fields: &Fields<'a>, stage: Option<&str>, shared: &Shared<'_>) -> Parts<'a> {
        let start = stage.map(|stage| vec![Condition::Entered(vec![stage.to_string()])]);
        let stop = stage.map(|stage| vec![Condition::Left { from: vec![stage.to_string()], to: None }]);
        let conditions = |field: &Cursor<'_>| conditions::read(field, &shared.pipeline);
        Parts {
            start: start.map_or_else(|| optional(fields.get("start"), conditions), |start| Some(Some(start))),
            stop: stop.map_or_else(|| optional(fields.get("stop"), conditions), |stop| Some(Some(stop))),
            within: optional(fields.get("within"), within::read),
            touch: touch(fields, stage),
            while_stages: optional(fields.get("while"), aside::stages),
            pause: optional(fields.get("pause"), aside::pause),
            restart: fields.get("restart").map_or(Some(false), Cursor::boolean),
            reentry: optional(fields.get("reentry"), aside::reentry),
            warn: optional(fields.get("warn"), aside::warnings),
            escalate: optional(fields.get("escalate_after"), aside::escalations),
            calendar: optional(fields.get("calendar"), |field| choice::read(field, shared)),
            severity: optional(fields.get("severity"), |field| field.text().map(str::to_string)),
            penalty: optional(fields.get("penalty"), aside::penalty),
        }
    }

    /// Whether the time it may take can be counted on its calendar. Rule C5.
    fn can_be_counted(&self, calendar: &CalendarChoice, shared: &Shared<'_>) -> Option<()> {
        let (within, touch) = (self.within.as_ref()?.as_ref(), self.touch.as_ref()?.as_ref());
        let targets =
            within.map(|within| &within.targets).into_iter().chain(touch.map(|touch| &touch.targets));
        let held: Vec<_> = targets.flatten().map(|timed| choice::can_hold(timed, calendar, shared)).collect();
        let started = within.into_iter().flat_map(|within| &within.started);
        let open: Vec<_> = started.map(|at| choice::needs_calendar("started", at, calendar)).collect();
        held.into_iter().chain(open).collect()
    }

    fn promise(self) -> Option<Promise> {
        if let Some(written) = self.touch? {
            return Some(Promise::Touch(written.touch));
        }
        Some(Promise::Response(Response {
            start: self.start??,
            stop: self.stop??,
            restart: self.restart?,
            reentry: self.reentry?.unwrap_or_default(),
            within: self.within??.entries,
        }))
    }
}

/// `Some(None)` where nothing is written, `None` where it has a problem.
fn optional<'a, T>(
    field: Option<&Cursor<'a>>,
    read: impl FnOnce(&Cursor<'a>) -> Option<T>,
) -> Option<Option<T>> {
    field.map_or(Some(None), |field| read(field).map(Some))
}

fn touch<'a>(fields: &Fields<'a>, stage: Option<&str>) -> Option<Option<touch::Written<'a>>> {
    let Some(field) = fields.get("touch") else { return Some(None) };
    if stage.is_some() {
        field.key_problem("an entry of `stages` runs from entering to leaving and has no `touch`");
        return None;
    }
    let alone = touch::refuse_others(fields);
    let read = touch::read(field);
    alone.and(read).map(Some)
}

/// Reads an objective of a policy, which gives it `calendar` where it has none of its own.
pub(super) fn read<'a>(
    written: &Written<'a>,
    calendar: Option<&Cursor<'a>>,
    shared: &mut Shared<'a>,
) -> Option<Objective> {
    let fields = written.laid_over(&shared.objectives)?;
    let mut parts = Parts::read(&fields, written.stage, shared);
    require(&fields, &parts);
    let calendar = match parts.calendar.take()? {
        Some(own) => Some(own),
        None => optional(calendar, |field| choice::read(field, shared))?,
    };
    let calendar = calendar.unwrap_or_default();
    let escalates = escalates_on(written, parts.escalate.as_ref()?.as_deref(), &calendar);
    parts.can_be_counted(&calendar, shared)?;
    escalates?;
    Some(Objective {
        name: name_id(&written.name, &mut shared.names),
        while_stages: parts.while_stages.take()?,
        pause: parts.pause.take()?.unwrap_or_default(),
        warn: parts.warn.take()?.unwrap_or_default(),
        escalate: parts.escalate.take()?.unwrap_or_default(),
        calendar,
        severity: parts.severity.take()?,
        penalty: parts.penalty.take()?,
        promise: parts.promise()?,
    })
}

/// Whether the steps that the policy itself gives can be counted; those of a shared definition are for
/// policies with a calendar too.
fn escalates_on(
    written: &Written<'_>,
    steps: Option<&[Escalation]>,
    calendar: &CalendarChoice,
) -> Option<()> {
    let Some(field) = written.fields.as_ref()?.get("escalate_after") else { return Some(()) };
    let check = |(step, at): (&Escalation, Cursor<'_>)| match step {
        Escalation::After(Target::Elapsed(_)) | Escalation::Every(Target::Elapsed(_), _) => Some(()),
        Escalation::After(target) | Escalation::Every(target, _) => {
            choice::needs_calendar(&duration::written(*target), &at, calendar)
        }
    };
    let checked: Vec<_> = steps.unwrap_or_default().iter().zip(field.items_or_one()).map(check).collect();
    checked.into_iter().collect()
}

impl<'a> Written<'a> {
    /// Its fields, laid over those of the shared definition of its name.
    pub fn laid_over(&self, shared: &[Written<'a>]) -> Option<Fields<'a>> {
        let upper = self.fields.clone()?;
        match shared.iter().find(|lower| lower.name == self.name) {
            Some(lower) => Some(lower.fields.clone()?.under(upper)),
            None => Some(upper),
        }
    }
}

fn require(fields: &Fields<'_>, parts: &Parts<'_>) {
    if fields.get("touch").is_some() {
        return;
    }
    let missing = [
        ("`start`", matches!(parts.start, Some(None))),
        ("`stop`", matches!(parts.stop, Some(None))),
        ("`within`", matches!(parts.within, Some(None))),
    ];
    let missing: Vec<_> = missing.iter().filter(|(_, missing)| *missing).map(|(name, _)| *name).collect();
    let or_touch = if missing.len() == 3 { ", or `touch`" } else { "" };
    if !missing.is_empty() && !fields.refused {
        fields.of.key_problem(format!("needs {}{or_touch}", missing.join(", ")));
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
