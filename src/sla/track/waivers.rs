//! Waivers, and the clocks that they name. Rule T17.

use super::Track;
use super::touch::Touching;
use crate::sla::clock::{Clock, Waiver};
use crate::sla::fact::{Fact, Value};
use crate::sla::instant::Instant;
use crate::sla::policy::{NameId, TouchForm};
use crate::sla::rules::Rules;
use crate::sla::standing::{Order, Standing};

/// Waivers. Rule T17.
impl Track {
    /// Waives the clocks that a fact names: those of one start, or those last started. Returns the start, of
    /// which another policy may have more clocks; or one that is still to come.
    pub fn waive(
        &mut self,
        rules: &Rules,
        fact: &Fact,
        (born, reborn): (Option<Order>, Option<Order>),
        last_folded: Option<Instant>,
        ended: &mut [Clock],
    ) -> Option<Instant> {
        let Value::Text(objective) = fact.field("objective")? else { return None };
        let is_of = |clock: &Clock| {
            let started = clock.start_fact.order();
            let is_of_life = born.is_none_or(|born| born <= started) && reborn.is_none_or(|re| started < re);
            rules.policies.name(clock.name) == objective && is_of_life
        };
        let known = self.running.iter().chain(ended.iter()).filter(|clock| is_of(clock));
        let last = known.map(|clock| clock.started_at).chain(last_folded).max();
        let begins = self.begins_window(rules, objective, fact.time);
        let started_at = start_named_by(fact).or(begins).or(last)?;
        for clock in self.running.iter_mut().chain(ended) {
            if is_of(clock) && clock.started_at == started_at {
                clock.waiver.get_or_insert_with(|| Box::new(Waiver { at: fact.time, fact: fact.clone() }));
            }
        }
        Some(started_at)
    }

    /// The instant, where a window of the objective ends in it and the next one begins.
    fn begins_window(&self, rules: &Rules, objective: &str, now: Instant) -> Option<Instant> {
        let is_it = |touching: &&Touching| {
            let touch = rules.touch(touching.policy, touching.objective);
            rules.policies.name(touching.name) == objective
                && touch.is_some_and(|touch| matches!(touch.form, TouchForm::PerWindow(..)))
                && touching.window.as_ref().is_some_and(|window| window.end == Some(now))
        };
        self.touching.iter().find(is_it).map(|_| now)
    }
}

/// The start of the clock that a waiver is about.
fn start_named_by(waiver: &Fact) -> Option<Instant> {
    match waiver.field("started_at")? {
        Value::Text(text) => Instant::parse(text),
        _ => None,
    }
}

/// The waiver that came before the clock it is about.
pub fn waiver_of(rules: &Rules, lead: &Standing, name: NameId, started_at: Instant) -> Option<Box<Waiver>> {
    let name = rules.policies.name(name);
    let is_it = |(start, fact): &&(Instant, Fact)| {
        *start == started_at && fact.field("objective") == Some(Value::Text(name))
    };
    let (_, fact) = lead.waivers.iter().find(is_it)?;
    Some(Box::new(Waiver { at: fact.time, fact: fact.clone() }))
}
