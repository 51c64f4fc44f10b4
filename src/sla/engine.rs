//! Facts and the horizon in, effects out: what changes, what must be said, what must be taken back.
//!
//! The engine cannot fail and never waits. It serves the service, the replay and the simulator alike.

use std::sync::Arc;

use super::clock::{Cause, Clock, Context, Dated, Gap, Span, Step, Steps};
use super::fact::{Added, Fact, Kind};
use super::identity::{OutputId, Said};
use super::instant::Instant;
use super::rules::Rules;
use super::store::{Lead, OpenClock, OpenState, RejectedAt, Spoken, Store, spoken_key};
use super::timeline::{Source, Timeline, context_at, derive};
use crate::safeguard::{Safeguard, holds};

/// Limits and windows of the engine.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long after it happened an event may take to be in the log.
    pub grace_ms: i64,
    /// Judged facts older than this before the horizon are folded. Rule H10.
    pub lateness_max_ms: i64,
    /// Beyond this many facts of a lead the oldest are folded. Rule H10.
    pub facts_max: usize,
    /// A closed lead leaves this long after its last fact. Rule H10.
    pub retention_closed_ms: i64,
    /// Any other lead with nothing more to say leaves this long after its last fact. Rule H10.
    pub retention_idle_ms: i64,
    /// What is dated before this changes the state, and nobody is told. Rule H9.
    pub speak_from: Instant,
}

/// When and where a fact came in.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// The local wall clock.
    pub at: Instant,
    /// The record timestamp, if there is one.
    pub recorded_at: Option<Instant>,
}

/// What became of a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It counts.
    New {
        /// Whether it came after the horizon had passed it, or late into the log. Rule H8.
        is_late: bool,
    },
    /// It was known.
    Duplicate,
    /// It was known with other content. Rule F2.
    Conflicting,
    /// What it could change is settled. Rule F10.
    TooLate,
    /// Its lead is merged into another. Rule T11.
    Merged,
}

/// One thing to say.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Its identity. Rule I1.
    pub id: OutputId,
    /// The lead.
    pub lead_id: Arc<str>,
    /// What is said.
    pub saying: Saying,
    /// The transition's date.
    pub date: Instant,
    /// The transition.
    pub step: Step,
    /// Of warnings and escalations which one, from 1; else 0.
    pub level: u16,
    /// Why it is dated so, where another policy came into force. Rule T12.
    pub cause: Option<Cause>,
    /// Index of the policy that promised it.
    pub policy: u16,
    /// The objective's index in [`super::policy::Policies::names`].
    pub name: u16,
    /// When the clock started.
    pub started_at: Instant,
    /// Of the clocks that start together which it is, from 1; else 0.
    pub turn: u16,
    /// Who had the lead, and where it was. Rule T18.
    pub context: Arc<Context>,
    /// Whether it counts and nobody is told. Rule H9.
    pub is_silent: bool,
}

/// What an output says of a transition.
#[derive(Debug, Clone, PartialEq)]
pub enum Saying {
    /// That it happened.
    Happened {
        /// The clock.
        clock: Box<Clock>,
        /// Whether late truth brought it to light. Rule H8.
        is_late_data: bool,
        /// Rejected records that may disprove it.
        uncertain: Vec<RejectedAt>,
    },
    /// That it did not happen, although it was said. Rule H8.
    Retracted {
        /// The identity of what was said.
        id: OutputId,
        /// Whether a breach of its clock was ever said: one waived in advance never is. Rule T17.
        has_breached: bool,
    },
}

/// What looking at leads brought about.
#[derive(Debug, Default)]
pub struct Effects {
    /// What must be said, in the order of dates for each lead.
    pub outputs: Vec<Output>,
    /// Clocks that were not known before, by policy and objective.
    pub started: Vec<(u16, u16)>,
    /// Leads that left with a breach standing.
    pub abandoned: usize,
}

/// A clock and its steps, those planned after the horizon among them, in the order of dates.
#[derive(Debug, Clone)]
pub struct History {
    /// The clock.
    pub clock: Clock,
    /// What it has come to, and what it will if nothing more happens.
    pub steps: Vec<Lived>,
}

/// A step of a clock, and who had the lead then.
#[derive(Debug, Clone)]
pub struct Lived {
    /// The step.
    pub dated: Dated,
    /// Index of the policy that judged it.
    pub policy: u16,
    /// Who had the lead, and where it was. Rule T18.
    pub context: Arc<Context>,
    /// Whether it was said and stands.
    pub is_said: bool,
}

/// The state of one partition and the rules it is judged by.
#[derive(Debug)]
pub struct Engine {
    rules: Arc<Rules>,
    settings: Settings,
    store: Store,
    horizon: Option<Instant>,
    /// What [`Engine::take_left`] is asked for, where anybody asks.
    left: Vec<(Arc<str>, Clock)>,
    keeps_left: bool,
}

impl Engine {
    /// An engine that knows no lead.
    pub fn new(rules: Arc<Rules>, settings: Settings) -> Engine {
        Engine {
            rules,
            settings,
            store: Store::default(),
            horizon: None,
            left: Vec::new(),
            keeps_left: false,
        }
    }

    /// An engine whose work is never aborted, and which keeps nothing to undo it.
    pub fn without_transactions(rules: Arc<Rules>, settings: Settings) -> Engine {
        Engine { store: Store::without_transactions(), ..Engine::new(rules, settings) }
    }

    /// The same, for somebody who asks what becomes of every clock.
    pub fn accounting_for_all(self) -> Engine {
        Engine { keeps_left: true, ..self }
    }

    /// What it knows of its leads.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What it knows of its leads, to restore, commit or abort it.
    pub fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }

    /// The rules it judges by.
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// The horizon up to which it has spoken in this epoch. Rule H1.
    pub fn spoken_until(&self) -> Option<Instant> {
        self.horizon
    }

    /// A new epoch: nothing is known any more. Rule H4.
    pub fn forget_horizon(&mut self) {
        self.horizon = None;
    }

    /// Takes one fact in. Nothing is said before [`Engine::advance`].
    pub fn apply(&mut self, lead_id: &str, fact: Fact, arrival: Arrival) -> Applied {
        let known = self.store.find(lead_id);
        let settled = known.map_or(self.store.forgotten_until, |slot| self.store.lead(slot).folded_until);
        if fact.time <= settled {
            return Applied::TooLate;
        }
        if known.is_some_and(|slot| self.store.lead(slot).merged_at.is_some_and(|merged| merged < fact.time))
        {
            return Applied::Merged;
        }
        let slot = known.unwrap_or_else(|| self.store.find_or_insert(lead_id));
        let is_late = self.horizon.is_some_and(|horizon| fact.time <= horizon)
            || arrival.recorded_at.is_some_and(|recorded| fact.time.plus(self.settings.grace_ms) < recorded);
        let (is_merge, is_waiver) = (fact.kind == Kind::LeadMerged, fact.kind == Kind::BreachWaived);
        let lead = self.store.touch(slot);
        if is_waiver {
            lead.unsettle();
        }
        let (chunk, bytes) = (lead.open_chunk(), fact.bytes());
        let added = lead.facts.add(fact.in_chunk(chunk));
        if added != Added::Duplicate {
            lead.fill_chunk(bytes);
        }
        lead.touched_at = lead.touched_at.max(arrival.at);
        if is_late && added != Added::Duplicate && holds(Safeguard::WaitAfterLateFact) {
            lead.wait_until = lead.wait_until.max(Some(arrival.at));
        }
        self.store.mark_unplanned(slot);
        if is_merge {
            let merged_at = self.timeline(slot).course.merged_at();
            self.store.note(slot).merged_at = merged_at;
        }
        self.fold_beyond_limit(slot);
        match added {
            Added::New => Applied::New { is_late },
            Added::Duplicate => Applied::Duplicate,
            Added::Conflicting => Applied::Conflicting,
        }
    }

    /// A record of this lead was rejected: it may have been the proof that a promise was kept.
    pub fn mark_rejected(&mut self, lead_id: &str, rejected: RejectedAt, arrival: Arrival) {
        let slot = self.store.find_or_insert(lead_id);
        let lead = self.store.touch(slot);
        if lead.rejected.len() == REJECTED_MAX {
            lead.rejected.remove(0);
        }
        lead.rejected.push(rejected);
        lead.touched_at = lead.touched_at.max(arrival.at);
        self.store.mark_unplanned(slot);
    }

    /// What is dated before this changes the state, and nobody is told. Rule H9.
    pub fn speak_from(&self) -> Instant {
        self.settings.speak_from
    }

    /// Restoring has shown by which rules it judges, and from when on it speaks.
    pub fn judge_by(&mut self, rules: Arc<Rules>, speak_from: Instant) {
        self.rules = rules;
        self.settings.speak_from = speak_from;
    }

    /// The latest instant up to which anything is known to have been proven: whatever was spoken was, also by a
    /// predecessor whose horizon nobody knows any more.
    pub fn proven_until(&self) -> Instant {
        let spoken = self.store.slots().flat_map(|slot| &self.store.lead(slot).spoken);
        let spoken_until = spoken.map(|spoken| spoken.date).max();
        self.horizon.max(spoken_until).unwrap_or(Instant::MIN)
    }

    /// Records were lost before they were read, as was found now. What is open and was not proven by then is
    /// undecidable; the record of it goes with the offsets that skip the gap. Rule H6.
    pub fn lose(&mut self, now: Instant) -> Gap {
        let proven_until = self.proven_until();
        let after_last = self.store.gaps().last().map(|gap| gap.at.plus(1));
        let gap = Gap { at: after_last.max(Some(now)).unwrap_or(now), proven_until };
        self.store.add_gap(gap);
        gap
    }

    /// Restoring has ended: leads whose facts came late wait from now. Rule H8.
    pub fn restored(&mut self, forgotten_until: Instant, now: Instant) {
        self.store.restored(forgotten_until);
        let slots: Vec<u32> = self.store.slots().collect();
        for slot in slots {
            let has_merge = self.store.lead(slot).facts.as_slice().iter().any(|f| f.kind == Kind::LeadMerged);
            let base_merged = self.store.lead(slot).base.as_ref().and_then(|base| base.merged_at());
            let merged_at = if has_merge { self.timeline(slot).course.merged_at() } else { base_merged };
            let lead = self.store.note(slot);
            lead.merged_at = merged_at;
            if lead.wait_until.is_some() && holds(Safeguard::WaitAfterRestore) {
                lead.wait_until = Some(now);
            }
        }
    }

    /// Looks at up to `budget` leads whose facts changed, and says whether some are left.
    pub fn plan(&mut self, budget: usize, effects: &mut Effects) -> bool {
        for _ in 0..budget {
            let Some(slot) = self.store.next_unplanned() else { return false };
            let timeline = self.timeline(slot);
            let look = self.look(slot, &timeline, None);
            self.plan_lead(slot, &timeline, look, effects);
            self.fold_settled(slot, timeline);
        }
        self.store.has_unplanned()
    }

    /// An instant at or before the earliest at which something is planned; the first there is while leads
    /// have not been looked at.
    pub fn next_due(&mut self) -> Option<Instant> {
        if self.store.has_unplanned() { Some(Instant::MIN) } else { self.store.agenda.next_due() }
    }

    /// Moves the horizon and speaks what it reaches, of at most `budget` leads; says whether some are left.
    /// Rules H1 and H8.
    pub fn advance(&mut self, horizon: Instant, budget: usize, effects: &mut Effects) -> bool {
        self.horizon = self.horizon.max(Some(horizon));
        for _ in 0..budget {
            let due = self.store.next_unplanned().or_else(|| Some(self.store.agenda.pop(horizon)?.1));
            let Some(slot) = due else { return false };
            self.judge(slot, horizon, effects);
        }
        true
    }

    /// Every clock of a lead, those of folded facts excepted that kept their promise and were spoken to their end.
    pub fn clocks(&self, slot: u32) -> Vec<Clock> {
        self.timeline(slot).clocks(&self.store.lead(slot).unpacked().decided).cloned().collect()
    }

    /// Breached clocks that nobody can waive any more because a lead has too many, since this was last asked.
    pub fn take_left(&mut self) -> Vec<(Arc<str>, Clock)> {
        std::mem::take(&mut self.left)
    }

    /// Every clock of a lead with its steps, as [`Engine::clocks`], in the order in which they started.
    pub fn histories(&self, slot: u32) -> Vec<History> {
        let timeline = self.timeline(slot);
        let lead = self.store.lead(slot).unpacked();
        let until = self.horizon.unwrap_or(Instant::MIN);
        let history = |clock: &Clock| {
            let lived = |(dated, then): &(Dated, &Clock)| Lived {
                dated: *dated,
                policy: then.policy,
                context: self.context_of(slot, then, *dated, &timeline),
                is_said: lead.is_told(then, dated),
            };
            let mut steps: Vec<_> = clock.steps(&self.rules, until).iter().map(lived).collect();
            steps.sort_by_key(|lived| lived.dated.date);
            History { clock: clock.clone(), steps }
        };
        let mut histories: Vec<_> = timeline.clocks(&lead.decided).map(history).collect();
        histories.sort_by_key(|history| history.clock.key());
        histories
    }

    /// Who has a lead after its last fact, and where it is.
    pub fn context(&self, slot: u32) -> Arc<Context> {
        Arc::clone(self.timeline(slot).course.context())
    }

    /// When a lead leaves if nothing more comes and everything is said. Rule H10.
    pub fn retained_until(&self, slot: u32) -> Option<Instant> {
        self.leaves_at(slot, &self.timeline(slot))
    }

    /// Other rules are in force from now on: of every lead it must be seen what they change. Rule T13.
    pub fn take_up(&mut self, rules: Arc<Rules>) {
        self.rules = rules;
        self.store.mark_all_unplanned();
    }

    /// Rules that were taken up are in force no more, for the transaction was aborted that took them up.
    pub fn take_back(&mut self, rules: Arc<Rules>) {
        self.rules = rules;
        self.store.forget_open();
        self.store.mark_all_unplanned();
    }

    fn timeline(&self, slot: u32) -> Timeline {
        derive(self.source(slot), self.horizon.unwrap_or(Instant::MIN))
    }

    fn source(&self, slot: u32) -> Source<'_> {
        let lead = self.store.lead(slot);
        Source {
            rules: &self.rules,
            gaps: self.store.gaps(),
            base: lead.base.as_deref(),
            decided: &lead.decided,
            facts: lead.facts.as_slice(),
        }
    }

    /// Speaks what is due of one lead, then plans what comes next.
    fn judge(&mut self, slot: u32, horizon: Instant, effects: &mut Effects) {
        let timeline = self.timeline(slot);
        let is_waiting = self.store.lead(slot).wait_until.is_some_and(|until| horizon < until);
        let mut look = self.look(slot, &timeline, (!is_waiting).then_some(horizon));
        if !is_waiting {
            self.speak(slot, &timeline, &mut look, effects);
            let has_more = look.planned.is_some() || timeline.course.next_window().is_some();
            if !has_more && self.leaves_at(slot, &timeline).is_some_and(|leaves_at| leaves_at <= horizon) {
                return self.forget(slot, &timeline, effects);
            }
        }
        self.plan_lead(slot, &timeline, look, effects);
        self.fold_settled(slot, timeline);
    }

    /// Looks at the steps of a lead, of which those dated at or before `speaks_until` are spoken now.
    fn look(&self, slot: u32, timeline: &Timeline, speaks_until: Option<Instant>) -> Look {
        let lead = self.store.lead(slot);
        let until = self.spoken_until_of(slot).max(self.horizon).unwrap_or(Instant::MIN);
        let steps = steps(&self.rules, lead, timeline, until);
        let is_spoken = |date: Instant| speaks_until.is_some_and(|until| date <= until);
        let is_told = |dated: &Dated, clock: &Clock| is_spoken(dated.date) || lead.is_told(clock, dated);
        let untold =
            steps.iter().filter(|(dated, clock)| !is_told(dated, clock)).map(|(dated, _)| dated.date);
        // What was spoken of later dates is not judged now: another process's clock may have been ahead.
        let judges_all = speaks_until.filter(|_| !holds(Safeguard::RetractionWaits));
        let is_judged = |place: &usize| judges_all.is_some() || is_spoken(lead.spoken[*place].date);
        let stale = stale(lead, &steps, judges_all.unwrap_or(Instant::MAX));
        let (stale, stale_later): (Vec<usize>, Vec<usize>) = stale.into_iter().partition(is_judged);
        let stale_later = stale_later.into_iter().map(|place| lead.spoken[place].date);
        let planned = untold.chain(stale_later).min();
        let open = open_clocks(timeline, &steps, is_told);
        let missing = speaks_until.map_or_else(Vec::new, |until| missing(lead, &steps, until));
        Look { stale, missing, planned, open }
    }

    /// Makes what was spoken of a lead equal to its timeline up to the horizon. Rule H8.
    fn speak(&mut self, slot: u32, timeline: &Timeline, look: &mut Look, effects: &mut Effects) {
        let is_late_data = self.store.lead(slot).wait_until.is_some();
        let (stale, missing) = (std::mem::take(&mut look.stale), std::mem::take(&mut look.missing));
        if stale.is_empty() && missing.is_empty() && !is_late_data {
            return;
        }
        let id = Arc::clone(self.store.id(slot));
        for place in stale {
            let spoken = self.store.lead(slot).spoken[place];
            effects.outputs.push(self.retraction(slot, &id, &spoken, timeline));
            let spoken = &mut self.store.touch(slot).spoken[place];
            spoken.stands = false;
            spoken.times_retracted += 1;
        }
        for (dated, clock) in missing {
            let output = self.say(slot, &id, timeline, dated, clock, is_late_data);
            effects.outputs.push(output);
        }
        if is_late_data {
            self.store.touch(slot).wait_until = None;
        }
        self.drop_settled(slot);
    }

    fn say(
        &mut self,
        slot: u32,
        lead_id: &Arc<str>,
        timeline: &Timeline,
        dated: Dated,
        clock: Box<Clock>,
        is_late_data: bool,
    ) -> Output {
        let context = self.context_of(slot, &clock, dated, timeline);
        let is_silent = self.is_silent(&clock, dated.date);
        let Dated { date, step, level, cause } = dated;
        let lead = self.store.touch(slot);
        let times_retracted = lead.stand(&clock, &dated, is_silent);
        let uncertain = uncertain(&lead.rejected, &clock, dated, self.settings.grace_ms);
        let (started_at, turn) = (clock.started_at, clock.turn);
        let objective = self.rules.policies.name(clock.name);
        let said = Said { lead_id, objective, started_at, turn, step, level, date, times_retracted };
        Output {
            id: said.id(),
            lead_id: Arc::clone(lead_id),
            date,
            step,
            level,
            cause,
            policy: clock.policy,
            name: clock.name,
            started_at,
            turn,
            context,
            is_silent,
            saying: Saying::Happened { clock, is_late_data, uncertain },
        }
    }

    /// Whether nobody is told: the date, or the breach of its clock, lies before what is spoken of. Rule H9.
    fn is_silent(&self, clock: &Clock, date: Instant) -> bool {
        let from = self.settings.speak_from;
        date < from || clock.breach().is_some_and(|breach| breach.at < from && breach.at <= date)
    }

    /// Owner, team and stage at a transition's date. Rule T18.
    fn context_of(&self, slot: u32, clock: &Clock, dated: Dated, timeline: &Timeline) -> Arc<Context> {
        let end = clock.end.as_ref().filter(|end| end.at == dated.date).map(|end| &end.context);
        let at_breach =
            clock.at_breach.as_ref().filter(|_| clock.breach().is_some_and(|b| b.at == dated.date));
        let source = self.source(slot);
        let is_past = || source.facts.last().is_some_and(|fact| dated.date < fact.time);
        match at_breach.or(end) {
            Some(context) => Arc::clone(context),
            None if is_past() => context_at(source, dated.date),
            None => Arc::clone(timeline.course.context()),
        }
    }

    fn retraction(&self, slot: u32, lead_id: &Arc<str>, spoken: &Spoken, timeline: &Timeline) -> Output {
        let is_breach = |other: &Spoken| other.clock() == spoken.clock() && other.step == Step::Breached;
        let has_breached = self.store.lead(slot).spoken.iter().any(is_breach);
        let Spoken { started_at, turn, step, level, date, times_retracted, .. } = *spoken;
        let objective = self.rules.policies.name(spoken.name);
        let said = Said { lead_id, objective, started_at, turn, step, level, date, times_retracted };
        Output {
            id: said.retraction_id(),
            lead_id: Arc::clone(lead_id),
            saying: Saying::Retracted { id: said.id(), has_breached },
            date,
            step,
            level,
            cause: None,
            policy: spoken.policy,
            name: spoken.name,
            started_at,
            turn,
            context: Arc::clone(timeline.course.context()),
            is_silent: spoken.is_silent,
        }
    }

    /// Drops clocks of folded facts of which everything has been said, and what was said of clocks that no
    /// fact to come can bring back.
    fn drop_settled(&mut self, slot: u32) {
        if !self.store.lead(slot).has_settled(&self.rules) {
            return;
        }
        let id = Arc::clone(self.store.id(slot));
        let rules = Arc::clone(&self.rules);
        let lead = self.store.touch(slot);
        let mut decided = std::mem::take(&mut lead.decided);
        let told: Vec<Clock> = decided.extract_if(.., |clock| lead.goes(clock, &rules)).collect();
        decided.shrink_to_fit();
        lead.decided = decided;
        told.into_iter().filter(|clock| clock.breach().is_some()).for_each(|clock| lead.settle(clock));
        let left = lead.settled.take_beyond(BREACHES_KEPT);
        let mut spoken = std::mem::take(&mut lead.spoken);
        spoken.retain(|spoken| lead.may_return(spoken));
        spoken.shrink_to_fit();
        lead.spoken = spoken;
        if self.keeps_left {
            self.left.extend(left.into_iter().map(|(clock, _)| (Arc::clone(&id), clock)));
        }
    }

    /// Enters the lead's next due instant and notes which clocks run.
    fn plan_lead(&mut self, slot: u32, timeline: &Timeline, look: Look, effects: &mut Effects) {
        let lead = self.store.lead(slot);
        let planned = look.planned.into_iter().chain(timeline.course.next_window()).min();
        let boundary = timeline.course.next_boundary(&self.rules);
        let due = match (planned, lead.wait_until) {
            (Some(planned), wait) => Some(wait.map_or(planned, |wait| planned.max(wait))),
            (None, Some(wait)) => Some(wait),
            (None, None) => self.leaves_at(slot, timeline),
        };
        let due = due.into_iter().chain(boundary).min();
        let open = look.open;
        if !lead.was_restored {
            let name = |clock: &OpenClock| self.rules.objective_name(clock.policy, clock.objective);
            let is_same = |a: &OpenClock, b: &OpenClock| {
                (a.started_at, a.turn, name(a)) == (b.started_at, b.turn, name(b))
            };
            let is_new = |clock: &&OpenClock| !lead.open.iter().any(|known| is_same(known, clock));
            effects.started.extend(open.iter().filter(is_new).map(|clock| (clock.policy, clock.objective)));
        }
        self.store.note(slot).was_restored = false;
        self.store.note_open(slot, open);
        self.store.note_bytes(slot);
        self.store.agenda.set(slot, due);
    }

    /// The latest date that was spoken of a lead: where a predecessor's clock was ahead, what comes next lies
    /// beyond it and not only beyond the horizon.
    fn spoken_until_of(&self, slot: u32) -> Option<Instant> {
        self.store.lead(slot).spoken.iter().map(|spoken| spoken.date).max()
    }

    /// When a lead with nothing more to say leaves. Rule H10.
    fn leaves_at(&self, slot: u32, timeline: &Timeline) -> Option<Instant> {
        let lead = self.store.lead(slot);
        let is_running = timeline.course.running().any(Clock::is_running);
        let is_known = lead.base.is_some() || !lead.facts.as_slice().is_empty();
        let is_over = timeline.course.is_over(&self.rules) || !is_known;
        let retention_ms = if is_over && !is_running {
            self.settings.retention_closed_ms
        } else {
            self.settings.retention_idle_ms
        };
        Some(lead.touched_at.plus(retention_ms))
    }

    fn forget(&mut self, slot: u32, timeline: &Timeline, effects: &mut Effects) {
        effects.abandoned += usize::from(timeline.course.running().any(Clock::is_running));
        let lead = self.store.lead(slot);
        let last = lead.facts.as_slice().last().map_or(lead.folded_until, |fact| fact.time);
        self.store.forgotten_until = self.store.forgotten_until.max(last);
        self.store.forget(slot);
    }

    /// Folds facts that can no longer change anything, where there are some. Rule H10.
    fn fold_settled(&mut self, slot: u32, timeline: Timeline) {
        let Some(horizon) = self.horizon else { return };
        let settled = horizon.minus(self.settings.lateness_max_ms);
        let facts = self.store.lead(slot).facts.as_slice();
        let count = facts.partition_point(|fact| fact.time <= settled);
        if count == facts.len() && timeline.is_ahead && WINDOWS_KEPT < timeline.ended.len() {
            self.fold(slot, count, settled);
        } else if 0 < count && count == facts.len() && !timeline.is_ahead {
            self.fold_into(slot, count, timeline);
        } else if 0 < count {
            self.fold(slot, count, Instant::MIN);
        }
    }

    fn fold_beyond_limit(&mut self, slot: u32) {
        let facts = self.store.lead(slot).facts.as_slice();
        if facts.len() <= self.settings.facts_max {
            return;
        }
        // An eighth at a time, and never half an instant.
        let wanted = facts[facts.len() - self.settings.facts_max * 7 / 8].time;
        let count = facts.partition_point(|fact| fact.time < wanted);
        self.fold(slot, count, Instant::MIN);
    }

    /// Folds the first facts of a lead, and what time alone brings about until then.
    fn fold(&mut self, slot: u32, count: usize, until: Instant) {
        let source = self.source(slot);
        let timeline = derive(Source { facts: &source.facts[..count], ..source }, until);
        self.fold_into(slot, count, timeline);
    }

    /// Replaces the first facts of a lead by what they came to.
    fn fold_into(&mut self, slot: u32, count: usize, timeline: Timeline) {
        let Timeline { mut course, ended, .. } = timeline;
        let source = self.source(slot);
        course.remember(Source { facts: &source.facts[..count], ..source }, &ended);
        let lead = self.store.touch(slot);
        lead.folded_until = lead.folded_until.max(course.at());
        lead.decided.retain(|known| {
            let keys = ended.iter().chain(course.running()).map(Clock::key);
            !keys.into_iter().any(|key| key == known.key())
        });
        // What is kept needs no details, and the list no room to grow.
        lead.decided.extend(ended.into_iter().map(Clock::slim));
        lead.decided.shrink_to_fit();
        lead.facts.drain_first(count);
        lead.base = Some(Box::new(course));
        self.drop_settled(slot);
    }
}

/// Up to so many spoken transitions are looked for one by one.
const SPOKEN_FEW: usize = 12;
/// Of clocks whose facts are folded, so many breaches of a lead can still be waived: the latest. Rule T17.
const BREACHES_KEPT: usize = 64;
/// So many windows may pass between two facts before they are folded.
const WINDOWS_KEPT: usize = 32;
/// Rejected records remembered of a lead.
const REJECTED_MAX: usize = 8;

impl Lead {
    /// Enters that a transition stands, and returns how often it was retracted before.
    fn stand(&mut self, clock: &Clock, dated: &Dated, is_silent: bool) -> u32 {
        match self.find_spoken(spoken_key(clock, dated)) {
            Ok(place) => {
                (self.spoken[place].stands, self.spoken[place].is_silent) = (true, is_silent);
                self.spoken[place].times_retracted
            }
            Err(place) => {
                self.speak(
                    place,
                    Spoken {
                        started_at: clock.started_at,
                        name: clock.name,
                        turn: clock.turn,
                        step: dated.step,
                        level: dated.level,
                        date: dated.date,
                        policy: clock.policy,
                        times_retracted: 0,
                        stands: true,
                        is_silent,
                        chunk: 0,
                    },
                );
                0
            }
        }
    }

    /// Whether a step was told and stands; a warning is told once, whatever its date. Rule T7.
    fn is_told(&self, clock: &Clock, dated: &Dated) -> bool {
        if dated.step == Step::AtRisk {
            let is_it = |spoken: &Spoken| {
                (spoken.clock(), spoken.step, spoken.level) == (clock.key(), dated.step, dated.level)
            };
            return self.spoken.iter().any(is_it);
        }
        self.find_spoken(spoken_key(clock, dated)).is_ok_and(|place| self.spoken[place].stands)
    }

    /// Whether all of a clock was told, and no other policy can make it run again.
    fn can_go(&self, clock: &Clock, rules: &Rules) -> bool {
        let may_return = self.base.as_ref().is_some_and(|base| base.may_have_elsewhere(clock.key()));
        !may_return
            && clock.steps(rules, Instant::MIN).iter().all(|(dated, clock)| self.is_told(clock, dated))
    }

    /// Whether a fact to come can change the clock that this was said of.
    fn may_return(&self, spoken: &Spoken) -> bool {
        self.folded_until < spoken.started_at
            || self.base.as_ref().is_none_or(|base| base.may_have(spoken.clock()))
            || self.decided.iter().any(|clock| clock.key() == spoken.clock())
    }

    /// Whether a clock need not be at hand any more: all of it was told, and no waiver waits for it.
    fn goes(&self, clock: &Clock, rules: &Rules) -> bool {
        let is_waiver = |fact: &Fact| fact.kind == Kind::BreachWaived;
        let may_be_waived = clock.breach().is_some() && self.facts.as_slice().iter().any(is_waiver);
        !may_be_waived && self.can_go(clock, rules)
    }

    /// Whether something is kept of it that can be packed or dropped.
    fn has_settled(&self, rules: &Rules) -> bool {
        self.decided.iter().any(|clock| self.goes(clock, rules))
            || self.spoken.iter().any(|spoken| !self.may_return(spoken))
    }
}

/// What there is to say of a lead, and what comes after that.
struct Look {
    /// The places of what was spoken and must be taken back.
    stale: Vec<usize>,
    /// What must be said, in the order of dates.
    missing: Vec<(Dated, Box<Clock>)>,
    /// The earliest date at which something must be said or taken back then.
    planned: Option<Instant>,
    /// The clocks that run then, and those that ended and were not told of.
    open: Vec<OpenClock>,
}

/// The steps of all clocks, those planned after the horizon among them.
fn steps<'a>(rules: &Rules, lead: &'a Lead, timeline: &'a Timeline, horizon: Instant) -> Steps<'a> {
    let mut steps = Steps::new();
    timeline.clocks(&lead.decided).for_each(|clock| clock.add_steps(rules, horizon, &mut steps));
    steps
}

/// What the timeline has up to the horizon and was not told, in the order of dates.
fn missing(lead: &Lead, steps: &[(Dated, &Clock)], horizon: Instant) -> Vec<(Dated, Box<Clock>)> {
    let is_missing = |(dated, clock): &&(Dated, &Clock)| dated.date <= horizon && !lead.is_told(clock, dated);
    let own = |(dated, clock): &(Dated, &Clock)| (*dated, Box::new((*clock).clone()));
    let mut missing: Vec<_> = steps.iter().filter(is_missing).map(own).collect();
    missing.sort_by_key(|(dated, clock)| (dated.date, clock.key(), dated.step, dated.level));
    missing
}

/// The places of what was spoken and is not in the timeline up to an instant.
fn stale(lead: &Lead, steps: &[(Dated, &Clock)], until: Instant) -> Vec<usize> {
    let reached = || steps.iter().filter(|(dated, _)| dated.date <= until);
    let is_judged = |spoken: &Spoken| spoken.stands && spoken.step.is_retracted();
    let standing = lead.spoken.iter().enumerate().filter(|(_, spoken)| is_judged(spoken));
    if lead.spoken.len() <= SPOKEN_FEW {
        let is_there =
            |spoken: &Spoken| reached().any(|(dated, clock)| spoken_key(clock, dated) == spoken.key());
        return standing.filter(|(_, spoken)| !is_there(spoken)).map(|(place, _)| place).collect();
    }
    let mut keys: Vec<_> = reached().map(|(dated, clock)| spoken_key(clock, dated)).collect();
    keys.sort_unstable();
    standing.filter(|(_, s)| keys.binary_search(&s.key()).is_err()).map(|(place, _)| place).collect()
}

/// The clocks that run, and those that ended and were not told of.
fn open_clocks(
    timeline: &Timeline,
    steps: &[(Dated, &Clock)],
    is_told: impl Fn(&Dated, &Clock) -> bool,
) -> Vec<OpenClock> {
    let of = |clock: &Clock| {
        let is_breach = |dated: &Dated| matches!(dated.step, Step::Breached | Step::Waived);
        let own = || steps.iter().filter(|(_, other)| other.key() == clock.key()).map(|(dated, _)| dated);
        let state = if clock.is_running() {
            let is_told_of =
                |is_it: &dyn Fn(&Dated) -> bool| own().any(|one| is_it(one) && is_told(one, clock));
            match () {
                () if is_told_of(&is_breach) => OpenState::Overdue,
                () if clock.pauses.last().is_some_and(Span::is_open) => OpenState::Paused,
                () if is_told_of(&|dated| dated.step == Step::AtRisk) => OpenState::AtRisk,
                () => OpenState::OnTrack,
            }
        } else if own().any(|dated| !is_told(dated, clock)) {
            OpenState::Ending
        } else {
            return None;
        };
        let &Clock { policy, objective, turn, started_at, due_at, .. } = clock;
        Some(OpenClock { policy, objective, turn, started_at, due_at, state })
    };
    timeline.clocks(&[]).filter_map(of).collect()
}

/// The rejected records that may disprove a breach: those of the time in which its clock ran towards it.
fn uncertain(rejected: &[RejectedAt], clock: &Clock, dated: Dated, grace_ms: i64) -> Vec<RejectedAt> {
    if dated.step != Step::Breached {
        return Vec::new();
    }
    let (from, to) = (clock.started_at.minus(grace_ms), dated.date.plus(grace_ms));
    let may_be = |rejected: &&RejectedAt| rejected.recorded_at.is_none_or(|at| from <= at && at <= to);
    rejected.iter().filter(may_be).copied().collect()
}
