//! Bytes to types and back: no I/O, and nothing here panics on what it is given.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod changelog;
pub mod dead_letter;
pub mod decode;
pub mod encode;
pub mod record;
pub mod routing;
