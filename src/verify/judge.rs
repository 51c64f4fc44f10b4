//! What should have been said: the service's own engine on the records of one partition number.
//!
//! The records are those that the service used: whatever the dead-letter topic says of one decides whether it
//! counts, and whether that is right is checked beside it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::finding::{Finding, Kind};
use super::ledger::Expected;
use super::letters::{Letter, Letters};
use super::said::{Place, Said, What};
use crate::sla::clock::Step;
use crate::sla::engine::{self, Applied, Arrival, Effects, Engine, Output};
use crate::sla::fact::{Fact, Kind as FactKind};
use crate::sla::instant::Instant;
use crate::sla::rules::Rules;
use crate::wire::decode::{Decoder, Reason, Settings as Decoding};
use crate::wire::encode::Encoder;
use crate::wire::record::{Partition, Record, Topic};
use crate::wire::routing::{Misrouted, Partitioner, Routing};

/// How the service was set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What partitions are judged by of which the changelog has nothing.
    pub configured: History,
    /// What the others were judged by.
    pub histories: BTreeMap<Partition, History>,
    /// Writes what should have been said.
    pub encoder: Encoder,
    /// How many input topics there are.
    pub inputs: usize,
    /// How many partitions each of them has.
    pub partitions: Partition,
    /// How records are read.
    pub decoding: Decoding,
    /// How producers partition keys, where the configuration says it.
    pub partitioner: Option<Partitioner>,
    /// Whether keys must be lead ids.
    pub is_keyed_by_lead: bool,
    /// Whether events of unknown types are passed over.
    pub ignores_unknown_types: bool,
    /// Whether met and cancelled clocks are said too.
    pub has_outcomes: bool,
    /// How long an event may take to be in the log, in milliseconds.
    pub grace_ms: i64,
    /// Facts that are older may be settled, in milliseconds. Rule H10.
    pub lateness_max_ms: i64,
    /// Most facts that are kept of a lead. Rule H10.
    pub facts_max: usize,
    /// How long closed leads are kept, in milliseconds. Rule H10.
    pub retention_closed_ms: i64,
    /// How long others are kept, in milliseconds. Rule H10.
    pub retention_idle_ms: i64,
}

/// What a partition was judged by. Rules T13 and H9.
#[derive(Debug, Clone)]
pub struct History {
    /// What was promised, by one policy file after another.
    pub rules: Arc<Rules>,
    /// What is dated before it was told to nobody.
    pub speak_from: Instant,
}

impl Settings {
    fn history(&self, partition: Partition) -> &History {
        self.histories.get(&partition).unwrap_or(&self.configured)
    }
}

/// What is known of the logs of a partition number before they are read.
#[derive(Debug, Clone, Default)]
pub struct Logs {
    /// The partition number.
    pub partition: Partition,
    /// The service has read so far, by input topic; `None` where that is not known.
    pub committed: Vec<Option<i64>>,
    /// Whether records were deleted from the start of one of the logs.
    pub is_cut: bool,
    /// Whether an open transaction holds back the end of one.
    pub is_held: bool,
    /// Dead letters written until then may have been deleted.
    pub letters_cut_until: Option<Instant>,
}

/// What was seen of a lead.
#[derive(Debug, Default)]
pub struct LeadNote {
    /// Records of it may have been deleted.
    pub is_partial: bool,
    /// It may have been forgotten between two of its records.
    pub may_be_forgotten: bool,
    /// It lies in a log with an open transaction.
    pub is_held: bool,
    /// It has a record that may have been rejected.
    pub may_be_rejected: bool,
    /// Facts that came later than the grace: when they happened, and when they came.
    pub late: Vec<(Instant, Instant)>,
    /// How many of its records count.
    pub records: usize,
    /// When the last of them came.
    pub last_recorded_at: Option<Instant>,
    /// The earliest merge among them.
    pub merged_at: Option<Instant>,
}

/// Everything that was found out from the input topics.
#[derive(Debug, Default)]
pub struct Judged {
    /// What should have been said.
    pub expected: Expected,
    /// The leads.
    pub leads: HashMap<Arc<str>, LeadNote>,
    /// What is wrong with the dead letters.
    pub findings: Vec<Finding>,
    /// How many records were read.
    pub records: u64,
    /// How many of them were left out, by reason.
    pub rejected: BTreeMap<String, u64>,
}

/// Judges the records of one partition number.
pub struct Judge<'a> {
    settings: &'a Settings,
    logs: Logs,
    /// The timestamp of the first record that is still there.
    log_start: Option<Instant>,
    engine: Engine,
    decoder: Decoder,
    routing: Routing,
    letters: &'a mut Letters,
    judged: &'a mut Judged,
    /// Rejected because their lead is merged, which only the whole log can show.
    merged: Vec<(Arc<str>, Instant, Finding)>,
}

/// So many leads are judged before what they say is written down.
const LEADS_A_STEP: usize = 10_000;

impl<'a> Judge<'a> {
    /// Begins with a partition number.
    pub fn new(
        settings: &'a Settings,
        logs: Logs,
        letters: &'a mut Letters,
        judged: &'a mut Judged,
    ) -> Judge<'a> {
        let History { rules, speak_from } = settings.history(logs.partition).clone();
        // No fact is settled before everything is read, and no lead is forgotten before it is judged.
        let windows = engine::Settings {
            grace_ms: settings.grace_ms,
            lateness_max_ms: i64::MAX / 4,
            facts_max: usize::MAX,
            retention_closed_ms: settings.retention_closed_ms,
            retention_idle_ms: settings.retention_idle_ms,
            speak_from,
        };
        Judge {
            settings,
            logs,
            log_start: None,
            engine: Engine::without_transactions(rules, windows),
            decoder: Decoder::new(settings.decoding),
            routing: Routing::new(settings.partitions, settings.partitioner),
            letters,
            judged,
            merged: Vec::new(),
        }
    }

    /// Takes in the next record of one of the logs.
    pub fn take(&mut self, record: &Record<'_>) {
        self.judged.records += 1;
        self.log_start = self.log_start.or(record.timestamp);
        let letter = self.letters.take(place(record));
        if let Some(letter) = &letter {
            *self.judged.rejected.entry(letter.reason.clone()).or_default() += 1;
        }
        match self.decoder.decode(record) {
            Err(rejected) => self.check_rejected(record, rejected.reason, letter),
            Ok(event) => {
                let routed = match self.settings.is_keyed_by_lead {
                    true => self.routing.check(record.key, &event.lead_id, record.partition),
                    false => Ok(()),
                };
                match routed {
                    Err(misrouted) if !self.is_by_arrival(misrouted) => {
                        self.check_rejected(record, Reason::Misrouted, letter);
                    }
                    _ => self.take_fact(record, &event.lead_id, event.fact, letter),
                }
            }
        }
    }

    /// Judges until an instant and writes down what should have been said.
    pub fn finish(mut self, until: Instant) {
        let mut effects = Effects::default();
        loop {
            let has_more = self.engine.advance(until, LEADS_A_STEP, &mut effects);
            effects.started.clear();
            for output in effects.outputs.drain(..) {
                if self.is_compared(&output) {
                    let (rules, encoder) = (self.engine.rules(), &self.settings.encoder);
                    let encoded = encoder.encode(rules, &output, self.logs.partition, output.date);
                    self.expect(&encoded.value);
                }
            }
            if !has_more {
                break;
            }
        }
        self.check_merged();
    }

    /// A warning is told once, with what was known then; nothing can be said against it later. Rule T7.
    fn is_compared(&self, output: &Output) -> bool {
        let is_outcome = matches!(output.step, Step::Met | Step::Cancelled);
        !output.is_silent && output.step != Step::AtRisk && (self.settings.has_outcomes || !is_outcome)
    }

    fn expect(&mut self, value: &[u8]) {
        if let Ok(Said { what: What::Happened(key, content), .. }) = Said::parse(value) {
            self.judged.expected.insert(key, content);
        }
    }

    /// Where the partitioner was found from the first records, restarts and several topics decide which.
    fn is_by_arrival(&self, misrouted: Misrouted) -> bool {
        misrouted == Misrouted::OtherPartition && self.settings.partitioner.is_none()
    }

    /// A record that cannot be used has a dead letter that says why.
    fn check_rejected(&mut self, record: &Record<'_>, reason: Reason, letter: Option<Letter>) {
        let is_passed_over = reason == Reason::UnknownType && self.settings.ignores_unknown_types;
        let word = reason.as_str();
        match letter {
            Some(letter) if letter.reason != word || is_passed_over => {
                let should = if is_passed_over { "it is to be passed over" } else { word };
                self.find_letter(record, &letter, &format!("it says `{}`, and {should}", letter.reason));
            }
            None if !is_passed_over => self.miss_letter(record, word),
            _ => {}
        }
    }

    fn take_fact(&mut self, record: &Record<'_>, lead_id: &str, fact: Fact, letter: Option<Letter>) {
        if let Some(letter) = letter {
            return self.check_left_out(record, lead_id, &fact, &letter);
        }
        let (time, kind) = (fact.time, fact.kind);
        let arrival = record.timestamp.unwrap_or(time);
        let is_forgotten = self.may_have_left(lead_id, arrival);
        let applied = self.engine.apply(lead_id, fact, Arrival { at: arrival, recorded_at: None });
        // With several topics, the merge may have come after what follows it.
        if applied == Applied::Merged && self.settings.inputs == 1 {
            self.miss_letter(record, Reason::Merged.as_str());
        }
        let is_first_known = self.is_whole_from(kind, time);
        let may_be_rejected = self.may_be_too_late(time, record.timestamp);
        let (is_cut, is_held) = (self.logs.is_cut, self.logs.is_held);
        let grace_ms = self.settings.grace_ms;
        let note = self.note(lead_id);
        note.is_partial |= is_cut && note.records == 0 && !is_first_known;
        note.may_be_forgotten |= is_forgotten;
        note.may_be_rejected |= may_be_rejected;
        note.is_held |= is_held;
        if time.plus(grace_ms) < arrival {
            note.late.push((time, arrival));
        }
        if kind == FactKind::LeadMerged {
            note.merged_at = Some(note.merged_at.map_or(time, |known| known.min(time)));
        }
        note.records += 1;
        note.last_recorded_at = note.last_recorded_at.max(Some(arrival));
    }

    /// What is left out because the dead-letter topic says so, as far as it can be told whether that is right.
    fn check_left_out(&mut self, record: &Record<'_>, lead_id: &str, fact: &Fact, letter: &Letter) {
        let is_cut = self.logs.is_cut;
        let note = self.note(lead_id);
        note.is_partial |= is_cut && note.records == 0;
        let has_many = self.settings.facts_max <= self.note(lead_id).records;
        let problem = match letter.reason.as_str() {
            "too_late" if has_many => None,
            "too_late" => self.not_too_late(fact.time, letter),
            "merged" => {
                let finding = letter_finding(record, letter, "its lead was not merged before it");
                self.merged.push((Arc::from(lead_id), fact.time, finding));
                None
            }
            "misrouted" if self.settings.is_keyed_by_lead && self.settings.partitioner.is_none() => None,
            reason => Some(format!("it says `{reason}`, and it is not")),
        };
        if let Some(problem) = problem {
            self.find_letter(record, letter, &problem);
        }
    }

    /// Nothing is settled that is younger than the shortest time for which anything is kept. Rules F10 and H10.
    fn not_too_late(&self, time: Instant, letter: &Letter) -> Option<String> {
        let settled =
            letter.written_at?.minus(self.kept_ms()).plus(self.settings.decoding.future_skew_max_ms);
        (settled < time).then(|| format!("it says `too_late`, and nothing of {time} can have been settled"))
    }

    fn kept_ms(&self) -> i64 {
        let Settings { lateness_max_ms, retention_closed_ms, retention_idle_ms, .. } = self.settings;
        *lateness_max_ms.min(retention_closed_ms).min(retention_idle_ms)
    }

    /// Whether a dead letter about this may have been deleted.
    fn may_be_too_late(&self, time: Instant, recorded_at: Option<Instant>) -> bool {
        let is_cut = self.logs.letters_cut_until.is_some_and(|cut| recorded_at.is_none_or(|at| at <= cut));
        is_cut
            && recorded_at.is_none_or(|at| {
                time <= at.minus(self.kept_ms()).plus(self.settings.decoding.future_skew_max_ms)
            })
    }

    /// A lead is taken to be whole that was created after the log's present start.
    fn is_whole_from(&self, kind: FactKind, time: Instant) -> bool {
        let start = self.log_start.map(|start| start.minus(self.settings.grace_ms));
        kind == FactKind::LeadCreated && start.is_none_or(|start| start <= time)
    }

    /// Whether nothing came about a lead for so long that it may have been forgotten. Rule H10.
    fn may_have_left(&self, lead_id: &str, arrival: Instant) -> bool {
        let shortest_ms = self.settings.retention_closed_ms.min(self.settings.retention_idle_ms);
        let last = self.judged.leads.get(lead_id).and_then(|note| note.last_recorded_at);
        if last.is_none_or(|last| arrival < last.plus(shortest_ms)) {
            return false;
        }
        let slot = self.engine.store().find(lead_id);
        slot.and_then(|slot| self.engine.retained_until(slot)).is_some_and(|until| until <= arrival)
    }

    fn check_merged(&mut self) {
        for (lead_id, time, finding) in std::mem::take(&mut self.merged) {
            if self.note(&lead_id).merged_at.is_none_or(|merged| time <= merged) {
                self.judged.findings.push(finding);
            }
        }
    }

    fn note(&mut self, lead_id: &str) -> &mut LeadNote {
        if !self.judged.leads.contains_key(lead_id) {
            self.judged.leads.insert(Arc::from(lead_id), LeadNote::default());
        }
        self.judged.leads.get_mut(lead_id).expect("a lead that was just noted")
    }

    fn miss_letter(&mut self, record: &Record<'_>, reason: &str) {
        let committed = self.logs.committed.get(usize::from(record.topic)).copied().flatten();
        let is_unread = committed.is_some_and(|committed| committed <= record.offset);
        let cut = self.logs.letters_cut_until;
        let may_be_gone = cut.is_some_and(|cut| record.timestamp.is_none_or(|at| at <= cut));
        if !is_unread && !may_be_gone {
            let detail = format!("it is `{reason}`");
            self.judged.findings.push(Finding::at(Kind::DeadLetterMissing, Some(place(record)), detail));
        }
    }

    fn find_letter(&mut self, record: &Record<'_>, letter: &Letter, problem: &str) {
        self.judged.findings.push(letter_finding(record, letter, problem));
    }
}

fn letter_finding(record: &Record<'_>, letter: &Letter, problem: &str) -> Finding {
    let detail = format!("about the record at [{}] {}: {problem}", record.partition, record.offset);
    Finding::at(Kind::DeadLetterExtra, Some(letter.at), detail)
}

fn place(record: &Record<'_>) -> Place {
    let topic: Topic = record.topic;
    Place { topic, partition: record.partition, offset: record.offset }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read_policies;

    const PROMISE: &str = "
pipeline: {open: [new], lost: [lost]}
policies:
  - name: one
    objectives: {first-response: {start: created, stop: contacted, within: 60s}}
";

    const BEGIN_MS: i64 = 1_772_438_400_000;

    fn at(second: i64) -> Instant {
        Instant::from_millis(BEGIN_MS + second * 1000)
    }

    fn settings() -> Settings {
        let policies = read_policies("policies.yaml", PROMISE).unwrap_or_else(|why| panic!("{why}"));
        let rules = Arc::new(Rules::new(Arc::new(policies)));
        Settings {
            configured: History { rules, speak_from: Instant::MIN },
            histories: BTreeMap::new(),
            encoder: Encoder::new(vec!["leads".to_owned()]),
            inputs: 1,
            partitions: 1,
            decoding: Decoding { future_skew_max_ms: 0, are_files: false },
            partitioner: None,
            is_keyed_by_lead: true,
            ignores_unknown_types: false,
            has_outcomes: false,
            grace_ms: 5_000,
            lateness_max_ms: 86_400_000,
            facts_max: 100,
            retention_closed_ms: 100_000,
            retention_idle_ms: 1_000_000,
        }
    }

    /// A line a record: the second at which it was recorded, its lead, its type, the second at which it happened,
    /// and after `!` the reason of its dead letter and the second at which that was written.
    fn judged(settings: &Settings, logs: Logs, lines: &str) -> Judged {
        let (mut letters, mut judged) = (Letters::default(), Judged::default());
        let lines: Vec<_> = lines.split(';').map(str::trim).collect();
        for (offset, line) in (0i64..).zip(&lines) {
            let Some((_, letter)) = line.split_once('!') else { continue };
            let (reason, second) = letter.split_once('@').expect("a second");
            let offset_text = offset.to_string();
            let headers = [
                ("reason", reason),
                ("topic", "leads"),
                ("partition", "0"),
                ("offset", offset_text.as_str()),
            ];
            let headers = headers.map(|(name, value)| (name, Some(value.as_bytes())));
            let timestamp = Some(at(second.parse().expect("a second")));
            let record = Record {
                topic: 2,
                partition: 0,
                offset,
                timestamp,
                key: None,
                value: None,
                headers: &headers,
            };
            letters.hear(&record, &["leads".to_owned()]);
        }
        let mut judge = Judge::new(settings, logs, &mut letters, &mut judged);
        for (offset, line) in (0i64..).zip(&lines) {
            let words: Vec<_> = line.split('!').next().unwrap_or_default().split_whitespace().collect();
            let &[recorded, lead, kind, happened] = words.as_slice() else { panic!("{line}") };
            let second = |text: &str| at(text.parse().expect("a second"));
            let stage = if kind == "lead-created" { "new" } else { "lost" };
            let value = format!(
                r#"{{"type":"{kind}","lead_id":"{lead}","stage":"{stage}","into":"x","time":"{}","n":{offset}}}"#,
                second(happened)
            );
            judge.take(&Record {
                topic: 0,
                partition: 0,
                offset,
                timestamp: Some(second(recorded)),
                key: Some(lead.as_bytes()),
                value: Some(value.as_bytes()),
                headers: &[],
            });
        }
        judge.finish(at(100_000));
        judged
    }

    fn breached(judged: &Judged) -> String {
        let leads: Vec<_> = judged.expected.keys().map(|key| &*key.clock.lead_id).collect();
        leads.join(" ")
    }

    /// Which leads should have been called overdue, and what is wrong with the dead letters.
    fn check(lines: &str, leads: &str, findings: &[Kind]) {
        let judged = judged(&settings(), Logs::default(), lines);
        assert_eq!(breached(&judged), leads, "{lines}");
        let found: Vec<_> = judged.findings.iter().map(|finding| finding.kind).collect();
        assert_eq!(found, findings, "{lines}");
    }

    #[test]
    fn a_record_counts_unless_its_dead_letter_says_otherwise() {
        check("0 L1 lead-created 0; 30 L1 contacted 30; 0 L2 lead-created 0", "L2", &[]);
        check("0 L1 lead-created 0; 30 L1 contacted 30 !too_late@30", "L1", &[Kind::DeadLetterExtra]);
        check("0 L1 yodelled 0", "", &[Kind::DeadLetterMissing]);
        check("0 L1 yodelled 0 !unknown_type@1", "", &[]);
        check("0 L1 yodelled 0 !not_json@1", "", &[Kind::DeadLetterExtra]);
        check("0 L1 contacted 0 !unknown_type@1", "", &[Kind::DeadLetterExtra]);
        check("0 L1 contacted 9 !future@1", "", &[]);
        check("0 L1 contacted 9", "", &[Kind::DeadLetterMissing]);
    }

    #[test]
    fn too_late_is_only_what_may_have_been_settled() {
        let mut settings = settings();
        let lines = "90 L1 contacted 20 !too_late@90";
        let is_found = |settings: &Settings| !judged(settings, Logs::default(), lines).findings.is_empty();
        assert!(is_found(&settings));
        settings.lateness_max_ms = 70_000;
        assert!(!is_found(&settings));
    }

    #[test]
    fn merged_is_only_what_follows_a_merge() {
        check("0 L1 lead-merged 0; 9 L1 contacted 9 !merged@9", "", &[]);
        check("9 L1 contacted 9 !merged@9; 10 L1 lead-merged 0", "", &[]);
        check("0 L1 lead-merged 0; 9 L1 contacted 9", "", &[Kind::DeadLetterMissing]);
        check("9 L1 lead-merged 9; 9 L1 contacted 0 !merged@9", "", &[Kind::DeadLetterExtra]);
    }

    #[test]
    fn what_the_service_has_not_read_lacks_no_dead_letter() {
        let lines = "0 L1 yodelled 0; 0 L1 yodelled 0";
        let logs = Logs { committed: vec![Some(1)], ..Logs::default() };
        assert_eq!(judged(&settings(), logs, lines).findings.len(), 1);
        let logs = Logs { letters_cut_until: Some(at(5)), ..Logs::default() };
        assert!(judged(&settings(), logs, lines).findings.is_empty(), "they may have been deleted");
    }

    /// The leads of which something is so.
    fn leads(judged: &Judged, is_so: impl Fn(&LeadNote) -> bool) -> String {
        let mut leads: Vec<_> =
            judged.leads.iter().filter(|(_, note)| is_so(note)).map(|(id, _)| &**id).collect();
        leads.sort_unstable();
        leads.join(" ")
    }

    #[test]
    fn a_lead_is_whole_that_was_created_after_the_start_of_a_cut_log() {
        let lines = "100 seen contacted 100; 100 new lead-created 99; 100 again lead-created 50";
        let cut = judged(&settings(), Logs { is_cut: true, ..Logs::default() }, lines);
        assert_eq!(leads(&cut, |note| note.is_partial), "again seen");
        let whole = judged(&settings(), Logs::default(), lines);
        assert_eq!(leads(&whole, |note| note.is_partial), "");
    }

    #[test]
    fn a_lead_may_be_forgotten_that_is_silent_for_longer_than_it_is_kept() {
        let lines =
            "0 closed stage-changed 0; 0 open contacted 0; 0 soon stage-changed 0; 50 soon contacted 50;
            200 closed contacted 200; 200 open contacted 200";
        let judged = judged(&settings(), Logs::default(), lines);
        assert_eq!(leads(&judged, |note| note.may_be_forgotten), "closed");
    }

    #[test]
    fn a_fact_is_late_that_took_longer_than_the_grace() {
        let judged = judged(&settings(), Logs::default(), "4 L1 contacted 0; 9 L2 contacted 0");
        assert_eq!(leads(&judged, |note| !note.late.is_empty()), "L2");
    }
}
