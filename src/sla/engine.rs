//! Facts and the horizon in, effects out: what changes, what must be said, what must be taken back.
//!
//! The engine cannot fail and never waits. It serves the service, the replay and the simulator alike.

use std::sync::Arc;

use super::fact::{Added, Fact, Kind};
use super::identity::{OutputId, Said};
use super::instant::Instant;
use super::policy::Rules;
use super::store::{Lead, OpenClock, OpenState, RejectedAt, Spoken, Store};
use super::timeline::{Clock, Context, Gap, Step, Timeline, derive};
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
    /// Index of the policy that promised it.
    pub policy: u16,
    /// The objective's index in [`super::policy::Policies::names`].
    pub name: u16,
    /// When the clock started.
    pub started_at: Instant,
    /// Who had the lead, and where it was. Rule T18.
    pub context: Arc<Context>,
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

/// The state of one partition and the rules it is judged by.
#[derive(Debug)]
pub struct Engine {
    rules: Arc<Rules>,
    settings: Settings,
    store: Store,
    horizon: Option<Instant>,
}

impl Engine {
    /// An engine that knows no lead.
    pub fn new(rules: Arc<Rules>, settings: Settings) -> Engine {
        Engine { rules, settings, store: Store::default(), horizon: None }
    }

    /// An engine whose work is never aborted, and which keeps nothing to undo it.
    pub fn without_transactions(rules: Arc<Rules>, settings: Settings) -> Engine {
        Engine { rules, settings, store: Store::without_transactions(), horizon: None }
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
        let is_merge = fact.kind == Kind::LeadMerged;
        let lead = self.store.touch(slot);
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

    /// Records were lost before they were read, as was found now. What is open and was not proven by then is
    /// undecidable; the record of it goes with the offsets that skip the gap. Rule H6.
    pub fn lose(&mut self, now: Instant) -> Gap {
        // Whatever was spoken was proven, also by a predecessor whose horizon nobody knows any more.
        let spoken = self.store.slots().flat_map(|slot| &self.store.lead(slot).spoken);
        let spoken_until = spoken.map(|spoken| spoken.date).max();
        let proven_until = self.horizon.max(spoken_until).unwrap_or(Instant::MIN);
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
            self.plan_lead(slot, &timeline, effects);
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

    /// Every clock of a lead, those of folded facts that were spoken to their end excepted.
    pub fn clocks(&self, slot: u32) -> Vec<Clock> {
        let timeline = self.timeline(slot);
        let decided = self.store.lead(slot).decided.iter();
        decided.chain(timeline.clocks()).cloned().collect()
    }

    /// Who has a lead after its last fact, and where it is.
    pub fn context(&self, slot: u32) -> Arc<Context> {
        Arc::clone(self.timeline(slot).course.context())
    }

    /// When a lead leaves if nothing more comes and everything is said. Rule H10.
    pub fn retained_until(&self, slot: u32) -> Option<Instant> {
        self.leaves_at(slot, &self.timeline(slot))
    }

    fn timeline(&self, slot: u32) -> Timeline {
        let lead = self.store.lead(slot);
        derive(&self.rules, self.store.gaps(), lead.base.as_deref(), lead.facts.as_slice())
    }

    /// Speaks what is due of one lead, then plans what comes next.
    fn judge(&mut self, slot: u32, horizon: Instant, effects: &mut Effects) {
        let timeline = self.timeline(slot);
        let is_waiting = self.store.lead(slot).wait_until.is_some_and(|until| horizon < until);
        if !is_waiting {
            self.speak(slot, &timeline, horizon, effects);
            if self.is_past_retention(slot, &timeline, horizon) {
                return self.forget(slot, &timeline, effects);
            }
        }
        self.plan_lead(slot, &timeline, effects);
        self.fold_settled(slot, timeline);
    }

    /// Makes what was spoken of a lead equal to its timeline up to the horizon. Rule H8.
    fn speak(&mut self, slot: u32, timeline: &Timeline, horizon: Instant, effects: &mut Effects) {
        let lead = self.store.lead(slot);
        let is_late_data = lead.wait_until.is_some();
        let stale = stale(lead, timeline, horizon);
        let missing = missing(lead, timeline, horizon);
        if stale.is_empty() && missing.is_empty() && !is_late_data {
            return;
        }
        let id = Arc::clone(self.store.id(slot));
        for place in stale {
            let spoken = self.store.lead(slot).spoken[place];
            effects.outputs.push(self.retraction(&id, &spoken, timeline));
            let spoken = &mut self.store.touch(slot).spoken[place];
            spoken.stands = false;
            spoken.times_retracted += 1;
        }
        for (date, step, clock) in missing {
            let lead = self.store.touch(slot);
            let times_retracted = lead.stand(&clock, step, date);
            let uncertain = uncertain(&lead.rejected, &clock, step, self.settings.grace_ms);
            let said = Said {
                lead_id: &id,
                objective: self.rules.policies.name(clock.name),
                started_at: clock.started_at,
                step,
                date,
                times_retracted,
            };
            effects.outputs.push(Output {
                id: said.id(),
                lead_id: Arc::clone(&id),
                date,
                step,
                policy: clock.policy,
                name: clock.name,
                started_at: clock.started_at,
                context: context_at(&clock, step, timeline),
                saying: Saying::Happened { clock: Box::new(clock), is_late_data, uncertain },
            });
        }
        if is_late_data {
            self.store.touch(slot).wait_until = None;
        }
        self.drop_settled(slot);
    }

    fn retraction(&self, lead_id: &Arc<str>, spoken: &Spoken, timeline: &Timeline) -> Output {
        let said = Said {
            lead_id,
            objective: self.rules.policies.name(spoken.name),
            started_at: spoken.started_at,
            step: spoken.step,
            date: spoken.date,
            times_retracted: spoken.times_retracted,
        };
        Output {
            id: said.retraction_id(),
            lead_id: Arc::clone(lead_id),
            saying: Saying::Retracted { id: said.id() },
            date: spoken.date,
            step: spoken.step,
            policy: spoken.policy,
            name: spoken.name,
            started_at: spoken.started_at,
            context: Arc::clone(timeline.course.context()),
        }
    }

    /// Drops clocks of folded facts of which everything has been said, and what was said of clocks that no
    /// fact to come can bring back.
    fn drop_settled(&mut self, slot: u32) {
        if self.store.lead(slot).has_settled() {
            let lead = self.store.touch(slot);
            let decided = std::mem::take(&mut lead.decided);
            lead.decided = decided.into_iter().filter(|clock| !lead.is_spoken(clock)).collect();
            let spoken = std::mem::take(&mut lead.spoken);
            lead.spoken = spoken.into_iter().filter(|spoken| lead.may_return(spoken)).collect();
        }
    }

    /// Enters the lead's next due instant and notes which clocks run.
    fn plan_lead(&mut self, slot: u32, timeline: &Timeline, effects: &mut Effects) {
        let lead = self.store.lead(slot);
        let planned = next_step(lead, timeline);
        let due = match (planned, lead.wait_until) {
            (Some(planned), wait) => Some(wait.map_or(planned, |wait| planned.max(wait))),
            (None, Some(wait)) => Some(wait),
            (None, None) => self.leaves_at(slot, timeline),
        };
        let open = open_clocks(lead, timeline);
        if !lead.was_restored {
            let is_new = |clock: &&OpenClock| !lead.open.iter().any(|known| known.is_same_as(clock));
            effects.started.extend(open.iter().filter(is_new).map(|clock| (clock.policy, clock.objective)));
        }
        self.store.note(slot).was_restored = false;
        self.store.note_open(slot, open);
        self.store.note_bytes(slot);
        self.store.agenda.set(slot, due);
    }

    /// When a lead with nothing more to say leaves. Rule H10.
    fn leaves_at(&self, slot: u32, timeline: &Timeline) -> Option<Instant> {
        let lead = self.store.lead(slot);
        let is_running = timeline.course.running().any(Clock::is_running);
        let is_known = lead.base.is_some() || !lead.facts.as_slice().is_empty();
        let is_over = timeline.course.is_over(&self.rules.policies.pipeline) || !is_known;
        let retention_ms = if is_over && !is_running {
            self.settings.retention_closed_ms
        } else {
            self.settings.retention_idle_ms
        };
        Some(lead.touched_at.plus(retention_ms))
    }

    fn is_past_retention(&self, slot: u32, timeline: &Timeline, horizon: Instant) -> bool {
        let lead = self.store.lead(slot);
        next_step(lead, timeline).is_none()
            && self.leaves_at(slot, timeline).is_some_and(|leaves_at| leaves_at <= horizon)
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
        if 0 < count && count == facts.len() {
            self.fold_into(slot, count, timeline);
        } else if 0 < count {
            self.fold(slot, count);
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
        self.fold(slot, count);
    }

    /// Folds the first facts of a lead.
    fn fold(&mut self, slot: u32, count: usize) {
        let lead = self.store.lead(slot);
        let facts = &lead.facts.as_slice()[..count];
        let timeline = derive(&self.rules, self.store.gaps(), lead.base.as_deref(), facts);
        self.fold_into(slot, count, timeline);
    }

    /// Replaces the first facts of a lead by what they came to.
    fn fold_into(&mut self, slot: u32, count: usize, timeline: Timeline) {
        let lead = self.store.touch(slot);
        lead.folded_until = lead.facts.as_slice()[..count].last().map_or(lead.folded_until, |fact| fact.time);
        lead.decided.extend(timeline.ended);
        lead.facts.drain_first(count);
        lead.base = Some(Box::new(timeline.course));
        self.drop_settled(slot);
    }
}

/// Up to so many spoken transitions are looked for one by one.
const SPOKEN_FEW: usize = 12;
/// About how many bytes a spoken transition takes where it is written.
const SPOKEN_BYTES: usize = 24;
/// Rejected records remembered of a lead.
const REJECTED_MAX: usize = 8;

impl Lead {
    /// Enters that a transition stands, and returns how often it was retracted before.
    fn stand(&mut self, clock: &Clock, step: Step, date: Instant) -> u32 {
        match self.find_spoken((clock.started_at, clock.name, step, date)) {
            Ok(place) => {
                self.spoken[place].stands = true;
                self.spoken[place].times_retracted
            }
            Err(place) => {
                let chunk = self.open_chunk();
                self.fill_chunk(SPOKEN_BYTES);
                self.spoken.insert(
                    place,
                    Spoken {
                        started_at: clock.started_at,
                        name: clock.name,
                        step,
                        date,
                        policy: clock.policy,
                        times_retracted: 0,
                        stands: true,
                        chunk,
                    },
                );
                0
            }
        }
    }

    fn stands(&self, clock: &Clock, step: Step, date: Instant) -> bool {
        self.find_spoken((clock.started_at, clock.name, step, date))
            .is_ok_and(|place| self.spoken[place].stands)
    }

    fn is_spoken(&self, clock: &Clock) -> bool {
        clock.steps().all(|(date, step)| self.stands(clock, step, date))
    }

    /// Whether a fact to come can change the clock that this was said of.
    fn may_return(&self, spoken: &Spoken) -> bool {
        let is_of = |clock: &Clock| (clock.started_at, clock.name) == (spoken.started_at, spoken.name);
        self.folded_until < spoken.started_at
            || self.base.as_ref().is_none_or(|base| base.running().any(is_of))
            || self.decided.iter().any(is_of)
    }

    /// Whether something is kept of it that can be dropped.
    fn has_settled(&self) -> bool {
        self.decided.iter().any(|clock| self.is_spoken(clock))
            || self.spoken.iter().any(|spoken| !self.may_return(spoken))
    }
}

fn steps<'a>(lead: &'a Lead, timeline: &'a Timeline) -> impl Iterator<Item = (Instant, Step, &'a Clock)> {
    let clocks = lead.decided.iter().chain(timeline.clocks());
    clocks.flat_map(|clock| clock.steps().map(move |(date, step)| (date, step, clock)))
}

/// What the timeline has up to the horizon and was not spoken, in the order of dates.
fn missing(lead: &Lead, timeline: &Timeline, horizon: Instant) -> Vec<(Instant, Step, Clock)> {
    let mut missing: Vec<_> = steps(lead, timeline)
        .filter(|(date, step, clock)| *date <= horizon && !lead.stands(clock, *step, *date))
        .map(|(date, step, clock)| (date, step, clock.clone()))
        .collect();
    missing.sort_by_key(|(date, step, clock)| (*date, clock.started_at, clock.name, *step));
    missing
}

/// The places of what was spoken and is not in the timeline up to the horizon.
fn stale(lead: &Lead, timeline: &Timeline, horizon: Instant) -> Vec<usize> {
    let key = |clock: &Clock, step, date| (clock.started_at, clock.name, step, date);
    let reached = || steps(lead, timeline).filter(|(date, ..)| *date <= horizon);
    // What was spoken of later dates is not judged now: another process's clock may have been ahead.
    let is_reached = |spoken: &Spoken| spoken.date <= horizon || !holds(Safeguard::RetractionWaits);
    let is_judged = |spoken: &Spoken| spoken.stands && is_reached(spoken);
    let standing = lead.spoken.iter().enumerate().filter(|(_, spoken)| is_judged(spoken));
    if lead.spoken.len() <= SPOKEN_FEW {
        let is_there = |spoken: &Spoken| reached().any(|(date, step, c)| key(c, step, date) == spoken.key());
        return standing.filter(|(_, spoken)| !is_there(spoken)).map(|(place, _)| place).collect();
    }
    let mut keys: Vec<_> = reached().map(|(date, step, clock)| key(clock, step, date)).collect();
    keys.sort_unstable();
    standing.filter(|(_, s)| keys.binary_search(&s.key()).is_err()).map(|(place, _)| place).collect()
}

/// The earliest date at which something must be said or taken back.
fn next_step(lead: &Lead, timeline: &Timeline) -> Option<Instant> {
    let unspoken = steps(lead, timeline)
        .filter(|(date, step, clock)| !lead.stands(clock, *step, *date))
        .map(|(date, ..)| date);
    let stale = stale(lead, timeline, Instant::MAX).into_iter().map(|place| lead.spoken[place].date);
    unspoken.chain(stale).min()
}

/// The clocks that run, and those that ended and were not spoken.
fn open_clocks(lead: &Lead, timeline: &Timeline) -> Vec<OpenClock> {
    let open = |clock: &Clock| {
        let (date, step) = clock.steps().next()?;
        let state = match (lead.stands(clock, step, date), clock.is_running()) {
            (true, false) => return None,
            (true, true) => OpenState::Overdue,
            (false, true) => OpenState::OnTrack,
            (false, false) => OpenState::Ending,
        };
        let &Clock { policy, objective, started_at, due_at, .. } = clock;
        Some(OpenClock { policy, objective, started_at, due_at, state })
    };
    timeline.clocks().filter_map(open).collect()
}

/// Owner, team and stage at a transition's date. Rule T18.
fn context_at(clock: &Clock, step: Step, timeline: &Timeline) -> Arc<Context> {
    let context = match (step, &clock.end) {
        (Step::Breached, _) => clock.at_breach.as_ref(),
        (_, Some(end)) => Some(&end.context),
        (_, None) => None,
    };
    Arc::clone(context.unwrap_or_else(|| timeline.course.context()))
}

/// The rejected records that may disprove a breach: those of the time in which its clock ran towards it.
fn uncertain(rejected: &[RejectedAt], clock: &Clock, step: Step, grace_ms: i64) -> Vec<RejectedAt> {
    if step != Step::Breached {
        return Vec::new();
    }
    let (from, to) = (clock.started_at.minus(grace_ms), clock.due_at.plus(grace_ms));
    let may_be = |rejected: &&RejectedAt| rejected.recorded_at.is_none_or(|at| from <= at && at <= to);
    rejected.iter().filter(may_be).copied().collect()
}
