//! What a replay came to: how the inputs read, and the figures of every objective.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::Serialize;

use super::figures::Row;
use crate::sla::instant::Instant;
use crate::wire::decode::Reason;

/// How the inputs read.
#[derive(Debug, Default)]
pub struct Reading {
    /// Lines that are not blank.
    pub lines: u64,
    /// Rejected lines by reason.
    pub rejected: BTreeMap<Reason, u64>,
    /// The first of them.
    pub rejections: Vec<Rejection>,
    /// Events that were known.
    pub duplicates: u64,
    /// Events that were known with other content.
    pub conflicting: u64,
    /// Events dated after the end.
    pub left_out: u64,
    /// The latest event that counts.
    pub latest: Option<Instant>,
}

/// A line that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Its file.
    pub file: String,
    /// Its number, from 1.
    pub line: u64,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, for people.
    pub detail: String,
}

/// So many rejected lines are shown.
const SHOWN_MAX: usize = 5;

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file, self.line, self.reason.as_str(), self.detail)
    }
}

impl Reading {
    /// Counts a rejected line, and keeps it where it is among the first.
    pub(super) fn reject(&mut self, file: &str, line: u64, reason: Reason, detail: &str) {
        self.count_rejected(reason, 1);
        if self.rejections.len() < SHOWN_MAX {
            self.rejections.push(Rejection {
                file: file.to_owned(),
                line,
                reason,
                detail: detail.to_owned(),
            });
        }
    }

    /// Counts rejected lines.
    pub(super) fn count_rejected(&mut self, reason: Reason, count: u64) {
        if count > 0 {
            *self.rejected.entry(reason).or_default() += count;
        }
    }

    fn rejected_total(&self) -> u64 {
        self.rejected.values().sum()
    }
}

/// What a replay came to.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Judged until then; `None` where no event counts.
    pub until: Option<Instant>,
    /// Whether the events came in the order of time.
    pub in_order: bool,
    /// How many events were read, rejected ones included.
    pub events: u64,
    /// How many leads they are about.
    pub leads: usize,
    /// How many cannot be used.
    pub rejected: u64,
    /// How many cannot be used, by reason.
    pub rejected_by_reason: BTreeMap<&'static str, u64>,
    /// How many were known.
    pub duplicates: u64,
    /// How many were known with other content.
    pub conflicting: u64,
    /// How many are dated after the end.
    pub left_out: u64,
    /// By policy and objective, in the order of the policies.
    pub objectives: Vec<Row>,
    /// What all breaches cost, by currency. Rule T19.
    pub penalty: BTreeMap<String, Decimal>,
    /// The first of the rejected lines.
    #[serde(skip)]
    pub rejections: Vec<Rejection>,
}

impl Report {
    pub(super) fn new(
        reading: Reading,
        until: Option<Instant>,
        in_order: bool,
        leads: usize,
        objectives: Vec<Row>,
    ) -> Report {
        Report {
            until,
            in_order,
            events: reading.lines,
            leads,
            rejected: reading.rejected_total(),
            rejected_by_reason: reading
                .rejected
                .iter()
                .map(|(reason, count)| (reason.as_str(), *count))
                .collect(),
            duplicates: reading.duplicates,
            conflicting: reading.conflicting,
            left_out: reading.left_out,
            penalty: penalties(&objectives),
            objectives,
            rejections: reading.rejections,
        }
    }
}

fn penalties(rows: &[Row]) -> BTreeMap<String, Decimal> {
    let mut sums = BTreeMap::<String, Decimal>::new();
    for (currency, amount) in rows.iter().flat_map(|row| &row.penalty) {
        *sums.entry(currency.clone()).or_default() += *amount;
    }
    sums
}
