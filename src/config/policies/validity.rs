//! Reads when a version of a policy is valid. Rule T13.

use std::collections::BTreeMap;

use crate::config::cursor::{Cursor, Fields};
use crate::sla::policy::Validity;

/// The names that policies have used, each with where and for when.
#[derive(Default)]
pub(super) struct Names<'a>(BTreeMap<&'a str, Vec<(Validity, Cursor<'a>)>>);

/// Reads `effective_from` and `effective_until`.
pub(super) fn read(fields: &Fields<'_>) -> Option<Validity> {
    let instant = |name| fields.get(name).map_or(Some(None), |field| field.instant().map(Some));
    let (from, until) = (instant("effective_from"), instant("effective_until"));
    let valid = Validity { from: from?, until: until? };
    match (valid.from, valid.until, fields.get("effective_until")) {
        (Some(from), Some(until), Some(field)) if until <= from => {
            field.refuse(format!("must be later than `effective_from`, {from}"))
        }
        _ => Some(valid),
    }
}

impl<'a> Names<'a> {
    /// Reads the name of a policy; others of the same name are valid at other times.
    pub fn read(
        &mut self,
        name: &Cursor<'a>,
        policy: &Cursor<'a>,
        valid: Option<Validity>,
    ) -> Option<&'a str> {
        let (text, valid) = (name.text()?, valid?);
        let versions = self.0.entry(text).or_default();
        if let Some((other, at)) = versions.iter().find(|(other, _)| overlap(*other, valid)) {
            return name.refuse(taken(text, at, [*other, valid]));
        }
        versions.push((valid, policy.clone()));
        Some(text)
    }
}

fn overlap(one: Validity, other: Validity) -> bool {
    let ends_before = |one: Validity, other: Validity| matches!((one.until, other.from), (Some(until), Some(from)) if until <= from);
    !ends_before(one, other) && !ends_before(other, one)
}

fn taken(name: &str, at: &Cursor<'_>, valid: [Validity; 2]) -> String {
    let path = &at.path;
    if valid == [Validity::default(); 2] {
        return format!("`{name}` is the name of {path} already");
    }
    let place = at.report.written_at(at.node.at);
    format!(
        "`{name}` is valid at the same time as {path} ({place}): versions of a policy must not overlap, set \
         `effective_from` and `effective_until`"
    )
}
