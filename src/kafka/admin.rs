//! The topics, before the first worker starts: which must be there, which are made, and how they must be.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as Waiting, Poll, Wake, Waker};
use std::thread::{self, Thread, sleep};
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::client::{Configs, Context};
use super::lookup::Lookup;
use super::trouble::Trouble;
use super::{KafkaSettings, RECORD_BYTES_MAX, error, ffi};
use crate::runtime::port;

/// How long one question may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long topics that were created may take to show.
const APPEAR_TIMEOUT: Duration = Duration::from_secs(15);

/// What the workers need to know of the topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// How many partitions each input topic and the changelog have.
    pub partitions: i32,
    /// The id of each input topic; another topic of the same name has another. `None` where the brokers
    /// have none.
    pub topic_ids: Option<Vec<String>>,
}

/// Why the topics cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody answers; ask again.
    #[error("{0}")]
    NotYet(String),
    /// Somebody has to change something.
    #[error("{0}")]
    Refused(String),
}

impl From<port::Error> for Error {
    fn from(error: port::Error) -> Error {
        match error {
            port::Error::NotYet(text) => Error::NotYet(text),
            other => Error::Refused(other.to_string()),
        }
    }
}

/// Checks the input topics, makes the others where `create` is set and they are missing, and checks the
/// changelog. Without `create`, or where the brokers refuse, the error has the commands that make them.
pub fn prepare(settings: &KafkaSettings, create: bool) -> Result<Layout, Error> {
    let cluster = Cluster::connect(settings)?;
    let partitions = cluster.input_partitions()?;
    for topic in &settings.input_topics {
        cluster.refuse_compacted(topic)?;
    }
    cluster.make_missing(&wanted(settings, partitions), create)?;
    cluster.check_changelog(partitions)?;
    let topic_ids = ffi::topic_ids(cluster.admin.inner(), &settings.input_topics, TIMEOUT);
    cluster.trouble.all_over();
    Ok(Layout { partitions, topic_ids })
}

/// What `prepare` finds on a broker that knows no topic configuration, such as [`super::mock::MockBroker`];
/// nothing is checked but the partition counts.
pub fn assume(settings: &KafkaSettings) -> Result<Layout, Error> {
    Ok(Layout { partitions: Cluster::connect(settings)?.input_partitions()?, topic_ids: None })
}

/// Creates a topic unless it is there, and waits until it shows.
pub fn create_topic(
    settings: &KafkaSettings,
    name: &str,
    partitions: i32,
    config: &[(&'static str, &str)],
) -> Result<(), Error> {
    let config = config.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    Cluster::connect(settings)?.make_missing(&[Wanted { name: name.to_owned(), partitions, config }], true)
}

/// A topic that must be there.
struct Wanted {
    name: String,
    partitions: i32,
    config: Vec<(&'static str, String)>,
}

impl Wanted {
    fn command(&self, brokers: &str) -> String {
        let Wanted { name, partitions, config } = self;
        let config: String = config.iter().map(|(key, value)| format!(" --config {key}={value}")).collect();
        format!(
            "kafka-topics.sh --bootstrap-server {brokers} --create --topic {name} --partitions {partitions}{config}"
        )
    }
}

/// The topics that are written to. A dead letter is a record that was just small enough with headers added.
fn wanted(settings: &KafkaSettings, partitions: i32) -> Vec<Wanted> {
    let large = ("max.message.bytes", RECORD_BYTES_MAX.to_string());
    let topic = |name: &String, config: &[(&'static str, String)]| Wanted {
        name: name.clone(),
        partitions,
        config: config.to_vec(),
    };
    let mut all = vec![topic(&settings.breaches, &[]), topic(&settings.warnings, &[])];
    all.extend(settings.outcomes.iter().map(|name| topic(name, &[])));
    all.push(topic(&settings.dead_letter, std::slice::from_ref(&large)));
    all.push(topic(
        &settings.changelog,
        &[
            ("cleanup.policy", "compact".into()),
            large,
            // The brokers' clock beside the local one.
            ("message.timestamp.type", "LogAppendTime".into()),
            // Restoring reads all of it: compact early, in segments that close often.
            ("min.cleanable.dirty.ratio", "0.1".into()),
            ("segment.bytes", "134217728".into()),
        ],
    ));
    all
}

/// Two clients of a cluster: one asks for topics, which for the other's kind would create them.
struct Cluster<'a> {
    settings: &'a KafkaSettings,
    lookup: Lookup,
    admin: AdminClient<Context>,
    trouble: Arc<Trouble>,
}

impl<'a> Cluster<'a> {
    fn connect(settings: &'a KafkaSettings) -> Result<Cluster<'a>, Error> {
        let trouble = Trouble::of_start(settings);
        let admin = Configs::of(settings).admin().create_with_context(Context::new("admin", &trouble));
        let admin =
            admin.map_err(|e| Error::Refused(format!("creating the admin client: {}", error::text(&e))))?;
        Ok(Cluster { settings, lookup: Lookup::new(settings, &trouble)?, admin, trouble })
    }

    /// The partition count that all input topics have.
    fn input_partitions(&self) -> Result<i32, Error> {
        let mut counts = Vec::new();
        for topic in &self.settings.input_topics {
            let count = self.partitions(topic)?;
            let missing =
                || Error::Refused(format!("input topic `{topic}` does not exist on `{}`", self.brokers()));
            counts.push((topic, count.ok_or_else(missing)?));
        }
        let first = counts.first().map_or(0, |(_, count)| *count);
        if counts.iter().any(|(_, count)| *count != first) {
            let counts: Vec<_> =
                counts.iter().map(|(topic, count)| format!("`{topic}` has {count}")).collect();
            return Err(Error::Refused(format!(
                "input topics must have the same number of partitions, and {}",
                counts.join(", ")
            )));
        }
        Ok(first)
    }

    /// How many partitions a topic has, or `None` for one that does not exist.
    fn partitions(&self, topic: &str) -> Result<Option<i32>, Error> {
        let found = self.lookup.partition_count(topic, TIMEOUT);
        found.map_err(|e| self.failed(&format!("asking for topic `{topic}`"), &e))
    }

    fn refuse_compacted(&self, topic: &str) -> Result<(), Error> {
        match self.setting(topic, "cleanup.policy")? {
            Some(policy) if policy.contains("compact") => Err(Error::Refused(format!(
                "input topic `{topic}` has cleanup.policy `{policy}`: compaction removes the records that \
                 keep a promise, so its promises cannot be judged"
            ))),
            _ => Ok(()),
        }
    }

    fn check_changelog(&self, partitions: i32) -> Result<(), Error> {
        let name = &self.settings.changelog;
        let found = self.partitions(name)?;
        if found != Some(partitions) {
            return Err(Error::Refused(format!(
                "changelog `{name}` has {} partitions and the input topics have {partitions}",
                found.unwrap_or_default()
            )));
        }
        match self.setting(name, "cleanup.policy")? {
            Some(policy) if policy != "compact" => Err(Error::Refused(format!(
                "changelog `{name}` has cleanup.policy `{policy}` and must have `compact`, or its state is lost"
            ))),
            _ => Ok(()),
        }
    }

    /// A topic's configuration value, or `None` where the brokers do not say.
    fn setting(&self, topic: &str, key: &str) -> Result<Option<String>, Error> {
        let what = format!("asking for the configuration of topic `{topic}`");
        let asked = [ResourceSpecifier::Topic(topic)];
        let all =
            wait_for(self.admin.describe_configs(&asked, &options())).map_err(|e| self.failed(&what, &e))?;
        match all.into_iter().next() {
            Some(Ok(found)) => Ok(value(&found, key)),
            Some(Err(code)) if error::refuses(code) => {
                tracing::warn!(target: "overdue::kafka", "{what}: {code}; its `{key}` is not checked");
                Ok(None)
            }
            Some(Err(code)) => Err(self.failed(&what, &KafkaError::AdminOp(code))),
            None => Ok(None),
        }
    }

    fn make_missing(&self, wanted: &[Wanted], create: bool) -> Result<(), Error> {
        let mut missing = Vec::new();
        for topic in wanted {
            if self.partitions(&topic.name)?.is_none() {
                missing.push(topic);
            }
        }
        match missing.is_empty() {
            true => Ok(()),
            false if create => self.make(&missing),
            false => Err(self.ask_for(&missing, "these topics do not exist")),
        }
    }

    fn make(&self, missing: &[&Wanted]) -> Result<(), Error> {
        let topics: Vec<_> = missing.iter().map(|topic| new_topic(topic)).collect();
        let made = wait_for(self.admin.create_topics(&topics, &options()));
        let made = made.map_err(|e| self.failed("creating topics", &e))?;
        for (name, code) in made.into_iter().filter_map(Result::err) {
            match code {
                // Another process that starts at the same time.
                Code::TopicAlreadyExists => {}
                Code::OperationTimedOut | Code::RequestTimedOut | Code::NotController => {
                    return Err(self.failed(&format!("creating topic `{name}`"), &KafkaError::AdminOp(code)));
                }
                code => return Err(self.ask_for(missing, &format!("topic `{name}` was not created: {code}"))),
            }
        }
        missing.iter().try_for_each(|topic| self.wait_until_there(&topic.name))
    }

    fn wait_until_there(&self, topic: &str) -> Result<(), Error> {
        let until = Instant::now() + APPEAR_TIMEOUT;
        while self.partitions(topic)?.is_none() {
            if Instant::now() >= until {
                return Err(Error::NotYet(format!("topic `{topic}` was created and does not show yet")));
            }
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn ask_for(&self, missing: &[&Wanted], why: &str) -> Error {
        let commands: Vec<_> = missing.iter().map(|topic| topic.command(self.brokers())).collect();
        Error::Refused(format!("{why}; create them with\n{}", commands.join("\n")))
    }

    /// An error of a question to the cluster, with what the client saw of the brokers.
    fn failed(&self, what: &str, error: &KafkaError) -> Error {
        self.lookup.serve();
        let code = match error {
            KafkaError::AdminOp(code) => Some(*code),
            other => other.rdkafka_error_code(),
        };
        let reason = code.map_or_else(|| error::text(error), |code| code.to_string());
        match self.trouble.recent() {
            _ if code.is_some_and(error::refuses) => Error::Refused(format!("{what}: {reason}")),
            Some(trouble) => Error::NotYet(format!("{what} of `{}`: {reason} ({trouble})", self.brokers())),
            None => Error::NotYet(format!("{what} of `{}`: {reason}", self.brokers())),
        }
    }

    fn brokers(&self) -> &str {
        &self.settings.brokers
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT))
}

fn value(resource: &ConfigResource, key: &str) -> Option<String> {
    resource.get(key).and_then(|entry| entry.value.clone())
}

/// With the cluster's default replication.
fn new_topic(wanted: &Wanted) -> NewTopic<'_> {
    let topic = NewTopic::new(&wanted.name, wanted.partitions, TopicReplication::Fixed(-1));
    wanted.config.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
}

/// Waits for an answer that a thread of the client delivers. No runtime is needed for it, and none in the way.
fn wait_for<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Waiting::from_waker(&waker)) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Wanted;

    #[test]
    fn a_command_can_be_pasted() {
        let wanted = Wanted {
            name: "state".into(),
            partitions: 6,
            config: vec![("cleanup.policy", "compact".into())],
        };
        assert_eq!(
            wanted.command("kafka:9092"),
            "kafka-topics.sh --bootstrap-server kafka:9092 --create --topic state --partitions 6 \
             --config cleanup.policy=compact"
        );
    }
}
