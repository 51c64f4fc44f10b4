//! What the rules say, as stories: events in, transitions out.

#[path = "support/story.rs"]
mod story;

use overdue::sla::engine::Arrival;
use overdue::sla::instant::Instant;
use overdue::wire::record::Record;
use story::{Telling, check, when};

const FIRST_RESPONSE: &str = "
pipeline: {open: [new, working, nurture, qualified], won: [won], lost: [lost]}
policies:
  - name: everyone
    objectives:
      first-response: {start: created, stop: contacted, within: 1h}
";

impl Telling {
    /// Another process takes over, and knows nothing yet.
    fn hand_over(&mut self) {
        self.engine.forget_horizon();
        self.horizon = Instant::MIN;
    }

    /// Finds that records were lost.
    fn lose(&mut self, at: &str) {
        self.engine.lose(when(at).0);
        self.engine.forget_horizon();
    }
}

// T4, T5, T10: the boundary.

#[test]
fn an_answer_at_the_deadline_is_in_time() {
    check(
        FIRST_RESPONSE,
        "Mon 09:00 a lead-created\nMon 10:00 a contacted",
        "Mon 10:00 a first-response met",
    );
}

#[test]
fn an_answer_a_millisecond_later_is_not() {
    check(
        FIRST_RESPONSE,
        "Mon 09:00 a lead-created\nMon 10:00:00.001 a contacted",
        "Mon 10:00 a first-response breached\nMon 10:00:00.001 a first-response resolved",
    );
}

#[test]
fn a_lead_closed_at_the_deadline_is_cancelled_and_after_it_ended() {
    check(
        FIRST_RESPONSE,
        "Mon 09:00 a lead-created
         Mon 10:00 a stage-changed stage=lost",
        "Mon 10:00 a first-response cancelled",
    );
    check(
        FIRST_RESPONSE,
        "Mon 09:00 a lead-created
         Mon 10:00:00.001 a stage-changed stage=lost",
        "Mon 10:00 a first-response breached\nMon 10:00:00.001 a first-response ended",
    );
}

#[test]
fn a_contact_by_automation_or_from_the_lead_is_no_answer() {
    check(
        FIRST_RESPONSE,
        "Mon 09:00 a lead-created
         Mon 09:10 a contacted by=automation
         Mon 09:20 a contacted direction=inbound",
        "Mon 10:00 a first-response breached",
    );
}

// T6: already satisfied.

#[test]
fn a_rep_who_phones_and_then_enters_the_lead_has_answered() {
    check(
        FIRST_RESPONSE,
        "Mon 08:00 a contacted\nMon 09:00 a lead-created",
        "Mon 09:00 a first-response met",
    );
}

#[test]
fn an_answer_of_the_instant_of_creation_counts_in_either_order() {
    for story in
        ["Mon 09:00 a contacted\nMon 09:00 a lead-created", "Mon 09:00 a lead-created\nMon 09:00 a contacted"]
    {
        check(FIRST_RESPONSE, story, "Mon 09:00 a first-response met");
    }
}

#[test]
fn the_stage_a_lead_is_created_in_counts_as_reached() {
    check(
        "policies:
           - name: everyone
             objectives: {qualify: {start: created, stop: {entered: [qualified, lost]}, within: 1d}}",
        "Mon 09:00 a lead-created stage=qualified
         Mon 09:00 b lead-created stage=new",
        "Mon 09:00 a qualify met\nTue 09:00 b qualify breached",
    );
}

const OWNER_FIRST_TOUCH: &str = "
policies:
  - name: everyone
    objectives:
      first-touch: {start: assigned, restart: true, stop: {contacted: {actor: $owner}}, within: 1h}
";

#[test]
fn only_the_first_assignment_is_satisfied_by_an_earlier_touch_of_its_owner() {
    check(
        OWNER_FIRST_TOUCH,
        "Mon 08:00 a lead-created
         Mon 08:30 a contacted actor=ann
         Mon 09:00 a lead-assigned owner=ann
         Mon 12:00 a lead-assigned owner=bob
         Mon 12:10 a contacted actor=ann
         Mon 12:20 a contacted actor=bob",
        "Mon 09:00 a first-touch met\nMon 12:20 a first-touch met",
    );
}

#[test]
fn a_touch_before_creation_or_by_somebody_else_does_not_satisfy_an_assignment() {
    check(
        OWNER_FIRST_TOUCH,
        "Mon 07:00 a contacted actor=ann
         Mon 08:00 a lead-created
         Mon 08:30 a contacted actor=bob
         Mon 09:00 a lead-assigned owner=ann",
        "Mon 10:00 a first-touch breached",
    );
}

#[test]
fn a_new_owner_cancels_the_old_ones_clock_and_the_same_owner_changes_nothing() {
    check(
        OWNER_FIRST_TOUCH,
        "Mon 09:00 a lead-created owner=ann
         Mon 09:30 a lead-assigned owner=ann
         Mon 09:40 a lead-assigned owner=bob
         Mon 11:00 a lead-assigned owner=cat",
        "Mon 09:40 a first-touch cancelled
         Mon 10:40 a first-touch breached
         Mon 11:00 a first-touch ended
         Mon 12:00 a first-touch breached",
    );
}

// T2 and T10: where clocks start and end.

#[test]
fn nothing_but_a_hand_off_starts_in_a_closed_lead() {
    check(
        "
        pipeline: {open: [new], won: [won], lost: [lost]}
        policies:
          - name: everyone
            objectives:
              first-response: {start: created, stop: contacted, within: 1h}
              next-reply: {start: {contacted: {direction: inbound}}, stop: contacted, within: 1h}
              hand-off: {start: {entered: won}, stop: {contacted: {role: customer-success}}, within: 1d}
        ",
        "Mon 09:00 a lead-created stage=won
         Mon 10:00 a contacted direction=inbound
         Mon 11:00 a stage-changed stage=lost",
        "Tue 09:00 a hand-off breached",
    );
}

#[test]
fn reopening_ends_a_hand_off_and_deletion_does_too() {
    let policies = "
        pipeline: {open: [new], won: [won], lost: [lost]}
        policies:
          - name: everyone
            objectives:
              hand-off: {start: {entered: won}, stop: {contacted: {role: cs}}, within: 1d}
              again: {start: reopened, stop: contacted, within: 1h}
        ";
    check(
        policies,
        "Mon 09:00 a stage-changed stage=won
         Mon 10:00 a stage-changed stage=new
         Mon 09:00 b stage-changed stage=won
         Mon 10:00 b lead-deleted",
        "Mon 10:00 a hand-off cancelled\nMon 10:00 b hand-off cancelled\nMon 11:00 a again breached",
    );
}

#[test]
fn a_fact_stops_a_clock_before_it_ends_it() {
    check(
        "
        pipeline: {open: [new], won: [won], lost: [lost]}
        policies:
          - name: everyone
            objectives: {decide: {start: created, stop: {entered: [won, lost]}, within: 1d}}
        ",
        "Mon 09:00 a lead-created\nMon 10:00 a stage-changed stage=lost",
        "Mon 10:00 a decide met",
    );
}

#[test]
fn leaving_the_stages_of_while_ends_a_clock_and_moving_inside_them_does_not() {
    check(
        "
        policies:
          - name: everyone
            objectives:
              reply: {start: {contacted: {direction: inbound}}, stop: contacted, within: 1h, while: {stage: [working, qualified]}}
        ",
        "Mon 08:00 a stage-changed stage=new
         Mon 08:10 a contacted direction=inbound
         Mon 09:00 a stage-changed stage=working
         Mon 09:10 a contacted direction=inbound
         Mon 09:20 a stage-changed stage=qualified
         Mon 09:30 a stage-changed stage=nurture
         Tue 09:00 a stage-changed stage=working
         Tue 09:10 a contacted direction=inbound
         Tue 11:00 a stage-changed stage=new",
        "Mon 09:30 a reply cancelled
         Tue 10:10 a reply breached
         Tue 11:00 a reply ended",
    );
}

#[test]
fn a_second_start_changes_nothing_while_the_clock_runs() {
    check(
        "policies:
           - name: everyone
             objectives: {reply: {start: {contacted: {direction: inbound}}, stop: contacted, within: 1h}}",
        "Mon 09:00 a contacted direction=inbound
         Mon 09:30 a contacted direction=inbound
         Mon 09:45 a contacted
         Mon 09:50 a contacted direction=inbound",
        "Mon 09:45 a reply met\nMon 10:50 a reply breached",
    );
}

// F3, F5, F6, F8: facts.

#[test]
fn facts_of_one_instant_count_in_the_order_of_the_log() {
    let policies = "policies:
           - name: everyone
             objectives: {reply: {start: {contacted: {direction: inbound}}, stop: contacted, within: 1h}}";
    check(
        policies,
        "Mon 09:00 a contacted direction=inbound\nMon 09:00 a contacted",
        "Mon 09:00 a reply met",
    );
    check(
        policies,
        "Mon 09:00 a contacted\nMon 09:00 a contacted direction=inbound",
        "Mon 10:00 a reply breached",
    );
}

#[test]
fn a_clock_stopped_and_started_again_within_its_first_instant_runs_on() {
    check(
        "policies:
           - name: everyone
             objectives: {reply: {start: {contacted: {direction: inbound}}, stop: contacted, within: 1h}}",
        "Mon 09:00 a contacted direction=inbound
         Mon 09:00 a contacted
         Mon 09:00 a contacted direction=inbound",
        "Mon 10:00 a reply breached",
    );
}

#[test]
fn the_stage_of_a_contact_moves_nobody() {
    check(
        "policies:
           - name: everyone
             objectives: {first-response: {start: created, stop: {contacted: {stage: new}}, within: 1h}}
             stages: {new: 2h}",
        "Mon 09:00 a lead-created stage=new
         Mon 09:10 a contacted stage=working
         Mon 09:20 a contacted stage=new",
        "Mon 09:20 a first-response met\nMon 11:00 a stage-new breached",
    );
}

#[test]
fn a_change_to_the_stage_a_lead_is_in_is_none() {
    check(
        "policies: [{name: everyone, stages: {new: 1h}}]",
        "Mon 09:00 a lead-created stage=new
         Mon 09:50 a stage-changed stage=new",
        "Mon 10:00 a stage-new breached",
    );
}

#[test]
fn a_lead_never_created_has_stage_clocks_only() {
    check(
        "policies:
           - name: everyone
             objectives: {first-response: {start: created, stop: contacted, within: 1h}}
             stages: {new: 1h}",
        "Mon 09:00 a stage-changed stage=new",
        "Mon 10:00 a stage-new breached",
    );
}

#[test]
fn a_later_creation_is_an_update_and_one_after_deletion_a_new_life() {
    check(
        FIRST_RESPONSE,
        "Mon 09:00 a lead-created
         Mon 09:30 a lead-created
         Mon 09:40 a contacted
         Tue 09:00 a lead-deleted
         Tue 09:10 a contacted
         Tue 09:20 a lead-created",
        "Mon 09:40 a first-response met\nTue 10:20 a first-response breached",
    );
}

#[test]
fn the_policy_is_that_of_the_attributes_when_the_clock_starts() {
    check(
        "
        policies:
          - name: large
            match: {deal.size: [l, xl]}
            objectives: {first-response: {start: [created, {contacted: {direction: inbound}}], stop: contacted, within: 10m}}
          - name: everyone
            objectives: {first-response: {start: [created, {contacted: {direction: inbound}}], stop: contacted, within: 1h}}
        ",
        r#"Mon 09:00 a lead-created deal={"size":"s"}
           Mon 09:00 a lead-updated deal={"size":"l"}
           Mon 09:00 b lead-created deal={"size":"l"}
           Mon 09:05 b lead-updated deal={"size":null}
           Mon 09:05 b contacted
           Mon 09:05 b contacted direction=inbound"#,
        "Mon 09:05 b first-response met
         Mon 09:10 a first-response breached
         Mon 10:05 b first-response breached",
    );
}

#[test]
fn nothing_counts_of_a_lead_after_it_was_merged() {
    check(
        FIRST_RESPONSE,
        "Mon 09:00 a lead-created
         Mon 09:10 a lead-merged into=b
         Mon 09:20 a lead-created",
        "Mon 09:10 a first-response cancelled",
    );
}

// C1-C4: business time.

#[test]
fn a_weekend_does_not_count() {
    check(
        "
        calendars: {office: {time_zone: UTC, hours: {mon-fri: [\"09:00-17:00\"]}, holidays: [2026-03-09]}}
        policies:
          - name: everyone
            calendar: office
            objectives:
              hours: {start: created, stop: contacted, within: 1bh}
              days: {start: created, stop: contacted, within: 1bd}
        ",
        "Fri 16:30 a lead-created",
        "Tue2 09:30 a hours breached\nTue2 17:00 a days breached",
    );
}

// H1, H8, I1: what is said, and taken back.

#[test]
fn an_answer_that_comes_to_light_late_takes_the_breach_back() {
    let mut telling = Telling::new(FIRST_RESPONSE);
    telling.hear("Mon 09:00 a lead-created");
    telling.advance("Mon 10:30");
    telling.said("Mon 10:00 a first-response breached");
    telling.hear("Mon 09:30 a contacted");
    telling.advance("Mon 10:40");
    telling.said("Mon 10:00 a first-response breached retracted\nMon 09:30 a first-response met");
}

#[test]
fn a_deadline_that_moves_gets_a_new_breach_and_the_old_one_is_taken_back() {
    let mut telling = Telling::new(FIRST_RESPONSE);
    telling.hear("Mon 09:00 a lead-created event_id=second");
    telling.advance("Mon 10:30");
    telling.said("Mon 10:00 a first-response breached");
    telling.hear("Mon 08:30 a lead-created event_id=first");
    telling.advance("Mon 10:40");
    telling.said("Mon 10:00 a first-response breached retracted\nMon 09:30 a first-response breached");
}

#[test]
fn a_horizon_that_lags_behind_what_was_said_takes_nothing_back() {
    let mut telling = Telling::new(FIRST_RESPONSE);
    telling.hear("Mon 09:00 a lead-created");
    telling.advance("Mon 10:00");
    telling.said("Mon 10:00 a first-response breached");
    telling.hand_over();
    telling.hear("Mon 09:59 a lead-updated");
    telling.advance("Mon 09:59:30");
    telling.said("");
    telling.advance("Mon 10:30");
    telling.said("");
}

#[test]
fn nothing_is_said_before_the_horizon_reaches_it() {
    let mut telling = Telling::new(FIRST_RESPONSE);
    telling.hear("Mon 09:00 a lead-created");
    telling.advance("Mon 09:59:59.999");
    telling.said("");
    telling.advance("Mon 10:00");
    telling.said("Mon 10:00 a first-response breached");
}

#[test]
fn a_lead_whose_facts_come_late_waits_until_their_arrival_is_proven() {
    let mut telling = Telling::new(FIRST_RESPONSE);
    telling.hear("Mon 09:00 a lead-created");
    telling.advance("Mon 09:30");
    // An hour of events comes at once, at 11:00: the creation of another lead, and then its answer.
    let arrival = Arrival { at: when("Mon 11:00").0, recorded_at: None };
    telling.engine.advance(when("Mon 10:30").0, 100, &mut telling.effects);
    telling.said("Mon 10:00 a first-response breached");
    let value = br#"{"type":"lead-created","lead_id":"b","event_id":"b1","time":"2026-03-02T09:00:00Z"}"#;
    let record = Record {
        topic: 0,
        partition: 0,
        offset: 99,
        timestamp: None,
        key: None,
        value: Some(value),
        headers: &[],
    };
    let event = telling.decoder.decode(&record).expect("an event");
    telling.engine.apply("b", event.fact, arrival);
    telling.advance("Mon 10:59");
    telling.said("");
    telling.advance("Mon 11:00");
    telling.said("Mon 10:00 b first-response breached");
}

// H6: records were lost before they were read.

const REPLIES: &str = "
pipeline: {open: [new, working], won: [won], lost: [lost]}
policies:
  - name: everyone
    objectives:
      first-response: {start: created, stop: contacted, within: 1h}
      next-reply: {start: {contacted: {direction: inbound}}, stop: contacted, within: 1h}
";

#[test]
fn what_was_open_when_records_were_lost_is_undecidable_and_never_breached() {
    let mut telling = Telling::new(REPLIES);
    telling.hear("Mon 09:00 due lead-created\nMon 10:00 open lead-created\nMon 11:00 later lead-created");
    telling.advance("Mon 09:30");
    telling.lose("Mon 10:30");
    telling.advance("Mon 10:29");
    telling.said("");
    telling.advance("Mon 12:30");
    telling.said(
        "Mon 10:30 due first-response undecidable
         Mon 10:30 open first-response undecidable
         Mon 12:00 later first-response breached",
    );
}

#[test]
fn a_breach_that_was_proven_before_the_loss_stands_and_is_resolved() {
    let mut telling = Telling::new(REPLIES);
    telling.hear("Mon 09:00 a lead-created");
    telling.advance("Mon 10:10");
    telling.said("Mon 10:00 a first-response breached");
    telling.hand_over();
    telling.lose("Mon 10:30");
    telling.hear("Mon 10:40 a contacted");
    telling.advance("Mon 12:00");
    telling.said("Mon 10:40 a first-response resolved");
}

#[test]
fn an_answer_in_time_that_is_found_after_the_loss_counts() {
    let mut telling = Telling::new(REPLIES);
    telling.hear("Mon 09:00 a lead-created\nMon 09:00 b lead-created");
    telling.lose("Mon 09:30");
    telling.hear("Mon 09:20 a contacted\nMon 09:40 b contacted");
    telling.advance("Mon 12:00");
    telling.said("Mon 09:20 a first-response met\nMon 09:30 b first-response undecidable");
}

#[test]
fn a_lead_first_seen_after_the_loss_is_undecidable_as_far_as_it_began_before() {
    let mut telling = Telling::new(REPLIES);
    telling.lose("Mon 09:30");
    telling.hear(
        "Mon 09:00 a lead-created
         Mon 09:31 b lead-created
         Mon 09:10 c contacted direction=inbound
         Mon 09:40 c contacted direction=inbound",
    );
    telling.advance("Mon 12:00");
    telling.said(
        "Mon 09:30 a first-response undecidable
         Mon 09:30 c next-reply undecidable
         Mon 10:31 b first-response breached
         Mon 10:40 c next-reply breached",
    );
}

#[test]
fn what_is_undecidable_is_said_once_and_taken_back_by_proof() {
    let mut telling = Telling::new(REPLIES);
    telling.hear("Mon 09:00 a lead-created");
    telling.lose("Mon 09:30");
    telling.advance("Mon 09:30");
    telling.said("Mon 09:30 a first-response undecidable");
    telling.hand_over();
    telling.lose("Mon 09:50");
    telling.advance("Mon 10:00");
    telling.said("");
    telling.hear("Mon 09:20 a contacted");
    telling.advance("Mon 12:00");
    telling.said("Mon 09:30 a first-response undecidable retracted\nMon 09:20 a first-response met");
}

#[test]
fn a_loss_that_was_not_committed_did_not_happen() {
    let mut telling = Telling::new(REPLIES);
    telling.hear("Mon 09:00 a lead-created");
    telling.engine.store_mut().commit();
    telling.lose("Mon 09:30");
    telling.engine.store_mut().abort();
    telling.advance("Mon 12:00");
    telling.said("Mon 10:00 a first-response breached");
}
