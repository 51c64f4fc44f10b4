//! What was promised: policies, objectives, targets and conditions, as checked.
//!
//! [`crate::config`] makes these from text; nothing here can be wrong in itself.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::calendar::Calendar;
use super::fact::Value;
use super::instant::Instant;

/// Everything that was promised, with what it refers to.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    /// Hash of the text these were read from, 16 hexadecimal digits.
    pub version: String,
    /// Which of two files is the newer one, where the file says so. Rule T13.
    pub revision: Option<u64>,
    /// The calendars that objectives refer to by index.
    pub calendars: Vec<NamedCalendar>,
    /// Which stages close a lead.
    pub pipeline: Pipeline,
    /// Every objective name that any policy uses, each once; a [`NameId`] is an index into it.
    pub names: Vec<String>,
    /// The policies, in the order in which they are tried.
    pub policies: Vec<Policy>,
}

/// Index into [`Policies::names`]. Clocks are told apart by it, rule I1.
pub type NameId = u16;

/// A calendar under the name the policies give it.
#[derive(Debug, Clone)]
pub struct NamedCalendar {
    /// As written.
    pub name: String,
    /// When time counts.
    pub calendar: Calendar,
}

/// The stages a lead moves through. A stage that is neither won nor lost is open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pipeline {
    /// Open stages in order; empty where the pipeline lists none.
    pub open: Vec<String>,
    /// Stages that close a lead as won.
    pub won: Vec<String>,
    /// Stages that close a lead as lost.
    pub lost: Vec<String>,
}

/// Which leads a policy covers, and what it promises them. The first that matches wins.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Policies of one name are versions of it, valid at different times. Rule T13.
    pub name: String,
    /// When it is valid.
    pub valid: Validity,
    /// All must hold; empty matches every lead.
    pub matches: Vec<Match>,
    /// Copied to every output.
    pub labels: BTreeMap<String, String>,
    /// Share of clocks that should be met, above 0 and at most 1.
    pub attainment_goal: Option<f64>,
    /// The promises, in the order of their names as written; names are unique within a policy.
    pub objectives: Vec<Objective>,
}

/// When a version of a policy is valid: [from, until). Rule T13.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Validity {
    /// `effective_from`; `None` is always before.
    pub from: Option<Instant>,
    /// `effective_until`; `None` is for ever.
    pub until: Option<Instant>,
}

/// One promise.
#[derive(Debug, Clone)]
pub struct Objective {
    /// The index of its name in [`Policies::names`].
    pub name: NameId,
    /// What starts and stops its clocks.
    pub promise: Promise,
    /// The clock runs only in these stages; `None` is any.
    pub while_stages: Option<Vec<String>>,
    /// What stands still its clocks. Rule T9.
    pub pause: Pause,
    /// When to warn before the deadline, in the order written; the levels count from 1. Rule T7.
    pub warn: Vec<Warning>,
    /// When to escalate after a breach, in the order written; the levels count from 1. Rule T8.
    pub escalate: Vec<Escalation>,
    /// When its time counts.
    pub calendar: CalendarChoice,
    /// As written; `None` where the policy says nothing.
    pub severity: Option<String>,
    /// What a breach costs. Rule T19.
    pub penalty: Option<Penalty>,
}

/// What starts and stops the clocks of an objective.
#[derive(Debug, Clone)]
pub enum Promise {
    /// Something happens in time after something else.
    Response(Response),
    /// The lead is contacted often enough. Rule T15.
    Touch(Touch),
}

/// Something must happen in time after something else.
#[derive(Debug, Clone)]
pub struct Response {
    /// Any of these starts its clock.
    pub start: Vec<Condition>,
    /// Any of these stops its clock.
    pub stop: Vec<Condition>,
    /// Whether a second start cancels the running clock and starts another.
    pub restart: bool,
    /// What a start after an earlier clock does.
    pub reentry: Reentry,
    /// How long it may take: the first entry that fits the lead at the start. The last one fits every lead.
    pub within: Vec<Entry>,
}

/// One entry of `within`.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// All must hold of the lead at the start.
    pub matches: Vec<Match>,
    /// Whether the calendar must be open (`true`) or closed at the start; `None` is either.
    pub started_open: Option<bool>,
    /// How long it may take.
    pub target: Target,
}

/// What a start after an earlier clock of the objective does. Rule T14.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reentry {
    /// It starts a clock as the first did.
    #[default]
    New,
    /// Nothing.
    FirstOnly,
    /// It starts a clock of which the counted time of the earlier ones is used up.
    Cumulative,
}

/// How often a lead must be contacted while it is in the stages of `while`. Rule T15.
#[derive(Debug, Clone, PartialEq)]
pub struct Touch {
    /// A contact for which any of these holds is a touch.
    pub what: Vec<Condition>,
    /// How often.
    pub form: TouchForm,
}

/// How often a lead must be touched. Rule T15.
#[derive(Debug, Clone, PartialEq)]
pub enum TouchForm {
    /// `every: W`: no longer than this after the entry and after each touch.
    Every(Target),
    /// `at_least: N, per: W`: so often in each of the windows laid end to end.
    PerWindow(u32, Target),
    /// `at_least: N, within: W`: so often in the one window from the entry.
    Within(u32, Target),
    /// `at_least: N, per: stage`: so often before the stages are left.
    PerStage(u32),
    /// `by: [...]`: the n-th touch by the n-th of these after the entry.
    By(Vec<Target>),
}

/// What stands still the clocks of an objective. Rule T9.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Whether `paused` and `resumed` do.
    pub by_facts: bool,
    /// Being in one of these stages does.
    pub stages: Vec<String>,
}

/// When to warn. Rule T7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warning {
    /// When so many percent of the target are used up, 1 to 99.
    Percent(u8),
    /// When so much of the target is left. A target of another kind of time, or a shorter one, gets no such
    /// warning.
    Left(Target),
}

/// When to escalate, counted from the breach. Rule T8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escalation {
    /// So long after it.
    After(Target),
    /// So long after it and again each time so much has passed, so often; `None` is without end.
    Every(Target, Option<u32>),
}

/// When time counts for an objective.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CalendarChoice {
    /// Always; only where the target elapses.
    #[default]
    None,
    /// On the calendar of this index in [`Policies::calendars`].
    One(usize),
    /// As an attribute of the lead says at the start.
    By {
        /// Dotted path of the attribute; `owner` is the lead's owner.
        path: String,
        /// The calendar for each of its values.
        calendars: BTreeMap<String, usize>,
        /// The calendar for any other, also for none.
        default: usize,
    },
}

/// What a breach costs. Rule T19.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Penalty {
    /// How much, in units of the currency.
    pub amount: Decimal,
    /// As written, such as `EUR`.
    pub currency: String,
}

/// How long an objective allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// Time that elapses everywhere, in milliseconds (`s m h d w`).
    Elapsed(i64),
    /// Open time of the objective's calendar, in milliseconds (`bm bh`).
    Open(i64),
    /// To the last closing of this open day after the start's local date (`bd`).
    OpenDays(u32),
}

/// What a fact must be to start or stop a clock.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// The lead is created, rule F5.
    Created,
    /// The lead gets an owner other than the one it has, rule F8.
    Assigned,
    /// The lead enters an open stage from a closed one, rule T10.
    Reopened,
    /// A contact of which every field test holds. Direction and author are among the tests unless
    /// the policy asks for `any`, rule F7.
    Contacted(Vec<FieldTest>),
    /// The lead enters one of these stages.
    Entered(Vec<String>),
    /// The lead leaves one of these stages, for one of `to` where that is given.
    Left {
        /// The stages left.
        from: Vec<String>,
        /// The stages entered by the same fact; `None` is any.
        to: Option<Vec<Destination>>,
    },
}

/// Where a lead that leaves a stage goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// This stage.
    Stage(String),
    /// A later stage of the pipeline's open ones than the one left, or a won one.
    Forward,
    /// Any won stage.
    Won,
    /// Any lost stage.
    Lost,
}

/// A test of one field of a contact.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldTest {
    /// Dotted path of the field.
    pub path: String,
    /// It must be one of these.
    pub any_of: Vec<Operand>,
}

/// What a contact's field is compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A value written in the policy.
    Value(Scalar),
    /// The lead's owner after the contact (`$owner`); no owner is equal to nothing.
    Owner,
}

/// A test of one attribute of a lead.
#[derive(Debug, Clone, PartialEq)]
pub struct Match {
    /// Dotted path of the attribute; `owner` is the lead's owner.
    pub path: String,
    /// All must hold.
    pub tests: Vec<Test>,
}

/// What an attribute must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// One of these.
    AnyOf(Vec<Scalar>),
    /// None of these, or absent.
    NoneOf(Vec<Scalar>),
    /// A number on this side of that one.
    Compared(Comparison, f64),
    /// Present, or absent.
    Present(bool),
}

/// How two numbers compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `gte`
    AtLeast,
    /// `gt`
    Above,
    /// `lte`
    AtMost,
    /// `lt`
    Below,
}

impl Test {
    /// Whether it holds of an attribute's value; `None` is absent.
    pub fn holds(&self, value: Option<Value<'_>>) -> bool {
        match (self, value) {
            (Test::AnyOf(scalars), Some(value)) => scalars.iter().any(|scalar| value.is(scalar)),
            (Test::NoneOf(scalars), Some(value)) => !scalars.iter().any(|scalar| value.is(scalar)),
            (Test::NoneOf(_), None) => true,
            (Test::Compared(comparison, bound), Some(Value::Number(number))) => match comparison {
                Comparison::AtLeast => number >= *bound,
                Comparison::Above => number > *bound,
                Comparison::AtMost => number <= *bound,
                Comparison::Below => number < *bound,
            },
            (Test::Present(is_present), value) => *is_present == value.is_some(),
            _ => false,
        }
    }
}

/// A JSON value that is not null. Values of two types are never equal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// Any number; integers and decimals compare by value.
    Number(f64),
    /// Any string.
    Text(String),
    /// An object, an array or a long string: present, and equal to nothing that a policy can name.
    Other,
}

impl Scalar {
    /// It as a field has it.
    pub fn value(&self) -> Value<'_> {
        match self {
            Scalar::Bool(bool) => Value::Bool(*bool),
            Scalar::Number(number) => Value::Number(*number),
            Scalar::Text(text) => Value::Text(text),
            Scalar::Other => Value::Other,
        }
    }
}

impl Policies {
    /// The name an objective's [`NameId`] stands for.
    pub fn name(&self, id: NameId) -> &str {
        &self.names[usize::from(id)]
    }

    /// The calendar an objective counts on, where it does not depend on the lead.
    pub fn calendar(&self, objective: &Objective) -> Option<&NamedCalendar> {
        match &objective.calendar {
            CalendarChoice::None => None,
            CalendarChoice::One(index) => Some(&self.calendars[*index]),
            CalendarChoice::By { default, .. } => Some(&self.calendars[*default]),
        }
    }
}

impl Objective {
    /// What starts its clocks; a touch objective has no such conditions.
    pub fn start(&self) -> &[Condition] {
        match &self.promise {
            Promise::Response(response) => &response.start,
            Promise::Touch(_) => &[],
        }
    }

    /// What stops its clocks; a touch objective has no such conditions.
    pub fn stop(&self) -> &[Condition] {
        match &self.promise {
            Promise::Response(response) => &response.stop,
            Promise::Touch(_) => &[],
        }
    }

    /// Every target that a clock of it may have.
    pub fn targets(&self) -> Vec<Target> {
        match &self.promise {
            Promise::Response(response) => response.within.iter().map(|entry| entry.target).collect(),
            Promise::Touch(touch) => match &touch.form {
                TouchForm::Every(target) | TouchForm::PerWindow(_, target) | TouchForm::Within(_, target) => {
                    vec![*target]
                }
                TouchForm::PerStage(_) => Vec::new(),
                TouchForm::By(targets) => targets.clone(),
            },
        }
    }

    /// The target of a lead that no condition of `within` fits.
    pub fn target(&self) -> Target {
        self.targets().last().copied().unwrap_or(Target::Elapsed(0))
    }

    /// Whether a clock of it ends where it is breached: it is a window of touches. Rule T15.
    pub fn is_over_when_breached(&self) -> bool {
        let Promise::Touch(touch) = &self.promise else { return false };
        matches!(touch.form, TouchForm::PerWindow(..) | TouchForm::Within(..) | TouchForm::PerStage(_))
    }

    /// Whether a second start cancels the running clock and starts another.
    pub fn restarts(&self) -> bool {
        matches!(&self.promise, Promise::Response(response) if response.restart)
    }
}

impl CalendarChoice {
    /// Every calendar that it may choose.
    pub fn indexes(&self) -> Vec<usize> {
        match self {
            CalendarChoice::None => Vec::new(),
            CalendarChoice::One(index) => vec![*index],
            CalendarChoice::By { calendars, default, .. } => {
                calendars.values().copied().chain([*default]).collect()
            }
        }
    }
}

impl Default for Pause {
    fn default() -> Pause {
        Pause { by_facts: true, stages: Vec::new() }
    }
}

impl Validity {
    /// Whether it is valid at an instant.
    pub fn holds_at(&self, at: Instant) -> bool {
        self.from.is_none_or(|from| from <= at) && self.until.is_none_or(|until| at < until)
    }
}

impl Pipeline {
    /// Whether entering this stage closes a lead. Rule T10.
    pub fn closes(&self, stage: &str) -> bool {
        self.won.iter().chain(&self.lost).any(|closed| closed == stage)
    }

    /// Whether a move between these stages is one to a later open stage or a won one.
    pub fn is_forward(&self, from: &str, to: &str) -> bool {
        let place = |stage: &str| self.open.iter().position(|open| open == stage);
        self.won.iter().any(|won| won == to)
            || matches!((place(from), place(to)), (Some(from), Some(to)) if from < to)
    }
}

impl Condition {
    /// One bit for each sort of condition, so that most facts need no look at the objectives.
    pub const fn sort(&self) -> u8 {
        match self {
            Condition::Created => 1,
            Condition::Assigned => 2,
            Condition::Reopened => 4,
            Condition::Contacted(_) => 8,
            Condition::Entered(_) => 16,
            Condition::Left { .. } => 32,
        }
    }
}

impl Target {
    /// Where it runs out when it counts all time.
    pub const fn elapse(self, start: Instant) -> Instant {
        match self {
            Target::Elapsed(ms) | Target::Open(ms) => start.plus(ms),
            Target::OpenDays(days) => start.plus(days as i64 * 86_400_000),
        }
    }
}
