//! What is read of one lead, from one file after another or from one partition number of every topic.

use std::sync::Arc;

use crate::explain::{self, Explanation, Origin};
use crate::sla::engine::{Arrival, Effects};
use crate::sla::fact::Fact;
use crate::sla::instant::Instant;
use crate::sla::rules::Rules;
use crate::sla::store::RejectedAt;

/// What is known of a lead so far.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    facts: Vec<Fact>,
    rejected: Vec<RejectedAt>,
}

impl Gathered {
    /// A fact of the lead.
    pub fn take(&mut self, fact: Fact) {
        self.facts.push(fact);
    }

    /// A record that could not be used and names the lead.
    pub fn reject(&mut self, rejected: RejectedAt) {
        self.rejected.push(rejected);
    }

    /// Judges until an instant; `None` where nothing is known of the lead by then.
    pub fn explain(
        self,
        lead_id: &str,
        rules: &Arc<Rules>,
        until: Instant,
        origin: Origin<'_>,
    ) -> Option<Explanation> {
        let mut engine = explain::engine(rules);
        let left_out = self.facts.iter().filter(|fact| until < fact.time).count() as u64;
        for fact in self.facts.into_iter().filter(|fact| fact.time <= until) {
            let arrival = Arrival { at: fact.time, recorded_at: None };
            engine.apply(lead_id, fact, arrival);
        }
        for rejected in self.rejected {
            engine.mark_rejected(lead_id, rejected, Arrival { at: until, recorded_at: None });
        }
        let slot = engine.store().find(lead_id)?;
        // Nothing is said, so nothing has to be looked at.
        engine.advance(until, 0, &mut Effects::default());
        Some(Explanation { left_out, ..explain::explain(&engine, slot, origin) })
    }
}
