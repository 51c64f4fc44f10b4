//! The rules, and nothing else: no I/O, no async, no clock; time arrives as an argument.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod agenda;
pub mod calendar;
pub mod engine;
pub mod fact;
pub mod horizon;
pub mod identity;
pub mod instant;
pub mod policy;
pub mod store;
pub mod timeline;
