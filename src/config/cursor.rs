//! A value of the tree with its path, and the ways to read it that report what is wrong.

use std::ops::RangeInclusive;

use chrono::NaiveDate;

use super::problem::{Place, Report, did_you_mean};
use super::tree::{Entry, Kind, Node, Value};
use crate::sla::instant::Instant;

/// A value, where it is in the tree, and the report its problems go to.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    pub node: &'a Node,
    pub path: String,
    /// Where its key was written; its own place in a list.
    pub key_at: Place,
    pub report: &'a Report,
}

/// The fields of a map, of which every name is known.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    /// The map.
    pub of: Cursor<'a>,
    /// Whether a field was refused, so that what seems to be missing may be meant by it.
    pub refused: bool,
    found: Vec<(&'a str, Cursor<'a>)>,
}

impl<'a> Cursor<'a> {
    /// The whole of a text.
    pub fn root(node: &'a Node, report: &'a Report) -> Cursor<'a> {
        Cursor { node, path: String::new(), key_at: node.at, report }
    }

    /// Says what is wrong with the value.
    pub fn problem(&self, message: impl AsRef<str>) {
        self.report.add(self.node.at, &self.path, message.as_ref());
    }

    /// Says what is wrong with the key.
    pub fn key_problem(&self, message: impl AsRef<str>) {
        self.report.add(self.key_at, &self.path, message.as_ref());
    }

    /// Says what is wrong with the value, and gives none.
    pub fn refuse<T>(&self, message: impl AsRef<str>) -> Option<T> {
        self.problem(message);
        None
    }

    fn child(&self, entry: &'a Entry) -> Cursor<'a> {
        let dot = if self.path.is_empty() { "" } else { "." };
        let path = format!("{}{dot}{}", self.path, entry.key);
        Cursor { node: &entry.node, path, key_at: entry.at, report: self.report }
    }

    /// The entries of a map whose keys are free.
    pub fn entries(&self) -> Option<Vec<(&'a str, Cursor<'a>)>> {
        match &self.node.value {
            Value::Map(entries) => {
                Some(entries.iter().map(|entry| (entry.key.as_str(), self.child(entry))).collect())
            }
            _ => self.refuse("must be a map"),
        }
    }

    /// The fields of a map: all must be `known`; those of `later` versions are refused by name.
    pub fn fields(&self, known: &[&str], later: &[&str]) -> Option<Fields<'a>> {
        let mut found = self.entries()?;
        for (name, field) in &found {
            if later.contains(name) {
                field.key_problem(unsupported(name));
            } else if !known.contains(name) {
                let near = did_you_mean(name, known.iter().copied());
                field.key_problem(format!("unknown field{near}"));
            }
        }
        let written = found.len();
        found.retain(|(name, _)| known.contains(name));
        Some(Fields { of: self.clone(), refused: found.len() < written, found })
    }

    /// The items of a list.
    pub fn items(&self) -> Option<Vec<Cursor<'a>>> {
        match &self.node.value {
            Value::List(items) => Some(self.numbered(items)),
            _ => self.refuse("must be a list"),
        }
    }

    /// The items of a list, or the one value that stands for a list of one.
    pub fn items_or_one(&self) -> Vec<Cursor<'a>> {
        match &self.node.value {
            Value::List(items) => self.numbered(items),
            _ => vec![self.clone()],
        }
    }

    fn numbered(&self, items: &'a [Node]) -> Vec<Cursor<'a>> {
        let item = |(index, node): (usize, &'a Node)| Cursor {
            node,
            path: format!("{}[{index}]", self.path),
            key_at: node.at,
            report: self.report,
        };
        items.iter().enumerate().map(item).collect()
    }

    /// Reads a list or a single value, at least one, each with `read`.
    pub fn some<T>(&self, mut read: impl FnMut(&Cursor<'a>) -> Option<T>) -> Option<Vec<T>> {
        let items = self.items_or_one();
        if items.is_empty() {
            return self.refuse("must not be an empty list");
        }
        // Every item is read, so that each says what is wrong with it.
        let read: Vec<_> = items.iter().map(&mut read).collect();
        read.into_iter().collect()
    }

    /// The scalar as it is written, whatever it is.
    pub fn written(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Scalar(Kind::Null, _) => self.refuse("must not be empty"),
            Value::Scalar(_, text) => Some(text),
            _ => self.refuse("must be a single value"),
        }
    }

    /// A text that is not empty.
    pub fn text(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Scalar(Kind::Text, text) if !text.trim().is_empty() => Some(text),
            Value::Scalar(Kind::Text | Kind::Null, _) => self.refuse("must not be empty"),
            Value::Scalar(_, text) => self.refuse(format!("must be a text, such as `\"{text}\"` in quotes")),
            _ => self.refuse("must be a text"),
        }
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        match self.node.value {
            Value::Scalar(Kind::Bool(value), _) => Some(value),
            _ => self.refuse("must be `true` or `false`"),
        }
    }

    /// A number.
    pub fn number(&self) -> Option<f64> {
        match self.node.value {
            Value::Scalar(Kind::Number(value), _) => Some(value),
            _ => self.refuse("must be a number"),
        }
    }

    /// A whole number in `range`.
    pub fn whole(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let digits = self.written()?;
        let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
        number.filter(|number| range.contains(number)).or_else(|| {
            self.refuse(format!("must be a whole number from {} to {}", range.start(), range.end()))
        })
    }

    /// An instant, or a date, which stands for 00:00 of UTC.
    pub fn instant(&self) -> Option<Instant> {
        let text = self.written()?;
        Instant::parse(text).or_else(|| midnight(text)).or_else(|| {
            let date = "or a date such as `2026-12-31`, which is 00:00 UTC";
            self.refuse(format!("must be an instant such as `2026-12-31T09:00:00+01:00`, {date}"))
        })
    }
}

impl<'a> Fields<'a> {
    /// The field of this name, where it is written.
    pub fn get(&self, name: &str) -> Option<&Cursor<'a>> {
        self.found.iter().find(|(found, _)| *found == name).map(|(_, field)| field)
    }

    /// These fields, with those of `upper` laid over them.
    pub fn under(mut self, upper: Fields<'a>) -> Fields<'a> {
        self.found.retain(|(name, _)| upper.get(name).is_none());
        self.found.extend(upper.found);
        Fields { of: upper.of, refused: self.refused || upper.refused, found: self.found }
    }

    /// The one field that a bare value stands for.
    pub fn bare(name: &'a str, value: &Cursor<'a>) -> Fields<'a> {
        Fields { of: value.clone(), refused: false, found: vec![(name, value.clone())] }
    }
}

fn midnight(text: &str) -> Option<Instant> {
    let date = text.parse::<NaiveDate>().ok().filter(|date| date.to_string() == text)?;
    Some(Instant::from_millis(date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis()))
}

/// What is said of something that a later version will have.
pub(crate) fn unsupported(name: &str) -> String {
    format!("`{name}` is not supported by this version")
}
