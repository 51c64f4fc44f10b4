//! The rules, and nothing else: no I/O, no async, no clock; time arrives as an argument.

pub mod calendar;
pub mod instant;
pub mod policy;
