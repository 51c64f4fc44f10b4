//! Probes: a thread that asks where logs end, so that the worker never waits for a leader. Rule H2.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::Offset;

use super::lookup::{Found, Lookup};
use super::trouble::Trouble;
use super::{KafkaSettings, PROBE_TIMEOUT, error};
use crate::runtime::port::{Answer, Error, LogEnd, Partition, SecondOpinion, Topic};
use crate::sla::instant::Instant as Clock;

/// How long leaders are asked one by one after a question to all of them failed.
const APART_FOR: Duration = Duration::from_secs(10);

/// How long asking who leads may take: the last answer serves as well.
const LEADERS_TIMEOUT: Duration = Duration::from_millis(500);

/// The local wall clock.
pub fn wall_clock() -> Clock {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Clock::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Milliseconds since the machine started, its sleep included.
pub fn boot_clock_ms() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

/// The worker's end of the two channels.
pub struct Probes {
    questions: Sender<Question>,
    answers: Receiver<Answer>,
}

struct Question {
    ticket: u64,
    partitions: Vec<Partition>,
}

impl Probes {
    /// Starts the thread. It ends when this is dropped and its last question has been answered.
    pub fn start(settings: &KafkaSettings, trouble: &Arc<Trouble>) -> Result<Probes, Error> {
        let (questions, asked) = channel();
        let (answered, answers) = channel();
        let prober = Prober {
            lookup: Lookup::new(settings, trouble)?,
            trouble: Arc::clone(trouble),
            leaders: vec![Leaders::new(); settings.input_topics.len()],
            topics: settings.input_topics.clone(),
            answered,
            apart_until: None,
        };
        thread::Builder::new()
            .name(format!("probe-{}", settings.worker))
            .spawn(move || prober.run(&asked))
            .map_err(|e| Error::Fatal(format!("starting the thread that probes: {e}")))?;
        Ok(Probes { questions, answers })
    }

    /// Asks; the answers come later.
    pub fn ask(&self, ticket: u64, partitions: &[Partition]) -> Result<(), Error> {
        let question = Question { ticket, partitions: partitions.to_vec() };
        self.questions.send(question).map_err(|_| Error::Fatal("the thread that probes has ended".into()))
    }

    /// Hands over the answers that have come.
    pub fn take(&self, sink: &mut dyn FnMut(Answer)) {
        self.answers.try_iter().for_each(sink);
    }
}

struct Prober {
    lookup: Lookup,
    trouble: Arc<Trouble>,
    topics: Vec<String>,
    answered: Sender<Answer>,
    apart_until: Option<Instant>,
    /// Who led each topic's partitions when somebody last said: whoever is asked now may be the silent one.
    leaders: Vec<Leaders>,
}

/// The leader of each partition.
type Leaders = BTreeMap<Partition, i32>;

/// A partition of a topic by index.
type Place = (Topic, Partition);

impl Prober {
    fn run(mut self, asked: &Receiver<Question>) {
        loop {
            match asked.recv_timeout(Duration::from_secs(1)) {
                Ok(question) => self.probe(&question),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.lookup.serve();
        }
    }

    fn probe(&mut self, question: &Question) {
        let places: Vec<Place> = (0..)
            .zip(&self.topics)
            .flat_map(|(topic, _)| question.partitions.iter().map(move |p| (topic, *p)))
            .collect();
        if self.apart_until.is_some_and(|until| Instant::now() < until) {
            return self.probe_apart(question.ticket, places);
        }
        // One leader that does not answer fails the call for all.
        match self.probe_together(question.ticket, &places) {
            Ok(()) if self.leaders.iter().any(Leaders::is_empty) => self.learn_leaders(),
            Ok(()) => {}
            Err(_) => {
                self.apart_until = Some(Instant::now() + APART_FOR);
                self.learn_leaders();
                self.probe_apart(question.ticket, places);
            }
        }
    }

    fn probe_together(&self, ticket: u64, places: &[Place]) -> Result<(), String> {
        let asked_at = wall_clock();
        let found = self.ask(places)?;
        self.tell(ticket, asked_at, places, |name, place| {
            found.get(&(name.to_owned(), place.1)).cloned().unwrap_or_else(|| Err("no answer".into()))
        });
        Ok(())
    }

    /// Asks each leader in a thread of its own: those that live answer in milliseconds.
    fn probe_apart(&self, ticket: u64, places: Vec<Place>) {
        let by_leader = self.by_leader(places);
        thread::scope(|scope| {
            for (leader, places) in by_leader {
                scope.spawn(move || {
                    let asked_at = wall_clock();
                    let failed = match leader {
                        Ok(_) => self.probe_together(ticket, &places).err(),
                        Err(reason) => Some(reason),
                    };
                    if let Some(reason) = failed {
                        self.tell(ticket, asked_at, &places, |_, _| Err(reason.clone()));
                    }
                });
            }
        });
    }

    /// The places by who leads them, or by why that is not known.
    fn by_leader(&self, places: Vec<Place>) -> BTreeMap<Result<i32, String>, Vec<Place>> {
        let mut found: BTreeMap<_, Vec<Place>> = BTreeMap::new();
        for place in places {
            let leader = self.leaders[usize::from(place.0)].get(&place.1).copied();
            found.entry(leader.ok_or_else(|| "no leader is known".to_owned())).or_default().push(place);
        }
        found
    }

    fn learn_leaders(&mut self) {
        for (topic, leaders) in self.topics.iter().zip(&mut self.leaders) {
            match self.lookup.leaders(topic, LEADERS_TIMEOUT) {
                Ok(found) => *leaders = found,
                Err(e) => {
                    tracing::debug!(target: "overdue::kafka", "leaders of `{topic}`: {}", error::text(&e))
                }
            }
        }
    }

    fn ask(&self, places: &[Place]) -> Result<Found, String> {
        let asked: Vec<_> = places.iter().map(|place| (self.name(*place), place.1)).collect();
        self.lookup.offsets(&asked, Offset::End, PROBE_TIMEOUT).map_err(|e| {
            let text = error::text(&e);
            self.trouble.see_refusal(
                "lookup",
                e.rdkafka_error_code(),
                &format!("asking for log ends: {text}"),
            );
            text
        })
    }

    /// Answers for each place. Nobody listens while the worker ends.
    fn tell(
        &self,
        ticket: u64,
        asked_at: Clock,
        places: &[Place],
        end: impl Fn(&str, Place) -> Result<(i64, i32), String>,
    ) {
        for place in places {
            let answer = Answer {
                ticket,
                asked_at,
                partition: place.1,
                topic: place.0,
                end: end(self.name(*place), *place).map(|(offset, leader_epoch)| LogEnd {
                    offset,
                    leader_epoch,
                    second_opinion: SecondOpinion::OnlyBroker,
                    topic_id: None,
                    partitions: None,
                }),
            };
            if self.answered.send(answer).is_err() {
                return;
            }
        }
    }

    fn name(&self, place: Place) -> &str {
        &self.topics[usize::from(place.0)]
    }
}
