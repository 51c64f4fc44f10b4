//! The clocks of a lead under one policy, as if it had always covered the lead. Rules T2, T6, T9, T10, T14-T17.

mod early;
mod touch;
mod waivers;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thin_vec::ThinVec;

use self::early::EarlyStop;
use self::touch::{Touching, Window, target_of, window_target};
pub(super) use self::waivers::waiver_of;
use super::clock::{Allowed, Clock, EndKind, Gap, Key, Span};
use super::fact::Fact;
use super::instant::Instant;
use super::policy::{NameId, Objective, Pause, Promise, Reentry};
use super::rules::{Attributes, FamilyId, Rules};
use super::signal::{Signal, names_destination};
use super::standing::{Foreseen, Place, Standing, Status};

/// The clocks of a lead under one policy, and what else decides how they go on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Track {
    pub running: Vec<Clock>,
    /// Clocks that ended under this policy and run under another. Rule T12.
    pub ended: ThinVec<Clock>,
    early: ThinVec<EarlyStop>,
    visits: ThinVec<Visit>,
    touching: ThinVec<Touching>,
}

/// What earlier clocks of an objective came to that does not start anew each time. Rule T14.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Visit {
    name: NameId,
    count: u32,
    counted_ms: i64,
    has_breached: bool,
}

/// One fact, the lead before and after it, and the policy whose clocks hear it.
pub(super) struct Scene<'a> {
    pub rules: &'a Rules,
    pub family: FamilyId,
    pub lead: &'a Standing,
    pub before: &'a Place<'a>,
    pub signal: &'a Signal<'a>,
    pub foreseen: &'a Foreseen<'a>,
}

impl<'a> Scene<'a> {
    fn fact(&self) -> &'a Fact {
        self.signal.fact
    }

    fn now(&self) -> Instant {
        self.signal.fact.time
    }

    /// The lead's attributes after the whole instant.
    fn attributes(&self) -> Attributes<'a> {
        self.lead.attributes_after(self.foreseen)
    }
}

/// Which clock is to start.
struct Start<'a> {
    policy: u16,
    objective: u16,
    turn: u16,
    allowed: Allowed,
    is_hand_off: bool,
    fact: &'a Fact,
    at: Instant,
}

impl Track {
    /// About how many bytes of memory it takes beside itself.
    pub fn bytes(&self) -> usize {
        let clocks = self.running.iter().chain(&self.ended);
        let bodies: usize = clocks.map(Clock::bytes).sum();
        size_of_val(self.running.as_slice())
            + size_of_val(self.ended.as_slice())
            + size_of_val(self.early.as_slice())
            + size_of_val(self.visits.as_slice())
            + size_of_val(self.touching.as_slice())
            + bodies
    }

    /// The same clocks without what other policies left of them.
    pub fn alone(mut self) -> Track {
        self.running.iter_mut().for_each(|clock| clock.taken = None);
        self
    }

    /// The same, with these clocks that ended.
    pub fn with_ended(self, ended: Vec<Clock>) -> Track {
        Track { ended: ended.into(), ..self }
    }

    /// What is known of the clocks for a policy that was not known when facts were folded: those of the same
    /// objectives run, on its targets for the lead as it is now.
    pub fn under(&self, rules: &Rules, family: FamilyId, lead: &Standing) -> Track {
        let of = lead.attributes(lead.context.owner.as_deref());
        let moved = |clock: &Clock| {
            let policy = rules.version(family, clock.started_at);
            let objective = rules.objective_named(policy, clock.name)?;
            let target = match &rules.objective(policy, objective).promise {
                Promise::Response(_) => rules.allowed(policy, objective, clock.started_at, of).target,
                Promise::Touch(touch) => target_of(&touch.form, clock.turn)?,
            };
            let calendar = rules.calendar_for(policy, objective, of);
            let allowed = Allowed { target, calendar, less_ms: clock.allowed.less_ms };
            let due_at = rules.due(&allowed, clock.started_at, &clock.pauses);
            Some(Clock { policy, objective, allowed, due_at, ..clock.clone() })
        };
        let touching = |known: &Touching| {
            let policy = rules.version(family, known.entry.time);
            let objective = rules.objective_named(policy, known.name)?;
            let touch = rules.touch(policy, objective)?;
            let window = known.window.as_ref().map(|window| {
                let target = window_target(&touch.form);
                let calendar = rules.calendar_for(policy, objective, of);
                let allowed = Allowed { target, calendar, less_ms: 0 };
                let end = rules.due(&allowed, window.from, &window.pauses);
                Window { allowed, end, ..window.clone() }
            });
            Some(Touching { policy, objective, window, ..known.clone() })
        };
        Track {
            running: self.running.iter().filter_map(moved).collect(),
            touching: self.touching.iter().filter_map(touching).collect(),
            visits: self.visits.clone(),
            ..Track::default()
        }
    }

    /// The next instant at which a window ends. Rule T15.
    pub fn next_turn(&self) -> Option<Instant> {
        self.touching.iter().filter_map(|touching| touching.window.as_ref()?.end).min()
    }

    /// Whether a clock may come of a window that is still to begin. Rule T15.
    pub fn may_turn_to(&self, (started_at, name, _): Key) -> bool {
        let own = self.touching.iter().filter(|touching| touching.name == name);
        own.filter_map(|touching| touching.window.as_ref()?.end).any(|end| end <= started_at)
    }

    /// One after `lead-deleted` begins the lead anew, nothing before it counting. Rule F5.
    pub fn begin_anew(&mut self) {
        self.early.clear();
        self.visits.clear();
        self.touching.clear();
    }

    /// Remembers for clocks that breached before `now` who had the lead then.
    pub fn note_breaches_before(&mut self, lead: &Standing, now: Instant) {
        for clock in &mut self.running {
            if clock.at_breach.is_none() && clock.breach().is_some_and(|breach| breach.at < now) {
                clock.at_breach = Some(Arc::clone(&lead.context));
            }
        }
    }

    /// Notes the first gap at or after the start of each running clock.
    pub fn note_gaps(&mut self, gaps: &[Gap]) {
        self.running.iter_mut().for_each(|clock| clock.note_gap(gaps));
    }

    /// Ends the clocks that became undecidable before this instant. Rule H6.
    pub fn lose(&mut self, rules: &Rules, lead: &Standing, now: Instant, ended: &mut Vec<Clock>) {
        let is_lost = |clock: &mut Clock| clock.undecidable_at().is_some_and(|at| at < now);
        for mut clock in self.running.extract_if(.., is_lost).collect::<Vec<_>>() {
            let at = clock.gap.as_ref().map_or(now, |gap| gap.at);
            clock.finish(at, EndKind::Loss, &lead.context, None);
            self.note_visit(rules, &clock);
            ended.push(clock);
        }
    }

    /// Takes one fact after the lead has: pauses, stops, ends, then starts clocks. Rule F3.
    pub fn take(&mut self, scene: &Scene<'_>, ended: &mut Vec<Clock>) {
        if scene.signal.is_pausing || scene.signal.moved.is_some() {
            self.pause(scene.rules, scene.lead, scene.now());
        }
        self.remember_early_stops(scene);
        self.stop(scene, ended);
        self.satisfy_running(scene, ended);
        self.touch(scene, ended);
        self.end(scene, ended);
        if scene.lead.status == Status::Alive {
            self.start(scene, ended);
            self.enter(scene, ended);
        }
    }

    /// What concerns the instant as a whole, after all of its facts.
    pub fn finish(&mut self, lead: &Standing, foreseen: &Foreseen<'_>, now: Instant, ended: &mut [Clock]) {
        self.satisfy_ended(foreseen, now, ended);
        self.forget_early_stops(lead, now);
        for clock in ended.iter_mut().rev().take_while(|clock| clock.ended_at() == Some(now)) {
            if clock.at_breach.is_none() && clock.breach().is_some_and(|breach| breach.at == now) {
                clock.at_breach = Some(Arc::clone(&lead.context));
            }
            if let Some(end) = &mut clock.end {
                Arc::make_mut(end).context = Arc::clone(&lead.context);
            }
        }
    }
}

/// Pauses. Rule T9.
impl Track {
    /// Begins and ends pauses as the lead's stage and `paused` and `resumed` say.
    fn pause(&mut self, rules: &Rules, lead: &Standing, now: Instant) {
        for clock in &mut self.running {
            let pause = &rules.objective(clock.policy, clock.objective).pause;
            if note_pause(&mut clock.pauses, lead.paused_until(pause, now), now) {
                clock.due_at = rules.due(&clock.allowed, clock.started_at, &clock.pauses);
            }
        }
        for touching in &mut self.touching {
            let pause = &rules.objective(touching.policy, touching.objective).pause;
            if let Some(window) = &mut touching.window
                && note_pause(&mut window.pauses, lead.paused_until(pause, now), now)
            {
                window.end = rules.due(&window.allowed, window.from, &window.pauses);
            }
        }
    }
}

/// Notes pauses of clocks that ended, which move no deadline: under another policy such a clock runs on, and they
/// are pauses of it. Rule T12.
pub(super) fn pause_ended(ended: &mut [Clock], rules: &Rules, lead: &Standing, now: Instant) {
    for clock in ended {
        let pause = &rules.objective(clock.policy, clock.objective).pause;
        note_pause(&mut clock.pauses, lead.paused_until(pause, now), now);
    }
}

/// The pauses of a clock that starts now.
fn pauses_at(lead: &Standing, pause: &Pause, now: Instant) -> ThinVec<Span> {
    lead.paused_until(pause, now).map(|to| Span { from: now, to }).into_iter().collect()
}

/// Notes that a pause holds until then, or none, from now on; says whether that is news.
fn note_pause(pauses: &mut ThinVec<Span>, until: Option<Instant>, now: Instant) -> bool {
    let to = until.unwrap_or(now);
    match pauses.last_mut() {
        Some(last) if now <= last.to => {
            if last.to == to {
                return false;
            }
            last.to = to;
            if last.to <= last.from {
                pauses.pop();
            }
            true
        }
        _ if now < to => {
            pauses.push(Span { from: now, to });
            true
        }
        _ => false,
    }
}

/// Stops and ends. Rules T2, T5 and T10.
impl Track {
    fn stop(&mut self, scene: &Scene<'_>, ended: &mut Vec<Clock>) {
        self.end_where(scene, EndKind::Stop, ended, |clock| {
            scene.signal.holds_any(scene.rules.objective(clock.policy, clock.objective).stop())
        });
    }

    /// Ends clocks with the lead, its opening, or the stages of `while`.
    fn end(&mut self, scene: &Scene<'_>, ended: &mut Vec<Clock>) {
        if scene.lead.status != Status::Alive {
            self.touching.clear();
            return self.end_where(scene, EndKind::End, ended, |_| true);
        }
        let Some(moved) = &scene.signal.moved else { return };
        self.leave(scene, ended);
        self.end_where(scene, EndKind::End, ended, |clock| {
            (moved.closes && !clock.is_hand_off)
                || (moved.reopens && clock.is_hand_off)
                || !is_in_while(scene.rules.objective(clock.policy, clock.objective), Some(moved.to))
        });
    }

    fn end_where(
        &mut self,
        scene: &Scene<'_>,
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
            clock.finish(scene.now(), why, &scene.lead.context, Some(scene.fact()));
            self.note_visit(scene.rules, &clock);
            ended.push(clock);
        }
    }
}

/// Starts and re-entry. Rules T2, T6 and T14.
impl Track {
    /// Starts what the policy promises from this fact on.
    fn start(&mut self, scene: &Scene<'_>, ended: &mut Vec<Clock>) {
        let Scene { rules, lead, signal, .. } = *scene;
        if !rules.may_start(signal.sorts()) {
            return;
        }
        let policy = rules.version(scene.family, scene.now());
        let is_closed = lead.is_closed(signal.pipeline);
        for (index, objective) in rules.policy(policy).objectives.iter().enumerate() {
            let starts = objective
                .start()
                .iter()
                .any(|condition| signal.holds(condition) && (!is_closed || names_destination(condition)));
            if starts && is_in_while(objective, lead.context.stage.as_deref()) {
                self.start_response(scene, policy, index as u16, ended);
            }
        }
    }

    fn start_response(&mut self, scene: &Scene<'_>, policy: u16, index: u16, ended: &mut Vec<Clock>) {
        let (rules, now) = (scene.rules, scene.now());
        let objective = rules.objective(policy, index);
        let Promise::Response(response) = &objective.promise else { return };
        let running = self.running.iter().find(|clock| clock.name == objective.name);
        if running.is_some_and(|clock| clock.started_at == now || !response.restart) {
            return;
        }
        if running.is_some() && response.reentry == Reentry::FirstOnly {
            return;
        }
        self.end_where(scene, EndKind::End, ended, |clock| clock.name == objective.name);
        if !self.takes_up((now, objective.name, 0), ended) {
            return;
        }
        let Some(less_ms) = self.used_up(objective.name, response.reentry) else { return };
        let allowed = Allowed { less_ms, ..rules.allowed(policy, index, now, scene.attributes()) };
        let is_hand_off = scene.signal.moved.as_ref().is_some_and(|moved| moved.closes);
        let fact = scene.fact();
        let start = Start { policy, objective: index, turn: 0, allowed, is_hand_off, fact, at: now };
        let mut clock = clock(rules, scene.lead, &start);
        if self.is_satisfied(scene, policy, index) {
            clock.finish(now, EndKind::Stop, &scene.lead.context, None);
            self.note_visit(rules, &clock);
            ended.push(clock);
        } else {
            self.running.push(clock);
        }
    }

    /// How much of the target earlier clocks have used up, in milliseconds; `None` where they are all there is.
    /// Rule T14.
    fn used_up(&self, name: NameId, reentry: Reentry) -> Option<i64> {
        let Some(visit) = self.visits.iter().find(|visit| visit.name == name) else { return Some(0) };
        match reentry {
            Reentry::New => Some(0),
            Reentry::FirstOnly => None,
            Reentry::Cumulative => (!visit.has_breached).then_some(visit.counted_ms),
        }
    }

    /// Whether a clock may start here: one that ended in the instant it started, and starts again in it, runs on
    /// as if it had not ended. Rule F3.
    fn takes_up(&mut self, key: Key, ended: &mut Vec<Clock>) -> bool {
        let Some(place) = ended_at_its_start(ended, key) else { return true };
        if ended[place].end.as_ref().is_some_and(|end| end.fact.is_none()) {
            return false;
        }
        ended.remove(place);
        // What it came to was nothing: the visit before it is the last one.
        self.forget_visit(key.1);
        true
    }

    /// Remembers what a clock that ended came to, where a later one depends on it.
    fn note_visit(&mut self, rules: &Rules, clock: &Clock) {
        let objective = rules.objective(clock.policy, clock.objective);
        let is_kept = matches!(&objective.promise, Promise::Response(r) if r.reentry != Reentry::New);
        let Some(end) = clock.end.as_ref().filter(|_| is_kept) else { return };
        let counted_ms = clock.counted_ms(rules, clock.started_at, end.at);
        let has_breached = clock.due_at.is_some_and(|due| due < end.at);
        match self.visits.iter_mut().find(|visit| visit.name == clock.name) {
            Some(visit) => {
                visit.count += 1;
                visit.counted_ms += counted_ms;
                visit.has_breached |= has_breached;
            }
            None => self.visits.push(Visit { name: clock.name, count: 1, counted_ms, has_breached }),
        }
    }

    /// A clock that lasted for no time is taken up again, and was no visit.
    fn forget_visit(&mut self, name: NameId) {
        let known = self.visits.iter_mut().filter(|visit| visit.name == name);
        known.for_each(|visit| visit.count = visit.count.saturating_sub(1));
        self.visits.retain(|visit| 0 < visit.count);
    }
}

fn clock(rules: &Rules, lead: &Standing, start: &Start<'_>) -> Clock {
    let objective = rules.objective(start.policy, start.objective);
    let pauses = pauses_at(lead, &objective.pause, start.at);
    Clock {
        policy: start.policy,
        objective: start.objective,
        name: objective.name,
        turn: start.turn,
        started_at: start.at,
        allowed: start.allowed,
        due_at: rules.due(&start.allowed, start.at, &pauses),
        pauses,
        end: None,
        waiver: waiver_of(rules, lead, objective.name, start.at),
        at_breach: None,
        is_hand_off: start.is_hand_off,
        start_fact: start.fact.clone(),
        gap: None,
        taken: None,
    }
}

fn is_in_while(objective: &Objective, stage: Option<&str>) -> bool {
    objective
        .while_stages
        .as_ref()
        .is_none_or(|stages| stage.is_some_and(|stage| stages.iter().any(|s| s == stage)))
}

/// Where the clock of this key lies that ended in the instant it started.
fn ended_at_its_start(ended: &[Clock], key: Key) -> Option<usize> {
    let is_now = |clock: &&Clock| clock.end.as_ref().is_some_and(|end| end.at == key.0);
    let first = ended.len() - ended.iter().rev().take_while(is_now).count();
    ended[first..].iter().position(|clock| clock.key() == key).map(|place| first + place)
}
