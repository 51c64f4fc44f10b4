//! Says the moment a promise to a sales lead lapses.

pub mod runtime;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod sla;
