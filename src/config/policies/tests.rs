//! Texts of policies, and what is made of them or said of them.

use std::time::{Duration, Instant};

use super::read_policies;
use crate::sla::policy::{
    CalendarChoice, Comparison, Condition, Destination, Entry, Escalation, FieldTest, Match, Objective,
    Operand, Pause, Policies, Promise, Reentry, Scalar, Target, Test, Touch, TouchForm, Validity, Warning,
};

const HOUR_MS: i64 = 3_600_000;

/// A calendar and a pipeline for the tests that need one.
const SHARED: &str = "\
calendars:
  ams: {time_zone: Europe/Amsterdam, hours: {mon-fri: [\"09:00-17:00\"]}}
  nyc: {time_zone: America/New_York, hours: {mon-fri: [\"09:00-17:00\"]}}
pipeline: {open: [new, working], won: [won], lost: [lost]}
";

fn read(text: &str) -> Policies {
    read_policies("p.yaml", text).unwrap_or_else(|problems| panic!("{problems}\nin:\n{text}"))
}

/// The problems of a text, each without the line that is shown.
fn problems(text: &str) -> Vec<String> {
    let problems = read_policies("p.yaml", text).expect_err(text);
    let first =
        |problem: &crate::config::Problem| problem.to_string().lines().next().unwrap_or_default().to_string();
    problems.0.iter().map(first).collect()
}

/// Checks that a text has these problems and no other.
#[track_caller]
fn refused(text: &str, expected: &[&str]) {
    assert_eq!(problems(text), expected, "in:\n{text}");
}

/// Checks the problems of an objective `x` of these fields, each after its `LINE:COLUMN`.
#[track_caller]
fn objective_refused(fields: &str, expected: &[&str]) {
    let text = format!("{SHARED}policies:\n- name: all\n  objectives:\n    x: {{{fields}}}\n");
    let found: Vec<_> = problems(&text);
    let found: Vec<_> = found.iter().map(|line| line.trim_start_matches("p.yaml:8:")).collect();
    assert_eq!(found, expected, "{fields}");
}

fn objective(fields: &str) -> Objective {
    let text = format!("{SHARED}policies:\n- name: all\n  objectives:\n    x: {{{fields}}}\n");
    read(&text).policies.swap_remove(0).objectives.swap_remove(0)
}

fn text(value: &str) -> Operand {
    Operand::Value(Scalar::Text(value.to_string()))
}

fn test(path: &str, any_of: Vec<Operand>) -> FieldTest {
    FieldTest { path: path.to_string(), any_of }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| text.to_string()).collect()
}

#[test]
fn a_small_file_stays_small() {
    let text = "policies:\n  - name: everyone\n    objectives:\n      first-response: {start: created, stop: contacted, within: 1h}\n";
    let policies = read(text);
    assert_eq!(policies.names, ["first-response"]);
    assert_eq!(policies.version.len(), 16);
    let everyone = &policies.policies[0];
    assert!(everyone.matches.is_empty() && everyone.labels.is_empty());
    let objective = &everyone.objectives[0];
    assert_eq!(objective.start(), [Condition::Created]);
    assert_eq!(objective.target(), Target::Elapsed(HOUR_MS));
    assert_eq!((objective.calendar.clone(), objective.restarts()), (CalendarChoice::None, false));
    assert_eq!((&objective.while_stages, &objective.severity), (&None, &None));
}

#[test]
fn the_version_is_that_of_the_text() {
    let version = |within| {
        read(&format!("policies: [{{name: a, objectives: {{x: {{start: created, stop: contacted, within: {within}}}}}}}]")).version
    };
    assert_eq!(version("1h"), version("1h"));
    assert_ne!(version("1h"), version("2h"));
}

#[test]
fn the_shipped_policies_are_valid() {
    let policies = read(include_str!("../../../config/policies.yaml"));
    assert_eq!(policies.policies.len(), 3);
    assert_eq!(policies.policies[0].objectives.len(), 12);
    let now = crate::sla::instant::Instant::parse("2026-11-27T12:00:00Z").expect("an instant");
    let lints = super::lints("policies.yaml", include_str!("../../../config/policies.yaml"), &policies, now);
    assert_eq!(lints, []);
}

#[test]
fn a_policy_is_laid_over_the_shared_definition() {
    let policies = read(&format!(
        "{SHARED}
objectives:
  reply: {{start: created, stop: contacted, severity: critical, calendar: ams, within: 4bh}}
  unused: {{start: created, stop: contacted}}
policies:
  - name: taken-as-it-is
    objectives: {{reply: {{}}}}
  - name: bare-duration
    calendar: nyc
    objectives: {{reply: 2bh}}
  - name: fields
    objectives: {{reply: {{stop: reopened, calendar: nyc, within: 1h, restart: true}}, own: {{start: assigned, stop: contacted, within: 1d}}}}
"
    ));
    assert_eq!(policies.names, ["reply", "own"]);
    let [as_it_is, bare, fields] = &policies.policies[..] else { panic!("three policies") };
    let reply = &as_it_is.objectives[0];
    assert_eq!((reply.target(), reply.calendar.clone()), (Target::Open(4 * HOUR_MS), CalendarChoice::One(0)));
    assert_eq!(reply.severity.as_deref(), Some("critical"));
    // An objective's calendar wins over its policy's, also where the shared definition gives it.
    let reply = &bare.objectives[0];
    assert_eq!((reply.target(), reply.calendar.clone()), (Target::Open(2 * HOUR_MS), CalendarChoice::One(0)));
    let reply = &fields.objectives[0];
    assert_eq!((reply.target(), reply.calendar.clone()), (Target::Elapsed(HOUR_MS), CalendarChoice::One(1)));
    assert_eq!((reply.stop(), reply.restarts()), (&[Condition::Reopened][..], true));
    assert_eq!(reply.start(), [Condition::Created]);
    assert_eq!(fields.objectives[1].name, 1);
}

#[test]
fn stages_are_short_for_objectives_from_entering_to_leaving() {
    let policies = read(&format!(
        "{SHARED}
objectives: {{stage-new: {{severity: low}}}}
policies:
  - name: all
    calendar: ams
    stages: {{new: 1bd, working: {{within: 3d, severity: high}}}}
"
    ));
    assert_eq!(policies.names, ["stage-new", "stage-working"]);
    let [new, working] = &policies.policies[0].objectives[..] else { panic!("two objectives") };
    assert_eq!(new.start(), [Condition::Entered(strings(&["new"]))]);
    assert_eq!(new.stop(), [Condition::Left { from: strings(&["new"]), to: None }]);
    assert_eq!((new.target(), new.calendar.clone()), (Target::OpenDays(1), CalendarChoice::One(0)));
    assert_eq!(new.severity.as_deref(), Some("low"));
    assert_eq!(working.severity.as_deref(), Some("high"));
}

#[test]
fn a_contact_is_outbound_by_a_human_unless_the_policy_says_otherwise() {
    let check = |condition: &str, expected: Vec<FieldTest>| {
        let objective = objective(&format!("start: created, stop: {condition}, within: 1h"));
        assert_eq!(objective.stop(), [Condition::Contacted(expected)], "{condition}");
    };
    let (outbound, human) = (test("direction", vec![text("outbound")]), test("by", vec![text("human")]));
    check("contacted", vec![outbound.clone(), human.clone()]);
    check("{contacted: {}}", vec![outbound.clone(), human.clone()]);
    check("{contacted: {direction: any, by: any}}", vec![]);
    check("{contacted: {direction: inbound}}", vec![test("direction", vec![text("inbound")]), human.clone()]);
    check(
        "{contacted: {by: [human, automation]}}",
        vec![outbound.clone(), test("by", vec![text("human"), text("automation")])],
    );
    check(
        "{contacted: {actor: $owner}}",
        vec![outbound.clone(), human.clone(), test("actor", vec![Operand::Owner])],
    );
    let value = Operand::Value;
    check(
        "{contacted: {call.minutes: [5, \"5\", true], stage: new}}",
        vec![
            outbound,
            human,
            test("call.minutes", vec![value(Scalar::Number(5.0)), text("5"), value(Scalar::Bool(true))]),
            test("stage", vec![text("new")]),
        ],
    );
}

#[test]
fn conditions_are_words_maps_or_lists_of_any() {
    let start =
        |written: &str| objective(&format!("start: {written}, stop: contacted, within: 1h")).start().to_vec();
    assert_eq!(start("assigned"), [Condition::Assigned]);
    assert_eq!(start("[created, reopened]"), [Condition::Created, Condition::Reopened]);
    assert_eq!(start("{entered: new}"), [Condition::Entered(strings(&["new"]))]);
    // A stage outside the pipeline is open, not an error.
    assert_eq!(start("{entered: [new, elsewhere]}"), [Condition::Entered(strings(&["new", "elsewhere"]))]);
    let left = |to| Condition::Left { from: strings(&["new"]), to };
    assert_eq!(start("{left: new}"), [left(None)]);
    assert_eq!(start("{left: new, to: forward}"), [left(Some(vec![Destination::Forward]))]);
    let several = vec![Destination::Won, Destination::Lost, Destination::Stage("x".to_string())];
    assert_eq!(start("{left: [new], to: [won, lost, x]}"), [left(Some(several))]);
}

#[test]
fn while_names_stages() {
    let fields = "start: created, stop: contacted, within: 1h, while: {stage: [new, working]}";
    assert_eq!(objective(fields).while_stages, Some(strings(&["new", "working"])));
}

#[test]
fn matches_compare_values_of_one_type() {
    let policies = read(
        "policies:\n- name: a\n  match: {segment: enterprise, size: [10, \"10\", 1.5], vip: true, company.country: NO, owner: mira}\n  labels: {team: a, tier: 1}\n  attainment_goal: 0.9\n  objectives: {}\n",
    );
    let one =
        |path: &str, any_of: Vec<Scalar>| Match { path: path.to_string(), tests: vec![Test::AnyOf(any_of)] };
    let text = |value: &str| Scalar::Text(value.to_string());
    let policy = &policies.policies[0];
    let expected = [
        one("segment", vec![text("enterprise")]),
        one("size", vec![Scalar::Number(10.0), text("10"), Scalar::Number(1.5)]),
        one("vip", vec![Scalar::Bool(true)]),
        one("company.country", vec![text("NO")]),
        one("owner", vec![text("mira")]),
    ];
    assert_eq!(policy.matches, expected);
    assert_eq!(policy.labels["tier"], "1");
    assert_eq!(policy.attainment_goal, Some(0.9));
}

#[test]
fn a_problem_shows_its_line() {
    let text =
        "policies:\n  - name: a\n    objectives:\n      x: {start: created, stop: contacted, within: 0h}\n";
    let problems = read_policies("policies.yaml", text).expect_err("no duration").to_string();
    let caret = format!("    {}^", " ".repeat(51));
    assert_eq!(
        problems,
        format!(
            "policies.yaml:4:52: policies[0].objectives.x.within: must be longer than zero\n          x: {{start: created, stop: contacted, within: 0h}}\n{caret}"
        )
    );
}

#[test]
fn every_problem_is_listed_in_the_order_of_the_file() {
    refused(
        "\
calendars:
  a: {time_zone: Europe/Amsterdm, hours: {mon-fry: [\"9-17\"]}}
objectives:
  x: {start: creatd, stop: contacted}
policies:
  - name: one
    objectives: {x: 1h}
  - name: one
    match: {stage: new, a: null}
    objectives: {x: 2h, y: {start: created}}
    lables: {}
polices: []
",
        &[
            "p.yaml:2:18: calendars.a.time_zone: unknown time zone `Europe/Amsterdm`, did you mean `Europe/Amsterdam`?",
            "p.yaml:2:43: calendars.a.hours.mon-fry: unknown day `fry`, did you mean `fri`?; days are `mon` to `sun`, or a range such as `mon-fri`",
            "p.yaml:2:53: calendars.a.hours.mon-fry[0]: `9-17` must be hours such as `\"09:00-17:30\"`, up to 24:00",
            "p.yaml:4:14: objectives.x.start: unknown condition `creatd`, did you mean `created`?",
            "p.yaml:8:11: policies[1].name: `one` is the name of policies[0] already",
            "p.yaml:9:13: policies[1].match.stage: the stage is never an attribute; use `while: {stage: ...}` on an objective",
            "p.yaml:9:28: policies[1].match.a: must not be null: nothing is equal to an absent value",
            "p.yaml:10:25: policies[1].objectives.y: needs `stop`, `within`",
            "p.yaml:11:5: policies[1].lables: unknown field, did you mean `labels`?",
            "p.yaml:12:1: polices: unknown field, did you mean `policies`?",
        ],
    );
}

#[test]
fn a_match_compares_by_operators_that_must_all_hold() {
    let check = |written: &str, tests: Vec<Test>| {
        let text = format!("policies: [{{name: a, match: {{a.b: {written}}}, objectives: {{}}}}]");
        assert_eq!(read(&text).policies[0].matches, [Match { path: "a.b".to_string(), tests }], "{written}");
    };
    let text = |value: &str| Scalar::Text(value.to_string());
    check("{gte: 10000}", vec![Test::Compared(Comparison::AtLeast, 10_000.0)]);
    check(
        "{gt: 1, lte: 2.5, not: 2}",
        vec![
            Test::Compared(Comparison::Above, 1.0),
            Test::Compared(Comparison::AtMost, 2.5),
            Test::NoneOf(vec![Scalar::Number(2.0)]),
        ],
    );
    check("{lt: -1}", vec![Test::Compared(Comparison::Below, -1.0)]);
    check("{not: [a, true]}", vec![Test::NoneOf(vec![text("a"), Scalar::Bool(true)])]);
    check("{present: true, not: a}", vec![Test::Present(true), Test::NoneOf(vec![text("a")])]);
    check("{present: false}", vec![Test::Present(false)]);
}

#[test]
fn faulty_operators_are_refused() {
    let check = |written: &str, column: u32, said: &str| {
        let text = format!("policies: [{{name: a, match: {{a: {written}}}, objectives: {{}}}}]");
        refused(&text, &[&format!("p.yaml:1:{column}: policies[0].match.a{said}")]);
    };
    check("{}", 33, ": must hold some of `gte`, `gt`, `lte`, `lt`, `not`, `present`");
    check("{gtee: 1}", 34, ".gtee: unknown field, did you mean `gte`?");
    check("{gte: x}", 39, ".gte: must be a number: order is only between numbers");
    check("{lt: [1]}", 38, ".lt: must be a single value");
    check(
        "{gte: 9007199254740993}",
        39,
        ".gte: `9007199254740993` is beyond what JSON numbers hold exactly, below 2^53",
    );
    check("{present: 1}", 43, ".present: must be `true` or `false`");
    check("{not: {gte: 1}}", 39, ".not: must be a value or a list of values");
    check("{not: null}", 39, ".not: must not be null: nothing is equal to an absent value");
    objective_refused(
        "start: created, stop: {contacted: {minutes: {gte: 5}}}, within: 1h",
        &["53: policies[0].objectives.x.stop.contacted.minutes: must be a value or a list of values"],
    );
}

/// The touch of an objective `x` whose `touch` is written so.
fn touch(written: &str) -> Touch {
    match objective(&format!("calendar: ams, touch: {written}")).promise {
        Promise::Touch(touch) => touch,
        Promise::Response(response) => panic!("no touch: {response:?}"),
    }
}

#[test]
fn a_touch_has_one_of_five_forms() {
    let (days, week) = (Target::Elapsed(24 * HOUR_MS), Target::Elapsed(7 * 24 * HOUR_MS));
    for (written, form) in [
        ("{every: 3bd}", TouchForm::Every(Target::OpenDays(3))),
        ("{at_least: 3, per: 1w}", TouchForm::PerWindow(3, week)),
        ("{at_least: 1, within: 4bh}", TouchForm::Within(1, Target::Open(4 * HOUR_MS))),
        ("{at_least: 5, per: stage}", TouchForm::PerStage(5)),
        ("{by: 1d}", TouchForm::By(vec![days])),
        ("{by: [1d, 1bd]}", TouchForm::By(vec![days, Target::OpenDays(1)])),
    ] {
        assert_eq!(touch(written).form, form, "{written}");
    }
}

#[test]
fn a_touch_is_a_contact_as_conditions_ask_for_it() {
    let contact = |others: Vec<FieldTest>| {
        let defaults = [test("direction", vec![text("outbound")]), test("by", vec![text("human")])];
        Condition::Contacted(defaults.into_iter().chain(others).collect())
    };
    let channel = |channel: &str| contact(vec![test("channel", vec![text(channel)])]);
    assert_eq!(touch("{every: 1d}").what, [contact(vec![])]);
    assert_eq!(touch("{every: 1d, contacted: {channel: call}}").what, [channel("call")]);
    assert_eq!(
        touch("{every: 1d, contacted: [{channel: call}, {channel: visit}]}").what,
        [channel("call"), channel("visit")]
    );
    assert_eq!(
        touch("{every: 1d, contacted: {direction: any, by: any}}").what,
        [Condition::Contacted(vec![])]
    );
}

#[test]
fn a_touch_objective_may_have_all_that_does_not_start_or_stop() {
    let touched = objective(
        "while: {stage: new}, touch: {every: 1d}, pause: none, warn: 50%, escalate_after: 1d, severity: low, penalty: {amount: 1, currency: EUR}",
    );
    assert_eq!((touched.start(), touched.stop()), (&[][..], &[][..]));
    assert_eq!(touched.while_stages, Some(strings(&["new"])));
    assert!(!touched.pause.by_facts && touched.penalty.is_some());
}

#[test]
fn faulty_touches_are_refused() {
    let place = "policies[0].objectives.x.touch";
    let forms = "must be one of `{every: 3d}`, `{at_least: 3, per: 1w}`, `{at_least: 3, within: 10d}`, `{at_least: 3, per: stage}`, `{by: [1h, 1d, 3d]}`";
    let check = |written: &str, column: u32, said: &str| {
        objective_refused(&format!("touch: {written}"), &[&format!("{column}: {place}{said}")]);
    };
    for written in [
        "{}",
        "{at_least: 3}",
        "{per: 1d}",
        "{every: 1d, by: 1d}",
        "{every: 1d, within: 3d}",
        "{contacted: {}}",
    ] {
        check(written, 16, &format!(": {forms}"));
    }
    check("3d", 16, ": must be a map");
    check("{evry: 3d}", 17, ".evry: unknown field, did you mean `every`?");
    check("{every: 0d}", 24, ".every: must be longer than zero");
    check("{every: 3bd}", 24, ".every: `3bd` needs a `calendar`, on the objective or on its policy");
    check("{at_least: 0, per: 1d}", 27, ".at_least: must be a whole number from 1 to 10000");
    check("{at_least: 2.5, per: 1d}", 27, ".at_least: must be a whole number from 1 to 10000");
    check("{by: []}", 21, ".by: must not be an empty list");
    check("{by: [1d, 0h]}", 26, ".by[1]: must be longer than zero");
    check("{by: [1d, 2bd]}", 26, ".by[1]: `2bd` needs a `calendar`, on the objective or on its policy");
    check(&format!("{{by: [{}1d]}}", "1d, ".repeat(100)), 21, ".by: must have at most 100 steps");
    check(
        "{every: 1d, contacted: {by: me}}",
        44,
        ".contacted.by: `me` is not one of `human`, `automation`, `any`",
    );
    objective_refused(
        "calendar: ams, touch: {by: [1d, 30000bh]}",
        &["41: policies[0].objectives.x.touch.by[1]: is more than ten years of calendar `ams` hold"],
    );
}

#[test]
fn what_a_touch_objective_has_not_is_refused_by_name() {
    let place = "policies[0].objectives.x";
    objective_refused(
        "touch: {every: 1d}, start: created, stop: contacted, within: 1h, restart: true, reentry: new",
        &[
            &format!(
                "29: {place}.start: a touch objective has no `start`: its clocks start when the lead enters the stages of `while`"
            ),
            &format!(
                "45: {place}.stop: a touch objective has no `stop`: a touch is what it waits for; say which under `touch: {{contacted: ...}}`"
            ),
            &format!("62: {place}.within: a touch objective has no `within`: `touch` says how often"),
            &format!(
                "74: {place}.restart: a touch objective has no `restart`: each touch and each window begins anew"
            ),
            &format!(
                "89: {place}.reentry: a touch objective has no `reentry`: each re-entry of its stages begins anew"
            ),
        ],
    );
    // A bare duration is a `within`.
    refused(
        "objectives: {x: {touch: {every: 1d}}}\npolicies: [{name: a, objectives: {x: 1h}, stages: {new: {within: 1d, touch: {every: 1d}}}}]",
        &[
            "p.yaml:2:35: policies[0].objectives.x: a touch objective has no `within`: `touch` says how often",
            "p.yaml:2:70: policies[0].stages.new.touch: unknown field",
        ],
    );
}

#[test]
fn a_pause_is_none_or_stages_besides_what_people_say() {
    let pause =
        |written: &str| objective(&format!("start: created, stop: contacted, within: 1h{written}")).pause;
    let check = |written: &str, by_facts: bool, stages: &[&str]| {
        assert_eq!(
            pause(&format!(", pause: {written}")),
            Pause { by_facts, stages: strings(stages) },
            "{written}"
        );
    };
    assert_eq!(pause(""), Pause { by_facts: true, stages: vec![] });
    check("none", false, &[]);
    check("{stage: nurture}", true, &["nurture"]);
    check("[{stage: [a, b]}, {stage: c}]", true, &["a", "b", "c"]);
    check("[none, {stage: a}]", false, &["a"]);
    let refused = |written: &str, column: u32, said: &str| {
        let expected = format!("{column}: policies[0].objectives.x.pause{said}");
        objective_refused(
            &format!("pause: {written}, start: created, stop: contacted, within: 1h"),
            &[&expected],
        );
    };
    refused("[]", 16, ": must not be an empty list");
    refused("nurture", 16, ": must be `none` or `{stage: ...}`");
    refused("{}", 16, ": needs `stage`");
    refused("{stages: a}", 17, ".stages: unknown field, did you mean `stage`?");
}

#[test]
fn warnings_are_shares_or_what_is_left() {
    let warn = |written: &str| {
        objective(&format!("start: created, stop: contacted, within: 4bh, calendar: ams, warn: {written}"))
            .warn
    };
    let left = |minutes: i64| Warning::Left(Target::Open(minutes * 60_000));
    assert_eq!(warn("50%"), [Warning::Percent(50)]);
    assert_eq!(warn("[1%, 99%]"), [Warning::Percent(1), Warning::Percent(99)]);
    assert_eq!(warn("[5bm left, 1bh]"), [left(5), left(60)]);
    // One of another kind of time fits other policies of the same definition.
    assert_eq!(warn("1d left"), [Warning::Left(Target::Elapsed(24 * HOUR_MS))]);
    let refused = |written: &str, said: &str| {
        let expected = format!("15: policies[0].objectives.x.warn: {said}");
        objective_refused(
            &format!("warn: {written}, start: created, stop: contacted, within: 1h"),
            &[&expected],
        );
    };
    for percent in ["0%", "100%", "+5%", "\"%\"", "1.5%", "256%"] {
        refused(percent, "must be from `1%` to `99%`");
    }
    let form = "must be a share of the target such as `50%`, or what is left of it such as `5m left`";
    for text in ["half", "left", "-5m"] {
        refused(text, form);
    }
    refused("50", "`50` has no unit, must be a duration such as `30m`, `1h30m`, `4bh` or `2bd`");
    refused("5mleft", "unknown unit `mleft`, must be one of `s m h d w`, `bm bh` or `bd`");
    refused("0m left", "must be longer than zero");
    refused("[]", "must not be an empty list");
}

#[test]
fn escalations_are_steps_of_which_the_last_may_repeat() {
    let steps = |written: &str| {
        objective(&format!(
            "start: created, stop: contacted, within: 1h, calendar: ams, escalate_after: {written}"
        ))
        .escalate
    };
    let week = Target::Elapsed(7 * 24 * HOUR_MS);
    assert_eq!(steps("1bd"), [Escalation::After(Target::OpenDays(1))]);
    assert_eq!(steps("{every: 7d}"), [Escalation::Every(week, Some(10))]);
    assert_eq!(
        steps("[1bh, 7d, {every: 7d, times: 3}]"),
        [Escalation::After(Target::Open(HOUR_MS)), Escalation::After(week), Escalation::Every(week, Some(3))]
    );
    assert_eq!(steps("[{every: 1bd, times: unlimited}]"), [Escalation::Every(Target::OpenDays(1), None)]);
    let refused = |written: &str, column: u32, said: &str| {
        let expected = format!("{column}: policies[0].objectives.x.escalate_after{said}");
        let rest = "start: created, stop: contacted, within: 1h";
        objective_refused(&format!("escalate_after: {written}, {rest}"), &[&expected]);
    };
    refused("[{every: 1d}, 7d]", 26, "[0]: repeats and must be the last step");
    refused("[{every: 1d}, {every: 7d}]", 26, "[0]: repeats and must be the last step");
    refused("{times: 3}", 25, ": needs `every`, such as `{every: 7d}`");
    refused("{every: 1d, times: 0}", 44, ".times: must be a whole number from 1 to 100000, or `unlimited`");
    refused(
        "{every: 1d, times: forever}",
        44,
        ".times: must be a whole number from 1 to 100000, or `unlimited`",
    );
    refused("0h", 25, ": must be longer than zero");
    refused("[1h, 4bh]", 30, "[1]: `4bh` needs a `calendar`, on the objective or on its policy");
    refused("{every: 4bh}", 25, ": `4bh` needs a `calendar`, on the objective or on its policy");
}

#[test]
fn escalations_of_a_shared_definition_serve_policies_without_a_calendar_too() {
    let policies = read(
        "objectives: {x: {start: created, stop: contacted, warn: 5bm left, escalate_after: 1bh}}\npolicies: [{name: a, objectives: {x: 1d}}]",
    );
    assert_eq!(policies.policies[0].objectives[0].escalate, [Escalation::After(Target::Open(HOUR_MS))]);
}

#[test]
fn reentry_is_one_of_three() {
    let reentry =
        |written: &str| match objective(&format!("start: created, stop: contacted, within: 1h{written}"))
            .promise
        {
            Promise::Response(response) => response.reentry,
            Promise::Touch(touch) => panic!("a touch: {touch:?}"),
        };
    assert_eq!(reentry(""), Reentry::New);
    assert_eq!(reentry(", reentry: new"), Reentry::New);
    assert_eq!(reentry(", reentry: first_only"), Reentry::FirstOnly);
    assert_eq!(reentry(", reentry: cumulative"), Reentry::Cumulative);
    objective_refused(
        "reentry: once, start: created, stop: contacted, within: 1h",
        &["18: policies[0].objectives.x.reentry: `once` is not one of `new`, `first_only`, `cumulative`"],
    );
}

#[test]
fn a_penalty_is_the_decimal_that_is_written() {
    let penalty = |amount: &str| {
        let fields = format!("penalty: {{amount: {amount}, currency: EUR}}");
        let penalty = objective(&format!("start: created, stop: contacted, within: 1h, {fields}")).penalty;
        penalty.map(|penalty| format!("{} {}", penalty.amount, penalty.currency)).unwrap_or_default()
    };
    for amount in ["50", "0.1", "99.90", "123456789012345678901234.5"] {
        assert_eq!(penalty(amount), format!("{amount} EUR"));
    }
    let refused = |written: &str, column: u32, said: &str| {
        let expected = format!("{column}: policies[0].objectives.x.penalty{said}");
        objective_refused(
            &format!("penalty: {written}, start: created, stop: contacted, within: 1h"),
            &[&expected],
        );
    };
    for amount in ["0", "0.00", "-5", "1e3", "1_000", "lots", ".inf"] {
        refused(
            &format!("{{amount: {amount}, currency: EUR}}"),
            27,
            ".amount: must be a decimal above zero such as `50` or `99.95`",
        );
    }
    for currency in ["eur", "EURO", "E1R"] {
        refused(
            &format!("{{amount: 1, currency: {currency}}}"),
            40,
            ".currency: must be three capital letters such as `EUR`",
        );
    }
    refused("{amount: 1}", 18, ": needs `amount` and `currency`, such as `{amount: 50, currency: EUR}`");
    refused("50", 18, ": must be a map");
}

#[test]
fn a_list_of_targets_ends_in_one_for_every_lead() {
    let within = |written: &str| match objective(&format!(
        "calendar: ams, start: created, stop: contacted, within: {written}"
    ))
    .promise
    {
        Promise::Response(response) => response.within,
        Promise::Touch(touch) => panic!("a touch: {touch:?}"),
    };
    let bare = |target: Target| Entry { matches: vec![], started_open: None, target };
    let (minutes, hours) = (Target::Elapsed(300_000), Target::Elapsed(4 * HOUR_MS));
    let chat = Match {
        path: "source".to_string(),
        tests: vec![Test::AnyOf(vec![Scalar::Text("chat".to_string())])],
    };
    assert_eq!(within("[4h]"), [bare(hours)]);
    assert_eq!(within("[{target: 4h}]"), [bare(hours)]);
    assert_eq!(
        within("[{if: {source: chat}, started: open, target: 5m}, {started: closed, target: 4h}, 15bm]"),
        [
            Entry { matches: vec![chat.clone()], started_open: Some(true), target: minutes },
            Entry { matches: vec![], started_open: Some(false), target: hours },
            bare(Target::Open(900_000)),
        ]
    );
    // An objective that is a list is its `within`, as a bare duration is.
    let listed = read(
        "objectives: {x: {start: created, stop: contacted}}\npolicies: [{name: a, objectives: {x: [{if: {source: chat}, target: 5m}, 4h]}}]",
    );
    assert_eq!(listed.policies[0].objectives[0].targets(), [minutes, hours]);
}

#[test]
fn faulty_lists_of_targets_are_refused() {
    let refused = |written: &str, column: u32, said: &str| {
        let expected = format!("{column}: policies[0].objectives.x.within{said}");
        objective_refused(&format!("start: created, stop: contacted, within: {written}"), &[&expected]);
    };
    refused("[]", 50, ": must end in a bare target, such as `4h`, for leads that no other entry fits");
    refused(
        "[{if: {a: b}, target: 5m}]",
        50,
        ": must end in a bare target, such as `4h`, for leads that no other entry fits",
    );
    refused("[1h, {if: {a: b}, target: 5m}]", 51, "[0]: fits every lead and must be the last entry");
    refused("[{target: 1h}, 2h]", 51, "[0]: fits every lead and must be the last entry");
    refused("[{if: {a: b}}, 2h]", 51, "[0]: needs `target`");
    refused("[{of: {a: b}, target: 5m}, 2h]", 52, "[0].of: unknown field, did you mean `if`?");
    refused(
        "[{if: {stage: b}, target: 5m}, 2h]",
        57,
        "[0].if.stage: the stage is never an attribute; use `while: {stage: ...}` on an objective",
    );
    refused("[{started: late, target: 5m}, 2h]", 61, "[0].started: `late` is not one of `open`, `closed`");
    refused(
        "[{started: open, target: 5m}, 2h]",
        61,
        "[0].started: `started` needs a `calendar`, on the objective or on its policy",
    );
    refused(
        "[{if: {a: b}, target: 5bm}, 2h]",
        72,
        "[0].target: `5bm` needs a `calendar`, on the objective or on its policy",
    );
    refused(
        "[{if: {a: b}, target: 5m}, 2bh]",
        77,
        "[1]: `2bh` needs a `calendar`, on the objective or on its policy",
    );
    refused("[[1h]]", 51, "[0]: must be a single value");
    refused(
        "{if: {a: b}, target: 5m}",
        50,
        ": must be a duration, or a list of `{if: ..., started: ..., target: ...}` that ends in a duration",
    );
}

#[test]
fn a_calendar_may_be_chosen_by_an_attribute() {
    let chosen = |written: &str| {
        objective(&format!("start: created, stop: contacted, within: 1bh, calendar: {written}")).calendar
    };
    assert_eq!(
        chosen("{by: region, emea: ams, amer: nyc, default: ams}"),
        CalendarChoice::By {
            path: "region".to_string(),
            calendars: [("emea".to_string(), 0), ("amer".to_string(), 1)].into(),
            default: 0,
        }
    );
    assert_eq!(
        chosen("{by: company.country, default: nyc}"),
        CalendarChoice::By { path: "company.country".to_string(), calendars: [].into(), default: 1 }
    );
    // A policy's, where the objective has none.
    let of_policy = read(&format!(
        "{SHARED}policies: [{{name: a, calendar: {{by: owner, default: nyc}}, objectives: {{x: {{start: created, stop: contacted, within: 1bh}}}}}}]"
    ));
    assert_eq!(of_policy.policies[0].objectives[0].calendar.indexes(), [1]);
    let refused = |written: &str, column: u32, said: &str| {
        let expected = format!("{column}: policies[0].objectives.x.calendar{said}");
        objective_refused(
            &format!("calendar: {written}, start: created, stop: contacted, within: 1h"),
            &[&expected],
        );
    };
    refused("{emea: ams, default: ams}", 19, ": needs `by`, the attribute that chooses");
    refused(
        "{by: region, emea: ams}",
        19,
        ": needs `default`, the calendar of leads whose attribute is none of these",
    );
    refused(
        "{by: region, emea: amz, default: ams}",
        38,
        ".emea: unknown calendar `amz`, did you mean `ams`?",
    );
    refused(
        "{by: stage, default: ams}",
        24,
        ".by: the stage is never an attribute; use `while: {stage: ...}` on an objective",
    );
    refused("{by: a., default: ams}", 24, ".by: must be a field or a dotted path such as `company.size`");
}

#[test]
fn every_target_fits_every_calendar_it_may_be_counted_on() {
    let text = "\
calendars:
  full: {time_zone: UTC, hours: {mon-sun: \"00:00-24:00\"}}
  rare: {time_zone: UTC, hours: {mon: \"09:00-10:00\"}}
policies:
  - name: a
    calendar: {by: region, rare: rare, default: full}
    objectives:
      x: {start: created, stop: contacted, within: [{if: {a: b}, target: 1000bh}, 10bh]}
      y: {touch: {by: [1000bh, 10bh]}}
";
    refused(
        text,
        &[
            "p.yaml:8:74: policies[0].objectives.x.within[0].target: is more than ten years of calendar `rare` hold",
            "p.yaml:9:24: policies[0].objectives.y.touch.by[0]: is more than ten years of calendar `rare` hold",
        ],
    );
}

#[test]
fn policies_of_one_name_are_versions() {
    let text = "\
revision: 7
policies:
  - {name: a, effective_until: 2026-07-01, objectives: {}}
  - {name: b, objectives: {}}
  - {name: a, effective_from: 2026-07-01T00:00:00Z, effective_until: 2027-01-01T00:00:00+01:00, objectives: {}}
  - {name: a, effective_from: 2027-01-01, objectives: {}}
";
    let policies = read(text);
    assert_eq!(policies.revision, Some(7));
    let instant = |text| crate::sla::instant::Instant::parse(text);
    let valid: Vec<_> = policies.policies.iter().map(|policy| policy.valid).collect();
    let july = instant("2026-07-01T00:00:00Z");
    assert_eq!(valid[0], Validity { from: None, until: july });
    assert_eq!(valid[1], Validity::default());
    assert_eq!(valid[2], Validity { from: july, until: instant("2026-12-31T23:00:00Z") });
    assert_eq!(valid[3], Validity { from: instant("2027-01-01T00:00:00Z"), until: None });
    assert_eq!(read("policies: [{name: a, objectives: {}}]").revision, None);
}

#[test]
fn versions_do_not_overlap() {
    let check = |second: &str, third: &str, expected: &[&str]| {
        let text = format!(
            "policies:\n- {{name: a, objectives: {{}}{second}}}\n- {{name: a, objectives: {{}}{third}}}"
        );
        refused(&text, expected);
    };
    let overlap = "p.yaml:3:10: policies[1].name: `a` is valid at the same time as policies[0] (p.yaml:2): versions of a policy must not overlap, set `effective_from` and `effective_until`";
    check("", ", effective_from: 2026-07-01", &[overlap]);
    check(", effective_until: 2026-07-02", ", effective_from: 2026-07-01", &[overlap]);
    check("", "", &["p.yaml:3:10: policies[1].name: `a` is the name of policies[0] already"]);
    check(
        ", effective_until: soon",
        ", effective_from: 2026-07-02, effective_until: 2026-07-02",
        &[
            "p.yaml:2:46: policies[0].effective_until: must be an instant such as `2026-12-31T09:00:00+01:00`, or a date such as `2026-12-31`, which is 00:00 UTC",
            "p.yaml:3:74: policies[1].effective_until: must be later than `effective_from`, 2026-07-02T00:00:00.000Z",
        ],
    );
}

#[test]
fn faulty_revisions_and_instants_are_refused() {
    for revision in ["-1", "1.5", "x", "9007199254740992"] {
        refused(
            &format!("revision: {revision}\npolicies: [{{name: a, objectives: {{}}}}]"),
            &["p.yaml:1:11: revision: must be a whole number from 0 to 9007199254740991"],
        );
    }
    for instant in ["2026", "2026-7-1", "2026-02-30", "2026-07-01T00:00:00", "+2026-07-0"] {
        let text = format!("policies: [{{name: a, effective_from: {instant}, objectives: {{}}}}]");
        assert!(problems(&text)[0].contains("must be an instant such as"), "{instant}");
    }
}

#[test]
fn stages_take_all_that_an_objective_has_besides_start_and_stop() {
    let policies = read(&format!(
        "{SHARED}policies: [{{name: a, calendar: ams, stages: {{new: {{within: [{{started: closed, target: 1d}}, 1bd], warn: 50%, pause: none, escalate_after: 1bd, reentry: cumulative, penalty: {{amount: 5, currency: EUR}}}}}}}}]"
    ));
    let new = &policies.policies[0].objectives[0];
    assert_eq!((new.warn.len(), new.escalate.len(), new.targets().len()), (1, 1, 2));
    assert!(!new.pause.by_facts && new.penalty.is_some());
}

#[test]
fn faulty_objectives_are_refused() {
    objective_refused("", &["5: policies[0].objectives.x: needs `start`, `stop`, `within`, or `touch`"]);
    objective_refused(
        "start: created, stop: contacted, within: 5",
        &[
            "50: policies[0].objectives.x.within: `5` has no unit, must be a duration such as `30m`, `1h30m`, `4bh` or `2bd`",
        ],
    );
    objective_refused(
        "start: created, stop: contacted, within: 4bh",
        &["50: policies[0].objectives.x.within: `4bh` needs a `calendar`, on the objective or on its policy"],
    );
    objective_refused(
        "start: created, stop: contacted, within: 1h, calendar: amz",
        &["64: policies[0].objectives.x.calendar: unknown calendar `amz`, did you mean `ams`?"],
    );
    objective_refused(
        "start: created, stop: contacted, within: 30000bh, calendar: ams",
        &["50: policies[0].objectives.x.within: is more than ten years of calendar `ams` hold"],
    );
    objective_refused(
        "start: created, stop: contacted, within: 1h, restart: yes, severity: 1",
        &[
            "63: policies[0].objectives.x.restart: must be `true` or `false`",
            "78: policies[0].objectives.x.severity: must be a text, such as `\"1\"` in quotes",
        ],
    );
    objective_refused(
        "start: created, stop: contacted, within: 1h, while: new",
        &["61: policies[0].objectives.x.while: must be a map"],
    );
    objective_refused(
        "strat: created, stop: contacted, within: 1h",
        &["9: policies[0].objectives.x.strat: unknown field, did you mean `start`?"],
    );
}

#[test]
fn faulty_conditions_are_refused() {
    let check = |condition: &str, column: u32, said: &str| {
        let expected = format!("{column}: policies[0].objectives.x.start{said}");
        objective_refused(&format!("start: {condition}, stop: contacted, within: 1h"), &[&expected]);
    };
    check("[]", 16, ": must not be an empty list");
    check("[[created]]", 17, "[0]: must be a condition, not a list in a list");
    check("entered", 16, ": `entered` needs a stage, such as `{entered: qualified}`");
    check("{entered: []}", 26, ".entered: must not be an empty list");
    check("{entered: 1}", 26, ".entered: must be a text, such as `\"1\"` in quotes");
    check("{entered: a, left: b}", 16, ": must be one condition; a list of conditions means any of them");
    check("{left: a, to: {}}", 30, ".to: must be a text");
    check(
        "{}",
        16,
        ": must be one of `created`, `assigned`, `reopened`, `contacted`, `{contacted: ...}`, `{entered: ...}`, `{left: ...}`",
    );
    check(
        "{contacted: {direction: up}}",
        40,
        ".contacted.direction: `up` is not one of `outbound`, `inbound`, `any`",
    );
    check("{contacted: {actor: $me}}", 36, ".contacted.actor: unknown reference `$me`, must be `$owner`");
    check(
        "{contacted: {lead_id: x}}",
        29,
        ".contacted.lead_id: `lead_id` names the event and is never a detail of the contact",
    );
    check(
        "{contacted: {a..b: x}}",
        29,
        ".contacted.a..b: must be a field or a dotted path such as `company.size`",
    );
    check(
        "{contacted: {a: null}}",
        32,
        ".contacted.a: must not be null: nothing is equal to an absent value",
    );
}

#[test]
fn destinations_need_their_stages() {
    let text = "policies: [{name: a, objectives: {x: {start: created, stop: {left: b, to: [forward, won, lost]}, within: 1h}}}]";
    let place = "policies[0].objectives.x.stop.to";
    refused(
        text,
        &[
            &format!("p.yaml:1:76: {place}[0]: `forward` needs stages in `pipeline.open`"),
            &format!("p.yaml:1:85: {place}[1]: `won` needs stages in `pipeline.won`"),
            &format!("p.yaml:1:90: {place}[2]: `lost` needs stages in `pipeline.lost`"),
        ],
    );
}

#[test]
fn event_fields_are_never_attributes() {
    for field in ["event_id", "type", "lead_id", "time"] {
        let said = format!(
            "p.yaml:1:31: policies[0].match.{field}: `{field}` describes one event and is never an attribute of the lead"
        );
        refused(&format!("policies: [{{name: a, match: {{ {field}: x}}, objectives: {{}}}}]"), &[&said]);
    }
}

#[test]
fn numbers_that_json_cannot_hold_exactly_are_refused() {
    for number in ["9007199254740993", ".inf", ".nan", "-1e300"] {
        let text = format!("policies: [{{name: a, match: {{a: {number}}}, objectives: {{}}}}]");
        let said = format!(
            "p.yaml:1:33: policies[0].match.a: `{number}` is beyond what JSON numbers hold exactly, below 2^53"
        );
        refused(&text, &[&said]);
    }
}

#[test]
fn faulty_files_are_refused() {
    refused("", &["p.yaml:1:1: must be a map"]);
    refused("[]", &["p.yaml:1:1: must be a map"]);
    refused("pipeline: {}", &["p.yaml:1:1: needs `policies`"]);
    refused("policies: []", &["p.yaml:1:11: policies: must hold at least one policy"]);
    refused(
        "policies: [{}]",
        &[
            "p.yaml:1:12: policies[0]: needs a `name`",
            "p.yaml:1:12: policies[0]: needs `objectives` or `stages`; write `objectives: {}` for leads that are promised nothing",
        ],
    );
    refused("policies: [{name: a, name: b, objectives: {}}]", &["p.yaml:1:22: key `name` is given twice"]);
    refused(
        "policies: [{name: a, objectives: {}}]\n---\na: 1",
        &["p.yaml:2:1: holds a second document, must be one"],
    );
    refused("policies: !!map {}", &["p.yaml:1:17: has a tag, which is not allowed here"]);
    refused("? [a]\n: b", &["p.yaml:1:3: is a list or map in the place of a key"]);
    refused("policies: &a [*a]", &["p.yaml:1:15: refers to itself"]);
    refused(
        "policies: [{name: a, objectives: {x: }}]",
        &[
            "p.yaml:1:35: policies[0].objectives.x: must be a duration or a map of fields; `{}` takes the shared definition as it is",
        ],
    );
    refused(
        "pipeline: {open: [a, b, a], won: b}\npolicies: [{name: a, objectives: {}, attainment_goal: 90}]",
        &[
            "p.yaml:1:25: pipeline.open[2]: `a` is pipeline.open[0] already",
            "p.yaml:1:34: pipeline.won: `b` is pipeline.open[1] already",
            "p.yaml:2:55: policies[0].attainment_goal: must be above 0 and at most 1, such as `0.9`",
        ],
    );
    refused(
        "objectives: {stage-new: 1d}\npolicies: [{name: a, objectives: {stage-new: {start: created, stop: contacted}}, stages: {new: 1d}}]",
        &["p.yaml:2:91: policies[0].stages.new: `stage-new` is among the policy's `objectives` already"],
    );
}

#[test]
fn a_syntax_error_is_one_problem() {
    let found = problems("policies:\n  - name: [a\n  b: c");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("p.yaml:3:"), "{found:?}");
}

#[test]
fn aliases_stand_for_what_they_name() {
    let text = "objectives: {x: &o {start: created, stop: contacted}, y: *o}\npolicies: [{name: a, objectives: {x: 1h, y: 2h}}]";
    assert_eq!(read(text).policies[0].objectives[1].target(), Target::Elapsed(2 * HOUR_MS));
}

#[test]
fn calendars_read_wrapping_days_and_nights() {
    for hours in [
        "{sat-mon: [\"22:00-06:00\"]}",
        "{mon-sun: \"00:00-24:00\"}",
        "{mon: [\"09:00-12:00\", \"11:00-17:00\"], mon-fri: [\"08:00-09:30\"], sun: []}",
    ] {
        read(&format!(
            "calendars: {{a: {{time_zone: UTC, hours: {hours}, holidays: [2026-12-25]}}}}\npolicies: [{{name: a, objectives: {{}}}}]"
        ));
    }
    let check = |hours: &str, said: &str| {
        let text = format!(
            "calendars: {{a: {{time_zone: UTC, hours: {hours}}}}}\npolicies: [{{name: a, objectives: {{}}}}]"
        );
        let found = problems(&text);
        assert!(found.len() == 1 && found[0].ends_with(said), "{found:?}");
    };
    check("{}", "calendars.a.hours: no open time: the hours of every weekday are empty");
    check("{sun: []}", "calendars.a.hours: no open time: the hours of every weekday are empty");
    check("{mon: \"24:00-24:00\"}", "must not open at 24:00, which is 00:00 of the next day");
    for range in ["9:00-17:00", "09:00-24:01", "09:60-10:00", "09:00", "09:00-17:00-18:00", "+9:00-10:00"] {
        check(&format!("{{mon: \"{range}\"}}"), "must be hours such as `\"09:00-17:30\"`, up to 24:00");
    }
    check(
        "{monday: \"09:00-17:00\"}",
        "unknown day `monday`, did you mean `mon`?; days are `mon` to `sun`, or a range such as `mon-fri`",
    );
}

#[test]
fn hostile_texts_are_refused_quickly() {
    let start = Instant::now();
    let laughs: String =
        (1..40).map(|n| format!("a{n}: &a{n} [{}]\n", format!("*a{},", n - 1).repeat(10))).collect();
    let found = problems(&format!("a0: &a0 [x]\n{laughs}"));
    assert!(found[0].contains("stands for too much"), "{found:?}");
    for deep in ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000), "? ".repeat(100_000)] {
        assert_eq!(problems(&deep).len(), 1);
    }
    let long = "x".repeat(9 << 20);
    refused(&long, &["p.yaml:1:1: is larger than 8 MiB"]);
    problems(&format!("a: {}", "x".repeat(1 << 20)));
    let names: String = (0..70_000).map(|n| format!("  n{n}: 1h\n")).collect();
    problems(&format!("objectives:\n{names}"));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*") {
        let _ = read_policies("p.yaml", &text);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(0u8.., 0..300)) {
        let _ = read_policies("p.yaml", &String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_damage_to_a_file_makes_it_panic(at in 0usize..5000, cut in 0usize..20, put in "[ -~\\n\\t]{0,8}") {
        let mut text = include_str!("../../../config/policies.yaml").to_string();
        let at = at.min(text.len() - 1);
        text.replace_range(at..(at + cut).min(text.len()), &put);
        if let Err(problems) = read_policies("p.yaml", &text) {
            proptest::prop_assert!(!problems.0.is_empty());
        }
    }
}
