//! Bytes to types and back: no I/O, and nothing here panics on what it is given.

pub mod decode;
pub mod record;
