//! Reads how often a lead must be contacted. Rule T15.

use super::conditions;
use super::within::{Timed, target, timed};
use crate::config::cursor::{Cursor, Fields};
use crate::sla::policy::{Condition, Touch, TouchForm};

/// Most steps of `by`.
const STEPS_MAX: usize = 100;
/// Most touches that can be asked for: more facts are not kept of a lead.
const TOUCHES_MAX: u64 = 10_000;

/// What a touch objective has not, and why.
const OF_RESPONSES: &[(&str, &str)] = &[
    ("start", "its clocks start when the lead enters the stages of `while`"),
    ("stop", "a touch is what it waits for; say which under `touch: {contacted: ...}`"),
    ("within", "`touch` says how often"),
    ("restart", "each touch and each window begins anew"),
    ("reentry", "each re-entry of its stages begins anew"),
];

/// `touch` as written.
pub(super) struct Written<'a> {
    pub touch: Touch,
    pub targets: Vec<Timed<'a>>,
}

/// Reports fields that have no meaning beside `touch`.
pub(super) fn refuse_others(fields: &Fields<'_>) -> Option<()> {
    let mut found =
        OF_RESPONSES.iter().filter_map(|(name, why)| Some((name, why, fields.get(name)?))).peekable();
    let none = found.peek().is_none();
    found.for_each(|(name, why, field)| {
        field.key_problem(format!("a touch objective has no `{name}`: {why}"))
    });
    none.then_some(())
}

/// Reads `touch`.
pub(super) fn read<'a>(touch: &Cursor<'a>) -> Option<Written<'a>> {
    let fields = touch.fields(&["every", "at_least", "per", "within", "by", "contacted"], &[])?;
    let what = fields.get("contacted").map_or_else(|| Some(vec![conditions::any_contact()]), contacts);
    let (form, targets) = form(touch, &fields)?;
    Some(Written { touch: Touch { what: what?, form }, targets })
}

fn contacts(field: &Cursor<'_>) -> Option<Vec<Condition>> {
    field.some(conditions::contacted)
}

fn form<'a>(touch: &Cursor<'a>, fields: &Fields<'a>) -> Option<(TouchForm, Vec<Timed<'a>>)> {
    match ["every", "at_least", "per", "within", "by"].map(|name| fields.get(name)) {
        [Some(every), None, None, None, None] => {
            let every = timed(every)?;
            Some((TouchForm::Every(every.target), vec![every]))
        }
        [None, Some(count), Some(per), None, None] => per_form(count, per),
        [None, Some(count), None, Some(within), None] => {
            let (count, within) = (touches(count), timed(within));
            let (count, within) = (count?, within?);
            Some((TouchForm::Within(count, within.target), vec![within]))
        }
        [None, None, None, None, Some(steps)] => by(steps),
        _ if fields.refused => None,
        _ => touch.refuse(
            "must be one of `{every: 3d}`, `{at_least: 3, per: 1w}`, `{at_least: 3, within: 10d}`, \
             `{at_least: 3, per: stage}`, `{by: [1h, 1d, 3d]}`",
        ),
    }
}

fn per_form<'a>(count: &Cursor<'a>, per: &Cursor<'a>) -> Option<(TouchForm, Vec<Timed<'a>>)> {
    let count = touches(count);
    if per.written()? == "stage" {
        return Some((TouchForm::PerStage(count?), Vec::new()));
    }
    let per = timed(per)?;
    Some((TouchForm::PerWindow(count?, per.target), vec![per]))
}

fn touches(count: &Cursor<'_>) -> Option<u32> {
    count.whole(1..=TOUCHES_MAX).and_then(|count| u32::try_from(count).ok())
}

fn by<'a>(steps: &Cursor<'a>) -> Option<(TouchForm, Vec<Timed<'a>>)> {
    if steps.items_or_one().len() > STEPS_MAX {
        return steps.refuse(format!("must have at most {STEPS_MAX} steps"));
    }
    let targets = steps.some(target)?;
    let places = steps.items_or_one().into_iter().zip(&targets);
    let timed = places.map(|(at, target)| Timed { target: *target, at }).collect();
    Some((TouchForm::By(targets), timed))
}
