//! `overdue replay` says what a second, naive reading of the rules says, on random policies and
//! random logs, in time order and shuffled.
//!
//! `OVERDUE_ALONE=1` holds the naive reading to its own stories and asks `overdue` nothing.
//! `OVERDUE_WITHOUT=touch,waivers` leaves features out. `OVERDUE_SEEDS=1000` tries seeds 0 to 999, `OVERDUE_SEEDS=17..18` seed 17 alone.

mod oracle;
mod properties;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::{env, fs, thread};

use chrono::{DateTime, SecondsFormat};
use oracle::fact::instant;
use oracle::generate::{self, Dice};
use serde_json::Value;

const LEADS_PER_SEED: usize = 40;
const SEEDS: Range<u64> = 0..300;
const THREADS: u64 = 2;

/// Clocks by lead, objective, start and step.
type Clocks = BTreeMap<(String, String, i64, u64), Value>;

/// Lead, objective, start, transition, level and date of every output, and how many there are:
/// steps of one `by` are not told apart.
type Spoken = BTreeMap<(String, String, i64, String, u64, i64), usize>;

/// What `overdue` is asked.
#[derive(Clone)]
struct Question {
    policies: Value,
    lines: Vec<String>,
    until: Option<i64>,
    files: usize,
}

/// What `overdue` says.
#[derive(Default, PartialEq)]
struct Answer {
    clocks: Clocks,
    spoken: Spoken,
    ids: BTreeSet<String>,
}

#[test]
fn replay_agrees_with_a_naive_reading_of_the_rules() {
    let seeds = seeds();
    thread::scope(|scope| {
        for part in 0..THREADS {
            let seeds = seeds.clone();
            scope.spawn(move || seeds.filter(|seed| seed % THREADS == part).for_each(try_seed));
        }
    });
}

#[test]
fn the_naive_reading_does_not_depend_on_the_order_of_the_log() {
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for seed in 0..60 {
        let case = generate::case(seed, LEADS_PER_SEED);
        let judged = |lines: &[String]| told(oracle::judge(&case.policies, lines, case.until));
        let in_order = judged(&case.log);
        let shuffled = generate::shuffled(&mut Dice::new(!seed), &case.log);
        assert!(in_order == judged(&shuffled), "seed {seed}");
        for clock in in_order.0.values() {
            let resolved = if clock["resolved_at"].is_null() { "" } else { ", resolved" };
            *outcomes.entry(format!("{}{resolved}", clock["outcome"])).or_default() += 1;
            let dated_at_a_move = !clock["breached_at"].is_null() && clock["breached_at"] != clock["due_at"];
            let more = [
                ("a step", !clock["step"].is_null()),
                ("no deadline", clock["due_at"].is_null()),
                ("a pause", clock["paused_ms"] != 0),
                ("a breach dated at a move", dated_at_a_move),
            ];
            for (what, _) in more.into_iter().filter(|(_, is_so)| *is_so) {
                *outcomes.entry(what.to_owned()).or_default() += 1;
            }
        }
        for (_, _, _, transition, ..) in in_order.1.keys() {
            *outcomes.entry(format!("spoken: {transition}")).or_default() += 1;
        }
    }
    assert!(
        outcomes.len() == 16 && outcomes.values().all(|count| *count > 5),
        "all ends are tried: {outcomes:?}"
    );
}

fn seeds() -> Range<u64> {
    let Ok(text) = env::var("OVERDUE_SEEDS") else { return SEEDS };
    let number = |text: &str| text.parse().expect("OVERDUE_SEEDS is a number or a range such as 3..9");
    text.split_once("..").map_or_else(|| 0..number(&text), |(from, to)| number(from)..number(to))
}

fn try_seed(seed: u64) {
    let case = generate::case(seed, LEADS_PER_SEED);
    let dice = &mut Dice::new(!seed);
    let shuffled = generate::shuffled(dice, &case.log);
    let question = |lines: &[String], files: usize| Question {
        policies: case.policies.clone(),
        lines: lines.to_vec(),
        until: case.until,
        files,
    };
    let name = format!(
        "seed {seed}, repeat with OVERDUE_SEEDS={seed}..{} cargo test --test against_oracle",
        seed + 1
    );
    let in_order = check(&name, &question(&case.log, 1));
    let shuffled = check(&name, &question(&shuffled, 1 + dice.below(3)));
    assert_eq!(in_order.ids, shuffled.ids, "{name}: ids depend on the order of the log");
}

/// Panics with the smallest story that shows it where the two differ.
fn check(name: &str, question: &Question) -> Answer {
    let expected = expected(question);
    if env::var("OVERDUE_ALONE").is_ok() {
        return Answer::default();
    }
    let answer = ask(question).unwrap_or_else(|error| {
        panic!("{name}: overdue refused\n{}{error}", generate::yaml(&question.policies))
    });
    if agree(&answer, &expected) {
        return answer;
    }
    let lead = first_difference(&answer, &expected);
    let story = shrunk(only_lead(question, &lead));
    let said = ask(&story).unwrap_or_default();
    let expected = self::expected(&story);
    panic!(
        "{name}: lead `{lead}`\n{}--- until {}\n{}\n--- overdue says\n{}--- the rules say\n{}",
        generate::yaml(&story.policies),
        story.until.map_or_else(|| "the latest event".into(), written),
        story.lines.join("\n"),
        shown(&said.clocks, &said.spoken),
        shown(&expected.0, &expected.1),
    );
}

/// What the rules say.
fn expected(question: &Question) -> (Clocks, Spoken) {
    told(oracle::judge(&question.policies, &question.lines, question.until))
}

/// The clocks, and apart from them what is spoken of them.
fn told(clocks: Vec<Value>) -> (Clocks, Spoken) {
    let (mut clocks, mut spoken) = (by_name(clocks), Spoken::new());
    for ((lead, objective, started_at, _), clock) in &mut clocks {
        let fields = clock.as_object_mut().expect("a clock is an object");
        // Warnings go to a topic of their own, which `replay` does not write.
        fields.remove("warned");
        let said = fields.remove("spoken").unwrap_or_default();
        for said in said.as_array().into_iter().flatten() {
            let transition = said[0].as_str().unwrap_or_default().to_owned();
            let (level, at) = (said[1].as_u64().unwrap_or_default(), said[2].as_i64().unwrap_or_default());
            let name = (lead.clone(), objective.clone(), *started_at, transition, level, at);
            *spoken.entry(name).or_default() += 1;
        }
    }
    (clocks, spoken)
}

fn by_name(clocks: Vec<Value>) -> Clocks {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = |clock: &Value| {
        let started_at = clock["started_at"].as_i64().unwrap_or_default();
        let step = clock["step"].as_u64().unwrap_or_default();
        (text(&clock["lead_id"]), text(&clock["objective"]), started_at, step)
    };
    let count = clocks.len();
    let clocks: Clocks = clocks.into_iter().map(|clock| (name(&clock), clock)).collect();
    assert_eq!(clocks.len(), count, "two clocks of one name");
    clocks
}

/// Runs `overdue replay` on the question in a directory of its own.
fn ask(question: &Question) -> Result<Answer, String> {
    let dir = tempfile::tempdir().expect("a directory for a while");
    let path = |name: &str| dir.path().join(name);
    fs::write(path("policies.yaml"), generate::yaml(&question.policies)).expect("write policies");
    let share = question.lines.len().div_ceil(question.files).max(1);
    let mut inputs = Vec::new();
    for (i, lines) in question.lines.chunks(share).enumerate() {
        inputs.push(path(&format!("{}.jsonl", question.files - i)));
        fs::write(&inputs[i], lines.join("\n") + "\n").expect("write events");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_overdue"))
        .arg("replay")
        .args(question.until.map(|until| format!("--until={}", written(until))))
        .args([Path::new("--policies"), &path("policies.yaml")])
        .args([Path::new("--clocks"), &path("clocks.jsonl")])
        .args([Path::new("--breaches"), &path("breaches.jsonl")])
        .args(inputs)
        .output()
        .expect("run overdue");
    if !matches!(output.status.code(), Some(0 | 1)) {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let mut answer = Answer {
        clocks: by_name(objects(&path("clocks.jsonl"))?.into_iter().map(comparable).collect()),
        ..Answer::default()
    };
    for event in objects(&path("breaches.jsonl"))? {
        answer.ids.insert(event["id"].to_string());
        *answer.spoken.entry(spoken(&event).expect("an output that names its clock")).or_default() += 1;
    }
    Ok(answer)
}

fn spoken(event: &Value) -> Option<(String, String, i64, String, u64, i64)> {
    let text = |pointer: &str| event.pointer(pointer)?.as_str().map(str::to_owned);
    Some((
        text("/data/lead_id")?,
        text("/data/objective")?,
        instant(&text("/data/clock/started_at")?)?,
        text("/data/transition")?,
        event.pointer("/data/level").and_then(Value::as_u64).unwrap_or_default(),
        instant(&text("/time")?)?,
    ))
}

fn objects(path: &Path) -> Result<Vec<Value>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    text.lines().map(|line| serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))).collect()
}

/// A clock with instants in milliseconds, as the oracle says it.
fn comparable(mut clock: Value) -> Value {
    for name in ["started_at", "due_at", "ended_at", "breached_at", "resolved_at"] {
        if let Some(at) = clock[name].as_str().and_then(instant) {
            clock[name] = at.into();
        }
    }
    clock
}

fn first_difference(said: &Answer, (clocks, spoken): &(Clocks, Spoken)) -> String {
    let names = said.clocks.keys().chain(clocks.keys());
    let mut differ = names.filter(|name| said.clocks.get(name) != clocks.get(name)).map(|name| &name.0);
    let outputs = said.spoken.keys().chain(spoken.keys());
    let mut unspoken = outputs.filter(|name| said.spoken.get(name) != spoken.get(name)).map(|name| &name.0);
    differ.next().or(unspoken.next()).cloned().unwrap_or_default()
}

fn only_lead(question: &Question, lead: &str) -> Question {
    let mut story = question.clone();
    story.lines.retain(|line| oracle::fact::read(line).is_some_and(|fact| fact.lead == lead));
    if differ(&story) { story } else { question.clone() }
}

fn differ(question: &Question) -> bool {
    ask(question).is_ok_and(|answer| !agree(&answer, &expected(question)))
}

/// The same clocks, the same outputs, and each with an id of its own.
fn agree(answer: &Answer, (clocks, spoken): &(Clocks, Spoken)) -> bool {
    answer.clocks == *clocks && answer.spoken == *spoken && answer.ids.len() == spoken.values().sum::<usize>()
}

/// Leaves out lines, then parts of lines and of the policies, while the two still differ.
fn shrunk(mut story: Question) -> Question {
    loop {
        let smaller = smaller(&story).into_iter().find(differ);
        match smaller {
            Some(smaller) => story = smaller,
            None => return story,
        }
    }
}

fn smaller(story: &Question) -> Vec<Question> {
    let mut all = vec![Question { files: 1, ..story.clone() }];
    all.retain(|_| story.files > 1);
    let count = story.lines.len();
    for size in [count / 2, count / 4, count / 8, 1].into_iter().filter(|size| *size > 0) {
        for from in (0..count).step_by(size) {
            let mut less = story.clone();
            less.lines.drain(from..count.min(from + size));
            all.push(less);
        }
    }
    all.extend(
        without_a_part(&story.policies).into_iter().map(|policies| Question { policies, ..story.clone() }),
    );
    for (i, line) in story.lines.iter().enumerate() {
        let event: Value = serde_json::from_str(line).unwrap_or_default();
        for less in without_a_part(&event) {
            let mut story = story.clone();
            story.lines[i] = less.to_string();
            all.push(story);
        }
    }
    all
}

/// The value without each of its fields and items, at any depth.
fn without_a_part(value: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    let parts: Vec<String> = match value {
        Value::Object(fields) => fields.keys().cloned().collect(),
        Value::Array(items) => (0..items.len()).map(|i| i.to_string()).collect(),
        _ => Vec::new(),
    };
    for part in parts {
        let (mut without, pointer) =
            (value.clone(), format!("/{}", part.replace('~', "~0").replace('/', "~1")));
        match &mut without {
            Value::Object(fields) => drop(fields.remove(&part)),
            Value::Array(items) => drop(items.remove(part.parse().unwrap_or(0))),
            _ => {}
        }
        all.push(without);
        for below in without_a_part(&value.pointer(&pointer).cloned().unwrap_or_default()) {
            let mut with = value.clone();
            *with.pointer_mut(&pointer).expect("a part that is there") = below;
            all.push(with);
        }
    }
    all
}

fn shown(clocks: &Clocks, spoken: &Spoken) -> String {
    let mut text = String::new();
    for clock in clocks.values() {
        let mut clock = clock.clone();
        for value in clock.as_object_mut().into_iter().flat_map(|fields| fields.values_mut()) {
            if let Some(at) = value.as_i64().filter(|at| *at > 1_000_000_000_000) {
                *value = written(at).into();
            }
        }
        text += &format!("{clock}\n");
    }
    for ((_, objective, started_at, transition, level, at), count) in spoken {
        let (started_at, at) = (written(*started_at), written(*at));
        text += &format!("{at} {transition} {level} of {objective} {started_at}, {count} times\n");
    }
    text
}

fn written(at: i64) -> String {
    let at = DateTime::from_timestamp_millis(at).expect("an instant of our time");
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
