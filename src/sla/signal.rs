//! What one fact is to the conditions of policies. Rules F6-F8.

use super::fact::{Fact, Kind, Value};
use super::policy::{Condition, Destination, FieldTest, Operand, Pipeline};

/// What one fact is to the conditions of policies, seen after it has set what it sets. Rule F8.
pub(super) struct Signal<'a> {
    /// The fact.
    pub fact: &'a Fact,
    /// Whether it creates the lead. Rule F5.
    pub is_creation: bool,
    /// Whether it gives the lead another owner.
    pub is_assignment: bool,
    /// Whether it does so for the first time.
    pub is_first_assignment: bool,
    /// Whether it pauses the lead's clocks, or ends that. Rule T9.
    pub is_pausing: bool,
    /// How it changes the stage.
    pub moved: Option<Move<'a>>,
    /// The lead's owner after it.
    pub owner: Option<&'a str>,
    /// The stages of the policy whose clocks hear it.
    pub pipeline: &'a Pipeline,
}

/// A change of stage.
pub(super) struct Move<'a> {
    pub from: Option<&'a str>,
    pub to: &'a str,
    pub closes: bool,
    pub reopens: bool,
}

/// Whether a condition holds of a signal.
pub(super) enum Verdict<'a> {
    No,
    Yes,
    /// It holds for a lead with this owner.
    IfOwner(&'a str),
}

impl<'a> Move<'a> {
    /// A move between these stages. Rule T10.
    pub fn between(pipeline: &Pipeline, from: Option<&'a str>, to: &'a str) -> Move<'a> {
        let closes = pipeline.closes(to);
        let reopens = !closes && from.is_some_and(|from| pipeline.closes(from));
        Move { from, to, closes, reopens }
    }
}

impl Signal<'_> {
    /// The sorts of conditions that it may fulfil.
    pub fn sorts(&self) -> u8 {
        let moved = |moved: &Move<'_>| {
            16 | if moved.from.is_some() { 32 } else { 0 } | if moved.reopens { 4 } else { 0 }
        };
        u8::from(self.is_creation)
            | if self.is_assignment { 2 } else { 0 }
            | if self.fact.kind == Kind::Contacted { 8 } else { 0 }
            | self.moved.as_ref().map_or(0, moved)
    }

    /// Whether a condition holds.
    pub fn holds(&self, condition: &Condition) -> bool {
        match self.verdict(condition) {
            Verdict::No => false,
            Verdict::Yes => true,
            Verdict::IfOwner(owner) => self.owner == Some(owner),
        }
    }

    /// Whether any of these holds.
    pub fn holds_any(&self, conditions: &[Condition]) -> bool {
        conditions.iter().any(|condition| self.holds(condition))
    }

    /// Whether a condition holds, and for which owner.
    pub fn verdict(&self, condition: &Condition) -> Verdict<'_> {
        let is_any_of = |stages: &[String], stage: &str| stages.iter().any(|known| known == stage);
        let holds = match (condition, &self.moved) {
            (Condition::Contacted(tests), _) => return self.contact_verdict(tests),
            (Condition::Created, _) => self.is_creation,
            (Condition::Assigned, _) => self.is_assignment,
            (Condition::Reopened, Some(moved)) => moved.reopens,
            (Condition::Entered(stages), Some(moved)) => is_any_of(stages, moved.to),
            (Condition::Left { from, to }, Some(moved)) => moved.from.is_some_and(|left| {
                is_any_of(from, left)
                    && to
                        .as_ref()
                        .is_none_or(|to| to.iter().any(|place| place.is(self.pipeline, left, moved.to)))
            }),
            (_, None) => false,
        };
        if holds { Verdict::Yes } else { Verdict::No }
    }

    /// Tests a contact. Rules F7 and F8.
    fn contact_verdict(&self, tests: &[FieldTest]) -> Verdict<'_> {
        if self.fact.kind != Kind::Contacted {
            return Verdict::No;
        }
        let mut needed = None;
        for test in tests {
            let value = self.contact_field(&test.path);
            let is = |operand: &Operand| matches!(operand, Operand::Value(scalar) if value.is(scalar));
            if test.any_of.iter().any(is) {
                continue;
            }
            match value {
                Value::Text(text) if test.any_of.contains(&Operand::Owner) => {
                    if needed.is_some_and(|needed| needed != text) {
                        return Verdict::No;
                    }
                    needed = Some(text);
                }
                _ => return Verdict::No,
            }
        }
        needed.map_or(Verdict::Yes, Verdict::IfOwner)
    }

    fn contact_field(&self, path: &str) -> Value<'_> {
        let given = self.fact.field(path).unwrap_or(Value::Null);
        match (path, given) {
            ("direction", Value::Null) => Value::Text("outbound"),
            ("by", Value::Null) => Value::Text("human"),
            _ => given,
        }
    }
}

impl Destination {
    fn is(&self, pipeline: &Pipeline, from: &str, to: &str) -> bool {
        let is_in = |stages: &[String]| stages.iter().any(|stage| stage == to);
        match self {
            Destination::Stage(stage) => stage == to,
            Destination::Forward => pipeline.is_forward(from, to),
            Destination::Won => is_in(&pipeline.won),
            Destination::Lost => is_in(&pipeline.lost),
        }
    }
}

/// Whether a condition says which stage is entered: one that does may start a hand-off. Rule T10.
pub(super) fn names_destination(condition: &Condition) -> bool {
    matches!(condition, Condition::Entered(_) | Condition::Left { to: Some(_), .. })
}

/// The owner a fact gives the lead: `Some(None)` unassigns it. Rule F8.
pub(super) fn owner_set_by(fact: &Fact) -> Option<Option<&str>> {
    if !fact.kind.assigns() {
        return None;
    }
    match fact.field("owner")? {
        Value::Text(owner) => Some(Some(owner)),
        _ => Some(None),
    }
}
