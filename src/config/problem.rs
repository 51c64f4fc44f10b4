//! What is wrong with a configuration, where, and how that is shown.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

/// Longest path or message that is shown whole, in characters.
const TEXT_CHARS_MAX: usize = 2_000;
/// Longest part of a line that is shown, in characters.
const SHOWN_CHARS_MAX: usize = 160;

/// Everything that is wrong with a configuration, in the order in which it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Problem {
    /// File, environment variable or flag.
    pub origin: String,
    /// Line and column from 1, where the origin has lines.
    pub position: Option<(u32, u32)>,
    /// Which value, as a dotted path; empty for the whole.
    pub path: String,
    /// What is wrong with it, and what is allowed.
    pub message: String,
    /// The line itself; `None` where there is none or it may hold a secret.
    pub line: Option<String>,
}

impl Problems {
    /// The only problem, with a whole file or flag.
    pub fn one(origin: impl Into<String>, message: impl Into<String>) -> Problems {
        let (origin, message) = (origin.into(), message.into());
        Problems(vec![Problem { origin, position: None, path: String::new(), message, line: None }])
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)?;
        match (&self.line, self.position) {
            (Some(line), Some((_, column))) => write!(f, "\n{}", pointed_at(line, column)),
            _ => Ok(()),
        }
    }
}

/// The line indented by four, with a caret under the column.
fn pointed_at(line: &str, column: u32) -> String {
    let before = usize::try_from(column.saturating_sub(1)).unwrap_or(usize::MAX);
    let skipped = (before + 20).saturating_sub(SHOWN_CHARS_MAX);
    let shown: String = line.chars().skip(skipped).take(SHOWN_CHARS_MAX).collect();
    // A tab stays a tab, so that the caret stands under its column at any tab width.
    let gap: String = line.chars().skip(skipped).take(before - skipped.min(before)).map(blank).collect();
    format!("    {}\n    {gap}^", shown.trim_end())
}

fn blank(c: char) -> char {
    if c == '\t' { '\t' } else { ' ' }
}

/// Where a value was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Place {
    /// Index of the origin in the report.
    pub origin: usize,
    /// From 1; 0 where the origin has no lines.
    pub line: u32,
    /// From 1.
    pub column: u32,
}

/// Where values come from: a file, a variable or a flag.
#[derive(Debug)]
struct Origin {
    name: String,
    lines: Vec<String>,
}

/// Gathers problems while a configuration is read.
#[derive(Debug, Default)]
pub(crate) struct Report {
    origins: RefCell<Vec<Origin>>,
    found: RefCell<Vec<(Place, Problem)>>,
    known: RefCell<HashSet<Problem>>,
}

impl Report {
    /// Adds a text whose lines may be shown, and returns the place where it begins.
    pub fn file(&self, name: &str, text: &str) -> Place {
        Place { line: 1, column: 1, ..self.origin(name, text.lines().map(visible).collect()) }
    }

    /// Adds an origin that has no lines: a variable or a flag.
    pub fn flag(&self, name: &str) -> Place {
        self.origin(name, Vec::new())
    }

    fn origin(&self, name: &str, lines: Vec<String>) -> Place {
        let mut origins = self.origins.borrow_mut();
        origins.push(Origin { name: visible(name), lines });
        Place { origin: origins.len() - 1, line: 0, column: 0 }
    }

    /// Says where something was written: `overdue.yaml:3`, or the name of what has no lines.
    pub fn written_at(&self, at: Place) -> String {
        let name = &self.origins.borrow()[at.origin].name;
        if at.line > 0 { format!("{name}:{}", at.line) } else { name.clone() }
    }

    /// Forgets a line that may hold a secret, so that no problem shows it.
    pub fn withhold(&self, origin: usize, line: usize) {
        if let Some(text) = self.origins.borrow_mut()[origin].lines.get_mut(line) {
            text.clear();
        }
    }

    /// Adds a problem, once.
    pub fn add(&self, at: Place, path: &str, message: &str) {
        let origins = self.origins.borrow();
        let origin = &origins[at.origin];
        let row = usize::try_from(at.line).unwrap_or(0);
        let line = row.checked_sub(1).and_then(|row| origin.lines.get(row)).filter(|line| !line.is_empty());
        let problem = Problem {
            origin: origin.name.clone(),
            position: (at.line > 0).then_some((at.line, at.column)),
            path: visible(&shortened(path)),
            message: visible(&shortened(message)),
            line: line.cloned(),
        };
        // Several policies may lay themselves over the same faulty definition.
        if self.known.borrow_mut().insert(problem.clone()) {
            self.found.borrow_mut().push((at, problem));
        }
    }

    /// The value, unless a problem was found.
    pub fn finish<T>(&self, value: Option<T>) -> Result<T, Problems> {
        let mut found = self.found.take();
        found.sort_by_key(|(place, _)| *place);
        let problems: Vec<_> = found.into_iter().map(|(_, problem)| problem).collect();
        match value {
            Some(value) if problems.is_empty() => Ok(value),
            _ => Err(Problems(problems)),
        }
    }
}

/// The text, or its beginning and end where it repeats a name that fills pages.
fn shortened(text: &str) -> Cow<'_, str> {
    let part = TEXT_CHARS_MAX / 2;
    let (begins, ends) = (text.char_indices().nth(part), text.char_indices().rev().nth(part - 1));
    match (begins, ends) {
        (Some((first, _)), Some((last, _))) if first < last => {
            Cow::Owned(format!("{}…{}", &text[..first], &text[last..]))
        }
        _ => Cow::Borrowed(text),
    }
}

/// The text with what could drive a terminal made visible.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// The nearest of `known`, as a question to append.
pub(crate) fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(written, known).map(|near| format!(", did you mean `{near}`?")).unwrap_or_default()
}

fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |name: &str| strsim::damerau_levenshtein(&written.to_lowercase(), &name.to_lowercase());
    let short = written.chars().count() <= 200;
    let near = known.into_iter().filter(|_| short).map(|name| (distance(name), name)).min()?;
    (near.0 <= 1 + near.1.chars().count() / 4).then_some(near.1)
}

/// Names in backticks, separated by commas.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::{SHOWN_CHARS_MAX, TEXT_CHARS_MAX, did_you_mean, pointed_at, shortened, visible};

    #[test]
    fn the_caret_stands_under_the_column() {
        assert_eq!(pointed_at("a: b", 4), "    a: b\n       ^");
        assert_eq!(pointed_at("\ta: b", 5), "    \ta: b\n    \t   ^");
        assert_eq!(pointed_at("a", 9), "    a\n     ^", "past the end of the line");
    }

    #[test]
    fn a_long_line_is_cut_around_the_column() {
        let line = format!("{}X{}", "a".repeat(10_000), "b".repeat(10_000));
        let shown = pointed_at(&line, 10_001);
        let (line, caret) = shown.split_once('\n').expect("two lines");
        assert_eq!(line.chars().count(), 4 + SHOWN_CHARS_MAX);
        assert_eq!(line.find('X'), caret.find('^'));
    }

    #[test]
    fn a_name_that_fills_pages_is_shortened() {
        let long = format!("a{}z", "é".repeat(10_000));
        let short = shortened(&long);
        assert_eq!(short.chars().count(), TEXT_CHARS_MAX + 1);
        assert!(short.starts_with('a') && short.contains('…') && short.ends_with('z'));
        assert_eq!(shortened(&long[..TEXT_CHARS_MAX - 1]), &long[..TEXT_CHARS_MAX - 1]);
    }

    #[test]
    fn only_what_is_near_is_suggested() {
        assert_eq!(did_you_mean("strat", ["start", "stop"]), ", did you mean `start`?");
        assert_eq!(did_you_mean("banana", ["start", "stop"]), "");
    }

    #[test]
    fn a_text_cannot_drive_a_terminal() {
        assert_eq!(visible("a\u{1b}[2Jb\r"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
