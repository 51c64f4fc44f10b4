//! Simulated leads and a screen to watch them on, for the demo and for trying a cluster out.

pub mod leads;
pub mod screen;
