//! What the policies in force made of a lead, one after the other: T7, T8, T12, T17, T18.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::lead::Lead;
use super::pauses::paused_ms;
use super::policy::{Policies, Span, millis};
use super::runs::{Finish, Run, World};

const WARNING: &str = "at_risk";

/// Objective, start and step.
type Key<'a> = (&'a str, i64, Option<usize>);

/// What became of a clock under all policies that it ran under.
struct Line<'a> {
    /// As the last of them judges it.
    run: Run<'a>,
    /// The date, and the deadline that was breached.
    breach: Option<(i64, Option<i64>)>,
    end: Option<Finish>,
    due_at: Option<i64>,
    /// Since when the lead has this clock.
    had_since: i64,
    said: Vec<Said>,
}

/// A transition for others to hear.
struct Said {
    transition: &'static str,
    level: Option<usize>,
    at: i64,
    fact: Option<usize>,
}

/// The time in which one policy rules: from its first instant to before another's.
#[derive(Clone, Copy)]
struct Reign {
    from: i64,
    to: i64,
}

/// All clocks of a lead, judged at the horizon.
pub fn of_lead(name: &str, lead: &Lead, policies: &Policies, horizon: i64) -> Vec<Value> {
    let changes = changes(lead, policies, horizon);
    let mut lines: BTreeMap<Key, Line> = BTreeMap::new();
    for (i, (from, policy)) in changes.iter().enumerate() {
        let to = changes.get(i + 1).map_or(horizon + 1, |(next, _)| *next);
        let world = policy.map(|name| World { lead, policies, name, horizon });
        let runs = world.map_or_else(Vec::new, |world| world.runs());
        take_over(lead, &mut lines, &runs, Reign { from: *from, to });
    }
    let mut clocks: Vec<Value> = Vec::new();
    for line in lines.values() {
        let waiver = waivers(lead, &lines).into_iter().find(|(_, key)| *key == line.key());
        let mut clock = line.told(lead, horizon, waiver.map(|(fact, _)| fact));
        clock["lead_id"] = json!(name);
        clocks.push(clock);
    }
    clocks
}

/// T12, T13: the policies by name, each with the instant from which it is in force.
fn changes<'a>(lead: &Lead, policies: &'a Policies, horizon: i64) -> Vec<(i64, Option<&'a str>)> {
    let first = lead.facts.first().map_or(horizon, |fact| fact.at);
    let versions = policies.policies.iter().flat_map(|policy| [policy.from, policy.until]).flatten();
    let mut instants: Vec<i64> = lead.facts.iter().map(|fact| fact.at).chain(versions).collect();
    instants.retain(|at| first <= *at && *at <= horizon);
    instants.sort_unstable();
    let in_force = |at: &i64| (*at, policies.in_force(lead, *at).map(|policy| policy.name.as_str()));
    let mut changes: Vec<(i64, Option<&str>)> = instants.iter().map(in_force).collect();
    changes.dedup_by(|next, last| next.1 == last.1);
    changes
}

/// T12: the lead has the clocks that the new policy would have running.
fn take_over<'a>(lead: &Lead, lines: &mut BTreeMap<Key<'a>, Line<'a>>, runs: &[Run<'a>], reign: Reign) {
    for run in runs.iter().filter(|run| run.started_at < reign.to) {
        let is_running = run.finish.is_none_or(|finish| finish.at >= reign.from)
            // F5: a life that is over at the change counts no more.
            && lead.last_at(reign.from).is_some_and(|i| lead.life(run.start).contains(&i));
        let had = lines.get(&key(run));
        let had_running = had.is_some_and(|line| line.end.is_none());
        let starts = run.started_at >= reign.from;
        if had.is_some_and(Line::is_over) || !had_running && !is_running && !starts {
            continue;
        }
        let had_since = run.started_at.max(reign.from);
        let line = lines.entry(key(run)).or_insert_with(|| Line {
            run: run.clone(),
            breach: None,
            end: None,
            due_at: None,
            had_since,
            said: Vec::new(),
        });
        line.go_on(lead, run, reign);
    }
    let stays = |line: &Line| runs.iter().any(|run| key(run) == line.key());
    for line in lines.values_mut().filter(|line| line.end.is_none()) {
        if !stays(line) {
            line.cancel(lead, reign.from);
        }
    }
}

fn key<'a>(run: &Run<'a>) -> Key<'a> {
    (run.name, run.started_at, run.step)
}

/// The first waiver of each clock that has one, by its fact. T17.
fn waivers<'a>(lead: &Lead, lines: &BTreeMap<Key<'a>, Line<'a>>) -> Vec<(usize, Key<'a>)> {
    let mut waivers = Vec::new();
    for i in (0..lead.facts.len()).filter(|&i| lead.is(i, "breach-waived")) {
        let fact = &lead.facts[i];
        let named = lines.values().filter(|line| {
            fact.fields.get("objective").is_some_and(|name| *name == *line.run.name)
                && lead.life(i).contains(&line.run.start)
        });
        let named: Vec<&Line> = named.collect();
        let had = named.iter().filter(|line| line.had_since <= fact.at);
        let last = had.map(|line| line.run.started_at).max();
        let started_at =
            if fact.fields.contains_key("started_at") { fact.instant("started_at") } else { last };
        let named = named.into_iter().filter(|line| Some(line.run.started_at) == started_at);
        waivers.extend(named.map(|line| (i, line.key())));
    }
    waivers
}

impl<'a> Line<'a> {
    fn key(&self) -> Key<'a> {
        key(&self.run)
    }

    /// T15: nothing comes after the breach of a window.
    fn is_over(&self) -> bool {
        self.run.is_window && self.breach.is_some()
    }

    /// What the policy that rules says of this clock; what it dates before its reign is dated then.
    fn go_on(&mut self, lead: &Lead, run: &Run<'a>, reign: Reign) {
        let date = |at: i64| Some(at.max(reign.from)).filter(|at| *at < reign.to);
        let is_over = run.is_window && run.breached_at.is_some();
        self.run = run.clone();
        if let (None, Some(at)) = (self.breach, run.breached_at.and_then(date)) {
            self.breach = Some((at, run.due_at));
            self.say("breached", None, at, None);
        }
        self.end = run.finish.and_then(|finish| Some(Finish { at: date(finish.at)?, ..finish }));
        self.due_at = run.due_at;
        self.warn(lead, reign);
        if !is_over {
            self.escalate(lead, reign);
        }
        if let (Some(end), Some(_), false) = (self.end, self.breach, is_over) {
            self.say(if end.is_stop { "resolved" } else { "ended" }, None, end.at, end.fact);
        }
    }

    /// T12: a clock that the policy in force does not have.
    fn cancel(&mut self, lead: &Lead, at: i64) {
        let life = lead.life(self.run.start);
        let known = life.clone().find(|&i| lead.at(i) >= at).unwrap_or(life.end);
        self.due_at = self.run.shown_due_at(lead, known, at);
        self.end = Some(Finish { at, fact: None, is_stop: false });
        if self.breach.is_some() {
            self.say("ended", None, at, None);
        }
    }

    /// T7, T12: what the policy dates in its own reign, until the breach or the end.
    fn warn(&mut self, lead: &Lead, reign: Reign) {
        let (run, Some(target)) = (self.run.clone(), self.run.span.clone()) else { return };
        let pauses = run.pauses(lead, lead.life(run.start).end);
        let breached_at = self.breach.map(|(at, _)| at);
        let until = [breached_at, self.end.map(|end| end.at)].into_iter().flatten().min().unwrap_or(reign.to);
        for (i, warn) in run.objective.warn.iter().enumerate() {
            let millis = run.objective.warned_after(warn, lead, run.started_at, &target);
            let due = Span { millis, ..target.clone() }.due(run.started_at, &pauses);
            let is_new = !self.said.iter().any(|s| s.transition == WARNING && s.level == Some(i + 1));
            if let Some(at) = due.filter(|at| reign.from <= *at && *at < until && is_new) {
                self.say(WARNING, Some(i + 1), at, None);
            }
        }
    }

    /// T8: each step from the breach's date, until the clock runs no more; none is said twice.
    fn escalate(&mut self, lead: &Lead, reign: Reign) {
        let Some((breached_at, _)) = self.breach else { return };
        let pauses = self.run.pauses(lead, lead.life(self.run.start).end);
        let runs_until = self.end.map_or(reign.to, |end| end.at);
        let (objective, mut level) = (self.run.objective, 0);
        for step in &objective.escalate_after {
            for n in 1..=times(step) {
                level += 1;
                let due = self.step(lead, step, n, breached_at).due(breached_at, &pauses);
                let Some(at) = due.map(|at| at.max(reign.from)).filter(|at| *at < runs_until) else { break };
                if !self.said.iter().any(|s| s.transition == "escalated" && s.level == Some(level)) {
                    self.say("escalated", Some(level), at, None);
                }
            }
        }
    }

    /// The time from the breach to the n-th repetition of a step.
    fn step(&self, lead: &Lead, step: &Value, n: usize, breached_at: i64) -> Span {
        let duration = step.get("every").unwrap_or(step).as_str().unwrap_or_default();
        let of =
            |text: &str| self.run.objective.duration(&json!(text), lead, self.run.started_at, breached_at);
        match duration.strip_suffix("bd").and_then(|days| days.parse::<usize>().ok()) {
            Some(days) => of(&format!("{}bd", days * n)),
            None => Span { millis: millis(duration) * n as i64, ..of(duration) },
        }
    }

    fn say(&mut self, transition: &'static str, level: Option<usize>, at: i64, fact: Option<usize>) {
        self.said.push(Said { transition, level, at, fact });
    }

    /// T17: what is said where fact `waiver` waives the breach, at most once a waiver or breach.
    fn spoken(&self, lead: &Lead, waiver: Option<usize>) -> Vec<Value> {
        let as_said = |said: &Said| json!([said.transition, said.level, said.at]);
        let (Some(waiver), Some((breached_at, _))) = (waiver, self.breach) else {
            return self.said.iter().map(as_said).collect();
        };
        let waived_at = lead.at(waiver);
        let was_before = |said: &&Said| {
            said.at < waived_at || said.at == waived_at && said.fact.is_some_and(|fact| fact < waiver)
        };
        let is_heard = |said: &&Said| said.transition == WARNING || breached_at < waived_at;
        let before = self.said.iter().filter(is_heard).filter(was_before);
        before.map(as_said).chain([json!(["waived", null, waived_at.max(breached_at)])]).collect()
    }

    /// T18: the clock as it stands at the horizon.
    fn told(&self, lead: &Lead, horizon: i64, waiver: Option<usize>) -> Value {
        let run = &self.run;
        let outcome = match (self.breach, self.end) {
            (Some(_), _) if waiver.is_some() => "waived",
            (Some(_), _) => "breached",
            (_, Some(end)) if end.is_stop => "met",
            (_, Some(_)) => "cancelled",
            _ => "open",
        };
        let runs_until = self.end.map_or(horizon, |end| end.at);
        let breached_at = self.breach.map(|(at, _)| at);
        let due_at = match (self.breach, self.end) {
            (Some((_, due_at)), _) => due_at,
            (_, Some(_)) => self.due_at,
            _ => run.shown_due_at(lead, lead.life(run.start).end, horizon),
        };
        let shown = lead.last_at(breached_at.unwrap_or(runs_until)).unwrap_or(run.start);
        let pauses = run.pauses(lead, lead.life(run.start).end);
        let said = self.spoken(lead, waiver);
        let (warned, spoken): (Vec<Value>, Vec<Value>) =
            said.into_iter().partition(|said| said[0] == WARNING);
        json!({
            "policy": run.policy.name,
            "objective": run.name,
            "started_at": run.started_at,
            "due_at": due_at,
            "ended_at": self.end.map(|end| end.at),
            "outcome": outcome,
            "breached_at": breached_at,
            "resolved_at": self.end.filter(|end| breached_at.is_some() && end.is_stop).map(|end| end.at),
            "counted_ms": run.counted(lead, runs_until),
            "paused_ms": paused_ms(&pauses, run.started_at, runs_until),
            "step": run.step,
            "owner": lead.owner_after(shown),
            "team": lead.attribute_after(shown, "team").or(run.policy.team.clone().map(Value::from)),
            "stage": lead.stage_after(shown),
            "spoken": spoken,
            "warned": warned,
        })
    }
}

/// How often a step is spoken.
fn times(step: &Value) -> usize {
    let repeats = || step["times"].as_u64().map_or(10, |times| times as usize);
    match step.get("every") {
        None => 1,
        Some(_) if step["times"] == "unlimited" => usize::MAX,
        Some(_) => repeats(),
    }
}
