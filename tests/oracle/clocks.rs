//! When a clock starts, and how it ends: T2 to T6, T10, T18.

use serde_json::{Value, json};

use super::lead::Lead;
use super::policy::{Objective, Policies, Policy, Target, holds};

/// One run of an objective's clock, by the facts that bound it.
struct Run<'a> {
    policy: &'a Policy,
    objective: &'a Objective,
    /// The fact that starts it.
    start: usize,
    /// The fact that makes it run no more, and whether as its stop.
    finish: Option<(usize, bool)>,
}

/// The policy in force at the instant of each fact.
type InForce<'a> = Vec<Option<&'a Policy>>;

/// All clocks of a lead, judged at the horizon.
pub fn of_lead(name: &str, lead: &Lead, policies: &Policies, horizon: i64) -> Vec<Value> {
    let mut objectives: Vec<&String> =
        policies.policies.iter().flat_map(|policy| policy.objectives.keys()).collect();
    objectives.sort();
    objectives.dedup();
    // F8: match sees all facts dated at or before.
    let in_force: InForce =
        lead.facts.iter().map(|fact| policies.in_force(lead, lead.last_at(fact.at)?)).collect();
    let mut clocks = Vec::new();
    for objective in objectives {
        for run in runs(lead, &in_force, objective) {
            let mut clock = judged(&run, lead, horizon);
            clock["lead_id"] = json!(name);
            clock["objective"] = json!(objective);
            clocks.push(clock);
        }
    }
    clocks
}

/// The runs of one objective, each from the first start at or after the finish of the one before.
fn runs<'a>(lead: &Lead, in_force: &InForce<'a>, name: &str) -> Vec<Run<'a>> {
    let mut runs: Vec<Run> = Vec::new();
    let mut from = 0;
    while let Some((start, policy, objective)) =
        (from..lead.facts.len()).find_map(|i| start(lead, in_force, name, i))
    {
        let mut finish = self::finish(lead, in_force, name, objective, start);
        from = finish.map_or(lead.facts.len(), |(finish, _)| finish);
        match satisfied_by(lead, objective, start) {
            // I1: another start in its instant is the same start.
            Some(stop) if stop <= start => {
                finish = Some((start, true));
                from = after_its_instant(lead, start);
            }
            Some(stop) if !(from..stop).any(|i| self::start(lead, in_force, name, i).is_some()) => {
                finish = Some((stop, true));
                from = stop;
            }
            _ => {}
        }
        runs.push(Run { policy, objective, start, finish });
    }
    // F3: stopped or ended and started again within the instant it started, a clock runs on.
    let starts: Vec<i64> = runs.iter().map(|run| lead.at(run.start)).collect();
    let mut i = 0;
    runs.retain(|_| {
        i += 1;
        starts.get(i) != Some(&starts[i - 1])
    });
    runs
}

/// T2: whether fact `i` is a start of the objective, and under which policy.
fn start<'a>(
    lead: &Lead,
    in_force: &InForce<'a>,
    name: &str,
    i: usize,
) -> Option<(usize, &'a Policy, &'a Objective)> {
    let policy = in_force[i]?;
    let objective = policy.objectives.get(name)?;
    let open = !lead.is_gone_after(i) && !lead.is_closed_after(i);
    let starts = objective.start.iter().any(|condition| {
        holds(condition, lead, i, lead.owner_after(i)) && (open || is_hand_off(condition, lead, i))
    });
    (starts && is_in_its_stages(lead, objective, i)).then_some((i, policy, objective))
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

/// The first fact after the start that stops the clock, ends it, or restarts it. F3, T2, T10.
fn finish(
    lead: &Lead,
    in_force: &InForce,
    name: &str,
    objective: &Objective,
    started: usize,
) -> Option<(usize, bool)> {
    (started + 1..lead.facts.len()).find_map(|i| {
        let stop = is_stop(lead, objective, i, lead.owner_after(i));
        let restart = start(lead, in_force, name, i)
            .is_some_and(|(_, _, again)| again.restart && lead.at(i) != lead.at(started));
        (stop || is_end(lead, objective, started, i) || restart).then_some((i, stop))
    })
}

/// T10, and `while` of T2.
fn is_end(lead: &Lead, objective: &Objective, started: usize, i: usize) -> bool {
    let closed = if is_handed_off(lead, started) { lead.is_reopened_by(i) } else { lead.enters_closed(i) };
    lead.is_taken_by(i) || closed || !is_in_its_stages(lead, objective, i)
}

/// T3 to T5, T18: what became of the clock by the horizon.
fn judged(run: &Run, lead: &Lead, horizon: i64) -> Value {
    let started_at = lead.at(run.start);
    let due_at = due(&run.objective.target, started_at);
    let ended_at = run.finish.map(|(i, _)| lead.at(i));
    let stopped = run.finish.is_some_and(|(_, stop)| stop);
    let breached = ended_at.unwrap_or(horizon + 1) > due_at && due_at <= horizon;
    let outcome = match (breached, stopped, ended_at) {
        (true, _, _) => "breached",
        (_, true, _) => "met",
        (_, _, Some(_)) => "cancelled",
        _ => "open",
    };
    let shown_at = if breached { due_at } else { ended_at.unwrap_or(horizon) };
    let shown = lead.last_at(shown_at).unwrap_or(run.start);
    let team = lead.attribute_after(shown, "team");
    json!({
        "policy": run.policy.name,
        "started_at": started_at,
        "due_at": due_at,
        "ended_at": ended_at,
        "outcome": outcome,
        "breached_at": breached.then_some(due_at),
        "resolved_at": ended_at.filter(|_| breached && stopped),
        "counted_ms": counted(&run.objective.target, started_at, ended_at.unwrap_or(horizon)),
        "step": null,
        "owner": lead.owner_after(shown),
        "team": team.or(run.policy.team.clone().map(Value::from)),
        "stage": lead.stage_after(shown),
    })
}

/// T3.
fn due(target: &Target, from: i64) -> i64 {
    match target {
        Target::Elapsed(millis) => from + millis,
        Target::Open(millis, calendar) => calendar.due(from, *millis),
    }
}

fn counted(target: &Target, from: i64, to: i64) -> i64 {
    match target {
        Target::Elapsed(_) => to - from,
        Target::Open(_, calendar) => calendar.counted(from, to),
    }
}
