//! Reads calendars: when time counts.

use chrono::Weekday;
use chrono_tz::{TZ_VARIANTS, Tz};

use super::files::Library;
use super::holidays;
use crate::config::cursor::Cursor;
use crate::config::problem::did_you_mean;
use crate::sla::calendar::{Calendar, Holidays, Hours, Week};

/// The days of a week as they are written.
const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Mon),
    ("tue", Weekday::Tue),
    ("wed", Weekday::Wed),
    ("thu", Weekday::Thu),
    ("fri", Weekday::Fri),
    ("sat", Weekday::Sat),
    ("sun", Weekday::Sun),
];

/// Reads `calendars`; one with a problem is `None`, so that its name stays known.
pub(super) fn read<'a>(
    calendars: &Cursor<'a>,
    library: &Library<'_>,
) -> Option<Vec<(&'a str, Option<Calendar>)>> {
    let entries = calendars.entries()?.into_iter();
    Some(entries.map(|(name, calendar)| (name, one(&calendar, library))).collect())
}

fn one(calendar: &Cursor<'_>, library: &Library<'_>) -> Option<Calendar> {
    let fields = calendar.fields(&["time_zone", "hours", "holidays"], &[])?;
    let missing = |name: &str| {
        if !fields.refused {
            calendar.key_problem(format!("needs `{name}`"));
        }
        None
    };
    let zone = fields.get("time_zone").map_or_else(|| missing("time_zone").map(|()| Tz::UTC), time_zone);
    let week = fields.get("hours").map_or_else(|| missing("hours").map(|()| Week::default()), hours);
    let holidays = match fields.get("holidays") {
        Some(holidays) => holidays::read(holidays, library),
        None => Some(Holidays::default()),
    };
    let named = fields.get("hours").unwrap_or(calendar);
    Calendar::with_holidays(zone?, week?, holidays?)
        .map_err(|error| named.key_problem(error.to_string()))
        .ok()
}

fn time_zone(zone: &Cursor<'_>) -> Option<Tz> {
    let name = zone.text()?;
    name.parse().ok().or_else(|| {
        let near = did_you_mean(name, TZ_VARIANTS.iter().map(|zone| zone.name()));
        let near = if near.is_empty() { ", must be one such as `Europe/Amsterdam`" } else { &near };
        zone.refuse(format!("unknown time zone `{name}`{near}"))
    })
}

/// Reads the hours of a week; days given twice have both. Rule C1.
fn hours(hours: &Cursor<'_>) -> Option<Week> {
    let mut week = Week::default();
    let mut complete = true;
    for (written, ranges) in hours.entries()? {
        let days = days(written).map_err(|message| ranges.key_problem(message)).ok();
        let ranges: Option<Vec<_>> = {
            let read: Vec<_> = ranges.items_or_one().iter().map(range).collect();
            read.into_iter().collect()
        };
        match (days, ranges) {
            (Some(days), Some(ranges)) => {
                days.iter().for_each(|day| ranges.iter().for_each(|range| week.add(*day, *range)));
            }
            _ => complete = false,
        }
    }
    complete.then_some(week)
}

/// The days of `mon`, `mon-fri` or `sat-mon`, which runs over the end of the week.
fn days(written: &str) -> Result<Vec<Weekday>, String> {
    let (first, last) = written.split_once('-').unwrap_or((written, written));
    let (first, last) = (day(first)?, day(last)?);
    let count = (last + 7 - first) % 7 + 1;
    Ok((first..first + count).map(|index| DAYS[index % 7].1).collect())
}

fn day(written: &str) -> Result<usize, String> {
    DAYS.iter().position(|(name, _)| *name == written).ok_or_else(|| {
        // Weekdays written out are nearer to each other than to their first three letters.
        let start: String = written.chars().take(3).flat_map(char::to_lowercase).collect();
        let near = did_you_mean(&start, DAYS.iter().map(|(name, _)| *name));
        format!("unknown day `{written}`{near}; days are `mon` to `sun`, or a range such as `mon-fri`")
    })
}

/// Reads hours such as `09:00-17:30`. Rule C1.
pub(super) fn range(range: &Cursor<'_>) -> Option<Hours> {
    let text = range.text()?;
    let minutes = text.split_once('-').and_then(|(open, close)| Some((time(open)?, time(close)?)));
    match minutes.map(|(open, close)| Hours::new(open, close)) {
        Some(Some(hours)) => Some(hours),
        Some(None) => range.refuse("must not open at 24:00, which is 00:00 of the next day"),
        None => range.refuse(format!("`{text}` must be hours such as `\"09:00-17:30\"`, up to 24:00")),
    }
}

/// Minutes past midnight of `HH:MM`, up to 24:00.
fn time(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |digits: &str| match digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => digits.parse::<u16>().ok(),
        false => None,
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    (minute < 60 && hour * 60 + minute <= 24 * 60).then_some(hour * 60 + minute)
}
