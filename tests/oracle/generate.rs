//! Small random policies and logs, full of corners, from a seed.
//!
//! `OVERDUE_WITHOUT=touch,waivers` leaves these features out; [`Features`] has their names.

use std::env;

use chrono::{DateTime, FixedOffset, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::fact;

/// SplitMix64: the same numbers for a seed, today and always.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    fn one_of(&mut self, from: &[Value]) -> Value {
        from[self.below(from.len())].clone()
    }

    /// One value, or a list of up to three.
    fn some_of(&mut self, from: &[&str]) -> Value {
        match self.below(4) {
            0 => json!([self.pick(from), self.pick(from)]),
            1 => json!([self.pick(from)]),
            _ => json!(self.pick(from)),
        }
    }
}

/// What one seed asks: policies, a log, and up to when it is judged.
pub struct Case {
    pub policies: Value,
    pub log: Vec<String>,
    /// `None` is the latest event.
    pub until: Option<i64>,
}

/// What the policies and logs of one seed make use of.
#[derive(Clone, Copy)]
pub struct Features {
    days: bool,
    entries: bool,
    escalations: bool,
    holidays: bool,
    moves: bool,
    operators: bool,
    pauses: bool,
    penalties: bool,
    places: bool,
    reentry: bool,
    touch: bool,
    versions: bool,
    waivers: bool,
    warnings: bool,
}

impl Features {
    /// Each with a chance of its own, so that most seeds are simple in most respects.
    fn drawn(dice: &mut Dice) -> Features {
        let left_out = env::var("OVERDUE_WITHOUT").unwrap_or_default();
        let mut drawn = |name: &str, percent: usize| {
            dice.percent(percent) & !left_out.split(',').any(|feature| feature == name)
        };
        Features {
            days: drawn("days", 50),
            entries: drawn("entries", 40),
            escalations: drawn("escalations", 50),
            holidays: drawn("holidays", 40),
            moves: drawn("moves", 75),
            operators: drawn("operators", 50),
            pauses: drawn("pauses", 50),
            penalties: drawn("penalties", 30),
            places: drawn("places", 40),
            reentry: drawn("reentry", 40),
            touch: drawn("touch", 50),
            versions: drawn("versions", 40),
            waivers: drawn("waivers", 40),
            warnings: drawn("warnings", 30),
        }
    }
}

const TOUCHES: [&str; 2] = ["rhythm", "cadence"];
const STAGES: [&str; 6] = ["new", "work", "hold", "deal", "signed", "dropped"];
const OBJECTIVES: [&str; 4] = ["answer", "qualify", "reply", "onboard"];

/// The time in which a case plays: instants lie on a grid, so that ties and facts exactly at a
/// deadline are common.
struct Era {
    begins: i64,
    step: i64,
    slots: usize,
    business: bool,
    features: Features,
}

pub fn case(seed: u64, leads: usize) -> Case {
    let mut dice = Dice::new(seed);
    let era = era(&mut dice);
    let policies = policies(&mut dice, &era);
    let tidy = dice.percent(70);
    let mut log: Vec<String> = (0..leads).flat_map(|lead| story(&mut dice, &era, lead)).collect();
    if tidy {
        log.sort_by_key(|line| fact::read(line).map_or(0, |fact| fact.at));
    }
    let until = (!dice.percent(10)).then(|| until(&mut dice, &era));
    Case { policies, log, until }
}

/// Mostly after the last fact, sometimes amid the facts.
fn until(dice: &mut Dice, era: &Era) -> i64 {
    let early = dice.percent(30);
    let slot = if early { 2 + dice.below(era.slots) } else { era.slots + dice.below(8) };
    era.begins + slot as i64 * era.step + [0, 0, 1, -1][dice.below(4)]
}

fn era(dice: &mut Dice) -> Era {
    let features = Features::drawn(dice);
    let slots = 6 + dice.below(14);
    if dice.percent(75) {
        let begins = fact::instant("2026-03-02T00:00:00Z").expect("a literal instant");
        let business = dice.percent(30);
        return Era { begins, step: 1_800_000, slots, business, features };
    }
    // Around the changes of the clocks in Europe and America.
    let begins = dice.pick(&[
        "2026-03-27T06:00:00Z",
        "2026-10-23T06:00:00Z",
        "2026-03-06T06:00:00Z",
        "2026-10-30T06:00:00Z",
    ]);
    let begins = fact::instant(begins).expect("a literal instant");
    let step = [1_800_000, 7_200_000, 14_400_000][dice.below(3)];
    Era { begins, step, slots, business: true, features }
}

// --- policies ---------------------------------------------------------------------------------

fn policies(dice: &mut Dice, era: &Era) -> Value {
    let mut file = Map::new();
    if era.business {
        file.insert("calendars".into(), json!({"office": calendar(dice, era), "desk": calendar(dice, era)}));
    }
    if dice.percent(85) {
        file.insert("pipeline".into(), pipeline(dice));
    }
    let ordered = file.get("pipeline").is_some_and(|pipeline| pipeline.get("open").is_some());
    let mut shared = Map::new();
    for name in OBJECTIVES.iter().take(1 + dice.below(4)) {
        shared.insert((*name).into(), Value::Object(objective(dice, era, ordered)));
    }
    if era.features.touch {
        shared.insert(TOUCHES[0].into(), touches(dice, era));
    }
    let count = if era.features.moves { 1 + dice.below(3) } else { 1 };
    let policies = (0..count).map(|i| policy(dice, era, &shared, i + 1 == count, i, ordered));
    let policies: Vec<Value> = policies.collect();
    let policies: Vec<Value> =
        policies.into_iter().flat_map(|policy| versions(dice, era, policy, ordered)).collect();
    file.insert("objectives".into(), Value::Object(shared));
    file.insert("policies".into(), Value::Array(policies));
    Value::Object(file)
}

/// A policy, sometimes valid for some time only, sometimes in two versions.
fn versions(dice: &mut Dice, era: &Era, policy: Value, ordered: bool) -> Vec<Value> {
    if !era.features.versions || dice.percent(50) {
        return vec![policy];
    }
    let mut bounds: Vec<usize> = (0..3).map(|_| dice.below(era.slots)).collect();
    bounds.sort_unstable();
    let at = |slot: usize| json!(written_in_utc(era.begins + slot as i64 * era.step));
    let mut first = policy.clone();
    if dice.percent(50) {
        first["effective_from"] = at(bounds[0]);
        if dice.percent(50) {
            return vec![first];
        }
    }
    first["effective_until"] = at(bounds[1] + 1);
    let mut second = policy;
    second["effective_from"] = at(if dice.percent(60) { bounds[1] + 1 } else { bounds[2] + 2 });
    if dice.percent(20) {
        second["effective_until"] = at(bounds[2] + 3);
    }
    for (name, promise) in second.get_mut("objectives").and_then(Value::as_object_mut).into_iter().flatten() {
        let is_touch = TOUCHES.contains(&name.as_str());
        match promise {
            Value::Object(promise) if promise.contains_key("within") => {
                promise.insert("within".into(), within(dice, era));
                promise.retain(|name, _| name != "pause" || dice.percent(50));
                if dice.percent(30) {
                    promise.insert("stop".into(), conditions(dice, stop, ordered));
                }
            }
            Value::Object(_) => {}
            _ if !is_touch => *promise = json!(target(dice, era)),
            _ => {}
        }
    }
    vec![first, second]
}

fn written_in_utc(at: i64) -> String {
    let utc: DateTime<Utc> = DateTime::from_timestamp_millis(at).expect("an instant of our time");
    utc.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

fn pipeline(dice: &mut Dice) -> Value {
    let mut pipeline = json!({"won": ["signed"], "lost": ["dropped"]});
    if dice.percent(70) {
        pipeline["open"] = json!(["new", "work", "deal"]);
    }
    pipeline
}

fn calendar(dice: &mut Dice, era: &Era) -> Value {
    let zone = dice.pick(&["Europe/Amsterdam", "America/New_York", "UTC", "Australia/Lord_Howe"]);
    let hours = dice.one_of(&[
        json!({"mon-fri": ["09:00-17:00"]}),
        json!({"mon-fri": ["08:00-12:30", "13:00-18:00"], "sat": ["10:00-14:00"]}),
        json!({"mon-sun": ["22:00-02:30"]}),
        json!({"fri-mon": ["00:00-24:00"]}),
        json!({"sat-sun": ["02:30-05:00", "01:30-02:15"], "wed": ["10:00-11:00"]}),
        json!({"mon-sun": ["18:00-02:00", "01:00-09:00"]}),
        json!({"thu-fri": ["20:00-04:00"], "mon": ["22:00-06:00", "01:00-03:00"]}),
    ]);
    let mut calendar = json!({"time_zone": zone, "hours": hours});
    if dice.percent(40) {
        calendar["holidays"] = json!(["2026-03-28", "2026-10-26", "2026-03-09"]);
    }
    if era.features.holidays {
        calendar["holidays"] = dice.one_of(&[
            json!(["2026-03-27/2026-03-28", "2026-03-02"]),
            json!([{"date": "2026-03-02", "hours": ["01:00-02:30", "05:00-06:00"]}, "2026-10-23/2026-10-24"]),
            json!([{"date": "2026-03-27", "hours": ["20:00-03:00"]}, "2026-03-28", "2026-03-07"]),
            json!([{"date": "2026-10-24", "hours": ["22:00-04:00"]}, {"date": "2026-10-31", "hours": ["23:30-03:00"]}]),
        ]);
    }
    calendar
}

fn policy(
    dice: &mut Dice,
    era: &Era,
    shared: &Map<String, Value>,
    last: bool,
    i: usize,
    ordered: bool,
) -> Value {
    let mut objectives = Map::new();
    for name in OBJECTIVES {
        let known = shared.contains_key(name);
        if dice.percent(if known { 25 } else { 60 }) {
            continue;
        }
        let laid_over = match (known, dice.below(4)) {
            (true, 0..=2) => json!(target(dice, era)),
            (true, _) => {
                let mut over = objective(dice, era, ordered);
                over.retain(|_, _| dice.percent(40));
                Value::Object(over)
            }
            (false, _) => Value::Object(objective(dice, era, ordered)),
        };
        let needs_target = laid_over.is_object();
        objectives.insert(name.into(), laid_over);
        if needs_target {
            objectives[name]["within"] = within(dice, era);
        }
    }
    for name in TOUCHES {
        match era.features.touch && dice.percent(60) {
            true if shared.contains_key(name) => drop(objectives.insert(name.into(), json!({}))),
            true => drop(objectives.insert(name.into(), touches(dice, era))),
            false => {}
        }
    }
    let mut policy = json!({"name": format!("policy-{i}")});
    if dice.percent(40) || objectives.is_empty() {
        let mut stages = Map::new();
        for stage in STAGES.iter().take(1 + dice.below(5)) {
            stages.insert((*stage).into(), json!(target(dice, era)));
        }
        policy["stages"] = Value::Object(stages);
    }
    if !objectives.is_empty() {
        policy["objectives"] = Value::Object(objectives);
    }
    if era.features.moves && dice.percent(if last { 25 } else { 85 }) {
        policy["match"] = a_match(dice, era);
    }
    if dice.percent(50) {
        policy["labels"] = json!({"team": dice.pick(&["red", "blue"])});
    }
    if era.business {
        policy["calendar"] = a_calendar(dice, era);
    }
    policy
}

fn a_calendar(dice: &mut Dice, era: &Era) -> Value {
    match era.features.places && dice.percent(60) {
        true => {
            json!({"by": dice.pick(&["region", "geo.country"]), "east": "office", "NL": "desk", "west": "desk",
            "default": "office"})
        }
        false => json!("office"),
    }
}

fn a_match(dice: &mut Dice, era: &Era) -> Value {
    if era.features.operators && dice.percent(60) {
        return dice.one_of(&[
            json!({"score": {"gte": 2}}),
            json!({"score": {"lt": 2}}),
            json!({"score": {"gt": 1, "lte": 2}}),
            json!({"score": {"not": 1}}),
            json!({"score": {"not": ["1", 2], "present": true}}),
            json!({"segment": {"not": "a"}}),
            json!({"segment": {"not": ["a", "b"]}}),
            json!({"vip": {"present": true}}),
            json!({"owner": {"present": false}}),
            json!({"owner": {"not": "ann"}, "segment": ["a", "b"]}),
            json!({"geo": {"present": true}}),
        ]);
    }
    dice.one_of(&[
        json!({"segment": "a"}),
        json!({"segment": ["a", "b"]}),
        json!({"score": 1}),
        json!({"score": [1, "2"]}),
        json!({"vip": true}),
        json!({"geo.country": "NL"}),
        json!({"geo.country": ["NL", "DE"], "segment": "a"}),
        json!({"owner": "ann"}),
    ])
}

/// Everything of an objective but its target, which is set by each policy.
fn objective(dice: &mut Dice, era: &Era, ordered: bool) -> Map<String, Value> {
    let mut objective = Map::new();
    objective.insert("start".into(), conditions(dice, start, ordered));
    objective.insert("stop".into(), conditions(dice, stop, ordered));
    if dice.percent(20) {
        objective.insert("while".into(), json!({"stage": dice.some_of(&STAGES)}));
    }
    // What a restart is under another `reentry` is left open.
    if era.features.reentry {
        let reentry = dice.pick(&["new", "first_only", "cumulative", "cumulative"]);
        objective.insert("reentry".into(), json!(reentry));
    } else if dice.percent(25) {
        objective.insert("restart".into(), json!(true));
    }
    besides(dice, era, &mut objective, true);
    objective
}

/// Fields that any objective may have.
fn besides(dice: &mut Dice, era: &Era, objective: &mut Map<String, Value>, escalates: bool) {
    if era.features.pauses && dice.percent(60) {
        let stage = json!({"stage": dice.some_of(&["hold", "work", "deal"])});
        objective.insert("pause".into(), if dice.percent(15) { json!("none") } else { stage });
    }
    if era.features.escalations && escalates && dice.percent(60) {
        objective.insert("escalate_after".into(), escalations(dice, era));
    }
    if era.features.warnings && dice.percent(50) {
        objective.insert("warn".into(), dice.one_of(&[json!(["50%"]), json!(["1%", "80%"]), json!(["99%"])]));
    }
    if era.features.penalties && dice.percent(50) {
        objective.insert("penalty".into(), json!({"amount": 50, "currency": "EUR"}));
    }
    if era.business && dice.percent(20) {
        objective.insert("calendar".into(), a_calendar(dice, era));
    }
}

/// Steps of one kind of time, each later than the one before; the last may repeat.
fn escalations(dice: &mut Dice, era: &Era) -> Value {
    let kind = Kind::drawn(dice, era);
    let mut steps: Vec<Value> = Vec::new();
    let mut slots = 0;
    for _ in 0..1 + dice.below(3) {
        slots += 1 + dice.below(3);
        steps.push(json!(kind.duration(dice, era, slots)));
    }
    match dice.below(4) {
        0 => {
            let every = steps.pop();
            steps.push(
                json!({"every": every, "times": dice.one_of(&[json!(2), json!(3), json!("unlimited")])}),
            );
        }
        1 => {
            let every = steps.pop();
            steps.push(json!({"every": every}));
        }
        _ => {}
    }
    json!(steps)
}

/// An objective of touches.
fn touches(dice: &mut Dice, era: &Era) -> Value {
    let mut objective = Map::new();
    let n = 1 + dice.below(3);
    let form = dice.below(5);
    let mut touch = match form {
        0 => json!({"every": target(dice, era)}),
        1 => json!({"at_least": n, "per": target(dice, era)}),
        2 => json!({"at_least": n, "within": target(dice, era)}),
        3 => json!({"at_least": n, "per": "stage"}),
        _ => {
            let kind = Kind::drawn(dice, era);
            let mut slots = 0;
            let mut step = || {
                slots += 1 + dice.below(3);
                json!(kind.duration(dice, era, slots))
            };
            json!({"by": [step(), step(), step()]})
        }
    };
    if dice.percent(40) {
        touch["contacted"] = dice.one_of(&[
            json!({"direction": "any", "by": "any"}),
            json!({"channel": ["phone", "mail"]}),
            json!({"actor": "$owner"}),
            json!({"direction": "inbound"}),
        ]);
    }
    objective.insert("touch".into(), touch);
    if form == 3 || dice.percent(65) {
        let stages = ["new", "work", "hold", "deal"];
        objective.insert("while".into(), json!({"stage": [dice.pick(&stages), dice.pick(&stages)]}));
    }
    besides(dice, era, &mut objective, matches!(form, 0 | 4));
    Value::Object(objective)
}

fn conditions(dice: &mut Dice, one: fn(&mut Dice, bool) -> Value, ordered: bool) -> Value {
    match dice.below(10) {
        0..=5 => one(dice, ordered),
        6..=8 => json!([one(dice, ordered), one(dice, ordered)]),
        _ => json!([one(dice, ordered), one(dice, ordered), one(dice, ordered)]),
    }
}

fn start(dice: &mut Dice, ordered: bool) -> Value {
    match dice.below(14) {
        0..=4 => json!("created"),
        5..=6 => json!("assigned"),
        7 => json!("reopened"),
        8..=9 => json!({"contacted": {"direction": "inbound"}}),
        10..=11 => json!({"entered": dice.some_of(&STAGES)}),
        12 => json!({"entered": dice.some_of(&["signed", "dropped"])}),
        _ => left(dice, ordered),
    }
}

fn stop(dice: &mut Dice, ordered: bool) -> Value {
    match dice.below(15) {
        0..=4 => json!("contacted"),
        5 => json!({"contacted": {"direction": "any", "by": "any"}}),
        6 => json!({"contacted": {"actor": "$owner"}}),
        7 => json!({"contacted": {"channel": dice.some_of(&["phone", "mail"])}}),
        8 => json!({"contacted": {"by": "any", "actor": ["$owner", "bob"]}}),
        9 => json!({"contacted": {"meta.tool": "dialer", "stage": dice.some_of(&STAGES)}}),
        10..=11 => json!({"entered": dice.some_of(&STAGES)}),
        12 => json!("assigned"),
        13 => json!("reopened"),
        _ => left(dice, ordered),
    }
}

fn left(dice: &mut Dice, ordered: bool) -> Value {
    let left = dice.some_of(&STAGES);
    let to = match dice.below(6) {
        1 => dice.some_of(&STAGES),
        2 if ordered => json!("won"),
        3 if ordered => json!("lost"),
        4 | 5 if ordered => json!("forward"),
        _ => return json!({"left": left}),
    };
    json!({"left": left, "to": to})
}

/// A target, or several by condition.
fn within(dice: &mut Dice, era: &Era) -> Value {
    if !era.features.entries || dice.percent(40) {
        return json!(target(dice, era));
    }
    let mut entries = Vec::new();
    for _ in 0..1 + dice.below(2) {
        let mut entry = json!({"target": target(dice, era)});
        let by_hours = era.business && dice.percent(60);
        if by_hours {
            entry["started"] = json!(dice.pick(&["open", "closed"]));
        }
        if !by_hours || dice.percent(40) {
            entry["if"] = a_match(dice, era);
        }
        entries.push(entry);
    }
    entries.push(json!(target(dice, era)));
    json!(entries)
}

/// The kinds of time that a duration may be of.
#[derive(Clone, Copy)]
enum Kind {
    Elapsed,
    Open,
    Days,
}

impl Kind {
    fn drawn(dice: &mut Dice, era: &Era) -> Kind {
        match (era.business && dice.percent(75), era.features.days && dice.percent(35)) {
            (false, _) => Kind::Elapsed,
            (true, false) => Kind::Open,
            (true, true) => Kind::Days,
        }
    }

    /// So many slots of the grid, in one of the ways to write it, or as many days.
    fn duration(self, dice: &mut Dice, era: &Era, slots: usize) -> String {
        let minutes = slots as i64 * era.step / 60_000;
        let (hours, rest) = (minutes / 60, minutes % 60);
        let open = match self {
            Kind::Elapsed => "",
            Kind::Open => "b",
            Kind::Days => return format!("{slots}bd"),
        };
        match dice.below(4) {
            0 if open.is_empty() => format!("{}s", minutes * 60),
            1 if hours > 0 && rest > 0 => format!("{hours}{open}h{rest}{open}m"),
            2 if hours > 0 && rest == 0 => format!("{hours}{open}h"),
            _ => format!("{minutes}{open}m"),
        }
    }
}

fn target(dice: &mut Dice, era: &Era) -> String {
    let kind = Kind::drawn(dice, era);
    let longest = 1 + dice.below(if matches!(kind, Kind::Days) { 2 } else { 8 });
    let slots = 1 + dice.below(longest);
    kind.duration(dice, era, slots)
}

// --- logs -------------------------------------------------------------------------------------

/// The lines of one lead, by time but for what dice disturb.
fn story(dice: &mut Dice, era: &Era, lead: usize) -> Vec<String> {
    let count = 2 + dice.below(11);
    let crowded = dice.percent(40);
    let slots = if crowded { 3 } else { era.slots };
    let first = dice.below(era.slots);
    let mut events: Vec<Map<String, Value>> = Vec::new();
    for i in 0..count {
        let slot = if crowded { first + dice.below(slots) } else { dice.below(slots) };
        let kind = if i == 0 && dice.percent(85) { "lead-created" } else { kind(dice, era) };
        let slot = if i == 0 && !crowded { slot / 3 } else { slot };
        events.push(event(dice, era, lead, slot, kind));
    }
    let waivers = if era.features.waivers { dice.below(5) } else { 0 };
    for _ in 0..waivers {
        let slot = dice.below(era.slots + 2);
        events.push(event(dice, era, lead, slot, "breach-waived"));
    }
    events.sort_by_key(|event| event["time"].as_str().and_then(fact::instant));
    for i in 0..events.len() {
        repeat(dice, era, &mut events, i);
    }
    let mut lines: Vec<String> = events.iter().map(|event| written(dice, event)).collect();
    lines.extend(rubbish(dice, lead));
    lines
}

fn kind(dice: &mut Dice, era: &Era) -> &'static str {
    if era.features.pauses && dice.percent(18) {
        return dice.pick(&["paused", "resumed"]);
    }
    if era.features.waivers && dice.percent(20) {
        return "breach-waived";
    }
    match dice.below(100) {
        0..=11 => "lead-created",
        12..=43 => "contacted",
        44..=71 => "stage-changed",
        72..=83 => "lead-assigned",
        84..=92 => "lead-updated",
        93..=98 => "lead-deleted",
        _ => "lead-merged",
    }
}

fn event(dice: &mut Dice, era: &Era, lead: usize, slot: usize, kind: &str) -> Map<String, Value> {
    let mut event = Map::new();
    let numbered = lead % 10 == 7;
    event.insert("lead_id".into(), if numbered { json!(lead) } else { json!(format!("lead-{lead}")) });
    event.insert("type".into(), json!(kind));
    event.insert("time".into(), json!(time(dice, era, slot)));
    if dice.percent(85) {
        event.insert("event_id".into(), json!(format!("e{}", dice.below(1_000_000))));
    }
    match kind {
        "lead-created" => {
            maybe(dice, &mut event, 50, "stage", &stages());
            maybe(dice, &mut event, 40, "owner", &[json!("ann"), json!("bob"), Value::Null]);
            attributes(dice, &mut event, 50);
        }
        "lead-updated" => {
            maybe(dice, &mut event, 30, "owner", &[json!("ann"), json!("bob"), Value::Null]);
            attributes(dice, &mut event, 60);
        }
        "lead-assigned" => {
            maybe(dice, &mut event, 100, "owner", &[json!("ann"), json!("bob"), json!("cem"), Value::Null]);
            attributes(dice, &mut event, 10);
        }
        "stage-changed" => {
            maybe(dice, &mut event, 100, "stage", &stages());
            maybe(dice, &mut event, 15, "owner", &[json!("bob")]);
            attributes(dice, &mut event, 10);
        }
        "contacted" => contact(dice, &mut event),
        "paused" if dice.percent(45) => {
            let slot = dice.below(era.slots + 4);
            event.insert("until".into(), json!(time(dice, era, slot)));
        }
        "breach-waived" => waiver(dice, era, &mut event),
        "lead-merged" => drop(event.insert("into".into(), json!("survivor"))),
        _ => {}
    }
    event
}

fn waiver(dice: &mut Dice, era: &Era, event: &mut Map<String, Value>) {
    let names = OBJECTIVES.iter().chain(&TOUCHES).chain(&["stage-new"]);
    let names: Vec<Value> = names.map(|name| json!(name)).collect();
    maybe(dice, event, 100, "objective", &names);
    event.insert("who".into(), json!("dan"));
    event.insert("why".into(), json!("it was agreed"));
    if dice.percent(25) {
        let slot = dice.below(era.slots);
        event.insert("started_at".into(), json!(time(dice, era, slot)));
    }
}

fn contact(dice: &mut Dice, event: &mut Map<String, Value>) {
    maybe(dice, event, 50, "direction", &[json!("inbound"), json!("outbound")]);
    maybe(dice, event, 30, "by", &[json!("automation"), json!("human")]);
    maybe(dice, event, 50, "channel", &[json!("phone"), json!("mail"), json!(1)]);
    maybe(dice, event, 60, "actor", &[json!("ann"), json!("bob"), json!("cem")]);
    maybe(dice, event, 20, "owner", &[json!("ann"), json!("bob")]);
    maybe(dice, event, 20, "stage", &stages());
    maybe(dice, event, 20, "segment", &[json!("a"), json!("b")]);
    maybe(dice, event, 30, "meta", &[json!({"tool": "dialer"}), json!({"tool": "pen"}), json!("dialer")]);
}

fn stages() -> Vec<Value> {
    STAGES.iter().map(|stage| json!(stage)).collect()
}

fn attributes(dice: &mut Dice, event: &mut Map<String, Value>, percent: usize) {
    maybe(dice, event, percent, "segment", &[json!("a"), json!("b"), json!("c"), Value::Null]);
    maybe(
        dice,
        event,
        percent / 2,
        "score",
        &[json!(1), json!(1.0), json!("1"), json!(2), json!("2"), Value::Null],
    );
    maybe(dice, event, percent / 2, "vip", &[json!(true), json!(false), json!("true")]);
    let places = [
        json!({"country": "NL"}),
        json!({"country": "DE"}),
        json!({"city": "Ghent"}),
        json!({"country": null}),
        Value::Null,
        json!("NL"),
    ];
    maybe(dice, event, percent / 2, "geo", &places);
    maybe(
        dice,
        event,
        percent / 2,
        "region",
        &[json!("east"), json!("west"), json!("north"), json!(1), Value::Null],
    );
    maybe(dice, event, percent / 2, "team", &[json!("red"), json!("green"), Value::Null]);
}

fn maybe(dice: &mut Dice, event: &mut Map<String, Value>, percent: usize, name: &str, values: &[Value]) {
    if dice.percent(percent) {
        event.insert(name.into(), dice.one_of(values));
    }
}

/// The instant of a slot of the grid, sometimes a little beside it, in one of the ways to write it.
fn time(dice: &mut Dice, era: &Era, slot: usize) -> String {
    let beside = [0, 0, 0, 0, 0, 0, 0, 1, -1, 500][dice.below(10)];
    let at = era.begins + slot as i64 * era.step + beside;
    let utc: DateTime<Utc> = DateTime::from_timestamp_millis(at).expect("an instant of our time");
    let east = FixedOffset::east_opt([0, 3600, 19_800, -12_600][dice.below(4)]).expect("an offset");
    let sixty = utc.format("%Y-%m-%dT%H:%M:60Z").to_string();
    match dice.below(8) {
        0 => utc.with_timezone(&east).to_rfc3339_opts(SecondsFormat::AutoSi, false),
        1 => utc.to_rfc3339_opts(SecondsFormat::Micros, true).replace("000Z", "999Z"),
        2 | 3 if fact::instant(&sixty) == Some(at) => sixty,
        _ => utc.to_rfc3339_opts(SecondsFormat::AutoSi, true),
    }
}

/// Says event `i` again at the end: as it was, with other content under its identity, or as
/// another type under its `event_id`.
fn repeat(dice: &mut Dice, era: &Era, events: &mut Vec<Map<String, Value>>, i: usize) {
    let mut again = events[i].clone();
    match dice.below(40) {
        0..=2 => {}
        // Which of two conflicting facts a merge rejects is left open.
        3 if events.iter().all(|event| event["type"] != "lead-merged") => {
            drop(again.insert("time".into(), json!(time(dice, era, i))))
        }
        4 => drop(again.insert("stage".into(), json!("work"))),
        5 => drop(again.insert("type".into(), json!("contacted"))),
        6 => drop(again.insert("note".into(), json!("another"))),
        _ => return,
    }
    events.push(again);
}

/// The event as JSON, its keys in any order.
fn written(dice: &mut Dice, event: &Map<String, Value>) -> String {
    let mut fields: Vec<String> =
        event.iter().map(|(name, value)| format!("{}: {value}", json!(name))).collect();
    for i in 0..fields.len() {
        let j = dice.below(fields.len());
        fields.swap(i, j);
    }
    format!("{{{}}}", fields.join(dice.pick(&[", ", ","])))
}

/// A line that is rejected, now and then, under an identity that a good event may have.
fn rubbish(dice: &mut Dice, lead: usize) -> Option<String> {
    let time = "2026-03-02T01:00:00Z";
    let line = match dice.below(80) {
        0 => json!({"type": "contacted", "time": time}),
        1 => json!({"lead_id": format!("lead-{lead}"), "time": time}),
        2 => json!({"lead_id": format!("lead-{lead}"), "type": "called", "time": time}),
        3 => json!({"lead_id": format!("lead-{lead}"), "type": "contacted"}),
        4 => json!({"lead_id": format!("lead-{lead}"), "type": "contacted", "time": "soon"}),
        5 => json!({"lead_id": format!("lead-{lead}"), "type": "stage-changed", "time": time, "stage": 5}),
        6 => json!({"lead_id": format!("lead-{lead}"), "type": "stage-changed", "time": time}),
        7 => json!([1, 2]),
        8 => return Some("{\"lead_id\":".into()),
        _ => return None,
    };
    Some(line.to_string())
}

// --- orders -----------------------------------------------------------------------------------

/// The log in another order that F3 calls equal: the ties of a lead and the repeats of an identity
/// stay in place.
pub fn shuffled(dice: &mut Dice, log: &[String]) -> Vec<String> {
    let facts: Vec<_> = log.iter().map(|line| fact::read(line)).collect();
    let stays_before = |i: usize, j: usize| match (&facts[i], &facts[j]) {
        (Some(a), Some(b)) => i < j && a.lead == b.lead && (a.at == b.at || a.is_repeated_by(b)),
        _ => false,
    };
    let mut left: Vec<usize> = (0..log.len()).collect();
    let mut order = Vec::new();
    while !left.is_empty() {
        let i = left[dice.below(left.len())];
        if !left.iter().any(|&j| stays_before(j, i)) {
            left.retain(|&j| j != i);
            order.push(log[i].clone());
        }
    }
    order
}

/// Whether the policies are laid out for a reader: one line a definition, each a flow of YAML.
pub fn yaml(policies: &Value) -> String {
    let mut text = String::new();
    for (section, content) in policies.as_object().into_iter().flatten() {
        text += &format!("{section}:\n");
        match content {
            Value::Array(items) => items.iter().for_each(|item| text += &format!("  - {item}\n")),
            Value::Object(items) => {
                items.iter().for_each(|(name, item)| text += &format!("  {name}: {item}\n"));
            }
            _ => {}
        }
    }
    text
}
