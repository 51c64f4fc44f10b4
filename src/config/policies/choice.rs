//! Reads which calendar an objective counts on.

use std::collections::BTreeMap;

use super::within::Timed;
use super::{Shared, matching};
use crate::config::cursor::Cursor;
use crate::config::duration;
use crate::config::problem::did_you_mean;
use crate::config::tree::Value;
use crate::sla::policy::{CalendarChoice, Target};

/// Reads `calendar`: a name, or one name for each value of an attribute.
pub(super) fn read(field: &Cursor<'_>, shared: &Shared<'_>) -> Option<CalendarChoice> {
    match field.node.value {
        Value::Map(_) => by(field, shared),
        _ => index(field, shared).map(CalendarChoice::One),
    }
}

fn by(field: &Cursor<'_>, shared: &Shared<'_>) -> Option<CalendarChoice> {
    let (mut path, mut default, mut calendars) = (None, None, BTreeMap::new());
    let mut complete = true;
    for (name, value) in field.entries()? {
        let read = match name {
            "by" => attribute(&value).map(|attribute| path = Some(attribute)),
            "default" => index(&value, shared).map(|index| default = Some(index)),
            _ => index(&value, shared).map(|index| {
                calendars.insert(name.to_string(), index);
            }),
        };
        complete &= read.is_some();
    }
    if complete && path.is_none() {
        field.problem("needs `by`, the attribute that chooses");
    }
    if complete && default.is_none() {
        field.problem("needs `default`, the calendar of leads whose attribute is none of these");
    }
    complete.then_some(())?;
    Some(CalendarChoice::By { path: path?, calendars, default: default? })
}

fn attribute(field: &Cursor<'_>) -> Option<String> {
    matching::attribute(field.text()?).map_err(|message| field.problem(message)).ok()
}

/// The index of the calendar that is named.
fn index(field: &Cursor<'_>, shared: &Shared<'_>) -> Option<usize> {
    let name = field.text()?;
    let names = || shared.calendars.iter().map(|(name, _)| *name);
    names().position(|known| known == name).or_else(|| {
        let near = did_you_mean(name, names());
        field.refuse(format!("unknown calendar `{name}`{near}"))
    })
}

/// Says what is wrong where open time is asked for and there is no calendar.
pub(super) fn needs_calendar(what: &str, at: &Cursor<'_>, choice: &CalendarChoice) -> Option<()> {
    match choice {
        CalendarChoice::None => {
            at.refuse(format!("`{what}` needs a `calendar`, on the objective or on its policy"))
        }
        _ => Some(()),
    }
}

/// Whether each calendar of the choice has time for the target. Rule C5.
pub(super) fn can_hold(timed: &Timed<'_>, choice: &CalendarChoice, shared: &Shared<'_>) -> Option<()> {
    if let Target::Elapsed(_) = timed.target {
        return Some(());
    }
    needs_calendar(&duration::written(timed.target), &timed.at, choice)?;
    for index in choice.indexes() {
        let (name, calendar) = &shared.calendars[index];
        if !calendar.as_ref()?.can_hold(timed.target) {
            return timed.at.refuse(format!("is more than ten years of calendar `{name}` hold"));
        }
    }
    Some(())
}
