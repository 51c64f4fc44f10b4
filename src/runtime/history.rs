//! The policy files that a partition has taken up, one after another. Rule T13.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::{PolicyFile, read_policies_with};
use crate::sla::instant::Instant;
use crate::sla::policy::{NameId, Policies};
use crate::sla::rules::Rules;
use crate::wire::changelog::EditionRecord;

/// The policy file that was loaded last, for all workers of a process.
#[derive(Debug)]
pub struct Shelf {
    latest: Mutex<Loaded>,
    /// How many were loaded.
    count: AtomicU64,
    /// Those of changelogs that were read, by version.
    known: Mutex<BTreeMap<String, Arc<Policies>>>,
}

/// A policy file with its text.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The text, and those of the files it refers to.
    pub file: Arc<PolicyFile>,
    /// What it means.
    pub policies: Arc<Policies>,
}

impl Shelf {
    /// The file that a service starts with.
    pub fn new(file: Arc<PolicyFile>) -> Shelf {
        let latest = Mutex::new(Loaded::of(file));
        Shelf { latest, count: AtomicU64::new(1), known: Mutex::default() }
    }

    /// The file that was loaded last.
    pub fn latest(&self) -> Loaded {
        lock(&self.latest).clone()
    }

    /// How many files were loaded so far.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Another file is loaded.
    pub fn put(&self, file: Arc<PolicyFile>) {
        *lock(&self.latest) = Loaded::of(file);
        self.count.fetch_add(1, Ordering::Release);
    }

    /// What a text of a changelog means; the error says why it means nothing to this version.
    fn read(&self, record: &EditionRecord) -> Result<Arc<Policies>, String> {
        let latest = self.latest();
        if latest.policies.version == record.version {
            return Ok(latest.policies);
        }
        if let Some(known) = lock(&self.known).get(&record.version) {
            return Ok(Arc::clone(known));
        }
        let policies = read(record)?;
        lock(&self.known).insert(record.version.clone(), Arc::clone(&policies));
        Ok(policies)
    }
}

impl Loaded {
    fn of(file: Arc<PolicyFile>) -> Loaded {
        Loaded { policies: Arc::new(file.policies.clone()), file }
    }

    fn record(&self, from: Option<Instant>) -> EditionRecord {
        EditionRecord {
            from,
            version: self.policies.version.clone(),
            revision: self.policies.revision,
            text: self.file.text.clone(),
            files: self.file.files.clone(),
        }
    }
}

/// What a lock guards is as good after a panic as before: it is replaced as a whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(record: &EditionRecord) -> Result<Arc<Policies>, String> {
    let name = format!("policies of version {} in the changelog", record.version);
    let read = read_policies_with(&name, &record.text, &record.files);
    read.map(|(policies, _)| Arc::new(policies)).map_err(|problems| problems.to_string())
}

/// The rules of a history as a changelog has it.
pub fn rules_of(records: &[EditionRecord]) -> Result<Rules, String> {
    let read = |record: &EditionRecord| Ok((begins(record), read(record)?));
    let files: Vec<_> = records.iter().map(read).collect::<Result<_, String>>()?;
    Ok(Rules::of_editions(&files))
}

fn begins(record: &EditionRecord) -> Instant {
    record.from.unwrap_or(Instant::MIN)
}

/// The files that one partition has taken up.
#[derive(Debug)]
pub struct History {
    records: Vec<EditionRecord>,
    files: Vec<(Instant, Arc<Policies>)>,
    /// How many are in the changelog.
    written: usize,
    /// How many stay whatever becomes of the transaction.
    kept: usize,
}

/// What a loaded file is to a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The one that is in force.
    Same,
    /// One whose revision is lower: it is not taken up.
    Older,
    /// One more than can be told apart.
    TooMany,
    /// To be taken up.
    Newer,
}

impl History {
    /// A partition's first file is in force from the beginning.
    pub fn begin(loaded: &Loaded) -> History {
        let records = vec![loaded.record(None)];
        History { records, files: vec![(Instant::MIN, Arc::clone(&loaded.policies))], written: 0, kept: 1 }
    }

    /// The files that the changelog has; the error says which of them this version cannot read, and why.
    pub fn restore(records: Vec<EditionRecord>, shelf: &Shelf) -> Result<History, String> {
        let read = |record: &EditionRecord| Ok((begins(record), shelf.read(record)?));
        let files = records.iter().map(read).collect::<Result<Vec<_>, String>>()?;
        Ok(History { written: files.len(), kept: files.len(), records, files })
    }

    /// The rules that all of them make.
    pub fn rules(&self) -> Arc<Rules> {
        Arc::new(Rules::of_editions(&self.files))
    }

    /// All of them, as the changelog has them.
    pub fn records(&self) -> &[EditionRecord] {
        &self.records
    }

    /// The version of the file that was taken up last.
    pub fn version(&self) -> &str {
        self.records.last().map_or("", |record| &record.version)
    }

    /// Its revision, where it says one.
    pub fn revision(&self) -> Option<u64> {
        self.records.last().and_then(|record| record.revision)
    }

    /// From when it is in force.
    pub fn last_from(&self) -> Instant {
        self.files.last().map_or(Instant::MIN, |(from, _)| *from)
    }

    /// What a loaded file is to this partition.
    pub fn next(&self, loaded: &Loaded) -> Next {
        let policies = |file: &Arc<Policies>| file.policies.len();
        let count = self.files.iter().map(|(_, file)| policies(file)).sum::<usize>();
        let names = self.files.iter().map(|(_, file)| file.names.len()).sum::<usize>();
        let is_too_many = usize::from(u16::MAX) < count + policies(&loaded.policies)
            || usize::from(NameId::MAX) < names + loaded.policies.names.len();
        match () {
            () if self.version() == loaded.policies.version => Next::Same,
            () if loaded.policies.revision < self.revision() => Next::Older,
            () if is_too_many => Next::TooMany,
            () => Next::Newer,
        }
    }

    /// A file is in force from an instant on.
    pub fn take_up(&mut self, loaded: &Loaded, from: Instant) {
        self.records.push(loaded.record(Some(from)));
        self.files.push((from, Arc::clone(&loaded.policies)));
    }

    /// Those that the changelog does not have, with their numbers.
    pub fn unwritten(&self) -> impl Iterator<Item = (usize, &EditionRecord)> {
        self.records.iter().enumerate().skip(self.written)
    }

    /// Whether the changelog lacks one.
    pub fn is_unwritten(&self) -> bool {
        self.written < self.records.len()
    }

    /// The transaction was committed.
    pub fn commit(&mut self) {
        (self.written, self.kept) = (self.records.len(), self.records.len());
    }

    /// The transaction was aborted; says whether a file had been taken up in it.
    pub fn abort(&mut self) -> bool {
        let had_taken_up = self.kept < self.records.len();
        self.records.truncate(self.kept);
        self.files.truncate(self.kept);
        had_taken_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(text: &str) -> Loaded {
        let (policies, files) = read_policies_with("policies.yaml", text, &BTreeMap::new())
            .unwrap_or_else(|problems| panic!("{problems}"));
        Loaded::of(Arc::new(PolicyFile { path: "policies.yaml".into(), text: text.into(), files, policies }))
    }

    fn promise(revision: &str, within: &str) -> Loaded {
        loaded(&format!(
            "{revision}\npolicies: [{{name: one, objectives: {{o: {{start: created, stop: contacted, within: {within}}}}}}}]"
        ))
    }

    fn at(second: i64) -> Instant {
        Instant::from_millis(second * 1000)
    }

    #[test]
    fn a_lower_revision_is_not_taken_up() {
        for (before, after, next) in [
            ("", "", Next::Newer),
            ("", "revision: 1", Next::Newer),
            ("revision: 1", "revision: 2", Next::Newer),
            ("revision: 2", "revision: 2", Next::Newer),
            ("revision: 2", "revision: 1", Next::Older),
            ("revision: 1", "", Next::Older),
        ] {
            let history = History::begin(&promise(before, "1h"));
            assert_eq!(history.next(&promise(after, "2h")), next, "`{before}` then `{after}`");
        }
        assert_eq!(History::begin(&promise("", "1h")).next(&promise("", "1h")), Next::Same);
    }

    #[test]
    fn an_aborted_transaction_takes_no_file_up_and_the_first_one_stays() {
        let mut history = History::begin(&promise("", "1h"));
        assert!(!history.abort() && history.is_unwritten());
        history.commit();
        history.take_up(&promise("", "2h"), at(9));
        assert_eq!(history.unwritten().map(|(number, _)| number).collect::<Vec<_>>(), [1]);
        assert!(history.abort() && !history.is_unwritten());
        assert_eq!(history.version(), promise("", "1h").policies.version);
    }

    #[test]
    fn what_is_restored_judges_as_what_was_taken_up() {
        let mut history = History::begin(&promise("revision: 1", "1h"));
        history.take_up(&promise("revision: 2", "2h"), at(9));
        let records: Vec<_> = history.unwritten().map(|(_, record)| record.clone()).collect();
        let shelf = Shelf::new(promise("revision: 3", "3h").file);
        let restored = History::restore(records.clone(), &shelf).expect("a history");
        for rules in [history.rules(), restored.rules(), Arc::new(rules_of(&records).expect("rules"))] {
            let editions: Vec<_> =
                rules.editions().iter().map(|edition| (edition.from, edition.revision)).collect();
            assert_eq!(editions, [(Instant::MIN, Some(1)), (at(9), Some(2))]);
        }
        assert!(!restored.is_unwritten());
        assert_eq!((restored.last_from(), restored.revision()), (at(9), Some(2)));
    }

    #[test]
    fn a_text_that_this_version_does_not_know_is_refused_by_its_version() {
        let mut record = promise("", "1h").record(None);
        record.text = "policies: {}".into();
        record.version = "0123".into();
        let shelf = Shelf::new(promise("", "1h").file);
        let why = History::restore(vec![record], &shelf).expect_err("a problem");
        assert!(why.contains("version 0123"), "{why}");
    }
}
