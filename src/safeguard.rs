//! The safeguards of exactly once and of the horizon, by name, so that a test can take each away.
//!
//! The code asks [`holds`] at the place that a safeguard guards. In a service it always does, which the compiler
//! knows; in the simulator a history can do without one, and some history must then go wrong.

/// What keeps a promise to be false, missed or said twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Safeguard {
    /// Every transaction carries offsets, also one that speaks of timers only. Exactly once, rule 1.
    OffsetsInEveryTransaction,
    /// The stable committed offset is read before the changelog's end. Exactly once, rule 4.
    StableOffsetFirst,
    /// The changelog is read to its end. Exactly once, rule 4.
    ChangelogToItsEnd,
    /// Progress is compared with the committed offsets. Exactly once, rule 4.
    ProgressAgainstOffsets,
    /// The consumer goes back after an abort. Exactly once, rule 5.
    RewindAfterAbort,
    /// The state goes back after an abort. Exactly once, rule 5.
    UndoAfterAbort,
    /// After an unknown outcome the producer is made anew. Exactly once, rule 6.
    NewProducer,
    /// After an unknown outcome the nonce says whether to keep or to undo. Exactly once, rule 6.
    Nonce,
    /// What can be undone is kept while an outcome is unknown. Exactly once, rule 6.
    UndoLogWhileUnknown,
    /// Another process of this name ends this one. Exactly once, rule 6.
    FenceOfOnesName,
    /// A gap goes with the offsets that skip it. Exactly once, rule 4, and rule H6.
    GapRecord,
    /// A policy file that is taken up goes with what it judges. Exactly once, rule 14, and rule T13.
    EditionRecord,
    /// A probe counts once its end has been reached. Rule H2.
    ProbeReached,
    /// The clock is read before the question is sent. Rule H2.
    ClockBeforeQuestion,
    /// The slowest input decides. Rule H2.
    MinimumOverInputs,
    /// Grace is subtracted. Rule H2.
    Grace,
    /// An answer with an error inside is none. Rule H2.
    ErrorIsNoAnswer,
    /// An end below what was read or named is a loss. Rules H2 and H6.
    EndNotBelowKnown,
    /// A leader of an older epoch proves nothing. Rule H2.
    LeaderEpoch,
    /// Another broker has to name the same leader. Rule H2.
    SecondOpinion,
    /// After that the leader has to answer again, in the same epoch. Rule H2.
    SameEpochAfterwards,
    /// A topic that was made anew is another log. Rules H2 and H6.
    TopicId,
    /// A topic that has grown proves nothing. Rule H2.
    PartitionCount,
    /// An unreached probe is never replaced by a newer one. Rule H3.
    ProbesInOrder,
    /// Evidence ends when what was read is undone. Rule H4.
    EpochOnAbort,
    /// Evidence ends when the wall clock is set. Rule H4.
    EpochOnClockStep,
    /// Nothing is said while the local clock leads the brokers'. Rule H4.
    ClockLead,
    /// Nothing is said before the brokers' clock was seen. Rule H4.
    ClockSeen,
    /// A position outside its log is a loss. Rule H6.
    PositionInLog,
    /// A log that was cut and has grown again is another. Rule H6.
    RefusedPosition,
    /// A lead whose fact came late waits. Rule H8.
    WaitAfterLateFact,
    /// A retraction waits for the horizon. Rule H8.
    RetractionWaits,
    /// The wait goes on from the end of a restore. Rule H8.
    WaitAfterRestore,
}

impl Safeguard {
    /// All of them.
    pub const ALL: [Safeguard; 33] = [
        Safeguard::OffsetsInEveryTransaction,
        Safeguard::StableOffsetFirst,
        Safeguard::ChangelogToItsEnd,
        Safeguard::ProgressAgainstOffsets,
        Safeguard::RewindAfterAbort,
        Safeguard::UndoAfterAbort,
        Safeguard::NewProducer,
        Safeguard::Nonce,
        Safeguard::UndoLogWhileUnknown,
        Safeguard::FenceOfOnesName,
        Safeguard::GapRecord,
        Safeguard::EditionRecord,
        Safeguard::ProbeReached,
        Safeguard::ClockBeforeQuestion,
        Safeguard::MinimumOverInputs,
        Safeguard::Grace,
        Safeguard::ErrorIsNoAnswer,
        Safeguard::EndNotBelowKnown,
        Safeguard::LeaderEpoch,
        Safeguard::SecondOpinion,
        Safeguard::SameEpochAfterwards,
        Safeguard::TopicId,
        Safeguard::PartitionCount,
        Safeguard::ProbesInOrder,
        Safeguard::EpochOnAbort,
        Safeguard::EpochOnClockStep,
        Safeguard::ClockLead,
        Safeguard::ClockSeen,
        Safeguard::PositionInLog,
        Safeguard::RefusedPosition,
        Safeguard::WaitAfterLateFact,
        Safeguard::RetractionWaits,
        Safeguard::WaitAfterRestore,
    ];
}

/// Whether a safeguard is in place: always, but for a history that does without.
#[cfg(not(any(test, feature = "sim")))]
#[inline(always)]
pub const fn holds(_: Safeguard) -> bool {
    true
}

#[cfg(any(test, feature = "sim"))]
pub use switch::{holds, without};

#[cfg(any(test, feature = "sim"))]
mod switch {
    use std::cell::Cell;

    use super::Safeguard;

    thread_local! {
        static MISSING: Cell<&'static [Safeguard]> = const { Cell::new(&[]) };
    }

    /// Whether a safeguard is in place.
    pub fn holds(safeguard: Safeguard) -> bool {
        !MISSING.get().contains(&safeguard)
    }

    /// Runs something without some safeguards, on this thread.
    pub fn without<T>(missing: &'static [Safeguard], run: impl FnOnce() -> T) -> T {
        let _back = Back(MISSING.replace(missing));
        run()
    }

    /// Puts back what was missing before, also where the code panics.
    struct Back(&'static [Safeguard]);

    impl Drop for Back {
        fn drop(&mut self) {
            MISSING.set(self.0);
        }
    }
}
