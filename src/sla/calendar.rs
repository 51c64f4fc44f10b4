//! When time counts: weekly hours in a time zone, holidays, and the arithmetic of open time.
//!
//! Rules C1 to C5, T3 and T4. Everything is reckoned on instants: a week's hours are laid on
//! local dates, their boundaries become instants, holidays are cut out, and what overlaps is
//! joined. The hours that a holiday itself has are added after that, so no holiday cuts them, not
//! even where they run past midnight into the next one. What comes of it is kept by stretches of
//! 36 weeks, each worked out when first asked for; the answers do not depend on which were.
//!
//! Before 1800 and after 2100 no zone changes its offset, so beyond those years and the
//! holidays all stretches are alike and one stands for the rest. That the zone data ends there
//! also means that no daylight saving is known after 2099.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, OnceLock};

use chrono::{
    DateTime, Datelike, LocalResult, NaiveDate, NaiveDateTime, Offset, TimeDelta, TimeZone, Weekday,
};
use chrono_tz::{GapInfo, Tz};

use super::instant::Instant;
use super::policy::Target;

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;
/// Whole weeks, so that two stretches differ by their zone and holidays alone.
const STRETCH_DAYS: i64 = 36 * 7;
const STRETCH: i64 = STRETCH_DAYS * DAY;
/// How far a shift or an offset reaches into the days around it, rounded up.
const REACH_DAYS: i64 = 4;
/// Instants are brought within this of the epoch, so that no sum of theirs overflows.
const FARTHEST: i64 = i64::MAX / 4;
/// Ten years with the fewest leap days, rule C5.
const TEN_YEARS_DAYS: i64 = 3652;
/// Most intervals that a list of closed ones is made from.
const LISTED_MAX: usize = 10_000;

/// Why there can be no such calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not one weekday has hours. Rule C5.
    #[error("no open time: the hours of every weekday are empty")]
    NoOpenTime,
}

/// One interval of local wall-clock time, [open, close).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    open_minutes: u16,
    close_minutes: u16,
}

/// The hours of each weekday, in any order and free to overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Week {
    days: [Vec<Hours>; 7],
}

/// The dates on which the weekly hours do not hold. Rule C2.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holidays {
    dates: BTreeSet<NaiveDate>,
    hours: BTreeMap<NaiveDate, Vec<Hours>>,
    sources: Vec<Source>,
}

/// Where holidays come from that somebody else lists, and how far that list reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What the policies call it, such as `NL` or `holidays.ics`.
    pub name: String,
    /// The last date for which it says whether that is a holiday.
    pub until: NaiveDate,
}

/// When time counts. Cloning shares what has been worked out.
#[derive(Clone)]
pub struct Calendar {
    inner: Arc<Inner>,
}

struct Inner {
    rules: Rules,
    /// Number of the first stretch kept; those before it are like it.
    first: i64,
    /// Those after the last are like the last.
    stretches: Box<[OnceLock<Stretch>]>,
}

/// What a calendar is made of, as written.
struct Rules {
    zone: Tz,
    week: Week,
    /// Days since the epoch.
    holidays: BTreeSet<i64>,
    /// The hours that holidays have, by days since the epoch.
    holiday_hours: BTreeMap<i64, Vec<Hours>>,
    sources: Vec<Source>,
}

/// The open time of 36 weeks, relative to their beginning in UTC.
struct Stretch {
    /// Disjoint, in order.
    spans: Box<[Span]>,
    /// In order, one a date.
    open_days: Box<[OpenDay]>,
}

/// Open time without a break, relative to its stretch.
struct Span {
    open: i64,
    close: i64,
    /// Open milliseconds of the stretch before `open`.
    before: i64,
}

/// A local date on which an interval begins. Rule C4.
struct OpenDay {
    /// Days since the first of the stretch.
    day: i64,
    /// The latest end of the intervals that begin on it, relative to the stretch.
    last_close: i64,
}

impl Hours {
    /// The hours from `open_minutes` to `close_minutes` past local midnight.
    ///
    /// Closing at or before the opening is on the next day, so 09:00-09:00 is 24 hours. `None`
    /// where the opening is at 24:00 or later, or the closing after 24:00. Rule C1.
    pub fn new(open_minutes: u16, close_minutes: u16) -> Option<Hours> {
        let within_a_day = open_minutes < 24 * 60 && close_minutes <= 24 * 60;
        within_a_day.then_some(Hours { open_minutes, close_minutes })
    }

    /// Minutes from the midnight before the opening to the closing.
    fn close_minutes_unwrapped(self) -> i64 {
        let next_day = self.close_minutes <= self.open_minutes;
        i64::from(self.close_minutes) + if next_day { 24 * 60 } else { 0 }
    }
}

impl Week {
    /// This week with these hours besides on `day`.
    #[must_use]
    pub fn with(mut self, day: Weekday, hours: Hours) -> Week {
        self.add(day, hours);
        self
    }

    /// Adds hours to a weekday.
    pub fn add(&mut self, day: Weekday, hours: Hours) {
        self.days[day.num_days_from_monday() as usize].push(hours);
    }

    /// The hours of a date, counted in days since the epoch, a Thursday.
    fn of(&self, day: i64) -> &[Hours] {
        &self.days[(day + 3).rem_euclid(7) as usize]
    }
}

impl Holidays {
    /// Adds a date without hours.
    pub fn add(&mut self, date: NaiveDate) {
        self.dates.insert(date);
    }

    /// Adds a date that has these hours besides those it has already, and none of its weekday's.
    pub fn add_hours(&mut self, date: NaiveDate, hours: Hours) {
        self.add(date);
        self.hours.entry(date).or_default().push(hours);
    }

    /// Notes where some of the dates come from.
    pub fn add_source(&mut self, source: Source) {
        self.sources.push(source);
    }
}

impl FromIterator<NaiveDate> for Holidays {
    fn from_iter<I: IntoIterator<Item = NaiveDate>>(dates: I) -> Holidays {
        Holidays { dates: dates.into_iter().collect(), ..Holidays::default() }
    }
}

impl Calendar {
    /// A calendar of these weekly hours on the clocks of `zone`, less whole holidays.
    ///
    /// # Errors
    /// No weekday has hours. Rule C5.
    pub fn new(zone: Tz, week: Week, holidays: BTreeSet<NaiveDate>) -> Result<Calendar, Error> {
        Calendar::with_holidays(zone, week, holidays.into_iter().collect())
    }

    /// A calendar of these weekly hours on the clocks of `zone`, less the holidays, with the hours
    /// that these have. Rule C2.
    ///
    /// Holidays outside the years 0 to 9999 are left out, for no fact can be dated there.
    ///
    /// # Errors
    /// No weekday has hours, whatever hours the holidays have. Rule C5.
    pub fn with_holidays(zone: Tz, week: Week, holidays: Holidays) -> Result<Calendar, Error> {
        if week.days.iter().all(Vec::is_empty) {
            return Err(Error::NoOpenTime);
        }
        let Holidays { dates, hours, sources } = holidays;
        let holidays = dates.into_iter().filter(is_datable).map(day_of).collect();
        let hours = hours.into_iter().filter(|(date, _)| is_datable(date));
        let holiday_hours = hours.map(|(date, hours)| (day_of(date), hours)).collect();
        let rules = Rules { zone, week, holidays, holiday_hours, sources };
        let (first, last) = rules.irregular();
        let stretches = (first..=last).map(|_| OnceLock::new()).collect();
        Ok(Calendar { inner: Arc::new(Inner { rules, first, stretches }) })
    }

    /// The instant a clock started at `start` runs out: the earliest one before which the counted
    /// time since `start` equals the target. Rules T3 and C4.
    ///
    /// Landing exactly on closing time it is the closing time (T4). One beyond the last instant is
    /// [`Instant::MAX`]; a target of nothing gives `start`.
    pub fn due(&self, start: Instant, target: Target) -> Instant {
        match target {
            Target::Elapsed(ms) => start.plus(ms),
            Target::Open(ms) if ms <= 0 => start,
            Target::Open(ms) => self.inner.after_open(near(start), ms).max(start),
            Target::OpenDays(0) => start,
            Target::OpenDays(days) => self.inner.after_days(near(start), i64::from(days)).max(start),
        }
    }

    /// The target as counted milliseconds, which for open days depends on the start. Rule C4.
    pub fn target_ms(&self, start: Instant, target: Target) -> i64 {
        match target {
            Target::Elapsed(ms) | Target::Open(ms) => ms,
            Target::OpenDays(_) => self.counted(start, self.due(start, target)),
        }
    }

    /// Open milliseconds in [from, to); none where `to` is not after `from`. Rule C3.
    pub fn counted(&self, from: Instant, to: Instant) -> i64 {
        if to <= from { 0 } else { self.inner.counted(near(from), near(to)) }
    }

    /// Whether time counts at this instant; at closing time it does not.
    pub fn is_open(&self, at: Instant) -> bool {
        let (number, at) = split(near(at));
        self.inner.stretch(number).is_open(at)
    }

    /// The zone whose clocks the hours are on.
    pub fn zone(&self) -> Tz {
        self.inner.rules.zone
    }

    /// The earliest instant from `at` on at which time counts: `at` itself while it does.
    ///
    /// `None` where that would be after the last instant.
    pub fn opens_after(&self, at: Instant) -> Option<Instant> {
        // The first open millisecond ends where one of counted time does.
        let end = self.due(at, Target::Open(1));
        (end < Instant::MAX).then(|| end.minus(1))
    }

    /// The intervals within [from, to) in which no time counts, in order, each [closed, opened).
    ///
    /// Made from at most 10,000 open intervals after `from`; what comes later is left out.
    pub fn closed_between(&self, from: Instant, to: Instant) -> Vec<(Instant, Instant)> {
        let (mut closed, mut closes) = (Vec::new(), from);
        for (open, close) in self.inner.spans_from(near(from)).take(LISTED_MAX) {
            if open >= to {
                closed.extend((closes < to).then_some((closes, to)));
                break;
            }
            closed.extend((closes < open).then_some((closes, open)));
            closes = closes.max(close);
        }
        closed
    }

    /// Where holidays come from that somebody else lists, in the order in which they were added.
    pub fn sources(&self) -> &[Source] {
        &self.inner.rules.sources
    }

    /// The last date up to which all lists of holidays reach; `None` where there are no lists.
    pub fn holidays_known_until(&self) -> Option<NaiveDate> {
        self.sources().iter().map(|source| source.until).min()
    }

    /// Whether the weekly hours of ten years can hold the target. Rule C5.
    pub fn can_hold(&self, target: Target) -> bool {
        let last = self.inner.stretch(i64::MAX);
        match target {
            Target::Elapsed(_) => true,
            Target::Open(ms) => ms <= last.open_ms() * TEN_YEARS_DAYS / STRETCH_DAYS,
            Target::OpenDays(days) => {
                i64::from(days) <= last.open_days.len() as i64 * TEN_YEARS_DAYS / STRETCH_DAYS
            }
        }
    }
}

impl fmt::Debug for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rules { zone, week, holidays, .. } = &self.inner.rules;
        f.debug_struct("Calendar")
            .field("zone", zone)
            .field("week", week)
            .field("holidays", &holidays.len())
            .finish()
    }
}

impl Inner {
    fn after_open(&self, start: i64, target: i64) -> Instant {
        let (number, at) = split(start);
        let passed = self.stretch(number).open_before(at);
        let (number, left) = self.seek(number, target.saturating_add(passed), Stretch::open_ms);
        joined(number, self.stretch(number).after_open(left))
    }

    fn after_days(&self, start: i64, days: i64) -> Instant {
        let today = self.local_day(start);
        let (number, day) = (today.div_euclid(STRETCH_DAYS), today.rem_euclid(STRETCH_DAYS));
        let passed = self.stretch(number).open_days.partition_point(|open| open.day <= day);
        let (number, left) =
            self.seek(number, days + passed as i64, |stretch| stretch.open_days.len() as i64);
        joined(number, self.stretch(number).open_days[left as usize - 1].last_close)
    }

    /// The first stretch from `number` on by whose end `wanted` have come together, and how many
    /// of these are its own.
    ///
    /// Ends for any holidays: those kept are walked, those beyond are reckoned at once.
    fn seek(&self, mut number: i64, mut wanted: i64, amount: impl Fn(&Stretch) -> i64) -> (i64, i64) {
        loop {
            let each = amount(self.stretch(number));
            if wanted <= each {
                return (number, wanted);
            }
            // Empty ones exist only among those kept: the regular weeks beyond have hours.
            let fitting = (wanted - 1).checked_div(each).unwrap_or(1);
            let skipped = fitting.min(self.alike(number));
            wanted -= skipped * each;
            number = number.saturating_add(skipped);
        }
    }

    fn counted(&self, from: i64, to: i64) -> i64 {
        let ((number, from), (last, to)) = (split(from), split(to));
        let whole = self.open_ms_between(number, last);
        whole + self.stretch(last).open_before(to) - self.stretch(number).open_before(from)
    }

    /// Open milliseconds of the stretches from `number` up to `end`, without `end`.
    fn open_ms_between(&self, mut number: i64, end: i64) -> i64 {
        let mut sum = 0;
        while number < end {
            let run = self.alike(number).min(end - number);
            sum += run * self.stretch(number).open_ms();
            number += run;
        }
        sum
    }

    /// The open intervals that end after an instant, without end; one over the edge of a stretch is
    /// two.
    fn spans_from(&self, from: i64) -> impl Iterator<Item = (Instant, Instant)> {
        let of = |number: i64| {
            let spans = self.stretch(number).spans.iter();
            spans.map(move |span| (joined(number, span.open), joined(number, span.close)))
        };
        (split(from).0..).flat_map(of).skip_while(move |(_, close)| close.millis() <= from)
    }

    /// How many stretches from this one on are known to be alike.
    fn alike(&self, number: i64) -> i64 {
        match self.kept(number) {
            kept if kept > number => kept - number,
            kept if kept == self.last() => i64::MAX,
            _ => 1,
        }
    }

    fn last(&self) -> i64 {
        self.first + self.stretches.len() as i64 - 1
    }

    /// The number of the kept stretch that stands for this one.
    fn kept(&self, number: i64) -> i64 {
        number.clamp(self.first, self.last())
    }

    fn stretch(&self, number: i64) -> &Stretch {
        let kept = self.kept(number);
        self.stretches[(kept - self.first) as usize].get_or_init(|| self.rules.stretch(kept))
    }

    /// The local date at an instant, in days since the epoch.
    fn local_day(&self, at: i64) -> i64 {
        let (number, at) = split(at);
        let kept = self.kept(number);
        self.rules.local_day(kept * STRETCH + at) + (number - kept) * STRETCH_DAYS
    }
}

impl Rules {
    /// The first and last stretch to keep: outside them no offset changes and no holiday falls.
    fn irregular(&self) -> (i64, i64) {
        let edges = [year_begin(1800), year_begin(2101)];
        let days = || edges.iter().chain(self.holidays.first()).chain(self.holidays.last());
        let number = |day: Option<&i64>| day.map_or(0, |day| day.div_euclid(STRETCH_DAYS));
        (number(days().min()) - 2, number(days().max()) + 2)
    }

    fn stretch(&self, number: i64) -> Stretch {
        let first = number * STRETCH_DAYS;
        let dates = Dates::new(self.zone, first - REACH_DAYS, first + STRETCH_DAYS + REACH_DAYS);
        let mut intervals = Vec::new();
        for day in dates.first..=first + STRETCH_DAYS {
            self.open_on(day, &dates, &mut intervals);
        }
        intervals.sort_unstable();
        Stretch::new(first, &intervals, &dates)
    }

    /// Adds the intervals of the shifts that begin on a date: the weekly ones less the holidays, and
    /// those that it has as a holiday. Rule C2.
    fn open_on(&self, day: i64, dates: &Dates, intervals: &mut Vec<(i64, i64)>) {
        if dates.is_skipped(day) {
            return;
        }
        for hours in self.week.of(day) {
            let (open, close) = self.interval(day, *hours);
            self.cut_holidays(day, open, close, dates, intervals);
        }
        // A holiday does not take its own hours away, but the date after it does if it is one.
        for hours in self.holiday_hours.get(&day).into_iter().flatten() {
            let (open, close) = self.interval(day, *hours);
            self.cut_holidays(day + 1, open, close, dates, intervals);
        }
    }

    /// The instants at which hours of a date open and close.
    fn interval(&self, day: i64, hours: Hours) -> (i64, i64) {
        let open = boundary(self.zone, day * DAY + i64::from(hours.open_minutes) * MINUTE);
        let close = boundary(self.zone, day * DAY + hours.close_minutes_unwrapped() * MINUTE);
        (open, close)
    }

    /// Adds what the holidays leave of a shift that begins on `day`. Rule C2.
    fn cut_holidays(&self, day: i64, open: i64, close: i64, dates: &Dates, intervals: &mut Vec<(i64, i64)>) {
        let mut from = open;
        let holidays = self.holidays.range(day..day + REACH_DAYS);
        for &holiday in holidays.filter(|&&holiday| !dates.is_skipped(holiday)) {
            let (begin, end) = (dates.begin(holiday), dates.begin(holiday + 1));
            if begin < close && from < end {
                intervals.extend((from < begin).then_some((from, begin)));
                from = end;
            }
        }
        intervals.extend((from < close).then_some((from, close)));
    }

    fn local_day(&self, at: i64) -> i64 {
        (at + ms(self.zone.offset_from_utc_datetime(&naive(at)))).div_euclid(DAY)
    }
}

/// When a run of local dates begin.
struct Dates {
    /// Days since the epoch.
    first: i64,
    begins: Vec<i64>,
}

impl Dates {
    /// The dates from `first` to `last`.
    fn new(zone: Tz, first: i64, last: i64) -> Dates {
        Dates { first, begins: (first..=last + 1).map(|day| begin(zone, day)).collect() }
    }

    fn begin(&self, day: i64) -> i64 {
        self.begins[(day - self.first) as usize]
    }

    /// Whether the zone leaves the date out, as Apia did 2011-12-30. Rule C3.
    fn is_skipped(&self, day: i64) -> bool {
        self.begin(day) == self.begin(day + 1)
    }

    fn of(&self, at: i64) -> i64 {
        self.first + self.begins.partition_point(|&begin| begin <= at) as i64 - 1
    }
}

impl Stretch {
    /// Takes all intervals that reach into the stretch, ordered by their beginning.
    fn new(first: i64, intervals: &[(i64, i64)], dates: &Dates) -> Stretch {
        let (mut spans, mut open_days) = (Vec::new(), Vec::new());
        for &(open, close) in intervals {
            let (open_at, close_at) = (open - first * DAY, close - first * DAY);
            join(&mut spans, open_at.max(0), close_at.min(STRETCH));
            let day = dates.of(open) - first;
            if (0..STRETCH_DAYS).contains(&day) {
                note(&mut open_days, day, close_at);
            }
        }
        Stretch { spans: spans.into(), open_days: open_days.into() }
    }

    fn open_ms(&self) -> i64 {
        self.spans.last().map_or(0, |span| span.before + span.close - span.open)
    }

    /// Open milliseconds from the beginning of the stretch to `at`.
    fn open_before(&self, at: i64) -> i64 {
        match self.spans.partition_point(|span| span.open < at) {
            0 => 0,
            n => self.spans[n - 1].before + self.spans[n - 1].close.min(at) - self.spans[n - 1].open,
        }
    }

    /// The earliest instant with so much open time of the stretch before it. Rule T4.
    fn after_open(&self, open_ms: i64) -> i64 {
        let span = &self.spans[self.spans.partition_point(|span| span.before < open_ms) - 1];
        span.open + (open_ms - span.before)
    }

    fn is_open(&self, at: i64) -> bool {
        let begun = self.spans.partition_point(|span| span.open <= at);
        begun > 0 && at < self.spans[begun - 1].close
    }
}

/// Appends an interval that opens no earlier than those before it. Rule C1.
fn join(spans: &mut Vec<Span>, open: i64, close: i64) {
    let before = match spans.last_mut() {
        Some(last) if open <= last.close => return last.close = last.close.max(close),
        Some(last) => last.before + last.close - last.open,
        None => 0,
    };
    if open < close {
        spans.push(Span { open, close, before });
    }
}

/// Notes an interval's end for the date it begins on, which is none before those noted.
fn note(open_days: &mut Vec<OpenDay>, day: i64, close: i64) {
    match open_days.last_mut() {
        Some(last) if last.day == day => last.last_close = last.last_close.max(close),
        _ => open_days.push(OpenDay { day, last_close: close }),
    }
}

/// The instant of a boundary in local time: forward by the gap where it falls in one, the first
/// where it occurs twice. Rule C3.
fn boundary(zone: Tz, local: i64) -> i64 {
    match zone.offset_from_local_datetime(&naive(local)) {
        LocalResult::Single(offset) | LocalResult::Ambiguous(offset, _) => local - ms(offset),
        // On the clock as it went before the gap.
        LocalResult::None => local - gap(zone, local).map_or(0, |(_, offset_before)| offset_before),
    }
}

/// The instant at which a local date begins; where midnight falls in a gap, that of the gap.
fn begin(zone: Tz, day: i64) -> i64 {
    match gap(zone, day * DAY) {
        Some((begin, offset_before)) => begin - offset_before,
        None => boundary(zone, day * DAY),
    }
}

/// The gap a local time falls in: where it begins on the clock before it, and that clock's offset.
fn gap(zone: Tz, local: i64) -> Option<(i64, i64)> {
    let (begin, offset) = GapInfo::new(&naive(local), &zone)?.begin?;
    Some((begin.and_utc().timestamp_millis(), ms(offset)))
}

fn ms(offset: impl Offset) -> i64 {
    i64::from(offset.fix().local_minus_utc()) * 1000
}

/// The civil time so many milliseconds after that of the epoch.
fn naive(ms: i64) -> NaiveDateTime {
    DateTime::UNIX_EPOCH.naive_utc() + TimeDelta::milliseconds(ms)
}

fn day_of(date: NaiveDate) -> i64 {
    date.signed_duration_since(DateTime::UNIX_EPOCH.date_naive()).num_days()
}

/// Whether a fact can be dated then.
fn is_datable(date: &NaiveDate) -> bool {
    (0..=9999).contains(&date.year())
}

fn year_begin(year: i32) -> i64 {
    NaiveDate::from_yo_opt(year, 1).map_or(0, day_of)
}

fn near(at: Instant) -> i64 {
    at.millis().clamp(-FARTHEST, FARTHEST)
}

/// The number of an instant's stretch, and the instant relative to it.
fn split(at: i64) -> (i64, i64) {
    (at.div_euclid(STRETCH), at.rem_euclid(STRETCH))
}

fn joined(number: i64, at: i64) -> Instant {
    Instant::from_millis(number.saturating_mul(STRETCH)).plus(at)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Weekday};
    use chrono_tz::Tz;

    use super::{
        Calendar, DAY, Error, Holidays, Hours, Instant, STRETCH_DAYS, Source, Target, Week, year_begin,
    };

    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;
    const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

    fn minutes(clock: &str) -> u16 {
        let (hour, minute) = clock.split_once(':').unwrap();
        hour.parse::<u16>().unwrap() * 60 + minute.parse::<u16>().unwrap()
    }

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    /// Reads `America/New_York mon-fri 09:00-17:00 sun 10:00-12:00 holiday 2026-12-25
    /// 2026-12-24=09:00-12:00`.
    fn calendar(text: &str) -> Calendar {
        let mut words = text.split_whitespace();
        let zone = words.next().unwrap().parse().unwrap();
        let (mut week, mut holidays, mut days) = (Week::default(), Holidays::default(), 0..=0);
        for word in words {
            if let Ok(holiday) = word.parse() {
                holidays.add(holiday);
            } else if let Some((holiday, hours)) = word.split_once('=') {
                let (open, close) = hours.split_once('-').unwrap();
                holidays.add_hours(date(holiday), Hours::new(minutes(open), minutes(close)).unwrap());
            } else if let Some((open, close)) = word.split_once('-').filter(|_| word.contains(':')) {
                for day in days.clone() {
                    week.add(weekday(day), Hours::new(minutes(open), minutes(close)).unwrap());
                }
            } else if word != "holiday" {
                let index = |name: &str| WEEKDAYS.iter().position(|day| *day == name).unwrap();
                days = match word.split_once('-') {
                    Some((first, last)) => index(first)..=index(last),
                    None => index(word)..=index(word),
                };
            }
        }
        Calendar::with_holidays(zone, week, holidays).unwrap()
    }

    fn weekday(index: usize) -> Weekday {
        Weekday::try_from(index as u8).unwrap()
    }

    /// Reads `2026-12-25 09:00`, the first of two, in the calendar's zone; with a `Z`, in UTC.
    fn at(calendar: &Calendar, text: &str) -> Instant {
        let (zone, text) = match text.strip_suffix('Z') {
            Some(utc) => (Tz::UTC, utc),
            None => (calendar.inner.rules.zone, text),
        };
        let (day, clock) = text.split_once(' ').unwrap();
        let (hour, minute) = clock.split_once(':').unwrap();
        let time = NaiveTime::from_hms_opt(hour.parse().unwrap(), minute.parse().unwrap(), 0).unwrap();
        let local = zone.from_local_datetime(&NaiveDateTime::new(date(day), time)).earliest().unwrap();
        Instant::from_millis(local.timestamp_millis())
    }

    fn target(text: &str) -> Target {
        let number = |unit| text.strip_suffix(unit).and_then(|n| n.parse::<i64>().ok());
        match (number("bd"), number("bh"), number("bm"), number("h")) {
            (Some(days), ..) => Target::OpenDays(days as u32),
            (_, Some(hours), ..) => Target::Open(hours * HOUR),
            (.., Some(minutes), _) => Target::Open(minutes * MINUTE),
            (.., hours) => Target::Elapsed(hours.unwrap() * HOUR),
        }
    }

    /// Each row: start, target, due.
    fn check(calendar_text: &str, rows: &[(&str, &str, &str)]) {
        let calendar = calendar(calendar_text);
        for (start, within, due) in rows {
            let found = calendar.due(at(&calendar, start), target(within));
            assert_eq!(found, at(&calendar, due), "{calendar_text}: {start} + {within}");
        }
    }

    /// Each row: from, to, open minutes.
    fn check_counted(calendar_text: &str, rows: &[(&str, &str, i64)]) {
        let calendar = calendar(calendar_text);
        for (from, to, open_minutes) in rows {
            let found = calendar.counted(at(&calendar, from), at(&calendar, to));
            assert_eq!(found, open_minutes * MINUTE, "{calendar_text}: {from} to {to}");
        }
    }

    #[test]
    fn weekend_does_not_count() {
        check(
            "Europe/Berlin mon-fri 09:00-17:00",
            &[
                ("2026-03-06 16:30", "1bh", "2026-03-09 09:30"),
                ("2026-03-07 12:00", "10bm", "2026-03-09 09:10"),
                ("2026-03-06 16:30", "8h", "2026-03-07 00:30"),
                ("2026-03-06 16:30", "40bh", "2026-03-13 16:30"),
            ],
        );
    }

    #[test]
    fn a_deadline_on_closing_time_is_the_closing_time() {
        let office = "America/New_York mon-fri 09:00-12:00 13:00-17:00";
        check(
            office,
            &[
                ("2026-06-05 16:00", "1bh", "2026-06-05 17:00"),
                ("2026-06-05 12:30", "4bh", "2026-06-05 17:00"),
                ("2026-06-05 09:00", "3bh", "2026-06-05 12:00"),
                ("2026-06-05 17:00", "1bm", "2026-06-08 09:01"),
            ],
        );
        let office = calendar(office);
        assert!(!office.is_open(at(&office, "2026-06-05 17:00")));
        assert!(office.is_open(at(&office, "2026-06-05 09:00")));
        assert!(!office.is_open(at(&office, "2026-06-05 08:59")));
    }

    #[test]
    fn business_days_run_to_the_last_closing() {
        check(
            "Europe/Berlin mon-thu 08:00-12:00 13:00-18:00 fri 08:00-15:00 holiday 2026-05-25",
            &[
                ("2026-03-06 22:00", "1bd", "2026-03-09 18:00"),
                ("2026-03-07 10:00", "1bd", "2026-03-09 18:00"),
                ("2026-03-06 00:00", "1bd", "2026-03-09 18:00"),
                ("2026-03-05 09:00", "1bd", "2026-03-06 15:00"),
                ("2026-03-05 09:00", "7bd", "2026-03-16 18:00"),
                ("2026-05-22 16:00", "1bd", "2026-05-26 18:00"),
            ],
        );
    }

    #[test]
    fn a_day_counts_when_an_interval_begins_on_it() {
        // Friday's shift closes on Saturday; Saturday itself is no open day.
        let nights = "Europe/Berlin mon-fri 22:00-06:00";
        check(
            nights,
            &[
                ("2026-03-05 12:00", "1bd", "2026-03-07 06:00"),
                ("2026-03-06 12:00", "1bd", "2026-03-10 06:00"),
                ("2026-03-07 02:00", "1bd", "2026-03-10 06:00"),
            ],
        );
        // What a holiday leaves of its shift begins on the day after.
        let friday_off = format!("{nights} holiday 2026-03-06");
        check(
            &friday_off,
            &[
                ("2026-03-05 12:00", "1bd", "2026-03-07 06:00"),
                ("2026-03-04 12:00", "1bd", "2026-03-06 00:00"),
            ],
        );
        // Days that touch stay days.
        check("Europe/Berlin mon-sun 00:00-24:00", &[("2026-03-06 22:00", "2bd", "2026-03-09 00:00")]);
    }

    #[test]
    fn the_target_in_days_is_the_open_time_up_to_it() {
        let office = calendar("Europe/Berlin mon-fri 09:00-17:00");
        let target_ms = |start, text| office.target_ms(at(&office, start), target(text));
        assert_eq!(target_ms("2026-03-06 16:00", "1bd"), 9 * HOUR);
        assert_eq!(target_ms("2026-03-07 16:00", "1bd"), 8 * HOUR);
        assert_eq!(target_ms("2026-03-07 16:00", "3bh"), 3 * HOUR);
        assert_eq!(target_ms("2026-03-07 16:00", "3h"), 3 * HOUR);
    }

    #[test]
    fn a_holiday_removes_its_date_and_nothing_else() {
        // Wednesday is a holiday: Tuesday's night ends at midnight, Wednesday's begins there.
        check_counted(
            "Europe/Berlin mon-fri 22:00-06:00 holiday 2026-03-11",
            &[
                ("2026-03-10 12:00", "2026-03-11 12:00", 2 * 60),
                ("2026-03-11 12:00", "2026-03-12 12:00", 6 * 60),
                ("2026-03-11 00:00", "2026-03-12 00:00", 0),
                ("2026-03-12 12:00", "2026-03-13 12:00", 8 * 60),
            ],
        );
        check_counted(
            "Europe/Berlin mon-sun 09:00-09:00 holiday 2026-03-11 2026-03-12",
            &[("2026-03-10 00:00", "2026-03-14 00:00", 2 * 24 * 60)],
        );
    }

    #[test]
    fn a_holiday_has_its_own_hours_instead_of_its_weekdays() {
        // Christmas Eve is a Thursday.
        let eve = "Europe/Berlin mon-fri 09:00-17:00 2026-12-24=09:00-12:00 holiday 2026-12-25";
        check_counted(
            eve,
            &[
                ("2026-12-24 00:00", "2026-12-25 00:00", 3 * 60),
                ("2026-12-23 00:00", "2026-12-28 12:00", (8 + 3 + 3) * 60),
            ],
        );
        check(
            eve,
            &[
                ("2026-12-23 16:00", "4bh", "2026-12-24 12:00"),
                ("2026-12-24 12:00", "1bm", "2026-12-28 09:01"),
                ("2026-12-23 10:00", "1bd", "2026-12-24 12:00"),
                ("2026-12-23 10:00", "2bd", "2026-12-28 17:00"),
            ],
        );
        // Hours given twice add up, also on a date that has none in the week.
        check_counted(
            "UTC mon 09:00-17:00 2026-12-26=10:00-12:00 2026-12-26=11:00-13:00 2026-12-26=20:00-21:00",
            &[("2026-12-26 00:00", "2026-12-27 00:00", 4 * 60)],
        );
    }

    #[test]
    fn hours_of_a_holiday_run_past_midnight() {
        // The night before ends at midnight; the weekly one of the 24th keeps its part of the 25th.
        let nights = "Europe/Berlin mon-sun 22:00-06:00 2026-12-24=18:00-02:00";
        check_counted(
            nights,
            &[
                ("2026-12-23 12:00", "2026-12-24 12:00", 2 * 60),
                ("2026-12-24 12:00", "2026-12-25 00:00", 6 * 60),
                ("2026-12-25 00:00", "2026-12-25 12:00", 6 * 60),
                ("2026-12-25 12:00", "2026-12-26 12:00", 8 * 60),
            ],
        );
        check(nights, &[("2026-12-23 12:00", "1bd", "2026-12-25 02:00")]);
        // A holiday takes the tail of what began the day before, also of hours given to a date.
        let eve = "Europe/Berlin mon-fri 09:00-17:00 2026-12-24=18:00-02:00 holiday 2026-12-25";
        check_counted(eve, &[("2026-12-24 12:00", "2026-12-26 00:00", 6 * 60)]);
        // Around the clock and over a change of clocks: physical time.
        let day = "Europe/Berlin mon-fri 09:00-17:00 2026-10-25=00:00-24:00";
        check_counted(day, &[("2026-10-24 00:00", "2026-10-26 00:00", 25 * 60)]);
    }

    #[test]
    fn hours_of_a_date_the_zone_skips_or_no_fact_has_are_none() {
        check_counted(
            "Pacific/Apia mon-sun 09:00-17:00 2011-12-30=00:00-24:00",
            &[("2011-12-29 00:00", "2012-01-01 00:00", 16 * 60)],
        );
        let far = calendar("UTC mon 09:00-17:00 9999-12-31=09:00-10:00");
        assert_eq!(far.counted(at(&far, "9999-12-31 00:00"), at(&far, "+10000-01-02 00:00")), HOUR);
        let mut holidays = Holidays::default();
        holidays.add_hours(NaiveDate::MAX, Hours::new(0, 60).unwrap());
        let week = Week::default().with(Weekday::Mon, Hours::new(540, 1020).unwrap());
        let plain = Calendar::with_holidays(Tz::UTC, week, holidays).unwrap();
        assert_eq!(plain.inner.stretches.len(), calendar("UTC mon 09:00-17:00").inner.stretches.len());
    }

    #[test]
    fn it_says_when_it_opens_next() {
        let office = calendar("Europe/Berlin mon-fri 09:00-12:00 12:00-17:00 holiday 2026-03-09");
        for (asked, opens) in [
            ("2026-03-05 08:00", "2026-03-05 09:00"),
            ("2026-03-05 09:00", "2026-03-05 09:00"),
            ("2026-03-05 12:00", "2026-03-05 12:00"),
            ("2026-03-05 17:00", "2026-03-06 09:00"),
            ("2026-03-06 17:00", "2026-03-10 09:00"),
        ] {
            assert_eq!(office.opens_after(at(&office, asked)), Some(at(&office, opens)), "{asked}");
        }
        assert_eq!(office.opens_after(Instant::MAX), None);
    }

    /// From, to, and the closed intervals between.
    type ClosedRow<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

    fn check_closed(calendar_text: &str, rows: &[ClosedRow<'_>]) {
        let calendar = calendar(calendar_text);
        let at = |text: &str| at(&calendar, text);
        for (from, to, closed) in rows {
            let closed: Vec<_> = closed.iter().map(|(from, to)| (at(from), at(to))).collect();
            assert_eq!(calendar.closed_between(at(from), at(to)), closed, "{calendar_text}: {from} to {to}");
        }
    }

    #[test]
    fn it_says_when_it_is_closed() {
        check_closed(
            "Europe/Berlin mon-fri 09:00-12:00 13:00-17:00",
            &[
                (
                    "2026-03-06 11:00",
                    "2026-03-09 10:00",
                    &[("2026-03-06 12:00", "2026-03-06 13:00"), ("2026-03-06 17:00", "2026-03-09 09:00")],
                ),
                ("2026-03-06 12:15", "2026-03-06 12:30", &[("2026-03-06 12:15", "2026-03-06 12:30")]),
                ("2026-03-06 12:00", "2026-03-06 13:00", &[("2026-03-06 12:00", "2026-03-06 13:00")]),
                ("2026-03-06 17:00", "2026-03-07 00:00", &[("2026-03-06 17:00", "2026-03-07 00:00")]),
                ("2026-03-06 09:00", "2026-03-06 12:00", &[]),
                ("2026-03-06 12:30", "2026-03-06 12:30", &[]),
                ("2026-03-06 12:30", "2026-03-06 12:00", &[]),
            ],
        );
        // Stretches that touch leave no gap.
        check_closed("UTC mon-sun 00:00-24:00", &[("1990-01-01 00:00", "2026-01-01 00:00", &[])]);
    }

    #[test]
    fn the_list_of_closed_times_is_bounded() {
        for text in ["UTC mon-sun 09:00-17:00", "UTC mon-sun 00:00-24:00"] {
            let calendar = calendar(text);
            assert!(calendar.closed_between(Instant::MIN, Instant::MAX).len() <= super::LISTED_MAX);
            assert!(calendar.closed_between(Instant::MAX, Instant::MIN).is_empty());
        }
    }

    #[test]
    fn the_shortest_list_of_holidays_says_how_far_they_are_known() {
        let week = Week::default().with(Weekday::Mon, Hours::new(540, 1020).unwrap());
        let source = |name: &str, until| Source { name: name.to_string(), until: date(until) };
        let mut holidays: Holidays = [date("2030-01-01")].into_iter().collect();
        let plain = Calendar::with_holidays(Tz::UTC, week.clone(), holidays.clone()).unwrap();
        assert_eq!(plain.holidays_known_until(), None);
        holidays.add_source(source("NL", "2076-12-31"));
        holidays.add_source(source("holidays.ics", "2027-12-31"));
        let listed = Calendar::with_holidays(Tz::UTC, week, holidays).unwrap();
        assert_eq!(listed.holidays_known_until(), Some(date("2027-12-31")));
        assert_eq!(listed.sources()[0].name, "NL");
    }

    #[test]
    fn hours_may_overlap_and_wrap() {
        check_counted(
            "Europe/Berlin mon-sun 09:00-12:00 11:00-14:00 11:30-11:45 14:00-15:00",
            &[("2026-03-10 00:00", "2026-03-11 00:00", 6 * 60)],
        );
        check_counted(
            "Europe/Berlin mon 09:00-09:00 tue 08:00-10:00",
            &[("2026-03-09 00:00", "2026-03-16 00:00", 25 * 60)],
        );
        check_counted("Europe/Berlin sun 22:00-24:00", &[("2026-03-08 00:00", "2026-03-10 00:00", 2 * 60)]);
    }

    #[test]
    fn counted_time_is_physical() {
        let always = "Europe/Berlin mon-sun 00:00-24:00";
        check_counted(
            always,
            &[
                ("2026-10-25 00:00", "2026-10-26 00:00", 25 * 60),
                ("2026-03-29 00:00", "2026-03-30 00:00", 23 * 60),
            ],
        );
        check(
            always,
            &[
                ("2026-10-24 12:00", "24bh", "2026-10-25 11:00"),
                ("2026-10-24 12:00", "1bd", "2026-10-26 00:00"),
            ],
        );
    }

    #[test]
    fn around_the_clock_every_millisecond_counts_in_any_zone() {
        // Midnights in gaps and folds, dates skipped and repeated, offsets of odd seconds.
        let zones = "America/St_Johns America/Toronto America/Juneau Asia/Manila Pacific/Apia \
                     Pacific/Kwajalein Africa/Monrovia Africa/Casablanca Antarctica/Troll Europe/Dublin";
        for zone in zones.split_whitespace() {
            let always = calendar(&format!("{zone} mon-sun 00:00-24:00"));
            let (from, to) = (at(&always, "1700-01-01 00:00Z"), at(&always, "2300-01-01 00:00Z"));
            assert_eq!(always.counted(from, to), to.since(from), "{zone}");
            let spans = always.inner.stretches.iter().filter_map(|stretch| stretch.get());
            assert!(spans.clone().count() > 400 && spans.clone().all(|stretch| stretch.spans.len() == 1));
        }
    }

    #[test]
    fn a_boundary_in_a_gap_moves_forward_by_the_gap() {
        check_counted(
            "America/New_York sun 02:30-05:00",
            &[("2026-03-08 00:00", "2026-03-08 03:30", 0), ("2026-03-08 00:00", "2026-03-08 05:00", 90)],
        );
        // Half an hour of gap, from 02:00 to 02:30.
        check_counted(
            "Australia/Lord_Howe sun 02:15-05:00",
            &[("2025-10-05 00:00", "2025-10-05 02:45", 0), ("2025-10-05 00:00", "2025-10-05 05:00", 135)],
        );
        // 02:30 becomes 03:30, after the closing: empty, so Sunday is no open day.
        check(
            "America/New_York sun 02:30-03:00 mon 09:00-10:00",
            &[
                ("2026-03-07 12:00", "1bm", "2026-03-09 09:01"),
                ("2026-03-07 12:00", "1bd", "2026-03-09 10:00"),
            ],
        );
    }

    #[test]
    fn a_boundary_that_occurs_twice_means_the_first() {
        check_counted(
            "America/New_York sun 01:30-04:00",
            &[
                ("2026-11-01 05:00Z", "2026-11-01 12:00Z", 210),
                ("2026-11-01 05:00Z", "2026-11-01 06:00Z", 30),
            ],
        );
        check_counted(
            "America/New_York sun 00:00-01:30",
            &[("2026-11-01 04:00Z", "2026-11-01 12:00Z", 90), ("2026-11-01 05:30Z", "2026-11-01 12:00Z", 0)],
        );
    }

    #[test]
    fn a_date_the_zone_skips_has_no_hours() {
        // Apia went from the end of Thursday the 29th to Saturday the 31st.
        check_counted(
            "Pacific/Apia fri 09:00-17:00",
            &[("2011-12-26 00:00", "2012-01-03 00:00", 0), ("2012-01-03 00:00", "2012-01-10 00:00", 8 * 60)],
        );
        check("Pacific/Apia mon-sun 09:00-17:00", &[("2011-12-29 12:00", "1bd", "2011-12-31 17:00")]);
        // Thursday's night goes on for the hours it had.
        check("Pacific/Apia thu 22:00-06:00", &[("2011-12-29 12:00", "8bh", "2011-12-31 06:00")]);
        // A holiday that never was parts no night.
        check(
            "Pacific/Apia mon-sun 22:00-06:00 holiday 2011-12-30",
            &[("2011-12-28 23:00", "1bd", "2011-12-31 06:00")],
        );
    }

    #[test]
    fn a_holiday_begins_where_the_gap_over_its_midnight_does() {
        // The clocks of Sao Paulo went from midnight to one o'clock.
        check_counted(
            "America/Sao_Paulo mon-sun 22:00-06:00 holiday 2018-11-04",
            &[
                ("2018-11-03 12:00", "2018-11-04 12:00", 2 * 60),
                ("2018-11-04 12:00", "2018-11-05 12:00", 6 * 60),
            ],
        );
        check_counted(
            "America/Sao_Paulo mon-sun 22:00-06:00",
            &[("2018-11-03 12:00", "2018-11-04 12:00", 7 * 60)],
        );
    }

    #[test]
    fn without_hours_there_is_no_calendar() {
        let none = Calendar::new(Tz::UTC, Week::default(), BTreeSet::new());
        assert_eq!(none.err(), Some(Error::NoOpenTime));
        assert_eq!(Hours::new(24 * 60, 24 * 60), None);
        assert_eq!(Hours::new(0, 24 * 60 + 1), None);
    }

    #[test]
    fn ten_years_of_weekly_hours_bound_the_target() {
        let mondays = calendar("Europe/Berlin mon 09:00-10:00 mon 09:30-11:00");
        for (text, held) in [("1043bh", true), ("1044bh", false), ("521bd", true), ("522bd", false)] {
            assert_eq!(mondays.can_hold(target(text)), held, "{text}");
        }
        assert!(mondays.can_hold(Target::Elapsed(i64::MAX)));
        assert!(calendar("UTC mon-sun 00:00-24:00").can_hold(Target::Open(3652 * DAY)));
        assert!(!calendar("UTC mon-sun 00:00-24:00").can_hold(Target::Open(3652 * DAY + 1)));
    }

    #[test]
    fn years_of_holidays_are_stepped_over() {
        let from = date("2026-01-01");
        let holidays = (0..20_000).map(|day| from + TimeDelta::days(day)).collect();
        let week = Week::default().with(Weekday::Mon, Hours::new(540, 1020).unwrap());
        let closed = Calendar::new(Tz::Europe__Berlin, week, holidays).unwrap();
        let due = closed.due(at(&closed, "2026-06-01 12:00"), Target::Open(HOUR));
        assert_eq!(due, at(&closed, "2080-10-07 10:00"));
    }

    #[test]
    fn nothing_overflows_at_the_ends_of_time() {
        let targets = [
            Target::Open(1),
            Target::Open(i64::MAX),
            Target::OpenDays(1),
            Target::OpenDays(u32::MAX),
            Target::Elapsed(i64::MAX),
            Target::Open(0),
            Target::Open(i64::MIN),
            Target::OpenDays(0),
        ];
        let office = calendar("Asia/Kathmandu mon-fri 09:00-17:00");
        for start in [i64::MIN, i64::MIN / 4, -1, 0, i64::MAX / 4, i64::MAX].map(Instant::from_millis) {
            for target in targets {
                let _ = (office.due(start, target), office.target_ms(start, target));
            }
            let _ = (office.counted(Instant::MIN, start), office.is_open(start));
        }
        assert_eq!(office.due(Instant::from_millis(0), Target::Open(i64::MAX)), Instant::MAX);
        assert_eq!(office.counted(Instant::MAX, Instant::MIN), 0);
    }

    #[test]
    fn far_years_are_as_right_as_near_ones() {
        check(
            "America/New_York mon-fri 09:00-17:00 holiday 9998-01-01",
            &[
                ("9997-12-31 16:00", "2bh", "9998-01-02 10:00"),
                ("9997-12-31 16:00", "2bd", "9998-01-05 17:00"),
                ("9999-12-31 16:30", "1bh", "+10000-01-03 09:30"),
                ("1900-01-05 16:30", "1bh", "1900-01-08 09:30"),
                ("1700-01-01 16:30", "1bh", "1700-01-04 09:30"),
                ("0001-01-05 16:30", "1bd", "0001-01-08 17:00"),
            ],
        );
        check_counted(
            "Asia/Kolkata mon 09:00-17:00",
            &[("2000-01-03 00:00", "9999-01-04 00:00", 417_368 * 8 * 60)],
        );
    }

    #[test]
    fn stretches_taken_to_be_alike_are() {
        let office = calendar("Pacific/Auckland mon-fri 09:00-17:00 sat 22:00-06:00");
        let inner = &office.inner;
        let plain = |number: i64| {
            let stretch = inner.rules.stretch(number);
            let spans: Vec<_> = stretch.spans.iter().map(|s| (s.open, s.close, s.before)).collect();
            (spans, stretch.open_days.iter().map(|d| (d.day, d.last_close)).collect::<Vec<_>>())
        };
        for beyond in [1, 2, 7, 100, 1000] {
            assert_eq!(plain(inner.first), plain(inner.first - beyond));
            assert_eq!(plain(inner.last()), plain(inner.last() + beyond));
        }
    }

    #[test]
    fn no_zone_changes_its_offset_before_1800_or_after_2100() {
        for zone in chrono_tz::TZ_VARIANTS {
            let offset = |day: i64| super::ms(zone.offset_from_utc_datetime(&super::naive(day * DAY)));
            let (early, late) = (year_begin(1800), year_begin(2101));
            let span = 200 * 366;
            assert!((0..span).step_by(20).all(|n| offset(early - n) == offset(early)), "{zone}");
            assert!((0..span).step_by(20).all(|n| offset(late + n) == offset(late)), "{zone}");
        }
    }

    #[test]
    fn a_stretch_is_whole_weeks() {
        assert_eq!(STRETCH_DAYS % 7, 0);
        let week = Week::default().with(date("2026-03-11").weekday(), Hours::new(0, 60).unwrap());
        assert_eq!(week.of(super::day_of(date("2026-03-11"))).len(), 1);
    }
}
