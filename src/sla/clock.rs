//! One objective running once on one lead, and the dated steps that come of it. Rules T3-T10, T17 and H6.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use thin_vec::ThinVec;

use super::fact::Fact;
use super::instant::Instant;
use super::policy::{Escalation, NameId, Promise, Target, TouchForm, Warning};
use super::rules::Rules;

/// One objective running once on one lead.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Clock {
    /// Index of the policy that judges it.
    pub policy: u16,
    /// Index of the objective in that policy.
    pub objective: u16,
    /// The objective's name: with the lead, the start and the turn it is the clock's identity. Rule I1.
    pub name: NameId,
    /// Of the clocks that start together (`touch: {by: …}`) which it is, from 1; else 0. Rule T15.
    pub turn: u16,
    /// When it started.
    pub started_at: Instant,
    /// How long it may take.
    pub allowed: Allowed,
    /// When its target runs out; `None` while it is paused, or where it has none. Rules T3 and T9.
    pub due_at: Option<Instant>,
    /// When no time counted for it, in order. Rule T9.
    pub pauses: ThinVec<Span>,
    /// When and how it stopped running, if it did.
    pub end: Option<Arc<End>>,
    /// Since when its breach is waived. Rule T17.
    pub waiver: Option<Box<Waiver>>,
    /// Who had the lead, and where it was, at the breach: known once a later instant has been seen.
    pub at_breach: Option<Arc<Context>>,
    /// Whether entering a closed stage started it, which further closings do not end. Rule T10.
    pub is_hand_off: bool,
    /// The fact that started it.
    pub start_fact: Fact,
    /// The first gap in the log at or after its start, if there is one. Rule H6.
    pub gap: Option<Box<Gap>>,
    /// What it was before another policy came into force. Rule T12.
    pub taken: Option<Box<Taken>>,
}

/// How long a clock may take, as its policy gave it at the start.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Allowed {
    /// The target; `None` where leaving the stages is the deadline.
    pub target: Option<Target>,
    /// The calendar's index, also where only escalations count on it.
    pub calendar: Option<u16>,
    /// How much of the target was used up by earlier clocks, in milliseconds. Rule T14.
    pub less_ms: i64,
}

impl Allowed {
    /// The calendar on which its time counts; `None` where all time does.
    pub fn counting(&self) -> Option<u16> {
        self.calendar.filter(|_| matches!(self.target, Some(Target::Open(_) | Target::OpenDays(_))))
    }
}

/// A stretch of time, [from, to).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Its first instant.
    pub from: Instant,
    /// The first instant after it; [`Instant::MAX`] where no end is known.
    pub to: Instant,
}

impl Span {
    /// Whether no end is known.
    pub fn is_open(&self) -> bool {
        self.to == Instant::MAX
    }

    /// Whether an instant is in it.
    pub fn contains(&self, at: Instant) -> bool {
        self.from <= at && at < self.to
    }
}

/// Records were lost before they were read: of what was open at this moment nothing can be proven. Rule H6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// When the loss was found.
    pub at: Instant,
    /// What is dated at or before this was known before anything was lost.
    pub proven_until: Instant,
}

/// When and how a clock stopped running.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// The date of the fact that ended it.
    pub at: Instant,
    /// Why it did.
    pub why: EndKind,
    /// The clock's deadline as it stood then. Rule T9.
    pub due_at: Option<Instant>,
    /// Who had the lead, and where it was.
    pub context: Arc<Context>,
    /// The fact itself; `None` where there is none.
    pub fact: Option<Fact>,
}

/// Why a clock stopped running. The numbers are part of the changelog's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndKind {
    /// A fact was its stop.
    Stop,
    /// The lead ended, left the stages of `while`, or started the objective anew. Rules T2 and T10.
    End,
    /// What would have stopped it may be among records that were lost. Rule H6.
    Loss,
    /// Its window is over without enough touches. Rule T15.
    Over,
    /// Another policy came into force that does not have it. Rule T12.
    Change(Cause),
}

impl End {
    /// Whether a stop was what ended it.
    pub fn is_stop(&self) -> bool {
        self.why == EndKind::Stop
    }
}

/// A breach was waived. Rule T17.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waiver {
    /// Since when.
    pub at: Instant,
    /// The fact that says who and why.
    pub fact: Fact,
}

/// Another policy has come into force while the clock ran, or made it run again. Rule T12.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Taken {
    /// When.
    pub at: Instant,
    /// How that came.
    pub cause: Cause,
    /// What the clock had come to before, and as what.
    pub history: Vec<Told>,
    /// A breach among that, which stands whatever the policy says that is in force now.
    pub breach: Option<Breach>,
}

/// A step of a clock before another policy came into force, and the clock as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// The step.
    pub dated: Dated,
    /// The clock, without a history of its own.
    pub clock: Arc<Clock>,
}

/// Why another policy came into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Cause {
    /// The lead is covered by another policy of the file, or by none.
    PolicyChange,
    /// Another file of policies was taken up. Rule T13.
    PolicyEdit,
}

impl Cause {
    /// The word for it in outputs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Cause::PolicyChange => "policy_change",
            Cause::PolicyEdit => "policy_edit",
        }
    }
}

/// When a clock breached, and what it was due by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breach {
    /// The breach's date.
    pub at: Instant,
    /// The deadline that was breached.
    pub due_at: Instant,
}

/// Who has a lead and where it is. Rule T18.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// The owner.
    pub owner: Option<Arc<str>>,
    /// The attribute `team`.
    pub team: Option<Arc<str>>,
    /// The stage.
    pub stage: Option<Arc<str>>,
}

/// One sort of dated step of a clock. The numbers are part of the changelog's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Step {
    /// Stopped in time.
    Met,
    /// Ended in time without a stop.
    Cancelled,
    /// The target ran out. Rule T5.
    Breached,
    /// Stopped late.
    Resolved,
    /// Ended with the breach standing.
    Ended,
    /// Open when records were lost before they were read. Rule H6.
    Undecidable,
    /// The deadline is near. Rule T7.
    AtRisk,
    /// The breach has stood for so long. Rule T8.
    Escalated,
    /// The breach was waived. Rule T17.
    Waived,
}

impl Step {
    /// The word for it in outputs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Step::Met => "met",
            Step::Cancelled => "cancelled",
            Step::Breached => "breached",
            Step::Resolved => "resolved",
            Step::Ended => "ended",
            Step::Undecidable => "undecidable",
            Step::AtRisk => "at_risk",
            Step::Escalated => "escalated",
            Step::Waived => "waived",
        }
    }

    /// Whether it is taken back when late truth disproves it. Rule H8.
    pub const fn is_retracted(self) -> bool {
        !matches!(self, Step::AtRisk | Step::Escalated)
    }
}

/// A step of a clock and its date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dated {
    /// When.
    pub date: Instant,
    /// What.
    pub step: Step,
    /// Of warnings and escalations which one, from 1; else 0.
    pub level: u16,
    /// Why it is dated so, where no fact and no deadline says so. Rule T12.
    pub cause: Option<Cause>,
}

impl Dated {
    const fn new(date: Instant, step: Step) -> Dated {
        Dated { date, step, level: 0, cause: None }
    }

    const fn at_level(date: Instant, step: Step, level: u16) -> Dated {
        Dated { date, step, level, cause: None }
    }
}

/// The steps of clocks, each with the clock as it was then; in no order that means anything.
pub type Steps<'a> = SmallVec<[(Dated, &'a Clock); 8]>;

/// Net outcome of a clock as far as time has gone. Rule T18.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Stopped in time.
    Met,
    /// Not in time, whatever came later.
    Breached,
    /// Ended in time without a stop.
    Cancelled,
    /// Not in time, which was waived.
    Waived,
    /// Open when records were lost before they were read. Rule H6.
    Undecidable,
    /// Running, and not due.
    Open,
}

impl Outcome {
    /// The word for it in outputs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Met => "met",
            Outcome::Breached => "breached",
            Outcome::Cancelled => "cancelled",
            Outcome::Waived => "waived",
            Outcome::Undecidable => "undecidable",
            Outcome::Open => "open",
        }
    }
}

/// What names a clock within its lead. Rule I1.
pub type Key = (Instant, NameId, u16);

impl Clock {
    /// What names it within its lead.
    pub fn key(&self) -> Key {
        (self.started_at, self.name, self.turn)
    }

    /// Its dated steps: all up to `until`, those planned after it, and of escalations that repeat the next one.
    pub fn steps(&self, rules: &Rules, until: Instant) -> Steps<'_> {
        let mut steps = Steps::new();
        self.add_steps(rules, until, &mut steps);
        steps
    }

    /// Adds its dated steps to those of other clocks.
    pub fn add_steps<'a>(&'a self, rules: &Rules, until: Instant, steps: &mut Steps<'a>) {
        let told = self.told();
        if let Some(at) = self.undecidable_at() {
            steps.extend(told.filter(|(told, _)| told.step != Step::Undecidable));
            return steps.push((Dated::new(at, Step::Undecidable), self));
        }
        let first = steps.len();
        steps.extend(told);
        let own = steps.len();
        self.own_steps(rules, until, &mut |dated| {
            let dated = match &self.taken {
                None => Some(dated),
                Some(taken) => {
                    taken.dates(dated, &steps[first..own]).filter(|dated| self.still_escalates(dated))
                }
            };
            steps.extend(dated.map(|dated| (dated, self)));
            dated.is_some()
        });
    }

    /// Whether an escalation that is dated later for another policy is not too late then. Rule T8.
    fn still_escalates(&self, dated: &Dated) -> bool {
        let has_ended = self.ended_at().is_some_and(|ended| ended <= dated.date);
        dated.step != Step::Escalated || (!has_ended && !self.is_silent(dated.date))
    }

    /// What it came to before another policy came into force.
    fn told(&self) -> impl Iterator<Item = (Dated, &Clock)> {
        let history = self.taken.iter().flat_map(|taken| &taken.history);
        history.map(|told| (told.dated, &*told.clock))
    }

    /// Its steps as the policy that is in force would have dated them. Rules T4, T5, T7, T8, T10 and T17.
    /// `say` tells whether it took a step.
    fn own_steps(&self, rules: &Rules, until: Instant, say: &mut dyn FnMut(Dated) -> bool) {
        let breach = self.breach();
        self.warnings(rules, say);
        if let Some(breach) = breach {
            let waived_at = self.waiver.as_ref().map(|waiver| waiver.at);
            let is_waived = waived_at.is_some_and(|waived| waived <= breach.at);
            let step = if is_waived { Step::Waived } else { Step::Breached };
            say(Dated { cause: self.breach_cause(breach), ..Dated::new(breach.at, step) });
            if let Some(waived) = waived_at.filter(|_| !is_waived) {
                say(Dated::new(waived, Step::Waived));
            }
            self.escalations(rules, breach.at, until, say);
        }
        if let Some(end) = self.end.as_ref().filter(|end| end.why != EndKind::Over) {
            let step = match (breach.is_some(), end.is_stop()) {
                (false, true) => Step::Met,
                (false, false) => Step::Cancelled,
                (true, true) => Step::Resolved,
                (true, false) => Step::Ended,
            };
            if breach.is_none_or(|breach| !self.ends_silently(breach, end)) {
                let cause = if let EndKind::Change(cause) = end.why { Some(cause) } else { None };
                say(Dated { cause, ..Dated::new(end.at, step) });
            }
        }
    }

    /// When it breaches or has breached, as far as is known. Rules T5 and T12.
    pub fn breach(&self) -> Option<Breach> {
        let taken = self.taken.as_deref();
        if let Some(breach) = taken.and_then(|taken| taken.breach) {
            return Some(breach);
        }
        let due_at = self.due_at?;
        let is_in_time = |end: &End| end.at <= due_at && end.why != EndKind::Over;
        if self.end.as_deref().is_some_and(is_in_time) {
            return None;
        }
        Some(Breach { at: taken.map_or(due_at, |taken| due_at.max(taken.at)), due_at })
    }

    /// Why a breach is not dated as it was due: the policy that says so came into force later. Rule T12.
    fn breach_cause(&self, breach: Breach) -> Option<Cause> {
        self.taken.as_ref().filter(|taken| breach.due_at < taken.at).map(|taken| taken.cause)
    }

    /// Whether a waiver keeps it from saying what is dated so. Rule T17.
    fn is_silent(&self, date: Instant) -> bool {
        self.waiver.as_ref().is_some_and(|waiver| waiver.at <= date)
    }

    /// Whether a waiver came before what ended it, or in advance of its breach. Rule T17.
    fn ends_silently(&self, breach: Breach, end: &End) -> bool {
        // One that another policy dates later has no place in the log then.
        let ended_at = self.ended_at().unwrap_or(end.at);
        let is_before = |waiver: &Waiver| match &end.fact {
            Some(fact) if ended_at == end.at => waiver.fact.order() < fact.order(),
            _ => waiver.at <= ended_at,
        };
        self.waiver.as_ref().is_some_and(|waiver| waiver.at <= breach.at || is_before(waiver))
    }

    /// Whether it still ran just before this.
    fn ran_at(&self, date: Instant) -> bool {
        self.end.as_ref().is_none_or(|end| date < end.at)
    }

    /// A warning exists iff nothing ended the clock at or before it. Rule T7.
    fn warnings(&self, rules: &Rules, say: &mut dyn FnMut(Dated) -> bool) {
        let warn = &rules.objective(self.policy, self.objective).warn;
        for (level, warning) in (1..).zip(warn) {
            let date = self.warning_at(rules, *warning);
            if let Some(date) = date.filter(|date| self.ran_at(*date) && !self.is_silent(*date)) {
                say(Dated::at_level(date, Step::AtRisk, level));
            }
        }
    }

    fn warning_at(&self, rules: &Rules, warning: Warning) -> Option<Instant> {
        let target_ms = rules.target_ms(&self.allowed, self.started_at)?;
        let at_ms = match (warning, self.allowed.target?) {
            (Warning::Percent(percent), _) => percent_of(target_ms, percent),
            (Warning::Left(Target::Elapsed(left)), Target::Elapsed(_))
            | (Warning::Left(Target::Open(left)), Target::Open(_) | Target::OpenDays(_)) => target_ms - left,
            (Warning::Left(Target::OpenDays(left)), Target::OpenDays(days)) if left < days => {
                let fewer = Target::OpenDays(days - left);
                rules.full_ms(fewer, self.allowed.calendar, self.started_at) - self.allowed.less_ms
            }
            _ => return None,
        };
        let due = || rules.after(self.allowed.counting(), self.started_at, at_ms, &self.pauses);
        if 0 < at_ms || matches!(warning, Warning::Percent(_)) { due() } else { None }
    }

    /// An escalation exists iff nothing ended the clock and no waiver came at or before it. Rule T8.
    fn escalations(
        &self,
        rules: &Rules,
        breached_at: Instant,
        until: Instant,
        say: &mut dyn FnMut(Dated) -> bool,
    ) {
        let objective = rules.objective(self.policy, self.objective);
        if objective.escalate.is_empty() || ends_with_breach(&objective.promise) {
            return;
        }
        let at = |target: Target| self.escalation_at(rules, breached_at, target);
        let exists = |date: &Instant| self.ran_at(*date) && !self.is_silent(*date);
        let mut level = 0;
        for escalation in &objective.escalate {
            match *escalation {
                Escalation::After(target) => {
                    level += 1;
                    if let Some(date) = at(target).filter(exists) {
                        say(Dated::at_level(date, Step::Escalated, level));
                    }
                }
                Escalation::Every(target, times) => {
                    for count in 1..=times.unwrap_or(u32::MAX) {
                        let Some(date) = at(times_of(target, count)).filter(exists) else { break };
                        level = level.saturating_add(1);
                        let is_said = say(Dated::at_level(date, Step::Escalated, level));
                        // One that the policy before told already is not the next one.
                        if is_said && until < date {
                            break;
                        }
                    }
                }
            }
        }
    }

    fn escalation_at(&self, rules: &Rules, breached_at: Instant, target: Target) -> Option<Instant> {
        let is_elapsed = matches!(target, Target::Elapsed(_));
        let calendar = self.allowed.calendar;
        if !is_elapsed && calendar.is_none() {
            // Without a calendar there is no open time to wait for.
            return None;
        }
        let ms = rules.full_ms(target, calendar, breached_at);
        let counting = calendar.filter(|_| !is_elapsed);
        rules.after(counting, breached_at, ms, &self.pauses)
    }

    /// When it became undecidable: at the first gap after its start, unless its breach was proven before the
    /// loss or it is known to have ended in time by then. Rule H6.
    pub fn undecidable_at(&self) -> Option<Instant> {
        let gap = self.gap.as_deref()?;
        let breach = self.breach();
        let is_proven = breach.is_some_and(|breach| breach.at <= gap.proven_until);
        let ended = self.end.as_ref().filter(|end| end.why != EndKind::Loss && end.at <= gap.at);
        let has_ended = breach.is_none() && ended.is_some();
        (!is_proven && !has_ended).then_some(gap.at)
    }

    /// Whether it has neither ended nor become undecidable.
    pub fn is_running(&self) -> bool {
        self.end.is_none() && self.undecidable_at().is_none()
    }

    /// When it stopped running; of one that another policy ended after the fact, when that came into force.
    pub fn ended_at(&self) -> Option<Instant> {
        let end = self.end.as_ref()?;
        Some(self.taken.as_ref().map_or(end.at, |taken| end.at.max(taken.at)))
    }

    /// Its deadline as it is told at an instant: the one breached, or none while it is paused. Rule T9.
    pub fn deadline(&self, at: Instant) -> Option<Instant> {
        let ended = self.ended_at().filter(|ended| *ended <= at);
        match (self.breach(), &self.end) {
            (Some(breach), _) if breach.at <= ended.unwrap_or(at) => Some(breach.due_at),
            (_, Some(end)) if ended.is_some() => end.due_at,
            _ => self.due_unless_paused(at),
        }
    }

    fn due_unless_paused(&self, at: Instant) -> Option<Instant> {
        // A pause that begins at the deadline or later comes too late.
        self.due_at.filter(|due| !self.pauses.iter().any(|p| p.contains(at) && p.from < *due))
    }

    /// Stops running at an instant.
    pub fn finish(&mut self, at: Instant, why: EndKind, context: &Arc<Context>, fact: Option<&Fact>) {
        let (context, fact) = (Arc::clone(context), fact.cloned());
        self.end = Some(Arc::new(End { at, why, due_at: self.due_unless_paused(at), context, fact }));
    }

    /// How much time counted between two instants, in milliseconds.
    pub fn counted_ms(&self, rules: &Rules, from: Instant, to: Instant) -> i64 {
        rules.counted(&self.allowed, from, to, &self.pauses)
    }

    /// How long it was paused between two instants, in milliseconds of time that elapses everywhere.
    pub fn paused_ms(&self, from: Instant, to: Instant) -> i64 {
        let within = |pause: &Span| pause.to.min(to).since(pause.from.max(from)).max(0);
        self.pauses.iter().map(within).sum()
    }

    /// Notes the first gap at or after its start.
    pub fn note_gap(&mut self, gaps: &[Gap]) {
        if self.gap.is_none() {
            let first = gaps.iter().find(|gap| self.started_at <= gap.at);
            self.gap = first.copied().map(Box::new);
        }
    }

    /// What became of it by `horizon`.
    pub fn outcome(&self, rules: &Rules, horizon: Instant) -> Outcome {
        let mut steps = self.steps(rules, horizon);
        steps.retain(|(dated, _)| dated.date <= horizon);
        let has = |step: Step| steps.iter().any(|(dated, _)| dated.step == step);
        if has(Step::Undecidable) && !has(Step::Breached) {
            return Outcome::Undecidable;
        }
        if has(Step::Waived) {
            return Outcome::Waived;
        }
        if has(Step::Breached) {
            return Outcome::Breached;
        }
        let settled = |(dated, _): &&(Dated, &Clock)| matches!(dated.step, Step::Met | Step::Cancelled);
        match (self.end.is_some(), steps.iter().rfind(settled)) {
            (true, Some((Dated { step: Step::Met, .. }, _))) => Outcome::Met,
            (true, Some(_)) => Outcome::Cancelled,
            _ => Outcome::Open,
        }
    }

    /// The same without what no output tells of its facts.
    #[must_use]
    pub fn slim(mut self) -> Clock {
        self.start_fact.slim();
        if let Some(fact) = self.end.as_mut().and_then(|end| Arc::make_mut(end).fact.as_mut()) {
            fact.slim();
        }
        self
    }

    /// About how many bytes of memory it takes beside itself.
    pub fn bytes(&self) -> usize {
        let taken = self.taken.as_ref().map_or(0, |taken| {
            size_of::<Taken>() + taken.history.len() * (size_of::<Told>() + size_of::<Clock>())
        });
        let end = self.end.as_ref().map_or(0, |_| size_of::<End>());
        self.start_fact.bytes() + size_of_val(self.pauses.as_slice()) + end + taken
    }
}

impl Taken {
    /// What the policy in force makes of one of its steps, given what was told before: it is dated no earlier than
    /// the policy came into force, and nothing is told twice. Rule T12.
    fn dates(&self, own: Dated, told: &[(Dated, &Clock)]) -> Option<Dated> {
        let is_told = || told.iter().any(|(told, _)| (told.step, told.level) == (own.step, own.level));
        let is_before = own.date < self.at;
        let is_dropped = match own.step {
            Step::AtRisk => is_before || self.breach.is_some() || is_told(),
            Step::Breached => self.breach.is_some(),
            Step::Escalated | Step::Waived => is_told(),
            _ => false,
        };
        let cause = if is_before { Some(self.cause) } else { own.cause };
        (!is_dropped).then(|| Dated { date: own.date.max(self.at), cause, ..own })
    }
}

/// So many percent of a target, rounded down to milliseconds.
fn percent_of(target_ms: i64, percent: u8) -> i64 {
    (i128::from(target_ms) * i128::from(percent) / 100) as i64
}

fn times_of(target: Target, count: u32) -> Target {
    match target {
        Target::Elapsed(ms) => Target::Elapsed(ms.saturating_mul(i64::from(count))),
        Target::Open(ms) => Target::Open(ms.saturating_mul(i64::from(count))),
        Target::OpenDays(days) => Target::OpenDays(days.saturating_mul(count)),
    }
}

/// Whether a breach of such a clock has no stop, end or escalation after it. Rule T15.
pub fn ends_with_breach(promise: &Promise) -> bool {
    matches!(
        promise,
        Promise::Touch(touch)
            if matches!(touch.form, TouchForm::PerWindow(..) | TouchForm::Within(..) | TouchForm::PerStage(_))
    )
}
