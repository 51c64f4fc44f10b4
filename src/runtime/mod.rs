//! Workers: threads that share nothing, each with its part of the partitions.
//!
//! A worker has a consumer in the group, a transactional producer, and the state of the partitions that the
//! group gave it. More workers in a process and more processes are the same thing to the group. Read
//! [`worker`] (one turn of the loop), [`task`] (one partition number), [`restore`] (taking one over),
//! [`history`] (the policy files that a partition has taken up).
//!
//! # Exactly once
//!
//! State is in memory and in the changelog, positions are in the group: two places, kept together by these
//! rules. Code cites them by number.
//!
//! 1. One transaction carries outputs, changelog records, and the offsets of every input partition whose state
//!    it touched, offsets also where they are unchanged: a transaction without offsets is not fenced. Offsets
//!    are positions with their leader epoch, never the last record's plus one, and carry the transaction's
//!    random nonce as metadata.
//! 2. A partition's start is resolved to a number before it is read, and is its position until a record comes.
//! 3. The group's metadata is taken when the transaction begins, and anew only between a rebalance and its
//!    answer. Partitions that are revoked are committed or undone before they are given up; of those that are
//!    lost, everything is undone. Nothing else is done meanwhile.
//! 4. Each transaction writes, for every partition that it touches, a record of progress: the changelog's
//!    incarnation, the input topics' ids, offsets, nonce, and the version of the policies. To take a partition
//!    over, the changelog is read to its end and the progress compared with the committed offsets; where they
//!    differ or are missing, both are named and the partition is refused. A first start has neither.
//! 5. After an abort the consumer goes back to the committed offsets and the state to what was committed, and
//!    evidence starts over.
//! 6. After any error of sending offsets, committing or aborting, the outcome is unknown: the producer is
//!    made anew under the same name, and the nonce among the committed offsets says whether to keep or to undo.
//!    Until that can be read, nothing is said.
//! 7. A producer's queue is drained before the commit, which otherwise waits a fixed tenth of a second.
//! 8. Probes run on clients of their own, outside the group; an answer with an error inside is none.
//! 9. The group moves partitions cooperatively; offsets are never reset or stored behind the worker's back.
//! 10. Transactional ids contain the group, and survive a restart where the process has a name, so that it
//!     fences its predecessor at once.
//! 11. Restoring and storms of breaches are cut into bounded steps with polls between them; live partitions
//!     go on while others restore. A permanent error of a partition stops it, not the worker.
//!     What a log lost before it was read is skipped in a transaction of its own, with a record of the gap; should
//!     that transaction fail, the loss is found again.
//! 12. The number of input partitions is part of the progress; another number is refused, for leads have moved.
//! 13. Of a lead, a head is written and its full chunks of at most 64 facts that changed: one with a long history
//!     does not write all of it again with each event.
//! 14. The policy files that a partition took up are in its changelog with their text, each written with the
//!     transaction that took it up; an abort gives the file before back its force.

pub mod desk;
pub mod history;
pub mod port;
pub mod report;
pub mod restore;
pub mod service;
pub mod shared;
pub mod task;
pub mod trouble;
pub mod worker;
