//! What a pause takes out of time: T3, T9.

use std::ops::Range;

use super::lead::Lead;
use super::policy::{Objective, Span};

/// [from, to); without an end as far as is known.
pub type Pause = (i64, Option<i64>);

/// The pauses of an objective as these facts make them, in no order; they may overlap.
pub fn pauses(lead: &Lead, objective: &Objective, known: Range<usize>) -> Vec<Pause> {
    let Some(stages) = &objective.pause else { return Vec::new() };
    let mut pauses = Vec::new();
    for i in known.clone() {
        let is_paused_in =
            |j: usize| lead.stage_after(j).is_some_and(|stage| stages.iter().any(|s| s == stage));
        if is_paused_in(i) {
            // Until the next fact, whatever that is; pauses that touch are one.
            pauses.push((lead.at(i), (i + 1 < known.end).then(|| lead.at(i + 1))));
        }
        if lead.is(i, "paused") {
            let until = lead.facts[i].instant("until");
            let resumed = (i..known.end).find(|&j| lead.is(j, "resumed")).map(|j| lead.at(j));
            pauses.push((lead.at(i), [until, resumed].into_iter().flatten().min()));
        }
    }
    pauses.retain(|(from, to)| to.is_none_or(|to| *from < to));
    pauses
}

pub fn is_paused_at(pauses: &[Pause], at: i64) -> bool {
    pauses.iter().any(|(from, to)| *from <= at && to.is_none_or(|to| at < to))
}

/// The instants at which something begins or ends to be paused, within `(from, to)`.
fn cuts(pauses: &[Pause], from: i64, to: i64) -> Vec<i64> {
    let edges = pauses.iter().flat_map(|(begin, end)| [Some(*begin), *end]).flatten();
    let mut cuts: Vec<i64> = edges.filter(|at| from < *at && *at < to).collect();
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

/// Milliseconds of `[from, to)` in a pause.
pub fn paused_ms(pauses: &[Pause], from: i64, to: i64) -> i64 {
    let mut edges = cuts(pauses, from, to);
    edges.insert(0, from);
    edges.push(to);
    let paused = edges.windows(2).filter(|edge| is_paused_at(pauses, edge[0]));
    paused.map(|edge| (edge[1] - edge[0]).max(0)).sum()
}

impl Span {
    /// T3: the earliest instant at which the target is counted, unless a pause without an end comes
    /// before.
    pub fn due(&self, from: i64, pauses: &[Pause]) -> Option<i64> {
        let (mut left, mut at) = (self.millis, from);
        if left <= 0 {
            return Some(from);
        }
        for cut in cuts(pauses, from, i64::MAX) {
            if !is_paused_at(pauses, at) {
                let counted = self.passing(at, cut);
                if left <= counted {
                    break;
                }
                left -= counted;
            }
            at = cut;
        }
        (!is_paused_at(pauses, at)).then(|| match &self.open {
            Some(calendar) => calendar.due(at, left),
            None => at + left,
        })
    }

    /// Counted milliseconds of `[from, to)`.
    pub fn counted(&self, from: i64, to: i64, pauses: &[Pause]) -> i64 {
        let mut edges = cuts(pauses, from, to);
        edges.insert(0, from);
        edges.push(to);
        let running = edges.windows(2).filter(|edge| !is_paused_at(pauses, edge[0]));
        running.map(|edge| self.passing(edge[0], edge[1])).sum()
    }

    fn passing(&self, from: i64, to: i64) -> i64 {
        match &self.open {
            Some(calendar) => calendar.counted(from, to),
            None => to - from,
        }
    }
}
