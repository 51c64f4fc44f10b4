//! An explanation for people.

use std::fmt::Write;

use chrono_tz::Tz;
use comfy_table::{ContentArrangement, Table, presets};

use super::account::{Account, Missed, Planned, Transition};
use super::evidence::Told;
use super::time::{lasting, lasting_open, local, zone};
use super::{Covering, Explanation};

/// Lays an explanation out: the policy, the facts, then each clock.
pub fn table(explanation: &Explanation) -> String {
    let parts = [head(explanation), covering(&explanation.policy), facts(explanation)];
    let clocks = explanation.clocks.iter().map(clock);
    let retracted = retracted(explanation);
    let all: Vec<_> = parts.into_iter().chain(clocks).chain([retracted]).collect();
    let written: Vec<_> = all.iter().map(|part| part.trim_end()).filter(|part| !part.is_empty()).collect();
    written.join("\n\n") + "\n"
}

/// Only what happened: the policy, facts and transitions in one list, in the order of dates, then what each clock counted.
pub fn timeline(explanation: &Explanation) -> String {
    let zone = zone_of(explanation);
    let facts = explanation.facts.iter().filter(|told| told.counts).map(|told| {
        (told.evidence.time, 0, [local(told.evidence.time, zone), told.evidence.kind.clone(), fields(told)])
    });
    let steps = explanation.clocks.iter().flat_map(|clock| {
        let own = self::zone(clock.time_zone.as_deref());
        let row = move |step: &Transition| {
            let what = format!("{} {}", named(clock), stepped(step));
            (step.at, 1, [local(step.at, own), String::new(), what + &time_of(clock, step)])
        };
        clock.transitions.iter().map(row)
    });
    let mut rows: Vec<_> = facts.chain(steps).collect();
    rows.sort_by_key(|(at, rank, _)| (*at, *rank));
    let mut text = format!("  {}\n", covering(&explanation.policy).replace('\n', "\n  "));
    text += &columns(rows.into_iter().map(|(_, _, row)| row.to_vec()));
    for clock in &explanation.clocks {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{} ({}): {}", named(clock), clock.policy, clock.why);
        let _ = writeln!(text, "  {}", spent(clock));
    }
    text
}

/// The zone of the first clock that has a calendar.
fn zone_of(explanation: &Explanation) -> Tz {
    zone(explanation.clocks.iter().find_map(|clock| clock.time_zone.as_deref()))
}

fn head(explanation: &Explanation) -> String {
    let zone = zone_of(explanation);
    let mut text = format!("lead {}", explanation.lead_id);
    let known = [("stage", &explanation.stage), ("owner", &explanation.owner), ("team", &explanation.team)];
    for (name, value) in known {
        value.iter().for_each(|value| text += &format!(", {name} {value}"));
    }
    text += &match explanation.until {
        Some(until) => format!("; judged until {}", local(until, zone)),
        None => "; nothing is proven yet, so this is how it was after its last fact".to_owned(),
    };
    for (at, what) in [
        (explanation.merged_at, "merged into another lead; nothing counts after"),
        (explanation.waits_until, "a fact came late; nothing is said before"),
        (explanation.folded_until, "facts are no longer kept one by one up to"),
    ] {
        at.iter().for_each(|at| text += &format!("\n{what} {}", local(*at, zone)));
    }
    text
}

fn covering(policy: &Covering) -> String {
    let mut text = match &policy.name {
        Some(name) => format!("policy {name}"),
        None if policy.is_folded => "the policy is not known: no clock runs and facts are folded".to_owned(),
        None => "no policy covers it".to_owned(),
    };
    for tried in &policy.tried {
        let who = if tried.covers { "covers it".to_owned() } else { format!("not {}", tried.policy) };
        text += &format!("\n  {who}: {}", tried.because.join("; "));
    }
    text
}

fn facts(explanation: &Explanation) -> String {
    let zone = zone_of(explanation);
    let row = |told: &Told| {
        let evidence = &told.evidence;
        let mut all = fields(told);
        if !told.counts {
            all = format!("does not count; {all}");
        }
        vec![
            local(evidence.time, zone),
            evidence.kind.clone(),
            evidence.place.to_string(),
            evidence.event_id.clone().unwrap_or_default(),
            all,
        ]
    };
    let mut text = "facts\n".to_owned() + &columns(explanation.facts.iter().map(row));
    if explanation.left_out > 0 {
        let _ = writeln!(text, "  dated later and left out: {}", explanation.left_out);
    }
    for rejected in &explanation.rejected {
        let _ = writeln!(text, "  could not be used: {rejected}");
    }
    text
}

fn fields(told: &Told) -> String {
    let field = |(name, value): (&String, &serde_json::Value)| match value {
        serde_json::Value::String(value) => format!("{name} {value}"),
        value => format!("{name} {value}"),
    };
    told.fields.iter().map(field).collect::<Vec<_>>().join(", ")
}

fn clock(clock: &Account) -> String {
    let zone = zone(clock.time_zone.as_deref());
    let severity = clock.severity.iter().map(|severity| format!(" [{severity}]")).collect::<String>();
    let valid = clock.valid.iter().map(|valid| format!(", {valid}")).collect::<String>();
    let mut text = format!("{}: {}{severity}\n", named(clock), clock.outcome);
    let mut line = |words: String| {
        let _ = writeln!(text, "  {words}");
    };
    line(clock.why.clone());
    line(format!("{}{}", clock.promise, on(clock)));
    line(format!("of policy {}{valid}, version {}", clock.policy, clock.policy_version));
    line(format!("started by {}{}", clock.started_by, target(clock, zone)));
    line(spent(clock));
    for Missed { by, because } in &clock.missed {
        line(format!("not stopped by {by}: {}", because.join("; ")));
    }
    let rows = clock.transitions.iter().map(|step| row(step, zone));
    let planned = clock.planned.iter().map(|step| plan(step, zone));
    text + &columns(rows.chain(planned))
}

fn on(clock: &Account) -> String {
    clock.calendar.iter().map(|calendar| format!(", on {calendar}")).collect()
}

fn target(clock: &Account, zone: Tz) -> String {
    let target = clock.target.iter().map(|target| format!(", target {target}")).collect::<String>();
    let used = match clock.used_before_ms {
        0 => String::new(),
        used => format!(" less {} used before", lasting(used)),
    };
    let due = clock.due_at.iter().map(|due| format!(", due {}", local(*due, zone))).collect::<String>();
    target + &used + &due
}

/// What its time went to.
fn spent(clock: &Account) -> String {
    let open = if is_on_open_time(clock) { lasting_open } else { lasting };
    let (elapsed, paused) = (lasting(clock.elapsed_ms), lasting(clock.paused_ms));
    let (counted, closed) = (open(clock.counted_ms), lasting(clock.closed_ms));
    format!("{elapsed} elapsed: {counted} counted, {paused} paused, {closed} closed")
}

fn is_on_open_time(clock: &Account) -> bool {
    clock.target.as_ref().is_some_and(|target| target.contains('b'))
}

fn row(step: &Transition, zone: Tz) -> Vec<String> {
    let by = step.by.iter().map(|by| format!("by {by}")).collect::<String>();
    let said = match step.is_said {
        Some(true) => "said",
        Some(false) => "not said",
        None => "",
    };
    vec![local(step.at, zone), stepped(step), by, said.to_owned()]
}

fn plan(step: &Planned, zone: Tz) -> Vec<String> {
    let level = step.level.map_or_else(String::new, |level| format!(" {level}"));
    vec![local(step.at, zone), format!("{}{level}", step.transition), "planned".to_owned(), String::new()]
}

/// `escalated 2`, `breached (policy_change)`
fn stepped(step: &Transition) -> String {
    let level = step.level.map_or_else(String::new, |level| format!(" {level}"));
    let cause = step.cause.iter().map(|cause| format!(" ({cause})")).collect::<String>();
    format!("{}{level}{cause}", step.transition)
}

/// How much time a step took, where it is no start.
fn time_of(clock: &Account, step: &Transition) -> String {
    if step.at == clock.started_at {
        return clock.due_at.map_or_else(String::new, |due| {
            format!(", due {}", local(due, zone(clock.time_zone.as_deref())))
        });
    }
    let open = if is_on_open_time(clock) { lasting_open } else { lasting };
    format!(", {} counted of {} elapsed", open(step.counted_ms), lasting(step.elapsed_ms))
}

/// `cadence, step 2`
fn named(clock: &Account) -> String {
    match clock.step {
        Some(step) => format!("{}, step {step}", clock.objective),
        None => clock.objective.clone(),
    }
}

fn retracted(explanation: &Explanation) -> String {
    let zone = zone_of(explanation);
    let line = |one: &super::Retracted| {
        format!("  {} {}, dated {}\n", one.objective, one.transition, local(one.at, zone))
    };
    match explanation.retracted.as_slice() {
        [] => String::new(),
        all => "said and taken back\n".to_owned() + &all.iter().map(line).collect::<String>(),
    }
}

/// Rows in columns that are as wide as they must be, indented by two.
fn columns(rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).force_no_tty();
    rows.for_each(|row| {
        table.add_row(row);
    });
    table.lines().map(|line| format!(" {}\n", line.trim_end())).collect()
}
