//! Input records, wherever they come from.

use crate::sla::instant::Instant;

/// A partition number. All input topics and the changelog have the same count, and partition `n` of each
/// belongs to the same worker.
pub type Partition = i32;

/// Index of an input topic in the order of the configuration.
pub type Topic = u16;

/// A record of an input topic, or a line of a file.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The input topic.
    pub topic: Topic,
    /// Its partition.
    pub partition: Partition,
    /// Its own offset.
    pub offset: i64,
    /// The record timestamp, if it has one.
    pub timestamp: Option<Instant>,
    /// The key, if it has one.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Header names and values.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// A place in one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// The next offset to read.
    pub offset: i64,
    /// The leader epoch of the record before it, or -1 where it is not known.
    pub leader_epoch: i32,
}
