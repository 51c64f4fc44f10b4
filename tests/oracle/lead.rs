//! What holds of a lead after each of its facts: F5, F6, F8, T10.

use std::ops::Range;

use serde_json::{Map, Value};

use super::fact::Fact;
use super::policy::Pipeline;

/// A lead's facts in the order of F3. A fact is named by its place in that order.
pub struct Lead<'a> {
    pub facts: &'a [Fact],
    pub pipeline: &'a Pipeline,
}

impl Lead<'_> {
    pub fn at(&self, i: usize) -> i64 {
        self.facts[i].at
    }

    pub fn is(&self, i: usize, kind: &str) -> bool {
        self.facts[i].kind == kind
    }

    /// The last fact dated at or before `t`, which is to say: after all facts dated so.
    pub fn last_at(&self, t: i64) -> Option<usize> {
        (0..self.facts.len()).rev().find(|&i| self.at(i) <= t)
    }

    /// F5: a `lead-created` after `lead-deleted`, the lead not being merged.
    fn begins_anew(&self, i: usize) -> bool {
        let deleted = (0..i).rev().find(|&j| self.is(j, "lead-created") || self.is(j, "lead-deleted"));
        let merged = (0..i).any(|j| self.is(j, "lead-merged"));
        self.is(i, "lead-created") && !merged && deleted.is_some_and(|j| self.is(j, "lead-deleted"))
    }

    /// All facts between the beginning before `i` and the next beginning.
    pub fn life(&self, i: usize) -> Range<usize> {
        let from = (0..=i).rev().find(|&j| self.begins_anew(j)).unwrap_or(0);
        let to = (i + 1..self.facts.len()).find(|&j| self.begins_anew(j));
        from..to.unwrap_or(self.facts.len())
    }

    /// The facts that count after fact `i`.
    fn known(&self, i: usize) -> Range<usize> {
        self.life(i).start..i + 1
    }

    pub fn stage_after(&self, i: usize) -> Option<&str> {
        self.known(i).rev().find_map(|j| self.facts[j].stage())
    }

    fn stage_before(&self, i: usize) -> Option<&str> {
        let before = self.life(i).start..i;
        before.rev().find_map(|j| self.facts[j].stage())
    }

    pub fn owner_after(&self, i: usize) -> Option<&str> {
        self.known(i).rev().find_map(|j| self.facts[j].owner()).flatten()
    }

    fn owner_before(&self, i: usize) -> Option<&str> {
        let before = self.life(i).start..i;
        before.rev().find_map(|j| self.facts[j].owner()).flatten()
    }

    /// The value at a dotted path after fact `i`; `owner` is the lead's owner. F8.
    pub fn attribute_after(&self, i: usize, path: &str) -> Option<Value> {
        if path == "owner" {
            return self.owner_after(i).map(Value::from);
        }
        let mut attributes = Map::new();
        for j in self.known(i) {
            lay_over(&mut attributes, &self.facts[j].attributes());
        }
        at_path(&attributes, path).cloned()
    }

    /// The value that match, target and calendar see at `t`. F8.
    pub fn attribute_at(&self, t: i64, path: &str) -> Option<Value> {
        self.last_at(t).and_then(|i| self.attribute_after(i, path))
    }

    /// F5: the earliest `lead-created` of its life.
    pub fn is_created_by(&self, i: usize) -> bool {
        self.is(i, "lead-created") && !(self.life(i).start..i).any(|j| self.is(j, "lead-created"))
    }

    /// The date of the creation in the life of fact `i`, if it has one.
    pub fn created_at(&self, i: usize) -> Option<i64> {
        self.life(i).find(|&j| self.is_created_by(j)).map(|j| self.at(j))
    }

    /// F8: whether fact `i` gives the lead an owner that it does not have.
    pub fn is_assigned_by(&self, i: usize) -> bool {
        matches!(self.facts[i].owner(), Some(Some(owner)) if self.owner_before(i) != Some(owner))
    }

    /// T6: whether this is the first assignment of its life.
    pub fn is_first_assigned_by(&self, i: usize) -> bool {
        self.is_assigned_by(i) && !(self.life(i).start..i).any(|j| self.is_assigned_by(j))
    }

    /// F6: the stage left, if any, and the stage entered, where fact `i` changes the stage.
    pub fn stage_change(&self, i: usize) -> Option<(Option<&str>, &str)> {
        let (before, entered) = (self.stage_before(i), self.facts[i].stage()?);
        (before != Some(entered)).then_some((before, entered))
    }

    /// T10: whether fact `i` enters a closed stage.
    pub fn enters_closed(&self, i: usize) -> bool {
        self.stage_change(i).is_some_and(|(_, to)| self.pipeline.closes(to))
    }

    /// T10: whether fact `i` enters an open stage from a closed one.
    pub fn is_reopened_by(&self, i: usize) -> bool {
        self.stage_change(i).is_some_and(|(from, to)| {
            from.is_some_and(|from| self.pipeline.closes(from)) && !self.pipeline.closes(to)
        })
    }

    /// T10, T11: whether fact `i` takes the lead away.
    pub fn is_taken_by(&self, i: usize) -> bool {
        self.is(i, "lead-deleted") || self.is(i, "lead-merged")
    }

    /// T10: whether the lead has been deleted or merged, and has not come back, after fact `i`.
    pub fn is_gone_after(&self, i: usize) -> bool {
        self.known(i).any(|j| self.is_taken_by(j))
    }

    /// T10: a lead is closed while its stage is.
    pub fn is_closed_after(&self, i: usize) -> bool {
        self.stage_after(i).is_some_and(|stage| self.pipeline.closes(stage))
    }
}

/// Sets what `set` says: an object is laid over an object name by name, `null` clears, and
/// anything else takes the place of what was there.
fn lay_over(attributes: &mut Map<String, Value>, set: &Map<String, Value>) {
    for (name, value) in set {
        match value {
            Value::Null => drop(attributes.remove(name)),
            Value::Object(below) => {
                let present = attributes.entry(name).or_insert(Value::Null);
                if !present.is_object() {
                    *present = Value::Object(Map::new());
                }
                if let Value::Object(present) = present {
                    lay_over(present, below);
                }
            }
            _ => drop(attributes.insert(name.clone(), value.clone())),
        }
    }
}

/// The value at a dotted path; `null` is no value.
pub fn at_path<'a>(fields: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    match (fields.get(first)?, rest) {
        (Value::Null, _) => None,
        (value, None) => Some(value),
        (Value::Object(below), Some(rest)) => at_path(below, rest),
        _ => None,
    }
}
