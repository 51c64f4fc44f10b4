//! Touch frequency: T15.

use std::collections::BTreeMap;

use serde_json::Value;

use super::lead::Lead;
use super::policy::{Objective, fields, is_contact};
use super::runs::{Finish, Run, World, judged};

/// A stay in the stages: the facts by which it begins and ends.
#[derive(Clone, Copy)]
struct Stay {
    entry: usize,
    leaving: Option<usize>,
}

impl<'a> World<'a> {
    /// The clocks of one objective of touches; none where it is no such objective.
    pub fn touch_runs(&self, name: &'a str) -> Vec<Run<'a>> {
        let mut runs = Vec::new();
        let mut from = 0;
        while let Some(stay) = (from..self.lead.facts.len()).find_map(|i| self.stay(name, i)) {
            runs.extend(self.runs_of_stay(name, stay));
            from = stay.leaving.unwrap_or(self.lead.facts.len());
        }
        // F3: of the same start, the last.
        let runs = runs.into_iter().map(|run| ((run.started_at, run.step), run));
        runs.collect::<BTreeMap<_, _>>().into_values().collect()
    }

    /// The stay that begins with fact `i`.
    fn stay(&self, name: &str, i: usize) -> Option<Stay> {
        let lead = self.lead;
        let (_, objective) = self.promise(name, lead.at(i)).filter(|(_, o)| !o.touch.is_null())?;
        let was_inside = i > lead.life(i).start && is_inside(lead, objective, i - 1);
        let enters = match &objective.stages {
            Some(_) => !was_inside,
            None => lead.is_created_by(i) || lead.is_reopened_by(i),
        };
        let leaves = |&j: &usize| !is_inside(lead, objective, j);
        let stay = Stay { entry: i, leaving: (i + 1..lead.life(i).end).find(leaves) };
        (enters && is_inside(lead, objective, i)).then_some(stay)
    }

    fn runs_of_stay(&self, name: &'a str, stay: Stay) -> Vec<Run<'a>> {
        let Some((_, objective)) = self.promise(name, self.lead.at(stay.entry)) else { return Vec::new() };
        let touches = touches(self.lead, objective, stay);
        let touch = &objective.touch;
        match (touch.get("every"), touch.get("by"), touch.get("per").and_then(Value::as_str)) {
            (Some(_), _, _) => self.every(name, stay, &touches),
            (_, Some(_), _) => self.by(name, stay, &touches),
            (_, _, Some("stage")) => self.per_stage(name, stay, &touches),
            (_, _, Some(_)) => self.windows(name, stay, &touches),
            _ => self.window(name, stay, &touches, self.lead.at(stay.entry), "within").into_iter().collect(),
        }
    }

    /// A clock of the stay, before it is judged.
    fn run(&self, name: &'a str, stay: Stay, started_at: i64, duration: Option<&str>) -> Option<Run<'a>> {
        let (policy, objective) = self.promise(name, started_at)?;
        let span =
            |duration| objective.duration(&objective.touch[duration], self.lead, started_at, started_at);
        Some(Run {
            policy,
            objective,
            name,
            start: stay.entry,
            started_at,
            step: None,
            span: duration.map(span),
            finish: stay.leaving.map(|fact| self.finished(fact, false)),
            due_at: None,
            breached_at: None,
            is_window: false,
        })
    }

    fn finished(&self, fact: usize, is_stop: bool) -> Finish {
        Finish { at: self.lead.at(fact), fact: Some(fact), is_stop }
    }

    /// From entering or from each touch to the next.
    fn every(&self, name: &'a str, stay: Stay, touches: &[usize]) -> Vec<Run<'a>> {
        let starts = [stay.entry].into_iter().chain(touches.iter().copied());
        let run = |(k, start): (usize, usize)| {
            let mut run = self.run(name, stay, self.lead.at(start), Some("every"))?;
            run.finish = touches.get(k).map(|&next| self.finished(next, true)).or(run.finish);
            Some(judged(self.lead, run))
        };
        starts.enumerate().filter_map(run).collect()
    }

    /// The n-th touch by the n-th step.
    fn by(&self, name: &'a str, stay: Stay, touches: &[usize]) -> Vec<Run<'a>> {
        let started_at = self.lead.at(stay.entry);
        let steps = |run: &Run| run.objective.touch["by"].as_array().cloned().unwrap_or_default();
        let Some(first) = self.run(name, stay, started_at, None) else { return Vec::new() };
        let run = |(k, step): (usize, Value)| {
            let mut run = first.clone();
            run.span = Some(run.objective.duration(&step, self.lead, started_at, started_at));
            run.step = Some(k + 1);
            run.finish = touches.get(k).map(|&touch| self.finished(touch, true)).or(run.finish);
            judged(self.lead, run)
        };
        steps(&first).into_iter().enumerate().map(run).collect()
    }

    /// At least so many touches before leaving; deletion and merge cancel.
    fn per_stage(&self, name: &'a str, stay: Stay, touches: &[usize]) -> Vec<Run<'a>> {
        let Some(mut run) = self.run(name, stay, self.lead.at(stay.entry), None) else { return Vec::new() };
        run.is_window = true;
        let enough = touches.get(asked(&run)).map(|&touch| self.finished(touch, true));
        let left = stay.leaving.filter(|&leaving| enough.is_none() && !self.lead.is_taken_by(leaving));
        run.breached_at = left.map(|leaving| self.lead.at(leaving));
        run.due_at = run.breached_at;
        run.finish = enough.or(run.finish);
        vec![run]
    }

    /// Windows laid end to end, as far as the horizon.
    fn windows(&self, name: &'a str, stay: Stay, touches: &[usize]) -> Vec<Run<'a>> {
        let mut windows = Vec::new();
        let mut begins = Some(self.lead.at(stay.entry)).filter(|at| *at <= self.horizon);
        while let Some(window) = begins.and_then(|at| self.window(name, stay, touches, at, "per")) {
            let left_at = stay.leaving.map(|leaving| self.lead.at(leaving));
            begins = self
                .runs_out(&window)
                .filter(|at| *at <= self.horizon && left_at.is_none_or(|left| *at < left));
            windows.push(window);
        }
        windows
    }

    /// The instant at which a window is over whatever happens in it.
    fn runs_out(&self, window: &Run) -> Option<i64> {
        let pauses = window.pauses(self.lead, self.lead.life(window.start).end);
        window.span.as_ref()?.due(window.started_at, &pauses)
    }

    /// The window (a, b] that begins at `a`; the first holds its start too.
    fn window(&self, name: &'a str, stay: Stay, touches: &[usize], a: i64, length: &str) -> Option<Run<'a>> {
        let mut run = self.run(name, stay, a, Some(length))?;
        run.is_window = true;
        let b = self.runs_out(&run);
        let is_first = a == self.lead.at(stay.entry);
        let holds = |at: i64| (is_first || a < at) && b.is_none_or(|b| at <= b);
        let mut within = touches.iter().filter(|&&touch| holds(self.lead.at(touch)));
        let enough = within.nth(asked(&run)).map(|&touch| self.finished(touch, true));
        let left = run.finish.filter(|finish| holds(finish.at));
        let is_over = b.map(|at| Finish { at, fact: None, is_stop: false });
        run.finish = enough.or(left).or(is_over);
        let mut run = judged(self.lead, run);
        if enough.or(left).is_none() {
            run.breached_at = b;
            run.due_at = b;
        }
        Some(run)
    }
}

/// The place of the touch that is enough, from 0.
fn asked(run: &Run) -> usize {
    run.objective.touch["at_least"].as_u64().unwrap_or(1) as usize - 1
}

/// Whether touches count after fact `i`: in the stages of an open lead, or without stages in one
/// that was created or reopened.
fn is_inside(lead: &Lead, objective: &Objective, i: usize) -> bool {
    let in_stages =
        |stages: &Vec<String>| lead.stage_after(i).is_some_and(|stage| stages.iter().any(|s| s == stage));
    !lead.is_gone_after(i) && !lead.is_closed_after(i) && objective.stages.as_ref().is_none_or(in_stages)
}

/// What counts as a touch during a stay, in the order of F3.
fn touches(lead: &Lead, objective: &Objective, stay: Stay) -> Vec<usize> {
    let asked = fields(&objective.touch["contacted"]);
    let during = stay.entry + 1..stay.leaving.unwrap_or(lead.life(stay.entry).end);
    during.filter(|&i| is_contact(&asked, lead, i, lead.owner_after(i))).collect()
}
