//! A second reading of the rules, kept apart from the product on purpose.
//!
//! Nothing here uses the crate. It is naive and slow: whatever holds of a lead is looked up in the
//! whole list of its facts each time it is asked, so that every function can be held against the
//! rule it cites. [`judge`] is the whole of it; `generate` makes policies and logs full of corners.
//!
//! Where the rules leave room, this is how they are read here:
//! - F2, H7, T11: what is dated after the horizon or after a merge has no identity, so that an event
//!   of the same identity dated before counts.
//! - H7: a repeat is no accepted event, be it conflicting or not.
//! - F3: a clock that is started again in its own instant is the last start's, hand-off or not, and
//!   T6 is asked anew; one that was satisfied before it started stays so.
//! - F8: an object is laid over the attributes name by name; a value and what was below it take each
//!   other's place. `owner` is never an attribute.
//! - T6: "dated at or before" is meant by date: a stop later in the log but of the same instant
//!   counts, even where the clock had ended in between. The starting fact itself may be the stop.
//! - T10: a hand-off starts by `entered`, or by `left` with a `to`; no other clock starts in a closed
//!   lead, a lead created closed included. What is said of a deleted lead before it is created again
//!   does nothing at all, but T11 holds of it too.
//!
//! What was read in one of two ways, of touches, pauses, waivers and policies that change, is told in
//! `readings`. Warnings (T7) are told there too, though no file of
//! `replay` says them. Left out: penalties (T19).

pub mod calendar;
pub mod clocks;
pub mod fact;
pub mod generate;
pub mod lead;
pub mod pauses;
pub mod policy;
pub mod readings;
pub mod runs;
pub mod stories;
pub mod touches;

use serde_json::Value;

/// Every clock that these policies run over these lines, as one JSON object a clock with instants
/// in milliseconds.
pub fn judge(policies: &Value, lines: &[String], until: Option<i64>) -> Vec<Value> {
    let policies = policy::read(policies);
    let log = fact::read_log(lines, until);
    let mut clocks = Vec::new();
    for (name, facts) in &log.leads {
        let lead = lead::Lead { facts, pipeline: &policies.pipeline };
        clocks.extend(clocks::of_lead(name, &lead, &policies, log.horizon));
    }
    clocks
}
