//! Says the moment a promise to a sales lead lapses.
//!
//! Events of leads come from Kafka topics; breaches go to another, each exactly once, as soon as no event
//! that would disprove one can still be unread. This page is the map.
//!
//! # Where to begin
//!
//! 1. [`sla`]: the words and the rules, numbered. A verdict is found in [`sla::timeline`], what is said and
//!    taken back in [`sla::engine`], what makes it safe to say so in [`sla::horizon`].
//! 2. [`wire`]: bytes to facts, outputs to bytes.
//! 3. [`runtime`]: one worker's turn, and how a transaction makes it exactly once.
//! 4. [`kafka`]: how a real broker carries out [`runtime::port::Port`]. `sim` carries it out with a model of a
//!    cluster that loses answers, deposes leaders, cuts logs, sets clocks and kills processes; [`safeguard`]
//!    names what keeps a promise to be true then, each of which can be taken away to see it fail.
//! 5. [`config`]: text to policies and settings that cannot be wrong. [`cli`] has one file a command,
//!    [`serve`] puts a running service together, [`http`] and [`metrics`] say how it is.
//! 6. [`replay`] judges files with the same engine, [`verify`] what a service said; [`explain`] says why a lead is
//!    where it is, [`policy_tests`] tries policies out on stories; [`demo`] has leads to watch.
//!
//! # How data flows
//!
//! ```text
//! consume -> decode -> facts of the lead -> timeline -> effects -> encode -> one transaction
//!  kafka      wire         sla::store         sla        data       wire     {breaches, changelog, offsets}
//! ```
//!
//! A lead is a small ordered set of facts and what was said of it. Its timeline is derived from the facts: a
//! late fact is inserted, the timeline derived again, and the difference is what there is to say.
//!
//! # What holds everywhere
//!
//! - [`sla`] and [`wire`] do no I/O and read no clock: time arrives as an argument.
//! - Only [`kafka`] names the client library.
//! - The engine cannot fail: [`wire`] rejects bad records and [`config`] bad policies before it.
//! - Effects are data. Service, replay, verification and simulator share one engine; none has a copy of a rule.
//! - Workers share no state but counters and gauges: each has its own clients and its own partitions.
//! - Where the order of a map could reach an output, the map is ordered.
//! - An error has one of three fates: a record is rejected with its reason, a configuration is refused with
//!   every problem in it, and a broken broker stops the work, which is undone and done again.

// A broken invariant is an assertion or an `expect` with its reason. Here and not with the other lints,
// because the helpers of tests may end a test as they like.
#![warn(clippy::panic, clippy::unwrap_used)]

pub mod cli;
pub mod config;
pub mod demo;
pub mod explain;
pub mod http;
pub mod kafka;
pub mod metrics;
pub mod policy_tests;
pub mod replay;
pub mod runtime;
pub mod safeguard;
pub mod serve;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod sla;
pub mod verify;
pub mod wire;
