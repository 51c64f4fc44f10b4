//! What verifying finds: one thing that is not as it should be, and what cannot be judged.

use serde::Serialize;

use super::said::{Difference, Id, Key, Place};
use crate::sla::instant::Instant;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It should have been said and does not stand.
    Missing,
    /// It stands and should not have been said.
    Extra,
    /// It was said again without having been taken back.
    Duplicate,
    /// It was said with another content.
    Different,
    /// It takes back what was not said, or what does not stand.
    Unsound,
    /// A record of an output topic is none.
    Unreadable,
    /// A record cannot be used, and is not in the dead-letter topic.
    DeadLetterMissing,
    /// A record is in the dead-letter topic without cause.
    DeadLetterExtra,
    /// Records that the service has not read.
    Unread,
    /// A transaction that nobody ends.
    Hanging,
}

impl Kind {
    /// Every kind there is.
    pub const ALL: [Kind; 10] = [
        Kind::Missing,
        Kind::Extra,
        Kind::Duplicate,
        Kind::Different,
        Kind::Unsound,
        Kind::Unreadable,
        Kind::DeadLetterMissing,
        Kind::DeadLetterExtra,
        Kind::Unread,
        Kind::Hanging,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Missing => "missing",
            Kind::Extra => "extra",
            Kind::Duplicate => "duplicate",
            Kind::Different => "different",
            Kind::Unsound => "unsound",
            Kind::Unreadable => "unreadable",
            Kind::DeadLetterMissing => "dead_letter_missing",
            Kind::DeadLetterExtra => "dead_letter_extra",
            Kind::Unread => "unread",
            Kind::Hanging => "hanging",
        }
    }
}

/// Why something cannot be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Excuse {
    /// The clock was open when records were lost. Rule H6.
    Undecidable,
    /// Records of the lead may have been deleted from an input topic, or lost.
    InputDeleted,
    /// What was said may have been deleted from the start of an output topic.
    OutputDeleted,
    /// Dead letters of the lead may have been deleted, so it is not known which of its records count.
    DeadLettersDeleted,
    /// The lead was silent for so long that it may have been forgotten. Rule H10.
    Forgotten,
    /// An open transaction holds back the lead's records, or what is said of it.
    HeldBack,
    /// A fact that came late changes what the breach says, but not that it is one.
    LateFact,
    /// A record came while this was running.
    MovedOn,
}

impl Excuse {
    /// Why, for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Excuse::Undecidable => "the clock was open when records were lost",
            Excuse::InputDeleted => "records of the lead may have been deleted from an input topic",
            Excuse::OutputDeleted => "what was said may have been deleted from an output topic",
            Excuse::DeadLettersDeleted => "dead letters of the lead may have been deleted",
            Excuse::Forgotten => "the lead was silent for so long that it may have been forgotten",
            Excuse::HeldBack => "an open transaction holds it back",
            Excuse::LateFact => "a later fact changes what is said of it",
            Excuse::MovedOn => "a record about the lead came while this was running",
        }
    }
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What is wrong.
    pub kind: Kind,
    /// The transition that it is about.
    pub key: Option<Key>,
    /// The id in the record, or of the record that should be there.
    pub id: Option<Id>,
    /// The record.
    pub at: Option<Place>,
    /// When the record was written.
    pub recorded_at: Option<Instant>,
    /// What differs.
    pub differences: Vec<Difference>,
    /// More, for people.
    pub detail: String,
}

impl Finding {
    /// About a transition.
    pub fn of(kind: Kind, key: &Key) -> Finding {
        Finding { key: Some(key.clone()), ..Finding::at(kind, None, String::new()) }
    }

    /// About a record or a place in a log.
    pub fn at(kind: Kind, at: Option<Place>, detail: String) -> Finding {
        Finding { kind, key: None, id: None, at, recorded_at: None, differences: Vec::new(), detail }
    }
}
