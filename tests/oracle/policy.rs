//! What was promised, read from the policy file as it is written: product.md's rule of laying
//! over, F7, and what each condition asks of a fact.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::calendar::Calendar;
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

pub struct Policy {
    pub name: String,
    pub team: Option<String>,
    matches: Vec<(String, Value)>,
    pub objectives: BTreeMap<String, Objective>,
}

pub struct Objective {
    pub start: Vec<Value>,
    pub stop: Vec<Value>,
    pub stages: Option<Vec<String>>,
    pub restart: bool,
    pub target: Target,
}

/// How long it may take, in milliseconds.
pub enum Target {
    Elapsed(i64),
    Open(i64, Rc<Calendar>),
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
    let policies =
        list(&file["policies"]).iter().map(|policy| read_policy(policy, file, &calendars)).collect();
    Policies { pipeline, policies }
}

type Calendars = BTreeMap<String, Rc<Calendar>>;

fn read_policy(policy: &Value, file: &Value, calendars: &Calendars) -> Policy {
    let mut written = fields(&policy["objectives"]);
    for (stage, within) in fields(&policy["stages"]) {
        let objective = laid_over(&json!({"start": {"entered": stage}, "stop": {"left": stage}}), &within);
        written.insert(format!("stage-{stage}"), objective);
    }
    let objective = |(name, over): (String, Value)| {
        let definition = laid_over(&file["objectives"][&name], &over);
        let calendar = [&definition["calendar"], &policy["calendar"]].into_iter().find_map(Value::as_str);
        let calendar = calendar.and_then(|calendar| calendars.get(calendar));
        let objective = Objective {
            start: list(&definition["start"]),
            stop: list(&definition["stop"]),
            stages: definition["while"].get("stage").map(texts),
            restart: definition["restart"] == true,
            target: read_target(&definition["within"], calendar),
        };
        (name, objective)
    };
    Policy {
        name: policy["name"].as_str().unwrap_or_default().to_owned(),
        team: policy["labels"]["team"].as_str().map(str::to_owned),
        matches: fields(&policy["match"]).into_iter().collect(),
        objectives: written.into_iter().map(objective).collect(),
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

/// C4, without `bd`.
fn read_target(within: &Value, calendar: Option<&Rc<Calendar>>) -> Target {
    let (mut millis, mut open, mut digits, mut unit) = (0, false, String::new(), String::new());
    let text = within.as_str().unwrap_or_default().to_owned() + "0";
    for c in text.chars() {
        if c.is_ascii_digit() && !unit.is_empty() {
            open = unit.starts_with('b');
            millis += digits.parse::<i64>().unwrap_or(0) * unit_millis(&unit);
            digits.clear();
            unit.clear();
        }
        if c.is_ascii_digit() { digits.push(c) } else { unit.push(c) }
    }
    match calendar {
        Some(calendar) if open => Target::Open(millis, Rc::clone(calendar)),
        _ => Target::Elapsed(millis),
    }
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
    /// The first policy that matches the attributes after fact `i`.
    pub fn in_force(&self, lead: &Lead, i: usize) -> Option<&Policy> {
        self.policies.iter().find(|policy| {
            policy.matches.iter().all(|(path, any_of)| {
                lead.attribute_after(i, path).is_some_and(|value| is_one_of(&value, any_of))
            })
        })
    }
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
fn is_contact(asked: &Map<String, Value>, lead: &Lead, i: usize, owner: Option<&str>) -> bool {
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

fn fields(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}
