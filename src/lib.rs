//! Says the moment a promise to a sales lead lapses.

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
