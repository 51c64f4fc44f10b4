//! Stories: events in, transitions out.
//!
//! A line is a time, a lead, what happens, and fields. `Mon` to `Sun` are the days of one week, `Mon2` is the Monday
//! after it; all times are UTC. A transition has its level where it has one, and its cause.

mod settings;

use std::sync::Arc;

use overdue::config::read_policies;
use overdue::sla::engine::{Arrival, Effects, Engine, Output, Saying};
use overdue::sla::instant::Instant;
use overdue::sla::rules::Rules;
use overdue::wire::decode::{self, Decoder};
use overdue::wire::record::Record;
use serde_json::{Map, Value};
use settings::SETTINGS;

const MONDAY: &str = "2026-03-02T00:00:00Z";
const DAY_MS: i64 = 86_400_000;

/// Tells the story to the end of the second week and compares what is said.
#[track_caller]
pub fn check(policies: &str, story: &str, expected: &str) {
    let mut telling = Telling::new(policies);
    telling.hear(story);
    telling.advance("Mon3 00:00");
    telling.said(expected);
}

/// An engine that hears a story and says what follows.
pub struct Telling {
    pub engine: Engine,
    pub rules: Arc<Rules>,
    pub decoder: Decoder,
    pub effects: Effects,
    offset: i64,
    pub horizon: Instant,
}

impl Telling {
    pub fn new(policies: &str) -> Telling {
        let policies =
            read_policies("policies.yaml", policies).unwrap_or_else(|problems| panic!("{problems}"));
        let rules = Arc::new(Rules::new(Arc::new(policies)));
        Telling {
            engine: Engine::new(Arc::clone(&rules), SETTINGS),
            rules,
            decoder: Decoder::new(decode::Settings { future_skew_max_ms: i64::MAX / 4, are_files: true }),
            effects: Effects::default(),
            offset: 0,
            horizon: Instant::MIN,
        }
    }

    pub fn hear(&mut self, story: &str) {
        for line in story.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (time, rest) = when(line);
            let mut words = rest.split_whitespace();
            let (lead, kind) = (words.next().expect("a lead"), words.next().expect("what happens"));
            let mut event: Map<String, Value> = words.map(field).collect();
            event.insert("type".into(), kind.into());
            event.insert("lead_id".into(), lead.into());
            event.insert("time".into(), time.to_string().into());
            self.offset += 1;
            event.entry("event_id").or_insert(self.offset.to_string().into());
            let value = Value::Object(event).to_string();
            let record = Record {
                topic: 0,
                partition: 0,
                offset: self.offset,
                timestamp: None,
                key: None,
                value: Some(value.as_bytes()),
                headers: &[],
            };
            let event = self.decoder.decode(&record).unwrap_or_else(|why| panic!("{line}: {why:?}"));
            self.engine.apply(&event.lead_id, event.fact, Arrival { at: time, recorded_at: None });
        }
    }

    pub fn advance(&mut self, until: &str) {
        let (until, _) = when(until);
        while let Some(due) = self.engine.next_due().filter(|due| *due <= until) {
            self.horizon = self.horizon.max(due);
            while self.engine.advance(self.horizon, 100, &mut self.effects) {}
        }
        self.horizon = self.horizon.max(until);
        while self.engine.advance(self.horizon, 100, &mut self.effects) {}
    }

    #[track_caller]
    pub fn said(&mut self, expected: &str) {
        let outputs = std::mem::take(&mut self.effects.outputs);
        let said: Vec<_> = outputs.iter().map(|output| self.line(output)).collect();
        let expected: Vec<_> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!(said, expected, "\nsaid:\n{}\n", said.join("\n"));
    }

    fn line(&self, output: &Output) -> String {
        let what = match output.saying {
            Saying::Happened { .. } => output.step.as_str().to_owned(),
            Saying::Retracted { .. } => format!("{} retracted", output.step.as_str()),
        };
        let objective = self.rules.policies.name(output.name);
        let level = if 0 < output.level { format!(" {}", output.level) } else { String::new() };
        let cause = output.cause.map(|cause| format!(", {}", cause.as_str())).unwrap_or_default();
        format!("{} {} {objective} {what}{level}{cause}", named(output.date), output.lead_id)
    }
}

/// Reads `Mon2 09:00[:30[.5]] rest`.
pub fn when(line: &str) -> (Instant, &str) {
    let (day, rest) = line.split_once(' ').expect("a day and a time");
    let (clock, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let (name, week) = day.split_at(3);
    let weekday = DAYS.iter().position(|known| *known == name).expect("a day") as i64;
    let week = week.parse::<i64>().map_or(0, |week| week - 1);
    let mut parts = clock.split(':').map(|part| part.parse::<f64>().expect("a number"));
    let mut next = || parts.next().unwrap_or(0.0);
    let ms = ((next() * 60.0 + next()) * 60.0 + next()) * 1000.0;
    (monday().plus((week * 7 + weekday) * DAY_MS + ms.round() as i64), rest)
}

pub fn named(at: Instant) -> String {
    let ms = at.since(monday());
    let (day, ms) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
    let week = if day < 7 { String::new() } else { (day / 7 + 1).to_string() };
    let (minutes, rest) = (ms / 60_000, ms % 60_000);
    let seconds = if rest == 0 { String::new() } else { format!(":{:06.3}", rest as f64 / 1000.0) };
    format!("{}{week} {:02}:{:02}{seconds}", DAYS[(day % 7) as usize], minutes / 60, minutes % 60)
}

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

fn monday() -> Instant {
    Instant::parse(MONDAY).expect("an instant")
}

fn field(word: &str) -> (String, Value) {
    let (name, value) = word.split_once('=').expect("name=value");
    (name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into()))
}
