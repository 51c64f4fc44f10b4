//! The second opinion on who leads: a deposed leader that does not know it yet answers a probe with a stale end.
//! Rule H2.
//!
//! # Which broker answered
//!
//! librdkafka sends a question for log ends to the leaders of its own cache and does not say which those were.
//! The answer has the epoch of the broker that gave it, and one epoch of a partition has one leader for ever: so
//! it is enough to find out once an epoch who that is. Metadata fetched right before a question names it: what
//! it says goes into the cache that the question is sent by, unless the cache has a later epoch
//! (`rd_kafka_metadata_cache_topic_update`), and from then on the cache's epochs never fall. A question carries
//! its cache's epoch and a leader of another epoch refuses it. The broker that was named is thus the one that
//! answers, unless what named it was behind the cache; then a pair is learned that no broker confirms, and it is
//! dropped as soon as one says otherwise. A leader that is deposed and a second broker that is behind by two
//! elections at the same moment could deceive it, but those two could deceive any second opinion.
//!
//! # Who is asked
//!
//! Metadata comes from the broker that librdkafka likes best at the moment, most often the very leader. A
//! description of topics can be asked of a certain broker (`rd_kafka_AdminOptions_set_broker`), which may then be
//! any but the leader, and brings the topic's id and partition count with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::error;
use super::ffi::Description;
use super::lookup::Lookup;
use crate::runtime::port::{Partition, SecondOpinion, Topic};

/// How long one broker may take over its opinion.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// How long brokers are asked one after the other.
const OPINIONS_TIMEOUT: Duration = Duration::from_millis(1_500);

/// A partition of a topic by index.
pub type Place = (Topic, Partition);

/// Who leads each place, as one broker has it.
pub type Leaders = BTreeMap<Place, i32>;

/// The leader epoch of the answer for each place.
pub type Epochs = BTreeMap<Place, i32>;

/// What is known of a place beside its log end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opinion {
    pub second: SecondOpinion,
    pub topic_id: Option<String>,
    pub partitions: Option<i32>,
}

impl Opinion {
    /// Nobody said anything.
    pub const NONE: Opinion = Opinion { second: SecondOpinion::None, topic_id: None, partitions: None };
}

/// Who led at which epoch, and whom to ask about it.
pub struct Witness {
    topics: Vec<String>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The leader of the latest epoch of each place.
    leaders: BTreeMap<Place, (i32, i32)>,
    /// Every broker ever heard of, alive or a replica: the cluster has no fewer.
    all: BTreeSet<i32>,
    /// Those that were alive at last, whoever answered or was not tried yet before those that did not answer.
    alive: Vec<i32>,
    /// Whether the brokers should be counted again.
    is_outdated: bool,
}

/// What each broker that answered says of the topics.
type Said = BTreeMap<i32, BTreeMap<String, Description>>;

impl Witness {
    pub fn new(topics: &[String]) -> Witness {
        Witness { topics: topics.to_vec(), known: Mutex::default() }
    }

    /// Who leads the places, as one broker has it now; to be asked before the log ends of epochs that are new.
    pub fn leaders(&self, lookup: &Lookup, timeout: Duration) -> Leaders {
        let mut found = Leaders::new();
        for (topic, name) in (0..).zip(&self.topics) {
            match lookup.who_leads(name, timeout) {
                Ok(seen) => {
                    self.known().meet(&seen.brokers, &seen.replicas);
                    found.extend(
                        seen.leaders.into_iter().map(|(partition, leader)| ((topic, partition), leader)),
                    );
                }
                Err(e) => {
                    tracing::debug!(target: "overdue::kafka", "leaders of `{name}`: {}", error::text(&e));
                }
            }
        }
        found
    }

    /// Keeps who led at the epochs that were answered with, where it was asked right before.
    pub fn learn(&self, before: &Leaders, epochs: &Epochs) {
        let mut known = self.known();
        for (place, epoch) in epochs {
            match before.get(place) {
                Some(leader) => drop(known.leaders.insert(*place, (*epoch, *leader))),
                None => drop(known.leaders.remove(place)),
            }
        }
    }

    /// Whether it is known who gave these answers. Brokers without epochs are never known for longer than an answer.
    pub fn knows(&self, epochs: &Epochs) -> bool {
        let known = self.known();
        known.is_alone()
            || epochs.iter().all(|(place, epoch)| *epoch >= 0 && known.led(*place, *epoch).is_some())
    }

    /// What others say of those that gave these answers; to be asked after them.
    pub fn opinions(&self, lookup: &Lookup, epochs: &Epochs) -> BTreeMap<Place, Opinion> {
        let leaders: Leaders = {
            let known = self.known();
            let led = |place, epoch| known.led(place, epoch).or_else(|| known.only());
            epochs.iter().filter_map(|(place, epoch)| Some((*place, led(*place, *epoch)?))).collect()
        };
        let said = match leaders.is_empty() {
            true => Said::new(),
            false => self.ask(lookup, leaders.values().copied().collect()),
        };
        let mut known = self.known();
        said.values().flat_map(BTreeMap::values).for_each(|one| known.meet_replicas(one));
        let opinions: BTreeMap<_, _> = leaders
            .iter()
            .map(|(place, leader)| {
                (*place, known.judge(&said, &self.topics[usize::from(place.0)], *place, *leader))
            })
            .collect();
        known.is_outdated |= leaders.len() < epochs.len();
        for (place, opinion) in &opinions {
            known.is_outdated |= matches!(opinion.second, SecondOpinion::Other | SecondOpinion::None);
            if opinion.second == SecondOpinion::Other {
                known.leaders.remove(place);
            }
        }
        opinions
    }

    /// Whether an opinion was missing or another, so that it should be asked again who is there and leads.
    pub fn is_outdated(&self) -> bool {
        self.known().is_outdated
    }

    /// Asks until each of these leaders has been spoken of by another broker, two brokers at a time: they are
    /// enough for any number of leaders.
    fn ask(&self, lookup: &Lookup, leaders: BTreeSet<i32>) -> Said {
        let until = Instant::now() + OPINIONS_TIMEOUT;
        let mut said = Said::new();
        let mut left = self.known().alive.clone();
        let is_alone = self.known().is_alone();
        while !left.is_empty() && Instant::now() < until {
            let lacking = |broker: &i32| is_alone || leaders.iter().any(|leader| leader != broker);
            let round: Vec<i32> = match (is_alone, leaders.len()) {
                (false, 1) => left.iter().copied().filter(lacking).take(1).collect(),
                _ => left.iter().copied().filter(lacking).take(2).collect(),
            };
            left.retain(|broker| !round.contains(broker));
            if round.is_empty() {
                break;
            }
            for (broker, answer) in lookup.describe(&self.topics, &round, ANSWER_TIMEOUT) {
                match answer {
                    Some(answer) => drop(said.insert(broker, answer)),
                    None => self.known().distrust(broker),
                }
            }
            let spoken_of = |leader: &i32| said.keys().any(|broker| is_alone || broker != leader);
            if leaders.iter().all(spoken_of) {
                break;
            }
        }
        said
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn led(&self, place: Place, epoch: i32) -> Option<i32> {
        self.leaders.get(&place).filter(|known| known.0 == epoch).map(|known| known.1)
    }

    fn is_alone(&self) -> bool {
        self.only().is_some()
    }

    /// The only broker of the cluster.
    fn only(&self) -> Option<i32> {
        self.all.first().copied().filter(|_| self.all.len() == 1)
    }

    fn meet(&mut self, alive: &[i32], replicas: &BTreeSet<i32>) {
        self.all.extend(alive.iter().chain(replicas));
        self.alive.retain(|broker| alive.contains(broker));
        let new: Vec<_> = alive.iter().filter(|broker| !self.alive.contains(broker)).copied().collect();
        self.alive.splice(0..0, new);
        self.is_outdated = false;
    }

    fn meet_replicas(&mut self, description: &Description) {
        self.all.extend(description.partitions.iter().flat_map(|partition| &partition.replicas));
    }

    /// Asks a broker that did not answer after all the others from now on.
    fn distrust(&mut self, broker: i32) {
        self.alive.retain(|one| *one != broker);
        self.alive.push(broker);
    }

    fn judge(&self, said: &Said, topic: &str, place: Place, leader: i32) -> Opinion {
        let is_alone = self.is_alone();
        let others = said.iter().find(|(broker, _)| is_alone || **broker != leader);
        let Some((_, topics)) = others else { return Opinion::NONE };
        let Some(found) = topics.get(topic) else {
            return Opinion { second: SecondOpinion::Other, ..Opinion::NONE };
        };
        let partition = found.partitions.iter().find(|partition| partition.id == place.1);
        let second = match partition.and_then(|partition| partition.leader) {
            Some(named) if named == leader && is_alone => SecondOpinion::OnlyBroker,
            Some(named) if named == leader => SecondOpinion::Same,
            _ => SecondOpinion::Other,
        };
        let partitions = i32::try_from(found.partitions.len()).ok();
        Opinion { second, topic_id: found.id.clone(), partitions }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Epochs, Known, Leaders, Said, Witness};
    use crate::kafka::ffi::{Described, Description};
    use crate::runtime::port::SecondOpinion::{self, None as Nobody, OnlyBroker, Other, Same};

    const TOPIC: &str = "leads";

    /// What a broker says of the one partition.
    fn names(leader: Option<i32>) -> BTreeMap<String, Description> {
        let partitions = vec![Described { id: 0, leader, replicas: vec![1, 2, 3] }];
        BTreeMap::from([(TOPIC.to_owned(), Description { id: Some("id".to_owned()), partitions })])
    }

    fn known(brokers: &[i32]) -> Known {
        let mut known = Known::default();
        known.meet(brokers, &brokers.iter().copied().collect());
        known
    }

    fn check(brokers: &[i32], said: &[(i32, Option<i32>)], expected: SecondOpinion) {
        let all: Said = said.iter().map(|(broker, leader)| (*broker, names(*leader))).collect();
        let opinion = known(brokers).judge(&all, TOPIC, (0, 0), 1);
        assert_eq!(opinion.second, expected, "{brokers:?} {said:?}");
    }

    #[test]
    fn only_another_broker_confirms_a_leader() {
        // Broker 1 answered; which brokers there are, what they name, and what that is worth.
        check(&[1], &[(1, Some(1))], OnlyBroker);
        check(&[1, 2, 3], &[(2, Some(1))], Same);
        check(&[1, 2, 3], &[(1, Some(1)), (3, Some(1))], Same);
        check(&[1, 2, 3], &[(1, Some(1)), (3, Some(2))], Other);
        check(&[1, 2, 3], &[(2, None)], Other);
        check(&[1, 2, 3], &[(1, Some(1))], Nobody);
        check(&[1, 2, 3], &[], Nobody);
        let unknown = Said::from([(2, BTreeMap::new())]);
        assert_eq!(known(&[1, 2]).judge(&unknown, TOPIC, (0, 0), 1).second, Other);
    }

    #[test]
    fn a_broker_that_was_ever_there_can_depose_the_last_one() {
        let mut known = known(&[1, 2]);
        known.meet(&[1], &[1].into());
        assert!(!known.is_alone());
    }

    #[test]
    fn who_answered_is_known_for_an_epoch() {
        let witness = Witness::new(&[TOPIC.to_owned()]);
        witness.known().meet(&[1, 2], &[1, 2].into());
        let epoch = |epoch| Epochs::from([((0, 0), epoch)]);
        assert!(!witness.knows(&epoch(4)));
        witness.learn(&Leaders::from([((0, 0), 1)]), &epoch(4));
        assert!(witness.knows(&epoch(4)));
        assert!(!witness.knows(&epoch(5)), "another epoch may have another leader");
        witness.learn(&Leaders::new(), &epoch(4));
        assert!(!witness.knows(&epoch(4)), "nobody said who leads");
    }

    #[test]
    fn a_broker_that_does_not_answer_is_asked_last() {
        let mut known = known(&[1, 2, 3]);
        known.distrust(1);
        assert_eq!(known.alive, [2, 3, 1]);
        known.meet(&[1, 3, 4], &[].into());
        assert_eq!(known.alive, [4, 3, 1], "who is new was not tried yet");
    }
}
