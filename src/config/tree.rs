//! YAML as a tree of which every value knows where it was written.

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};

use super::problem::{Place, Report};

/// Largest text that is read, in bytes.
const TEXT_BYTES_MAX: usize = 8 << 20;
/// Deepest nesting of lists and maps.
const DEPTH_MAX: usize = 64;
/// Most values in a text, each alias counted as all it stands for.
const VALUES_MAX: usize = 200_000;

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub at: Place,
    pub value: Value,
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Scalar(Kind, String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// What a scalar is in YAML's core schema; its text is kept beside it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Number(f64),
    Text,
}

/// A key of a map and its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub key: String,
    pub at: Place,
    pub node: Node,
}

impl Node {
    /// A scalar as a plain one in YAML.
    pub fn plain(at: Place, text: &str) -> Node {
        Node { at, value: Value::Scalar(kind(text), text.to_string()) }
    }

    /// A text, whatever it looks like.
    pub fn text(at: Place, text: &str) -> Node {
        Node { at, value: Value::Scalar(Kind::Text, text.to_string()) }
    }

    /// Whether nothing is written here.
    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Scalar(Kind::Null, _))
    }

    fn size(&self) -> usize {
        1 + match &self.value {
            Value::Scalar(..) => 0,
            Value::List(items) => items.iter().map(Node::size).sum(),
            Value::Map(entries) => entries.iter().map(|entry| entry.node.size()).sum(),
        }
    }
}

/// Reads one document. `None`, with the problem in the report, where the text is not YAML that is
/// allowed here; a key given twice is a problem too, of which the first stays.
pub(crate) fn parse(report: &Report, origin: Place, text: &str) -> Option<Node> {
    if text.len() > TEXT_BYTES_MAX {
        report.add(origin, "", &format!("is larger than {} MiB", TEXT_BYTES_MAX >> 20));
        return None;
    }
    let mut builder = Builder::new(report, origin);
    let options = granit_parser::options! { emit_comments: false };
    for event in Parser::new_from_str_with_options(text, options) {
        let taken = match event {
            Ok((event, span)) => builder.take(event, &span),
            Err(error) => Err((builder.place(error.marker()), error.info())),
        };
        if let Err((at, message)) = taken {
            report.add(at, "", &message);
            return None;
        }
    }
    Some(builder.root.unwrap_or_else(|| Node::plain(origin, "")))
}

/// Where reading must stop, and why.
type Fault = (Place, String);

struct Builder<'r> {
    report: &'r Report,
    origin: Place,
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    values: usize,
    root: Option<Node>,
}

/// A list or map whose end is not reached.
struct Open {
    at: Place,
    anchor: usize,
    value: Collecting,
}

enum Collecting {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, keys: HashSet<String>, key: Option<(String, Place)> },
}

impl<'r> Builder<'r> {
    fn new(report: &'r Report, origin: Place) -> Builder<'r> {
        Builder { report, origin, open: Vec::new(), anchors: HashMap::new(), values: 0, root: None }
    }

    fn place(&self, mark: &Marker) -> Place {
        if self.origin.line == 0 {
            return self.origin;
        }
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Place { line: number(mark.line()).max(1), column: number(mark.col()) + 1, ..self.origin }
    }

    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Fault> {
        let at = if span.is_empty() { self.nothing_at(span) } else { self.place(&span.start) };
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let node = scalar(at, &text, style, tag.as_deref())?;
                self.finish(node, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                refuse_tag(at, tag.as_deref())?;
                self.begin(at, anchor, Collecting::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_tag(at, tag.as_deref())?;
                let map = Collecting::Map { entries: Vec::new(), keys: HashSet::new(), key: None };
                self.begin(at, anchor, map)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(at, anchor),
            Event::DocumentStart(..) if self.root.is_some() => {
                Err((at, "holds a second document, must be one".to_string()))
            }
            _ => Ok(()),
        }
    }

    /// A value of which nothing is written stands where its key does.
    fn nothing_at(&self, span: &Span) -> Place {
        match self.open.last().map(|open| &open.value) {
            Some(Collecting::Map { key: Some((_, key)), .. }) => *key,
            _ => self.place(&span.start),
        }
    }

    fn alias(&mut self, at: Place, anchor: usize) -> Result<(), Fault> {
        let Some((node, size)) = self.anchors.get(&anchor) else {
            return Err((at, "refers to itself".to_string()));
        };
        // Counted before it is copied: aliases of aliases grow without bound.
        if self.values + size > VALUES_MAX {
            return Err((at, format!("stands for too much: more than {VALUES_MAX} values in all")));
        }
        self.values += size;
        self.finish(node.clone(), 0)
    }

    fn begin(&mut self, at: Place, anchor: usize, value: Collecting) -> Result<(), Fault> {
        if self.open.len() >= DEPTH_MAX {
            return Err((at, format!("is nested deeper than {DEPTH_MAX} levels")));
        }
        if matches!(self.open.last(), Some(Open { value: Collecting::Map { key: None, .. }, .. })) {
            return Err((at, "is a list or map in the place of a key".to_string()));
        }
        self.open.push(Open { at, anchor, value });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let value = match open.value {
            Collecting::List(items) => Value::List(items),
            Collecting::Map { entries, .. } => Value::Map(entries),
        };
        self.finish(Node { at: open.at, value }, open.anchor)
    }

    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err((node.at, format!("is one of more than {VALUES_MAX} values")));
        }
        if anchor > 0 {
            let size = node.size();
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.open.last_mut().map(|open| &mut open.value) {
            None => self.root = Some(node),
            Some(Collecting::List(items)) => items.push(node),
            Some(Collecting::Map { entries, keys, key }) => match key.take() {
                None => *key = Some(key_of(node)?),
                Some((name, at)) if keys.insert(name.clone()) => entries.push(Entry { key: name, at, node }),
                Some((name, at)) => self.report.add(at, "", &format!("key `{name}` is given twice")),
            },
        }
        Ok(())
    }
}

fn scalar(at: Place, text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Node, Fault> {
    match tag.map(Tag::core_suffix) {
        Some(Some("str")) => Ok(Node::text(at, text)),
        Some(_) => Err((at, "has a tag, which is not allowed here".to_string())),
        None if style == ScalarStyle::Plain => Ok(Node::plain(at, text)),
        None => Ok(Node::text(at, text)),
    }
}

fn refuse_tag(at: Place, tag: Option<&Tag>) -> Result<(), Fault> {
    tag.map_or(Ok(()), |_| Err((at, "has a tag, which is not allowed here".to_string())))
}

fn key_of(node: Node) -> Result<(String, Place), Fault> {
    match node.value {
        Value::Scalar(_, text) => Ok((text, node.at)),
        _ => Err((node.at, "is a list or map in the place of a key".to_string())),
    }
}

/// What a plain scalar is in the core schema of YAML 1.2.
fn kind(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" => Kind::Bool(true),
        "false" | "False" | "FALSE" => Kind::Bool(false),
        _ => number(text).map_or(Kind::Text, Kind::Number),
    }
}

fn number(text: &str) -> Option<f64> {
    let digits = |digits: &str, radix| u64::from_str_radix(digits, radix).ok().map(|n| n as f64);
    if let Some(hex) = text.strip_prefix("0x") {
        return digits(hex, 16);
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return digits(octal, 8);
    }
    match text.trim_start_matches(['-', '+']) {
        ".inf" | ".Inf" | ".INF" => Some(f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" => Some(f64::NAN),
        // Rust also reads `inf` and `nan`, which are texts here.
        rest if rest.starts_with(|c: char| c.is_ascii_digit() || c == '.') => text.parse().ok(),
        _ => None,
    }
}
