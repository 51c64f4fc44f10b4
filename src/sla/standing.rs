//! Where a lead stands: what its facts up to some instant set, whatever was promised. Rules F5-F8, T9-T11.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thin_vec::ThinVec;

use super::clock::{Context, Span};
use super::fact::{Fact, Kind, Value};
use super::instant::Instant;
use super::policy::{Pause, Pipeline, Scalar};
use super::rules::{Attributes, Rules};
use super::signal::{Move, Signal, owner_set_by};

/// What a lead's facts up to some instant set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Standing {
    pub created_at: Option<Instant>,
    pub assigned_at: Option<Instant>,
    pub status: Status,
    pub context: Arc<Context>,
    values: Arc<Vec<Option<Scalar>>>,
    /// From the last `paused` to what ends that. Rule T9.
    pause: Option<Span>,
    /// Whether it was created or reopened. Rule T15.
    has_begun: bool,
    /// The fact that began the lead anew, by its place. Rule F5.
    pub reborn: Option<Order>,
    /// Waivers of clocks that the lead does not have yet, with the start of each. Rule T17.
    pub waivers: ThinVec<(Instant, Fact)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Status {
    #[default]
    Alive,
    Deleted,
    Merged(Instant),
    /// In one instant, and in this order.
    MergedThenDeleted(Instant),
}

/// The place of a fact among those of its lead. Rule F3.
pub(super) type Order = (Instant, u16, i64);

/// What is known of an instant before its facts are taken one by one, and which of them are firsts.
pub(super) struct Foreseen<'a> {
    /// The owner after it, where it sets one or takes the lead from one.
    owner: Option<Option<&'a str>>,
    pub created_at: Option<Instant>,
    pub creation: Option<&'a Fact>,
    pub first_assignment: Option<&'a Fact>,
    /// Whether the lead begins anew in it.
    pub is_reborn: bool,
}

/// As far as touches care where a lead is. Rule T15.
#[derive(Debug, Clone)]
pub(super) struct Place<'a> {
    pub is_open: bool,
    pub has_begun: bool,
    pub stage: Option<&'a str>,
}

impl Standing {
    /// The values of the attributes that policies look at, for this owner.
    pub fn attributes<'a>(&'a self, owner: Option<&'a str>) -> Attributes<'a> {
        Attributes { values: &self.values, owner }
    }

    /// The same, as they are after the whole instant.
    pub fn attributes_after<'a>(&'a self, foreseen: &Foreseen<'a>) -> Attributes<'a> {
        self.attributes(foreseen.owner.unwrap_or(self.context.owner.as_deref()))
    }

    /// Since when the lead is merged into another. Rule T11.
    pub fn merged_at(&self) -> Option<Instant> {
        match self.status {
            Status::Merged(at) | Status::MergedThenDeleted(at) => Some(at),
            Status::Alive | Status::Deleted => None,
        }
    }

    /// Whether the lead is deleted.
    pub fn is_deleted(&self) -> bool {
        matches!(self.status, Status::Deleted | Status::MergedThenDeleted(_))
    }

    /// Whether the lead is closed. Rule T10.
    pub fn is_closed(&self, pipeline: &Pipeline) -> bool {
        self.context.stage.as_ref().is_some_and(|stage| pipeline.closes(stage))
    }

    /// Where it is.
    pub fn place(&self, pipeline: &Pipeline) -> Place<'_> {
        self.place_in(pipeline, &self.context)
    }

    /// The same, with its stage taken from its context as it is now.
    pub fn place_in<'a>(&self, pipeline: &Pipeline, context: &'a Context) -> Place<'a> {
        Place {
            is_open: self.status == Status::Alive && !self.is_closed(pipeline),
            has_begun: self.has_begun,
            stage: context.stage.as_deref(),
        }
    }

    /// Until when a pause holds at an instant for clocks that it can hold. Rule T9.
    pub fn paused_until(&self, pause: &Pause, at: Instant) -> Option<Instant> {
        let is_in = |stage: &Arc<str>| pause.stages.iter().any(|known| **known == **stage);
        if !pause.stages.is_empty() && self.context.stage.as_ref().is_some_and(is_in) {
            return Some(Instant::MAX);
        }
        self.pause.filter(|paused| pause.by_facts && at < paused.to).map(|paused| paused.to)
    }

    /// Sets the attributes as they are after the whole instant, which is what matches see. Rule F8.
    pub fn foresee<'a>(&mut self, rules: &Rules, instant: &'a [Fact]) -> Foreseen<'a> {
        let mut foreseen = Foreseen {
            owner: None,
            created_at: self.created_at,
            creation: None,
            first_assignment: None,
            is_reborn: false,
        };
        let mut is_deleted = self.status == Status::Deleted;
        for fact in instant {
            if is_deleted && fact.kind == Kind::LeadCreated {
                (is_deleted, foreseen.is_reborn) = (false, true);
                self.values = Arc::default();
                (foreseen.owner, foreseen.created_at) = (Some(None), None);
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
                foreseen.owner = Some(owner);
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
                } else if is_below(tracked, field.path) {
                    self.set_attribute(rules, index, None);
                } else if is_below(field.path, tracked) {
                    // The attribute is an object now, equal to nothing.
                    self.set_attribute(rules, index, Some(Scalar::Other));
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

    /// Whether a fact counts: a deleted lead comes back by `lead-created` only, and stays merged if it is merged
    /// before that, which is noted here. Rules F5, T10 and T11.
    pub fn hears(&mut self, fact: &Fact) -> bool {
        match (self.status, fact.kind) {
            (Status::Deleted, Kind::LeadMerged) => self.status = Status::Merged(fact.time),
            (Status::Deleted | Status::MergedThenDeleted(_), Kind::LeadCreated)
            | (Status::Alive | Status::Merged(_), _) => return true,
            (Status::Deleted | Status::MergedThenDeleted(_), _) => {}
        }
        false
    }

    /// One after `lead-deleted` begins the lead anew, nothing before it counting. Rule F5.
    pub fn begin_anew(&mut self, fact: &Fact) {
        self.reborn = Some(fact.order());
        self.status = self.merged_at().map_or(Status::Alive, Status::Merged);
        (self.created_at, self.assigned_at, self.pause, self.has_begun) = (None, None, None, false);
        self.waivers.clear();
        self.context = Arc::new(Context { team: self.team(), ..Context::default() });
    }

    fn team(&self) -> Option<Arc<str>> {
        match self.values.get(Rules::TEAM) {
            Some(Some(Scalar::Text(team))) => Some(Arc::from(team.as_str())),
            _ => None,
        }
    }

    /// Sets owner, stage, status and pause, and says what that amounts to. Rule F3.
    pub fn set<'a>(&mut self, pipeline: &'a Pipeline, fact: &'a Fact, before: &'a Context) -> Signal<'a> {
        let is_creation = fact.kind == Kind::LeadCreated && self.created_at.is_none();
        if is_creation {
            self.created_at = Some(fact.time);
            self.has_begun = true;
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
            Kind::LeadDeleted if self.status == Status::Merged(fact.time) => {
                self.status = Status::MergedThenDeleted(fact.time);
            }
            Kind::Paused => self.pause(fact),
            Kind::Resumed => self.pause = None,
            _ => {}
        }
        let is_assignment = matches!(owner, Some(Some(_)));
        let is_first_assignment = is_assignment && self.assigned_at.is_none();
        if is_first_assignment {
            self.assigned_at = Some(fact.time);
        }
        let moved = stage.map(|to| Move::between(pipeline, before.stage.as_deref(), to));
        self.has_begun |= moved.as_ref().is_some_and(|moved| moved.reopens);
        let is_pausing = matches!(fact.kind, Kind::Paused | Kind::Resumed);
        let owner = None;
        Signal { fact, is_creation, is_assignment, is_first_assignment, is_pausing, moved, owner, pipeline }
    }

    /// Pauses that overlap are one. Rule T9.
    fn pause(&mut self, fact: &Fact) {
        let until = match fact.field("until") {
            Some(Value::Text(text)) => Instant::parse(text).unwrap_or(Instant::MAX),
            _ => Instant::MAX,
        };
        let running = self.pause.filter(|running| fact.time < running.to);
        let from = running.map_or(fact.time, |running| running.from);
        let to = running.map_or(until, |running| until.max(running.to));
        self.pause = (fact.time < to).then_some(Span { from, to });
    }
}

fn scalar_of(value: Value<'_>) -> Option<Scalar> {
    match value {
        Value::Bool(bool) => Some(Scalar::Bool(bool)),
        Value::Number(number) => Some(Scalar::Number(number)),
        Value::Text(text) => Some(Scalar::Text(text.to_owned())),
        Value::Other => Some(Scalar::Other),
        Value::Null => None,
    }
}

/// Whether dotted `path` lies below `above`.
fn is_below(path: &[u8], above: &[u8]) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.starts_with(b"."))
}
