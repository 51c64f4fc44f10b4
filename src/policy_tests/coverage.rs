//! Which promises no test starts, and which none breaks.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Outcome;
use crate::sla::policy::Policies;

/// Every objective of a file of policies, and whether a test tries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// The file of policies.
    pub policies: String,
    /// Its objectives, in its order; the versions of a policy are one.
    pub objectives: Vec<Covered>,
}

/// An objective, and whether a test tries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Covered {
    /// The policy.
    pub policy: String,
    /// Its objective.
    pub objective: String,
    /// Whether a test starts it.
    pub is_started: bool,
    /// Whether a test breaches it.
    pub is_breached: bool,
}

impl Coverage {
    /// What these tests try of a file of policies.
    pub fn of<'a>(
        file: String,
        policies: &Policies,
        outcomes: impl Iterator<Item = &'a Outcome> + Clone,
    ) -> Coverage {
        let all = policies.policies.iter().flat_map(|policy| {
            let objectives = policy.objectives.iter();
            objectives.map(|one| (policy.name.clone(), policies.name(one.name).to_owned()))
        });
        let mut seen = BTreeSet::new();
        let covered = |place: (String, String)| Covered {
            is_started: outcomes.clone().any(|outcome| outcome.started.contains(&place)),
            is_breached: outcomes.clone().any(|outcome| outcome.breached.contains(&place)),
            policy: place.0,
            objective: place.1,
        };
        let objectives = all.filter(|place| seen.insert(place.clone())).map(covered).collect();
        Coverage { policies: file, objectives }
    }

    /// Whether every objective is started and breached.
    pub fn is_full(&self) -> bool {
        self.objectives.iter().all(|one| one.is_started && one.is_breached)
    }
}
