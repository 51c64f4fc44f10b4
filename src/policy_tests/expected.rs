//! What a test expects of the lead's clocks.

use std::collections::BTreeSet;
use std::fmt;

use chrono_tz::Tz;

use super::event::when;
use crate::config::{Cursor, did_you_mean, listed, setting_ms};
use crate::explain::{Account, Transition, lasting, local};
use crate::sla::clock::{Cause, Step};
use crate::sla::instant::Instant;
use crate::sla::policy::{Policies, Promise, TouchForm};

const FIELDS: &[&str] = &[
    "at",
    "policy",
    "objective",
    "outcome",
    "level",
    "step",
    "started_at",
    "due_at",
    "elapsed",
    "counted",
    "severity",
    "owner",
    "team",
    "stage",
    "cause",
];

/// What comes about besides the steps that are said.
const UNSAID: [&str; 3] = ["started", "paused", "resumed"];
/// What is said and can come about in a test: no log is lost there.
const SAID: [Step; 8] = [
    Step::Met,
    Step::Breached,
    Step::Resolved,
    Step::Ended,
    Step::Cancelled,
    Step::AtRisk,
    Step::Escalated,
    Step::Waived,
];
/// Most steps of a clock's name, and most levels.
const NUMBER_MAX: u64 = u16::MAX as u64;

/// A transition, as far as a test describes it: what is not given may be anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Its date.
    pub at: Option<Instant>,
    /// The policy that judged it.
    pub policy: Option<String>,
    /// The objective.
    pub objective: Option<String>,
    /// The transition.
    pub outcome: Option<String>,
    /// Which warning or escalation, from 1.
    pub level: Option<u16>,
    /// Which of the clocks that start together, from 1.
    pub step: Option<u16>,
    /// When its clock started.
    pub started_at: Option<Instant>,
    /// When its clock is due.
    pub due_at: Option<Instant>,
    /// All the time since its start, in milliseconds.
    pub elapsed_ms: Option<i64>,
    /// How much of that counted, in milliseconds.
    pub counted_ms: Option<i64>,
    /// The severity.
    pub severity: Option<String>,
    /// Who had the lead.
    pub owner: Option<String>,
    /// The team.
    pub team: Option<String>,
    /// The stage.
    pub stage: Option<String>,
    /// Why another policy dated it.
    pub cause: Option<String>,
}

/// The names that expectations may use.
pub(super) struct Names<'a> {
    policies: BTreeSet<&'a str>,
    objectives: BTreeSet<&'a str>,
    /// Objectives of which several clocks start together.
    stepped: BTreeSet<&'a str>,
}

impl<'a> Names<'a> {
    pub fn of(policies: &'a Policies) -> Names<'a> {
        let objectives = || policies.policies.iter().flat_map(|policy| &policy.objectives);
        let is_stepped = |promise: &Promise| matches!(promise, Promise::Touch(touch) if matches!(touch.form, TouchForm::By(_)));
        Names {
            policies: policies.policies.iter().map(|policy| policy.name.as_str()).collect(),
            objectives: objectives().map(|one| policies.name(one.name)).collect(),
            stepped: objectives()
                .filter(|one| is_stepped(&one.promise))
                .map(|one| policies.name(one.name))
                .collect(),
        }
    }
}

/// Reads `expect` or `never`.
pub(super) fn list(
    cursor: &Cursor<'_>,
    first: Instant,
    names: &Names<'_>,
    is_never: bool,
) -> Option<Vec<Expected>> {
    let read: Vec<_> = cursor.items()?.iter().map(|item| expected(item, first, names, is_never)).collect();
    read.into_iter().collect()
}

fn expected(item: &Cursor<'_>, first: Instant, names: &Names<'_>, is_never: bool) -> Option<Expected> {
    let fields = item.fields(FIELDS, &[])?;
    let text = |name: &str| fields.get(name).and_then(Cursor::text).map(str::to_owned);
    let at = |name: &str| fields.get(name).and_then(|field| when(field, Some(first)));
    let number = |name: &str| {
        let number = fields.get(name).and_then(|field| field.whole(1..=NUMBER_MAX));
        number.and_then(|number| u16::try_from(number).ok())
    };
    let span = |name: &str| fields.get(name).and_then(duration);
    let read = Expected {
        at: at("at"),
        policy: fields.get("policy").and_then(|field| one_of(field, &names.policies, "policy")),
        objective: fields.get("objective").and_then(|field| one_of(field, &names.objectives, "objective")),
        outcome: fields.get("outcome").and_then(outcome),
        level: number("level"),
        step: number("step"),
        started_at: at("started_at"),
        due_at: at("due_at"),
        elapsed_ms: span("elapsed"),
        counted_ms: span("counted"),
        severity: text("severity"),
        owner: text("owner"),
        team: text("team"),
        stage: text("stage"),
        cause: fields.get("cause").and_then(cause),
    };
    let needed: &[&str] = if is_never { &["outcome"] } else { &["objective", "outcome"] };
    let missing: Vec<_> =
        needed.iter().filter(|name| fields.get(name).is_none() && !fields.refused).copied().collect();
    if !missing.is_empty() {
        return item.refuse(format!("needs {}", listed(missing)));
    }
    if let (Some(_), Some(objective)) = (read.step, &read.objective)
        && !names.stepped.contains(objective.as_str())
    {
        let not = format!("only a clock of `touch: {{by: ...}}` has a step; `{objective}` has none");
        fields.get("step").unwrap_or(item).problem(not);
    }
    Some(read)
}

fn one_of(field: &Cursor<'_>, known: &BTreeSet<&str>, what: &str) -> Option<String> {
    let name = field.written()?;
    if known.contains(name) {
        return Some(name.to_owned());
    }
    field.refuse(format!("no policy has the {what} `{name}`{}", did_you_mean(name, known.iter().copied())))
}

fn outcome(field: &Cursor<'_>) -> Option<String> {
    let known = || SAID.iter().map(|step| step.as_str()).chain(UNSAID);
    let word = field.written()?;
    if known().any(|known| known == word) {
        return Some(word.to_owned());
    }
    let near = did_you_mean(word, known());
    field.refuse(format!("unknown outcome `{word}`{near}; outcomes are {}", listed(known())))
}

fn cause(field: &Cursor<'_>) -> Option<String> {
    let word = field.written()?;
    let known = [Cause::PolicyChange, Cause::PolicyEdit].map(Cause::as_str);
    if known.contains(&word) {
        return Some(word.to_owned());
    }
    field.refuse(format!("must be one of {}", listed(known)))
}

/// A span in units that elapse; `15bm` and `1bh` are read as so much time, of whatever kind counts.
fn duration(field: &Cursor<'_>) -> Option<i64> {
    let text = field.written()?.replace("bm", "m").replace("bh", "h");
    setting_ms(&text).map_or_else(|message| field.refuse(message), Some)
}

/// One thing that a test says of a transition, and what it is.
struct Facet {
    name: &'static str,
    wanted: Option<String>,
    is: Option<String>,
}

/// One thing that is not as a test says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// What it is called in an expectation.
    pub name: &'static str,
    /// What the test says.
    pub wanted: String,
    /// What it is.
    pub is: Option<String>,
}

/// What says which transition is meant; the rest says how it is.
const NAMING: [&str; 6] = ["outcome", "at", "policy", "level", "step", "started_at"];

impl Expected {
    /// Whether it is about the same objective.
    pub fn is_about(&self, clock: &Account) -> bool {
        self.objective.as_ref().is_none_or(|objective| *objective == clock.objective)
    }

    /// Whether a transition is what is described.
    pub fn fits(&self, clock: &Account, step: &Transition) -> bool {
        self.is_about(clock) && self.misfits(clock, step, Tz::UTC).is_empty()
    }

    /// Whether a transition is the one that is meant, however it is.
    pub fn names(&self, clock: &Account, step: &Transition) -> bool {
        let misfits = self.misfits(clock, step, Tz::UTC);
        self.is_about(clock) && !misfits.iter().any(|misfit| NAMING.contains(&misfit.name))
    }

    /// What of a transition is not as it is described, instants as they are told in a zone.
    pub fn misfits(&self, clock: &Account, step: &Transition, zone: Tz) -> Vec<Misfit> {
        let misfit = |Facet { name, wanted, is }: Facet| {
            wanted.filter(|wanted| is.as_ref() != Some(wanted)).map(|wanted| Misfit { name, wanted, is })
        };
        self.facets(Some((clock, step)), zone).into_iter().filter_map(misfit).collect()
    }

    /// `first-response met at Fri 2026-11-20 10:04 +01:00, elapsed 4m`
    pub fn said(&self, zone: Tz) -> String {
        let mut text = self.objective.clone().unwrap_or_else(|| "any objective".to_owned());
        for Facet { name, wanted, .. } in self.facets(None, zone) {
            let Some(wanted) = wanted else { continue };
            text += &match name {
                "outcome" => format!(" {wanted}"),
                "at" => format!(" at {wanted}"),
                _ => format!(", {name} {wanted}"),
            };
        }
        text
    }

    fn facets(&self, of: Option<(&Account, &Transition)>, zone: Tz) -> Vec<Facet> {
        let at = |at: Instant| local(at, zone);
        let number = |number: u16| number.to_string();
        let clock = |is: fn(&Account) -> Option<Instant>| of.and_then(|(clock, _)| is(clock)).map(at);
        let step = |is: fn(&Transition) -> Option<String>| of.and_then(|(_, step)| is(step));
        let facet = |name, wanted, is| Facet { name, wanted, is };
        vec![
            facet("outcome", self.outcome.clone(), step(|step| Some(step.transition.clone()))),
            facet("at", self.at.map(at), of.map(|(_, step)| at(step.at))),
            facet("policy", self.policy.clone(), step(|step| Some(step.policy.clone()))),
            facet("level", self.level.map(number), step(|step| step.level.map(|level| level.to_string()))),
            facet("step", self.step.map(number), of.and_then(|(clock, _)| clock.step).map(number)),
            facet("started_at", self.started_at.map(at), clock(|clock| Some(clock.started_at))),
            facet("due_at", self.due_at.map(at), clock(|clock| clock.due_at)),
            facet("elapsed", self.elapsed_ms.map(lasting), step(|step| Some(lasting(step.elapsed_ms)))),
            facet("counted", self.counted_ms.map(lasting), step(|step| Some(lasting(step.counted_ms)))),
            facet("severity", self.severity.clone(), of.and_then(|(clock, _)| clock.severity.clone())),
            facet("owner", self.owner.clone(), step(|step| step.owner.clone())),
            facet("team", self.team.clone(), step(|step| step.team.clone())),
            facet("stage", self.stage.clone(), step(|step| step.stage.clone())),
            facet("cause", self.cause.clone(), step(|step| step.cause.clone())),
        ]
    }
}

/// `severity is critical, not low`
impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is = self.is.as_deref().unwrap_or("none");
        write!(f, "{} is {is}, not {}", self.name, self.wanted)
    }
}
