//! A model of a Kafka cluster in memory, and a scheduler that is unkind to the processes on it.
//!
//! One seed is one history: no thread, no real clock, no sleep, ordered maps only, and every choice is
//! drawn from one generator. Time is the model's own and moves only where the scheduler moves it.
//!
//! Read [`log`] (what a partition shows to whom), [`transactions`] and [`group`] (the two coordinators),
//! [`cluster`] (time, and what happens later), [`port`] (what a process sees, and where it is hurt),
//! [`scenario`] (who acts next). Each rule of the model says which fact about Kafka it stands for.
//!
//! A process implements [`scenario::Process`]; [`scenario::Setup::drawn`] draws how rough its world is,
//! [`scenario::Scenario::judge`] runs it into silence and looks at the logs, [`seeds::check`] does so for
//! many seeds. While one process is inside a call, the others act: so a pause or a rebalance falls between
//! any two effects, and a thread is not needed for it.
//!
//! The worker's histories come in kinds (`mixes`), are looked at by `judge`, made small by `shrink` when one
//! fails, and tried without each of the safeguards of [`crate::safeguard`] (`mutations`):
//!
//! ```text
//! OVERDUE_SEED=7 cargo test --release --lib sim::mixes::late_truth_is_put_right           one seed, with its trace
//! OVERDUE_SEEDS=1000000 cargo test --release --lib sim::mixes                             a million of each kind
//! ```
//!
//! Absent: clocks that drift, a repeated EndTxn that comes after the client has gone on, and full brokers.

pub mod cluster;
#[cfg(test)]
mod copier;
#[cfg(test)]
mod detector;
pub mod faults;
pub mod group;
#[cfg(test)]
mod judge;
pub mod leaders;
pub mod log;
#[cfg(test)]
mod mixes;
#[cfg(test)]
mod mutations;
pub mod port;
pub mod scenario;
pub mod seeds;
#[cfg(test)]
mod shrink;
pub mod transactions;
