//! The dead-letter topic as it is read back: which records the service could not use, and why.

use std::collections::BTreeMap;

use super::finding::{Finding, Kind};
use super::said::Place;
use crate::sla::instant::Instant;
use crate::wire::record::Record;

/// The records that the service rejected, by where they are.
#[derive(Debug, Default)]
pub struct Letters {
    letters: BTreeMap<Place, Letter>,
    problems: Vec<Finding>,
}

/// One rejected record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Why, in one word.
    pub reason: String,
    /// Where it is said.
    pub at: Place,
    /// When that was written.
    pub written_at: Option<Instant>,
}

impl Letters {
    /// Takes in a record of the dead-letter topic. Letters about other topics are another service's.
    pub fn hear(&mut self, record: &Record<'_>, input_topics: &[String]) {
        let at = Place { topic: record.topic, partition: record.partition, offset: record.offset };
        let Some((topic, source, reason)) = read(record) else {
            let why = "it does not say which record was rejected, and why";
            return self.problems.push(Finding::at(Kind::Unreadable, Some(at), why.to_owned()));
        };
        let Some(topic) = input_topics.iter().position(|name| name == topic) else { return };
        let source = Place { topic: u16::try_from(topic).unwrap_or(u16::MAX), ..source };
        let letter = Letter { reason: reason.to_owned(), at, written_at: record.timestamp };
        if let Some(first) = self.letters.get(&source) {
            let detail = format!(
                "the record at [{}] {} of `{}` is there already, at [{}] {}",
                source.partition,
                source.offset,
                input_topics[usize::from(source.topic)],
                first.at.partition,
                first.at.offset
            );
            return self.problems.push(Finding::at(Kind::DeadLetterExtra, Some(at), detail));
        }
        self.letters.insert(source, letter);
    }

    /// Takes out what is said of a record.
    pub fn take(&mut self, source: Place) -> Option<Letter> {
        self.letters.remove(&source)
    }

    /// What is wrong with the letters themselves, and those that were not taken although their record should
    /// have been there.
    pub fn finish(self, is_read: impl Fn(Place) -> bool) -> Vec<Finding> {
        let mut problems = self.problems;
        for (source, letter) in self.letters.into_iter().filter(|(source, _)| is_read(*source)) {
            let detail = format!(
                "there is no record at [{}] {}, `{}`",
                source.partition, source.offset, letter.reason
            );
            problems.push(Finding::at(Kind::DeadLetterExtra, Some(letter.at), detail));
        }
        problems
    }
}

/// Topic, partition and offset of the rejected record, and the reason. The record's own headers come first.
fn read<'a>(record: &Record<'a>) -> Option<(&'a str, Place, &'a str)> {
    let header = |wanted: &str| {
        let found = record.headers.iter().rfind(|(name, _)| *name == wanted)?;
        std::str::from_utf8(found.1?).ok()
    };
    let place = Place {
        topic: 0,
        partition: header("partition")?.parse().ok()?,
        offset: header("offset")?.parse().ok()?,
    };
    Some((header("topic")?, place, header("reason")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(letters: &mut Letters, offset: i64, headers: &[(&str, &str)]) {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
        let record = Record {
            topic: 3,
            partition: 0,
            offset,
            timestamp: None,
            key: None,
            value: None,
            headers: &headers,
        };
        letters.hear(&record, &["leads".to_owned()]);
    }

    fn letter<'a>(topic: &'a str, offset: &'a str) -> [(&'a str, &'a str); 5] {
        [("reason", "mine"), ("reason", "not_json"), ("topic", topic), ("partition", "2"), ("offset", offset)]
    }

    #[test]
    fn a_letter_tells_its_record_and_is_taken_once() {
        let mut letters = Letters::default();
        hear(&mut letters, 0, &letter("leads", "7"));
        let source = Place { topic: 0, partition: 2, offset: 7 };
        assert_eq!(letters.take(source).map(|letter| letter.reason).as_deref(), Some("not_json"));
        assert_eq!(letters.take(source), None);
        assert!(letters.finish(|_| true).is_empty());
    }

    #[test]
    fn a_second_letter_one_about_nothing_and_one_that_says_nothing_are_found() {
        let mut letters = Letters::default();
        hear(&mut letters, 0, &letter("leads", "7"));
        hear(&mut letters, 1, &letter("leads", "7"));
        hear(&mut letters, 2, &letter("others", "7"));
        hear(&mut letters, 3, &[("trace", "1")]);
        let found: Vec<_> = letters.finish(|source| source.offset < 8).iter().map(|f| f.kind).collect();
        assert_eq!(found, [Kind::DeadLetterExtra, Kind::Unreadable, Kind::DeadLetterExtra]);
    }

    #[test]
    fn a_letter_about_what_was_not_read_is_none_of_ours() {
        let mut letters = Letters::default();
        hear(&mut letters, 0, &letter("leads", "9"));
        assert!(letters.finish(|source| source.offset < 8).is_empty());
    }
}
