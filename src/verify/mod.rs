//! Recomputes from the input topics and the policies what should have been said, and compares it with what was.
//!
//! The engine is the service's own, so a rule cannot be wrong in one of them only. The log goes on meanwhile:
//! the ends of the input topics are asked for at an instant S, everything below them is judged until S − G
//! (rule H2), and the service has some time to say what is missing. A finding about a lead of which a
//! record came in that time is none. Read [`judge`] (what should have been said), [`ledger`] (what was said, and
//! the comparison), [`letters`] (what was left out), [`open`] (transactions that nobody ends).

mod excuse;
pub mod finding;
pub mod judge;
pub mod ledger;
pub mod letters;
pub mod open;
mod report;
pub mod said;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant as Clock};

pub use report::{Report, Shown, TopicRead};
pub use table::table;

use crate::config::{self, Config};
use crate::kafka::reader::{Extent, Piece, Reader};
use crate::runtime::history::rules_of;
use crate::runtime::port::Error;
use crate::serve;
use crate::sla::clock::Step;
use crate::sla::instant::Instant;
use crate::sla::rules::Rules;
use crate::sla::store::Store;
use crate::wire::changelog::{self, Unreadable};
use crate::wire::decode::{self, Decoder};
use crate::wire::encode::Encoder;
use crate::wire::record::{Partition, Record, Topic};
use excuse::Known;
use finding::{Excuse, Finding, Kind};
use judge::{History, Judge, Judged, Logs};
use ledger::{Comparison, Ledger};
use letters::Letters;
use open::Open;
use said::{Place, Said};

/// What is verified, and how long it may take.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// How the service is set up.
    pub config: &'a Config,
    /// Breaches dated later are not judged; `None` is everything that the service should know by now.
    pub until: Option<Instant>,
    /// The service has so long to read what is in the log, and as long again to say what is missing.
    pub wait: Duration,
    /// A transaction that is open for longer hangs.
    pub transaction_timeout: Duration,
}

/// How far it is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// What is being done.
    pub what: &'static str,
    /// How many offsets are behind.
    pub done: u64,
    /// Of how many.
    pub total: u64,
}

/// How often something that may have changed is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Progress is told after so many records.
const RECORDS_A_WORD: u64 = 5_000;

/// Recomputes and compares.
pub fn verify(request: &Request<'_>, progress: &mut dyn FnMut(Progress)) -> Result<Report, Error> {
    let mut run = Run::start(request, progress)?;
    run.wait_for_service()?;
    run.read_histories()?;
    let mut letters = run.read_letters()?;
    let judged = run.judge(&mut letters)?;
    let mut ledger = Ledger::default();
    let mut comparison = run.listen(&mut ledger, &judged)?;
    if !comparison.findings.is_empty() {
        let moved = run.leads_moved()?;
        comparison = run.compare(&ledger, &judged, &moved);
    }
    run.wait_for_transactions()?;
    Ok(run.report(judged, letters, &ledger, comparison))
}

/// What the topics are to the service, in the order in which they are numbered.
struct Topics {
    names: Vec<String>,
    inputs: usize,
    has_outcomes: bool,
}

impl Topics {
    fn of(config: &Config) -> Topics {
        let output = &config.output;
        let mut names = config.input.topics.clone();
        let inputs = names.len();
        names.extend([config.changelog.clone(), output.dead_letter.clone(), output.breaches.clone()]);
        names.extend(output.outcomes.clone());
        Topics { names, inputs, has_outcomes: output.outcomes.is_some() }
    }

    fn number(&self, index: usize) -> Topic {
        Topic::try_from(index).unwrap_or(Topic::MAX)
    }

    fn changelog(&self) -> Topic {
        self.number(self.inputs)
    }

    fn dead_letter(&self) -> Topic {
        self.number(self.inputs + 1)
    }

    fn breaches(&self) -> Topic {
        self.number(self.inputs + 2)
    }

    fn is_input(&self, topic: Topic) -> bool {
        usize::from(topic) < self.inputs
    }

    /// The topic in which a transition is said.
    fn of_step(&self, step: Step) -> Topic {
        match step {
            Step::Met | Step::Cancelled if self.has_outcomes => self.number(self.inputs + 3),
            _ => self.breaches(),
        }
    }

    fn role(&self, topic: Topic) -> &'static str {
        match usize::from(topic).checked_sub(self.inputs) {
            None => "input",
            Some(0) => "changelog",
            Some(1) => "dead letter",
            Some(2) => "breaches",
            Some(_) => "outcomes",
        }
    }
}

/// One run, as far as it has come.
struct Run<'a> {
    request: &'a Request<'a>,
    progress: &'a mut dyn FnMut(Progress),
    topics: Topics,
    partitions: Partition,
    reader: Reader,
    open: Open,
    /// Where every log began and ended when this began: of the inputs, what is judged.
    extents: Vec<Extent>,
    judged_until: Instant,
    /// What the group has committed of the inputs, in the order of their extents.
    committed: Vec<Option<i64>>,
    /// How far the logs of the outputs were read.
    heard: BTreeMap<(Topic, Partition), i64>,
    /// Of logs whose start was deleted: everything written until then may be gone.
    cut_until: BTreeMap<(Topic, Partition), Instant>,
    /// What every partition was judged by, as its changelog has it.
    histories: BTreeMap<Partition, History>,
    other_policies: BTreeMap<String, u64>,
    hanging: BTreeMap<(Topic, Partition), i64>,
}

impl<'a> Run<'a> {
    fn start(request: &'a Request<'a>, progress: &'a mut dyn FnMut(Progress)) -> Result<Run<'a>, Error> {
        let config = request.config;
        let settings = serve::kafka_settings(config, 0);
        let topics = Topics::of(config);
        let reader = Reader::new(&settings, topics.names.clone())?;
        let counts = reader.partition_counts(&settings)?;
        let partitions = input_partitions(&topics, &counts)?;
        let places: Vec<_> = (0..)
            .zip(&counts)
            .flat_map(|(topic, count)| (0..*count).map(move |partition| (topic, partition)))
            .collect();
        // The clock first: what was in the log by then lies below the ends. Rule H2.
        let known_until = serve::wall_clock().minus(config.input.grace_ms);
        let extents = reader.extents(&places)?;
        let mut open = Open::new(request.transaction_timeout);
        open.look(&extents, Clock::now());
        let now = serve::wall_clock();
        let is_cut = |extent: &&Extent| 0 < extent.first;
        let cut_until = extents.iter().filter(is_cut).map(|e| ((e.topic, e.partition), now)).collect();
        Ok(Run {
            request,
            progress,
            topics,
            partitions,
            reader,
            open,
            judged_until: request.until.map_or(known_until, |until| until.min(known_until)),
            committed: Vec::new(),
            heard: BTreeMap::new(),
            cut_until,
            histories: BTreeMap::new(),
            other_policies: BTreeMap::new(),
            hanging: BTreeMap::new(),
            extents,
        })
    }

    fn inputs(&self) -> impl Iterator<Item = &Extent> {
        self.extents.iter().filter(|extent| self.topics.is_input(extent.topic))
    }

    fn places(&self) -> Vec<(Topic, Partition)> {
        self.extents.iter().map(|extent| (extent.topic, extent.partition)).collect()
    }

    /// Waits until the service has read what is judged. A log that an open transaction holds back cannot be
    /// read further than that.
    fn wait_for_service(&mut self) -> Result<(), Error> {
        let deadline = Clock::now() + self.request.wait;
        let places: Vec<_> = self.inputs().map(|extent| (extent.topic, extent.partition)).collect();
        loop {
            let stable = self.look()?;
            self.committed = match self.reader.committed(&places) {
                Err(Error::NotYet(_)) if Clock::now() < deadline => vec![None; places.len()],
                committed => committed?,
            };
            let now = Clock::now();
            let mut is_behind = false;
            let (topics, open) = (&self.topics, &self.open);
            let inputs = self.extents.iter_mut().filter(|extent| topics.is_input(extent.topic));
            for ((extent, stable), committed) in inputs.zip(stable).zip(&self.committed) {
                extent.stable = stable.min(extent.end);
                let is_held = extent.stable < extent.end;
                let is_waiting = is_held && !open.is_hanging((extent.topic, extent.partition), now);
                is_behind |= is_waiting || is_unread(extent, *committed);
            }
            if !is_behind || deadline <= now {
                return Ok(());
            }
            let lag = self.lag();
            (self.progress)(lag);
            sleep(LOOK_AGAIN);
        }
    }

    /// How far the service has read what is judged.
    fn lag(&self) -> Progress {
        let offsets = |at: &dyn Fn(&Extent, Option<i64>) -> i64| -> u64 {
            let all = self.inputs().zip(&self.committed);
            all.map(|(extent, committed)| at(extent, *committed).max(0).unsigned_abs()).sum()
        };
        Progress {
            what: "waiting for the service to read",
            done: offsets(&|extent, committed| committed.map_or(0, |at| at.min(extent.end) - extent.first)),
            total: offsets(&|extent, _| extent.end - extent.first),
        }
    }

    /// Looks for open transactions everywhere; returns the last stable offsets of the inputs.
    fn look(&mut self) -> Result<Vec<i64>, Error> {
        let now = self.reader.extents(&self.places())?;
        self.open.look(&now, Clock::now());
        let topics = &self.topics;
        Ok(now.iter().filter(|e| topics.is_input(e.topic)).map(|extent| extent.stable).collect())
    }

    /// Reads which policy files the partitions took up, and from when on they speak. Rules T13 and H9.
    fn read_histories(&mut self) -> Result<(), Error> {
        let (topic, mut readers) = (self.topics.changelog(), BTreeMap::new());
        let (mut store, mut unreadable) = (Store::default(), None);
        self.read_on("reading the changelog", |other| other == topic, &mut |record| {
            if record.key.is_some_and(changelog::is_about_partition) {
                let reader: &mut changelog::Reader = readers.entry(record.partition).or_default();
                let taken = reader.take(record.key, record.value, &mut store);
                unreadable = unreadable.take().or(taken.err());
            }
        })?;
        unreadable.map_or(Ok(()), |error: Unreadable| Err(Error::Refused(error.to_string())))?;
        for (partition, reader) in readers {
            let rules = rules_of(&reader.editions()?).map_err(Error::Refused)?;
            let speak_from = reader.progress().and_then(|progress| progress.speak_from);
            let history = History { rules: Arc::new(rules), speak_from: speak_from.unwrap_or(Instant::MIN) };
            self.histories.insert(partition, history);
        }
        Ok(())
    }

    fn read_letters(&mut self) -> Result<Letters, Error> {
        let mut letters = Letters::default();
        let topic = self.topics.dead_letter();
        let input_topics = self.request.config.input.topics.clone();
        self.read_on("reading the dead-letter topic", |other| other == topic, &mut |record| {
            letters.hear(record, &input_topics);
        })?;
        Ok(letters)
    }

    /// Reads some topics from where they were read before to their ends as of now.
    fn read_on(
        &mut self,
        what: &'static str,
        is_wanted: impl Fn(Topic) -> bool,
        sink: &mut dyn FnMut(&Record<'_>),
    ) -> Result<(), Error> {
        let wanted = |place: &(Topic, Partition)| is_wanted(place.0);
        let places: Vec<_> = self.places().into_iter().filter(wanted).collect();
        let now = self.reader.extents(&places)?;
        let heard = &self.heard;
        let from =
            |extent: &Extent| heard.get(&(extent.topic, extent.partition)).copied().unwrap_or(extent.first);
        let pieces: Vec<_> = now.iter().map(|extent| piece(extent, from(extent), extent.stable)).collect();
        read(&self.reader, self.progress, what, &pieces, &mut self.cut_until, sink)?;
        self.heard.extend(pieces.iter().map(|piece| ((piece.topic, piece.partition), piece.to)));
        self.extents.retain(|extent| !is_wanted(extent.topic));
        self.extents.extend(now);
        self.extents.sort_by_key(|extent| (extent.topic, extent.partition));
        Ok(())
    }

    /// Judges partition after partition: only one is in memory.
    fn judge(&mut self, letters: &mut Letters) -> Result<Judged, Error> {
        let settings = self.settings();
        let mut judged = Judged::default();
        let letters_cut_until = self.cut_until_of(self.topics.dead_letter());
        for partition in 0..self.partitions {
            let logs: Vec<_> =
                self.inputs().filter(|extent| extent.partition == partition).cloned().collect();
            let committed = self.inputs().zip(&self.committed).filter(|(e, _)| e.partition == partition);
            let about = Logs {
                partition,
                committed: committed.map(|(_, committed)| *committed).collect(),
                is_cut: logs.iter().any(|extent| 0 < extent.first),
                is_held: logs.iter().any(|extent| extent.stable < extent.end),
                letters_cut_until,
            };
            let pieces: Vec<_> =
                logs.iter().map(|extent| piece(extent, extent.first, extent.stable)).collect();
            let mut judge = Judge::new(&settings, about, letters, &mut judged);
            let what = "reading the input topics";
            read(&self.reader, self.progress, what, &pieces, &mut self.cut_until, &mut |record| {
                judge.take(record);
            })?;
            judge.finish(self.judged_until);
        }
        Ok(judged)
    }

    fn settings(&self) -> judge::Settings {
        let config = self.request.config;
        let policies = Arc::new(config.policies.policies.clone());
        judge::Settings {
            configured: History {
                rules: Arc::new(Rules::new(policies)),
                speak_from: config.input.speak_from.unwrap_or(Instant::MIN),
            },
            histories: self.histories.clone(),
            encoder: Encoder::new(config.input.topics.clone()),
            inputs: self.topics.inputs,
            partitions: self.partitions,
            decoding: decoding(config),
            partitioner: serve::partitioner(config),
            is_keyed_by_lead: config.input.keyed_by == config::KeyedBy::LeadId,
            ignores_unknown_types: config.input.unknown_types == config::UnknownTypes::Ignore,
            has_outcomes: self.topics.has_outcomes,
            grace_ms: config.input.grace_ms,
            lateness_max_ms: config.input.lateness_max_ms,
            facts_max: config.input.facts_max,
            retention_closed_ms: config.retention.closed_ms,
            retention_idle_ms: config.retention.idle_ms,
        }
    }

    /// Reads what was said, and goes on for as long as the service may still say what is missing.
    fn listen(&mut self, ledger: &mut Ledger, judged: &Judged) -> Result<Comparison, Error> {
        let deadline = Clock::now() + self.request.wait;
        let first_output = self.topics.breaches();
        let versions = self.versions();
        loop {
            let mut other_policies = std::mem::take(&mut self.other_policies);
            self.read_on("reading what was said", |topic| first_output <= topic, &mut |record| {
                hear(ledger, record, &versions, &mut other_policies);
            })?;
            self.other_policies = other_policies;
            self.look()?;
            let comparison = self.compare(ledger, judged, &BTreeSet::new());
            let may_pass = |f: &Finding| matches!(f.kind, Kind::Missing | Kind::Extra | Kind::Different);
            if !comparison.findings.iter().any(may_pass) || deadline <= Clock::now() {
                return Ok(comparison);
            }
            sleep(LOOK_AGAIN);
        }
    }

    /// The versions of the policies that somebody was judged by.
    fn versions(&self) -> BTreeSet<String> {
        let editions = self.histories.values().flat_map(|history| history.rules.editions());
        let configured = self.request.config.policies.policies.version.clone();
        editions.map(|edition| edition.version.clone()).chain([configured]).collect()
    }

    fn compare(&self, ledger: &Ledger, judged: &Judged, moved: &BTreeSet<String>) -> Comparison {
        let is_any_lost =
            ledger.tells_of_loss() || self.cut_until.keys().any(|(topic, _)| self.topics.is_input(*topic));
        let excuse = |finding: &Finding| self.excuse(finding, judged, moved, is_any_lost);
        ledger.compare(&judged.expected, self.judged_until, &excuse)
    }

    /// Why nothing can be concluded from a finding about a transition, if so.
    fn excuse(
        &self,
        finding: &Finding,
        judged: &Judged,
        moved: &BTreeSet<String>,
        is_input_cut: bool,
    ) -> Option<Excuse> {
        let key = finding.key.as_ref()?;
        let topic = self.topics.of_step(key.step);
        let known = Known {
            lead: judged.leads.get(&key.clock.lead_id),
            has_moved: moved.contains(&*key.clock.lead_id),
            is_input_cut,
            output_cut_until: self.cut_until_of(topic),
            is_output_held: self.is_held(topic),
            grace_ms: self.request.config.input.grace_ms,
        };
        known.excuse(finding, key)
    }

    fn is_held(&self, topic: Topic) -> bool {
        self.extents.iter().any(|extent| extent.topic == topic && extent.stable < extent.end)
    }

    /// Until when what was written to a topic may have been deleted, if anything was.
    fn cut_until_of(&self, topic: Topic) -> Option<Instant> {
        self.cut_until.iter().filter(|((of, _), _)| *of == topic).map(|(_, until)| *until).max()
    }

    /// The leads with a record that came since this began.
    fn leads_moved(&self) -> Result<BTreeSet<String>, Error> {
        let places: Vec<_> = self.inputs().map(|extent| (extent.topic, extent.partition)).collect();
        let now = self.reader.extents(&places)?;
        let pieces: Vec<_> =
            self.inputs().zip(&now).map(|(judged, now)| piece(now, judged.stable, now.stable)).collect();
        let mut decoder = Decoder::new(decoding(self.request.config));
        let mut moved = BTreeSet::new();
        self.reader.read(&pieces, &mut |record| {
            if let Ok(event) = decoder.decode(record)
                && event.fact.time <= self.judged_until
            {
                moved.insert(event.lead_id.into_owned());
            }
        })?;
        Ok(moved)
    }

    /// Waits until every open transaction has ended or is known to hang.
    fn wait_for_transactions(&mut self) -> Result<(), Error> {
        while self.open.is_unsure(Clock::now()) {
            (self.progress)(Progress { what: "waiting for open transactions to end", done: 0, total: 0 });
            sleep(LOOK_AGAIN);
            self.look()?;
        }
        self.hanging = self.open.hanging(Clock::now()).collect();
        Ok(())
    }

    fn report(self, judged: Judged, letters: Letters, ledger: &Ledger, comparison: Comparison) -> Report {
        let is_read = |source: Place| {
            self.inputs().any(|extent| {
                (extent.topic, extent.partition) == (source.topic, source.partition)
                    && extent.first <= source.offset
                    && source.offset < extent.stable
            })
        };
        let mut findings = comparison.findings;
        findings.extend(judged.findings);
        findings.extend(letters.finish(is_read));
        findings.extend(self.unread());
        findings.extend(self.hanging.iter().map(|(place, offset)| hanging(*place, *offset)));
        let name = |at: Place| self.reader.name(at.topic).to_owned();
        let findings: Vec<_> = findings.into_iter().map(|finding| Shown::of(finding, name)).collect();
        Report {
            judged_until: self.judged_until,
            policies: self.request.config.policies.policies.version.clone(),
            topics: self.topics_read(),
            events: judged.records,
            leads: judged.leads.len(),
            rejected: judged.rejected,
            said: ledger.records(),
            matched: comparison.matched,
            counts: report::count(&findings),
            not_checkable: comparison.excused,
            other_policies: self.other_policies,
            findings,
        }
    }

    fn unread(&self) -> impl Iterator<Item = Finding> {
        let unread = self.inputs().zip(&self.committed).filter(|(extent, at)| is_unread(extent, **at));
        unread.map(|(extent, committed)| {
            let offset = committed.unwrap_or(extent.first);
            let count = extent.stable - offset;
            let at = Place { topic: extent.topic, partition: extent.partition, offset };
            let detail = match committed {
                Some(_) => format!("the service has not read the {count} offsets from here on"),
                None => format!("the group has committed nothing, and there are {count} offsets to read"),
            };
            Finding::at(Kind::Unread, Some(at), detail)
        })
    }

    fn topics_read(&self) -> Vec<TopicRead> {
        let read = |(topic, name): (Topic, &String)| TopicRead {
            topic: name.clone(),
            role: self.topics.role(topic),
            partitions: self.extents.iter().filter(|extent| extent.topic == topic).cloned().collect(),
        };
        (0..).zip(&self.topics.names).map(read).collect()
    }
}

fn decoding(config: &Config) -> decode::Settings {
    decode::Settings { future_skew_max_ms: config.input.future_skew_max_ms, are_files: false }
}

fn input_partitions(topics: &Topics, counts: &[Partition]) -> Result<Partition, Error> {
    let inputs = &counts[..topics.inputs];
    let first = inputs.first().copied().unwrap_or_default();
    match inputs.iter().all(|count| *count == first) {
        true => Ok(first),
        false => Err(Error::Refused("input topics must have the same number of partitions".to_owned())),
    }
}

fn piece(extent: &Extent, from: i64, to: i64) -> Piece {
    Piece { topic: extent.topic, partition: extent.partition, from, to }
}

/// Whether the service has not committed everything that it could have read.
fn is_unread(extent: &Extent, committed: Option<i64>) -> bool {
    committed.unwrap_or(extent.first) < extent.stable
}

/// Reads pieces, tells how far it is, and notes when the first record was written that is still there.
fn read(
    reader: &Reader,
    progress: &mut dyn FnMut(Progress),
    what: &'static str,
    pieces: &[Piece],
    cut_until: &mut BTreeMap<(Topic, Partition), Instant>,
    sink: &mut dyn FnMut(&Record<'_>),
) -> Result<(), Error> {
    let total = pieces.iter().map(|piece| (piece.to - piece.from).max(0).unsigned_abs()).sum();
    let mut done = 0;
    reader.read(pieces, &mut |record| {
        if let Some((until, at)) = cut_until.get_mut(&(record.topic, record.partition)).zip(record.timestamp)
        {
            *until = at.min(*until);
        }
        sink(record);
        done += 1;
        if done % RECORDS_A_WORD == 0 {
            progress(Progress { what, done, total });
        }
    })
}

fn hear(
    ledger: &mut Ledger,
    record: &Record<'_>,
    versions: &BTreeSet<String>,
    others: &mut BTreeMap<String, u64>,
) {
    let at = Place { topic: record.topic, partition: record.partition, offset: record.offset };
    match record.value.ok_or_else(|| "it has no value".to_owned()).and_then(Said::parse) {
        Ok(said) => {
            if !versions.contains(&said.version) {
                *others.entry(said.version.clone()).or_default() += 1;
            }
            ledger.hear(said, at);
        }
        Err(why) => ledger.hear_noise(at, &why),
    }
}

fn hanging(place: (Topic, Partition), offset: i64) -> Finding {
    let at = Place { topic: place.0, partition: place.1, offset };
    let detail = "a transaction has been open here for longer than it may".to_owned();
    Finding::at(Kind::Hanging, Some(at), detail)
}
