//! Which policy covers a lead, which do not, and why. Rule T12.

use serde::{Deserialize, Serialize};

use super::evidence::json;
use crate::config::words;
use crate::sla::instant::Instant;
use crate::sla::policy::{Match, Policy};
use crate::sla::portrait::Portrait;
use crate::sla::rules::Rules;

/// Which policy covers a lead, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covering {
    /// The policy; `None` where none does, or it is not known any more.
    pub name: Option<String>,
    /// The policies that were tried, in the order of the file; the last of them may cover the lead.
    pub tried: Vec<Tried>,
    /// Whether facts are folded, so that the attributes that decided are not kept. Rule H10.
    pub is_folded: bool,
}

/// A policy, and whether it covers the lead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// Its name.
    pub policy: String,
    /// When this version of it is valid; `None` is always. Rule T13.
    pub valid: Option<String>,
    /// Whether it does.
    pub covers: bool,
    /// What is so, or, where it does not, what is not so.
    pub because: Vec<String>,
}

impl Covering {
    /// Of a lead as it is at an instant.
    pub(super) fn of(rules: &Rules, lead: &Portrait, at: Instant) -> Covering {
        let mut tried = Vec::new();
        // Before its first fact there is no lead to cover.
        for index in rules.tried_at(at).filter(|_| lead.has_begun) {
            let one = Tried::of(rules.policy(index), lead, at);
            let covers = one.covers;
            tried.push(one);
            if covers {
                break;
            }
        }
        let name = lead.family.map(|family| rules.policy(family).name.clone());
        Covering { name, tried, is_folded: false }
    }

    /// Of a lead whose clock a policy judges, and of which nothing else is kept.
    pub(super) fn unexplained(rules: &Rules, policy: Option<u16>) -> Covering {
        let name = policy.map(|policy| rules.policy(policy).name.clone());
        Covering { name, tried: Vec::new(), is_folded: true }
    }
}

impl Tried {
    fn of(policy: &Policy, lead: &Portrait, at: Instant) -> Tried {
        let holds = |one: &&Match| one.tests.iter().all(|test| test.holds(lead.value(&one.path)));
        let (met, unmet): (Vec<&Match>, Vec<&Match>) = policy.matches.iter().partition(holds);
        let is_valid = policy.valid.holds_at(at);
        let covers = is_valid && unmet.is_empty();
        let mut because: Vec<_> =
            if covers { met } else { unmet }.into_iter().map(|one| said(one, lead)).collect();
        let valid = words::valid(policy.valid);
        because.extend(valid.clone().filter(|_| !is_valid));
        if covers && because.is_empty() {
            because.push(words::leads(&policy.matches));
        }
        Tried { policy: policy.name.clone(), valid, covers, because }
    }
}

/// `amount at least 10000: it is 20000`
fn said(one: &Match, lead: &Portrait) -> String {
    let wanted = words::leads(std::slice::from_ref(one));
    match lead.value(&one.path) {
        Some(value) => format!("{wanted}: it is {}", json(value)),
        None => format!("{wanted}: it has none"),
    }
}
