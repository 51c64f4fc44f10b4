//! Says the moment a promise to a sales lead lapses.

pub mod runtime;
pub mod sla;
pub mod wire;
