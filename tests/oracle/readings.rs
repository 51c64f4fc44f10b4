//! Stories of where the rules can be read in two ways, each told the way it is read here.

#[path = "../support/policies.rs"]
mod policies;

use policies::{HOUR, PIPELINE, TWO_HOURS, two};

use super::stories::{check, check_spoken};

/// One policy for all with these objectives.
fn all(objectives: &str) -> String {
    format!("{PIPELINE}policies: [{{name: all, objectives: {objectives}}}]")
}

const BY_PHONE: &str = "{answer: {start: created, stop: {contacted: {channel: phone}}, within: 4h}}";
const OTHER: &str = "{other: {start: reopened, stop: contacted, within: 1h}}";

// --- T12: the policy changes ------------------------------------------------------------------

#[test]
fn a_move_judges_from_the_start_and_dates_at_the_move() {
    let to_shorter = "10:00 lead-created segment=a\n11:30 lead-updated segment=b";
    check(&two(TWO_HOURS, HOUR), to_shorter, "20:00", "answer 10:00 due 11:00 breached at 11:30");
    let to_longer = "10:00 lead-created segment=a\n10:30 lead-updated segment=b\n11:30 contacted";
    check(&two(HOUR, TWO_HOURS), to_longer, "20:00", "answer 10:00 due 12:00 met 11:30");
}

#[test]
fn a_breach_falls_away_at_the_instant_of_a_move_and_stands_after_it() {
    let at_it = "10:00 lead-created segment=a\n11:00 lead-updated segment=b";
    check(&two(HOUR, TWO_HOURS), at_it, "20:00", "answer 10:00 due 12:00 breached");
    let after_it = "10:00 lead-created segment=a\n11:01 lead-updated segment=b\n11:30 contacted";
    check(&two(HOUR, TWO_HOURS), after_it, "20:00", "answer 10:00 due 11:00 breached resolved 11:30");
}

#[test]
fn a_clock_that_the_new_policy_saw_met_before_is_met_at_the_move() {
    let events = "10:00 lead-created segment=a\n10:20 contacted\n10:40 lead-updated segment=b";
    check(&two(BY_PHONE, HOUR), events, "20:00", "answer 10:00 due 11:00 met 10:40");
    let late = "10:00 lead-created segment=a\n11:20 contacted\n11:40 lead-updated segment=b";
    check(&two(BY_PHONE, HOUR), late, "20:00", "answer 10:00 due 11:00 breached at 11:40 resolved 11:40");
    // It ran on, so that pauses after that stop are its own; the deadline is that of the stop.
    let until_then = "10:00 lead-created segment=a\n10:20 contacted\n10:20 paused\n10:30 resumed";
    let paused = format!("{until_then}\n10:40 lead-updated segment=b");
    check(&two(BY_PHONE, HOUR), &paused, "20:00", "answer 10:00 due 11:00 met 10:40");
    let paused = paused.replace("10:20 paused", "10:10 paused");
    check(&two(BY_PHONE, HOUR), &paused, "20:00", "answer 10:00 due never met 10:40");
}

#[test]
fn a_clock_that_ends_in_the_instant_of_a_move_was_running_then() {
    let at_it = "10:00 lead-created segment=a\n10:40 lead-updated segment=b\n10:40 contacted";
    check(&two(OTHER, HOUR), at_it, "20:00", "answer 10:00 due 11:00 met 10:40");
    let before = "10:00 lead-created segment=a\n10:30 contacted\n10:40 lead-updated segment=b";
    check(&two(OTHER, HOUR), before, "20:00", "");
}

#[test]
fn a_move_with_a_new_life_brings_no_clocks_of_the_old_one() {
    let events = "10:00 lead-created segment=a event_id=x\n10:40 lead-deleted\n10:40 lead-created segment=b";
    check(&two(OTHER, HOUR), events, "20:00", "answer 10:40 due 11:40 breached");
}

#[test]
fn the_old_policy_does_not_hear_a_stop_in_the_instant_of_the_move() {
    let events = "10:00 lead-created segment=a\n10:40 contacted\n10:40 lead-updated segment=b";
    check(&two(HOUR, OTHER), events, "20:00", "answer 10:00 due 11:00 cancelled 10:40");
}

#[test]
fn a_breached_clock_that_the_new_policy_does_not_have_is_ended_at_the_move() {
    let events = "10:00 lead-created segment=a\n11:30 lead-updated segment=b";
    check(&two(HOUR, OTHER), events, "20:00", "answer 10:00 due 11:00 breached 11:30");
    check_spoken(&two(HOUR, OTHER), events, "20:00", "11:00 breached\n11:30 ended");
}

#[test]
fn a_clock_that_was_ended_or_resolved_runs_again_too() {
    let back = "10:00 lead-created segment=a\n11:30 lead-updated segment=c\n12:00 lead-updated segment=a
                12:30 contacted";
    check_spoken(&two(HOUR, OTHER), back, "20:00", "11:00 breached\n11:30 ended\n12:30 resolved");
    let again = "10:00 lead-created segment=a\n11:30 contacted\n12:00 lead-updated segment=b
                 12:30 contacted channel=phone";
    check_spoken(&two(HOUR, BY_PHONE), again, "20:00", "11:00 breached\n11:30 resolved\n12:30 resolved");
}

#[test]
fn escalations_follow_the_breach_as_it_is_dated() {
    let b = "{answer: {start: created, stop: contacted, within: 1h, escalate_after: [30m, 2h]}}";
    let events = "10:00 lead-created segment=a\n12:00 lead-updated segment=b";
    let spoken = "12:00 breached\n12:30 escalated 1\n14:00 escalated 2";
    check_spoken(&two(BY_PHONE, b), events, "20:00", spoken);
}

#[test]
fn a_level_is_spoken_once_a_clock_and_what_is_overdue_of_it_at_the_move() {
    let a = "{answer: {start: created, stop: contacted, within: 1h, escalate_after: [10m]}}";
    let b = "{answer: {start: created, stop: contacted, within: 3h, escalate_after: [1h, 2h, 4h]}}";
    let events = "10:00 lead-created segment=a\n14:00 lead-updated segment=b";
    let spoken = "11:00 breached\n11:10 escalated 1\n14:00 escalated 2\n15:00 escalated 3";
    check_spoken(&two(a, b), events, "20:00", spoken);
}

#[test]
fn a_window_that_is_over_with_its_breach_does_not_run_again() {
    let window = |length: &str| {
        format!("{{rhythm: {{while: {{stage: work}}, touch: {{at_least: 1, within: {length}}}}}}}")
    };
    let events = "10:00 stage-changed stage=work segment=a\n11:30 lead-updated segment=b\n12:00 contacted";
    check(&two(&window("1h"), &window("4h")), events, "20:00", "rhythm 10:00 due 11:00 breached 11:00");
}

#[test]
fn earlier_visits_are_those_of_a_policy_that_always_covered_the_lead() {
    let first = "{visit: {start: {entered: work}, stop: {left: work}, within: 1h, reentry: first_only}}";
    let events =
        "09:00 lead-created segment=a\n10:00 stage-changed stage=work\n10:10 stage-changed stage=deal
                  10:20 lead-updated segment=b\n10:30 stage-changed stage=work";
    check(&two(OTHER, first), events, "20:00", "");
}

// --- T13: versions ----------------------------------------------------------------------------

#[test]
fn a_clock_is_judged_by_the_version_of_its_start_and_outside_all_by_the_next() {
    let policies = format!(
        "{PIPELINE}policies:
  - {{name: v, effective_until: '2026-03-02T10:30:00Z', objectives: {HOUR}}}
  - {{name: v, effective_from: '2026-03-02T12:00:00Z', objectives: {TWO_HOURS}}}"
    );
    let policies = policies.as_str();
    check(policies, "10:00 lead-created", "10:20", "answer 10:00 due 11:00 open");
    // In the gap no policy covers the lead; at 12:00 its clock is due since an hour.
    check(policies, "10:00 lead-created", "11:00", "answer 10:00 due 11:00 cancelled 10:30");
    check(policies, "10:00 lead-created", "20:00", "answer 10:00 due 11:00 breached at 12:00");
    check(policies, "11:00 lead-created", "20:00", "answer 11:00 due 13:00 breached");
    let adjacent = policies.replace("12:00", "10:30");
    check(&adjacent, "10:00 lead-created", "20:00", "answer 10:00 due 11:00 breached");
    check(&adjacent, "10:30 lead-created", "20:00", "answer 10:30 due 12:30 breached");
}

// --- T9: pauses -------------------------------------------------------------------------------

#[test]
fn a_pause_moves_the_deadline_and_hides_it() {
    check(HOUR_OF_ALL, "10:00 lead-created\n10:30 paused", "20:00", "answer 10:00 due never open");
    check(
        HOUR_OF_ALL,
        "10:00 lead-created\n10:30 paused\n10:50 resumed",
        "20:00",
        "answer 10:00 due 11:20 breached",
    );
    check(
        HOUR_OF_ALL,
        "10:00 lead-created\n10:30 paused\n15:00 contacted",
        "20:00",
        "answer 10:00 due never met 15:00",
    );
    check(HOUR_OF_ALL, "10:00 lead-created\n11:00 paused", "20:00", "answer 10:00 due 11:00 breached");
}

const HOUR_OF_ALL: &str =
    "policies: [{name: all, objectives: {answer: {start: created, stop: contacted, within: 1h}}}]";

#[test]
fn pauses_are_one_and_the_first_resumed_ends_all_of_them() {
    let until = "until=\"2026-03-02T10:20:00Z\"";
    let one = format!("10:00 lead-created\n10:10 paused\n10:15 paused {until}");
    check(HOUR_OF_ALL, &one, "20:00", "answer 10:00 due never open");
    let both = format!("{one}\n10:40 resumed");
    check(HOUR_OF_ALL, &both, "20:00", "answer 10:00 due 11:30 breached");
}

#[test]
fn a_pause_until_an_instant_is_over_then() {
    let until = "until=\"2026-03-02T10:40:00Z\"";
    let events = format!("10:00 lead-created\n10:30 paused {until}");
    check(HOUR_OF_ALL, &events, "10:39", "answer 10:00 due never open");
    check(HOUR_OF_ALL, &events, "10:40", "answer 10:00 due 11:10 open");
}

#[test]
fn a_stop_that_begins_a_pause_stops_a_paused_clock_and_a_later_fact_does_not() {
    let policies = all("{visit: {start: created, stop: {entered: hold}, pause: {stage: hold}, within: 1h}}");
    let events = "10:00 lead-created\n10:30 stage-changed stage=hold";
    check(&policies, events, "20:00", "visit 10:00 due never met 10:30");
    let after = "10:00 lead-created\n10:30 contacted\n10:30 paused";
    check(HOUR_OF_ALL, after, "20:00", "answer 10:00 due 11:00 met 10:30");
    let before = "10:00 lead-created\n10:30 paused\n10:30 contacted";
    check(HOUR_OF_ALL, before, "20:00", "answer 10:00 due never met 10:30");
    let resumed_after = "10:00 lead-created\n10:10 paused\n10:30 contacted\n10:30 resumed";
    check(HOUR_OF_ALL, resumed_after, "20:00", "answer 10:00 due never met 10:30");
}

#[test]
fn an_escalation_waits_for_a_pause_that_came_too_late_for_the_deadline() {
    let policies = all("{answer: {start: created, stop: contacted, within: 1h, escalate_after: [30m]}}");
    let events = "10:00 lead-created\n11:10 paused\n11:30 resumed";
    check_spoken(&policies, events, "20:00", "11:00 breached\n11:50 escalated 1");
}

// --- T7: warnings -----------------------------------------------------------------------------

#[test]
fn warnings_come_before_the_stop_once_a_step_and_not_for_what_a_move_dates_before_it() {
    let warned = |within: &str| {
        format!("{{answer: {{start: created, stop: contacted, within: {within}, warn: [50%, 10m left]}}}}")
    };
    let (two_hours, hour) = (warned("2h"), warned("1h"));
    let all_said = "10:30 at_risk 1\n10:50 at_risk 2\n11:00 breached";
    check_spoken(&all(&hour), "10:00 lead-created", "20:00", all_said);
    let stopped = "10:00 lead-created\n10:50 contacted";
    check_spoken(&all(&hour), stopped, "20:00", "10:30 at_risk 1");
    let moved = "10:00 lead-created\n10:31 paused\n10:41 resumed";
    check_spoken(&all(&hour), moved, "20:00", "10:30 at_risk 1\n11:00 at_risk 2\n11:10 breached");
    let shorter = "10:00 lead-created segment=a\n10:40 lead-updated segment=b";
    check_spoken(&two(&two_hours, &hour), shorter, "20:00", "10:50 at_risk 2\n11:00 breached");
    let longer = "10:00 lead-created segment=a\n10:40 lead-updated segment=b";
    let spoken = "10:30 at_risk 1\n11:50 at_risk 2\n12:00 breached";
    check_spoken(&two(&hour, &two_hours), longer, "20:00", spoken);
}

// --- T8: escalations --------------------------------------------------------------------------

#[test]
fn repetitions_too_are_counted_from_the_breach() {
    let policies = all(
        "{answer: {start: created, stop: contacted, within: 1h, escalate_after: [10m, {every: 30m, times: 3}]}}",
    );
    let spoken = "11:00 breached\n11:10 escalated 1\n11:30 escalated 2\n12:00 escalated 3\n12:30 escalated 4";
    check_spoken(&policies, "10:00 lead-created", "20:00", spoken);
    let stopped = "11:00 breached\n11:10 escalated 1\n11:30 resolved";
    check_spoken(&policies, "10:00 lead-created\n11:30 contacted", "20:00", stopped);
}

// --- T14: re-entry ----------------------------------------------------------------------------

#[test]
fn a_visit_again_has_what_earlier_visits_left() {
    let visit = |more: &str| {
        all(&format!("{{visit: {{start: {{entered: work}}, stop: {{left: work}}, within: 1h, {more}}}}}"))
    };
    let events =
        "10:00 stage-changed stage=work\n10:40 stage-changed stage=deal\n12:00 stage-changed stage=work";
    let cumulative = "visit 10:00 due 11:00 met 10:40\nvisit 12:00 due 12:20 breached";
    check(&visit("reentry: cumulative"), events, "20:00", cumulative);
    check(&visit("reentry: first_only"), events, "20:00", "visit 10:00 due 11:00 met 10:40");
    // All of it is used up at 11:00.
    let used = events.replace("10:40", "11:00");
    let used_up = "visit 10:00 due 11:00 met 11:00\nvisit 12:00 due 12:00 breached";
    check(&visit("reentry: cumulative"), &used, "20:00", used_up);
    // T4: left in the instant of its start, it is met even so.
    let left = format!("{used}\n12:00 stage-changed stage=deal");
    let met = "visit 10:00 due 11:00 met 11:00\nvisit 12:00 due 12:00 met 12:00";
    check(&visit("reentry: cumulative"), &left, "20:00", met);
    let breached = events.replace("10:40", "11:01");
    check(&visit("reentry: cumulative"), &breached, "20:00", "visit 10:00 due 11:00 breached resolved 11:01");
}

#[test]
fn a_start_again_in_the_same_instant_is_no_re_entry() {
    let policies =
        all("{visit: {start: {entered: work}, stop: {left: work}, within: 1h, reentry: first_only}}");
    let events = "10:00 stage-changed stage=work event_id=a\n10:00 stage-changed stage=deal\n10:00 stage-changed stage=work event_id=b";
    check(&policies, events, "20:00", "visit 10:00 due 11:00 breached");
}

// --- T15: touches -----------------------------------------------------------------------------

fn rhythm(touch: &str) -> String {
    all(&format!("{{rhythm: {{while: {{stage: [work, deal]}}, touch: {touch}}}}}"))
}

#[test]
fn every_touch_begins_the_next_clock() {
    let events =
        "10:00 stage-changed stage=work\n10:30 contacted\n11:00 stage-changed stage=deal\n12:00 contacted
                  12:20 stage-changed stage=new";
    let clocks = "rhythm 10:00 due 11:00 met 10:30
                  rhythm 10:30 due 11:30 breached resolved 12:00
                  rhythm 12:00 due 13:00 cancelled 12:20";
    check(&rhythm("{every: 1h}"), events, "20:00", clocks);
}

#[test]
fn windows_are_laid_end_to_end_and_over_at_their_ends() {
    let events =
        "10:00 stage-changed stage=work\n11:00 contacted\n11:30 contacted\n14:00 stage-changed stage=new";
    let clocks = "rhythm 10:00 due 11:00 met 11:00
                  rhythm 11:00 due 12:00 met 11:30
                  rhythm 12:00 due 13:00 breached 13:00
                  rhythm 13:00 due 14:00 cancelled 14:00";
    check(&rhythm("{at_least: 1, per: 1h}"), events, "20:00", clocks);
    check_spoken(&rhythm("{at_least: 1, per: 1h}"), events, "20:00", "13:00 breached");
    // A window that begins at the horizon has begun.
    let at_horizon = "rhythm 10:00 due 11:00 met 11:00\nrhythm 11:00 due 12:00 open";
    let touched = "10:00 stage-changed stage=work\n11:00 contacted";
    check(&rhythm("{at_least: 1, per: 1h}"), touched, "11:00", at_horizon);
}

#[test]
fn a_window_is_met_although_its_stage_is_left_later() {
    let events = "10:00 stage-changed stage=work\n10:20 contacted\n10:40 stage-changed stage=dropped";
    check(&rhythm("{at_least: 1, within: 1h}"), events, "20:00", "rhythm 10:00 due 11:00 met 10:20");
    let too_few = "rhythm 10:00 due 11:00 cancelled 10:40";
    check(&rhythm("{at_least: 2, within: 1h}"), events, "20:00", too_few);
}

#[test]
fn a_stage_left_with_too_few_touches_is_a_breach_due_at_leaving() {
    let policies = rhythm("{at_least: 2, per: stage}");
    let events = "10:00 stage-changed stage=work\n10:20 contacted\n";
    check(&policies, events, "20:00", "rhythm 10:00 due never open");
    let left = format!("{events}10:40 stage-changed stage=dropped");
    check(&policies, &left, "20:00", "rhythm 10:00 due 10:40 breached 10:40");
    let paused = format!("{events}10:30 paused\n10:40 stage-changed stage=dropped");
    check(&policies, &paused, "20:00", "rhythm 10:00 due 10:40 breached 10:40");
    let deleted = format!("{events}10:40 lead-deleted");
    check(&policies, &deleted, "20:00", "rhythm 10:00 due never cancelled 10:40");
    let touched = format!("{events}10:40 contacted\n10:40 stage-changed stage=dropped");
    check(&policies, &touched, "20:00", "rhythm 10:00 due never met 10:40");
}

#[test]
fn the_steps_of_a_cadence_are_clocks_of_one_start() {
    let events = "10:00 lead-created\n10:30 contacted\n13:00 contacted";
    let clocks = "cadence#1 10:00 due 11:00 met 10:30
                  cadence#2 10:00 due 12:00 breached resolved 13:00
                  cadence#3 10:00 due 14:00 breached";
    check(&all("{cadence: {touch: {by: [1h, 2h, 4h]}}}"), events, "20:00", clocks);
}

#[test]
fn touches_before_a_lead_is_created_or_reopened_begin_nothing() {
    let policies = all("{rhythm: {touch: {every: 1h}}}");
    check(&policies, "10:00 stage-changed stage=work\n10:30 contacted", "20:00", "");
    let reopened = "10:00 stage-changed stage=dropped\n10:30 stage-changed stage=work";
    check(&policies, reopened, "20:00", "rhythm 10:30 due 11:30 breached");
    let closed = "10:00 lead-created stage=dropped\n10:30 contacted";
    check(&policies, closed, "20:00", "");
}

#[test]
fn a_stage_left_and_entered_again_in_one_instant_begins_anew() {
    let events = "10:00 stage-changed stage=work event_id=a\n10:00 contacted\n10:00 stage-changed stage=new
                  10:00 stage-changed stage=work event_id=b";
    check(&rhythm("{at_least: 1, within: 1h}"), events, "20:00", "rhythm 10:00 due 11:00 breached 11:00");
}

// --- T17: waivers -----------------------------------------------------------------------------

#[test]
fn a_lead_that_is_merged_and_deleted_and_created_in_one_instant_stays_merged() {
    let events =
        "09:50 lead-created\n10:00 lead-merged into=other\n10:00 lead-deleted\n10:00 lead-created stage=hold";
    check(HOUR_OF_ALL, events, "20:00", "answer 09:50 due 10:50 cancelled 10:00");
}

#[test]
fn a_waived_breach_is_silent_from_then_on() {
    let policies = all("{answer: {start: created, stop: contacted, within: 1h, escalate_after: [30m, 1h]}}");
    let events =
        "10:00 lead-created\n11:40 breach-waived objective=answer who=dan why=agreed\n13:00 contacted";
    check(&policies, events, "20:00", "answer 10:00 due 11:00 waived resolved 13:00");
    check_spoken(&policies, events, "20:00", "11:00 breached\n11:30 escalated 1\n11:40 waived");
    // Waived at the deadline it is waived in advance.
    let at_it = events.replace("11:40", "11:00");
    check_spoken(&policies, &at_it, "20:00", "11:00 waived");
    let never_breached = "10:00 lead-created\n10:20 breach-waived objective=answer\n10:30 contacted";
    check(&policies, never_breached, "20:00", "answer 10:00 due 11:00 met 10:30");
}

#[test]
fn a_waiver_and_an_end_in_one_instant_come_in_the_order_of_the_log() {
    let stop_first = "10:00 lead-created\n12:00 contacted\n12:00 breach-waived objective=answer";
    check_spoken(HOUR_OF_ALL, stop_first, "20:00", "11:00 breached\n12:00 resolved\n12:00 waived");
    let moved = "10:00 lead-created segment=a\n11:30 contacted\n11:30 lead-updated segment=b";
    let in_advance = format!("{moved}\n11:30 breach-waived objective=answer");
    check_spoken(&two(TWO_HOURS, HOUR), &in_advance, "20:00", "11:30 waived");
    // Waived between two policies, it is silent also where the later one dates its end.
    let phone = BY_PHONE.replace("4h", "1h");
    let there = "10:00 lead-created segment=a\n10:30 contacted channel=chat\n11:30 lead-updated segment=z";
    let again =
        "12:00 breach-waived objective=answer\n12:30 lead-updated segment=a\n13:00 lead-updated segment=b";
    let told = "11:00 breached\n11:30 ended\n12:00 waived";
    check_spoken(&two(&phone, HOUR), &format!("{there}\n{again}"), "20:00", told);
    // Ended when no policy covered the lead, and running again, it is waived once.
    let back = "10:00 lead-created segment=a\n12:00 lead-updated segment=z\n13:00 lead-updated segment=a";
    let waived = format!("{back}\n15:00 breach-waived objective=answer");
    let told = "11:00 breached\n12:00 ended\n15:00 waived";
    check_spoken(&two(HOUR, TWO_HOURS), &waived, "20:00", told);
    let waiver_first = "10:00 lead-created\n12:00 breach-waived objective=answer\n12:00 contacted";
    check_spoken(HOUR_OF_ALL, waiver_first, "20:00", "11:00 breached\n12:00 waived");
}

#[test]
fn a_waiver_names_the_last_clock_started_or_the_one_it_says() {
    let policies = all("{reply: {start: {contacted: {direction: inbound}}, stop: contacted, within: 1h}}");
    let events = |waiver: &str| {
        format!(
            "10:00 contacted direction=inbound\n11:30 contacted\n12:00 contacted direction=inbound
             12:30 contacted\n12:40 breach-waived objective=reply {waiver}"
        )
    };
    let last = "reply 10:00 due 11:00 breached resolved 11:30\nreply 12:00 due 13:00 met 12:30";
    check(&policies, &events(""), "20:00", last);
    let first = "reply 10:00 due 11:00 waived resolved 11:30\nreply 12:00 due 13:00 met 12:30";
    check(&policies, &events("started_at=\"2026-03-02T10:00:00Z\""), "20:00", first);
}

#[test]
fn a_waiver_names_all_steps_of_a_start() {
    let events = "10:00 lead-created\n10:30 breach-waived objective=cadence";
    let clocks = "cadence#1 10:00 due 11:00 waived\ncadence#2 10:00 due 12:00 waived";
    check(&all("{cadence: {touch: {by: [1h, 2h]}}}"), events, "20:00", clocks);
}

#[test]
fn a_waiver_names_a_clock_that_the_lead_has_by_then() {
    let events =
        "10:00 lead-created segment=a\n10:10 breach-waived objective=answer\n10:30 lead-updated segment=b";
    check(&two(OTHER, HOUR), events, "20:00", "answer 10:00 due 11:00 breached");
    let before_move =
        "10:00 lead-created segment=a\n10:10 breach-waived objective=answer\n10:30 lead-updated segment=b";
    check(&two(TWO_HOURS, HOUR), before_move, "20:00", "answer 10:00 due 11:00 waived");
}

// --- T2, C4: targets --------------------------------------------------------------------------

#[test]
fn a_target_is_the_first_that_fits_the_lead_and_the_hour_at_the_start() {
    let policies = "
calendars:
  office: {time_zone: UTC, hours: {mon-fri: ['09:00-17:00']}}
  night: {time_zone: UTC, hours: {mon-sun: ['20:00-04:00']}}
policies:
  - name: all
    calendar: {by: region, far: night, default: office}
    objectives:
      answer:
        start: created
        stop: contacted
        within:
          - {if: {score: {gte: 2}}, started: open, target: 5m}
          - {started: closed, target: 2h}
          - 15bm";
    check(policies, "10:00 lead-created score=2", "20:00", "answer 10:00 due 10:05 breached");
    check(policies, "09:00 lead-created score=1", "20:00", "answer 09:00 due 09:15 breached");
    check(policies, "17:00 lead-created score=2", "20:00", "answer 17:00 due 19:00 breached");
    check(policies, "10:00 lead-created region=far", "20:00", "answer 10:00 due 12:00 breached");
    check(policies, "03:50 lead-created region=far", "20:00", "answer 03:50 due 20:05 open");
    check(policies, "09:00 lead-created region=1", "20:00", "answer 09:00 due 09:15 breached");
}

#[test]
fn a_day_closes_with_the_last_interval_that_begins_on_it() {
    let policies = "
calendars: {night: {time_zone: UTC, hours: {mon: ['20:00-04:00'], thu: ['09:00-10:00']}, holidays: [HOLIDAY]}}
policies: [{name: all, calendar: night, objectives: {answer: {start: created, stop: contacted, within: 1bd}}}]";
    // Monday's shift is not of a later day: the next open day is Thursday.
    let none = policies.replace("HOLIDAY", "2026-12-25");
    check(&none, "12:00 lead-created", "12:00", "answer 12:00 due 10:00 open");
    // What a holiday leaves of Monday's shift begins on Tuesday.
    let monday = policies.replace("HOLIDAY", "2026-03-02");
    check(&monday, "12:00 lead-created", "12:00", "answer 12:00 due 04:00 open");
}

#[test]
fn the_owner_whom_an_instant_assigns_and_takes_the_lead_from_meets_his_promise_in_it() {
    let own = "{reply: {start: assigned, stop: {contacted: {actor: $owner}}, within: 1h}}";
    let taken = "10:00 lead-created segment=a\n10:30 lead-assigned owner=bob\n10:30 lead-updated owner=null";
    let met = "reply 10:30 due 11:30 met 10:30";
    check(&two(own, HOUR), &format!("{taken}\n10:30 contacted actor=bob"), "20:00", met);
    check(&two(own, HOUR), &format!("{taken}\n10:30 contacted actor=bob\n10:30 paused"), "20:00", met);
    let breached = "reply 10:30 due 11:30 breached";
    check(&two(own, HOUR), &format!("{taken}\n10:31 contacted actor=bob"), "20:00", breached);
}
