//! A lead as policies see it at an instant, for those who explain a verdict; no verdict comes from here.

use std::sync::Arc;

use super::fact::{Fact, Kind, Value};
use super::instant::Instant;
use super::policy::{Condition, FieldTest, Pipeline, Scalar};
use super::rules::{FamilyId, Rules};
use super::signal::Signal;
use super::standing::Standing;

/// What policies look at of a lead, after all facts up to an instant. Rule F8.
#[derive(Debug, Clone)]
pub struct Portrait {
    attributes: Vec<(String, Scalar)>,
    owner: Option<String>,
    /// Whether it has a fact by then.
    pub has_begun: bool,
    /// The policy in force; `None` where none covers the lead. Rule T12.
    pub family: Option<FamilyId>,
}

impl Portrait {
    /// Of a lead with these facts, all that it has, in order.
    pub fn at(rules: &Rules, facts: &[Fact], at: Instant) -> Portrait {
        let count = facts.partition_point(|fact| fact.time <= at);
        let mut lead = Standing::default();
        for instant in facts[..count].chunk_by(|a, b| a.time == b.time) {
            if lead.merged_at().is_some() {
                break;
            }
            lead.foresee(rules, instant);
            instant.iter().for_each(|fact| take(&mut lead, fact));
        }
        let owner = lead.context.owner.clone();
        let of = lead.attributes(owner.as_deref());
        let named = rules.tracked().iter().zip(of.values);
        let attributes = named.filter_map(|(path, value)| Some((path.clone(), value.clone()?))).collect();
        let family = if count == 0 { None } else { rules.in_force(at, of) };
        Portrait { attributes, owner: owner.as_deref().map(str::to_owned), has_begun: 0 < count, family }
    }

    /// The value of an attribute; `owner` is the lead's owner.
    pub fn value(&self, path: &str) -> Option<Value<'_>> {
        if path == "owner" {
            return self.owner.as_deref().map(Value::Text);
        }
        self.attributes.iter().find(|(known, _)| known == path).map(|(_, value)| value.value())
    }
}

/// Sets what a fact sets that counts. Rule F3.
fn take(lead: &mut Standing, fact: &Fact) {
    if !lead.hears(fact) {
        return;
    }
    if lead.is_deleted() {
        lead.begin_anew(fact);
    }
    let before = Arc::clone(&lead.context);
    lead.set(&Pipeline::default(), fact, &before);
}

/// The tests of a condition that a contact fails, of a lead with this owner; of another fact, or for another
/// condition, nothing is said. Rule F7.
pub fn failed_tests<'a>(fact: &Fact, owner: Option<&str>, condition: &'a Condition) -> Vec<&'a FieldTest> {
    let Condition::Contacted(tests) = condition else { return Vec::new() };
    if fact.kind != Kind::Contacted {
        return Vec::new();
    }
    let pipeline = Pipeline::default();
    let signal = Signal {
        fact,
        is_creation: false,
        is_assignment: false,
        is_first_assignment: false,
        is_pausing: false,
        moved: None,
        owner,
        pipeline: &pipeline,
    };
    let fails = |test: &&FieldTest| !signal.holds(&Condition::Contacted(vec![(*test).clone()]));
    tests.iter().filter(fails).collect()
}
