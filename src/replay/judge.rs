//! The engine at work on a finished log: facts in, lines and figures out, in the order of dates.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::Error;
use super::clocks;
use super::figures::Figures;
use super::input::Event;
use super::output::Outputs;
use super::report::{Reading, Report};
use crate::sla::clock::{Clock, Context, Key, Outcome, Step};
use crate::sla::engine::{Applied, Arrival, Effects, Engine, Output, Saying, Settings};
use crate::sla::fact::Fact;
use crate::sla::instant::Instant;
use crate::sla::rules::Rules;
use crate::sla::store::RejectedAt;
use crate::wire::decode::Reason;
use crate::wire::encode::Encoder;
use crate::wire::record::Topic;

/// Longer than any log: no lead is forgotten.
const RETENTION_MS: i64 = i64::MAX / 4;

/// When a line without a time is taken to have come: far from [`RETENTION_MS`] ago.
const EPOCH: Instant = Instant::from_millis(0);

/// A lead is looked at once in so much time, and what is said in it lies in memory until it is in order.
const SLICE_MS: i64 = 3_600_000;

/// Nothing comes late, so a fact is folded as soon as it is judged; before that, none is.
const SETTINGS: Settings = Settings {
    grace_ms: 0,
    lateness_max_ms: 0,
    facts_max: usize::MAX,
    retention_closed_ms: RETENTION_MS,
    retention_idle_ms: RETENTION_MS,
    speak_from: Instant::MIN,
};

/// A rejected line that names its lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    lead_id: String,
    file: Topic,
    line: u64,
}

impl Reject {
    /// Of a line that names its lead.
    pub fn of(file: Topic, line: u64, lead_id: Option<&str>) -> Option<Reject> {
        Some(Reject { lead_id: lead_id?.to_owned(), file, line })
    }

    /// By argument, then line.
    pub fn place(&self) -> (Topic, u64) {
        (self.file, self.line)
    }
}

/// The engine, and what was seen of each lead.
pub struct Judge<'a> {
    engine: Engine,
    encoder: &'a Encoder,
    effects: Effects,
    /// Hashes of the identities of each lead's facts, folded ones included, by slot.
    seen: Vec<Seen>,
    figures: Figures,
    judged_until: Instant,
    /// Clocks that ended in time, where another policy may make them run again. Rule T12.
    kept: Option<BTreeMap<Arc<str>, BTreeMap<Key, Ended>>>,
}

/// A clock that has ended in time.
struct Ended {
    clock: Box<Clock>,
    context: Arc<Context>,
    at: Instant,
}

impl<'a> Judge<'a> {
    /// Knows no lead but those of rejected lines.
    pub fn new(rules: &Arc<Rules>, encoder: &'a Encoder, rejects: &[Reject]) -> Judge<'a> {
        let mut judge = Judge {
            engine: Engine::without_transactions(Arc::clone(rules), SETTINGS).accounting_for_all(),
            encoder,
            effects: Effects::default(),
            seen: Vec::new(),
            figures: Figures::new(&rules.policies),
            judged_until: Instant::MIN,
            kept: rules.can_change().then(BTreeMap::new),
        };
        judge.mark(rejects);
        judge
    }

    /// Marks the leads of rejected lines.
    pub fn mark(&mut self, rejects: &[Reject]) {
        for reject in rejects {
            let at = RejectedAt {
                recorded_at: None,
                topic: reject.file,
                partition: 0,
                offset: reject.line as i64,
            };
            self.engine.mark_rejected(&reject.lead_id, at, arrival(EPOCH));
        }
    }

    /// Whether a fact is new to its lead as far as can be told, or the same as one that is still there and
    /// has its time. Rule F2.
    pub fn is_first_or_kept(&self, lead_id: &str, fact: &Fact) -> bool {
        let store = self.engine.store();
        let Some(slot) = store.find(lead_id) else { return true };
        let is_seen = self.seen.get(slot as usize).is_some_and(|seen| seen.contains(fact.identity_hash()));
        let is_kept = |known: &Fact| known.time == fact.time && known.is_same_as(fact);
        !is_seen || store.lead(slot).facts.as_slice().iter().any(is_kept)
    }

    /// Remembers the identity of a fact for [`Judge::is_first_or_kept`].
    pub fn remember(&mut self, lead_id: &str, identity_hash: u32) {
        let Some(slot) = self.engine.store().find(lead_id) else { return };
        let index = slot as usize;
        if self.seen.len() <= index {
            self.seen.resize_with(index + 1, Seen::default);
        }
        self.seen[index].insert(identity_hash);
    }

    /// Takes an event in and counts what became of it.
    pub fn take(&mut self, event: Event<'_>, file: &str, line: u64, reading: &mut Reading) -> bool {
        let time = event.fact.time;
        let applied = self.engine.apply(event.lead_id, event.fact, arrival(time));
        match applied {
            Applied::New { .. } => reading.latest = reading.latest.max(Some(time)),
            Applied::Duplicate => reading.duplicates += 1,
            Applied::Conflicting => reading.conflicting += 1,
            Applied::TooLate => {
                reading.reject(file, line, Reason::TooLate, "what it could change is settled")
            }
            Applied::Merged => reading.reject(file, line, Reason::Merged, "its lead is merged into another"),
        }
        matches!(applied, Applied::New { .. })
    }

    /// Sets the latest event and counts as rejected what follows a merge, in whatever order it was read.
    pub fn recount(&self, reading: &mut Reading) {
        let store = self.engine.store();
        reading.latest = None;
        for slot in store.slots() {
            let lead = store.lead(slot);
            let facts = lead.facts.as_slice();
            let counting =
                facts.partition_point(|fact| lead.merged_at.is_none_or(|merged| fact.time <= merged));
            reading.count_rejected(Reason::Merged, (facts.len() - counting) as u64);
            reading.latest = reading.latest.max(facts[..counting].last().map(|fact| fact.time));
        }
    }

    /// Speaks everything dated at or before `horizon` in the order of dates, a slice of time at once.
    pub fn advance(&mut self, horizon: Instant, outputs: &mut Outputs) -> Result<(), Error> {
        while let Some(due) = self.engine.next_due().filter(|due| *due <= horizon) {
            self.judged_until = self.judged_until.max(due).plus(SLICE_MS).min(horizon);
            while self.engine.advance(self.judged_until, usize::MAX, &mut self.effects) {}
            self.speak(outputs)?;
        }
        self.engine.advance(horizon, usize::MAX, &mut self.effects);
        self.judged_until = self.judged_until.max(horizon);
        self.speak(outputs)
    }

    /// Speaks what is left, then says which clocks run.
    pub fn finish(
        mut self,
        until: Option<Instant>,
        reading: Reading,
        is_in_order: bool,
        outputs: &mut Outputs,
    ) -> Result<Report, Error> {
        if let Some(until) = until {
            self.advance(until, outputs)?;
            self.count_rest(until, outputs)?;
        }
        let store = self.engine.store();
        let has_facts = |slot: &u32| {
            let lead = store.lead(*slot);
            lead.base.is_some() || !lead.facts.as_slice().is_empty()
        };
        let leads = store.slots().filter(has_facts).count();
        Ok(Report::new(reading, until, is_in_order, leads, self.figures.rows()))
    }

    /// Counts the clocks that could still become something else: those that run, and those that breached and
    /// may be waived; by lead, start and objective.
    fn count_rest(&mut self, until: Instant, outputs: &mut Outputs) -> Result<(), Error> {
        let mut kept = self.kept.take().unwrap_or_default();
        let mut leads: BTreeMap<Arc<str>, Option<u32>> =
            kept.keys().map(|lead_id| (Arc::clone(lead_id), None)).collect();
        let store = self.engine.store();
        leads.extend(store.slots().map(|slot| (Arc::clone(store.id(slot)), Some(slot))));
        for (lead_id, slot) in leads {
            let mut rest = kept.remove(&lead_id).unwrap_or_default();
            if let Some(slot) = slot {
                rest.extend(self.unsettled(slot, until));
            }
            for Ended { clock, context, at } in rest.values() {
                self.count(&lead_id, clock, context, *at, outputs)?;
            }
        }
        Ok(())
    }

    fn unsettled(&self, slot: u32, until: Instant) -> impl Iterator<Item = (Key, Ended)> {
        let (rules, context) = (Arc::clone(self.engine.rules()), self.engine.context(slot));
        let is_settled =
            move |clock: &Clock| matches!(clock.outcome(&rules, until), Outcome::Met | Outcome::Cancelled);
        let clocks = self.engine.clocks(slot).into_iter().filter(move |clock| !is_settled(clock));
        let ended = move |clock| Ended { clock: Box::new(clock), context: Arc::clone(&context), at: until };
        clocks.map(move |clock| (clock.key(), ended(clock)))
    }

    fn count(
        &mut self,
        lead_id: &str,
        clock: &Clock,
        context: &Context,
        at: Instant,
        outputs: &mut Outputs,
    ) -> Result<(), Error> {
        let rules = self.engine.rules();
        self.figures.count(rules, clock, at);
        match &mut outputs.clocks {
            Some(sink) => sink.line(|into| clocks::write(rules, lead_id, clock, context, at, into)),
            None => Ok(()),
        }
    }

    fn speak(&mut self, outputs: &mut Outputs) -> Result<(), Error> {
        self.effects.started.clear();
        for (lead_id, clock) in self.engine.take_left() {
            let context = clock.end.as_ref().map_or_else(Arc::default, |end| Arc::clone(&end.context));
            self.count(&lead_id, &clock, &context, self.judged_until, outputs)?;
        }
        let mut spoken = std::mem::take(&mut self.effects.outputs);
        spoken.sort_by(|a, b| order(a).cmp(&order(b)));
        for output in spoken.drain(..) {
            self.say(&output, outputs)?;
        }
        self.effects.outputs = spoken;
        Ok(())
    }

    fn say(&mut self, output: &Output, outputs: &mut Outputs) -> Result<(), Error> {
        let Saying::Happened { clock, .. } = &output.saying else { return Ok(()) };
        let is_in_time = matches!(output.step, Step::Met | Step::Cancelled);
        let is_breach = !is_in_time && output.step != Step::AtRisk;
        if is_breach && let Some(sink) = &mut outputs.breaches {
            let encoded = self.encoder.encode(self.engine.rules(), output, 0, output.date);
            sink.line(|into| into.write_all(&encoded.value))?;
        }
        if !is_in_time {
            return Ok(());
        }
        let (lead_id, context, at) = (&output.lead_id, &output.context, output.date);
        match &mut self.kept {
            None => self.count(lead_id, clock, context, at, outputs),
            Some(kept) => {
                let ended = Ended { clock: clock.clone(), context: Arc::clone(context), at };
                kept.entry(Arc::clone(lead_id)).or_default().insert(clock.key(), ended);
                Ok(())
            }
        }
    }
}

/// Lines of files have no record timestamp, so none is late.
fn arrival(at: Instant) -> Arrival {
    Arrival { at, recorded_at: None }
}

/// The order of what is said of one instant, whatever the order in which leads are looked at.
fn order(output: &Output) -> (Instant, &str, Key, Step, u16) {
    let Output { started_at, name, turn, .. } = *output;
    (output.date, &output.lead_id, (started_at, name, turn), output.step, output.level)
}

/// A set of hashes, most often a small one.
#[derive(Debug)]
enum Seen {
    Few(Vec<u32>),
    Many(HashSet<u32, foldhash::fast::RandomState>),
}

/// More are kept in a table.
const FEW: usize = 64;

impl Default for Seen {
    fn default() -> Seen {
        Seen::Few(Vec::new())
    }
}

impl Seen {
    fn contains(&self, hash: u32) -> bool {
        match self {
            Seen::Few(hashes) => hashes.contains(&hash),
            Seen::Many(hashes) => hashes.contains(&hash),
        }
    }

    fn insert(&mut self, hash: u32) {
        match self {
            Seen::Few(hashes) if hashes.len() < FEW => hashes.push(hash),
            Seen::Few(hashes) => {
                let many = hashes.iter().copied().chain([hash]).collect();
                *self = Seen::Many(many);
            }
            Seen::Many(hashes) => {
                hashes.insert(hash);
            }
        }
    }
}
