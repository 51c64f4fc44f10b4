//! Reads what an objective has beside its promise: pauses, warnings, escalations, re-entry and penalty.

use rust_decimal::Decimal;

use super::{conditions, within};
use crate::config::cursor::Cursor;
use crate::config::tree::Value;
use crate::sla::policy::{Escalation, Pause, Penalty, Reentry, Warning};

/// How often a repeating escalation repeats where the policy does not say. Rule T8.
const TIMES: u32 = 10;
/// Most times a repeating escalation can be asked for; more is `unlimited`.
const TIMES_MAX: u64 = 100_000;

/// Reads `pause`: what stands still the clocks. Rule T9.
pub(super) fn pause(field: &Cursor<'_>) -> Option<Pause> {
    let mut pause = Pause::default();
    let read = field.some(|item| match item.node.value {
        Value::Map(_) => stages(item).map(|stages| pause.stages.extend(stages)),
        _ => none(item).map(|()| pause.by_facts = false),
    });
    read.map(|_| pause)
}

fn none(item: &Cursor<'_>) -> Option<()> {
    match item.written()? {
        "none" => Some(()),
        _ => item.refuse("must be `none` or `{stage: ...}`"),
    }
}

/// Reads `{stage: ...}`.
pub(super) fn stages(condition: &Cursor<'_>) -> Option<Vec<String>> {
    let fields = condition.fields(&["stage"], &[])?;
    match fields.get("stage") {
        Some(stages) => stages.some(conditions::stage),
        None if fields.refused => None,
        None => condition.refuse("needs `stage`"),
    }
}

/// Reads `warn`. Rule T7.
pub(super) fn warnings(field: &Cursor<'_>) -> Option<Vec<Warning>> {
    field.some(|item| {
        let text = item.written()?.trim();
        match text.strip_suffix('%') {
            Some(share) => percent(share, item).map(Warning::Percent),
            None => left(text, item),
        }
    })
}

fn percent(share: &str, item: &Cursor<'_>) -> Option<u8> {
    let digits = share.bytes().all(|byte| byte.is_ascii_digit());
    let percent = share.parse().ok().filter(|percent| digits && (1..100).contains(percent));
    percent.or_else(|| item.refuse("must be from `1%` to `99%`"))
}

fn left(text: &str, item: &Cursor<'_>) -> Option<Warning> {
    let duration = text.strip_suffix(" left").unwrap_or(text).trim_end();
    if !duration.starts_with(|c: char| c.is_ascii_digit()) {
        return item
            .refuse("must be a share of the target such as `50%`, or what is left of it such as `5m left`");
    }
    let target = crate::config::duration::target(duration);
    target.map(Warning::Left).map_err(|message| item.problem(message)).ok()
}

/// Reads `escalate_after`; what repeats comes last. Rule T8.
pub(super) fn escalations(field: &Cursor<'_>) -> Option<Vec<Escalation>> {
    let steps = field.some(|item| match item.node.value {
        Value::Map(_) => repeated(item),
        _ => within::target(item).map(Escalation::After),
    })?;
    let repeats = |step: &Escalation| matches!(step, Escalation::Every(..));
    match steps.iter().position(repeats) {
        Some(index) if index + 1 < steps.len() => {
            field.items_or_one()[index].refuse("repeats and must be the last step")
        }
        _ => Some(steps),
    }
}

fn repeated(item: &Cursor<'_>) -> Option<Escalation> {
    let fields = item.fields(&["every", "times"], &[])?;
    let every = match fields.get("every") {
        Some(every) => within::target(every),
        None if fields.refused => None,
        None => item.refuse("needs `every`, such as `{every: 7d}`"),
    };
    let times = fields.get("times").map_or(Some(Some(TIMES)), times);
    Some(Escalation::Every(every?, times?))
}

fn times(field: &Cursor<'_>) -> Option<Option<u32>> {
    let text = field.written()?;
    let number = || text.parse().ok().filter(|number| (1..=TIMES_MAX).contains(number));
    match (text, number()) {
        ("unlimited", _) => Some(None),
        (_, Some(number)) => u32::try_from(number).ok().map(Some),
        _ => field.refuse(format!("must be a whole number from 1 to {TIMES_MAX}, or `unlimited`")),
    }
}

/// Reads `reentry`. Rule T14.
pub(super) fn reentry(field: &Cursor<'_>) -> Option<Reentry> {
    match field.text()? {
        "new" => Some(Reentry::New),
        "first_only" => Some(Reentry::FirstOnly),
        "cumulative" => Some(Reentry::Cumulative),
        other => field.refuse(format!("`{other}` is not one of `new`, `first_only`, `cumulative`")),
    }
}

/// Reads `penalty`. Rule T19.
pub(super) fn penalty(field: &Cursor<'_>) -> Option<Penalty> {
    let fields = field.fields(&["amount", "currency"], &[])?;
    let (amount, currency) = (fields.get("amount"), fields.get("currency"));
    if (amount.is_none() || currency.is_none()) && !fields.refused {
        field.problem("needs `amount` and `currency`, such as `{amount: 50, currency: EUR}`");
    }
    let (amount, currency) = (amount.and_then(self::amount), currency.and_then(self::currency));
    Some(Penalty { amount: amount?, currency: currency? })
}

/// Reads an amount from its text: not every decimal is a binary number.
fn amount(field: &Cursor<'_>) -> Option<Decimal> {
    let text = field.written()?;
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let amount = plain.then(|| Decimal::from_str_exact(text).ok()).flatten();
    amount
        .filter(|amount| *amount > Decimal::ZERO)
        .or_else(|| field.refuse("must be a decimal above zero such as `50` or `99.95`"))
}

fn currency(field: &Cursor<'_>) -> Option<String> {
    match field.text()? {
        code if code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase()) => {
            Some(code.to_string())
        }
        _ => field.refuse("must be three capital letters such as `EUR`"),
    }
}
