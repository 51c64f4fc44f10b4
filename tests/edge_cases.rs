//! The questions on which engines of service levels differ, each with our answer; the README has them in a table.
//!
//! At the end what such engines' suites expect of pauses, reopening and exchanges, as stories of ours.

#[path = "support/policies.rs"]
mod policies;
#[path = "support/story.rs"]
mod story;

use overdue::config::{lints, read_policies};
use overdue::sla::engine::Saying;
use overdue::sla::instant::Instant;
use policies::{HOUR, TWO_HOURS, two};
use story::{Telling, check, when};

const PIPELINE: &str = "pipeline: {open: [new, working, nurture, qualified], won: [won], lost: [lost]}\n";

/// One policy for all leads with these objectives, and an office that is open from nine to five.
fn all(objectives: &str) -> String {
    format!("{OFFICE}{PIPELINE}policies: [{{name: all, calendar: office, objectives: {objectives}}}]")
}

const OFFICE: &str = "calendars: {office: {time_zone: UTC, hours: {mon-fri: [\"09:00-17:00\"]}}}\n";

const REPLY: &str = "{reply: {start: {contacted: {direction: inbound}}, stop: contacted, within: 1h}}";

impl Telling {
    /// Tells the story up to an instant and says what became of each clock: its deadline, its outcome, and how many
    /// seconds counted of those allowed.
    fn clocks(policies: &str, story: &str, until: &str) -> Vec<String> {
        let mut telling = Telling::new(policies);
        telling.hear(story);
        telling.advance(until);
        let slots: Vec<u32> = telling.engine.store().slots().collect();
        let clocks = slots.into_iter().flat_map(|slot| telling.engine.clocks(slot));
        clocks.map(|clock| telling.became(&clock)).collect()
    }

    fn became(&self, clock: &overdue::sla::clock::Clock) -> String {
        let (rules, until) = (&self.rules, self.horizon);
        let ended = clock.ended_at().unwrap_or(until);
        let due = clock.deadline(until).map_or("never".to_owned(), story::named);
        let counted = clock.counted_ms(rules, clock.started_at, ended) / 1000;
        let allowed = rules.target_ms(&clock.allowed, clock.started_at).unwrap_or_default() / 1000;
        format!("due {due}, {}, {counted} s of {allowed}", clock.outcome(rules, until).as_str())
    }
}

#[track_caller]
fn becomes(policies: &str, story: &str, until: &str, expected: &[&str]) {
    assert_eq!(Telling::clocks(policies, story, until), expected);
}

// What a promise is judged by.

/// 1. Does a clock need a policy to begin?
#[test]
fn a_policy_that_comes_to_cover_a_lead_counts_from_the_leads_beginning() {
    check(
        &two(HOUR, HOUR),
        "Mon 09:00 a lead-created
         Mon 09:50 a lead-updated segment=a",
        "Mon 10:00 a answer breached",
    );
}

/// 2. What of an answer that came before the promise was made?
#[test]
fn an_answer_before_the_promise_keeps_it() {
    check(
        &two(HOUR, HOUR),
        "Mon 09:00 a lead-created
         Mon 09:10 a contacted
         Mon 09:50 a lead-updated segment=a
         Mon 08:50 b contacted
         Mon 09:00 b lead-created segment=a",
        "Mon 09:00 b answer met",
    );
}

/// 3. What of a promise that is broken already when it is made?
#[test]
fn a_promise_that_is_broken_when_it_is_made_says_so_once_dated_then_and_why() {
    check(
        &two(HOUR, HOUR),
        "Mon 09:00 a lead-created
         Mon 11:00 a lead-updated segment=a",
        "Mon 11:00 a answer breached, policy_change",
    );
}

/// 4. And if the target changes while the clock runs?
#[test]
fn another_target_counts_from_the_same_start_with_the_same_pauses_and_breaches_once() {
    check(
        &two(TWO_HOURS, HOUR),
        "Mon 09:00 tighter lead-created segment=a
         Mon 09:10 tighter paused
         Mon 09:30 tighter resumed
         Mon 09:40 tighter lead-updated segment=b",
        "Mon 10:20 tighter answer breached",
    );
    check(
        &two(HOUR, TWO_HOURS),
        "Mon 09:00 looser lead-created segment=a
         Mon 09:40 looser lead-updated segment=b
         Mon 12:00 late lead-created segment=a
         Mon 13:30 late lead-updated segment=b",
        "Mon 11:00 looser answer breached\nMon 13:00 late answer breached",
    );
}

/// 5. And if the policy gets a new version?
#[test]
fn a_clock_is_judged_to_its_end_by_the_version_in_which_it_started() {
    check(
        "policies:
           - {name: v, effective_until: '2026-03-02T09:30:00Z', objectives: {answer: {start: created, stop: contacted, within: 1h}}}
           - {name: v, effective_from: '2026-03-02T09:30:00Z', objectives: {answer: {start: created, stop: contacted, within: 10m}}}",
        "Mon 09:00 old lead-created\nMon 09:30 new lead-created",
        "Mon 09:40 new answer breached\nMon 10:00 old answer breached",
    );
}

/// 6. And if no policy covers the lead any more?
#[test]
fn a_clock_whose_policy_no_longer_matches_is_cancelled_then() {
    check(
        &two(HOUR, HOUR),
        "Mon 09:00 a lead-created segment=a
         Mon 09:40 a lead-updated segment=null",
        "Mon 09:40 a answer cancelled, policy_change",
    );
}

/// 7. And if two policies cover it?
#[test]
fn the_first_policy_that_matches_wins_and_one_that_can_never_match_is_pointed_out() {
    let policies = "
policies:
  - {name: all, objectives: {answer: {start: created, stop: contacted, within: 1h}}}
  - {name: never, match: {segment: a}, objectives: {answer: {start: created, stop: contacted, within: 10m}}}";
    check(policies, "Mon 09:00 a lead-created segment=a", "Mon 10:00 a answer breached");
    let read = read_policies("p.yaml", policies).expect("good policies");
    let found = lints("p.yaml", policies, &read, Instant::from_millis(0));
    assert!(found.iter().any(|lint| lint.message.starts_with("covers no lead: `all`")), "{found:?}");
}

// Who has the lead.

/// 8. Does another owner get a new clock?
#[test]
fn the_leads_clock_goes_on_under_another_owner_and_the_owners_starts_anew() {
    let mut telling = Telling::new(&all("{
        answer: {start: created, stop: contacted, within: 1h},
        first-touch: {start: assigned, restart: true, stop: {contacted: {actor: $owner}}, within: 1h}}"));
    telling.hear(
        "Mon 09:00 a lead-created owner=ann
         Mon 09:40 a lead-assigned owner=bob
         Mon 10:50 a lead-assigned owner=cat
         Mon 11:00 a contacted actor=cat",
    );
    telling.advance("Tue 00:00");
    let owner = |(at, step): (&str, &str)| {
        let mut said = telling.effects.outputs.iter();
        let output = said.find(|output| (output.date, output.step.as_str()) == (when(at).0, step));
        output.and_then(|output| output.context.owner.as_deref()).map(str::to_owned)
    };
    // Who had the lead when the promise was broken answers for it.
    assert_eq!(owner(("Mon 10:00", "breached")).as_deref(), Some("bob"));
    assert_eq!(owner(("Mon 11:00", "resolved")).as_deref(), Some("cat"));
    telling.said(
        "Mon 09:40 a first-touch cancelled
         Mon 10:00 a answer breached
         Mon 10:40 a first-touch breached
         Mon 10:50 a first-touch ended
         Mon 11:00 a answer resolved
         Mon 11:00 a first-touch met",
    );
}

/// 9. Is there a promise for a lead that nobody has?
#[test]
fn how_fast_a_lead_gets_an_owner_is_a_promise_of_its_own() {
    check(
        &all("{assign: {start: created, stop: assigned, within: 2m}}"),
        "Mon 09:00 slow lead-created
         Mon 09:03 slow lead-assigned owner=ann
         Mon 09:00 fast lead-created
         Mon 09:01 fast lead-assigned owner=ann
         Mon 09:00 at-once lead-created owner=ann",
        "Mon 09:00 at-once assign met
         Mon 09:01 fast assign met
         Mon 09:02 slow assign breached
         Mon 09:03 slow assign resolved",
    );
}

// Stages.

fn visit(more: &str) -> String {
    all(&format!("{{visit: {{start: {{entered: working}}, stop: {{left: working}}, within: 1h{more}}}}}"))
}

/// 10. What of a stage that is entered again?
#[test]
fn a_stage_entered_again_starts_a_new_clock_or_none_or_one_with_the_time_that_is_left() {
    let story = "Mon 09:00 a stage-changed stage=working
                 Mon 09:40 a stage-changed stage=nurture
                 Mon 12:00 a stage-changed stage=working";
    check(&visit(""), story, "Mon 09:40 a visit met\nMon 13:00 a visit breached");
    check(&visit(", reentry: first_only"), story, "Mon 09:40 a visit met");
    check(&visit(", reentry: cumulative"), story, "Mon 09:40 a visit met\nMon 12:20 a visit breached");
}

/// 11. And of one that is left and entered again within seconds, to look busy?
#[test]
fn a_stage_left_for_a_moment_is_left_unless_the_promise_asks_for_progress() {
    let story = "Mon 09:00 a stage-changed stage=working
                 Mon 09:59:50 a stage-changed stage=new
                 Mon 09:59:55 a stage-changed stage=working";
    check(&visit(""), story, "Mon 09:59:50.000 a visit met\nMon 10:59:55.000 a visit breached");
    check(
        &visit(", reentry: cumulative"),
        story,
        "Mon 09:59:50.000 a visit met\nMon 10:00:05.000 a visit breached",
    );
    let forward = "{visit: {start: {entered: working}, stop: {left: working, to: forward}, within: 1h}}";
    check(&all(forward), story, "Mon 10:00 a visit breached");
}

// Contacts.

/// 12. What is a touch?
#[test]
fn a_touch_is_a_humans_and_has_the_channel_and_outcome_that_are_asked_for() {
    check(
        &all(
            "{answer: {start: created, stop: {contacted: {channel: [call, visit], outcome: connected}}, within: 1h}}",
        ),
        "Mon 09:00 a lead-created
         Mon 09:10 a contacted channel=mail outcome=connected
         Mon 09:20 a contacted channel=call outcome=voicemail
         Mon 09:30 a contacted channel=call outcome=connected by=automation
         Mon 09:40 a contacted channel=call outcome=connected direction=inbound
         Mon 09:50 a contacted channel=call outcome=connected",
        "Mon 09:50 a answer met",
    );
}

/// 13. When is the answer due to a lead that writes again and again?
#[test]
fn the_oldest_unanswered_message_is_what_must_be_answered() {
    check(
        &all(REPLY),
        "Mon 09:00 a contacted direction=inbound
         Mon 09:20 a contacted direction=inbound
         Mon 09:50 a contacted direction=inbound",
        "Mon 10:00 a reply breached",
    );
}

fn rhythm(touch: &str) -> String {
    all(&format!("{{rhythm: {{while: {{stage: working}}, touch: {touch}}}}}"))
}

/// 14. How often must a lead be contacted?
#[test]
fn touches_are_counted_in_windows_from_entry_in_one_window_in_a_stage_or_against_a_schedule() {
    let story = "Mon 09:00 a stage-changed stage=working
                 Mon 10:00 a contacted
                 Tue 12:00 a contacted
                 Thu 08:00 a stage-changed stage=nurture";
    check(
        &rhythm("{at_least: 1, per: 1d}"),
        story,
        "Mon 10:00 a rhythm met\nTue 12:00 a rhythm met\nThu 08:00 a rhythm cancelled",
    );
    check(&rhythm("{at_least: 2, within: 1d}"), story, "Tue 09:00 a rhythm breached");
    check(&rhythm("{at_least: 3, per: stage}"), story, "Thu 08:00 a rhythm breached");
    check(
        &rhythm("{by: [1h, 1d, 2d]}"),
        story,
        "Mon 10:00 a rhythm met
         Tue 09:00 a rhythm breached
         Tue 12:00 a rhythm resolved
         Wed 09:00 a rhythm breached
         Thu 08:00 a rhythm ended",
    );
}

/// 15. Does one early contact move all that follow?
#[test]
fn a_longest_silence_slides_with_each_contact_and_windows_stay_where_they_are() {
    let story = "Mon 09:00 a stage-changed stage=working
                 Mon 12:00 a contacted
                 Wed 11:00 a stage-changed stage=nurture";
    check(
        &rhythm("{every: 1d}"),
        story,
        "Mon 12:00 a rhythm met\nTue 12:00 a rhythm breached\nWed 11:00 a rhythm ended",
    );
    check(
        &rhythm("{at_least: 1, per: 1d}"),
        story,
        "Mon 12:00 a rhythm met\nWed 09:00 a rhythm breached\nWed 11:00 a rhythm cancelled",
    );
}

// Pauses.

/// 16. Is a pause at night, or one within another, taken off twice?
#[test]
fn a_pause_takes_off_only_the_time_that_would_have_counted_and_only_once() {
    check(
        &all("{answer: {start: created, stop: contacted, within: 2bh, pause: {stage: nurture}}}"),
        "Mon 16:00 a lead-created stage=new
         Mon 16:30 a paused
         Mon 16:40 a stage-changed stage=nurture
         Tue 09:10 a stage-changed stage=working
         Tue 09:30 a resumed",
        "Tue 11:00 a answer breached",
    );
}

/// 17. What does a pause do to a promise that is broken already?
#[test]
fn a_pause_after_the_breach_leaves_it_and_its_date_and_does_not_add_to_the_overrun() {
    let story = "Mon 09:00 a lead-created
                 Mon 10:10 a paused
                 Mon 11:00 a resumed
                 Mon 11:05 a contacted";
    check(&all(HOUR), story, "Mon 10:00 a answer breached\nMon 11:05 a answer resolved");
    becomes(&all(HOUR), story, "Mon 12:00", &["due Mon 10:00, breached, 4500 s of 3600"]);
}

/// 18. When is a paused clock due?
#[test]
fn a_paused_clock_has_no_deadline_but_time_that_is_left() {
    let story = "Mon 09:00 a lead-created\nMon 09:20 a paused";
    becomes(&all(HOUR), story, "Fri 12:00", &["due never, open, 1200 s of 3600"]);
    check(&all(HOUR), &format!("{story}\nFri 12:00 a contacted"), "Fri 12:00 a answer met");
}

/// 19. Can a pause hide a lead forever?
#[test]
fn a_pause_may_end_by_itself_and_an_objective_may_take_none() {
    check(
        &all("{
            answer: {start: created, stop: contacted, within: 1h},
            at-last: {start: created, stop: contacted, within: 3d, pause: none}}"),
        "Mon 09:00 until lead-created
         Mon 09:20 until paused until=2026-03-02T12:00:00Z
         Mon 09:00 forever lead-created
         Mon 09:20 forever paused",
        "Mon 12:40 until answer breached
         Thu 09:00 until at-last breached
         Thu 09:00 forever at-last breached",
    );
}

// The end of a lead.

/// 20. What of a lead that is reopened?
#[test]
fn reopening_starts_clocks_of_its_own_and_none_of_creation() {
    check(
        &all("{
            answer: {start: created, stop: contacted, within: 1h},
            again: {start: reopened, stop: contacted, within: 1h}}"),
        "Mon 09:00 a lead-created
         Mon 09:30 a stage-changed stage=lost
         Tue 09:00 a stage-changed stage=working",
        "Mon 09:30 a answer cancelled\nTue 10:00 a again breached",
    );
}

/// 21. What of one that is merged into another?
#[test]
fn a_merged_leads_clocks_are_cancelled_and_the_other_goes_on_by_what_happened_to_itself() {
    check(
        &all(HOUR),
        "Mon 09:00 loser lead-created
         Mon 09:10 loser contacted direction=inbound
         Mon 09:20 survivor lead-created
         Mon 09:30 loser lead-merged into=survivor
         Mon 09:40 loser contacted",
        "Mon 09:30 loser answer cancelled\nMon 10:20 survivor answer breached",
    );
}

/// 22. What of one that is deleted, because it asked to be?
#[test]
fn a_deleted_leads_clocks_are_cancelled_and_nothing_is_kept_of_it_after_a_week() {
    let mut telling = Telling::new(&all(HOUR));
    telling.hear("Mon 09:00 a lead-created\nMon 09:30 a lead-deleted");
    telling.advance("Mon2 09:30");
    telling.said("Mon 09:30 a answer cancelled");
    assert_eq!(telling.engine.store().len(), 0);
}

/// 23. And if it becomes a customer before anybody called?
#[test]
fn winning_a_lead_may_stand_for_its_answer_and_begins_the_hand_off() {
    check(
        &all("{
            answer: {start: created, stop: [contacted, {entered: won}], within: 1h},
            hand-off: {start: {entered: won}, stop: {contacted: {role: success}}, within: 1d}}"),
        "Mon 09:00 a lead-created\nMon 09:30 a stage-changed stage=won",
        "Mon 09:30 a answer met\nTue 09:30 a hand-off breached",
    );
}

// What arrives, and how.

/// 24. What of an answer that comes to light after the breach was said?
#[test]
fn an_answer_in_time_that_arrives_late_takes_the_breach_back_by_its_id() {
    let mut telling = Telling::new(&all(HOUR));
    telling.hear("Mon 09:00 a lead-created");
    telling.advance("Mon 10:30");
    let said = telling.effects.outputs.iter().map(|output| output.id).collect::<Vec<_>>();
    telling.hear("Mon 09:30 a contacted");
    telling.advance("Mon 11:00");
    let taken_back = telling.effects.outputs.iter().filter_map(|output| match output.saying {
        Saying::Retracted { id, .. } => Some(id),
        Saying::Happened { .. } => None,
    });
    assert_eq!(taken_back.collect::<Vec<_>>(), said);
    telling.said(
        "Mon 10:00 a answer breached
         Mon 10:00 a answer breached retracted
         Mon 09:30 a answer met",
    );
}

/// 25. And of an event that comes twice?
#[test]
fn an_event_that_comes_again_changes_nothing_even_with_other_content() {
    check(
        &all(REPLY),
        "Mon 09:00 a contacted direction=inbound event_id=first
         Mon 09:10 a contacted
         Mon 09:00 a contacted direction=inbound event_id=first
         Mon 09:30 a contacted direction=inbound event_id=first",
        "Mon 09:10 a reply met",
    );
}

// Calendars.

const REGIONS: &str = "
calendars:
  east: {time_zone: UTC, hours: {mon-fri: ['08:00-16:00']}}
  west: {time_zone: UTC, hours: {mon-fri: ['16:00-24:00']}}
policies:
  - name: all
    calendar: {by: region, west: west, default: east}
    objectives:
      answer: {start: created, stop: contacted, within: 1bh}
      first-touch: {start: assigned, restart: true, stop: {contacted: {actor: $owner}}, within: 1bh, calendar: east}
";

/// 26. Whose hours count?
#[test]
fn an_objectives_hours_go_before_the_policys_and_those_may_be_by_an_attribute() {
    check(
        REGIONS,
        "Mon 15:30 a lead-created region=west owner=ann\nMon 15:30 b lead-created",
        "Mon 17:00 a answer breached
         Tue 08:30 a first-touch breached
         Tue 08:30 b answer breached",
    );
}

/// 27. And if the lead is handed to a team with other hours?
#[test]
fn a_clock_keeps_the_hours_of_its_start_and_one_that_restarts_gets_those_of_then() {
    let policies = "
calendars:
  east: {time_zone: UTC, hours: {mon-fri: ['08:00-16:00']}}
  west: {time_zone: UTC, hours: {mon-fri: ['16:00-24:00']}}
policies:
  - name: all
    calendar: {by: region, west: west, default: east}
    objectives:
      answer: {start: created, stop: contacted, within: 1bh}
      first-touch: {start: assigned, restart: true, stop: {contacted: {actor: $owner}}, within: 1bh}";
    check(
        policies,
        "Mon 15:30 a lead-created owner=ann
         Mon 15:50 a lead-assigned owner=bob region=west",
        "Mon 15:50 a first-touch cancelled
         Mon 17:00 a first-touch breached
         Tue 08:30 a answer breached",
    );
}

/// 28. And if the owner is away?
#[test]
fn a_pause_for_an_absence_holds_the_owners_promise_and_not_the_customers() {
    check(
        &all("{
            answer: {start: created, stop: contacted, within: 1d, pause: none},
            first-touch: {start: assigned, stop: {contacted: {actor: $owner}}, within: 2h}}"),
        "Mon 09:00 a lead-created owner=ann
         Mon 10:00 a paused reason=absence
         Wed 09:00 a resumed",
        "Tue 09:00 a answer breached\nWed 10:00 a first-touch breached",
    );
}

/// 29. How long is a day?
#[test]
fn a_day_is_24_hours_and_an_open_day_ends_at_closing_and_no_unit_is_left_to_guess() {
    check(
        &all("{
            elapsed: {start: created, stop: contacted, within: 1d},
            day: {start: created, stop: contacted, within: 1bd},
            hours: {start: created, stop: contacted, within: 24bh}}"),
        "Fri 16:55 a lead-created",
        "Sat 16:55 a elapsed breached\nMon2 17:00 a day breached\nWed2 16:55 a hours breached",
    );
    for within in ["24", "1d4bh", "0h", "-1h", "1.5h"] {
        let policies = all(&format!("{{answer: {{start: created, stop: contacted, within: {within}}}}}"));
        assert!(read_policies("p.yaml", &policies).is_err(), "`{within}` must be refused");
    }
}

/// 30. May a lead that comes at night wait longer?
#[test]
fn a_target_may_differ_by_whether_the_office_is_open_at_the_start() {
    check(
        &all("{answer: {start: created, stop: contacted, within: [{started: open, target: 20m}, 4h]}}"),
        "Mon 16:50 day lead-created\nMon 17:00 night lead-created",
        "Mon 17:10 day answer breached\nMon 21:00 night answer breached",
    );
}

// What is said.

/// 31. What of an answer that comes after all?
#[test]
fn a_late_answer_resolves_the_breach_and_the_overrun_grows_no_more() {
    let story = "Mon 09:00 a lead-created\nMon 10:40 a contacted";
    check(&all(HOUR), story, "Mon 10:00 a answer breached\nMon 10:40 a answer resolved");
    for until in ["Mon 10:40", "Fri 12:00"] {
        becomes(&all(HOUR), story, until, &["due Mon 10:00, breached, 6000 s of 3600"]);
    }
}

/// 32. When does a warning come that is so much before a deadline on the morrow?
#[test]
fn warnings_are_counted_back_through_the_open_hours() {
    check(
        &all("{answer: {start: created, stop: contacted, within: 1bh, warn: [50%, 30bm left, 45bm left]}}"),
        "Mon 16:15 a lead-created",
        "Mon 16:30 a answer at_risk 3
         Mon 16:45 a answer at_risk 1
         Mon 16:45 a answer at_risk 2
         Tue 09:15 a answer breached",
    );
}

/// 33. Does it come again when the deadline moves?
#[test]
fn a_warning_is_said_once_also_when_the_deadline_moves_away_from_it() {
    let mut telling =
        Telling::new(&all("{answer: {start: created, stop: contacted, within: 1h, warn: [50%, 10m left]}}"));
    telling.hear("Mon 09:00 a lead-created");
    telling.advance("Mon 09:35");
    telling.said("Mon 09:30 a answer at_risk 1");
    // The pause began before the warning, as comes to light after it.
    telling.hear("Mon 09:20 a paused\nMon 09:40 a resumed");
    telling.advance("Mon 12:00");
    telling.said("Mon 10:10 a answer at_risk 2\nMon 10:20 a answer breached");
}

/// 34. Can a breach be excused?
#[test]
fn a_waived_breach_stays_in_the_log_and_is_counted_apart() {
    let story = "Mon 09:00 a lead-created
                 Mon 10:30 a breach-waived objective=answer who=dan why=\"agreed\"
                 Mon 11:00 a contacted";
    check(&all(HOUR), story, "Mon 10:00 a answer breached\nMon 10:30 a answer waived");
    becomes(&all(HOUR), story, "Mon 12:00", &["due Mon 10:00, waived, 7200 s of 3600"]);
}

/// 35. What does a breach cost?
#[test]
fn a_penalty_is_due_once_a_breached_clock_however_late_and_none_when_waived() {
    let policies = all(
        "{answer: {start: created, stop: contacted, within: 1h, penalty: {amount: 49.90, currency: EUR}}}",
    );
    let read = read_policies("p.yaml", &policies).expect("good policies");
    let penalty = read.policies[0].objectives[0].penalty.clone().expect("a penalty");
    assert_eq!((penalty.amount.to_string().as_str(), penalty.currency.as_str()), ("49.90", "EUR"));
    let breached = "Mon 09:00 a lead-created\nFri 09:00 a contacted";
    check(&policies, breached, "Mon 10:00 a answer breached\nFri 09:00 a answer resolved");
    let waived = "Mon 09:00 a lead-created\nMon 09:30 a breach-waived objective=answer who=dan why=x";
    check(&policies, waived, "Mon 10:00 a answer waived");
}

// What the suites of other engines expect.

/// What is asked, and what becomes of the only clock.
struct Vector {
    name: &'static str,
    calendar: &'static str,
    objective: &'static str,
    story: &'static str,
    until: &'static str,
    expected: &'static [&'static str],
}

const ALWAYS: &str = "{time_zone: UTC, hours: {mon-sun: ['00:00-24:00']}}";
const DESK: &str = "{time_zone: UTC, hours: {mon-fri: ['10:00-18:00']}}";
const BERLIN: &str = "{time_zone: Europe/Berlin, hours: {mon-sun: ['09:00-18:00']}}";
const LATE_MONDAY: &str = "{time_zone: UTC, hours: {mon: ['10:30-19:00'], tue-fri: ['08:30-19:00']}}";

/// The dates of the suites are those of the same weekdays here.
const VECTORS: &[Vector] = &[
    Vector {
        name: "F3, an answer in the instant of the creation took no time, which is not unknown",
        calendar: DESK,
        objective: "start: created, stop: contacted, within: 1bh",
        story: "Mon 11:00 a lead-created\nMon 11:00 a contacted",
        until: "Mon 12:00",
        expected: &["due Mon 12:00, met, 0 s of 3600"],
    },
    Vector {
        name: "H4, on hold for an hour: due at closing time",
        calendar: DESK,
        objective: "start: created, stop: contacted, within: 2bh",
        story: "Thu 15:00 a lead-created\nThu 15:30 a paused\nThu 16:30 a resumed",
        until: "Thu 18:00",
        expected: &["due Thu 18:00, breached, 7200 s of 7200"],
    },
    Vector {
        name: "H4, a second longer: a second after the next opening",
        calendar: DESK,
        objective: "start: created, stop: contacted, within: 2bh",
        story: "Thu 15:00 a lead-created\nThu 15:30 a paused\nThu 16:30:01 a resumed",
        until: "Fri 10:00:01",
        expected: &["due Fri 10:00:01.000, breached, 7200 s of 7200"],
    },
    Vector {
        name: "H6, answered after 39 minutes of 30: failed by 540 s",
        calendar: DESK,
        objective: "start: created, stop: contacted, within: 30bm",
        story: "Mon 10:00 a lead-created\nMon 10:39 a contacted",
        until: "Mon 18:00",
        expected: &["due Mon 10:30, breached, 2340 s of 1800"],
    },
    Vector {
        name: "Z2, pending and then closed for a while, closed being a stage that pauses",
        calendar: BERLIN,
        objective: "start: created, stop: contacted, within: 120bm, pause: {stage: [pending, closed]}",
        story: "Tue 09:00 a lead-created stage=open
                Tue 09:30 a stage-changed stage=pending
                Tue 09:45 a stage-changed stage=open
                Tue 10:00 a stage-changed stage=closed
                Tue 10:30 a stage-changed stage=open",
        until: "Tue 11:45",
        expected: &["due Tue 11:45, breached, 7200 s of 7200"],
    },
    Vector {
        name: "Z4, created pending and closed so: no time has counted",
        calendar: BERLIN,
        objective: "start: created, stop: {entered: closed}, within: 240bm, pause: {stage: [pending, closed]}",
        story: "Tue 09:00 a lead-created stage=pending\nTue 12:00 a stage-changed stage=closed",
        until: "Tue 17:00",
        expected: &["due never, met, 0 s of 14400"],
    },
    Vector {
        name: "Z6, a second message changes nothing while the first is unanswered",
        calendar: "{time_zone: Europe/Berlin, hours: {mon-fri: ['08:00-20:00']}, holidays: [2026-03-03]}",
        objective: "start: {contacted: {direction: inbound}}, stop: contacted, within: 3bh",
        story: "Mon 17:00 a contacted direction=inbound\nMon 18:00 a contacted direction=inbound",
        until: "Mon 20:00",
        expected: &["due Wed 08:00, open, 7200 s of 10800"],
    },
    Vector {
        name: "Z8, answered after 75 minutes of 60: 15 too many",
        calendar: ALWAYS,
        objective: "start: created, stop: contacted, within: 60bm",
        story: "Mon 09:00 a lead-created\nMon 10:15 a contacted",
        until: "Mon 12:00",
        expected: &["due Mon 10:00, breached, 4500 s of 3600"],
    },
    // Where they keep the longest exchange of a ticket, every exchange is a clock here.
    Vector {
        name: "Z8, exchanges of 10 and 5 minutes",
        calendar: ALWAYS,
        objective: "start: {contacted: {direction: inbound}}, stop: contacted, within: 60bm",
        story: "Mon 09:00 a contacted direction=inbound
                Mon 09:10 a contacted
                Mon 10:00 a contacted direction=inbound
                Mon 10:05 a contacted",
        until: "Mon 12:00",
        expected: &["due Mon 10:00, met, 600 s of 3600", "due Mon 11:00, met, 300 s of 3600"],
    },
    Vector {
        name: "G2, two pauses over nights",
        calendar: LATE_MONDAY,
        objective: "start: created, stop: contacted, within: 4bh",
        story: "Mon 10:00 a lead-created
                Mon 11:00 a paused
                Wed 09:30 a resumed
                Wed 10:00 a paused
                Thu 09:00 a resumed",
        until: "Thu 12:00",
        expected: &["due Thu 12:00, breached, 14400 s of 14400"],
    },
    Vector {
        name: "T2, closed from 13:00 to 15:00, closed being a stage that pauses",
        calendar: ALWAYS,
        objective: "start: created, stop: contacted, within: 8h, pause: {stage: closed}",
        story: "Mon 08:00 a lead-created stage=open
                Mon 13:00 a stage-changed stage=closed
                Mon 15:00 a stage-changed stage=open",
        until: "Mon 18:00",
        expected: &["due Mon 18:00, breached, 28800 s of 28800"],
    },
    Vector {
        name: "T2, closed again from 17:00 to 18:00",
        calendar: ALWAYS,
        objective: "start: created, stop: contacted, within: 8h, pause: {stage: closed}",
        story: "Mon 08:00 a lead-created stage=open
                Mon 13:00 a stage-changed stage=closed
                Mon 15:00 a stage-changed stage=open
                Mon 17:00 a stage-changed stage=closed
                Mon 18:00 a stage-changed stage=open",
        until: "Mon 19:00",
        expected: &["due Mon 19:00, breached, 28800 s of 28800"],
    },
];

#[test]
fn pauses_and_exchanges_come_to_what_other_engines_expect() {
    for vector in VECTORS {
        let policies = format!(
            "calendars: {{shop: {}}}
pipeline: {{open: [open, pending, closed], won: [won], lost: [lost]}}
policies: [{{name: all, calendar: shop, objectives: {{asked: {{{}}}}}}}]",
            vector.calendar, vector.objective
        );
        let became = Telling::clocks(&policies, vector.story, vector.until);
        assert_eq!(became, vector.expected, "{}", vector.name);
    }
}

/// Z8 again: a span of nothing is no promise, and is refused instead of taken for one without a deadline.
#[test]
fn a_target_of_nothing_is_refused() {
    for within in ["0bm", "null", "''"] {
        let policies = all(&format!("{{answer: {{start: created, stop: contacted, within: {within}}}}}"));
        assert!(read_policies("p.yaml", &policies).is_err(), "`{within}` must be refused");
    }
}
