//! One clock of a lead: what it was promised, what it counted, what it came to and what is planned.

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::evidence::{self, Evidence};
use super::{Origin, why};
use crate::config::{words, written_target};
use crate::sla::clock::{Clock, Context, EndKind, Outcome, Span, Step};
use crate::sla::engine::{Engine, History, Lived};
use crate::sla::fact::Fact;
use crate::sla::instant::Instant;
use crate::sla::policy::{Objective, Promise};
use crate::sla::portrait::failed_tests;
use crate::sla::rules::Rules;

/// One clock of a lead. Counted, paused and closed time are all the time that has elapsed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// The policy that judges it.
    pub policy: String,
    /// The version of the file that policy is in.
    pub policy_version: String,
    /// When this version of the policy is valid; `None` is always. Rule T13.
    pub valid: Option<String>,
    /// The objective.
    pub objective: String,
    /// Of the clocks that start together which it is, from 1.
    pub step: Option<u16>,
    /// What is promised, in plain words.
    pub promise: String,
    /// How long it may take, as a policy writes it; `None` where leaving the stages is the deadline.
    pub target: Option<String>,
    /// How much counted time that is, in milliseconds.
    pub target_ms: Option<i64>,
    /// How much of the target earlier clocks have used up, in milliseconds. Rule T14.
    pub used_before_ms: i64,
    /// The calendar on which time counts.
    pub calendar: Option<String>,
    /// The time zone of its calendar.
    pub time_zone: Option<String>,
    /// As the policy says it.
    pub severity: Option<String>,
    /// When it started.
    pub started_at: Instant,
    /// What started it.
    pub started_by: Evidence,
    /// When it is or was due; `None` while it is paused, or where it has no target.
    pub due_at: Option<Instant>,
    /// When it stopped running.
    pub ended_at: Option<Instant>,
    /// What it came to: met, breached, cancelled, waived, undecidable or open. Rule T18.
    pub outcome: String,
    /// Whether it runs.
    pub is_running: bool,
    /// Why it is where it is.
    pub why: String,
    /// All the time from its start, to its end or to the instant judged, in milliseconds.
    pub elapsed_ms: i64,
    /// How much of that counted, in milliseconds.
    pub counted_ms: i64,
    /// How much of that was paused, in milliseconds.
    pub paused_ms: i64,
    /// How much of that its calendar was closed and it was not paused, in milliseconds.
    pub closed_ms: i64,
    /// When no time counted, in order.
    pub pauses: Vec<Pause>,
    /// What it came to, in order.
    pub transitions: Vec<Transition>,
    /// What comes next if nothing happens.
    pub planned: Vec<Planned>,
    /// Contacts that did not stop it.
    pub missed: Vec<Missed>,
}

/// A pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Its first instant.
    pub from: Instant,
    /// The first instant after it; `None` where no end is known.
    pub to: Option<Instant>,
}

/// A dated step of a clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// When.
    pub at: Instant,
    /// What.
    pub transition: String,
    /// Of warnings and escalations which one, from 1.
    pub level: Option<u16>,
    /// Why it is dated so, where another policy came into force. Rule T12.
    pub cause: Option<String>,
    /// The policy that judged it.
    pub policy: String,
    /// The fact that brought it about, where one did.
    pub by: Option<Evidence>,
    /// Whether it was said; `None` where nobody says anything.
    pub is_said: Option<bool>,
    /// All the time since the start, in milliseconds.
    pub elapsed_ms: i64,
    /// How much of that counted, in milliseconds.
    pub counted_ms: i64,
    /// Who had the lead.
    pub owner: Option<String>,
    /// The team.
    pub team: Option<String>,
    /// The stage.
    pub stage: Option<String>,
}

/// What comes next if nothing happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// When.
    pub at: Instant,
    /// What.
    pub transition: String,
    /// Of warnings and escalations which one, from 1.
    pub level: Option<u16>,
}

/// A contact that did not stop a clock that ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// The contact.
    pub by: Evidence,
    /// What it is not, in plain words.
    pub because: Vec<String>,
}

/// A clock, and what it is looked at with.
pub(super) struct Scene<'a> {
    pub rules: &'a Rules,
    pub clock: &'a Clock,
    pub origin: Origin<'a>,
    /// What is judged reaches so far.
    pub until: Instant,
    pub zone: Tz,
}

/// The clocks of a lead.
pub(super) fn accounts(engine: &Engine, slot: u32, origin: Origin<'_>, until: Instant) -> Vec<Account> {
    let facts = engine.store().lead(slot).facts.as_slice();
    let rules = engine.rules();
    let account = |history: &History| {
        let clock = &history.clock;
        let calendar = clock.allowed.calendar.map(|index| rules.calendar(index));
        let zone = calendar.map_or(Tz::UTC, |calendar| calendar.zone());
        Scene { rules, clock, origin, until, zone }.account(history, facts)
    };
    engine.histories(slot).iter().map(account).collect()
}

impl Scene<'_> {
    pub fn objective(&self) -> &Objective {
        self.rules.objective(self.clock.policy, self.clock.objective)
    }

    pub fn outcome(&self) -> Outcome {
        self.clock.outcome(self.rules, self.until)
    }

    /// When it stopped running, or how far it is known.
    pub fn known_until(&self) -> Instant {
        self.clock.ended_at().unwrap_or(self.until).max(self.clock.started_at)
    }

    pub fn counted_until(&self, at: Instant) -> i64 {
        self.clock.counted_ms(self.rules, self.clock.started_at, at)
    }

    pub fn target_ms(&self) -> Option<i64> {
        self.rules.target_ms(&self.clock.allowed, self.clock.started_at)
    }

    /// What stopped or ended it.
    pub fn end_fact(&self) -> Option<Evidence> {
        let fact = self.clock.end.as_ref()?.fact.as_ref()?;
        Some(Evidence::of(fact, self.origin))
    }

    fn account(&self, history: &History, facts: &[Fact]) -> Account {
        let (rules, clock, objective) = (self.rules, self.clock, self.objective());
        let policy = rules.policy(clock.policy);
        let end = self.known_until();
        let elapsed_ms = end.since(clock.started_at);
        let counted_ms = self.counted_until(end);
        let paused_ms = clock.paused_ms(clock.started_at, end);
        let calendar = clock.allowed.calendar.map(|index| &rules.policies.calendars[usize::from(index)]);
        Account {
            policy: policy.name.clone(),
            policy_version: rules.edition_of(clock.policy).version.clone(),
            valid: words::valid(policy.valid),
            objective: rules.policies.name(clock.name).to_owned(),
            step: (0 < clock.turn).then_some(clock.turn),
            promise: words::promise(objective),
            target: clock.allowed.target.map(written_target),
            target_ms: self.target_ms(),
            used_before_ms: clock.allowed.less_ms,
            calendar: calendar.map(|calendar| calendar.name.clone()),
            time_zone: calendar.map(|calendar| calendar.calendar.zone().name().to_owned()),
            severity: objective.severity.clone(),
            started_at: clock.started_at,
            started_by: Evidence::of(&clock.start_fact, self.origin),
            due_at: clock.deadline(self.until),
            ended_at: clock.ended_at(),
            outcome: self.outcome().as_str().to_owned(),
            is_running: clock.is_running(),
            why: why::why(self),
            elapsed_ms,
            counted_ms,
            paused_ms,
            closed_ms: elapsed_ms - counted_ms - paused_ms,
            pauses: self.pauses(end).map(|pause| self.pause(pause)).collect(),
            transitions: self.transitions(history),
            planned: self.planned(history),
            missed: self.missed(history, facts),
        }
    }

    /// The pauses that began while it ran.
    fn pauses(&self, end: Instant) -> impl Iterator<Item = &Span> {
        self.clock.pauses.iter().filter(move |pause| pause.from < end)
    }

    fn pause(&self, pause: &Span) -> Pause {
        Pause { from: pause.from, to: Some(pause.to).filter(|_| !pause.is_open()) }
    }

    /// Its start, its pauses and what was dated, in order.
    fn transitions(&self, history: &History) -> Vec<Transition> {
        let end = self.known_until();
        let mut all = vec![self.transition(self.clock.started_at, "started")];
        all[0].by = Some(Evidence::of(&self.clock.start_fact, self.origin));
        for pause in self.pauses(end) {
            all.push(self.transition(pause.from, "paused"));
            if pause.to <= end && pause.to <= self.until {
                all.push(self.transition(pause.to, "resumed"));
            }
        }
        let lived = history.steps.iter().filter(|lived| lived.dated.date <= self.until);
        all.extend(lived.map(|lived| self.lived(lived)));
        all.sort_by_key(|transition| transition.at);
        all
    }

    fn transition(&self, at: Instant, transition: &str) -> Transition {
        Transition {
            at,
            transition: transition.to_owned(),
            level: None,
            cause: None,
            policy: self.rules.policy(self.clock.policy).name.clone(),
            by: None,
            is_said: None,
            elapsed_ms: at.since(self.clock.started_at),
            counted_ms: self.counted_until(at),
            owner: None,
            team: None,
            stage: None,
        }
    }

    fn lived(&self, lived: &Lived) -> Transition {
        let dated = lived.dated;
        let Context { owner, team, stage } = &*lived.context;
        let policy = self.rules.policy(lived.policy);
        let team = team.as_deref().or(policy.labels.get("team").map(String::as_str));
        Transition {
            level: (0 < dated.level).then_some(dated.level),
            cause: dated.cause.map(|cause| cause.as_str().to_owned()),
            policy: policy.name.clone(),
            by: self.by(dated.step),
            is_said: self.origin.is_service.then_some(lived.is_said),
            owner: owner.as_deref().map(str::to_owned),
            team: team.map(str::to_owned),
            stage: stage.as_deref().map(str::to_owned),
            ..self.transition(dated.date, dated.step.as_str())
        }
    }

    /// The fact that brought a step about.
    fn by(&self, step: Step) -> Option<Evidence> {
        match step {
            Step::Met | Step::Resolved | Step::Cancelled | Step::Ended => self.end_fact(),
            Step::Waived => self.clock.waiver.as_ref().map(|waiver| Evidence::of(&waiver.fact, self.origin)),
            Step::Breached | Step::Escalated | Step::AtRisk | Step::Undecidable => None,
        }
    }

    fn planned(&self, history: &History) -> Vec<Planned> {
        let is_planned = |lived: &&Lived| self.until < lived.dated.date;
        let planned = |lived: &Lived| Planned {
            at: lived.dated.date,
            transition: lived.dated.step.as_str().to_owned(),
            level: (0 < lived.dated.level).then_some(lived.dated.level),
        };
        history.steps.iter().filter(is_planned).map(planned).collect()
    }

    /// The contacts that came while it ran and did not stop it: those that had been asked for and are not what
    /// was asked.
    fn missed(&self, history: &History, facts: &[Fact]) -> Vec<Missed> {
        let Promise::Response(response) = &self.objective().promise else { return Vec::new() };
        let ended = self.clock.end.as_ref().filter(|end| end.why != EndKind::Over).map(|end| end.at);
        let is_within = |fact: &&Fact| {
            self.clock.started_at <= fact.time
                && fact.time <= self.until
                && ended.is_none_or(|ended| fact.time < ended)
        };
        let owner = history.steps.last().and_then(|lived| lived.context.owner.clone());
        let missed = |fact: &Fact| {
            let failed = response.stop.iter().flat_map(|stop| failed_tests(fact, owner.as_deref(), stop));
            let because: Vec<_> = failed.map(|test| misses(fact, test)).collect();
            (!because.is_empty()).then(|| Missed { by: Evidence::of(fact, self.origin), because })
        };
        facts.iter().filter(is_within).filter_map(missed).collect()
    }
}

/// `direction is "inbound", not outbound`
fn misses(fact: &Fact, test: &crate::sla::policy::FieldTest) -> String {
    let wanted = words::either_of(test);
    match fact.field(&test.path) {
        Some(value) => format!("{} is {}, not {wanted}", test.path, evidence::json(value)),
        None => format!("it has no {}, which must be {wanted}", test.path),
    }
}
