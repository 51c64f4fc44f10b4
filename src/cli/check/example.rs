//! What a promise means for a lead of which the clock starts on a Friday afternoon.

use std::collections::BTreeSet;
use std::fmt;

use chrono::{DateTime, NaiveDate, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use serde::Serialize;

use crate::config::words;
use crate::sla::calendar::Calendar;
use crate::sla::instant::Instant;
use crate::sla::policy::{
    CalendarChoice, Escalation, Objective, Policies, Policy, Promise, Target, Validity, Warning,
};

const WEEK_MS: i64 = 7 * 86_400_000;

/// One clock, or all that begin together, with its dates.
#[derive(Debug, Serialize)]
pub(super) struct Example {
    /// What starts it.
    when: String,
    /// What the lead is like, where that decides.
    lead: Vec<String>,
    started_at: Instant,
    due_at: Vec<Instant>,
    warned_at: Vec<Instant>,
    escalated_at: Vec<Instant>,
    /// Whether it escalates further than the dates given.
    escalates_on: bool,
    #[serde(serialize_with = "zone_name")]
    time_zone: Tz,
}

fn zone_name<S: serde::Serializer>(zone: &Tz, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(zone.name())
}

impl fmt::Display for Example {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dates =
            |dates: &[Instant]| dates.iter().map(|date| self.date(*date)).collect::<Vec<_>>().join(", ");
        write!(f, "{} {} ({})", self.when, self.date(self.started_at), self.time_zone)?;
        self.lead.iter().try_for_each(|lead| write!(f, ", {lead}"))?;
        write!(f, ": due {}", dates(&self.due_at))?;
        if !self.warned_at.is_empty() {
            write!(f, "; warned {}", dates(&self.warned_at))?;
        }
        if !self.escalated_at.is_empty() {
            let on = if self.escalates_on { " and on" } else { "" };
            write!(f, "; escalated {}{on}", dates(&self.escalated_at))?;
        }
        Ok(())
    }
}

impl Example {
    /// `Friday 2026-11-27 16:30` on the clocks of the zone.
    fn date(&self, at: Instant) -> String {
        let Some(time) = DateTime::<Utc>::from_timestamp_millis(at.millis()) else { return at.to_string() };
        let time = time.with_timezone(&self.time_zone);
        let seconds = if time.second() > 0 { ":%S" } else { "" };
        time.format(&format!("%A %F %H:%M{seconds}")).to_string()
    }
}

/// The examples of an objective: one for each calendar and each target that may count.
pub(super) fn examples(
    policies: &Policies,
    policy: &Policy,
    objective: &Objective,
    at: Option<Instant>,
) -> Vec<Example> {
    let mut examples = Vec::new();
    for (lead, calendar) in calendars(policies, &objective.calendar) {
        let zone = calendar.map_or(Tz::UTC, Calendar::zone);
        let start = at.or_else(|| friday(zone, policy.valid));
        examples.extend(start.into_iter().flat_map(|start| of(objective, start, calendar, zone, &lead)));
    }
    examples
}

/// Each calendar that an objective may count on, with what makes a lead have it.
fn calendars<'a>(
    policies: &'a Policies,
    choice: &CalendarChoice,
) -> Vec<(Vec<String>, Option<&'a Calendar>)> {
    let of = |index: usize| Some(&policies.calendars[index].calendar);
    match choice {
        CalendarChoice::None => vec![(Vec::new(), None)],
        CalendarChoice::One(index) => vec![(Vec::new(), of(*index))],
        CalendarChoice::By { path, calendars, default } => {
            let mut seen = BTreeSet::from([*default]);
            let others = calendars.iter().filter(|(_, index)| seen.insert(**index));
            let others = others.map(|(value, index)| (vec![format!("{path} {value}")], of(*index)));
            [(Vec::new(), of(*default))].into_iter().chain(others.collect::<Vec<_>>()).collect()
        }
    }
}

/// 16:30 on the clocks of the zone, on 2026-11-27 or the Friday nearest to it at which a version is valid.
fn friday(zone: Tz, valid: Validity) -> Option<Instant> {
    let friday = NaiveDate::from_ymd_opt(2026, 11, 27)?.and_hms_opt(16, 30, 0)?;
    let usual = zone.from_local_datetime(&friday).earliest()?.timestamp_millis();
    let weeks_to = |at: Instant, up: i64| (at.millis() - usual + up).div_euclid(WEEK_MS);
    let weeks = match (valid.from, valid.until) {
        (Some(from), _) if from.millis() > usual => weeks_to(from, WEEK_MS - 1),
        (_, Some(until)) if until.millis() <= usual => weeks_to(until, -1),
        _ => 0,
    };
    let moved = friday.checked_add_signed(TimeDelta::try_weeks(weeks)?)?;
    Some(Instant::from_millis(zone.from_local_datetime(&moved).earliest()?.timestamp_millis()))
}

fn of(
    objective: &Objective,
    start: Instant,
    calendar: Option<&Calendar>,
    zone: Tz,
    lead: &[String],
) -> Vec<Example> {
    let example = |when: String, more: Option<String>, targets: &[Target]| {
        let clock = Clock { start, calendar };
        let lead = lead.iter().cloned().chain(more).collect();
        clock.example(objective, targets, Example { when, lead, time_zone: zone, ..nothing(start) })
    };
    match &objective.promise {
        Promise::Response(response) => {
            let when = response.start.first().map(words::condition).unwrap_or_default();
            let is_open = calendar.is_some_and(|calendar| calendar.is_open(start));
            let fit =
                response.within.iter().filter(|entry| entry.started_open.is_none_or(|open| open == is_open));
            let lead = |matches: &[_]| (!matches.is_empty()).then(|| words::leads(matches));
            fit.map(|entry| example(format!("{when} on"), lead(&entry.matches), &[entry.target])).collect()
        }
        Promise::Touch(_) if objective.targets().is_empty() => Vec::new(),
        Promise::Touch(_) => {
            let stages =
                objective.while_stages.as_deref().map(|stages| format!("in {} since", stages.join(" or ")));
            let when = stages.unwrap_or_else(|| "created on".to_string());
            vec![example(when, None, &objective.targets())]
        }
    }
}

fn nothing(started_at: Instant) -> Example {
    Example {
        when: String::new(),
        lead: Vec::new(),
        started_at,
        due_at: Vec::new(),
        warned_at: Vec::new(),
        escalated_at: Vec::new(),
        escalates_on: false,
        time_zone: Tz::UTC,
    }
}

/// A clock that nothing stops or pauses.
struct Clock<'a> {
    start: Instant,
    calendar: Option<&'a Calendar>,
}

impl Clock<'_> {
    fn example(&self, objective: &Objective, targets: &[Target], example: Example) -> Example {
        let due_at: Vec<_> = targets.iter().map(|target| self.due(self.start, *target)).collect();
        let mut warned_at: Vec<_> =
            targets.iter().flat_map(|target| self.warned(objective, *target)).collect();
        let mut escalated_at: Vec<_> =
            due_at.iter().flat_map(|due| self.escalated(objective, *due)).collect();
        warned_at.sort();
        escalated_at.sort();
        let repeats = |step: &Escalation| matches!(step, Escalation::Every(_, times) if *times != Some(1));
        let escalates_on = objective.escalate.iter().any(repeats);
        Example { due_at, warned_at, escalated_at, escalates_on, ..example }
    }

    /// Rule T3.
    fn due(&self, start: Instant, target: Target) -> Instant {
        self.calendar.map_or_else(|| target.elapse(start), |calendar| calendar.due(start, target))
    }

    /// Rule T7.
    fn warned(&self, objective: &Objective, target: Target) -> Vec<Instant> {
        let left = |warning: &Warning| match (*warning, target) {
            (Warning::Percent(percent), Target::Elapsed(ms)) => Some(Target::Elapsed(share(ms, percent))),
            (Warning::Percent(percent), target) => {
                let calendar = self.calendar?;
                Some(Target::Open(share(calendar.target_ms(self.start, target), percent)))
            }
            (Warning::Left(Target::Elapsed(left)), Target::Elapsed(ms)) if left < ms => {
                Some(Target::Elapsed(ms - left))
            }
            (Warning::Left(Target::Open(left)), Target::Open(ms)) if left < ms => {
                Some(Target::Open(ms - left))
            }
            (Warning::Left(Target::OpenDays(left)), Target::OpenDays(days)) if left < days => {
                Some(Target::OpenDays(days - left))
            }
            _ => None,
        };
        objective.warn.iter().filter_map(left).map(|target| self.due(self.start, target)).collect()
    }

    /// Rule T8; of a step that repeats the first time.
    fn escalated(&self, objective: &Objective, breach: Instant) -> Vec<Instant> {
        let counts = |step: &Target| self.calendar.is_some() || matches!(step, Target::Elapsed(_));
        let steps = objective.escalate.iter().map(|step| match step {
            Escalation::After(step) | Escalation::Every(step, _) => *step,
        });
        let dates = steps.filter(counts).map(|step| self.due(breach, step));
        if objective.is_over_when_breached() { Vec::new() } else { dates.collect() }
    }
}

fn share(ms: i64, percent: u8) -> i64 {
    (i128::from(ms) * i128::from(percent) / 100) as i64
}
