//! Reads how long an objective allows: one target, or a list of which the first entry that fits counts.

use super::matching;
use crate::config::cursor::Cursor;
use crate::config::duration;
use crate::config::tree::Value;
use crate::sla::policy::{Entry, Target};

/// A target and where it is written.
pub(super) struct Timed<'a> {
    pub target: Target,
    pub at: Cursor<'a>,
}

/// `within` as written.
pub(super) struct Within<'a> {
    pub entries: Vec<Entry>,
    pub targets: Vec<Timed<'a>>,
    /// Where an entry asks whether the calendar is open.
    pub started: Vec<Cursor<'a>>,
}

/// Reads one duration.
pub(super) fn target(field: &Cursor<'_>) -> Option<Target> {
    duration::target(field.written()?).map_err(|message| field.problem(message)).ok()
}

/// Reads one duration and keeps its place.
pub(super) fn timed<'a>(field: &Cursor<'a>) -> Option<Timed<'a>> {
    target(field).map(|target| Timed { target, at: field.clone() })
}

/// Reads `within`; the last entry of a list fits every lead, and no other does.
pub(super) fn read<'a>(within: &Cursor<'a>) -> Option<Within<'a>> {
    let Value::List(_) = within.node.value else {
        let target = bare(within)?;
        return Some(Within {
            entries: vec![entry(target.target)],
            targets: vec![target],
            started: Vec::new(),
        });
    };
    let mut read = Within { entries: Vec::new(), targets: Vec::new(), started: Vec::new() };
    let lines = within.items()?;
    let all: Vec<_> = lines.iter().map(|line| one(line, &mut read)).collect();
    all.into_iter().collect::<Option<()>>()?;
    ends_in_one_that_fits_all(within, &lines, &read.entries)?;
    Some(read)
}

fn entry(target: Target) -> Entry {
    Entry { matches: Vec::new(), started_open: None, target }
}

fn bare<'a>(within: &Cursor<'a>) -> Option<Timed<'a>> {
    match within.node.value {
        Value::Map(_) => within.refuse(
            "must be a duration, or a list of `{if: ..., started: ..., target: ...}` that ends in a duration",
        ),
        _ => timed(within),
    }
}

fn one<'a>(line: &Cursor<'a>, read: &mut Within<'a>) -> Option<()> {
    let Value::Map(_) = line.node.value else {
        let target = timed(line)?;
        read.entries.push(entry(target.target));
        read.targets.push(target);
        return Some(());
    };
    let fields = line.fields(&["if", "started", "target"], &[])?;
    let matches = fields.get("if").map_or(Some(Vec::new()), matching::read);
    let started_open = fields.get("started").map_or(Some(None), |field| started(field).map(Some));
    let target = match fields.get("target") {
        Some(field) => timed(field),
        None if fields.refused => None,
        None => line.refuse("needs `target`"),
    };
    read.started.extend(fields.get("started").cloned());
    (!fields.refused).then_some(())?;
    let target = target?;
    read.entries.push(Entry { matches: matches?, started_open: started_open?, target: target.target });
    read.targets.push(target);
    Some(())
}

/// Whether the calendar is asked to be open.
fn started(field: &Cursor<'_>) -> Option<bool> {
    match field.text()? {
        "open" => Some(true),
        "closed" => Some(false),
        other => field.refuse(format!("`{other}` is not one of `open`, `closed`")),
    }
}

fn ends_in_one_that_fits_all(within: &Cursor<'_>, lines: &[Cursor<'_>], entries: &[Entry]) -> Option<()> {
    let fits_all = |entry: &Entry| entry.matches.is_empty() && entry.started_open.is_none();
    match entries.iter().position(fits_all) {
        Some(index) if index + 1 == entries.len() => Some(()),
        Some(index) => lines[index].refuse("fits every lead and must be the last entry"),
        None => within.refuse("must end in a bare target, such as `4h`, for leads that no other entry fits"),
    }
}
