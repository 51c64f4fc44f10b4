//! What is wrong between this process and its brokers: said once in the log, counted, and shown while it lasts.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::metrics::Metrics;

/// What kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nobody answers.
    Unreachable,
    /// The brokers do not know who asks.
    Authentication,
    /// One side does not take the other's certificate, or there is no encryption where there should be.
    Tls,
    /// The brokers know who asks, and say no.
    Authorization,
    /// Anything else that the client library goes on against by itself.
    Other,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 5] =
        [Kind::Unreachable, Kind::Authentication, Kind::Tls, Kind::Authorization, Kind::Other];

    /// Its name as a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Unreachable => "unreachable",
            Kind::Authentication => "authentication",
            Kind::Tls => "tls",
            Kind::Authorization => "authorization",
            Kind::Other => "other",
        }
    }

    /// Whether somebody has to change something, here or at the brokers, before the work goes on.
    pub fn needs_somebody(self) -> bool {
        matches!(self, Kind::Authentication | Kind::Tls | Kind::Authorization)
    }
}

/// Which client of which worker has a trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The worker; none before there are workers.
    pub worker: Option<usize>,
    /// What the client is for.
    pub role: &'static str,
}

/// How long a trouble lasts that is not seen again: the client library repeats what it keeps meeting at least
/// every 30 s (`rd_kafka_broker_set_error` of librdkafka 2.12.1).
const LASTS: Duration = Duration::from_secs(40);

/// How often the same thing is logged, in milliseconds.
const TOLD_EVERY_MS: i64 = 30_000;

/// How many different things are remembered as told.
const TOLD_MAX: usize = 64;

/// The troubles of one process.
#[derive(Debug)]
pub struct Troubles {
    metrics: Option<Metrics>,
    began_at: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    seen: BTreeMap<(Source, Kind), Seen>,
    told: Repeats,
}

#[derive(Debug)]
struct Seen {
    text: String,
    at: Instant,
    /// Whether it is said only once, and so lasts until it is over.
    is_said_once: bool,
}

impl Seen {
    fn lasts(&self) -> bool {
        self.is_said_once || self.at.elapsed() < LASTS
    }
}

impl Default for Troubles {
    fn default() -> Troubles {
        Troubles { metrics: None, began_at: Instant::now(), state: Mutex::default() }
    }
}

impl Troubles {
    /// Those that are counted here.
    pub fn counted(metrics: Metrics) -> Troubles {
        Troubles { metrics: Some(metrics), ..Troubles::default() }
    }

    /// Keeps a trouble, counts it, and logs it unless the same was logged just now.
    pub fn see(&self, source: Source, kind: Kind, text: &str, is_said_once: bool) {
        if let Some(metrics) = &self.metrics {
            metrics.kafka_failed(kind);
        }
        let now_ms = i64::try_from(self.began_at.elapsed().as_millis()).unwrap_or(i64::MAX);
        let mut state = self.state();
        let is_news = state.told.is_news(&format!("{} {text}", kind.as_str()), now_ms);
        if is_news {
            tracing::warn!(target: "overdue::kafka", kind = kind.as_str(), client = source.role, "{text}");
        }
        state.seen.insert((source, kind), Seen { text: text.to_owned(), at: Instant::now(), is_said_once });
    }

    /// What was wrong with a client is over, as its success shows.
    pub fn over(&self, source: Source) {
        self.end(|seen| seen == source);
    }

    /// What was wrong with all of a worker's clients is over.
    pub fn over_for(&self, worker: Option<usize>) {
        self.end(|seen| seen.worker == worker);
    }

    fn end(&self, is_over: impl Fn(Source) -> bool) {
        let mut state = self.state();
        let before = state.seen.len();
        state.seen.retain(|(source, _), _| !is_over(*source));
        if state.seen.len() < before && state.seen.is_empty() {
            state.told = Repeats::default();
            tracing::info!(target: "overdue::kafka", "the brokers can be used again");
        }
    }

    /// The latest of a worker, while it lasts.
    pub fn latest(&self, worker: Option<usize>) -> Option<String> {
        let state = self.state();
        let own = state.seen.iter().filter(|((source, _), seen)| source.worker == worker && seen.lasts());
        // What somebody must change says more than that nobody answers, which comes of it.
        let latest = own.max_by_key(|((_, kind), seen)| (kind.needs_somebody(), seen.at));
        latest.map(|(_, seen)| seen.text.clone())
    }

    /// What lasts and needs somebody, in words.
    pub fn needing_somebody(&self) -> Option<String> {
        let state = self.state();
        let found = state.seen.iter().find(|((_, kind), seen)| kind.needs_somebody() && seen.lasts());
        found.map(|((_, kind), seen)| format!("{}: {}", kind.as_str(), seen.text))
    }

    /// Brings the gauges up to date.
    pub fn publish(&self) {
        let Some(metrics) = &self.metrics else { return };
        let state = self.state();
        for kind in Kind::ALL {
            let lasts = state.seen.iter().any(|((_, seen), trouble)| *seen == kind && trouble.lasts());
            metrics.kafka_trouble(kind, lasts);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells what is new from what was said a moment ago.
#[derive(Debug, Default)]
pub struct Repeats {
    told_at_ms: BTreeMap<String, i64>,
}

impl Repeats {
    /// Whether a text has not been told for a while; then it counts as told now.
    pub fn is_news(&mut self, text: &str, now_ms: i64) -> bool {
        self.told_at_ms.retain(|_, at| (0..TOLD_EVERY_MS).contains(&(now_ms - *at)));
        if self.told_at_ms.contains_key(text) || TOLD_MAX <= self.told_at_ms.len() {
            return false;
        }
        self.told_at_ms.insert(text.to_owned(), now_ms);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Repeats, Source, Troubles};

    const GROUP: Source = Source { worker: Some(0), role: "group" };
    const PRODUCER: Source = Source { worker: Some(0), role: "producer" };

    #[test]
    fn the_same_is_told_once_in_a_while() {
        let mut repeats = Repeats::default();
        for (text, at_ms, is_news) in
            [("a", 0, true), ("a", 1, false), ("b", 2, true), ("a", 29_999, false), ("a", 30_000, true)]
        {
            assert_eq!(repeats.is_news(text, at_ms), is_news, "{text} at {at_ms} ms");
        }
        assert!(repeats.is_news("a", 5), "a clock that was set back does not silence it");
    }

    #[test]
    fn a_flood_of_different_things_is_cut() {
        let mut repeats = Repeats::default();
        let told = (0..1000).filter(|n| repeats.is_news(&n.to_string(), 0)).count();
        assert_eq!(told, super::TOLD_MAX);
    }

    #[test]
    fn a_trouble_ends_with_the_success_of_its_client() {
        let troubles = Troubles::default();
        troubles.see(GROUP, Kind::Authorization, "no", true);
        troubles.see(PRODUCER, Kind::Unreachable, "silence", false);
        assert_eq!(troubles.needing_somebody().as_deref(), Some("authorization: no"));
        assert_eq!(troubles.latest(Some(0)).as_deref(), Some("no"), "the cause before what comes of it");
        troubles.over(GROUP);
        assert_eq!(troubles.needing_somebody(), None, "nobody can make a silent broker speak");
        assert_eq!(troubles.latest(Some(0)).as_deref(), Some("silence"));
        troubles.over_for(Some(0));
        assert_eq!(troubles.latest(Some(0)), None);
    }
}
