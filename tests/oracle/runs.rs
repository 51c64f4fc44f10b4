//! The clocks that a lead has had where one policy always covered it: T2 to T6, T9, T10, T13, T14.

use serde_json::Value;

use super::lead::Lead;
use super::pauses::{Pause, is_paused_at, pauses};
use super::policy::{Objective, Policies, Policy, Span, holds};

/// One policy by its name, as it judges a lead that it always covered.
pub struct World<'a> {
    pub lead: &'a Lead<'a>,
    pub policies: &'a Policies,
    pub name: &'a str,
    pub horizon: i64,
}

/// One run of an objective's clock.
#[derive(Clone)]
pub struct Run<'a> {
    pub policy: &'a Policy,
    pub objective: &'a Objective,
    pub name: &'a str,
    /// The fact that starts it or, of a later window, its row of windows.
    pub start: usize,
    pub started_at: i64,
    /// Of a `by` clock, from 1.
    pub step: Option<usize>,
    /// `None` where leaving alone decides: `per: stage`.
    pub span: Option<Span>,
    /// What makes it run no more.
    pub finish: Option<Finish>,
    /// The deadline, where there is one.
    pub due_at: Option<i64>,
    pub breached_at: Option<i64>,
    /// A window is over with its breach. T15.
    pub is_window: bool,
}

#[derive(Clone, Copy)]
pub struct Finish {
    pub at: i64,
    /// `None` where a window runs out.
    pub fact: Option<usize>,
    pub is_stop: bool,
}

impl<'a> World<'a> {
    /// All clocks, of starts and of touches, by objective and start.
    pub fn runs(&self) -> Vec<Run<'a>> {
        let named = self.policies.policies.iter().filter(|policy| policy.name == self.name);
        let mut names: Vec<&String> = named.flat_map(|policy| policy.objectives.keys()).collect();
        names.sort();
        names.dedup();
        let mut all = Vec::new();
        for name in names {
            all.extend(self.runs_of(name));
            all.extend(self.touch_runs(name));
        }
        all
    }

    /// T13: the objective as the version says that judges what starts at `at`.
    pub fn promise(&self, name: &str, at: i64) -> Option<(&'a Policy, &'a Objective)> {
        let policy = self.policies.version_at(self.name, at)?;
        Some((policy, policy.objectives.get(name)?))
    }

    /// The runs of one objective, each from the first start at or after the finish of the one before.
    fn runs_of(&self, name: &'a str) -> Vec<Run<'a>> {
        let lead = self.lead;
        let mut runs: Vec<Run> = Vec::new();
        let mut from = 0;
        while let Some((start, policy, objective)) =
            (from..lead.facts.len()).find_map(|i| self.start(name, i))
        {
            let mut finish = self.finish(name, objective, start);
            from = finish.map_or(lead.facts.len(), |finish| finish.fact.unwrap_or(start));
            let satisfied = |fact| Some(Finish { at: lead.at(start), fact: Some(fact), is_stop: true });
            match satisfied_by(lead, objective, start) {
                // I1: another start in its instant is the same start.
                Some(stop) if stop <= start => {
                    finish = satisfied(start);
                    from = after_its_instant(lead, start);
                }
                Some(stop) if !(from..stop).any(|i| self.start(name, i).is_some()) => {
                    finish = satisfied(stop);
                    from = stop;
                }
                _ => {}
            }
            // F3: stopped or ended and started again within the instant it started, a clock runs on.
            runs.retain(|run| run.started_at != lead.at(start));
            let Some(span) = self.span(&runs, objective, start) else {
                from = start + 1;
                continue;
            };
            let (started_at, span) = (lead.at(start), Some(span));
            let run = Run {
                policy,
                objective,
                name,
                start,
                started_at,
                step: None,
                span,
                finish,
                due_at: None,
                breached_at: None,
                is_window: false,
            };
            runs.push(judged(lead, run));
        }
        runs
    }

    /// T14: the target of a start, `None` where an earlier clock forbids it.
    fn span(&self, earlier: &[Run], objective: &Objective, start: usize) -> Option<Span> {
        let life = self.lead.life(start);
        let mut earlier = earlier.iter().filter(|run| life.contains(&run.start)).peekable();
        let mut span = objective.span(self.lead, self.lead.at(start));
        if earlier.peek().is_none() || objective.reentry == "new" {
            return Some(span);
        }
        for visit in earlier {
            if objective.reentry == "first_only" || visit.breached_at.is_some() {
                return None;
            }
            span.millis -= visit.counted(self.lead, visit.finish?.at);
        }
        Some(span)
    }

    /// T2: whether fact `i` is a start of the objective, and of which version.
    fn start(&self, name: &str, i: usize) -> Option<(usize, &'a Policy, &'a Objective)> {
        let lead = self.lead;
        let (policy, objective) = self.promise(name, lead.at(i))?;
        let open = !lead.is_gone_after(i) && !lead.is_closed_after(i);
        let starts = objective.start.iter().any(|condition| {
            holds(condition, lead, i, lead.owner_after(i)) && (open || is_hand_off(condition, lead, i))
        });
        (starts && is_in_its_stages(lead, objective, i)).then_some((i, policy, objective))
    }

    /// The first fact after the start that stops the clock, ends it, or restarts it. F3, T2, T10.
    fn finish(&self, name: &str, objective: &Objective, started: usize) -> Option<Finish> {
        let lead = self.lead;
        (started + 1..lead.facts.len()).find_map(|i| {
            let is_stop = is_stop(lead, objective, i, lead.owner_after(i));
            let restart = self
                .start(name, i)
                .is_some_and(|(_, _, again)| again.restart && lead.at(i) != lead.at(started));
            let is_end = is_end(lead, objective, started, i);
            (is_stop || is_end || restart).then_some(Finish { at: lead.at(i), fact: Some(i), is_stop })
        })
    }
}

/// T3 to T5, T9: the deadline as it stands when the clock runs no more, and the breach.
pub fn judged<'a>(lead: &Lead, mut run: Run<'a>) -> Run<'a> {
    let known = run.finish.and_then(|finish| finish.fact).map_or(lead.life(run.start).end, |i| i + 1);
    let due_at = run.due_at(lead, known);
    run.breached_at = due_at.filter(|due_at| run.finish.is_none_or(|finish| *due_at < finish.at));
    run.due_at = match run.finish {
        Some(finish) => run.shown_due_at(lead, known, finish.at),
        None => due_at,
    };
    run
}

impl Run<'_> {
    /// What pauses the clock, by the facts before `known`.
    pub fn pauses(&self, lead: &Lead, known: usize) -> Vec<Pause> {
        pauses(lead, self.objective, lead.life(self.start).start..known)
    }

    fn due_at(&self, lead: &Lead, known: usize) -> Option<i64> {
        self.span.as_ref()?.due(self.started_at, &self.pauses(lead, known))
    }

    /// T9: the deadline of a clock looked at at `at`: none while it is paused and not yet there.
    pub fn shown_due_at(&self, lead: &Lead, known: usize, at: i64) -> Option<i64> {
        let is_paused = is_paused_at(&self.pauses(lead, known), at);
        self.due_at(lead, known).filter(|due_at| !is_paused || *due_at <= at)
    }

    /// Counted milliseconds from the start to `to`.
    pub fn counted(&self, lead: &Lead, to: i64) -> i64 {
        let elapsed = Span { millis: 0, open: None, days: 0 };
        let pauses = self.pauses(lead, lead.life(self.start).end);
        self.span.as_ref().unwrap_or(&elapsed).counted(self.started_at, to, &pauses)
    }
}

/// T10: whether the condition, which fact `i` meets, is one of entering a closed stage.
fn is_hand_off(condition: &Value, lead: &Lead, i: usize) -> bool {
    let names_the_entry = condition.get("entered").is_some() || condition.get("to").is_some();
    names_the_entry && lead.enters_closed(i) && !lead.is_gone_after(i)
}

/// Whether the clock that fact `start` starts is one of a closed lead.
fn is_handed_off(lead: &Lead, start: usize) -> bool {
    lead.is_closed_after(start)
}

/// T2: `while`.
fn is_in_its_stages(lead: &Lead, objective: &Objective, i: usize) -> bool {
    let stage = lead.stage_after(i);
    objective.stages.as_ref().is_none_or(|stages| stages.iter().any(|s| Some(s.as_str()) == stage))
}

fn is_stop(lead: &Lead, objective: &Objective, i: usize, owner: Option<&str>) -> bool {
    objective.stop.iter().any(|condition| holds(condition, lead, i, owner))
}

/// T6: the stop that satisfies at its start the clock that fact `start` starts.
fn satisfied_by(lead: &Lead, objective: &Objective, start: usize) -> Option<usize> {
    let started_at = lead.at(start);
    let asked = |kind: &str| objective.start.iter().any(|condition| condition == kind);
    let mut known = lead.life(start).filter(|&i| lead.at(i) <= started_at);
    let since_creation = |i: &usize| lead.created_at(start).is_some_and(|created| created <= lead.at(*i));
    let by_creation = (asked("created") && lead.is_created_by(start))
        .then(|| known.clone().find(|&i| is_stop(lead, objective, i, lead.owner_after(i))));
    let by_assignment = (asked("assigned") && lead.is_first_assigned_by(start))
        .then(|| known.find(|i| since_creation(i) && is_stop(lead, objective, *i, lead.owner_after(start))));
    by_creation.flatten().or(by_assignment.flatten())
}

/// The first fact after `start` of a later instant or another life.
fn after_its_instant(lead: &Lead, start: usize) -> usize {
    let life = lead.life(start);
    (start..life.end).find(|&i| lead.at(i) > lead.at(start)).unwrap_or(life.end)
}

/// T10, and `while` of T2.
fn is_end(lead: &Lead, objective: &Objective, started: usize, i: usize) -> bool {
    let closed = if is_handed_off(lead, started) { lead.is_reopened_by(i) } else { lead.enters_closed(i) };
    lead.is_taken_by(i) || closed || !is_in_its_stages(lead, objective, i)
}
