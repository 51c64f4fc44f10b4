//! What policies may say and seldom mean.

mod matches;

use std::collections::{BTreeMap, BTreeSet};

use super::{objectives, touch, within};
use crate::config::cursor::{Cursor, Fields};
use crate::config::duration::written as written_target;
use crate::config::problem::{Problem, Report, did_you_mean};
use crate::config::tree::{self, Value};
use crate::sla::instant::Instant;
use crate::sla::policy::{
    CalendarChoice, Entry, Escalation, Objective, Pipeline, Policies, Target, Validity, Warning,
};

const DAY_MS: i64 = 86_400_000;
/// How far ahead holidays should be known, in milliseconds: a year.
const HOLIDAYS_AHEAD_MS: i64 = 365 * DAY_MS;

/// What the policies of a text say and seldom mean, each at its place; `now` decides what ends soon.
pub fn lints(file_name: &str, text: &str, policies: &Policies, now: Instant) -> Vec<Problem> {
    let report = Report::default();
    let origin = report.file(file_name, text);
    if let Some(root) = tree::parse(&report, origin, text) {
        let root = Cursor::root(&root, &report);
        all(&root, policies);
        ends(&root, policies, now);
    }
    report.finish(None::<()>).err().map(|problems| problems.0).unwrap_or_default()
}

fn all(root: &Cursor<'_>, policies: &Policies) -> Option<()> {
    let shared = field(root, "objectives").and_then(|field| objectives::written(&field)).unwrap_or_default();
    let items = field(root, "policies")?.items()?;
    let mut uses = Uses::default();
    for (item, policy) in items.iter().zip(&policies.policies) {
        let written = written(item);
        for (written, objective) in written.iter().zip(&policy.objectives) {
            if let Some(fields) = written.laid_over(&shared) {
                targets(&fields, objective, &mut uses);
                vain(&fields, objective, &mut uses);
            }
        }
    }
    uses.report();
    covers(&items, policies);
    stages(root, &items, &policies.pipeline);
    unused(root, policies);
    Some(())
}

fn field<'a>(of: &Cursor<'a>, name: &str) -> Option<Cursor<'a>> {
    of.entries()?.into_iter().find(|(found, _)| *found == name).map(|(_, field)| field)
}

/// The objectives of a policy in the order in which they are read.
fn written<'a>(policy: &Cursor<'a>) -> Vec<objectives::Written<'a>> {
    let mut written =
        field(policy, "objectives").and_then(|field| objectives::written(&field)).unwrap_or_default();
    let stages = field(policy, "stages").and_then(|stages| objectives::of_stages(&stages, &[]));
    written.extend(stages.unwrap_or_default());
    written
}

/// Reports policies that cover no lead. Rule T12.
fn covers(items: &[Cursor<'_>], policies: &Policies) {
    for (index, (item, policy)) in items.iter().zip(&policies.policies).enumerate() {
        let hides = |earlier: &&crate::sla::policy::Policy| {
            includes(earlier.valid, policy.valid) && matches::imply(&policy.matches, &earlier.matches)
        };
        if !matches::can_hold(&policy.matches) {
            field(item, "match")
                .unwrap_or_else(|| item.clone())
                .key_problem("no lead can match: the tests contradict each other");
        } else if let Some(earlier) = policies.policies[..index].iter().find(hides) {
            item.problem(format!(
                "covers no lead: `{}` before it matches every lead that this one does",
                earlier.name
            ));
        }
    }
}

fn includes(wide: Validity, narrow: Validity) -> bool {
    let from = wide.from.is_none_or(|wide| narrow.from.is_some_and(|narrow| wide <= narrow));
    let until = wide.until.is_none_or(|wide| narrow.until.is_some_and(|narrow| narrow <= wide));
    from && until
}

/// What is written once and used by several objectives: it is in vain where it is so for all of them.
#[derive(Default)]
struct Uses<'a>(BTreeMap<String, (Cursor<'a>, String, bool)>);

impl<'a> Uses<'a> {
    fn add(&mut self, at: &Cursor<'a>, is_vain: bool, message: impl FnOnce() -> String) {
        let new = || (at.clone(), message(), true);
        self.0.entry(at.path.clone()).or_insert_with(new).2 &= is_vain;
    }

    fn report(self) {
        let vain = self.0.into_values().filter(|(_, _, is_vain)| *is_vain);
        vain.for_each(|(at, message, _)| at.problem(message));
    }
}

/// Notes targets that elapse where open time was likely meant, and entries that never fit.
fn targets<'a>(fields: &Fields<'a>, objective: &Objective, uses: &mut Uses<'a>) {
    let within = fields.get("within").and_then(within::read);
    let touch = fields.get("touch").and_then(touch::read);
    let counts = objective.calendar != CalendarChoice::None;
    for (entry, timed) in within.iter().flat_map(|within| within.entries.iter().zip(&within.targets)) {
        // Who asks whether the calendar is open has thought of it.
        let is_meant = !counts || entry.started_open.is_some();
        uses.add(&timed.at, !is_meant && is_short(timed.target), || elapses(timed.target));
    }
    for timed in touch.iter().flat_map(|touch| &touch.targets) {
        uses.add(&timed.at, counts && is_short(timed.target), || elapses(timed.target));
    }
    let Some(within) = within.filter(|within| within.entries.len() > 1) else { return };
    let lines = fields.get("within").and_then(Cursor::items).unwrap_or_default();
    for (index, (line, entry)) in lines.iter().zip(&within.entries).enumerate() {
        if !matches::can_hold(&entry.matches) {
            line.problem("fits no lead: the tests contradict each other");
        } else if within.entries[..index].iter().any(|earlier| hides(earlier, entry)) {
            line.problem("fits no lead: an entry before it fits whenever this one does");
        }
    }
}

fn hides(earlier: &Entry, entry: &Entry) -> bool {
    let started = earlier.started_open.is_none() || earlier.started_open == entry.started_open;
    started && matches::imply(&entry.matches, &earlier.matches)
}

fn is_short(target: Target) -> bool {
    matches!(target, Target::Elapsed(ms) if ms < DAY_MS)
}

fn elapses(target: Target) -> String {
    let text = written_target(target);
    let meant = match target {
        Target::Elapsed(ms) if ms % 60_000 == 0 => {
            format!("; `{}` would count its open time", written_target(Target::Open(ms)))
        }
        _ => String::new(),
    };
    format!("`{text}` elapses day and night although there is a calendar{meant}")
}

/// Notes warnings and escalations that never come. Rules T7, T8 and T15.
fn vain<'a>(fields: &Fields<'a>, objective: &Objective, uses: &mut Uses<'a>) {
    let targets = objective.targets();
    if let Some(field) = fields.get("warn") {
        for (at, warning) in field.items_or_one().iter().zip(&objective.warn) {
            let fits = targets.iter().any(|target| warns(*warning, *target));
            uses.add(at, !fits, || "warns of no target: of another kind of time, or not shorter".to_string());
        }
    }
    let Some(field) = fields.get("escalate_after") else { return };
    let counts = objective.calendar != CalendarChoice::None;
    let is_over = objective.is_over_when_breached();
    for (at, step) in field.items_or_one().iter().zip(&objective.escalate) {
        let (Escalation::After(step) | Escalation::Every(step, _)) = step;
        let elapses = matches!(step, Target::Elapsed(_));
        uses.add(at, is_over || (!counts && !elapses), || match is_over {
            true => "never comes: a window of touches is over when it is breached".to_string(),
            false => format!("never comes: `{}` has no calendar to be counted on", written_target(*step)),
        });
    }
}

fn warns(warning: Warning, target: Target) -> bool {
    match (warning, target) {
        (Warning::Percent(_), _) => true,
        (Warning::Left(Target::Elapsed(left)), Target::Elapsed(ms)) => left < ms,
        (Warning::Left(Target::Open(left)), Target::Open(ms)) => left < ms,
        (Warning::Left(Target::OpenDays(left)), Target::OpenDays(days)) => left < days,
        _ => false,
    }
}

/// Reports stages that the pipeline does not have, where it lists its open ones.
fn stages(root: &Cursor<'_>, items: &[Cursor<'_>], pipeline: &Pipeline) {
    if pipeline.open.is_empty() {
        return;
    }
    let known: Vec<&str> =
        pipeline.open.iter().chain(&pipeline.won).chain(&pipeline.lost).map(String::as_str).collect();
    for stages in items.iter().filter_map(|item| field(item, "stages")) {
        let entries = stages.entries().unwrap_or_default();
        let strangers = entries.iter().filter(|(stage, _)| !known.contains(stage));
        strangers.for_each(|(stage, at)| at.key_problem(no_stage(stage, &known)));
    }
    for objectives in
        [root].into_iter().chain(items).flat_map(|of| [field(of, "objectives"), field(of, "stages")])
    {
        for (_, objective) in objectives.and_then(|field| map(&field)).unwrap_or_default() {
            let fields = map(&objective).unwrap_or_default().into_iter();
            let named = fields.filter(|(name, _)| ["start", "stop", "while", "pause"].contains(name));
            named.for_each(|(_, field)| stages_of(&field, &known));
        }
    }
}

fn map<'a>(cursor: &Cursor<'a>) -> Option<Vec<(&'a str, Cursor<'a>)>> {
    matches!(cursor.node.value, Value::Map(_)).then(|| cursor.entries()).flatten()
}

/// Looks for names of stages in a condition, in a list of them, in `while` and in `pause`.
fn stages_of(written: &Cursor<'_>, known: &[&str]) {
    for item in written.items_or_one() {
        let fields = map(&item).unwrap_or_default().into_iter();
        for (name, value) in fields.filter(|(name, _)| *name != "contacted") {
            let names: Vec<_> =
                value.items_or_one().iter().filter_map(|item| Some((item.text()?, item.clone()))).collect();
            let any = |stage: &str| name == "to" && ["forward", "won", "lost"].contains(&stage);
            let strangers = names.iter().filter(|(stage, _)| !known.contains(stage) && !any(stage));
            strangers.for_each(|(stage, at)| at.problem(no_stage(stage, known)));
        }
    }
}

fn no_stage(stage: &str, known: &[&str]) -> String {
    let near = did_you_mean(stage, known.iter().copied());
    format!("`{stage}` is no stage of `pipeline`{near}")
}

/// Reports shared definitions and calendars that nothing refers to.
fn unused(root: &Cursor<'_>, policies: &Policies) {
    let of = |name| field(root, name).and_then(|field| field.entries()).unwrap_or_default();
    let strangers =
        of("objectives").into_iter().filter(|(name, _)| policies.names.iter().all(|used| used != name));
    strangers.for_each(|(_, at)| at.key_problem("is promised by no policy"));
    let objectives = policies.policies.iter().flat_map(|policy| &policy.objectives);
    let used: BTreeSet<usize> = objectives.flat_map(|objective| objective.calendar.indexes()).collect();
    let strangers = of("calendars").into_iter().enumerate().filter(|(index, _)| !used.contains(index));
    strangers.for_each(|(_, (_, at))| at.key_problem("no objective counts on it"));
}

/// Reports lists of holidays that end within a year.
fn ends(root: &Cursor<'_>, policies: &Policies, now: Instant) {
    let wanted = now.plus(HOLIDAYS_AHEAD_MS).to_string();
    let written = field(root, "calendars").and_then(|field| field.entries()).unwrap_or_default();
    for ((_, written), named) in written.iter().zip(&policies.calendars) {
        let Some(at) = field(written, "holidays") else { continue };
        for source in named.calendar.sources() {
            let until = source.until.to_string();
            // Dates and instants are written alike from the year down.
            if until.as_str() < &wanted[..until.len().min(wanted.len())] {
                at.problem(format!("`{}` knows of no holidays after {until}", source.name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::lints;
    use crate::config::read_policies;
    use crate::sla::instant::Instant;

    fn now() -> Instant {
        Instant::parse("2026-11-27T12:00:00Z").expect("an instant")
    }

    const SHARED: &str = "\
calendars: {ams: {time_zone: Europe/Amsterdam, hours: {mon-fri: \"09:00-17:00\"}}}
pipeline: {open: [new, working], won: [won], lost: [lost]}
";

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let policies = read_policies("p.yaml", text).unwrap_or_else(|problems| panic!("{problems}"));
        let first = |text: String| text.lines().next().unwrap_or_default().to_string();
        let found: Vec<_> =
            lints("p.yaml", text, &policies, now()).iter().map(|lint| first(lint.to_string())).collect();
        assert_eq!(found, expected, "in:\n{text}");
    }

    /// Checks an objective `x` of these fields, each lint after its `LINE:COLUMN`.
    #[track_caller]
    fn objective(fields: &str, expected: &[&str]) {
        let text = format!(
            "{SHARED}policies: [{{name: a, calendar: ams, objectives: {{x: {{{fields}}}, y: {{start: created, stop: contacted, within: 1d}}}}}}]"
        );
        let policies = read_policies("p.yaml", &text).unwrap_or_else(|problems| panic!("{problems}"));
        let found: Vec<_> = lints("p.yaml", &text, &policies, now())
            .iter()
            .map(|lint| format!("{}: {}", lint.path, lint.message))
            .collect();
        let expected: Vec<_> =
            expected.iter().map(|said| format!("policies[0].objectives.x.{said}")).collect();
        assert_eq!(found, expected, "{fields}");
    }

    #[test]
    fn a_policy_that_covers_no_lead_is_said() {
        check(
            "policies:
- {name: a, match: {s: [x, y]}, objectives: {}}
- {name: b, match: {s: x, t: z}, objectives: {}}
- {name: c, match: {n: {gte: 10, lt: 5}}, objectives: {}}
- {name: d, match: {s: [x, w]}, objectives: {}}
- {name: e, objectives: {}}
- {name: f, match: {s: q}, objectives: {}}
",
            &[
                "p.yaml:3:3: policies[1]: covers no lead: `a` before it matches every lead that this one does",
                "p.yaml:4:13: policies[2].match: no lead can match: the tests contradict each other",
                "p.yaml:7:3: policies[5]: covers no lead: `e` before it matches every lead that this one does",
            ],
        );
    }

    #[test]
    fn a_version_hides_only_what_is_valid_within_it() {
        check(
            "policies:
- {name: a, effective_from: 2026-01-01, effective_until: 2027-01-01, objectives: {}}
- {name: b, effective_from: 2026-03-01, effective_until: 2026-06-01, match: {s: x}, objectives: {}}
- {name: c, effective_from: 2026-03-01, objectives: {}}
",
            &["p.yaml:3:3: policies[1]: covers no lead: `a` before it matches every lead that this one does"],
        );
    }

    #[test]
    fn a_stage_that_no_pipeline_has_is_said() {
        let no = |field: &str, stage: &str| format!("{field}: `{stage}` is no stage of `pipeline`");
        objective(
            "start: {entered: nwe}, stop: [{left: [new, wokring], to: [forward, won, lots]}, {contacted: {stage: other}}], while: {stage: [new, x]}, pause: [none, {stage: nurture}], within: 1d",
            &[
                &format!("{}, did you mean `new`?", no("start.entered", "nwe")),
                &format!("{}, did you mean `working`?", no("stop[0].left[1]", "wokring")),
                &format!("{}, did you mean `lost`?", no("stop[0].to[2]", "lots")),
                &no("while.stage[1]", "x"),
                &no("pause[1].stage", "nurture"),
            ],
        );
        check("pipeline: {won: [won]}\npolicies: [{name: a, stages: {elsewhere: 1d}}]", &[]);
        check(
            "pipeline: {open: [new], won: [won]}\npolicies: [{name: a, stages: {elsewhere: 1d}}]",
            &["p.yaml:2:31: policies[0].stages.elsewhere: `elsewhere` is no stage of `pipeline`"],
        );
    }

    #[test]
    fn short_targets_that_elapse_beside_a_calendar_are_said() {
        let start = "start: created, stop: contacted";
        let said = |text: &str, open: &str| {
            format!(
                "`{text}` elapses day and night although there is a calendar; `{open}` would count its open time"
            )
        };
        objective(&format!("{start}, within: 15m"), &[&format!("within: {}", said("15m", "15bm"))]);
        objective(
            &format!("{start}, within: 90s"),
            &["within: `1m30s` elapses day and night although there is a calendar"],
        );
        objective(&format!("{start}, within: 1d"), &[]);
        objective(&format!("{start}, within: [{{started: closed, target: 4h}}, 15bm]"), &[]);
        objective("touch: {by: [1h, 1bd]}", &[&format!("touch.by[0]: {}", said("1h", "1bh"))]);
        check("policies: [{name: a, objectives: {x: {start: created, stop: contacted, within: 15m}}}]", &[]);
    }

    #[test]
    fn entries_that_never_fit_are_said() {
        objective(
            "start: created, stop: contacted, within: [{if: {a: [b, c]}, target: 1d}, {if: {a: b}, started: open, target: 2d}, {if: {a: {gt: 1, lt: 1}}, target: 1d}, 4d]",
            &[
                "within[1]: fits no lead: an entry before it fits whenever this one does",
                "within[2]: fits no lead: the tests contradict each other",
            ],
        );
    }

    #[test]
    fn warnings_and_escalations_that_never_come_are_said() {
        let start = "start: created, stop: contacted";
        let vain = "warns of no target: of another kind of time, or not shorter";
        objective(
            &format!("{start}, within: 4bh, warn: [50%, 5bm left, 4bh, 1h left, 1bd left]"),
            &[&format!("warn[2]: {vain}"), &format!("warn[3]: {vain}"), &format!("warn[4]: {vain}")],
        );
        objective(&format!("{start}, within: [{{if: {{a: b}}, target: 1d}}, 4bh], warn: 1h left"), &[]);
        objective(
            "touch: {at_least: 2, per: stage}, warn: 50%, escalate_after: 1d",
            &[
                &format!("warn: {vain}"),
                "escalate_after: never comes: a window of touches is over when it is breached",
            ],
        );
        objective("touch: {every: 3bd}, warn: 1bd left, escalate_after: [1bd, {every: 7d}]", &[]);
    }

    #[test]
    fn a_shared_definition_is_in_vain_only_where_it_is_so_for_all() {
        let shared =
            "objectives: {x: {start: created, stop: contacted, warn: 5bm left, escalate_after: 1bh}}";
        check(
            &format!(
                "{SHARED}{shared}\npolicies:\n- {{name: a, match: {{b: c}}, calendar: ams, objectives: {{x: 4bh}}}}\n- {{name: b, objectives: {{x: 1d}}}}"
            ),
            &[],
        );
        check(
            &format!("{shared}\npolicies: [{{name: b, objectives: {{x: 1d}}}}]"),
            &[
                "p.yaml:1:57: objectives.x.warn: warns of no target: of another kind of time, or not shorter",
                "p.yaml:1:83: objectives.x.escalate_after: never comes: `1bh` has no calendar to be counted on",
            ],
        );
    }

    #[test]
    fn what_nothing_refers_to_is_said() {
        check(
            &format!(
                "{SHARED}objectives: {{x: {{start: created}}}}\npolicies: [{{name: a, calendar: ams, objectives: {{}}}}]"
            ),
            &[
                "p.yaml:1:13: calendars.ams: no objective counts on it",
                "p.yaml:3:14: objectives.x: is promised by no policy",
            ],
        );
    }

    #[test]
    fn holidays_that_end_within_a_year_are_said() {
        let text = "\
calendars: {ams: {time_zone: Europe/Amsterdam, hours: {mon-fri: \"09:00-17:00\"}, holidays: [{country: NL}]}}
policies: [{name: a, calendar: ams, objectives: {x: {start: created, stop: contacted, within: 1bd}}}]
";
        let policies = read_policies("p.yaml", text).expect("valid policies");
        let until = policies.calendars[0].calendar.holidays_known_until().expect("a last date").to_string();
        let said = |now: &str| lints("p.yaml", text, &policies, Instant::parse(now).expect("an instant"));
        assert_eq!(said("2026-11-27T12:00:00Z"), []);
        let late = said(&format!("{}-06-01T00:00:00Z", &until[..4]));
        assert_eq!(late.len(), 1);
        assert_eq!(late[0].path, "calendars.ams.holidays");
        assert_eq!(late[0].message, format!("`NL` knows of no holidays after {until}"));
    }
}
