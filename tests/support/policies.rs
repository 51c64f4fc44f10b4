//! Small policies by which several suites judge.

pub const PIPELINE: &str = "pipeline: {open: [new, work, hold, deal], won: [signed], lost: [dropped]}\n";
pub const HOUR: &str = "{answer: {start: created, stop: contacted, within: 1h}}";
pub const TWO_HOURS: &str = "{answer: {start: created, stop: contacted, within: 2h}}";

/// A policy for segment `a` with the first objectives, and one for segment `b` with the second.
pub fn two(a: &str, b: &str) -> String {
    format!(
        "{PIPELINE}policies:
  - {{name: a, match: {{segment: a}}, objectives: {a}}}
  - {{name: b, match: {{segment: b}}, objectives: {b}}}"
    )
}
