//! Workers: threads that share nothing, each with its part of the partitions.

pub mod port;
pub mod restore;
pub mod service;
pub mod shared;
pub mod task;
pub mod worker;
