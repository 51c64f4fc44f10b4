//! Texts of policies, and what is made of them or said of them.

use std::time::{Duration, Instant};

use super::read_policies;
use crate::sla::policy::{
    CalendarChoice, Condition, Destination, FieldTest, Match, Objective, Operand, Policies, Scalar, Target,
    Test,
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
    assert_eq!(policies.policies.len(), 2);
    assert_eq!(policies.policies[0].objectives.len(), 7);
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
fn what_comes_later_is_refused_by_name() {
    let rest = "start: created, stop: contacted, within: 1h";
    for (field, value) in [
        ("warn", "[50%]"),
        ("escalate_after", "[1h]"),
        ("pause", "none"),
        ("touch", "{every: 3d}"),
        ("reentry", "new"),
        ("penalty", "{amount: 50}"),
    ] {
        let expected =
            format!("9: policies[0].objectives.x.{field}: `{field}` is not supported by this version");
        objective_refused(&format!("{field}: {value}, {rest}"), &[&expected]);
        // What seems to be missing may be what is not supported.
        objective_refused(&format!("{field}: {value}"), &[&expected]);
    }
    objective_refused(
        "start: created, stop: contacted, within: [{if: {a: b}, target: 5m}, 1h]",
        &["50: policies[0].objectives.x.within: `within: [...]` is not supported by this version"],
    );
    objective_refused(
        "calendar: {by: region, default: ams}, start: created, stop: contacted, within: 1h",
        &["19: policies[0].objectives.x.calendar: `calendar: {by: ...}` is not supported by this version"],
    );
    for operator in ["gte", "gt", "lte", "lt", "not", "present"] {
        refused(
            &format!("policies: [{{name: a, match: {{a: {{{operator}: 1}}}}, objectives: {{}}}}]"),
            &[&format!(
                "p.yaml:1:34: policies[0].match.a.{operator}: `{operator}` is not supported by this version"
            )],
        );
    }
    for field in ["revision", "effective_from", "effective_until"] {
        refused(
            &format!("{field}: 1\npolicies: [{{name: a, objectives: {{}}, {field}: 1}}]"),
            &[
                &format!("p.yaml:1:1: {field}: `{field}` is not supported by this version"),
                &format!("p.yaml:2:38: policies[0].{field}: `{field}` is not supported by this version"),
            ],
        );
    }
}

#[test]
fn faulty_objectives_are_refused() {
    objective_refused("", &["5: policies[0].objectives.x: needs `start`, `stop`, `within`"]);
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
    fn no_damage_to_a_file_makes_it_panic(at in 0usize..1900, cut in 0usize..20, put in "[ -~\\n\\t]{0,8}") {
        let mut text = include_str!("../../../config/policies.yaml").to_string();
        let at = at.min(text.len() - 1);
        text.replace_range(at..(at + cut).min(text.len()), &put);
        if let Err(problems) = read_policies("p.yaml", &text) {
            proptest::prop_assert!(!problems.0.is_empty());
        }
    }
}
