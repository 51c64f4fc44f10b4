//! What was promised, read from the policy file as it is written: product.md's rule of laying
//! over, F7, and what each condition asks of a fact.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::calendar::Calendar;
use super::fact::instant;
use super::lead::{Lead, at_path};

pub struct Policies {
    pub pipeline: Pipeline,
    pub policies: Vec<Policy>,
}

pub struct Pipeline {
    open: Vec<String>,
    won: Vec<String>,
    lost: Vec<String>,
}

/// One version of a policy. T13.
pub struct Policy {
    pub name: String,
    pub team: Option<String>,
    matches: Vec<(String, Value)>,
    /// In force in [from, until).
    pub from: Option<i64>,
    pub until: Option<i64>,
    pub objectives: BTreeMap<String, Objective>,
}

pub struct Objective {
    pub start: Vec<Value>,
    pub stop: Vec<Value>,
    pub stages: Option<Vec<String>>,
    pub restart: bool,
    /// `new`, `first_only` or `cumulative`. T14.
    pub reentry: String,
    /// Null where it is none of touches. T15.
    pub touch: Value,
    /// Stages, beside the facts `paused` and `resumed`; `None` is `pause: none`. T9.
    pub pause: Option<Vec<String>>,
    pub warn: Vec<Value>,
    pub escalate_after: Vec<Value>,
    within: Vec<Value>,
    calendar: Value,
    calendars: Rc<Calendars>,
}

/// A target as one start has it: so many milliseconds, of elapsed or of open time.
#[derive(Clone)]
pub struct Span {
    pub millis: i64,
    pub open: Option<Rc<Calendar>>,
    /// Of a target of so many open days, else 0.
    pub days: usize,
}

/// Reads a policy file that is known to be good.
pub fn read(file: &Value) -> Policies {
    let pipeline = Pipeline {
        open: texts(&file["pipeline"]["open"]),
        won: texts(&file["pipeline"]["won"]),
        lost: texts(&file["pipeline"]["lost"]),
    };
    let calendars = fields(&file["calendars"]);
    let calendars = calendars.into_iter().map(|(name, c)| (name, Rc::new(Calendar::read(&c)))).collect();
    let calendars = Rc::new(calendars);
    let policies =
        list(&file["policies"]).iter().map(|policy| read_policy(policy, file, &calendars)).collect();
    Policies { pipeline, policies }
}

type Calendars = BTreeMap<String, Rc<Calendar>>;

fn read_policy(policy: &Value, file: &Value, calendars: &Rc<Calendars>) -> Policy {
    let mut written = fields(&policy["objectives"]);
    for (stage, within) in fields(&policy["stages"]) {
        let objective = laid_over(&json!({"start": {"entered": stage}, "stop": {"left": stage}}), &within);
        written.insert(format!("stage-{stage}"), objective);
    }
    let objective = |(name, over): (String, Value)| {
        let definition = laid_over(&file["objectives"][&name], &over);
        let calendar = [&definition["calendar"], &policy["calendar"]].into_iter().find(|c| !c.is_null());
        (name, read_objective(&definition, calendar.unwrap_or(&Value::Null), calendars))
    };
    Policy {
        name: policy["name"].as_str().unwrap_or_default().to_owned(),
        team: policy["labels"]["team"].as_str().map(str::to_owned),
        matches: fields(&policy["match"]).into_iter().collect(),
        from: moment(&policy["effective_from"]),
        until: moment(&policy["effective_until"]),
        objectives: written.into_iter().map(objective).collect(),
    }
}

fn read_objective(definition: &Value, calendar: &Value, calendars: &Rc<Calendars>) -> Objective {
    let paused_in = match &definition["pause"] {
        Value::String(none) if none == "none" => None,
        stages => Some(texts(&stages["stage"])),
    };
    Objective {
        start: list(&definition["start"]),
        stop: list(&definition["stop"]),
        stages: definition["while"].get("stage").map(texts),
        restart: definition["restart"] == true,
        reentry: definition["reentry"].as_str().unwrap_or("new").to_owned(),
        touch: definition["touch"].clone(),
        pause: paused_in,
        warn: list(&definition["warn"]),
        escalate_after: list(&definition["escalate_after"]),
        within: list(&definition["within"]),
        calendar: calendar.clone(),
        calendars: Rc::clone(calendars),
    }
}

/// An instant, or a date of UTC.
fn moment(value: &Value) -> Option<i64> {
    let text = value.as_str()?;
    instant(text).or_else(|| instant(&format!("{text}T00:00:00Z")))
}

impl Objective {
    /// The calendar that the attributes give at an instant.
    fn calendar_at(&self, lead: &Lead, at: i64) -> Option<Rc<Calendar>> {
        let name = match self.calendar.get("by") {
            None => self.calendar.as_str(),
            Some(by) => {
                let value = lead.attribute_at(at, by.as_str().unwrap_or_default());
                let value = value.as_ref().and_then(Value::as_str).filter(|v| !["by", "default"].contains(v));
                let named = value.and_then(|value| self.calendar.get(value));
                named.or(self.calendar.get("default")).and_then(Value::as_str)
            }
        };
        self.calendars.get(name?).cloned()
    }

    /// T2: the target that a start at this instant has.
    pub fn span(&self, lead: &Lead, at: i64) -> Span {
        let calendar = self.calendar_at(lead, at);
        let fits = |entry: &&Value| {
            let asked = fields(&entry["if"]);
            let open = calendar.as_ref().is_some_and(|calendar| calendar.is_open_at(at));
            asked.iter().all(|(path, asked)| matches(lead.attribute_at(at, path).as_ref(), asked))
                && entry.get("started").is_none_or(|started| (started == "open") == open)
        };
        let entry = self.within.iter().find(fits).expect("a target that fits");
        self.duration(entry.get("target").unwrap_or(entry), lead, at, at)
    }

    /// A duration that begins at `from`, on the calendar of a clock started at `started_at`.
    pub fn duration(&self, duration: &Value, lead: &Lead, started_at: i64, from: i64) -> Span {
        let text = duration.as_str().unwrap_or_default();
        let calendar = self.calendar_at(lead, started_at);
        if let (Some(days), Some(calendar)) = (text.strip_suffix("bd"), &calendar) {
            let days = days.parse().unwrap_or(1);
            let millis = calendar.to_end_of_day(from, days);
            return Span { millis, open: Some(Rc::clone(calendar)), days };
        }
        Span { millis: millis(text), open: calendar.filter(|_| text.contains('b')), days: 0 }
    }

    /// T7: how much of the target is used up at a warning.
    pub fn warned_after(&self, warn: &Value, lead: &Lead, started_at: i64, target: &Span) -> i64 {
        let text = warn.as_str().unwrap_or_default();
        if let Some(percent) = text.strip_suffix('%') {
            return target.millis * percent.parse::<i64>().unwrap_or(0) / 100;
        }
        let left = text.strip_suffix(" left").unwrap_or(text);
        match left.strip_suffix("bd").and_then(|days| days.parse::<usize>().ok()) {
            Some(days) => {
                let earlier = json!(format!("{}bd", target.days - days));
                self.duration(&earlier, lead, started_at, started_at).millis
            }
            None => target.millis - millis(left),
        }
    }
}

/// The definition with the fields of `over` in place of its own; a bare duration is `within`.
fn laid_over(definition: &Value, over: &Value) -> Value {
    let mut result = fields(definition);
    match over {
        Value::Object(over) => result.extend(over.clone()),
        duration => drop(result.insert("within".into(), duration.clone())),
    }
    Value::Object(result)
}

/// The sum of `1h30m`. C4.
pub fn millis(text: &str) -> i64 {
    let (mut millis, mut digits, mut unit) = (0, String::new(), String::new());
    for c in text.chars().chain(['0']) {
        if c.is_ascii_digit() && !unit.is_empty() {
            millis += digits.parse::<i64>().unwrap_or(0) * unit_millis(&unit);
            digits.clear();
            unit.clear();
        }
        if c.is_ascii_digit() { digits.push(c) } else { unit.push(c) }
    }
    millis
}

fn unit_millis(unit: &str) -> i64 {
    match unit {
        "s" => 1000,
        "m" | "bm" => 60_000,
        "h" | "bh" => 3_600_000,
        "d" => 24 * 3_600_000,
        "w" => 7 * 24 * 3_600_000,
        _ => unreachable!("unit `{unit}`"),
    }
}

impl Policies {
    /// The policy in force at an instant: the first that is valid and matches. T12, T13.
    pub fn in_force(&self, lead: &Lead, at: i64) -> Option<&Policy> {
        self.policies.iter().find(|policy| {
            let fits = |(path, asked): &(String, Value)| matches(lead.attribute_at(at, path).as_ref(), asked);
            policy.is_valid_at(at) && policy.matches.iter().all(fits)
        })
    }

    /// T13: the version of a name that judges a clock started at `at`: the one valid then, else the
    /// next.
    pub fn version_at(&self, name: &str, at: i64) -> Option<&Policy> {
        let versions = || self.policies.iter().filter(|policy| policy.name == name);
        let next = || versions().filter(|policy| policy.from > Some(at)).min_by_key(|policy| policy.from);
        versions().find(|policy| policy.is_valid_at(at)).or_else(next)
    }
}

impl Policy {
    fn is_valid_at(&self, at: i64) -> bool {
        self.from.is_none_or(|from| from <= at) && self.until.is_none_or(|until| at < until)
    }
}

/// Whether an attribute is what a match asks: a value, one of a list, or every operator.
fn matches(value: Option<&Value>, asked: &Value) -> bool {
    let Value::Object(operators) = asked else { return value.is_some_and(|value| is_one_of(value, asked)) };
    operators.iter().all(|(operator, asked)| {
        let number = value.and_then(Value::as_f64).zip(asked.as_f64());
        match operator.as_str() {
            "not" => !value.is_some_and(|value| is_one_of(value, asked)),
            "present" => *asked == value.is_some(),
            "gte" => number.is_some_and(|(value, asked)| value >= asked),
            "gt" => number.is_some_and(|(value, asked)| value > asked),
            "lte" => number.is_some_and(|(value, asked)| value <= asked),
            "lt" => number.is_some_and(|(value, asked)| value < asked),
            _ => unreachable!("operator `{operator}`"),
        }
    })
}

impl Pipeline {
    /// A stage that is neither won nor lost is open.
    pub fn closes(&self, stage: &str) -> bool {
        self.won.iter().chain(&self.lost).any(|closed| closed == stage)
    }

    /// A later stage of `open`, or a won one.
    fn is_forward(&self, from: &str, to: &str) -> bool {
        let later = |i: usize| self.open[i + 1..].iter().any(|stage| stage == to);
        self.won.iter().any(|won| won == to)
            || self.open.iter().position(|stage| stage == from).is_some_and(later)
    }

    fn is_destination(&self, from: &str, to: &str, asked: &Value) -> bool {
        match asked.as_str() {
            Some("forward") => self.is_forward(from, to),
            Some("won") => self.won.iter().any(|won| won == to),
            Some("lost") => self.lost.iter().any(|lost| lost == to),
            _ => texts(asked).iter().any(|stage| stage == to),
        }
    }
}

/// Whether fact `i` is what the condition asks for, `$owner` being `owner`.
pub fn holds(condition: &Value, lead: &Lead, i: usize, owner: Option<&str>) -> bool {
    match condition.as_str() {
        Some("created") => return lead.is_created_by(i),
        Some("assigned") => return lead.is_assigned_by(i),
        Some("reopened") => return lead.is_reopened_by(i),
        Some("contacted") => return is_contact(&Map::new(), lead, i, owner),
        _ => {}
    }
    if let Some(asked) = condition.get("contacted") {
        return is_contact(&fields(asked), lead, i, owner);
    }
    let Some((from, to)) = lead.stage_change(i) else { return false };
    if let Some(stages) = condition.get("entered") {
        return texts(stages).iter().any(|stage| stage == to);
    }
    from.is_some_and(|from| {
        texts(&condition["left"]).iter().any(|stage| stage == from)
            && condition.get("to").is_none_or(|asked| lead.pipeline.is_destination(from, to, asked))
    })
}

/// F7: outbound and by a human, on both sides, unless something else is said.
pub fn is_contact(asked: &Map<String, Value>, lead: &Lead, i: usize, owner: Option<&str>) -> bool {
    let with_defaults = |said: &Map<String, Value>| {
        let mut all = fields(&json!({"direction": "outbound", "by": "human"}));
        all.extend(said.clone());
        all
    };
    let contact = with_defaults(&lead.facts[i].fields);
    lead.facts[i].kind == "contacted"
        && with_defaults(asked).iter().all(|(path, any_of)| {
            let any = any_of == "any" && ["direction", "by"].contains(&path.as_str());
            any || at_path(&contact, path).is_some_and(|value| {
                is_one_of(value, any_of)
                    || list(any_of).iter().any(|v| v == "$owner")
                        && value.as_str() == owner
                        && owner.is_some()
            })
        })
}

/// Values compare as JSON values of one type.
fn is_one_of(value: &Value, any_of: &Value) -> bool {
    let equal = |asked: &Value| match (value.as_f64(), asked.as_f64()) {
        (Some(value), Some(asked)) => value == asked,
        _ => value == asked && asked != "$owner",
    };
    list(any_of).iter().any(equal)
}

fn list(value: &Value) -> Vec<Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(values) => values.clone(),
        one => vec![one.clone()],
    }
}

fn texts(value: &Value) -> Vec<String> {
    list(value).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

pub fn fields(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}
