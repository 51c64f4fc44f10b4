//! Reads policies: what was promised to whom, and how fast.
//!
//! One rule makes the language: a policy's objective is the shared definition of that name with the
//! policy's fields laid over it. A bare duration is its `within`.

mod aside;
mod calendars;
mod choice;
mod conditions;
mod files;
mod holidays;
mod ics;
mod lints;
mod matching;
mod objectives;
mod pipeline;
mod touch;
mod validity;
mod within;

use std::collections::BTreeMap;

use self::files::Library;
pub use self::files::{Files, Folder};
pub use self::lints::lints;
use super::cursor::Cursor;
use super::problem::{Problems, Report};
use super::tree;
use crate::sla::calendar::Calendar;
use crate::sla::policy::{NameId, NamedCalendar, Objective, Pipeline, Policies, Policy};

/// What a file may hold.
const FILE_FIELDS: &[&str] = &["revision", "calendars", "pipeline", "objectives", "policies"];
/// What a policy may hold.
const POLICY_FIELDS: &[&str] = &[
    "name",
    "effective_from",
    "effective_until",
    "match",
    "calendar",
    "labels",
    "attainment_goal",
    "objectives",
    "stages",
];
/// Highest revision of a file: what every JSON reader reads exactly, 2^53 - 1.
const REVISION_MAX: u64 = (1 << 53) - 1;

/// Most policies in a file; they are told apart by 16 bits.
const POLICIES_MAX: usize = u16::MAX as usize;

/// Reads policies from a text that refers to no files. The errors are all its problems, under the
/// file's name.
pub fn read_policies(file_name: &str, text: &str) -> Result<Policies, Problems> {
    read_policies_with(file_name, text, &BTreeMap::new()).map(|(policies, _)| policies)
}

/// Reads policies from a text and the files it refers to, which are returned by the names it uses.
/// The errors are all the problems of both.
///
/// Read again with the files returned, the same text gives the same policies.
pub fn read_policies_with(
    file_name: &str,
    text: &str,
    files: &dyn Files,
) -> Result<(Policies, BTreeMap<String, String>), Problems> {
    let (report, library) = (Report::default(), Library::new(files));
    let origin = report.file(file_name, text);
    let tree = tree::parse(&report, origin, text);
    let policies = tree.as_ref().and_then(|root| read_file(&Cursor::root(root, &report), &library));
    let policies = report.finish(policies)?;
    let texts = library.into_texts();
    Ok((Policies { version: version(text, &texts), ..policies }, texts))
}

/// The first 16 hexadecimal digits of the hash of the text and of the files it refers to.
fn version(text: &str, files: &BTreeMap<String, String>) -> String {
    let mut hash = blake3::Hasher::new();
    hash.update(text.as_bytes());
    for part in files.iter().flat_map(|(name, text)| [name, text]) {
        // After a byte that no UTF-8 has, so that no text runs on into the next.
        hash.update(&[0xff]).update(part.as_bytes());
    }
    hash.finalize().to_hex().chars().take(16).collect()
}

/// What the policies of a file refer to, and the names they have used so far.
struct Shared<'a> {
    /// `None` is a calendar whose problems are reported already.
    calendars: Vec<(&'a str, Option<Calendar>)>,
    pipeline: Pipeline,
    objectives: Vec<objectives::Written<'a>>,
    names: Vec<String>,
}

fn read_file(root: &Cursor<'_>, library: &Library<'_>) -> Option<Policies> {
    let fields = root.fields(FILE_FIELDS, &[])?;
    let revision = match fields.get("revision") {
        Some(revision) => revision.whole(0..=REVISION_MAX).map(Some),
        None => Some(None),
    };
    let calendars = fields.get("calendars").and_then(|calendars| calendars::read(calendars, library));
    let mut shared = Shared {
        calendars: calendars.unwrap_or_default(),
        pipeline: fields.get("pipeline").and_then(pipeline::read).unwrap_or_default(),
        objectives: fields.get("objectives").and_then(objectives::written).unwrap_or_default(),
        names: Vec::new(),
    };
    objectives::check_shared(&shared);
    let policies = match fields.get("policies") {
        Some(list) => read_policies_of(list, &mut shared)?,
        None => return root.refuse("needs `policies`"),
    };
    let named = |(name, calendar): (&str, Option<Calendar>)| {
        calendar.map(|calendar| NamedCalendar { name: name.to_string(), calendar })
    };
    let calendars = shared.calendars.into_iter().map(named).collect::<Option<_>>()?;
    let version = String::new();
    Some(Policies {
        version,
        revision: revision?,
        calendars,
        pipeline: shared.pipeline,
        names: shared.names,
        policies,
    })
}

fn read_policies_of<'a>(list: &Cursor<'a>, shared: &mut Shared<'a>) -> Option<Vec<Policy>> {
    let items = list.items()?;
    if items.is_empty() {
        return list.refuse("must hold at least one policy");
    }
    if items.len() > POLICIES_MAX {
        return list.refuse(format!("must hold at most {POLICIES_MAX} policies"));
    }
    let mut names = validity::Names::default();
    let policies: Vec<_> = items.iter().map(|item| read_policy(item, &mut names, shared)).collect();
    if shared.names.len() > usize::from(NameId::MAX) {
        return list.refuse(format!("must use at most {} names of objectives", NameId::MAX));
    }
    policies.into_iter().collect()
}

fn read_policy<'a>(
    policy: &Cursor<'a>,
    names: &mut validity::Names<'a>,
    shared: &mut Shared<'a>,
) -> Option<Policy> {
    let fields = policy.fields(POLICY_FIELDS, &[])?;
    let valid = validity::read(&fields);
    let name = match fields.get("name") {
        Some(name) => names.read(name, policy, valid),
        None => policy.refuse("needs a `name`"),
    };
    let matches = fields.get("match").map_or(Some(Vec::new()), matching::read);
    let labels = fields.get("labels").map_or(Some(BTreeMap::new()), labels);
    let attainment_goal = match fields.get("attainment_goal") {
        Some(goal) => share(goal).map(Some),
        None => Some(None),
    };
    let objectives = objectives_of(policy, &fields, shared);
    Some(Policy {
        name: name?.to_string(),
        valid: valid?,
        matches: matches?,
        labels: labels?,
        attainment_goal: attainment_goal?,
        objectives: objectives?,
    })
}

fn objectives_of<'a>(
    policy: &Cursor<'a>,
    fields: &super::cursor::Fields<'a>,
    shared: &mut Shared<'a>,
) -> Option<Vec<Objective>> {
    let calendar = fields.get("calendar");
    if let Some(calendar) = calendar {
        choice::read(calendar, shared);
    }
    let (named, stages) = (fields.get("objectives"), fields.get("stages"));
    if named.is_none() && stages.is_none() {
        if fields.refused {
            return None;
        }
        let hint = "write `objectives: {}` for leads that are promised nothing";
        return policy.refuse(format!("needs `objectives` or `stages`; {hint}"));
    }
    let mut written = named.map_or(Some(Vec::new()), objectives::written)?;
    written.extend(stages.map_or(Some(Vec::new()), |stages| objectives::of_stages(stages, &written))?);
    let read: Vec<_> = written.iter().map(|one| objectives::read(one, calendar, shared)).collect();
    read.into_iter().collect()
}

fn labels(labels: &Cursor<'_>) -> Option<BTreeMap<String, String>> {
    let read = |(name, label): (&str, Cursor<'_>)| Some((name.to_string(), label.written()?.to_string()));
    let labels: Vec<_> = labels.entries()?.into_iter().map(read).collect();
    labels.into_iter().collect()
}

fn share(goal: &Cursor<'_>) -> Option<f64> {
    match goal.number()? {
        share if share > 0.0 && share <= 1.0 => Some(share),
        _ => goal.refuse("must be above 0 and at most 1, such as `0.9`"),
    }
}

#[cfg(test)]
mod tests;
