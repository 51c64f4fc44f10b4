//! Stories by hand, so that the second reading is itself read against the rules. `overdue` is asked
//! each of them too.

use serde_json::{Value, json};

use super::fact::instant;
use super::judge;

const ANSWER: &str = "
pipeline: {open: [new, work, deal], won: [signed], lost: [dropped]}
policies:
  - name: all
    objectives: {answer: {start: created, stop: contacted, within: 1h}}";

/// Judges lines such as `10:00 stage-changed stage=work` at `until`, and expects one line a clock.
#[track_caller]
pub fn check(policies: &str, events: &str, until: &str, expected: &str) {
    let policies: Value = serde_saphyr::from_str(policies).expect("policies that parse");
    let lines: Vec<String> = events.lines().map(str::trim).map(line).collect();
    let clocks = judge(&policies, &lines, instant(&time(until)));
    let told: Vec<String> = clocks.iter().map(tell).collect();
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(told, expected);
    let until = instant(&time(until));
    crate::check("story", &crate::Question { policies, lines, until, files: 1 });
}

fn time(clock: &str) -> String {
    format!("2026-03-02T{clock}:00Z")
}

fn line(story: &str) -> String {
    let mut words = story.split_whitespace();
    let mut event = json!({"lead_id": "lead-1"});
    event["time"] = json!(words.next().map(time));
    event["type"] = json!(words.next());
    for (name, value) in words.filter_map(|word| word.split_once('=')) {
        event[name] = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
    }
    event.to_string()
}

fn tell(clock: &Value) -> String {
    let at = |name: &str| {
        let minutes = clock[name].as_i64().map(|millis| millis / 60_000 % (24 * 60));
        minutes.map(|minutes| format!("{:02}:{:02}", minutes / 60, minutes % 60))
    };
    let step = clock["step"].as_u64().map(|step| format!("#{step}"));
    let mut told = format!(
        "{}{} {} due {} {}",
        clock["objective"].as_str().unwrap_or("?"),
        step.unwrap_or_default(),
        at("started_at").unwrap_or_default(),
        at("due_at").unwrap_or_else(|| "never".into()),
        clock["outcome"].as_str().unwrap_or("?"),
    );
    if clock["breached_at"] != clock["due_at"] && !clock["breached_at"].is_null() {
        told += &format!(" at {}", at("breached_at").unwrap_or_default());
    }
    match (at("resolved_at"), at("ended_at")) {
        (Some(resolved), _) => told += &format!(" resolved {resolved}"),
        (None, Some(ended)) => told += &format!(" {ended}"),
        (None, None) => {}
    }
    told
}

/// What is spoken of all clocks, such as `12:00 escalated 1`, a line each, by time.
#[track_caller]
pub fn check_spoken(policies: &str, events: &str, until: &str, expected: &str) {
    let policies: Value = serde_saphyr::from_str(policies).expect("policies that parse");
    let lines: Vec<String> = events.lines().map(str::trim).map(line).collect();
    let until = instant(&time(until));
    let mut said: Vec<(i64, String)> = Vec::new();
    for clock in judge(&policies, &lines, until) {
        for spoken in clock["spoken"].as_array().into_iter().chain(clock["warned"].as_array()).flatten() {
            let at = spoken[2].as_i64().unwrap_or_default();
            let minutes = at / 60_000 % (24 * 60);
            let level = spoken[1].as_u64().map(|level| format!(" {level}"));
            let what = spoken[0].as_str().unwrap_or("?");
            let what = format!("{:02}:{:02} {what}{}", minutes / 60, minutes % 60, level.unwrap_or_default());
            said.push((at, what));
        }
    }
    said.sort();
    let said: Vec<String> = said.into_iter().map(|(_, what)| what).collect();
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(said, expected);
    crate::check("story", &crate::Question { policies, lines, until, files: 1 });
}

#[test]
fn a_stop_at_the_deadline_meets_it() {
    check(ANSWER, "10:00 lead-created\n11:00 contacted", "20:00", "answer 10:00 due 11:00 met 11:00");
    check(
        ANSWER,
        "10:00 lead-created\n11:01 contacted",
        "20:00",
        "answer 10:00 due 11:00 breached resolved 11:01",
    );
    check(ANSWER, "10:00 lead-created", "11:00", "answer 10:00 due 11:00 breached");
    check(ANSWER, "10:00 lead-created", "10:59", "answer 10:00 due 11:00 open");
}

#[test]
fn what_is_dated_after_the_horizon_is_not_there() {
    check(ANSWER, "10:00 lead-created\n10:30 contacted", "10:20", "answer 10:00 due 11:00 open");
}

#[test]
fn a_contact_before_the_creation_answers_it() {
    check(ANSWER, "09:00 contacted\n10:00 lead-created", "20:00", "answer 10:00 due 11:00 met 10:00");
    check(
        ANSWER,
        "09:00 contacted direction=inbound\n10:00 lead-created",
        "20:00",
        "answer 10:00 due 11:00 breached",
    );
}

#[test]
fn closing_cancels_and_reopening_does_not_create() {
    check(
        ANSWER,
        "10:00 lead-created stage=new\n10:30 stage-changed stage=dropped\n10:40 stage-changed stage=new",
        "20:00",
        "answer 10:00 due 11:00 cancelled 10:30",
    );
    check(
        ANSWER,
        "10:00 lead-created stage=new\n11:30 stage-changed stage=dropped",
        "20:00",
        "answer 10:00 due 11:00 breached 11:30",
    );
    check(ANSWER, "10:00 lead-created stage=dropped", "20:00", "");
}

#[test]
fn a_lead_created_after_deletion_begins_anew() {
    check(
        ANSWER,
        "09:00 contacted\n10:00 lead-created\n10:10 lead-deleted\n10:15 contacted\n10:20 lead-created",
        "20:00",
        "answer 10:00 due 11:00 met 10:00
         answer 10:20 due 11:20 breached",
    );
}

#[test]
fn a_clock_started_again_in_its_own_instant_runs_on() {
    check(
        ANSWER,
        "10:00 lead-created event_id=a\n10:00 lead-deleted\n10:00 lead-created event_id=b",
        "20:00",
        "answer 10:00 due 11:00 breached",
    );
}

#[test]
fn merging_ends_and_silences() {
    check(
        ANSWER,
        "10:00 lead-created\n10:30 lead-merged into=lead-2\n10:40 contacted\n10:50 lead-deleted\n10:55 lead-created",
        "20:00",
        "answer 10:00 due 11:00 cancelled 10:30",
    );
}

#[test]
fn stages_is_short_for_entering_and_leaving() {
    check(
        "pipeline: {won: [signed]}
policies: [{name: all, stages: {work: 1h, signed: 2h}}]",
        "10:00 stage-changed stage=work
         10:30 stage-changed stage=work
         10:50 stage-changed stage=signed
         11:00 stage-changed stage=work",
        "20:00",
        "stage-signed 10:50 due 12:50 met 11:00
         stage-work 10:00 due 11:00 met 10:50
         stage-work 11:00 due 12:00 breached",
    );
}

#[test]
fn a_hand_off_outlives_closing_but_not_reopening() {
    let policies = "
pipeline: {won: [signed], lost: [dropped]}
policies: [{name: all, objectives: {onboard: {start: {entered: signed}, stop: contacted, within: 2h}}}]";
    check(
        policies,
        "10:00 stage-changed stage=signed\n10:30 stage-changed stage=dropped\n11:00 contacted",
        "20:00",
        "onboard 10:00 due 12:00 met 11:00",
    );
    check(
        policies,
        "10:00 stage-changed stage=signed\n10:30 stage-changed stage=new\n11:00 contacted",
        "20:00",
        "onboard 10:00 due 12:00 cancelled 10:30",
    );
}

const TOUCH: &str = "
policies:
  - name: all
    objectives: {touch: {start: assigned, restart: true, stop: {contacted: {actor: $owner}}, within: 1h}}";

#[test]
fn an_assignment_restarts_and_only_the_owner_stops() {
    check(
        TOUCH,
        "10:00 lead-created owner=ann
         10:20 lead-assigned owner=ann
         10:30 lead-assigned owner=bob
         10:40 contacted actor=ann
         11:20 contacted actor=bob",
        "20:00",
        "touch 10:00 due 11:00 cancelled 10:30
         touch 10:30 due 11:30 met 11:20",
    );
}

#[test]
fn the_first_assignment_may_come_after_the_first_touch() {
    check(
        TOUCH,
        "10:00 lead-created\n10:10 contacted actor=ann\n10:20 lead-assigned owner=ann\n10:30 lead-assigned owner=bob",
        "10:45",
        "touch 10:20 due 11:20 met 10:20
         touch 10:30 due 11:30 open",
    );
    check(
        TOUCH,
        "09:10 contacted actor=ann\n10:00 lead-created\n10:20 lead-assigned owner=ann",
        "10:45",
        "touch 10:20 due 11:20 open",
    );
}

#[test]
fn leaving_the_stages_of_while_ends() {
    let policies = "
policies: [{name: all, objectives: {reply: {
  start: {contacted: {direction: inbound}}, stop: contacted, while: {stage: [new, work]}, within: 1h}}}]";
    check(
        policies,
        "09:00 contacted direction=inbound
         10:00 stage-changed stage=new
         10:10 contacted direction=inbound
         10:20 stage-changed stage=work
         10:30 stage-changed stage=deal",
        "20:00",
        "reply 10:10 due 11:10 cancelled 10:30",
    );
}

#[test]
fn the_first_in_the_log_counts() {
    check(
        ANSWER,
        "10:00 lead-created event_id=a
         10:20 contacted event_id=b direction=inbound
         10:10 contacted event_id=b
         10:30 lead-assigned event_id=b owner=ann",
        "20:00",
        "answer 10:00 due 11:00 breached",
    );
}

#[test]
fn the_lead_of_its_whole_instant_decides_the_policy() {
    let policies = "policies:
  - {name: a, match: {geo.country: NL}, objectives: {answer: {start: created, stop: contacted, within: 1h}}}
  - {name: b, objectives: {answer: {start: created, stop: contacted, within: 2h}}}";
    let events =
        "10:00 lead-created\n10:00 lead-updated geo={\"country\":\"NL\"}\n10:01 lead-updated geo=null";
    check(policies, events, "10:00", "answer 10:00 due 11:00 open");
    check(policies, events, "10:30", "answer 10:00 due 12:00 open");
}

#[test]
fn a_contact_in_the_instant_of_the_creation_answers_it() {
    let met = "answer 10:00 due 11:00 met 10:00";
    check(ANSWER, "10:00 lead-created\n10:00 contacted", "20:00", met);
    check(ANSWER, "10:00 contacted\n10:00 lead-created", "20:00", met);
    check(ANSWER, "10:00 lead-created\n10:00 stage-changed stage=dropped\n10:00 contacted", "20:00", met);
    check(ANSWER, "10:00 lead-created\n10:00 lead-merged into=lead-2\n10:00 contacted", "20:00", met);
}

#[test]
fn an_assignment_in_the_instant_of_an_answered_creation_is_answered() {
    let policies = ANSWER.replace("start: created", "start: [created, assigned]");
    let met = "answer 10:00 due 11:00 met 10:00";
    check(&policies, "10:00 lead-created\n10:00 contacted\n10:00 lead-assigned owner=ann", "20:00", met);
    check(&policies, "09:00 contacted\n10:00 lead-created\n10:00 lead-assigned owner=ann", "20:00", met);
}

#[test]
fn an_answer_to_the_life_before_answers_nothing() {
    check(
        ANSWER,
        "09:00 contacted\n10:00 lead-created event_id=a\n10:00 lead-deleted\n10:00 lead-created event_id=b",
        "20:00",
        "answer 10:00 due 11:00 breached",
    );
}

#[test]
fn a_merged_lead_does_not_come_back_by_having_been_deleted() {
    for events in [
        "09:00 lead-deleted\n09:30 lead-merged into=lead-2\n10:00 lead-created",
        "10:00 lead-created\n09:30 lead-merged into=lead-2\n09:00 lead-deleted",
    ] {
        check(ANSWER, events, "20:00", "");
    }
}

#[test]
fn a_clock_ended_and_handed_off_in_one_instant_is_a_hand_off() {
    check(
        "pipeline: {won: [signed], lost: [dropped]}
policies: [{name: all, objectives: {onboard: {
  start: [created, {entered: signed}], stop: contacted, within: 2h}}}]",
        "10:00 lead-created
         10:00 stage-changed stage=signed
         10:30 stage-changed stage=dropped
         11:00 contacted",
        "20:00",
        "onboard 10:00 due 12:00 met 11:00",
    );
}

#[test]
fn leaving_for_a_won_stage_hands_off() {
    check(
        "pipeline: {open: [new, deal], won: [signed]}
policies: [{name: all, objectives: {onboard: {start: {left: deal, to: won}, stop: contacted, within: 2h}}}]",
        "10:00 stage-changed stage=deal\n10:30 stage-changed stage=signed\n11:00 contacted",
        "20:00",
        "onboard 10:30 due 12:30 met 11:00",
    );
}

#[test]
fn open_time_alone_counts_toward_an_open_target() {
    let policies = "
calendars: {office: {time_zone: Europe/Amsterdam, hours: {mon-fri: ['09:00-12:30', '13:00-17:00']}}}
policies: [{name: all, calendar: office, objectives: {answer: {start: created, stop: contacted, within: 4bh30m}}}]";
    // Amsterdam is an hour east of UTC.
    let policies = policies.replace("4bh30m", "4bh30bm");
    check(&policies, "06:00 lead-created", "06:30", "answer 06:00 due 13:00 open");
    check(&policies, "11:45 lead-created", "23:59", "answer 11:45 due 08:30 open");
    check(&policies, "12:00 lead-created", "12:00", "answer 12:00 due 08:30 open");
}
