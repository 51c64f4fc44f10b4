//! Touch frequency: the clocks of a lead that is in the stages, and their windows. Rule T15.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thin_vec::ThinVec;

use super::{Scene, Start, Track, clock, is_in_while, pauses_at};
use crate::sla::clock::{Allowed, Clock, EndKind, Span};
use crate::sla::fact::{Fact, Kind};
use crate::sla::instant::Instant;
use crate::sla::policy::{NameId, Objective, Promise, Target, Touch, TouchForm};
use crate::sla::rules::Rules;
use crate::sla::standing::{Place, Standing};

/// A touch objective of which the lead is in the stages. Rule T15.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Touching {
    pub policy: u16,
    pub objective: u16,
    pub name: NameId,
    /// The fact that entered them.
    pub entry: Fact,
    /// How many touches there were, in the window where there are windows.
    pub touches: u32,
    pub window: Option<Window>,
}

/// (from, end], in which touches are counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Window {
    pub from: Instant,
    pub allowed: Allowed,
    pub pauses: ThinVec<Span>,
    pub end: Option<Instant>,
}

/// Touch frequency. Rule T15.
impl Track {
    /// Counts a contact, and stops the clocks for which it is enough.
    pub fn touch(&mut self, scene: &Scene<'_>, ended: &mut Vec<Clock>) {
        if scene.fact().kind != Kind::Contacted {
            return;
        }
        for place in 0..self.touching.len() {
            let Touching { policy, objective, name, .. } = self.touching[place];
            let Some(touch) = scene.rules.touch(policy, objective) else { continue };
            if !scene.signal.holds_any(&touch.what) {
                continue;
            }
            self.touching[place].touches += 1;
            let turn = stopped_by(&touch.form, self.touching[place].touches);
            let stops = |clock: &Clock| clock.name == name && Some(clock.turn) == turn;
            self.end_where(scene, EndKind::Stop, ended, stops);
            if let TouchForm::Every(_) = touch.form {
                self.start_next(scene, place, ended);
            }
        }
    }

    /// Of `every`, a touch starts the clock to the next one.
    fn start_next(&mut self, scene: &Scene<'_>, place: usize, ended: &mut Vec<Clock>) {
        let (rules, name) = (scene.rules, self.touching[place].name);
        let policy = rules.version(rules.family(self.touching[place].policy), scene.now());
        let Some(objective) = rules.objective_named(policy, name) else { return };
        if let Some(Touch { form: TouchForm::Every(target), .. }) = rules.touch(policy, objective) {
            (self.touching[place].policy, self.touching[place].objective) = (policy, objective);
            self.start_touch(scene, (policy, objective, 0), Some(*target), ended);
        }
    }

    /// Leaves stages: a lead that was not touched often enough in them is in breach, other clocks end.
    pub fn leave(&mut self, scene: &Scene<'_>, ended: &mut Vec<Clock>) {
        let place = scene.lead.place(scene.signal.pipeline);
        let is_left = |touching: &mut Touching| {
            !place.is_in(scene.rules.objective(touching.policy, touching.objective))
        };
        for left in self.touching.extract_if(.., is_left).collect::<Vec<_>>() {
            let touch = scene.rules.touch(left.policy, left.objective);
            let is_per_stage = touch.is_some_and(|touch| matches!(touch.form, TouchForm::PerStage(_)));
            let why = if is_per_stage { EndKind::Over } else { EndKind::End };
            let first = ended.len();
            self.end_where(scene, why, ended, |clock| clock.name == left.name);
            for clock in ended[first..].iter_mut().filter(|_| is_per_stage) {
                clock.due_at = Some(scene.now());
            }
        }
    }

    /// Enters stages: the clocks of the touches start.
    pub fn enter(&mut self, scene: &Scene<'_>, ended: &mut Vec<Clock>) {
        let Scene { rules, lead, signal, .. } = *scene;
        let policy = rules.version(scene.family, scene.now());
        if !rules.has_touch(policy) || (signal.moved.is_none() && !signal.is_creation) {
            return;
        }
        let place = lead.place(signal.pipeline);
        for (index, objective) in rules.policy(policy).objectives.iter().enumerate() {
            let Promise::Touch(touch) = &objective.promise else { continue };
            if scene.before.is_in(objective) || !place.is_in(objective) {
                continue;
            }
            let index = index as u16;
            let calendar = rules.calendar_for(policy, index, scene.attributes());
            let window = window_target(&touch.form).map(|target| {
                let allowed = Allowed { target: Some(target), calendar, less_ms: 0 };
                Window::new(rules, lead, objective, allowed, scene.now())
            });
            let (name, entry) = (objective.name, scene.fact().clone());
            self.touching.retain(|touching| touching.name != name);
            self.touching.push(Touching { policy, objective: index, name, entry, touches: 0, window });
            for (turn, target) in turns(&touch.form) {
                self.start_touch(scene, (policy, index, turn), target, ended);
            }
        }
    }

    fn start_touch(
        &mut self,
        scene: &Scene<'_>,
        (policy, objective, turn): (u16, u16, u16),
        target: Option<Target>,
        ended: &mut Vec<Clock>,
    ) {
        let (rules, fact, at) = (scene.rules, scene.fact(), scene.now());
        let key = (at, rules.objective(policy, objective).name, turn);
        let is_running = self.running.iter().any(|clock| clock.key() == key);
        if !is_running && self.takes_up(key, ended) {
            let calendar = rules.calendar_for(policy, objective, scene.attributes());
            let allowed = Allowed { target, calendar, less_ms: 0 };
            let start = Start { policy, objective, turn, allowed, is_hand_off: false, fact, at };
            self.running.push(clock(rules, scene.lead, &start));
        }
    }

    /// Ends the windows that end before `before`, and begins those after them.
    pub fn turn(&mut self, rules: &Rules, lead: &Standing, before: Instant, ended: &mut Vec<Clock>) {
        for place in 0..self.touching.len() {
            while let Some(end) = self.touching[place].window.as_ref().and_then(|window| window.end)
                && end < before
            {
                self.end_window(place, lead, end, ended);
                self.next_window(rules, place, lead, end);
            }
        }
    }

    fn end_window(&mut self, place: usize, lead: &Standing, end: Instant, ended: &mut Vec<Clock>) {
        let (name, window) = (self.touching[place].name, self.touching[place].window.take());
        let key = window.map(|window| (window.from, name, 0));
        let Some(index) = self.running.iter().position(|clock| Some(clock.key()) == key) else { return };
        let mut clock = self.running.remove(index);
        clock.finish(end, EndKind::Over, &lead.context, None);
        clock.at_breach.get_or_insert_with(|| Arc::clone(&lead.context));
        ended.push(clock);
    }

    /// Lays the next window after one that ended at `from`.
    pub fn next_window(&mut self, rules: &Rules, place: usize, lead: &Standing, from: Instant) {
        let Touching { policy, name, .. } = self.touching[place];
        let policy = rules.version(rules.family(policy), from);
        let Some(objective) = rules.objective_named(policy, name) else { return };
        let Some(Touch { form: TouchForm::PerWindow(_, target), .. }) = rules.touch(policy, objective) else {
            return;
        };
        let calendar = rules.calendar_for(policy, objective, lead.attributes(lead.context.owner.as_deref()));
        let allowed = Allowed { target: Some(*target), calendar, less_ms: 0 };
        let entry = self.touching[place].entry.clone();
        let start = Start { policy, objective, turn: 0, allowed, is_hand_off: false, fact: &entry, at: from };
        self.running.push(clock(rules, lead, &start));
        let touching = &mut self.touching[place];
        (touching.policy, touching.objective, touching.touches) = (policy, objective, 0);
        touching.window = Some(Window::new(rules, lead, rules.objective(policy, objective), allowed, from));
    }
}

impl Window {
    pub fn new(
        rules: &Rules,
        lead: &Standing,
        objective: &Objective,
        allowed: Allowed,
        from: Instant,
    ) -> Window {
        let pauses = pauses_at(lead, &objective.pause, from);
        let end = rules.due(&allowed, from, &pauses);
        Window { from, allowed, pauses, end }
    }
}

impl Place<'_> {
    /// Whether touches of the objective count here.
    fn is_in(&self, objective: &Objective) -> bool {
        self.is_open
            && match &objective.while_stages {
                Some(_) => is_in_while(objective, self.stage),
                None => self.has_begun,
            }
    }
}

/// The target of the clock that is this one of those that start together; `None` where there is none.
pub fn target_of(form: &TouchForm, turn: u16) -> Option<Option<Target>> {
    turns(form).into_iter().find(|(known, _)| *known == turn).map(|(_, target)| target)
}

/// Which clocks so many touches stop.
fn stopped_by(form: &TouchForm, touches: u32) -> Option<u16> {
    match form {
        TouchForm::Every(_) => Some(0),
        TouchForm::PerWindow(wanted, _) | TouchForm::Within(wanted, _) | TouchForm::PerStage(wanted) => {
            (touches == *wanted).then_some(0)
        }
        TouchForm::By(_) => u16::try_from(touches).ok(),
    }
}

/// How long the windows are in which touches are counted.
pub fn window_target(form: &TouchForm) -> Option<Target> {
    match form {
        TouchForm::PerWindow(_, target) | TouchForm::Within(_, target) => Some(*target),
        TouchForm::Every(_) | TouchForm::PerStage(_) | TouchForm::By(_) => None,
    }
}

/// The clocks that start on entering: which one each is, and its target.
pub fn turns(form: &TouchForm) -> Vec<(u16, Option<Target>)> {
    match form {
        TouchForm::Every(target) | TouchForm::PerWindow(_, target) | TouchForm::Within(_, target) => {
            vec![(0, Some(*target))]
        }
        TouchForm::PerStage(_) => vec![(0, None)],
        TouchForm::By(targets) => (1..).zip(targets.iter().copied().map(Some)).collect(),
    }
}
