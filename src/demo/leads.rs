//! Leads whose reps answer as companies were found to.
//!
//! Response times follow an audit of 2,241 US companies: 37 % answered a web lead within an hour, 16 % within
//! 24 hours, 24 % later than that, and 23 % never (Oldroyd, McElheran and Elkington, "The Short Life of
//! Online Sales Leads", Harvard Business Review, March 2011). Within each class times are drawn
//! so that short ones are more likely. What happens after the first answer is made up.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

use crate::sla::instant::Instant;

const MINUTE_MS: f64 = 60_000.0;
const HOUR_MS: f64 = 60.0 * MINUTE_MS;

/// An event to be sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// When it happens.
    pub at: Instant,
    /// The lead, also its key.
    pub lead_id: String,
    /// The JSON value.
    pub value: String,
}

/// A stream of events of ever new leads.
#[derive(Debug)]
pub struct Leads {
    random: ChaCha8Rng,
    speed: f64,
    interval_ms: f64,
    next_lead_at: f64,
    prefix: String,
    created: u64,
    pending: BinaryHeap<Reverse<Event>>,
}

impl Leads {
    /// Leads from `start` on, so many a second; all that their reps do is `speed` times as fast as in life.
    pub fn new(seed: u64, start: Instant, leads_per_second: f64, speed: f64) -> Leads {
        Leads {
            random: ChaCha8Rng::seed_from_u64(seed),
            speed,
            interval_ms: 1000.0 / leads_per_second,
            next_lead_at: start.millis() as f64,
            prefix: "lead".to_owned(),
            created: 0,
            pending: BinaryHeap::new(),
        }
    }

    /// Leads whose names begin with this, to tell them from those of another run.
    pub fn named(self, prefix: &str) -> Leads {
        Leads { prefix: prefix.to_owned(), ..self }
    }

    /// How many leads were created.
    pub fn created(&self) -> u64 {
        self.created
    }

    /// The events that happen up to `now`, in order.
    pub fn until(&mut self, now: Instant) -> Vec<Event> {
        while self.next_lead_at <= now.millis() as f64 {
            self.create(self.next_lead_at);
            self.next_lead_at += self.interval_ms;
        }
        let mut events = Vec::new();
        while self.pending.peek().is_some_and(|Reverse(event)| event.at <= now) {
            events.extend(self.pending.pop().map(|Reverse(event)| event));
        }
        events
    }

    fn create(&mut self, at: f64) {
        self.created += 1;
        let lead_id = format!("{}-{:05}", self.prefix, self.created);
        let owner = format!("rep-{:02}", self.random.random_range(1..=12));
        let story = Story { lead_id, owner, at, count: 0 };
        self.tell(story);
    }

    /// Enters everything that will happen to one lead.
    fn tell(&mut self, mut story: Story) {
        let segment = self.one_of(&["enterprise", "mid", "smb"]);
        let source = self.one_of(&["web", "chat", "event", "partner"]);
        let team = self.one_of(&["emea", "amer"]);
        let amount = self.random.random_range(10..900) * 100;
        self.add(
            &mut story,
            "lead-created",
            json!({"stage": "new", "segment": segment, "source": source, "team": team, "amount": amount}),
        );
        let Some(response_ms) = self.response_ms() else { return };
        story.at += response_ms / self.speed;
        let channel = self.one_of(&["phone", "email"]);
        self.add(&mut story, "contacted", json!({"channel": channel, "outcome": "connected"}));
        let last = self.one_of(&["won", "lost"]);
        for stage in ["working", "qualified", "proposal", last] {
            if self.random.random_bool(0.15) {
                return;
            }
            story.at += (5.0 * MINUTE_MS + self.exponential(6.0 * HOUR_MS)) / self.speed;
            self.add(&mut story, "stage-changed", json!({ "stage": stage }));
        }
    }

    /// How long until the first answer, if there ever is one.
    fn response_ms(&mut self) -> Option<f64> {
        match self.random.random_range(0..100) {
            0..37 => Some(self.exponential(15.0 * MINUTE_MS) % HOUR_MS),
            37..53 => Some(HOUR_MS + self.exponential(6.0 * HOUR_MS) % (23.0 * HOUR_MS)),
            53..77 => Some(24.0 * HOUR_MS + self.exponential(24.0 * HOUR_MS)),
            _ => None,
        }
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        let uniform: f64 = self.random.random_range(f64::EPSILON..1.0);
        -uniform.ln() * mean
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.random.random_range(0..choices.len())]
    }

    fn add(&mut self, story: &mut Story, kind: &str, more: Value) {
        story.count += 1;
        let at = Instant::from_millis(story.at as i64);
        let mut event = Map::new();
        event.insert(
            "event_id".into(),
            format!("{}-{}-{:08x}", story.lead_id, story.count, self.random.next_u32()).into(),
        );
        event.insert("type".into(), kind.into());
        event.insert("lead_id".into(), story.lead_id.clone().into());
        event.insert("time".into(), at.to_string().into());
        event.insert("owner".into(), story.owner.clone().into());
        if let Value::Object(more) = more {
            event.extend(more);
        }
        let value = Value::Object(event).to_string();
        self.pending.push(Reverse(Event { at, lead_id: story.lead_id.clone(), value }));
    }
}

/// One lead, as far as it is told.
struct Story {
    lead_id: String,
    owner: String,
    at: f64,
    count: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_as_the_audit_found() {
        let mut leads = Leads::new(7, Instant::from_millis(0), 100.0, 1.0);
        let (mut hour, mut day, mut later, mut never) = (0, 0, 0, 0);
        for _ in 0..20_000 {
            match leads.response_ms() {
                Some(ms) if ms <= HOUR_MS => hour += 1,
                Some(ms) if ms <= 24.0 * HOUR_MS => day += 1,
                Some(_) => later += 1,
                None => never += 1,
            }
        }
        for (share, found) in [(37, hour), (16, day), (24, later), (23, never)] {
            let expected = share * 200;
            assert!((expected - 200..=expected + 200).contains(&found), "{share} %: {found}");
        }
    }

    #[test]
    fn events_come_in_order_and_the_same_for_a_seed() {
        let run = || Leads::new(1, Instant::from_millis(0), 5.0, 600.0).until(Instant::from_millis(60_000));
        let events = run();
        assert!(events.is_sorted_by_key(|event| event.at));
        assert!(events.iter().filter(|event| event.value.contains("lead-created")).count() > 290);
        assert_eq!(events, run());
    }
}
