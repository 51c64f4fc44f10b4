//! A real Apache Kafka for the tests, and what they say to it.
//!
//! A test begins with `let Some(kafka) = Kafka::shared() else { return };`. Without a JDK or Maven it is
//! skipped loudly; where `CI` is set it fails instead.

pub mod detector;
mod distribution;
pub mod feed;
pub mod guarded;
mod kafka;
mod log;
mod proxy;

pub use kafka::{Kafka, seed};
pub use log::Record;
