//! The rules, and nothing else: no I/O, no async, no clock; time arrives as an argument.
//!
//! Everything that decides a verdict is below this module, and this page is the specification. Code, tests
//! and commits cite its rules by number. Where the two disagree, one of them is a defect.
//!
//! Read [`fact`] and [`policy`] (what is known, what was promised), [`rules`] (which promise holds for whom),
//! [`calendar`] (when time counts), [`clock`] (one promise running once, and its dated steps), [`timeline`]
//! (facts and policies to clocks; what a lead is whatever was promised is `standing`, a fact as conditions see
//! it `signal`, the clocks of one policy `track`), [`horizon`] (when a step may be said), [`engine`] (what is
//! said and taken back); [`store`] and [`agenda`] hold leads and find the one that is due next.
//!
//! # 1. Words
//!
//! | word | meaning |
//! |---|---|
//! | lead | what is timed; named by `lead_id`, which is also the Kafka key |
//! | fact | one input event as it bears on a lead: a time, a kind, details |
//! | policy | which leads it covers and which objectives it promises them; the first that matches wins |
//! | objective | one promise: what starts its clock, what stops it, its target and its calendar |
//! | target | how long the objective allows |
//! | clock | one objective running once on one lead |
//! | deadline D | the instant at which the target runs out |
//! | transition | a dated step of a clock: met, at_risk, breached, escalated, resolved, ended, cancelled, waived, undecidable |
//! | timeline | all transitions that a lead's facts imply, dated, in order |
//! | horizon T | every fact with time ≤ T that will count is known |
//! | grace G | how long after it happened an event may take to be in the log (`input.grace`) |
//!
//! *Resolved* is a stop after the breach; *ended* means that the lead ended with the breach standing; *at_risk*
//! is a warning; *escalated* says that a breach has stood for so long.
//!
//! # 2. Facts
//!
//! - **F1. Time.** A fact's time is the event's `time`, RFC 3339 with an offset, cut to milliseconds; second
//!   60 is the last millisecond of its minute. Without one it is the record's timestamp. A line of a file has
//!   none, and is rejected with `no_time`.
//! - **F2. Identity.** Facts of a lead are a set. The identity of one is its `source` (of a CloudEvent; else
//!   the topic, and all files count as one), its type and its `event_id`. The same again changes nothing: the
//!   first in the log counts, and a repetition with other content is counted as `conflicting`. Without an
//!   `event_id`, equal JSON values are the same fact, whatever the order of keys and the white space.
//! - **F3. Order.** Facts of a lead are ordered by time; at one instant by input topic as configured and by
//!   offset, in files by argument and line. Otherwise the order of arrival never matters: any permutation of a
//!   log that keeps ties and repetitions in place gives the same final outcome, unless something in it is too
//!   late (F10). One fact first sets attributes, owner, stage and pauses, then stops clocks, then ends them, then
//!   starts them; it never stops a clock that it starts, T6 aside. A clock that is stopped or ended and
//!   started again within the instant in which it started runs on.
//! - **F4. Kinds.** `lead-created`, `contacted` and `stage-changed` must exist; besides them
//!   `lead-updated`, `lead-assigned`, `paused`, `resumed`, `lead-merged`, `lead-deleted`, `breach-waived`.
//! - **F5. Creation.** `lead-created` may carry a stage, which is entered then. The earliest one counts; a
//!   later one is a `lead-updated` and, with a stage, a `stage-changed`. One that follows `lead-deleted` in
//!   the order of F3 begins the lead anew: nothing before it counts.
//! - **F6. Stage.** `stage-changed` carries the `stage` entered; entering the present one is no change. A lead
//!   that was never created is open: its stage clocks run, its created clocks do not. The `stage` of a contact
//!   is a detail of the contact.
//! - **F7. Contact.** `contacted` carries `direction` (outbound unless it says otherwise), `by` (human, or
//!   automation), `channel`, `outcome`, `actor`. The condition `contacted` asks for an outbound contact by a
//!   human; `{contacted: {direction: any, by: any}}` asks for less.
//! - **F8. Attributes** are the top-level fields, all but `event_id`, `type`, `lead_id`, `time` and
//!   `stage`, of `lead-created`, `lead-updated`, `lead-assigned` and `stage-changed`; nested ones by dotted
//!   path. At t the value is the one last set at or before t; `null` clears it and everything below it. Match,
//!   target and calendar see all facts dated at or before t; a condition sees the lead as its own fact leaves
//!   it. Fields of `contacted` describe the contact: conditions may test them, none becomes an attribute.
//!   `owner` on `lead-created`, `lead-updated` or `lead-assigned` assigns the lead: the present owner again is
//!   no change, `null` unassigns. On other kinds it names who acted.
//! - **F9. Future.** An event dated more than `future_skew_max` after its record's timestamp is rejected with
//!   `future`. Files have no record timestamps.
//! - **F10. Too late.** A lead has a `folded_until`, a partition a `forgotten_until`: the latest fact of any
//!   lead that was forgotten (H10). Both are in the changelog and never fall. A fact at or before that of its
//!   lead, or of the partition for a lead that is unknown, changes nothing and is rejected with `too_late`.
//!
//! # 3. Timeline
//!
//! - **T1. Pure.** The timeline is a function of facts, policies and calendars. When and in what order
//!   records came, how they were batched and how often the process restarted have no part in it.
//! - **T2. Start.** A clock starts at each fact that matches the `start` of its objective while the lead is
//!   open and the policy has the objective; with `while: {stage: …}` only in these stages, and leaving them
//!   ends it as T10 does. A second start while the clock runs changes nothing; with `restart: true` it cancels
//!   the clock that runs (a breached one is ended) and starts another. Target and calendar are those that the
//!   policy gives the lead at the start: of a `within` list the first entry that fits.
//! - **T3. Deadline.** D is the earliest instant such that the counted time in [started_at, D), pauses excluded, is
//!   the target.
//! - **T4. Boundary.** Met iff the stopping fact's time ≤ D. A deadline exactly at closing time is the closing
//!   time, not the next opening.
//! - **T5. Breach.** A clock without a stop or an end at or before D is breached, dated D. It runs on: a stop
//!   after D is `resolved`, dated then, with the overrun; an end after D is `ended`.
//! - **T6. Already satisfied.** A stop dated at or before `lead-created` satisfies a clock of creation at its
//!   start (a rep phones, then enters the lead), and so does the stage in which the lead is created: met, with
//!   nothing elapsed. For a clock started by assignment this holds at the first assignment only, and only for
//!   stops at or after creation; `$owner` is then the owner assigned. Touch objectives have none of it.
//! - **T7. Warnings.** `p%` is due when p percent of the target, rounded down to milliseconds, are counted; a
//!   duration when so much of it is left, of the target's kind of time and shorter than it (of `bd`, so many
//!   days fewer; `bm` and `bh` as open time); a target that it does not fit gets none. A warning exists iff no
//!   stop or end is at or before it, and is said at most once a level and clock, also when D moves. None is
//!   said after a waiver, nor of a breach that another policy dated.
//! - **T8. Escalations** follow a breach while it is unresolved. Each step is counted from the breach's date, in
//!   its own unit on the objective's calendar (without one, open time never comes), pauses excluded; the levels
//!   count from 1. `{every: W}` is due W, 2 W, … after the breach, `times` times (10; `unlimited`). A step exists iff
//!   no stop, end or waiver is at or before it.
//! - **T9. Pause.** While the lead is in one of the objective's pause stages, or between `paused` and `resumed`, no
//!   time counts. Pauses are [from, to), and overlapping ones are one. `paused` may carry `until`; it holds for
//!   every clock of the lead unless the objective says `pause: none`, and the first `resumed` ends it all. Closing
//!   ends no pause. While paused and not yet breached there is no deadline, also of a clock that ends so; a stop
//!   then is met. A pause that begins at D or later comes too late, and pauses after a clock's end do not move
//!   its D.
//! - **T10. End.** Entering a closed stage, `lead-deleted` and `lead-merged` end the lead's clocks: met or
//!   resolved where that very fact is their stop, else cancelled when dated ≤ D and ended after it. A clock
//!   started by entering a closed stage (a hand-off) outlives that and further closings; reopening, deletion
//!   and merge end it. No other clock starts in a closed lead. A lead is closed while its stage is: entering
//!   an open stage from a closed one reopens it, and start facts from then on start clocks; `created` does not
//!   start again, `reopened` may. A deleted lead comes back by `lead-created` only.
//! - **T11. Merge.** Facts of a merged lead dated after the merge are rejected with `merged`. The survivor may
//!   live in another partition, so nothing is carried over.
//! - **T12. Policy in force.** At t it is the first in file order, among those valid, whose `match` holds for the
//!   attributes and owner after all facts dated ≤ t. When it changes at c, the lead has the clocks that the new
//!   policy would have running at c had it always covered the lead: the same objective name and start is the
//!   same clock, judged from its start on the new target and calendar, with the new objective's pauses. What the
//!   new policy dates before c is dated c, cause `policy_change`; warnings among it are not said. From c on the new
//!   policy rules: facts dated c are its own, and what the old one dates c or later falls away. A clock that the
//!   new one does not have is cancelled at c (ended where it is in breach). One that was cancelled, met or resolved
//!   before c runs again if it would under the new policy; one whose window is over does not. A breach already
//!   dated stands with the deadline that was breached, and no clock breaches twice. A waiver stays with the clock
//!   that the lead had when it came.
//! - **T13. Versions.** Policies of one name with disjoint [`effective_from`, `effective_until`) are versions: a
//!   clock is judged in all by the one valid when it started, one that started outside them by the next; a change
//!   of version is no change of policy, a gap between two is a time without the policy. The files loaded are a
//!   history as well: each is in force from the horizon at which a partition took it up, and open clocks change
//!   over by T12, cause `policy_edit`. A file may carry `revision`; a partition never takes up a lower one.
//!   Facts that were folded before a file came are not read again by it: clocks that run then go on under the
//!   objective of their name, and attributes that no earlier file looked at count from the next fact on.
//! - **T14. Stage re-entry**, that is a start after an earlier clock of the objective, starts a new clock (`reentry:
//!   new`), or nothing (`first_only`), or one whose target is that of this start less the counted time of earlier
//!   clocks (`cumulative`: breached at its start where nothing is left, and no clock once one has breached).
//! - **T15. Touch frequency** while the lead is in the stages of `while`; without it, from creation or reopening to
//!   the end. A touch is what `contacted` asks for, or `touch: {contacted: …}`, and counts in the order of F3.
//!   Leaving ends the clock as T10 does, and each re-entry begins anew. `every: W` is a clock from entering or from
//!   each touch to the next. `at_least: N, per: W` are windows (a, b] laid end to end from the entry, the first
//!   with its start: met at the N-th touch, else breached at b; the one in which the stages are left, also
//!   exactly at b, is not judged. `at_least: N, within: W` is one such window. `at_least: N, per: stage` is met at the
//!   N-th touch, else breached on leaving, closing included; deletion and merge cancel. These breaches have no stop,
//!   end or escalation after them. `by: [1h, 1bd]`: the n-th touch is due by the n-th step; the clocks start
//!   together and are told apart by their step.
//! - **T16. Unanswered inbound.** `start: {contacted: {direction: inbound}}`, `stop: contacted` starts at the oldest
//!   unanswered contact; further ones change nothing, by T2.
//! - **T17. Waiver.** `breach-waived` names an objective and, if it likes, the start of the clock; else it is the one
//!   last started by then, whatever its outcome. The clock runs on silently. The breach is then `waived`; one waived
//!   in advance, also at D itself, is counted as breached at D and said as `waived`. Both figures are kept. Once
//!   the facts of a lead are folded, its latest 64 breaches can be waived.
//! - **T18. Net outcome** of a clock: met, breached (open, resolved or ended), cancelled, waived, undecidable (H6) or
//!   open. Owner, team and stage in an output are those at the transition's date.
//! - **T19. Penalty:** once a breached clock, none when waived or retracted.
//!
//! # 4. Horizon: when a transition may be said
//!
//! - **H1.** A transition dated x is said once T ≥ x; until then it is a plan. What is said is therefore a
//!   function of facts and T, whatever the size of the steps.
//! - **H2. Probe.** P is the next offset of a partition such that everything below it is applied. A probe
//!   reads the local wall clock, S, and then asks the leader for the log's end, H (read_uncommitted). Once P
//!   has reached H, everything that was in the log at S is known, and T = S − G. Of several co-partitioned
//!   inputs the earliest counts. An answer counts only without an error, with an H not below P nor any earlier
//!   H, from a leader epoch not older than any seen, with the recorded number of partitions, and, where the
//!   cluster has a second broker, if another broker asked after H names the same leader.
//! - **H3. When to probe.** When now ≥ x + G for the earliest planned x, and no probe under way has S ≥ x + G.
//!   A probe that is not reached yet is kept, never replaced by a newer one.
//! - **H4. Epochs.** Evidence ends with the assignment: assign, revoke, seek and abort start over with T = −∞.
//!   T is never stored. A wall clock that was set by more than 500 ms starts over too, and while it is known to
//!   lead the brokers' by more than `clock_skew_max` nothing is said.
//! - **H5.** Record timestamps of the input are never evidence for T.
//! - **H6. Silence and loss.** If a leader cannot be asked, or a producer's open transaction holds the
//!   readable end below H, nothing is said, and a metric says for how long. H below P, H below an earlier H,
//!   an older leader epoch, another topic id or a log that starts above P mean that log was lost; that is
//!   never evidence. The gap is kept in the changelog, and reading goes on at the log's first record. Let k be
//!   the latest date known for certain before. A clock that started by then and has not ended in time by then is
//!   `undecidable`, dated when the loss was found, unless its breach is dated at or before k; so is one of a
//!   lead that is only heard of later. A gap of control or aborted records is no loss.
//! - **H7. Replay** of files says what stands at their end: T is −∞ while reading, then the instant given
//!   (`--until`; else the latest time of an accepted event, at most now), and facts dated later are left out.
//!   Input in the order of time may be judged on the way with T a millisecond before the latest event, which
//!   gives the same output; disorder makes it start over. Live and replay agree on the breaches that stand.
//! - **H8. Late truth.** Whenever T reaches x, what has been said with dates ≤ x equals the timeline up to x.
//!   What is missing is said, marked `late_data` where a later date had been passed; a breach too many is
//!   retracted, by its id. A fact that arrives when T ≥ its time, or whose record timestamp is more than G
//!   after it, makes its lead wait: nothing is said of that lead until T ≥ the instant of arrival, so that a
//!   producer that flushes an hour of events at once raises no storm. The mark is kept with the lead; after a
//!   restart, arrival is the end of the restore.
//!   Warnings and escalations are not retracted.
//! - **H9. Backfill.** Transitions dated before `speak_from` move state and totals and are not said; a clock breached
//!   before it is silent to its end. It is fixed for a partition, in the changelog, at the first start.
//! - **H10. Forgetting.** Judged facts older than T − `lateness_max`, and beyond `facts_max` a lead the oldest,
//!   may be folded into what they decided. A closed lead leaves `retention.closed` after the horizon at which
//!   its last fact was applied; one whose clocks are all breached, with nothing more to say, after
//!   `retention.idle`, counted as abandoned. A lead with a clock that can still speak never leaves.
//!
//! # 5. Identity
//!
//! - **I1.** A clock is named by (lead_id, objective, started_at). An output's `id` is a hash of that, the
//!   transition, its level, its date and, for one that returns at a date at which it was retracted, how often
//!   it was. A clock whose start or deadline moves thus gets a new breach id, and the old breach is retracted.
//!   A lead's record keeps what was said of it, also of clocks that the timeline no longer has. Replays and
//!   retries repeat ids and never mint new ones. The bytes hashed are part of the schema: [`identity`].
//! - **I2.** Each id has exactly one committed record, through crashes, rebalances and failures of brokers; a
//!   retraction has an id of its own and names the one it takes back. How: [`crate::runtime`].
//!
//! # 6. Calendars
//!
//! - **C1. Hours** are local wall-clock intervals [open, close), several a day; `24:00` is allowed, close ≤
//!   open runs past midnight, ranges of days wrap. Overlaps merge as instants, after C3.
//! - **C2. Holidays** remove the local date from 00:00 to 24:00 and nothing else: the tail of a shift begun
//!   the day before goes, the part after midnight of a shift begun on the holiday stays. `{date, hours}`: the date is
//!   a holiday and has these hours besides, which may run past midnight unless the next date is a holiday too.
//! - **C3. Counted time** is physical time within open intervals: a day of 25 hours, open around the clock,
//!   counts 25. A boundary in a gap of daylight saving moves forward by the gap; one that occurs twice means
//!   its first occurrence. An interval that a gap turns inside out is empty; a local date that the zone skips
//!   has no hours.
//! - **C4. Units.** `s m h d w` elapse everywhere (1d = 24 h). `bm` and `bh` count open time of the
//!   objective's calendar. `N bd` runs to the last closing of the N-th open day after the local date of the
//!   start (Friday or Saturday + 1bd is Monday's close); a day is open if an interval begins on it, and its
//!   last closing is the latest end of those, before intervals of different days are joined. The open time
//!   from the start to there is the target. Durations are positive integers with units of one kind of time.
//! - **C5.** A calendar without open time, an unknown zone, or a target that the weekly hours of ten years
//!   cannot hold is refused when the policies are loaded.
//!
//! # 7. Bad input
//!
//! Bad input never stops the stream and is never lost: a record that is rejected goes to the dead-letter topic
//! with its bytes, key and headers, and with `reason`, `topic`, `partition` and `offset`.
//!
//! | reason | of |
//! |---|---|
//! | `not_json`, `no_lead_id`, `no_type`, `bad_field` | what is no event; a `lead_id` that is an integer is its decimal text |
//! | `unknown_type` | a type that is none of F4, unless `input.unknown_types` is `ignore` |
//! | `no_time` | F1 |
//! | `oversize` | a record that is too long; a dead letter is cut, with its length and SHA-256 |
//! | `misrouted` | a record whose key is not its lead, or whose partition is not its key's: the lead's facts would be apart |
//! | `future`, `too_late`, `merged` | F9, F10, T11 |
//!
//! A rejected record has no identity. One with a readable key marks the lead: breaches of clocks that were open
//! then are `uncertain` and say where the record went, for the proof may be in it. A null value is
//! `lead-deleted` for its key. An input topic that is compacted is refused: compaction removes answers. So is a
//! policy file with errors, each with its file, line and column.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod agenda;
pub mod calendar;
pub mod clock;
pub mod engine;
pub mod fact;
pub mod horizon;
pub mod identity;
pub mod instant;
pub mod policy;
pub mod portrait;
pub mod rules;
pub mod settled;
mod signal;
mod standing;
pub mod store;
pub mod timeline;
mod track;
