//! When nothing can be concluded from a finding: what would show it right or wrong is gone, or yet to come.

use super::finding::{Excuse, Finding, Kind};
use super::judge::LeadNote;
use super::said::Key;
use crate::sla::instant::Instant;

/// A breach may have been said before a fact was read that came into the log so long before it, in milliseconds.
const READING_MS: i64 = 10_000;

/// What is known about a transition besides what was said of it.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Its lead, if there is any record of it.
    pub lead: Option<&'a LeadNote>,
    /// A record about the lead came while this was running.
    pub has_moved: bool,
    /// Records of some input topic were deleted or lost.
    pub is_input_cut: bool,
    /// What was written to the topic in which it is said until then may have been deleted.
    pub output_cut_until: Option<Instant>,
    /// An open transaction holds back the end of that topic.
    pub is_output_held: bool,
    /// How long an event may take to be in the log, in milliseconds.
    pub grace_ms: i64,
}

impl Known<'_> {
    /// Why nothing can be concluded from a finding, if so.
    pub fn excuse(&self, finding: &Finding, key: &Key) -> Option<Excuse> {
        match finding.kind {
            // Two records are two records.
            Kind::Duplicate => None,
            Kind::Unsound => self.output_cut_until.map(|_| Excuse::OutputDeleted),
            Kind::Different if is_about_id(finding) => self.output_cut_until.map(|_| Excuse::OutputDeleted),
            _ => self.of_lead(finding, key),
        }
    }

    fn of_lead(&self, finding: &Finding, key: &Key) -> Option<Excuse> {
        let is_missing = finding.kind == Kind::Missing;
        let is_different = finding.kind == Kind::Different;
        // What is never taken back stays, although late truth would not have it. Rule H8.
        let is_extra = finding.kind == Kind::Extra;
        let is = |so: fn(&LeadNote) -> bool| self.lead.is_some_and(so);
        let is_partial = self.lead.map_or(self.is_input_cut, |lead| lead.is_partial);
        let is_held = is(|lead| lead.is_held) || self.is_output_held;
        let excuses = [
            (self.has_moved, Excuse::MovedOn),
            (is_partial, Excuse::InputDeleted),
            (is_missing && self.may_be_deleted(key), Excuse::OutputDeleted),
            (is(|lead| lead.may_be_rejected), Excuse::DeadLettersDeleted),
            (is(|lead| lead.may_be_forgotten), Excuse::Forgotten),
            (is_missing && is_held, Excuse::HeldBack),
            (is_different && self.is_changed_late(finding, key), Excuse::LateFact),
            (is_extra && !key.step.is_retracted() && is(|lead| !lead.late.is_empty()), Excuse::LateFact),
        ];
        excuses.into_iter().find(|(holds, _)| *holds).map(|(_, excuse)| excuse)
    }

    /// Whether it was said, if in time, when what was written is gone now.
    fn may_be_deleted(&self, key: &Key) -> bool {
        self.output_cut_until.is_some_and(|cut| key.date.plus(self.grace_ms) <= cut)
    }

    /// Whether a fact dated at or before it may have come after it was said: that says it once, with what was
    /// known then. Rule H8.
    fn is_changed_late(&self, finding: &Finding, key: &Key) -> bool {
        let Some((lead, said_at)) = self.lead.zip(finding.recorded_at) else { return false };
        let may_be =
            |(time, came): &(Instant, Instant)| *time <= key.date && said_at.minus(READING_MS) <= *came;
        lead.late.iter().any(may_be)
    }
}

fn is_about_id(finding: &Finding) -> bool {
    finding.differences.iter().any(|difference| difference.field == "id")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sla::clock::Step;
    use crate::verify::said::{ClockKey, Difference};

    const NOTHING: Known<'static> = Known {
        lead: None,
        has_moved: false,
        is_input_cut: false,
        output_cut_until: None,
        is_output_held: false,
        grace_ms: 5_000,
    };

    fn at(second: i64) -> Instant {
        Instant::from_millis(second * 1000)
    }

    /// A finding about a breach of second 100, which was said at 106.
    fn excuse(known: Known<'_>, kind: Kind, field: &str) -> Option<Excuse> {
        let clock = ClockKey { lead_id: "L1".into(), objective: "first".into(), started_at: at(0), turn: 0 };
        let key = Key { clock, step: Step::Breached, level: 0, date: at(100) };
        let difference = Difference { field: field.to_owned(), said: 1.into(), recomputed: 2.into() };
        let differences = vec![difference];
        let finding = Finding { differences, recorded_at: Some(at(106)), ..Finding::of(kind, &key) };
        known.excuse(&finding, &key)
    }

    fn check(known: Known<'_>, expected: [Option<Excuse>; 5]) {
        let found = [Kind::Missing, Kind::Extra, Kind::Different, Kind::Duplicate, Kind::Unsound]
            .map(|kind| excuse(known, kind, "owner"));
        assert_eq!(found, expected, "{known:?}");
    }

    #[test]
    fn nothing_is_excused_where_everything_is_there() {
        check(NOTHING, [None; 5]);
        let lead = LeadNote::default();
        check(Known { lead: Some(&lead), is_input_cut: true, ..NOTHING }, [None; 5]);
    }

    #[test]
    fn leads_that_are_not_whole_or_have_moved_on_are_excused() {
        use Excuse::{DeadLettersDeleted, Forgotten, InputDeleted, MovedOn};
        let of_lead = |excuse| [Some(excuse), Some(excuse), Some(excuse), None, None];
        check(Known { is_input_cut: true, ..NOTHING }, of_lead(InputDeleted));
        check(Known { has_moved: true, ..NOTHING }, of_lead(MovedOn));
        for (lead, excuse) in [
            (LeadNote { is_partial: true, ..LeadNote::default() }, InputDeleted),
            (LeadNote { may_be_forgotten: true, ..LeadNote::default() }, Forgotten),
            (LeadNote { may_be_rejected: true, ..LeadNote::default() }, DeadLettersDeleted),
        ] {
            check(Known { lead: Some(&lead), ..NOTHING }, of_lead(excuse));
        }
    }

    #[test]
    fn what_is_held_back_or_deleted_from_an_output_is_only_not_missing() {
        let deleted = Some(Excuse::OutputDeleted);
        check(Known { output_cut_until: Some(at(105)), ..NOTHING }, [deleted, None, None, None, deleted]);
        check(Known { output_cut_until: Some(at(104)), ..NOTHING }, [None, None, None, None, deleted]);
        let held = [Some(Excuse::HeldBack), None, None, None, None];
        check(Known { is_output_held: true, ..NOTHING }, held);
        let lead = LeadNote { is_held: true, ..LeadNote::default() };
        check(Known { lead: Some(&lead), ..NOTHING }, held);
    }

    #[test]
    fn a_wrong_id_is_excused_only_where_earlier_records_are_gone() {
        let known = Known { output_cut_until: Some(at(1)), ..NOTHING };
        assert_eq!(excuse(known, Kind::Different, "id"), Some(Excuse::OutputDeleted));
        assert_eq!(excuse(Known { has_moved: true, ..NOTHING }, Kind::Different, "id"), None);
    }

    #[test]
    fn a_fact_that_came_after_a_breach_was_said_may_change_its_content() {
        for (time, came, expected) in [(100, 107, Some(Excuse::LateFact)), (101, 107, None), (100, 95, None)]
        {
            let lead = LeadNote { late: vec![(at(time), at(came))], ..LeadNote::default() };
            let known = Known { lead: Some(&lead), ..NOTHING };
            assert_eq!(excuse(known, Kind::Different, "owner"), expected, "{time} {came}");
        }
    }
}
