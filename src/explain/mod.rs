//! Why a lead is, or is not, in breach: its facts, its clocks, and what decided each.
//!
//! [`explain`] turns what an engine knows of a lead into plain data, whoever asks: a file, a topic, a running
//! service, or a policy test that failed. [`table`] lays the data out for people. Nothing here does I/O, reads a
//! clock or has a rule of its own.

mod account;
mod covering;
mod evidence;
mod table;
mod time;
mod why;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::sla::engine::{Engine, Settings};
use crate::sla::fact::Fact;
use crate::sla::instant::Instant;
use crate::sla::portrait::Portrait;
use crate::sla::rules::Rules;
use crate::sla::store::{Lead, RejectedAt, Spoken};
use crate::wire::record::Partition;

pub use account::{Account, Missed, Pause, Planned, Transition};
pub use covering::{Covering, Tried};
pub use evidence::{Evidence, Place, Told};
pub use table::{table, timeline};
pub use time::{lasting, local};

/// Where the facts of an engine come from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The names of the topics or files, in their order.
    pub names: &'a [String],
    /// The partition number; `None` for files.
    pub partition: Option<Partition>,
    /// Whether a service said what the engine knows to be said.
    pub is_service: bool,
}

/// Everything that is known of a lead at an instant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The lead.
    pub lead_id: String,
    /// Everything until then is judged; `None` while nothing is proven. Rule H1.
    pub until: Option<Instant>,
    /// The partition number it is in; `None` for files.
    pub partition: Option<Partition>,
    /// The version of the file of policies in force then.
    pub policies_version: Option<String>,
    /// Who has it after its last fact.
    pub owner: Option<String>,
    /// Its attribute `team`.
    pub team: Option<String>,
    /// Its stage.
    pub stage: Option<String>,
    /// Which policy covers it, and why.
    pub policy: Covering,
    /// Facts at or before this are no longer kept one by one. Rule H10.
    pub folded_until: Option<Instant>,
    /// Nothing is said of it before this, for a fact came late. Rule H8.
    pub waits_until: Option<Instant>,
    /// Facts dated after this do not count: it is merged into another lead. Rule T11.
    pub merged_at: Option<Instant>,
    /// The facts that are kept, in order. Rule F3.
    pub facts: Vec<Told>,
    /// How many of its facts are dated after what is judged, and are left out.
    pub left_out: u64,
    /// Records that could not be used and name it.
    pub rejected: Vec<Place>,
    /// Its clocks, in the order in which they started.
    pub clocks: Vec<Account>,
    /// What was said and taken back. Rule H8.
    pub retracted: Vec<Retracted>,
}

/// What was said of a clock and taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retracted {
    /// The objective.
    pub objective: String,
    /// When the clock started.
    pub started_at: Instant,
    /// The transition that was said.
    pub transition: String,
    /// Its date.
    pub at: Instant,
    /// How often it was taken back.
    pub times: u32,
}

/// Longer than any log.
const FOREVER_MS: i64 = i64::MAX / 4;

/// An engine that folds nothing and forgets nothing, so that all can be explained.
pub fn engine(rules: &Arc<Rules>) -> Engine {
    let settings = Settings {
        grace_ms: 0,
        lateness_max_ms: FOREVER_MS,
        facts_max: usize::MAX,
        retention_closed_ms: FOREVER_MS,
        retention_idle_ms: FOREVER_MS,
        speak_from: Instant::MIN,
    };
    Engine::without_transactions(Arc::clone(rules), settings)
}

/// Explains the lead in a slot of an engine, as far as its horizon reaches.
pub fn explain(engine: &Engine, slot: u32, origin: Origin<'_>) -> Explanation {
    let lead = &*engine.store().lead(slot).unpacked();
    let facts = lead.facts.as_slice();
    let until = engine.spoken_until();
    let judged_until = until.or(facts.last().map(|fact| fact.time)).unwrap_or(Instant::MIN);
    let context = engine.context(slot);
    let owned = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
    let rules = engine.rules();
    let edition = rules.editions().iter().rfind(|edition| edition.from <= judged_until);
    Explanation {
        lead_id: engine.store().id(slot).to_string(),
        until,
        partition: origin.partition,
        policies_version: edition.map(|edition| edition.version.clone()),
        owner: owned(&context.owner),
        team: owned(&context.team),
        stage: owned(&context.stage),
        policy: covering(engine, slot, lead, judged_until),
        folded_until: Some(lead.folded_until).filter(|folded| *folded != Instant::MIN),
        waits_until: lead.wait_until,
        merged_at: lead.merged_at,
        facts: facts.iter().map(|fact| told(fact, lead, judged_until, origin)).collect(),
        left_out: 0,
        rejected: lead.rejected.iter().map(|rejected| rejected_at(rejected, origin)).collect(),
        clocks: account::accounts(engine, slot, origin, judged_until),
        retracted: lead.spoken.iter().filter_map(|spoken| retracted(engine, spoken)).collect(),
    }
}

/// Of folded facts only the clocks are left, which say what covers the lead.
fn covering(engine: &Engine, slot: u32, lead: &Lead, at: Instant) -> Covering {
    let rules = engine.rules();
    if lead.base.is_none() {
        return Covering::of(rules, &Portrait::at(rules, lead.facts.as_slice(), at), at);
    }
    let clocks = engine.clocks(slot);
    let running = clocks.iter().find(|clock| clock.is_running());
    Covering::unexplained(rules, running.map(|clock| clock.policy))
}

fn told(fact: &Fact, lead: &Lead, until: Instant, origin: Origin<'_>) -> Told {
    let is_merged = lead.merged_at.is_some_and(|merged| merged < fact.time);
    Told { counts: !is_merged && fact.time <= until, ..Told::of(fact, origin) }
}

fn rejected_at(rejected: &RejectedAt, origin: Origin<'_>) -> Place {
    let partition = origin.partition.map(|_| rejected.partition);
    Place { topic: evidence::name(rejected.topic, origin), partition, offset: rejected.offset }
}

fn retracted(engine: &Engine, spoken: &Spoken) -> Option<Retracted> {
    (!spoken.stands).then(|| Retracted {
        objective: engine.rules().policies.name(spoken.name).to_owned(),
        started_at: spoken.started_at,
        transition: spoken.step.as_str().to_owned(),
        at: spoken.date,
        times: spoken.times_retracted,
    })
}
