//! What must hold of the engine whatever the policies and the log: it says the same however it is fed, stopped and
//! relieved of what is settled.
//!
//! Policies and logs are those of the oracle's generator, and the outputs of one way are compared with those of
//! another: id, date, cause, deadline, and who had the lead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use overdue::config::read_policies;
use overdue::sla::clock::Step;
use overdue::sla::engine::{Arrival, Effects, Engine, Output, Saying, Settings};
use overdue::sla::fact::Fact;
use overdue::sla::instant::Instant;
use overdue::sla::rules::Rules;
use overdue::wire::changelog::{Reader, Unreadable, Writer};
use overdue::wire::decode::{self, Decoder};
use overdue::wire::record::Record;

use crate::oracle::fact;
use crate::oracle::generate::{self, Dice};

const LEADS_PER_SEED: usize = 8;
/// Longer than any log.
const EVER_MS: i64 = i64::MAX / 4;

/// Nothing is folded and nobody forgotten.
const KEEPS_ALL: Settings = Settings {
    grace_ms: 5_000,
    lateness_max_ms: EVER_MS,
    facts_max: usize::MAX,
    retention_closed_ms: EVER_MS,
    retention_idle_ms: EVER_MS,
    speak_from: Instant::MIN,
};

/// What is judged is folded at once.
const FOLDS_AT_ONCE: Settings = Settings { lateness_max_ms: 0, ..KEEPS_ALL };

/// All but the latest few facts of a lead are folded, judged or not.
const KEEPS_FEW: Settings = Settings { facts_max: 4, ..KEEPS_ALL };

/// One seed's policies and facts.
struct Case {
    name: String,
    text: String,
    rules: Arc<Rules>,
    log: Vec<String>,
    until: Instant,
}

/// A fact and its lead.
type Event = (String, Fact);

/// What stands in the end, by its id.
type Standing = BTreeMap<String, String>;

/// An engine and what it said.
struct Life {
    engine: Engine,
    effects: Effects,
}

impl Case {
    fn new(property: &str, seed: u64) -> Case {
        let case = generate::case(seed, LEADS_PER_SEED);
        let name = format!(
            "seed {seed}, repeat with OVERDUE_SEEDS={seed}..{} cargo test --test against_oracle -- {property}",
            seed + 1
        );
        let text = generate::yaml(&case.policies);
        let policies =
            read_policies("p.yaml", &text).unwrap_or_else(|problems| panic!("{name}: {problems}\n{text}"));
        let latest = case.log.iter().filter_map(|line| fact::read(line)).map(|fact| fact.at).max();
        let until = Instant::from_millis(case.until.or(latest).unwrap_or(0));
        // What is dated later is left out, as in any replay.
        let is_in = |line: &String| fact::read(line).is_some_and(|fact| fact.at <= until.millis());
        let log = case.log.into_iter().filter(is_in).collect();
        Case { name, text, rules: Arc::new(Rules::new(Arc::new(policies))), log, until }
    }

    /// The log in the order of time, without repeats: whoever folds facts forgets their identities.
    fn in_order(&self) -> Vec<Event> {
        let mut facts: Vec<(fact::Fact, String)> = Vec::new();
        for line in &self.log {
            let fact = fact::read(line).expect("a line that is read");
            let repeats =
                |(known, _): &(fact::Fact, String)| known.lead == fact.lead && known.is_repeated_by(&fact);
            if !facts.iter().any(repeats) {
                facts.push((fact, line.clone()));
            }
        }
        facts.sort_by_key(|(fact, _)| fact.at);
        events(&facts.into_iter().map(|(_, line)| line).collect::<Vec<_>>())
    }

    /// Says everything at the end.
    fn at_once(&self, events: &[Event]) -> Vec<Output> {
        let mut life = Life::new(self, KEEPS_ALL);
        events.iter().for_each(|event| life.apply(event, event.1.time));
        life.advance(self.until);
        life.effects.outputs
    }

    #[track_caller]
    fn expect(&self, how: &str, said: &Standing, expected: &Standing) {
        let missing: Vec<_> = expected.iter().filter(|(id, what)| said.get(*id) != Some(what)).collect();
        let extra: Vec<_> = said.iter().filter(|(id, what)| expected.get(*id) != Some(what)).collect();
        let leads: BTreeSet<&str> =
            missing.iter().chain(&extra).filter_map(|(_, what)| what.split(' ').next()).collect();
        let is_told = |line: &&String| fact::read(line).is_some_and(|fact| leads.contains(&*fact.lead));
        let log: Vec<_> = self.log.iter().filter(is_told).map(String::as_str).collect();
        assert!(
            missing.is_empty() && extra.is_empty(),
            "{}: {how}\n{}--- until {}\n{}\n--- missing\n{}\n--- instead\n{}",
            self.name,
            self.text,
            self.until,
            log.join("\n"),
            shown(&missing),
            shown(&extra),
        );
    }
}

fn shown(said: &[(&String, &String)]) -> String {
    said.iter().map(|(id, what)| format!("{what} ({id})\n")).collect()
}

/// Reads lines; those that are rejected are no events.
fn events(lines: &[String]) -> Vec<Event> {
    let mut decoder = Decoder::new(decode::Settings { future_skew_max_ms: EVER_MS, are_files: true });
    let read = |(offset, line): (i64, &String)| {
        let (value, headers) = (Some(line.as_bytes()), &[][..]);
        let record = Record { topic: 0, partition: 0, offset, timestamp: None, key: None, value, headers };
        let event = decoder.decode(&record).ok()?;
        Some((event.lead_id.into_owned(), event.fact))
    };
    (0..).zip(lines).filter_map(read).collect()
}

impl Life {
    fn new(case: &Case, settings: Settings) -> Life {
        Life { engine: Engine::new(Arc::clone(&case.rules), settings), effects: Effects::default() }
    }

    fn apply(&mut self, (lead, fact): &Event, at: Instant) {
        self.engine.apply(lead, fact.clone(), Arrival { at, recorded_at: None });
    }

    fn advance(&mut self, horizon: Instant) {
        while self.engine.advance(horizon, 3, &mut self.effects) {}
    }

    /// Another engine takes over with what the changelog has.
    fn restart(
        &mut self,
        case: &Case,
        settings: Settings,
        topic: &mut BTreeMap<Vec<u8>, Vec<u8>>,
        now: Instant,
    ) {
        self.write(topic).expect("a lead that can be written");
        let mut engine = Engine::new(Arc::clone(&case.rules), settings);
        let mut reader = Reader::default();
        for (key, value) in &*topic {
            reader.take(Some(key), Some(value), engine.store_mut()).expect("a record that was written");
        }
        reader.finish(engine.store_mut()).expect("leads that are whole");
        engine.restored(self.engine.store().forgotten_until, now);
        self.engine = engine;
    }

    fn write(&mut self, topic: &mut BTreeMap<Vec<u8>, Vec<u8>>) -> Result<(), Unreadable> {
        let mut writer = Writer::default();
        for (lead_id, before, now) in self.engine.store().touched() {
            writer.write(lead_id, before, now, &mut |key, value| {
                match value {
                    Some(value) => topic.insert(key.to_vec(), value.to_vec()),
                    None => topic.remove(key),
                };
                Ok::<(), Unreadable>(())
            })?;
        }
        self.engine.store_mut().commit();
        Ok(())
    }
}

/// What was said and not taken back.
fn standing(rules: &Rules, outputs: &[Output]) -> Standing {
    let mut standing = Standing::new();
    for output in outputs {
        match &output.saying {
            Saying::Happened { .. } => {
                let twice = standing.insert(output.id.to_string(), told(rules, output));
                assert_eq!(twice, None, "said twice");
            }
            Saying::Retracted { id, .. } => {
                assert!(
                    standing.remove(&id.to_string()).is_some(),
                    "taken back and not said: {}",
                    told(rules, output)
                );
            }
        }
    }
    standing
}

fn told(rules: &Rules, output: &Output) -> String {
    let Output { cause, policy, context, .. } = output;
    let due = match &output.saying {
        // The deadline of a warning is the one known by then.
        Saying::Happened { clock, .. } if output.step != Step::AtRisk => clock.deadline(output.date),
        _ => None,
    };
    let due = due.map_or("never".to_owned(), |due| due.to_string());
    format!("{}, {cause:?}, due {due}, policy {policy}, {context:?}", dated(rules, output))
}

fn dated(rules: &Rules, output: &Output) -> String {
    let Output { lead_id, date, step, level, name, started_at, turn, .. } = output;
    let objective = rules.policies.name(*name);
    format!("{lead_id} {objective} {started_at} #{turn}: {date} {} {level}", step.as_str())
}

/// Dates alone, and without what is never taken back: what was said stands, whoever is found to have had the lead
/// then, and ids count how often it was taken back.
fn verdicts(rules: &Rules, outputs: &[Output]) -> Standing {
    let mut standing = BTreeMap::new();
    for output in outputs.iter().filter(|output| output.step.is_retracted()) {
        match output.saying {
            Saying::Happened { .. } => standing.insert(output.id, dated(rules, output)),
            Saying::Retracted { id, .. } => standing.remove(&id),
        };
    }
    standing.into_values().map(|what| (what.clone(), what)).collect()
}

/// Feeds facts in the order of time and says everything before each, and once more after it.
fn step_by_step(
    case: &Case,
    events: &[Event],
    settings: Settings,
    mut between: impl FnMut(&mut Life, Instant),
) -> Vec<Output> {
    let mut life = Life::new(case, settings);
    for event in events {
        let before = event.1.time.minus(1);
        life.advance(before);
        life.apply(event, event.1.time);
        life.advance(before);
        between(&mut life, event.1.time);
    }
    life.advance(case.until);
    life.effects.outputs
}

#[test]
fn an_engine_that_folds_what_is_settled_says_the_same() {
    for seed in crate::seeds() {
        let case = Case::new("folds", seed);
        let events = case.in_order();
        let expected = standing(&case.rules, &case.at_once(&events));
        for (how, settings) in [("folded at once", FOLDS_AT_ONCE), ("keeps four facts", KEEPS_FEW)] {
            let said = step_by_step(&case, &events, settings, |_, _| {});
            case.expect(how, &standing(&case.rules, &said), &expected);
        }
    }
}

#[test]
fn an_engine_that_is_restarted_at_every_step_says_the_same() {
    for seed in crate::seeds() {
        let case = Case::new("restarted", seed);
        let events = case.in_order();
        let expected = standing(&case.rules, &case.at_once(&events));
        for (how, settings) in [("keeps all", KEEPS_ALL), ("folded at once", FOLDS_AT_ONCE)] {
            let mut topic = BTreeMap::new();
            let restart = |life: &mut Life, now: Instant| life.restart(&case, settings, &mut topic, now);
            let said = step_by_step(&case, &events, settings, restart);
            case.expect(how, &standing(&case.rules, &said), &expected);
        }
    }
}

#[test]
fn any_order_of_arrival_ends_with_the_same_standing() {
    for seed in crate::seeds() {
        let case = Case::new("any_order", seed);
        let dice = &mut Dice::new(!seed);
        let expected = case.at_once(&events(&case.log));
        let shuffled = events(&generate::shuffled(dice, &case.log));
        let at_once = standing(&case.rules, &case.at_once(&shuffled));
        case.expect("shuffled", &at_once, &standing(&case.rules, &expected));
        // The horizon runs ahead of the facts, and late truth corrects what was said.
        let mut life = Life::new(&case, KEEPS_ALL);
        for event in &shuffled {
            life.apply(event, case.until);
            let span = case.until.since(event.1.time).max(0) as usize + 1;
            life.advance(event.1.time.plus(dice.below(span) as i64));
        }
        life.advance(case.until);
        let said = verdicts(&case.rules, &life.effects.outputs);
        case.expect("shuffled and judged on the way", &said, &verdicts(&case.rules, &expected));
    }
}

#[test]
fn any_steps_of_the_horizon_say_the_same_and_take_nothing_back() {
    for seed in crate::seeds() {
        let case = Case::new("any_steps", seed);
        let dice = &mut Dice::new(!seed);
        let events = case.in_order();
        let expected = standing(&case.rules, &case.at_once(&events));
        let mut life = Life::new(&case, KEEPS_ALL);
        let mut horizon = Instant::MIN;
        for event in &events {
            for _ in 0..dice.below(4) {
                let known = horizon.max(event.1.time.minus(86_400_000));
                let span = event.1.time.since(known).max(1) as usize;
                horizon = known.plus(dice.below(span) as i64);
                life.advance(horizon);
            }
            life.apply(event, event.1.time);
        }
        while let Some(due) = life.engine.next_due().filter(|due| *due <= case.until) {
            horizon = horizon.max(due);
            life.advance(horizon);
        }
        life.advance(case.until);
        let outputs = &life.effects.outputs;
        let is_retraction = |output: &&Output| matches!(output.saying, Saying::Retracted { .. });
        let retracted = outputs.iter().find(is_retraction).map(|output| told(&case.rules, output));
        assert_eq!(retracted, None, "{}", case.name);
        case.expect("in steps", &standing(&case.rules, outputs), &expected);
    }
}
