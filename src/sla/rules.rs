//! Policies made ready for judging: which one covers a lead at an instant, and how long it allows.
//!
//! The files of policies that were in force one after another are editions, and lie behind one another: an
//! index of a policy, a calendar or a name means the same in all of them. Policies of one name in one edition
//! are the versions of a [`FamilyId`]. Rules T12 and T13.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::calendar::Calendar;
use super::clock::{Allowed, Span};
use super::fact::Value;
use super::instant::Instant;
use super::policy::{
    CalendarChoice, Condition, Entry, Match, NameId, Objective, Pipeline, Policies, Policy, Promise, Scalar,
    Target, Test, Touch,
};

/// All versions of a policy: the index of the first that is written.
pub type FamilyId = u16;

/// What is promised to whom, and what must be known of a lead to tell.
#[derive(Debug)]
pub struct Rules {
    /// Everything that was ever promised.
    pub policies: Arc<Policies>,
    editions: Vec<Edition>,
    /// The attributes that are kept of a lead, by dotted path; the first is [`Rules::TEAM`].
    tracked: Vec<String>,
    /// One for each policy.
    ready: Vec<Ready>,
    /// The versions of each family by the beginning of their validity.
    families: BTreeMap<FamilyId, Vec<u16>>,
    /// When another policy may come into force without any fact.
    boundaries: Vec<Instant>,
    starts: u8,
    early: Vec<EarlyRule>,
}

/// A file of policies, from when it was taken up.
#[derive(Debug, Clone)]
pub struct Edition {
    /// It is in force from here to the next one.
    pub from: Instant,
    /// Hash of its text.
    pub version: String,
    /// Which of two files is the newer one, where it says so.
    pub revision: Option<u64>,
    /// Which stages close a lead.
    pub pipeline: Pipeline,
    policies: Range<u16>,
}

/// A policy with its attributes resolved.
#[derive(Debug)]
struct Ready {
    family: FamilyId,
    edition: usize,
    covers: Vec<Cover>,
    objectives: Vec<ReadyObjective>,
    /// Whether any objective counts contacts.
    has_touch: bool,
}

#[derive(Debug)]
struct ReadyObjective {
    /// The conditions of each entry of `within`.
    within: Vec<Vec<Cover>>,
    /// What the calendar depends on.
    calendar_by: Option<Source>,
}

/// A match with its attribute resolved.
#[derive(Debug)]
struct Cover {
    source: Source,
    tests: Vec<Test>,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Owner,
    Tracked(usize),
}

/// An objective whose clock may be satisfied at its start. Rule T6.
#[derive(Debug, Clone, Copy)]
pub struct EarlyRule {
    /// Index of its policy.
    pub policy: u16,
    /// Its index in the policy.
    pub objective: u16,
    /// Whether creation starts it.
    pub by_creation: bool,
    /// Whether assignment starts it.
    pub by_assignment: bool,
}

/// What a lead has that policies look at.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    /// The values of the tracked attributes.
    pub values: &'a [Option<Scalar>],
    /// Who has the lead.
    pub owner: Option<&'a str>,
}

impl Cover {
    fn holds(&self, of: Attributes<'_>) -> bool {
        self.tests.iter().all(|test| test.holds(of.value(self.source)))
    }
}

impl<'a> Attributes<'a> {
    fn value(self, source: Source) -> Option<Value<'a>> {
        match source {
            Source::Owner => self.owner.map(Value::Text),
            Source::Tracked(index) => self.values.get(index)?.as_ref().map(Scalar::value),
        }
    }
}

/// Finds places for the attributes that policies look at.
struct Tracker {
    tracked: Vec<String>,
}

impl Tracker {
    fn source(&mut self, path: &str) -> Source {
        if path == "owner" {
            return Source::Owner;
        }
        Source::Tracked(match self.tracked.iter().position(|known| known == path) {
            Some(index) => index,
            None => {
                self.tracked.push(path.to_owned());
                self.tracked.len() - 1
            }
        })
    }

    fn covers(&mut self, matches: &[Match]) -> Vec<Cover> {
        let cover = |found: &Match| Cover { source: self.source(&found.path), tests: found.tests.clone() };
        matches.iter().map(cover).collect()
    }

    fn objective(&mut self, objective: &Objective) -> ReadyObjective {
        let within = match &objective.promise {
            Promise::Response(response) => {
                response.within.iter().map(|entry: &Entry| self.covers(&entry.matches)).collect()
            }
            Promise::Touch(_) => Vec::new(),
        };
        let calendar_by = match &objective.calendar {
            CalendarChoice::By { path, .. } => Some(self.source(path)),
            _ => None,
        };
        ReadyObjective { within, calendar_by }
    }
}

impl Rules {
    /// The index of the attribute `team` among the tracked ones.
    pub const TEAM: usize = 0;

    /// One file of policies that was always in force.
    pub fn new(policies: Arc<Policies>) -> Rules {
        Rules::of_editions(&[(Instant::MIN, policies)])
    }

    /// Files of policies in the order in which they came into force, each from its instant on. Rule T13.
    ///
    /// Without any no lead is promised anything.
    pub fn of_editions(files: &[(Instant, Arc<Policies>)]) -> Rules {
        let (policies, editions) = behind_one_another(files);
        let mut tracker = Tracker { tracked: vec!["team".to_owned()] };
        let mut ready = Vec::with_capacity(policies.policies.len());
        let mut families = BTreeMap::<FamilyId, Vec<u16>>::new();
        for (number, edition) in editions.iter().enumerate() {
            for index in edition.policies.clone() {
                let policy = &policies.policies[usize::from(index)];
                let is_version = |other: &u16| policies.policies[usize::from(*other)].name == policy.name;
                let family = edition.policies.clone().find(is_version).unwrap_or(index);
                families.entry(family).or_default().push(index);
                ready.push(Ready {
                    family,
                    edition: number,
                    covers: tracker.covers(&policy.matches),
                    objectives: policy.objectives.iter().map(|one| tracker.objective(one)).collect(),
                    has_touch: policy.objectives.iter().any(|one| matches!(one.promise, Promise::Touch(_))),
                });
            }
        }
        for versions in families.values_mut() {
            versions.sort_by_key(|version| policies.policies[usize::from(*version)].valid.from);
        }
        let objectives = || policies.policies.iter().flat_map(|policy| &policy.objectives);
        let starts =
            objectives().flat_map(Objective::start).fold(0, |sorts, condition| sorts | condition.sort());
        let boundaries = boundaries(&policies, &editions);
        let early = early_rules(&policies);
        let tracked = tracker.tracked;
        Rules { policies, editions, tracked, ready, families, boundaries, starts, early }
    }

    /// The files of policies, in the order in which they came into force.
    pub fn editions(&self) -> &[Edition] {
        &self.editions
    }

    /// The file that a policy is in.
    pub fn edition_of(&self, policy: u16) -> &Edition {
        &self.editions[self.ready[usize::from(policy)].edition]
    }

    /// The policies that are tried at an instant, in their order. Rule T12.
    pub fn tried_at(&self, at: Instant) -> Range<u16> {
        self.edition_at(at).map_or(0..0, |edition| edition.policies.clone())
    }

    /// The attributes that are kept of a lead.
    pub fn tracked(&self) -> &[String] {
        &self.tracked
    }

    /// Whether any clock of a response may start at a fact of these sorts.
    pub fn may_start(&self, sorts: u8) -> bool {
        self.starts & sorts != 0
    }

    /// The objectives whose clocks may be satisfied at their start.
    pub fn early(&self) -> &[EarlyRule] {
        &self.early
    }

    /// Every policy that covers leads at some time, all its versions taken as one.
    pub fn families(&self) -> impl Iterator<Item = FamilyId> {
        self.families.keys().copied()
    }

    /// Whether a lead's policy can ever change.
    pub fn can_change(&self) -> bool {
        1 < self.families.len()
            || !self.boundaries.is_empty()
            || self.policies.policies.iter().any(|policy| !policy.matches.is_empty())
    }

    /// The first instant after `at` at which another policy may come into force without any fact.
    pub fn boundary_after(&self, at: Instant) -> Option<Instant> {
        let place = self.boundaries.partition_point(|boundary| *boundary <= at);
        self.boundaries.get(place).copied()
    }

    /// The first policy that covers such a lead at an instant. Rule T12.
    pub fn in_force(&self, at: Instant, of: Attributes<'_>) -> Option<FamilyId> {
        let edition = self.edition_at(at)?;
        edition.policies.clone().find_map(|index| {
            let ready = &self.ready[usize::from(index)];
            let is_in_force =
                self.policy(index).valid.holds_at(at) && ready.covers.iter().all(|cover| cover.holds(of));
            is_in_force.then_some(ready.family)
        })
    }

    fn edition_at(&self, at: Instant) -> Option<&Edition> {
        let count = self.editions.partition_point(|edition| edition.from <= at);
        count.checked_sub(1).map(|last| &self.editions[last])
    }

    /// The version of a policy that judges a clock started then: the one valid at the start, else the next.
    /// Rule T13.
    pub fn version(&self, family: FamilyId, started_at: Instant) -> u16 {
        let versions = self.families.get(&family).map_or(&[][..], Vec::as_slice);
        let holds =
            |version: &&u16| self.policy(**version).valid.until.is_none_or(|until| started_at < until);
        // They are in order and do not overlap: the first that has not ended by then is it, or the next one.
        versions.iter().find(holds).or(versions.last()).copied().unwrap_or(family)
    }

    /// The family of a policy.
    pub fn family(&self, policy: u16) -> FamilyId {
        self.ready[usize::from(policy)].family
    }

    /// The objective at these indexes.
    pub fn objective(&self, policy: u16, objective: u16) -> &Objective {
        &self.policies.policies[usize::from(policy)].objectives[usize::from(objective)]
    }

    /// The name of the objective at these indexes, if there is one.
    pub fn objective_name(&self, policy: u16, objective: u16) -> Option<NameId> {
        let policy = self.policies.policies.get(usize::from(policy))?;
        policy.objectives.get(usize::from(objective)).map(|objective| objective.name)
    }

    /// The policy at this index.
    pub fn policy(&self, policy: u16) -> &Policy {
        &self.policies.policies[usize::from(policy)]
    }

    /// The index of a policy's objective of this name.
    pub fn objective_named(&self, policy: u16, name: NameId) -> Option<u16> {
        self.policy(policy).objectives.iter().position(|one| one.name == name).map(|index| index as u16)
    }

    /// Whether a policy counts contacts. Rule T15.
    pub fn has_touch(&self, policy: u16) -> bool {
        self.ready[usize::from(policy)].has_touch
    }

    /// What a touch objective asks for; `None` where it is none.
    pub fn touch(&self, policy: u16, objective: u16) -> Option<&Touch> {
        match &self.objective(policy, objective).promise {
            Promise::Touch(touch) => Some(touch),
            Promise::Response(_) => None,
        }
    }

    /// The pipeline by which a policy's leads are closed; without a policy that of the last file.
    pub fn pipeline(&self, family: Option<FamilyId>) -> &Pipeline {
        match family {
            Some(family) => &self.edition_of(family).pipeline,
            None => self.editions.last().map_or(&self.policies.pipeline, |edition| &edition.pipeline),
        }
    }

    /// How long a response may take that starts now. Rule T2.
    pub fn allowed(&self, policy: u16, objective: u16, start: Instant, of: Attributes<'_>) -> Allowed {
        let calendar = self.calendar_for(policy, objective, of);
        let ready = &self.ready[usize::from(policy)].objectives[usize::from(objective)];
        let target = match &self.objective(policy, objective).promise {
            Promise::Response(response) => {
                let is_open = || calendar.is_some_and(|index| self.calendar(index).is_open(start));
                let fits = |(entry, covers): &(&Entry, &Vec<Cover>)| {
                    entry.started_open.is_none_or(|open| open == is_open())
                        && covers.iter().all(|cover| cover.holds(of))
                };
                response.within.iter().zip(&ready.within).find(fits).map(|(entry, _)| entry.target)
            }
            Promise::Touch(_) => None,
        };
        Allowed { target, calendar, less_ms: 0 }
    }

    /// The calendar that the objective gives such a lead.
    pub fn calendar_for(&self, policy: u16, objective: u16, of: Attributes<'_>) -> Option<u16> {
        let ready = &self.ready[usize::from(policy)].objectives[usize::from(objective)];
        match &self.objective(policy, objective).calendar {
            CalendarChoice::None => None,
            CalendarChoice::One(index) => Some(*index as u16),
            CalendarChoice::By { calendars, default, .. } => {
                let value = match ready.calendar_by.and_then(|source| of.value(source)) {
                    Some(Value::Text(text)) => Some(text),
                    _ => None,
                };
                Some(*value.and_then(|value| calendars.get(value)).unwrap_or(default) as u16)
            }
        }
    }

    /// The calendar of this index.
    pub fn calendar(&self, index: u16) -> &Calendar {
        &self.policies.calendars[usize::from(index)].calendar
    }

    /// How much counted time a clock is allowed, in milliseconds; `None` where it has no target.
    pub fn target_ms(&self, allowed: &Allowed, start: Instant) -> Option<i64> {
        let target = allowed.target?;
        let full = self.full_ms(target, allowed.calendar, start);
        Some((full - allowed.less_ms).max(0))
    }

    /// So much time of a target counted from an instant, in milliseconds.
    pub fn full_ms(&self, target: Target, calendar: Option<u16>, start: Instant) -> i64 {
        match (target, calendar) {
            (Target::Elapsed(ms), _) => ms,
            (target, Some(index)) => self.calendar(index).target_ms(start, target),
            (target, None) => target.elapse(start).since(start),
        }
    }

    /// When a clock is due. Rules T3 and T9.
    pub fn due(&self, allowed: &Allowed, start: Instant, pauses: &[Span]) -> Option<Instant> {
        let target = allowed.target?;
        if pauses.is_empty() && allowed.less_ms == 0 {
            return Some(match allowed.counting() {
                Some(index) => self.calendar(index).due(start, target),
                None => target.elapse(start),
            });
        }
        self.after(allowed.counting(), start, self.target_ms(allowed, start)?, pauses)
    }

    /// When so much time has counted since an instant: on a calendar, or everywhere; not in pauses. Rule T9.
    ///
    /// `None` while a pause has no end that is known.
    pub fn after(&self, calendar: Option<u16>, from: Instant, ms: i64, pauses: &[Span]) -> Option<Instant> {
        let after = |at: Instant, ms: i64| match calendar {
            Some(index) => self.calendar(index).due(at, Target::Open(ms)),
            None => at.plus(ms),
        };
        let (mut at, mut left) = (from, ms);
        for pause in pauses.iter().filter(|pause| from < pause.to) {
            let due = after(at, left);
            if left <= 0 || due <= pause.from {
                return Some(due);
            }
            left -= self.counted_on(calendar, at, pause.from);
            if pause.is_open() {
                return None;
            }
            at = pause.to;
        }
        Some(after(at, left))
    }

    /// How much time counts between two instants, in milliseconds, pauses excluded.
    pub fn counted(&self, allowed: &Allowed, from: Instant, to: Instant, pauses: &[Span]) -> i64 {
        let calendar = allowed.counting();
        let paused: i64 = pauses
            .iter()
            .map(|pause| self.counted_on(calendar, pause.from.max(from), pause.to.min(to)))
            .sum();
        self.counted_on(calendar, from, to) - paused
    }

    fn counted_on(&self, calendar: Option<u16>, from: Instant, to: Instant) -> i64 {
        match calendar {
            Some(index) => self.calendar(index).counted(from, to),
            None => to.since(from).max(0),
        }
    }
}

/// Lays files behind one another, so that indexes mean the same in all of them.
fn behind_one_another(files: &[(Instant, Arc<Policies>)]) -> (Arc<Policies>, Vec<Edition>) {
    let edition = |from: Instant, file: &Policies, first: usize| Edition {
        from,
        version: file.version.clone(),
        revision: file.revision,
        pipeline: file.pipeline.clone(),
        policies: first as u16..(first + file.policies.len()) as u16,
    };
    if let [(from, only)] = files {
        return (Arc::clone(only), vec![edition(*from, only, 0)]);
    }
    let (mut all, mut editions) = (Policies::default(), Vec::new());
    for (from, file) in files {
        editions.push(edition(*from, file, all.policies.len()));
        append(&mut all, file);
    }
    (Arc::new(all), editions)
}

fn append(all: &mut Policies, file: &Policies) {
    let first_calendar = all.calendars.len();
    all.calendars.extend(file.calendars.iter().cloned());
    let names: Vec<NameId> = file.names.iter().map(|name| name_id(&mut all.names, name)).collect();
    for policy in &file.policies {
        let mut policy = policy.clone();
        for objective in &mut policy.objectives {
            objective.name = names[usize::from(objective.name)];
            match &mut objective.calendar {
                CalendarChoice::None => {}
                CalendarChoice::One(index) => *index += first_calendar,
                CalendarChoice::By { calendars, default, .. } => {
                    calendars.values_mut().for_each(|index| *index += first_calendar);
                    *default += first_calendar;
                }
            }
        }
        all.policies.push(policy);
    }
    (all.version, all.revision, all.pipeline) = (file.version.clone(), file.revision, file.pipeline.clone());
}

fn name_id(names: &mut Vec<String>, name: &str) -> NameId {
    let known = names.iter().position(|known| known == name);
    known.unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    }) as NameId
}

fn boundaries(policies: &Policies, editions: &[Edition]) -> Vec<Instant> {
    let valid = policies.policies.iter().flat_map(|policy| [policy.valid.from, policy.valid.until]);
    let taken_up = editions.iter().map(|edition| Some(edition.from));
    let mut boundaries: Vec<_> =
        valid.chain(taken_up).flatten().filter(|boundary| *boundary != Instant::MIN).collect();
    boundaries.sort_unstable();
    boundaries.dedup();
    boundaries
}

fn early_rules(policies: &Policies) -> Vec<EarlyRule> {
    let mut early = Vec::new();
    for (policy, of) in policies.policies.iter().enumerate() {
        for (objective, promise) in of.objectives.iter().enumerate() {
            let by_creation = promise.start().contains(&Condition::Created);
            let by_assignment = promise.start().contains(&Condition::Assigned);
            if by_creation || by_assignment {
                early.push(EarlyRule {
                    policy: policy as u16,
                    objective: objective as u16,
                    by_creation,
                    by_assignment,
                });
            }
        }
    }
    early
}
