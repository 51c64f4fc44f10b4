//! Says the moment a promise to a sales lead lapses.

// A broken invariant is an assertion or an `expect` with its reason. Here and not with the other lints,
// because the helpers of tests may end a test as they like.
#![warn(clippy::panic, clippy::unwrap_used)]

pub mod cli;
pub mod config;
pub mod demo;
pub mod http;
pub mod kafka;
pub mod metrics;
pub mod replay;
pub mod runtime;
pub mod serve;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod sla;
pub mod wire;
