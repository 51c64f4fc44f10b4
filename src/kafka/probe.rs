//! Probes: a thread that asks where logs end, so that the worker never waits for a leader. Rule H2.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::Offset;

use super::lookup::Lookup;
use super::trouble::Trouble;
use super::witness::{Epochs, Leaders, Opinion, Place, Witness};
use super::{KafkaSettings, PROBE_TIMEOUT, error};
use crate::runtime::port::{Answer, Error, LogEnd, Partition, SecondOpinion};
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
            witness: Witness::new(&settings.input_topics),
            leaders: Leaders::new(),
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
    witness: Witness,
    topics: Vec<String>,
    answered: Sender<Answer>,
    apart_until: Option<Instant>,
    /// Who led when somebody last said: whoever is asked now may be the silent one.
    leaders: Leaders,
}

/// What leaders answered: when they were asked, the ends or why there are none, and their epochs.
struct Asked {
    at: Clock,
    ends: BTreeMap<Place, Result<(i64, i32), String>>,
    epochs: Epochs,
}

impl Prober {
    fn run(mut self, asked: &Receiver<Question>) {
        loop {
            match asked.recv_timeout(Duration::from_secs(1)) {
                Ok(question) => self.answer(&question),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.lookup.serve();
        }
    }

    fn answer(&mut self, question: &Question) {
        self.probe(question);
        if self.witness.is_outdated() {
            self.learn_leaders();
        }
    }

    fn probe(&mut self, question: &Question) {
        let places: Vec<Place> = (0..)
            .zip(&self.topics)
            .flat_map(|(topic, _)| question.partitions.iter().map(move |p| (topic, *p)))
            .collect();
        if self.apart_until.is_some_and(|until| Instant::now() < until) {
            return self.probe_apart(question.ticket, places, None);
        }
        // One leader that does not answer fails the call for all.
        match self.ask_known(&places) {
            Ok(asked) => self.tell(question.ticket, &asked),
            Err(_) => {
                self.apart_until = Some(Instant::now() + APART_FOR);
                let before = self.learn_leaders();
                self.probe_apart(question.ticket, places, Some(&before));
            }
        }
    }

    /// Asks once, and again where it is not known who answered, right after asking who leads.
    fn ask_known(&mut self, places: &[Place]) -> Result<Asked, String> {
        if !self.leaders.is_empty() {
            let asked = self.ask(places)?;
            if self.witness.knows(&asked.epochs) {
                return Ok(asked);
            }
        }
        let before = self.learn_leaders();
        let asked = self.ask(places)?;
        self.witness.learn(&before, &asked.epochs);
        Ok(asked)
    }

    /// Asks each leader in a thread of its own: those that live answer in milliseconds. Asks those again of
    /// whom it is not known who answered, right after asking who leads.
    fn probe_apart(&mut self, ticket: u64, places: Vec<Place>, before: Option<&Leaders>) {
        let by_leader = self.by_leader(places);
        let unknown: Vec<Place> = thread::scope(|scope| {
            let ask = |(leader, places): (Result<i32, String>, Vec<Place>)| {
                let this = &*self;
                scope.spawn(move || this.probe_one(ticket, leader, places, before))
            };
            let asked: Vec<_> = by_leader.into_iter().map(ask).collect();
            asked.into_iter().flat_map(|one| one.join().unwrap_or_default()).collect()
        });
        if !unknown.is_empty() {
            let before = self.learn_leaders();
            self.probe_apart(ticket, unknown, Some(&before));
        }
    }

    /// Asks one leader, and answers, unless it is not known who that was; then returns what it asked.
    fn probe_one(
        &self,
        ticket: u64,
        leader: Result<i32, String>,
        places: Vec<Place>,
        before: Option<&Leaders>,
    ) -> Vec<Place> {
        let at = wall_clock();
        match (leader.and_then(|_| self.ask(&places)), before) {
            (Ok(asked), None) if !self.witness.knows(&asked.epochs) => return places,
            (Ok(asked), None) => self.tell(ticket, &asked),
            (Ok(asked), Some(before)) => {
                self.witness.learn(before, &asked.epochs);
                self.tell(ticket, &asked);
            }
            (Err(reason), _) => {
                let ends = places.iter().map(|place| (*place, Err(reason.clone()))).collect();
                self.tell(ticket, &Asked { at, ends, epochs: Epochs::new() });
            }
        }
        Vec::new()
    }

    /// The places by who leads them, or by why that is not known.
    fn by_leader(&self, places: Vec<Place>) -> BTreeMap<Result<i32, String>, Vec<Place>> {
        let mut found: BTreeMap<_, Vec<Place>> = BTreeMap::new();
        for place in places {
            let leader = self.leaders.get(&place).copied();
            found.entry(leader.ok_or_else(|| "no leader is known".to_owned())).or_default().push(place);
        }
        found
    }

    /// Who leads now; nobody where nobody says.
    fn learn_leaders(&mut self) -> Leaders {
        let found = self.witness.leaders(&self.lookup, LEADERS_TIMEOUT);
        self.leaders.extend(&found);
        found
    }

    fn ask(&self, places: &[Place]) -> Result<Asked, String> {
        let names: Vec<_> = places.iter().map(|place| (self.name(*place), place.1)).collect();
        let at = wall_clock();
        let found = self.lookup.offsets(&names, Offset::End, PROBE_TIMEOUT).map_err(|e| {
            let text = error::text(&e);
            let what = format!("asking for log ends: {text}");
            self.trouble.see_refusal("lookup", e.rdkafka_error_code(), &what);
            text
        })?;
        let end = |place: &Place| {
            let end = found.get(&(self.name(*place).to_owned(), place.1)).cloned();
            (*place, end.unwrap_or_else(|| Err("no answer".into())))
        };
        let ends: BTreeMap<_, _> = places.iter().map(end).collect();
        let epoch =
            |(place, end): (&Place, &Result<(i64, i32), String>)| Some((*place, end.as_ref().ok()?.1));
        Ok(Asked { at, epochs: ends.iter().filter_map(epoch).collect(), ends })
    }

    /// Asks for the second opinion and answers for each place. Nobody listens while the worker ends.
    fn tell(&self, ticket: u64, asked: &Asked) {
        let mut opinions = self.witness.opinions(&self.lookup, &asked.epochs);
        self.confirm(&asked.epochs, &mut opinions);
        for (place, end) in &asked.ends {
            let opinion = opinions.get(place).unwrap_or(&Opinion::NONE);
            let answer = Answer {
                ticket,
                asked_at: asked.at,
                partition: place.1,
                topic: place.0,
                end: end.clone().map(|(offset, leader_epoch)| LogEnd {
                    offset,
                    leader_epoch,
                    second_opinion: opinion.second,
                    topic_id: opinion.topic_id.as_deref().map(Arc::from),
                    partitions: opinion.partitions,
                }),
            };
            if self.answered.send(answer).is_err() {
                return;
            }
        }
    }

    /// Asks those again whom another broker named: a leader that was deposed when it answered, and was elected
    /// again before the other broker was asked, has a later epoch now. It cannot have it and not know, for it
    /// had to follow the leader between before it could be elected.
    fn confirm(&self, epochs: &Epochs, opinions: &mut BTreeMap<Place, Opinion>) {
        let named: Vec<Place> = opinions
            .iter()
            .filter(|(_, opinion)| opinion.second == SecondOpinion::Same)
            .map(|(p, _)| *p)
            .collect();
        if named.is_empty() {
            return;
        }
        let again = self.ask(&named).map(|asked| asked.epochs).unwrap_or_default();
        for place in named.iter().filter(|place| again.get(place) != epochs.get(place)) {
            if let Some(opinion) = opinions.get_mut(place) {
                opinion.second = SecondOpinion::Other;
            }
        }
    }

    fn name(&self, place: Place) -> &str {
        &self.topics[usize::from(place.0)]
    }
}
