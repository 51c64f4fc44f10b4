//! Facts and policies in, dated transitions out. Rules T1-T6, T10, T11 and T18.
//!
//! A [`Course`] is what a lead's facts up to some instant come to: its stage, owner, attributes and running
//! clocks. It moves from instant to instant, all facts of one instant together, and gives up each clock as
//! that ends. A lead's timeline is a course moved over all its facts; facts that can no longer
//! change anything are folded by keeping the course and dropping them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::fact::{Fact, Kind, Value};
use super::instant::Instant;
use super::policy::{Condition, Destination, FieldTest, NameId, Objective, Operand, Pipeline, Rules, Scalar};

/// One objective running once on one lead.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Clock {
    /// Index of the policy that was in force when it started.
    pub policy: u16,
    /// Index of the objective in that policy.
    pub objective: u16,
    /// The objective's name: with the lead and the start it is the clock's identity. Rule I1.
    pub name: NameId,
    /// When it started.
    pub started_at: Instant,
    /// When its target runs out. Rule T3.
    pub due_at: Instant,
    /// When and how it stopped running, if it did.
    pub end: Option<End>,
    /// Who had the lead, and where it was, at the breach: known once a later instant has been seen.
    pub at_breach: Option<Arc<Context>>,
    /// Whether entering a closed stage started it, which further closings do not end. Rule T10.
    pub is_hand_off: bool,
    /// The fact that started it.
    pub start_fact: Fact,
    /// The first gap in the log at or after its start, if there is one. Rule H6.
    pub gap: Option<Gap>,
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
    /// Who had the lead, and where it was.
    pub context: Arc<Context>,
    /// The fact itself; `None` where the clock was satisfied before it started.
    pub fact: Option<Fact>,
}

/// Why a clock stopped running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndKind {
    /// A fact was its stop.
    Stop,
    /// The lead ended, left the stages of `while`, or started the objective anew. Rules T2 and T10.
    End,
    /// What would have stopped it may be among records that were lost. Rule H6.
    Loss,
}

impl End {
    /// Whether a stop was what ended it.
    pub fn is_stop(&self) -> bool {
        self.why == EndKind::Stop
    }
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
        }
    }
}

/// Net outcome of a clock as far as time has gone. Rule T18.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Stopped in time.
    Met,
    /// Not in time, whatever came later.
    Breached,
    /// Ended in time without a stop.
    Cancelled,
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
            Outcome::Undecidable => "undecidable",
            Outcome::Open => "open",
        }
    }
}

impl Clock {
    /// Its dated steps in order; of a running clock also the breach to come. Rules T4, T5, T10 and H6.
    pub fn steps(&self) -> impl Iterator<Item = (Instant, Step)> {
        let breach = (self.due_at, Step::Breached);
        let (first, second) = match (self.undecidable_at(), &self.end) {
            (Some(at), _) => ((at, Step::Undecidable), None),
            (None, None) => (breach, None),
            (None, Some(end)) if end.at <= self.due_at => {
                ((end.at, if end.is_stop() { Step::Met } else { Step::Cancelled }), None)
            }
            (None, Some(end)) => {
                (breach, Some((end.at, if end.is_stop() { Step::Resolved } else { Step::Ended })))
            }
        };
        std::iter::once(first).chain(second)
    }

    /// When it became undecidable: at the first gap after its start, unless its breach was proven before the
    /// loss or it is known to have ended in time by then. Rule H6.
    fn undecidable_at(&self) -> Option<Instant> {
        let gap = self.gap?;
        let is_proven = self.due_at <= gap.proven_until;
        let has_ended = self
            .end
            .as_ref()
            .is_some_and(|end| end.why != EndKind::Loss && end.at <= self.due_at && end.at <= gap.at);
        (!is_proven && !has_ended).then_some(gap.at)
    }

    /// Whether it has neither ended nor become undecidable.
    pub fn is_running(&self) -> bool {
        self.end.is_none() && self.undecidable_at().is_none()
    }

    /// Notes the first gap at or after its start.
    pub fn note_gap(&mut self, gaps: &[Gap]) {
        let first = || gaps.iter().find(|gap| self.started_at <= gap.at).copied();
        self.gap = self.gap.or_else(first);
    }

    /// What became of it by `horizon`.
    pub fn outcome(&self, horizon: Instant) -> Outcome {
        match self.steps().find(|(date, _)| *date <= horizon) {
            Some((_, Step::Met)) => Outcome::Met,
            Some((_, Step::Cancelled)) => Outcome::Cancelled,
            Some((_, Step::Undecidable)) => Outcome::Undecidable,
            Some(_) => Outcome::Breached,
            None => Outcome::Open,
        }
    }
}

/// What a lead's facts up to some instant come to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Course {
    created_at: Option<Instant>,
    status: Status,
    context: Arc<Context>,
    assigned_at: Option<Instant>,
    values: Arc<Vec<Option<Scalar>>>,
    early: Vec<EarlyStop>,
    running: Vec<Clock>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Status {
    #[default]
    Alive,
    Deleted,
    Merged(Instant),
}

/// A stop that came before the clock it may satisfy. Rule T6.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct EarlyStop {
    policy: u16,
    objective: u16,
    cause: Cause,
    at: Instant,
    /// The owner who must have been assigned for it to count.
    owner: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Cause {
    Creation,
    Assignment,
}

/// A lead's whole timeline, as its facts imply it.
#[derive(Debug, Default)]
pub struct Timeline {
    /// The clocks that ended, in the order in which they did.
    pub ended: Vec<Clock>,
    /// Where the lead stands after its last fact, with the clocks that run.
    pub course: Course,
}

impl Timeline {
    /// Every clock, those that ended first.
    pub fn clocks(&self) -> impl Iterator<Item = &Clock> {
        self.ended.iter().chain(self.course.running())
    }

    fn note_gaps(&mut self, gaps: &[Gap]) {
        if !gaps.is_empty() {
            self.course.running.iter_mut().for_each(|clock| clock.note_gap(gaps));
        }
    }
}

/// Derives a lead's timeline from the course its folded facts came to and the facts since, read from a log
/// with these gaps in the order of their dates. Rules T1 and H6.
pub fn derive(rules: &Rules, gaps: &[Gap], base: Option<&Course>, facts: &[Fact]) -> Timeline {
    let mut timeline = Timeline { ended: Vec::new(), course: base.cloned().unwrap_or_default() };
    timeline.note_gaps(gaps);
    for instant in facts.chunk_by(|a, b| a.time == b.time) {
        timeline.course.lose(instant, &mut timeline.ended);
        timeline.course.advance(rules, instant, &mut timeline.ended);
        timeline.note_gaps(gaps);
    }
    timeline
}

/// What one fact is to the conditions of policies, seen after it has set what it sets. Rule F8.
struct Signal<'a> {
    fact: &'a Fact,
    is_creation: bool,
    is_assignment: bool,
    is_first_assignment: bool,
    moved: Option<Move<'a>>,
    owner: Option<&'a str>,
}

/// A change of stage.
struct Move<'a> {
    from: Option<&'a str>,
    to: &'a str,
    closes: bool,
    reopens: bool,
}

/// Whether a condition holds of a signal.
enum Verdict<'a> {
    No,
    Yes,
    /// It holds for a lead with this owner.
    IfOwner(&'a str),
}

/// What is known of an instant before its facts are taken one by one, and which of them are firsts.
struct Foreseen {
    owner: Option<Arc<str>>,
    created_at: Option<Instant>,
    creation: Option<Fact>,
    first_assignment: Option<Fact>,
}

impl Course {
    /// The clocks that run, breached ones among them, with what is known of the lead by now.
    pub fn running(&self) -> impl Iterator<Item = &Clock> {
        self.running.iter()
    }

    /// About how many bytes of memory it takes.
    pub fn bytes(&self) -> usize {
        let facts: usize = self.running.iter().map(|clock| clock.start_fact.bytes()).sum();
        size_of::<Course>() + size_of_val(self.running.as_slice()) + facts
    }

    /// Who has the lead and where it is.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Whether the lead is closed, deleted or merged. Rule T10.
    pub fn is_over(&self, pipeline: &Pipeline) -> bool {
        self.status != Status::Alive
            || self.context.stage.as_ref().is_some_and(|stage| pipeline.closes(stage))
    }

    /// Since when the lead is merged into another: facts dated after it do not count. Rule T11.
    pub fn merged_at(&self) -> Option<Instant> {
        match self.status {
            Status::Merged(at) => Some(at),
            _ => None,
        }
    }

    /// Ends the clocks that became undecidable before this instant. Rule H6.
    fn lose(&mut self, instant: &[Fact], ended: &mut Vec<Clock>) {
        let Some(now) = instant.first().map(|fact| fact.time) else { return };
        let is_lost = |clock: &mut Clock| clock.undecidable_at().is_some_and(|at| at < now);
        for mut clock in self.running.extract_if(.., is_lost) {
            let at = clock.gap.map_or(now, |gap| gap.at);
            let context = Arc::clone(&self.context);
            clock.end = Some(End { at, why: EndKind::Loss, context, fact: None });
            ended.push(clock);
        }
    }

    /// Takes all facts of one instant and moves the clocks that end into `ended`. Rule F3.
    pub fn advance(&mut self, rules: &Rules, instant: &[Fact], ended: &mut Vec<Clock>) {
        let Some(now) = instant.first().map(|fact| fact.time) else { return };
        if self.merged_at().is_some_and(|merged| merged < now) {
            return;
        }
        self.note_breaches_before(now);
        let mut foreseen = self.foresee(rules, instant);
        let first_ended = ended.len();
        for fact in instant {
            self.take(rules, fact, &mut foreseen, ended);
        }
        self.satisfy_ended(&foreseen, now, &mut ended[first_ended..]);
        self.forget_early_stops(now);
        for clock in &mut ended[first_ended..] {
            if let Some(end) = &mut clock.end {
                end.context = Arc::clone(&self.context);
            }
        }
    }

    /// Remembers for clocks that breached before `now` who had the lead then.
    fn note_breaches_before(&mut self, now: Instant) {
        for clock in &mut self.running {
            if clock.due_at < now && clock.at_breach.is_none() {
                clock.at_breach = Some(Arc::clone(&self.context));
            }
        }
    }

    /// Sets the attributes as they are after the whole instant, which is what matches see. Rule F8.
    fn foresee(&mut self, rules: &Rules, instant: &[Fact]) -> Foreseen {
        let mut foreseen = Foreseen {
            owner: self.context.owner.clone(),
            created_at: self.created_at,
            creation: None,
            first_assignment: None,
        };
        let mut is_deleted = self.status == Status::Deleted;
        for fact in instant {
            if is_deleted && fact.kind == Kind::LeadCreated {
                is_deleted = false;
                self.values = Arc::default();
                (foreseen.owner, foreseen.created_at) = (None, None);
            }
            if is_deleted {
                continue;
            }
            is_deleted = fact.kind == Kind::LeadDeleted;
            if fact.kind == Kind::LeadCreated {
                foreseen.created_at = foreseen.created_at.or(Some(fact.time));
            }
            if fact.kind.sets_attributes() {
                self.set_attributes(rules, fact);
            }
            if let Some(owner) = owner_set_by(fact) {
                foreseen.owner = owner.map(Arc::from);
            }
        }
        foreseen
    }

    fn set_attributes(&mut self, rules: &Rules, fact: &Fact) {
        for field in fact.raw_fields() {
            for (index, tracked) in rules.tracked().iter().enumerate() {
                let tracked = tracked.as_bytes();
                if field.path == tracked {
                    self.set_attribute(rules, index, field.value().and_then(scalar_of));
                } else if is_below(tracked, field.path)
                    || (is_below(field.path, tracked) && field.value() != Some(Value::Null))
                {
                    self.set_attribute(rules, index, None);
                }
            }
        }
    }

    fn set_attribute(&mut self, rules: &Rules, index: usize, value: Option<Scalar>) {
        if self.values.get(index).unwrap_or(&None) != &value {
            let values = Arc::make_mut(&mut self.values);
            values.resize(rules.tracked().len(), None);
            values[index] = value;
        }
    }

    /// Takes one fact: sets, then stops, then ends, then starts. Rule F3.
    fn take(&mut self, rules: &Rules, fact: &Fact, foreseen: &mut Foreseen, ended: &mut Vec<Clock>) {
        match (self.status, fact.kind) {
            (Status::Deleted, Kind::LeadCreated) => self.begin_anew(fact, foreseen, ended),
            (Status::Deleted, Kind::LeadMerged) => return self.status = Status::Merged(fact.time),
            (Status::Deleted, _) => return,
            _ => {}
        }
        let before = Arc::clone(&self.context);
        let signal = self.set(rules, fact, &before);
        let owner = self.context.owner.clone();
        let signal = Signal { owner: owner.as_deref(), ..signal };
        if signal.is_creation {
            foreseen.creation = Some(fact.clone());
        }
        if signal.is_first_assignment {
            foreseen.first_assignment = Some(fact.clone());
        }
        self.remember_early_stops(rules, &signal);
        self.stop(rules, &signal, ended);
        self.end(rules, &signal, ended);
        if self.status == Status::Alive {
            self.start(rules, &signal, foreseen, ended);
        }
    }

    /// One after `lead-deleted` begins the lead anew, nothing before it counting. Rule F5.
    fn begin_anew(&mut self, fact: &Fact, foreseen: &mut Foreseen, ended: &mut [Clock]) {
        self.satisfy_ended(foreseen, fact.time, ended);
        (foreseen.creation, foreseen.first_assignment) = (None, None);
        for end in ended.iter_mut().filter_map(|clock| clock.end.as_mut()).filter(|end| end.at == fact.time) {
            end.fact.get_or_insert_with(|| fact.clone());
        }
        self.status = Status::Alive;
        self.created_at = None;
        self.context = Arc::new(Context { team: self.team(), ..Context::default() });
        self.assigned_at = None;
        self.early.clear();
    }

    fn team(&self) -> Option<Arc<str>> {
        match self.values.get(Rules::TEAM) {
            Some(Some(Scalar::Text(team))) => Some(Arc::from(team.as_str())),
            _ => None,
        }
    }

    /// Sets owner, stage and status, and says what that amounts to.
    fn set<'a>(&mut self, rules: &Rules, fact: &'a Fact, before: &'a Context) -> Signal<'a> {
        let is_creation = fact.kind == Kind::LeadCreated && self.created_at.is_none();
        if is_creation {
            self.created_at = Some(fact.time);
        }
        let owner = owner_set_by(fact).filter(|owner| *owner != before.owner.as_deref());
        let stage = fact.stage().filter(|stage| Some(*stage) != before.stage.as_deref());
        if fact.kind.sets_attributes() && (owner.is_some() || stage.is_some() || self.team() != before.team) {
            self.context = Arc::new(Context {
                owner: owner.map_or_else(|| before.owner.clone(), |owner| owner.map(Arc::from)),
                team: self.team(),
                stage: stage.map(Arc::from).or_else(|| before.stage.clone()),
            });
        }
        match fact.kind {
            Kind::LeadDeleted if self.status == Status::Alive => self.status = Status::Deleted,
            Kind::LeadMerged if self.status == Status::Alive => self.status = Status::Merged(fact.time),
            _ => {}
        }
        let is_assignment = matches!(owner, Some(Some(_)));
        let is_first_assignment = is_assignment && self.assigned_at.is_none();
        if is_first_assignment {
            self.assigned_at = Some(fact.time);
        }
        let moved = stage.map(|to| move_between(&rules.policies.pipeline, before.stage.as_deref(), to));
        Signal { fact, is_creation, is_assignment, is_first_assignment, moved, owner: None }
    }

    /// Keeps stops that may satisfy a clock of creation or of the first assignment. Rule T6.
    fn remember_early_stops(&mut self, rules: &Rules, signal: &Signal<'_>) {
        let now = signal.fact.time;
        let before_creation = self.created_at.is_none_or(|created| created == now);
        let before_assignment = self.assigned_at.is_none_or(|assigned| assigned == now);
        if !before_creation && !before_assignment {
            return;
        }
        for rule in rules.early() {
            let stop = &rules.objective(rule.policy, rule.objective).stop();
            for verdict in stop.iter().map(|condition| signal.verdict(&rules.policies.pipeline, condition)) {
                let owner = match verdict {
                    Verdict::No => continue,
                    Verdict::Yes => None,
                    Verdict::IfOwner(owner) => Some(owner),
                };
                let at = now;
                if rule.by_creation && before_creation && owner.is_none_or(|o| signal.owner == Some(o)) {
                    self.keep_early(rule.policy, rule.objective, Cause::Creation, at, None);
                }
                if rule.by_assignment && before_assignment {
                    self.keep_early(rule.policy, rule.objective, Cause::Assignment, at, owner);
                }
            }
        }
    }

    fn keep_early(&mut self, policy: u16, objective: u16, cause: Cause, at: Instant, owner: Option<&str>) {
        let known = self.early.iter_mut().find(|early| {
            (early.policy, early.objective, early.cause) == (policy, objective, cause)
                && early.owner.as_deref() == owner
        });
        match known {
            Some(early) => early.at = at,
            None => {
                self.early.push(EarlyStop { policy, objective, cause, at, owner: owner.map(Arc::from) });
            }
        }
    }

    fn forget_early_stops(&mut self, now: Instant) {
        let (is_created, is_assigned) = (self.created_at == Some(now), self.assigned_at == Some(now));
        self.early.retain(|early| match early.cause {
            Cause::Creation => !is_created,
            Cause::Assignment => !is_assigned,
        });
    }

    /// Meets a clock that ended in the instant it started where a stop is dated then too. Rule T6.
    fn satisfy_ended(&self, foreseen: &Foreseen, now: Instant, ended: &mut [Clock]) {
        for clock in ended.iter_mut().filter(|clock| clock.started_at == now) {
            let is_met = self.early.iter().any(|early| {
                (early.policy, early.objective) == (clock.policy, clock.objective)
                    && self.is_early(foreseen, clock, early)
            });
            if let Some(end) = clock.end.as_mut().filter(|end| is_met && !end.is_stop()) {
                *end = End { why: EndKind::Stop, fact: None, ..end.clone() };
            }
        }
    }

    /// Whether a stop is early for what started the clock.
    fn is_early(&self, foreseen: &Foreseen, clock: &Clock, early: &EarlyStop) -> bool {
        let started_by = |fact: &Option<Fact>| fact.as_ref() == Some(&clock.start_fact);
        let assigned = owner_set_by(&clock.start_fact).flatten();
        match early.cause {
            Cause::Creation => started_by(&foreseen.creation),
            Cause::Assignment => {
                started_by(&foreseen.first_assignment)
                    && foreseen.created_at.is_some_and(|created| created <= early.at)
                    && early.owner.as_deref().is_none_or(|owner| assigned == Some(owner))
            }
        }
    }

    /// Whether a clock is satisfied at its start. Rule T6.
    fn is_satisfied(&self, policy: u16, objective: u16, signal: &Signal<'_>, foreseen: &Foreseen) -> bool {
        self.early.iter().filter(|early| (early.policy, early.objective) == (policy, objective)).any(
            |early| match early.cause {
                Cause::Creation => signal.is_creation,
                Cause::Assignment => {
                    signal.is_first_assignment
                        && foreseen.created_at.is_some_and(|created| created <= early.at)
                        && early.owner.as_deref().is_none_or(|owner| signal.owner == Some(owner))
                }
            },
        )
    }

    fn stop(&mut self, rules: &Rules, signal: &Signal<'_>, ended: &mut Vec<Clock>) {
        self.end_where(signal.fact, EndKind::Stop, ended, |clock| {
            rules
                .objective(clock.policy, clock.objective)
                .stop()
                .iter()
                .any(|condition| signal.holds(&rules.policies.pipeline, condition))
        });
    }

    /// Ends clocks with the lead, its opening, or the stages of `while`. Rules T2 and T10.
    fn end(&mut self, rules: &Rules, signal: &Signal<'_>, ended: &mut Vec<Clock>) {
        if self.status != Status::Alive {
            return self.end_where(signal.fact, EndKind::End, ended, |_| true);
        }
        let Some(moved) = &signal.moved else { return };
        self.end_where(signal.fact, EndKind::End, ended, |clock| {
            (moved.closes && !clock.is_hand_off)
                || (moved.reopens && clock.is_hand_off)
                || rules
                    .objective(clock.policy, clock.objective)
                    .while_stages
                    .as_ref()
                    .is_some_and(|stages| !stages.iter().any(|stage| stage == moved.to))
        });
    }

    fn end_where(
        &mut self,
        fact: &Fact,
        why: EndKind,
        ended: &mut Vec<Clock>,
        mut holds: impl FnMut(&Clock) -> bool,
    ) {
        let mut index = 0;
        while index < self.running.len() {
            if !holds(&self.running[index]) {
                index += 1;
                continue;
            }
            let mut clock = self.running.remove(index);
            clock.end = Some(self.end_at(fact.time, why, Some(fact.clone())));
            ended.push(clock);
        }
    }

    fn end_at(&self, at: Instant, why: EndKind, fact: Option<Fact>) -> End {
        End { at, why, context: Arc::clone(&self.context), fact }
    }

    /// Starts what the policy in force promises from this fact on. Rule T2.
    fn start(&mut self, rules: &Rules, signal: &Signal<'_>, foreseen: &Foreseen, ended: &mut Vec<Clock>) {
        if !rules.may_start(signal.sorts()) {
            return;
        }
        let Some(policy) = rules.in_force(&self.values, foreseen.owner.as_deref()) else { return };
        let pipeline = &rules.policies.pipeline;
        let is_closed = self.context.stage.as_ref().is_some_and(|stage| pipeline.closes(stage));
        for (index, objective) in rules.policy(policy).objectives.iter().enumerate() {
            let starts = objective.start().iter().any(|condition| {
                signal.holds(pipeline, condition) && (!is_closed || names_destination(condition))
            });
            if starts && self.is_in_while(objective) {
                self.start_clock(rules, (policy, index as u16), signal, foreseen, ended);
            }
        }
    }

    fn is_in_while(&self, objective: &Objective) -> bool {
        objective.while_stages.as_ref().is_none_or(|stages| {
            self.context.stage.as_ref().is_some_and(|stage| stages.iter().any(|known| **known == **stage))
        })
    }

    fn start_clock(
        &mut self,
        rules: &Rules,
        (policy, index): (u16, u16),
        signal: &Signal<'_>,
        foreseen: &Foreseen,
        ended: &mut Vec<Clock>,
    ) {
        let objective = rules.objective(policy, index);
        let now = signal.fact.time;
        let running = self.running.iter().find(|clock| clock.name == objective.name);
        if running.is_some_and(|clock| clock.started_at == now || !objective.restarts()) {
            return;
        }
        self.end_where(signal.fact, EndKind::End, ended, |clock| clock.name == objective.name);
        if let Some(place) = ended_at_its_start(ended, objective.name, now) {
            if ended[place].end.as_ref().is_some_and(|end| end.fact.is_none()) {
                return;
            }
            ended.remove(place);
        }
        let mut clock = Clock {
            policy,
            objective: index,
            name: objective.name,
            started_at: now,
            due_at: rules.due(objective, now),
            end: None,
            at_breach: None,
            is_hand_off: signal.moved.as_ref().is_some_and(|moved| moved.closes),
            start_fact: signal.fact.clone(),
            gap: None,
        };
        if self.is_satisfied(policy, index, signal, foreseen) {
            clock.end = Some(self.end_at(now, EndKind::Stop, None));
            ended.push(clock);
        } else {
            self.running.push(clock);
        }
    }
}

impl Rules {
    /// The instant an objective's clock started at `start` runs out. Rule T3.
    fn due(&self, objective: &Objective, start: Instant) -> Instant {
        match self.policies.calendar(objective) {
            Some(named) => named.calendar.due(start, objective.target()),
            None => objective.target().elapse(start),
        }
    }
}

impl Signal<'_> {
    /// The sorts of conditions that it may fulfil.
    fn sorts(&self) -> u8 {
        let moved = |moved: &Move<'_>| {
            16 | if moved.from.is_some() { 32 } else { 0 } | if moved.reopens { 4 } else { 0 }
        };
        u8::from(self.is_creation)
            | if self.is_assignment { 2 } else { 0 }
            | if self.fact.kind == Kind::Contacted { 8 } else { 0 }
            | self.moved.as_ref().map_or(0, moved)
    }

    fn holds(&self, pipeline: &Pipeline, condition: &Condition) -> bool {
        match self.verdict(pipeline, condition) {
            Verdict::No => false,
            Verdict::Yes => true,
            Verdict::IfOwner(owner) => self.owner == Some(owner),
        }
    }

    fn verdict(&self, pipeline: &Pipeline, condition: &Condition) -> Verdict<'_> {
        let is_any_of = |stages: &[String], stage: &str| stages.iter().any(|known| known == stage);
        let holds = match (condition, &self.moved) {
            (Condition::Contacted(tests), _) => return self.contact_verdict(tests),
            (Condition::Created, _) => self.is_creation,
            (Condition::Assigned, _) => self.is_assignment,
            (Condition::Reopened, Some(moved)) => moved.reopens,
            (Condition::Entered(stages), Some(moved)) => is_any_of(stages, moved.to),
            (Condition::Left { from, to }, Some(moved)) => moved.from.is_some_and(|left| {
                is_any_of(from, left)
                    && to.as_ref().is_none_or(|to| to.iter().any(|place| place.is(pipeline, left, moved.to)))
            }),
            (_, None) => false,
        };
        if holds { Verdict::Yes } else { Verdict::No }
    }

    /// Tests a contact. Rules F7 and F8.
    fn contact_verdict(&self, tests: &[FieldTest]) -> Verdict<'_> {
        if self.fact.kind != Kind::Contacted {
            return Verdict::No;
        }
        let mut needed = None;
        for test in tests {
            let value = self.contact_field(&test.path);
            let is = |operand: &Operand| matches!(operand, Operand::Value(scalar) if value.is(scalar));
            if test.any_of.iter().any(is) {
                continue;
            }
            match value {
                Value::Text(text) if test.any_of.contains(&Operand::Owner) => {
                    if needed.is_some_and(|needed| needed != text) {
                        return Verdict::No;
                    }
                    needed = Some(text);
                }
                _ => return Verdict::No,
            }
        }
        needed.map_or(Verdict::Yes, Verdict::IfOwner)
    }

    fn contact_field(&self, path: &str) -> Value<'_> {
        let given = self.fact.field(path).unwrap_or(Value::Null);
        match (path, given) {
            ("direction", Value::Null) => Value::Text("outbound"),
            ("by", Value::Null) => Value::Text("human"),
            _ => given,
        }
    }
}

impl Destination {
    fn is(&self, pipeline: &Pipeline, from: &str, to: &str) -> bool {
        let is_in = |stages: &[String]| stages.iter().any(|stage| stage == to);
        match self {
            Destination::Stage(stage) => stage == to,
            Destination::Forward => pipeline.is_forward(from, to),
            Destination::Won => is_in(&pipeline.won),
            Destination::Lost => is_in(&pipeline.lost),
        }
    }
}

fn move_between<'a>(pipeline: &Pipeline, from: Option<&'a str>, to: &'a str) -> Move<'a> {
    let closes = pipeline.closes(to);
    let reopens = !closes && from.is_some_and(|from| pipeline.closes(from));
    Move { from, to, closes, reopens }
}

/// Whether a condition says which stage is entered: one that does may start a hand-off. Rule T10.
fn names_destination(condition: &Condition) -> bool {
    matches!(condition, Condition::Entered(_) | Condition::Left { to: Some(_), .. })
}

/// Where the clock of this name lies that started and ended in this instant: started again in it, it runs
/// on. Rule F3.
fn ended_at_its_start(ended: &[Clock], name: NameId, now: Instant) -> Option<usize> {
    let count =
        ended.iter().rev().take_while(|clock| clock.end.as_ref().is_some_and(|end| end.at == now)).count();
    let first = ended.len() - count;
    let found = ended[first..].iter().position(|clock| clock.name == name && clock.started_at == now);
    found.map(|place| first + place)
}

/// The owner a fact gives the lead: `Some(None)` unassigns it. Rule F8.
fn owner_set_by(fact: &Fact) -> Option<Option<&str>> {
    if !fact.kind.assigns() {
        return None;
    }
    match fact.field("owner")? {
        Value::Text(owner) => Some(Some(owner)),
        _ => Some(None),
    }
}

fn scalar_of(value: Value<'_>) -> Option<Scalar> {
    match value {
        Value::Bool(bool) => Some(Scalar::Bool(bool)),
        Value::Number(number) => Some(Scalar::Number(number)),
        Value::Text(text) => Some(Scalar::Text(text.to_owned())),
        Value::Null | Value::Other => None,
    }
}

/// Whether dotted `path` lies below `above`.
fn is_below(path: &[u8], above: &[u8]) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.starts_with(b"."))
}
