//! When time counts, minute by minute: C1 to C4.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone};
use chrono_tz::Tz;
use serde_json::Value;

const MINUTE: i64 = 60_000;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Whether each minute of 2026 and the night after it is open, and when each day closes for good.
pub struct Calendar {
    zone: Tz,
    open: Vec<bool>,
    /// C4: the latest end, in minutes, of the intervals that begin on a date.
    closings: BTreeMap<NaiveDate, i64>,
}

impl Calendar {
    /// Reads a calendar that is known to be good.
    pub fn read(calendar: &Value) -> Calendar {
        let zone = calendar["time_zone"].as_str().and_then(|zone| zone.parse().ok()).unwrap_or(Tz::UTC);
        let holidays = holidays(&calendar["holidays"]);
        let mut read = Calendar { zone, open: vec![false; 368 * 24 * 60], closings: BTreeMap::new() };
        for date in first_day().iter_days().take(365) {
            for (opens, closes) in hours(&calendar["hours"], date) {
                let minutes = minute_of(zone, date, opens)..minute_of(zone, date, closes);
                read.add(minutes.filter(|minute| !holidays.contains_key(&local(zone, *minute).date())));
            }
            // C2: hours of the holiday itself; another holiday takes what runs into it.
            for (opens, closes) in holidays.get(&date).into_iter().flatten() {
                let minutes = minute_of(zone, date, *opens)..minute_of(zone, date, *closes);
                let stays = |day: NaiveDate| day == date || !holidays.contains_key(&day);
                read.add(minutes.filter(|minute| stays(local(zone, *minute).date())));
            }
        }
        read
    }

    /// Adds what is left of one interval, which a holiday may have cut in pieces.
    fn add(&mut self, minutes: impl Iterator<Item = i64>) {
        let mut piece: Option<(NaiveDate, i64)> = None;
        for minute in minutes {
            self.open[place(minute)] = true;
            let begins_on = piece
                .filter(|(_, end)| *end == minute)
                .map_or_else(|| local(self.zone, minute).date(), |(begins_on, _)| begins_on);
            piece = Some((begins_on, minute + 1));
            let closing = self.closings.entry(begins_on).or_insert(0);
            *closing = (*closing).max(minute + 1);
        }
    }

    /// C4: the open time from an instant to the last closing of the n-th open day after its date.
    pub fn to_end_of_day(&self, from: i64, n: usize) -> i64 {
        let date = local(self.zone, from.div_euclid(MINUTE)).date();
        let mut later = self.closings.iter().filter(|(day, _)| **day > date);
        let (_, closing) = later.nth(n - 1).expect("an open day of 2026");
        self.counted(from, closing * MINUTE)
    }

    pub fn is_open_at(&self, at: i64) -> bool {
        self.is_open(at.div_euclid(MINUTE))
    }

    fn is_open(&self, minute: i64) -> bool {
        self.open[place(minute)]
    }

    /// Open milliseconds in `[from, to)`.
    pub fn counted(&self, from: i64, to: i64) -> i64 {
        let minutes = from.div_euclid(MINUTE)..=to.div_euclid(MINUTE);
        let overlap = |minute: i64| (to.min((minute + 1) * MINUTE) - from.max(minute * MINUTE)).max(0);
        minutes.filter(|&minute| self.is_open(minute)).map(overlap).sum()
    }

    /// The earliest instant up to which `millis` are counted.
    pub fn due(&self, from: i64, millis: i64) -> i64 {
        let mut left = millis;
        for minute in (from.div_euclid(MINUTE)..).filter(|&minute| self.is_open(minute)) {
            let begins = from.max(minute * MINUTE);
            let length = (minute + 1) * MINUTE - begins;
            if left <= length {
                return begins + left;
            }
            left -= length;
        }
        unreachable!("time does not end")
    }
}

fn first_day() -> NaiveDate {
    NaiveDate::from_yo_opt(2026, 1).expect("the first day of 2026")
}

/// The place of a minute since the epoch among those from the day before 2026.
fn place(minute: i64) -> usize {
    let first = minutes_since_epoch(first_day().and_time(NaiveTime::MIN)) - 24 * 60;
    usize::try_from(minute - first).expect("a minute of 2026")
}

/// Holidays, each with its own hours: dates, ranges of dates, `{date, hours}`.
fn holidays(written: &Value) -> BTreeMap<NaiveDate, Vec<(i64, i64)>> {
    let date = |text: &str| text.parse::<NaiveDate>().expect("a date");
    let mut all: BTreeMap<NaiveDate, Vec<(i64, i64)>> = BTreeMap::new();
    for holiday in written.as_array().into_iter().flatten() {
        let text = holiday.as_str().or(holiday["date"].as_str()).unwrap_or_default();
        let (first, last) = text.split_once('/').unwrap_or((text, text));
        for day in date(first).iter_days().take_while(|day| *day <= date(last)) {
            all.entry(day).or_default().extend(intervals(&holiday["hours"]));
        }
    }
    all
}

/// The weekly hours of a date, in minutes after its midnight.
fn hours(week: &Value, date: NaiveDate) -> Vec<(i64, i64)> {
    let today = date.weekday().num_days_from_monday() as usize;
    let mut hours = Vec::new();
    for (days, written) in week.as_object().into_iter().flatten() {
        let (first, last) = days.split_once('-').unwrap_or((days, days));
        let place = |day: &str| DAYS.iter().position(|d| *d == day).unwrap_or(0);
        let length = (place(last) + 7 - place(first)) % 7;
        if (today + 7 - place(first)) % 7 > length {
            continue;
        }
        hours.extend(intervals(written));
    }
    hours
}

fn intervals(written: &Value) -> Vec<(i64, i64)> {
    let interval = |text: &str| {
        let (opens, closes) = text.split_once('-').unwrap_or((text, text));
        let (opens, closes) = (minutes(opens), minutes(closes));
        (opens, if closes <= opens { closes + 24 * 60 } else { closes })
    };
    written.as_array().into_iter().flatten().filter_map(Value::as_str).map(interval).collect()
}

fn minutes(wall: &str) -> i64 {
    let (hour, minute) = wall.split_once(':').unwrap_or((wall, "0"));
    hour.parse::<i64>().unwrap_or(0) * 60 + minute.parse::<i64>().unwrap_or(0)
}

/// C3: the minute since the epoch at which a wall shows this; the first of two, and in a gap as
/// much later as the gap is long.
fn minute_of(zone: Tz, date: NaiveDate, minutes: i64) -> i64 {
    let wall = minutes_since_epoch(date.and_time(NaiveTime::MIN) + TimeDelta::minutes(minutes));
    let shows_it = |minute: &i64| minutes_since_epoch(local(zone, *minute)) == wall;
    let a_day_before = wall - offset_minutes(zone, wall - 24 * 60);
    let a_day_after = wall - offset_minutes(zone, wall + 24 * 60);
    let first = a_day_before.min(a_day_after);
    let second = a_day_before.max(a_day_after);
    [first, second].into_iter().find(shows_it).unwrap_or(a_day_before)
}

fn offset_minutes(zone: Tz, minute: i64) -> i64 {
    minutes_since_epoch(local(zone, minute)) - minute
}

fn local(zone: Tz, minute: i64) -> NaiveDateTime {
    let utc = DateTime::UNIX_EPOCH.naive_utc() + TimeDelta::minutes(minute);
    utc + TimeDelta::seconds(i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc()))
}

fn minutes_since_epoch(time: NaiveDateTime) -> i64 {
    (time - DateTime::UNIX_EPOCH.naive_utc()).num_minutes()
}
