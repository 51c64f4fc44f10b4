//! What was said, in order: what stands of it, and whether it agrees with what should have been said.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::finding::{Excuse, Finding, Kind};
use super::said::{ClockKey, Content, Difference, Id, Key, Place, Said, What};
use crate::sla::clock::Step;
use crate::sla::instant::Instant;

/// What should have been said.
pub type Expected = BTreeMap<Key, Content>;

/// Everything that was said.
#[derive(Debug, Default)]
pub struct Ledger {
    ids: HashMap<Id, Place>,
    chains: BTreeMap<Key, Chain>,
    problems: Vec<Finding>,
    records: u64,
}

/// What became of one transition.
#[derive(Debug, Default)]
struct Chain {
    standing: Option<Standing>,
    times_retracted: u32,
}

/// A transition that was said and not taken back.
#[derive(Debug)]
struct Standing {
    id: Id,
    at: Place,
    recorded_at: Instant,
    content: Content,
}

/// How what was said compares with what should have been said.
#[derive(Debug, Default, PartialEq)]
pub struct Comparison {
    /// Transitions that stand as they should.
    pub matched: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What cannot be judged.
    pub excused: BTreeMap<Excuse, u64>,
}

impl Comparison {
    fn add(&mut self, finding: Finding, excuse: Option<Excuse>) {
        match excuse {
            Some(excuse) => *self.excused.entry(excuse).or_default() += 1,
            None => self.findings.push(finding),
        }
    }
}

impl Ledger {
    /// How many records were read.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Takes in the next record of its partition. Rules I1 and I2.
    pub fn hear(&mut self, said: Said, at: Place) {
        self.records += 1;
        if let Some(first) = self.ids.insert(said.id, at) {
            self.ids.insert(said.id, first);
            return self.repeat(&said, at, first);
        }
        match said.what {
            What::Retracted(key, taken_back) => self.retract(&key, said.id, taken_back, at),
            What::Happened(key, content) => {
                let standing = Standing { id: said.id, at, recorded_at: said.recorded_at, content };
                self.stand(key, standing);
            }
        }
    }

    /// Takes in a record that is no output.
    pub fn hear_noise(&mut self, at: Place, why: &str) {
        self.records += 1;
        self.problems.push(Finding::at(Kind::Unreadable, Some(at), why.to_owned()));
    }

    fn repeat(&mut self, said: &Said, at: Place, first: Place) {
        let (What::Happened(key, _) | What::Retracted(key, _)) = &said.what;
        let detail = format!("the id is that of the record at [{}] {}", first.partition, first.offset);
        let finding = Finding::at(Kind::Duplicate, Some(at), detail);
        self.problems.push(Finding { key: Some(key.clone()), id: Some(said.id), ..finding });
    }

    fn stand(&mut self, key: Key, standing: Standing) {
        let chain = self.chains.entry(key.clone()).or_default();
        let expected_id = key.id(false, chain.times_retracted);
        if let Some(first) = &chain.standing {
            let detail = format!("it stands already, as `{}`", first.id);
            self.problems.push(Finding {
                at: Some(standing.at),
                id: Some(standing.id),
                detail,
                ..Finding::of(Kind::Duplicate, &key)
            });
            return;
        }
        if standing.id != expected_id {
            self.problems.push(Finding {
                at: Some(standing.at),
                id: Some(standing.id),
                differences: vec![id_difference(standing.id, expected_id)],
                ..Finding::of(Kind::Different, &key)
            });
        }
        chain.standing = Some(standing);
    }

    fn retract(&mut self, key: &Key, id: Id, taken_back: Id, at: Place) {
        let was_said = self.ids.contains_key(&taken_back);
        let chain = self.chains.entry(key.clone()).or_default();
        let finding = |detail: String| Finding {
            at: Some(at),
            id: Some(id),
            detail,
            ..Finding::of(Kind::Unsound, key)
        };
        match &chain.standing {
            Some(standing) if standing.id == taken_back => {
                let expected_id = key.id(true, chain.times_retracted);
                if id != expected_id {
                    let detail = format!("its id should be `{expected_id}`");
                    self.problems.push(finding(detail));
                }
                chain.standing = None;
                chain.times_retracted += 1;
            }
            _ if was_said => {
                self.problems.push(finding(format!("it takes back `{taken_back}`, which does not stand")));
            }
            _ => {
                let detail = format!("it takes back `{taken_back}`, which was not said before it");
                self.problems.push(finding(detail));
            }
        }
    }

    /// Compares what stands with dates up to `until` with what should. An excuse for a finding makes it one
    /// that cannot be judged.
    pub fn compare(
        &self,
        expected: &Expected,
        until: Instant,
        excuse: &dyn Fn(&Finding) -> Option<Excuse>,
    ) -> Comparison {
        let mut comparison = Comparison::default();
        let undecidable = self.undecidable();
        let lost = |finding: &Finding| {
            let clock = finding.key.as_ref().map(|key| &key.clock);
            clock.is_some_and(|clock| undecidable.contains(clock)).then_some(Excuse::Undecidable)
        };
        let add = |finding: Finding, comparison: &mut Comparison| {
            let excuse = lost(&finding).or_else(|| excuse(&finding));
            comparison.add(finding, excuse);
        };
        let (pairs, missing, extra) = self.sides(expected, until);
        for (key, standing, content) in pairs {
            let differences = standing.content.differences(content);
            match differences.is_empty() {
                true => comparison.matched += 1,
                false => add(different(key, standing, differences), &mut comparison),
            }
        }
        for (key, standing) in extra.values().flatten() {
            add(self.of_standing(Kind::Extra, key, standing), &mut comparison);
        }
        for (key, moved) in missing {
            let finding = match moved {
                Some((said, standing)) => moved_to(key, said, standing),
                None => {
                    let times_retracted = self.chains.get(key).map_or(0, |chain| chain.times_retracted);
                    let id = Some(key.id(false, times_retracted));
                    Finding { id, detail: taken_back(times_retracted), ..Finding::of(Kind::Missing, key) }
                }
            };
            add(finding, &mut comparison);
        }
        self.problems.iter().for_each(|problem| add(problem.clone(), &mut comparison));
        comparison.findings.sort_by(|a, b| (a.kind, &a.key, a.at).cmp(&(b.kind, &b.key, b.at)));
        comparison
    }

    /// Whether it was ever said that nobody can say how some clock ended: records were lost then. Rule H6.
    pub fn tells_of_loss(&self) -> bool {
        self.chains.keys().any(|key| key.step == Step::Undecidable)
    }

    /// The clocks of which it stands that nobody can say how they ended. Rule H6.
    fn undecidable(&self) -> BTreeSet<&ClockKey> {
        let chains = self.chains.iter().filter(|(_, chain)| chain.standing.is_some());
        chains.map(|(key, _)| key).filter(|key| key.step == Step::Undecidable).map(|key| &key.clock).collect()
    }

    /// What is on both sides, what is missing with what stands of another date instead, and what is left.
    fn sides<'a>(&'a self, expected: &'a Expected, until: Instant) -> Sides<'a> {
        let mut extra: BTreeMap<(&ClockKey, Step), Vec<(&Key, &Standing)>> = BTreeMap::new();
        let mut pairs = Vec::new();
        for (key, chain) in &self.chains {
            match (&chain.standing, expected.get(key)) {
                (Some(standing), Some(content)) => pairs.push((key, standing, content)),
                (Some(standing), None) if key.date <= until => {
                    extra.entry((&key.clock, key.step)).or_default().push((key, standing));
                }
                _ => {}
            }
        }
        let stands = |key: &Key| self.chains.get(key).is_some_and(|chain| chain.standing.is_some());
        let missing: Vec<_> = expected.keys().filter(|key| key.date <= until && !stands(key)).collect();
        let missing = missing.into_iter().map(|key| {
            let moved = extra.get_mut(&(&key.clock, key.step)).and_then(Vec::pop);
            (key, moved)
        });
        let missing = missing.collect();
        (pairs, missing, extra)
    }

    fn of_standing(&self, kind: Kind, key: &Key, standing: &Standing) -> Finding {
        Finding {
            id: Some(standing.id),
            at: Some(standing.at),
            recorded_at: Some(standing.recorded_at),
            ..Finding::of(kind, key)
        }
    }
}

type Sides<'a> = (
    Vec<(&'a Key, &'a Standing, &'a Content)>,
    Vec<(&'a Key, Option<(&'a Key, &'a Standing)>)>,
    BTreeMap<(&'a ClockKey, Step), Vec<(&'a Key, &'a Standing)>>,
);

fn different(key: &Key, standing: &Standing, differences: Vec<Difference>) -> Finding {
    Finding {
        id: Some(standing.id),
        at: Some(standing.at),
        recorded_at: Some(standing.recorded_at),
        differences,
        ..Finding::of(Kind::Different, key)
    }
}

/// The same transition with another date.
fn moved_to(key: &Key, said: &Key, standing: &Standing) -> Finding {
    let date = |key: &Key| key.date.to_string().into();
    let difference = Difference { field: "time".to_owned(), said: date(said), recomputed: date(key) };
    different(said, standing, vec![difference])
}

fn id_difference(said: Id, recomputed: Id) -> Difference {
    let text = |id: Id| id.to_string().into();
    Difference { field: "id".to_owned(), said: text(said), recomputed: text(recomputed) }
}

fn taken_back(times: u32) -> String {
    match times {
        0 => String::new(),
        1 => "it was said and taken back".to_owned(),
        _ => format!("it was said and taken back {times} times"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Hours of one day.
    fn at(hour: i64) -> Instant {
        Instant::from_millis(1_772_438_400_000 + hour * 3_600_000)
    }

    fn key(lead: &str, step: Step, hour: i64) -> Key {
        let clock = ClockKey { lead_id: lead.into(), objective: "first".into(), started_at: at(0), turn: 0 };
        Key { clock, step, level: 0, date: at(hour) }
    }

    fn said(key: &Key, owner: &str, retracts: Option<Id>, id: Id) -> Said {
        let value = json!({
            "id": id.to_string(),
            "time": key.date.to_string(),
            "recordedtime": key.date.plus(5_000).to_string(),
            "data": {
                "lead_id": &*key.clock.lead_id,
                "objective": &*key.clock.objective,
                "transition": if retracts.is_some() { "retracted" } else { key.step.as_str() },
                "clock": {"started_at": key.clock.started_at.to_string()},
                "retracts": retracts.map(|id| json!({"id": id.to_string(), "transition": key.step.as_str()})),
                "owner": owner,
            },
        });
        Said::parse(value.to_string().as_bytes()).expect("an output")
    }

    fn content(owner: &str) -> Content {
        let key = key("any", Step::Breached, 1);
        match said(&key, owner, None, key.id(false, 0)).what {
            What::Happened(_, content) => content,
            other => panic!("{other:?}"),
        }
    }

    /// One word a record: a lead and `!` (breached at 1), `~` (taken back), `?` (undecidable), each with how
    /// often it was taken back before; `L1!0@2` is dated 2, `L1!0=bob` names another owner.
    fn ledger(records: &str) -> Ledger {
        let mut ledger = Ledger::default();
        for (offset, word) in records.split_whitespace().enumerate() {
            let (word, owner) = word.split_once('=').unwrap_or((word, "ann"));
            let (word, hour) = word.split_once('@').unwrap_or((word, "1"));
            let (lead, times) = word.split_once(['!', '~', '?']).expect("a sign");
            let times = times.parse().expect("a number");
            let sign = word.as_bytes()[lead.len()];
            let step = if sign == b'?' { Step::Undecidable } else { Step::Breached };
            let key = key(lead, step, hour.parse().expect("an hour"));
            let place = Place { topic: 1, partition: 0, offset: offset as i64 };
            let record = match sign {
                b'~' => said(&key, owner, Some(key.id(false, times)), key.id(true, times)),
                _ => said(&key, owner, None, key.id(false, times)),
            };
            ledger.hear(record, place);
        }
        ledger
    }

    /// Expected: leads that breached at 1, of which the content is that of their owner `ann`.
    fn check(records: &str, leads: &str, found: &str) {
        let lead_content = |key: &Key| {
            let said = said(key, "ann", None, key.id(false, 0));
            let What::Happened(_, content) = said.what else { panic!("a transition") };
            content
        };
        let keys = leads.split_whitespace().map(|lead| key(lead, Step::Breached, 1));
        let expected: Expected = keys
            .map(|key| {
                let content = lead_content(&key);
                (key, content)
            })
            .collect();
        let comparison = ledger(records).compare(&expected, at(3), &|_| None);
        let lead =
            |finding: &Finding| finding.key.as_ref().map_or("-".into(), |key| key.clock.lead_id.to_string());
        let place = |finding: &Finding| finding.at.map_or(String::new(), |at| format!("@{}", at.offset));
        let words = comparison.findings.iter().map(|f| {
            let fields: String = f.differences.iter().map(|d| format!(":{}", d.field)).collect();
            format!("{} {}{}{fields}", f.kind.as_str(), lead(f), place(f))
        });
        let excused = comparison.excused.iter().map(|(excuse, count)| format!("{excuse:?} {count}"));
        let all: Vec<_> = words.chain(excused).collect();
        assert_eq!(all.join(", "), found, "{records} against {leads}");
    }

    #[test]
    fn what_stands_is_compared_with_what_should() {
        check("L1!0 L2!0", "L1 L2", "");
        check("L1!0", "L1 L2", "missing L2");
        check("L1!0 L2!0", "L1", "extra L2@1");
        check("L1!0=bob", "L1", "different L1@0:data.owner");
        check("L1!0@2", "L1", "different L1@0:time");
        check("", "", "");
    }

    #[test]
    fn what_was_taken_back_does_not_stand_and_may_be_said_again() {
        check("L1!0 L1~0", "", "");
        check("L1!0 L1~0", "L1", "missing L1");
        check("L1!0 L1~0 L1!1", "L1", "");
        check("L1!0 L1~0 L1!1 L1~1 L1!2", "L1", "");
    }

    #[test]
    fn no_id_has_two_records_and_no_transition_stands_twice() {
        check("L1!0 L1!0", "L1", "duplicate L1@1");
        check("L1!0 L1~0 L1~0", "", "duplicate L1@2");
        check("L1!0 L1~0 L1!0", "L1", "missing L1, duplicate L1@2");
        check("L1!0 L1!1", "L1", "duplicate L1@1");
    }

    #[test]
    fn ids_are_what_they_say() {
        check("L1!7", "L1", "different L1@0:id");
        check("L1!0 L1~0 L1!5", "L1", "different L1@2:id");
    }

    #[test]
    fn nothing_is_taken_back_that_does_not_stand() {
        check("L1~0", "", "unsound L1@0");
        check("L1~0 L1!0", "L1", "unsound L1@0");
        check("L1!0 L1~0 L1~1", "", "unsound L1@2");
    }

    #[test]
    fn what_is_dated_after_the_instant_judged_is_neither_missing_nor_extra() {
        check("L1!0@4", "", "");
        check("L1!0@3", "", "extra L1@0");
        let expected = Expected::from([(key("L1", Step::Breached, 4), content("ann"))]);
        assert_eq!(Ledger::default().compare(&expected, at(3), &|_| None), Comparison::default());
    }

    #[test]
    fn a_clock_that_is_undecidable_is_neither_missing_nor_extra() {
        check("L1?0 L2!0", "L1 L2", "Undecidable 2");
        check("L1!0@2 L1?0", "", "Undecidable 2");
        check("L1?0 L1?0", "", "Undecidable 2");
    }

    #[test]
    fn an_excused_finding_is_counted_and_none() {
        let comparison = ledger("L1!0 L2!0").compare(&Expected::new(), at(3), &|finding| {
            let lead = finding.key.as_ref().map(|key| &*key.clock.lead_id);
            (lead == Some("L1")).then_some(Excuse::InputDeleted)
        });
        assert_eq!(comparison.findings.len(), 1);
        assert_eq!(comparison.excused, BTreeMap::from([(Excuse::InputDeleted, 1)]));
    }
}
