//! Stops that come before the clocks they satisfy. Rule T6.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Scene, Track};
use crate::sla::clock::{Clock, EndKind};
use crate::sla::fact::Fact;
use crate::sla::instant::Instant;
use crate::sla::signal::{Verdict, owner_set_by};
use crate::sla::standing::{Foreseen, Standing};

/// A stop that came before the clock it may satisfy. Rule T6.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EarlyStop {
    pub policy: u16,
    pub objective: u16,
    pub cause: EarlyFor,
    pub at: Instant,
    /// Whether a pause held then, so that the clock it satisfies has no deadline. Rule T9.
    pub is_paused: bool,
    /// The owner who must have been assigned for it to count.
    pub owner: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EarlyFor {
    Creation,
    Assignment,
}

/// Stops that come before the clocks they satisfy. Rule T6.
impl Track {
    pub fn remember_early_stops(&mut self, scene: &Scene<'_>) {
        let Scene { rules, lead, signal, .. } = *scene;
        let now = signal.fact.time;
        let before_creation = lead.created_at.is_none_or(|created| created == now);
        let before_assignment = lead.assigned_at.is_none_or(|assigned| assigned == now);
        if !before_creation && !before_assignment {
            return;
        }
        for rule in rules.early().iter().filter(|rule| rules.family(rule.policy) == scene.family) {
            let objective = rules.objective(rule.policy, rule.objective);
            for condition in objective.stop() {
                let owner = match signal.verdict(condition) {
                    Verdict::No => continue,
                    Verdict::Yes => None,
                    Verdict::IfOwner(owner) => Some(owner),
                };
                let early = |cause, owner: Option<&str>| EarlyStop {
                    policy: rule.policy,
                    objective: rule.objective,
                    cause,
                    at: now,
                    is_paused: lead.paused_until(&objective.pause, now).is_some(),
                    owner: owner.map(Arc::from),
                };
                if rule.by_creation && before_creation && owner.is_none_or(|o| signal.owner == Some(o)) {
                    self.keep_early(early(EarlyFor::Creation, None));
                }
                if rule.by_assignment && before_assignment {
                    self.keep_early(early(EarlyFor::Assignment, owner));
                }
            }
        }
    }

    fn keep_early(&mut self, new: EarlyStop) {
        let is_same = |known: &&mut EarlyStop| {
            (known.policy, known.objective, known.cause) == (new.policy, new.objective, new.cause)
                && known.owner == new.owner
        };
        match self.early.iter_mut().find(is_same) {
            Some(known) if known.at == new.at => {}
            Some(known) => *known = new,
            None => self.early.push(new),
        }
    }

    pub fn forget_early_stops(&mut self, lead: &Standing, now: Instant) {
        let (is_created, is_assigned) = (lead.created_at == Some(now), lead.assigned_at == Some(now));
        self.early.retain(|early| match early.cause {
            EarlyFor::Creation => !is_created,
            EarlyFor::Assignment => !is_assigned,
        });
    }

    /// Meets a clock that started in this instant where a stop is dated then too that its conditions do not hear any
    /// more: one that came from an owner whom the instant assigned, and took the lead from again.
    pub fn satisfy_running(&mut self, scene: &Scene<'_>, ended: &mut Vec<Clock>) {
        let is_met = |clock: &mut Clock| {
            clock.started_at == scene.now()
                && self.early.iter().any(|early| is_early(scene.foreseen, clock, early))
        };
        for mut clock in self.running.extract_if(.., is_met).collect::<Vec<_>>() {
            clock.finish(scene.now(), EndKind::Stop, &scene.lead.context, Some(scene.fact()));
            self.note_visit(scene.rules, &clock);
            ended.push(clock);
        }
    }

    /// Meets a clock that ended in the instant it started where a stop is dated then too.
    pub fn satisfy_ended(&self, foreseen: &Foreseen<'_>, now: Instant, ended: &mut [Clock]) {
        let is_wanted = |clock: &&mut Clock| {
            clock.started_at == now && clock.end.as_ref().is_some_and(|end| end.at == now && !end.is_stop())
        };
        let ended_now = ended.iter_mut().rev().take_while(|clock| clock.ended_at() == Some(now));
        for clock in ended_now.filter(is_wanted) {
            let stop = self.early.iter().find(|early| is_early(foreseen, clock, early));
            if let (Some(end), Some(stop)) = (&mut clock.end, stop) {
                let due_at = clock.due_at.filter(|_| !stop.is_paused);
                let end = Arc::make_mut(end);
                (end.why, end.due_at, end.fact) = (EndKind::Stop, due_at, None);
            }
        }
    }

    /// Whether a clock is satisfied at its start.
    pub fn is_satisfied(&self, scene: &Scene<'_>, policy: u16, objective: u16) -> bool {
        let Scene { signal, foreseen, .. } = scene;
        self.early.iter().filter(|early| (early.policy, early.objective) == (policy, objective)).any(
            |early| match early.cause {
                EarlyFor::Creation => signal.is_creation,
                EarlyFor::Assignment => {
                    signal.is_first_assignment
                        && foreseen.created_at.is_some_and(|created| created <= early.at)
                        && early.owner.as_deref().is_none_or(|owner| signal.owner == Some(owner))
                }
            },
        )
    }
}

/// Whether a stop of the clock's objective is early for what started the clock.
fn is_early(foreseen: &Foreseen<'_>, clock: &Clock, early: &EarlyStop) -> bool {
    if (early.policy, early.objective) != (clock.policy, clock.objective) {
        return false;
    }
    let started_by = |fact: Option<&Fact>| fact == Some(&clock.start_fact);
    let assigned = owner_set_by(&clock.start_fact).flatten();
    match early.cause {
        EarlyFor::Creation => started_by(foreseen.creation),
        EarlyFor::Assignment => {
            started_by(foreseen.first_assignment)
                && foreseen.created_at.is_some_and(|created| created <= early.at)
                && early.owner.as_deref().is_none_or(|owner| assigned == Some(owner))
        }
    }
}
