//! Workers: threads that share nothing, each with its part of the partitions.

pub mod port;
