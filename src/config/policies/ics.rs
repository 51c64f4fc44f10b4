//! Reads the whole-day events of an iCalendar file as holidays.
//!
//! An event that recurs is followed to the end of 2100; one with a time of day, whose hours would
//! otherwise be lost in silence, is refused by name, as is everything else that is not understood.
//! Whether an event shows its owner as busy or free makes no difference.

use std::collections::BTreeSet;

use chrono::{NaiveDate, NaiveTime};
use icalendar::parser::{Component, Property, read_calendar_simple, unfold};
use rrule::{RRule, RRuleSet, Tz, Unvalidated};

use super::files::Library;
use super::holidays::end_of_year;
use crate::config::cursor::Cursor;
use crate::config::problem::Place;
use crate::sla::calendar::{Holidays, Source};

/// Largest file, in bytes.
const FILE_BYTES_MAX: usize = 8 << 20;
/// Most events of a file.
const EVENTS_MAX: usize = 10_000;
/// Longest event, in days.
const EVENT_DAYS_MAX: i64 = 366;
/// Most dates that the events of a file name, each as often as it is named.
const DATES_MAX: usize = 1_000_000;
/// Deepest nesting of components; a file of holidays needs two or three.
const DEPTH_MAX: usize = 16;
/// The last year that events without an end recur in.
const LAST_YEAR: i32 = 2100;

/// The dates that a file lists, and the last one of which it says something.
struct Listed {
    dates: BTreeSet<NaiveDate>,
    until: NaiveDate,
}

/// What is wrong, and on which line.
#[derive(Debug)]
struct Fault {
    line: u32,
    message: String,
}

/// Adds the holidays of the file that is named.
pub(super) fn read(named: &Cursor<'_>, library: &Library<'_>, all: &mut Holidays) -> Option<()> {
    let name = named.text()?;
    let text = match library.text(name) {
        Ok(text) => text,
        Err(message) => return named.refuse(format!("`{name}` {message}")),
    };
    match listed(&text) {
        Ok(Listed { dates, until }) => {
            dates.into_iter().for_each(|date| all.add(date));
            all.add_source(Source { name: name.to_string(), until });
            Some(())
        }
        Err(faults) => {
            let file = named.report.file(name, &text);
            for Fault { line, message } in faults {
                named.report.add(Place { line, ..file }, &named.path, &message);
            }
            None
        }
    }
}

fn listed(text: &str) -> Result<Listed, Vec<Fault>> {
    if text.len() > FILE_BYTES_MAX {
        return Err(vec![Fault { line: 1, message: "is larger than 8 MiB".to_string() }]);
    }
    let lines = Lines::of(text);
    let calendar = lines.parse().map_err(|fault| vec![fault])?;
    let events = lines.events(&calendar).map_err(|fault| vec![fault])?;
    dates_of(&events)
}

/// A file as one line a property, in which the lines written are found again.
struct Lines {
    unfolded: String,
    /// The line written, from 1, with which each of the unfolded begins.
    written: Vec<u32>,
}

impl Lines {
    fn of(text: &str) -> Lines {
        let text = text.trim_start_matches('\u{feff}').trim_end();
        // The parser looks for this ending first, through the rest of the file where there is none.
        let text = text.replace("\r\n", "\n").replace('\n', "\r\n");
        let begins = text.lines().zip(1..).filter(|(line, _)| !line.starts_with([' ', '\t']));
        Lines { written: begins.map(|(_, number)| number).collect(), unfolded: unfold(&text) }
    }

    /// The line written of a byte of the unfolded text.
    fn line_at(&self, byte: usize) -> u32 {
        let index = self.unfolded.as_bytes()[..byte].iter().filter(|byte| **byte == b'\n').count();
        self.written.get(index).copied().unwrap_or(1)
    }

    fn parse(&self) -> Result<Component<'_>, Fault> {
        self.check_depth()?;
        let components = read_calendar_simple(&self.unfolded).map_err(|error| {
            let line = self.line_at(self.unfolded.len() - error.input.len());
            Fault { line, message: "is not understood as iCalendar from here on".to_string() }
        })?;
        let calendar = components.into_iter().next().filter(|first| is(first, "VCALENDAR"));
        calendar.ok_or_else(|| Fault { line: 1, message: "must begin with `BEGIN:VCALENDAR`".to_string() })
    }

    /// Refuses what would nest the parser too deeply.
    fn check_depth(&self) -> Result<(), Fault> {
        let mut depth = 0_usize;
        for (line, number) in self.unfolded.lines().zip(&self.written) {
            if starts_with(line, "BEGIN:") {
                depth += 1;
            } else if starts_with(line, "END:") {
                depth = depth.saturating_sub(1);
            }
            if depth > DEPTH_MAX {
                return Err(Fault { line: *number, message: "is nested too deeply".to_string() });
            }
        }
        Ok(())
    }

    fn events<'a>(&self, calendar: &'a Component<'a>) -> Result<Vec<Event<'a>>, Fault> {
        let begins = self.unfolded.lines().zip(&self.written);
        let begins = begins.filter(|(line, _)| line.trim_end().eq_ignore_ascii_case("BEGIN:VEVENT"));
        let components = calendar.components.iter().filter(|component| is(component, "VEVENT"));
        let event = |(component, (_, line)): (&'a Component<'a>, (&str, &u32))| Event {
            line: *line,
            properties: &component.properties,
        };
        let events: Vec<_> = components.zip(begins).map(event).collect();
        match events.len() {
            0 => Err(Fault { line: 1, message: "holds no events".to_string() }),
            count if count > EVENTS_MAX => {
                Err(Fault { line: 1, message: format!("must hold at most {EVENTS_MAX} events") })
            }
            _ => Ok(events),
        }
    }
}

fn is(component: &Component<'_>, name: &str) -> bool {
    component.name.as_str().eq_ignore_ascii_case(name)
}

fn starts_with(line: &str, prefix: &str) -> bool {
    line.as_bytes().get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
}

/// The dates of all events, or what is wrong with each.
fn dates_of(events: &[Event<'_>]) -> Result<Listed, Vec<Fault>> {
    let (mut faults, mut dates, mut named) = (Vec::new(), BTreeSet::new(), 0);
    let mut listed_until = None;
    let moved: BTreeSet<_> = events.iter().filter_map(Event::replaces).collect();
    for event in events {
        match event.dates(&moved) {
            Ok(found) => {
                named += found.len();
                // One that recurs for ever says nothing of how far the others are listed.
                listed_until = listed_until.max(found.last().copied().filter(|_| !event.is_endless()));
                dates.extend(found);
            }
            Err(message) => faults.push(event.fault(&message)),
        }
        if named > DATES_MAX {
            return Err(vec![event.fault(&format!("and those before it name more than {DATES_MAX} dates"))]);
        }
    }
    let until = listed_until.and_then(end_of_year).unwrap_or_else(last_day);
    if faults.is_empty() { Ok(Listed { dates, until }) } else { Err(faults) }
}

/// The last day that events without an end recur on.
fn last_day() -> NaiveDate {
    NaiveDate::from_ymd_opt(LAST_YEAR, 12, 31).unwrap_or(NaiveDate::MAX)
}

/// One event of the file.
struct Event<'a> {
    line: u32,
    properties: &'a [Property<'a>],
}

impl<'a> Event<'a> {
    fn all(&self, name: &'static str) -> impl Iterator<Item = &'a Property<'a>> + use<'a> {
        self.properties.iter().filter(move |property| property.name.as_str().eq_ignore_ascii_case(name))
    }

    fn get(&self, name: &'static str) -> Option<&'a Property<'a>> {
        self.all(name).next()
    }

    fn fault(&self, message: &str) -> Fault {
        let name = self.get("SUMMARY").or_else(|| self.get("UID")).map(|name| name.val.as_str().trim());
        let name = name.filter(|name| !name.is_empty()).unwrap_or("without a name");
        Fault { line: self.line, message: format!("event `{name}` {message}") }
    }

    fn uid(&self) -> &'a str {
        self.get("UID").map_or("", |uid| uid.val.as_str())
    }

    /// The day of a recurring event that this one stands in for.
    fn replaces(&self) -> Option<(&'a str, NaiveDate)> {
        let replaced = self.get("RECURRENCE-ID")?;
        Some((self.uid(), whole_day(replaced).ok()?))
    }

    fn is_endless(&self) -> bool {
        let ends = |rule: &Property<'_>| {
            let rule = rule.val.as_str().to_uppercase();
            rule.contains("COUNT=") || rule.contains("UNTIL=")
        };
        self.all("RRULE").any(|rule| !ends(rule))
    }

    /// Every date of it, in order; the days of recurring events that others replace are not its own.
    fn dates(&self, moved: &BTreeSet<(&str, NaiveDate)>) -> Result<Vec<NaiveDate>, String> {
        if self.get("STATUS").is_some_and(|status| status.val.as_str().eq_ignore_ascii_case("CANCELLED")) {
            return Ok(Vec::new());
        }
        let first = whole_day(self.get("DTSTART").ok_or("has no `DTSTART`")?)?;
        let days = self.days(first)?;
        let mut starts = self.starts(first)?;
        if self.get("RECURRENCE-ID").is_none() {
            starts.retain(|start| !moved.contains(&(self.uid(), *start)));
        }
        let dates: BTreeSet<_> =
            starts.iter().flat_map(|start| start.iter_days().take(days as usize)).collect();
        Ok(dates.into_iter().collect())
    }

    /// How many days each of its occurrences takes.
    fn days(&self, first: NaiveDate) -> Result<i64, String> {
        let days = match (self.get("DTEND"), self.get("DURATION")) {
            // Its last day is the one before, though some write that day itself.
            (Some(end), _) => match whole_day(end)?.signed_duration_since(first).num_days() {
                0 if !self.has_time() => 1,
                days => days,
            },
            (None, Some(duration)) => whole_days(duration.val.as_str().trim()).ok_or_else(|| {
                format!("lasts `{}`; only whole days can be holidays", duration.val.as_str())
            })?,
            (None, None) if self.has_time() => 0,
            (None, None) => 1,
        };
        match days {
            ..0 => Err("ends before it begins".to_string()),
            0 => Err("has a time of day and no end; only whole days can be holidays".to_string()),
            1..=EVENT_DAYS_MAX => Ok(days),
            _ => Err(format!("lasts {days} days; at most {EVENT_DAYS_MAX} are allowed")),
        }
    }

    /// Whether its begin is written with a time of day, if only midnight.
    fn has_time(&self) -> bool {
        self.get("DTSTART").is_some_and(|start| start.val.as_str().contains('T'))
    }

    /// The first days of its occurrences.
    fn starts(&self, first: NaiveDate) -> Result<BTreeSet<NaiveDate>, String> {
        if self.get("EXRULE").is_some() {
            return Err("has an `EXRULE`, which is not supported".to_string());
        }
        let mut starts = BTreeSet::from([first]);
        for rule in self.all("RRULE") {
            starts.extend(recurrences(first, rule.val.as_str())?);
        }
        for date in self.listed("RDATE") {
            starts.insert(date?);
        }
        for date in self.listed("EXDATE") {
            starts.remove(&date?);
        }
        Ok(starts)
    }

    fn listed(&self, name: &'static str) -> impl Iterator<Item = Result<NaiveDate, String>> {
        let dates = self.all(name).flat_map(|property| property.val.as_str().split(','));
        dates.map(move |date| whole_day_of(name, date))
    }
}

fn whole_day(property: &Property<'_>) -> Result<NaiveDate, String> {
    whole_day_of(property.name.as_str(), property.val.as_str())
}

/// Reads `20261225`, and midnight of whatever the event's time zone is.
fn whole_day_of(name: &str, written: &str) -> Result<NaiveDate, String> {
    let written = written.trim();
    let date = written.strip_suffix("T000000").unwrap_or(written);
    let digits = date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit());
    match NaiveDate::parse_from_str(date, "%Y%m%d") {
        Ok(date) if digits => Ok(date),
        _ if written.contains('T') => {
            Err(format!("has a time of day, `{name}:{written}`; only whole days can be holidays"))
        }
        _ => Err(format!("has `{name}:{written}`, which is no date")),
    }
}

/// The days of `P3D` or `P2W`.
fn whole_days(duration: &str) -> Option<i64> {
    let written = duration.strip_prefix('+').unwrap_or(duration).strip_prefix('P')?;
    let written = written.strip_suffix("T0H0M0S").unwrap_or(written);
    let number = |digits: &str| match digits.len() <= 4 && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => digits.parse::<i64>().ok(),
        false => None,
    };
    match (written.strip_suffix('D'), written.strip_suffix('W')) {
        (Some(days), _) => number(days),
        (_, Some(weeks)) => number(weeks).map(|weeks| weeks * 7),
        _ => None,
    }
}

/// The days on which an event that begins on `first` recurs, up to the last year.
fn recurrences(first: NaiveDate, rule: &str) -> Result<Vec<NaiveDate>, String> {
    let fault = |why: &str| format!("recurs by `{rule}`, {why}");
    let midnight = |date: NaiveDate| date.and_time(NaiveTime::MIN).and_utc().with_timezone(&Tz::UTC);
    let written = rule_in_utc(rule);
    let by_the_day = ["YEARLY", "MONTHLY", "WEEKLY", "DAILY"].map(|every| format!("FREQ={every}"));
    let of_hours = ["BYHOUR=", "BYMINUTE=", "BYSECOND="];
    let daily = written.split(';').any(|part| by_the_day.iter().any(|every| part == every));
    if !daily || of_hours.iter().any(|part| written.contains(part)) {
        return Err(fault("which is not by the day, week, month or year"));
    }
    if !rule.is_ascii() {
        return Err(fault("which is not in ASCII"));
    }
    let parsed = written.parse::<RRule<Unvalidated>>().and_then(|rule| rule.validate(midnight(first)));
    let parsed = parsed.map_err(|error| fault(&error.to_string()))?;
    let found = RRuleSet::new(midnight(first)).rrule(parsed).before(midnight(last_day())).all(u16::MAX);
    if found.limited {
        return Err(fault("which is more often than can be followed"));
    }
    Ok(found.dates.into_iter().map(|date| date.date_naive()).collect())
}

/// The rule with its last instant as the end of that day in UTC, in which days are reckoned here.
fn rule_in_utc(rule: &str) -> String {
    let part = |part: &str| match part.strip_prefix("UNTIL=").and_then(|until| until.get(..8)) {
        Some(date) => format!("UNTIL={date}T235959Z"),
        None => part.to_string(),
    };
    rule.trim()
        .to_uppercase()
        .split(';')
        .filter(|part| !part.is_empty())
        .map(part)
        .collect::<Vec<_>>()
        .join(";")
}

#[cfg(test)]
mod tests {
    use super::{Lines, listed};

    /// A file of events, each of these lines besides what every event has.
    fn file(events: &[&str]) -> String {
        let event =
            |event: &&str| format!("BEGIN:VEVENT\r\nUID:x\r\n{}\r\nEND:VEVENT", event.replace('\n', "\r\n"));
        let events: Vec<_> = events.iter().map(event).collect();
        format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{}\r\nEND:VCALENDAR\r\n", events.join("\r\n"))
    }

    fn dates_in(text: &str) -> String {
        let listed = listed(text).unwrap_or_else(|faults| panic!("{faults:?}\nin:\n{text}"));
        let dates: Vec<_> = listed.dates.iter().take(12).map(ToString::to_string).collect();
        dates.join(" ")
    }

    fn check(event: &str, dates: &str) {
        assert_eq!(dates_in(&file(&[event])), dates, "{event}");
    }

    fn check_refused(event: &str, said: &str) {
        let text = file(&["DTSTART:20260101", &format!("SUMMARY:Fête\n{event}")]);
        let faults = listed(&text).err().unwrap_or_else(|| panic!("read: {event}"));
        let (line, message) = (faults[0].line, &faults[0].message);
        assert!(line == 7 && *message == format!("event `Fête` {said}"), "{event}: {line}: {message}");
    }

    #[test]
    fn whole_days_are_read_however_they_are_written() {
        check("DTSTART;VALUE=DATE:20261225", "2026-12-25");
        check("DTSTART:20261225\nDTEND:20261225", "2026-12-25");
        check("DTSTART;VALUE=DATE:20261225\nDTEND;VALUE=DATE:20261227", "2026-12-25 2026-12-26");
        check("DTSTART;VALUE=DATE:20261231\nDURATION:P2D", "2026-12-31 2027-01-01");
        check("DTSTART;VALUE=DATE:20261231\nDURATION:P1DT0H0M0S", "2026-12-31");
        check("dtstart;value=date:20261225\nTRANSP:TRANSPARENT", "2026-12-25");
        let zone = "TZID=Europe/Berlin";
        check(&format!("DTSTART;{zone}:20261225T000000\nDTEND;{zone}:20261226T000000"), "2026-12-25");
        check("DTSTART:20261225\nSTATUS:CANCELLED", "");
        let alarm = "BEGIN:VALARM\nTRIGGER:-PT15M\nACTION:DISPLAY\nEND:VALARM";
        check(&format!("DTSTART:20261225\n{alarm}\nDESCRIPTION:BEGIN:VEVENT"), "2026-12-25");
    }

    #[test]
    fn recurring_days_are_followed() {
        check("DTSTART:20260501\nRRULE:FREQ=YEARLY;COUNT=3", "2026-05-01 2027-05-01 2028-05-01");
        check("DTSTART:20260501\nRRULE:FREQ=YEARLY;UNTIL=20270501", "2026-05-01 2027-05-01");
        check("DTSTART:20260501\nRRULE:FREQ=YEARLY;UNTIL=20270501T000000Z", "2026-05-01 2027-05-01");
        check("DTSTART:20260501\nRRULE:FREQ=YEARLY;UNTIL=20270430", "2026-05-01");
        check("DTSTART:20240229\nRRULE:FREQ=YEARLY;COUNT=2", "2024-02-29 2028-02-29");
        // Thanksgiving and the day after.
        check(
            "DTSTART:20261126\nDURATION:P2D\nRRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=4TH;COUNT=2",
            "2026-11-26 2026-11-27 2027-11-25 2027-11-26",
        );
        check(
            "DTSTART:20260501\nRRULE:FREQ=YEARLY;COUNT=3\nEXDATE;VALUE=DATE:20270501",
            "2026-05-01 2028-05-01",
        );
        check("DTSTART:20260501\nRDATE;VALUE=DATE:20260601,20260701", "2026-05-01 2026-06-01 2026-07-01");
        let endless = listed(&file(&["DTSTART:19700101\nRRULE:FREQ=YEARLY"])).expect("a good file");
        assert_eq!(endless.dates.len(), 131);
    }

    #[test]
    fn a_day_that_was_moved_is_not_where_it_was() {
        let text = file(&[
            "DTSTART:20260501\nRRULE:FREQ=YEARLY;COUNT=3",
            "DTSTART:20270503\nRECURRENCE-ID:20270501",
            "DTSTART:20280501\nRECURRENCE-ID:20280501\nSTATUS:CANCELLED",
        ]);
        assert_eq!(dates_in(&text), "2026-05-01 2027-05-03");
    }

    #[test]
    fn it_is_known_how_far_a_file_reaches() {
        let until = |events: &[&str]| listed(&file(events)).expect("a good file").until.to_string();
        let (christmas, easter) = ("DTSTART:20201225\nRRULE:FREQ=YEARLY", "DTSTART:20270326\nUID:easter");
        assert_eq!(until(&[easter]), "2027-12-31");
        assert_eq!(until(&[christmas, easter]), "2027-12-31");
        assert_eq!(until(&[christmas]), "2100-12-31");
    }

    #[test]
    fn what_is_no_whole_day_is_refused_with_its_name_and_line() {
        let whole = "only whole days can be holidays";
        check_refused(
            "DTSTART:20261224T140000Z\nDTEND:20261224T180000Z",
            &format!("has a time of day, `DTSTART:20261224T140000Z`; {whole}"),
        );
        check_refused(
            "DTSTART:20261224T000000Z\nDTEND:20261225T000000Z",
            &format!("has a time of day, `DTSTART:20261224T000000Z`; {whole}"),
        );
        check_refused("DTSTART:20261224T000000", &format!("has a time of day and no end; {whole}"));
        check_refused("DTSTART:20261224\nDURATION:PT8H", &format!("lasts `PT8H`; {whole}"));
        check_refused("DTSTART:20261224\nDTEND:20261223", "ends before it begins");
        check_refused("DTSTART:20261224\nDTEND:20281224", "lasts 731 days; at most 366 are allowed");
        check_refused("DTSTART:20261324", "has `DTSTART:20261324`, which is no date");
        check_refused("DTSTART:+2026122", "has `DTSTART:+2026122`, which is no date");
        check_refused("LOCATION:here", "has no `DTSTART`");
        check_refused("DTSTART:20261224\nEXRULE:FREQ=YEARLY", "has an `EXRULE`, which is not supported");
        for rule in ["FREQ=HOURLY", "FREQ=DAILY;BYHOUR=9", "COUNT=3", ""] {
            check_refused(
                &format!("DTSTART:20261224\nRRULE:{rule}"),
                &format!("recurs by `{rule}`, which is not by the day, week, month or year"),
            );
        }
        let foreign = "FREQ=YEARLY;BYMONTH=11;BYDAY=é1";
        let said = format!("recurs by `{foreign}`, which is not in ASCII");
        check_refused(&format!("DTSTART:20261224\nRRULE:{foreign}"), &said);
        check_refused(
            "DTSTART:18000101\nRRULE:FREQ=DAILY",
            "recurs by `FREQ=DAILY`, which is more often than can be followed",
        );
    }

    #[test]
    fn every_bad_event_is_named() {
        let faults =
            listed(&file(&["DTSTART:1", "DTSTART:20260101", "DTSTART:2"])).err().expect("two faults");
        assert_eq!(faults.iter().map(|fault| fault.line).collect::<Vec<_>>(), [3, 11]);
    }

    #[test]
    fn what_is_no_calendar_is_refused() {
        let check = |text: &str, line: u32, said: &str| {
            let fault = listed(text).err().expect("a fault").remove(0);
            assert_eq!((fault.line, fault.message.as_str()), (line, said), "{text}");
        };
        check("", 1, "is not understood as iCalendar from here on");
        check("2026-12-25\n", 1, "is not understood as iCalendar from here on");
        check("BEGIN:VCARD\nEND:VCARD\n", 1, "must begin with `BEGIN:VCALENDAR`");
        check(&file(&[]), 1, "holds no events");
        let whole = file(&["DTSTART:20261225"]);
        let cut = whole.find("END:VCALENDAR").expect("an end");
        assert!(listed(&whole[..cut]).is_err(), "a file that was cut off");
        check(&"BEGIN:A\n".repeat(100_000), 17, "is nested too deeply");
        check(&"x".repeat(super::FILE_BYTES_MAX + 1), 1, "is larger than 8 MiB");
        check(&file(&vec!["DTSTART:20261225"; 10_001]), 1, "must hold at most 10000 events");
        let often = vec!["DTSTART:20000101\nRRULE:FREQ=DAILY"; 30];
        assert!(
            listed(&file(&often)).err().expect("too many")[0].message.ends_with("more than 1000000 dates")
        );
    }

    #[test]
    fn lines_may_be_folded_and_end_either_way() {
        let text = "\u{feff}BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:Christ\n mas\nDTSTART;VALUE=\n DATE:202612\n 25\n\
                    END:VEVENT\nBEGIN:VEVENT\nSUMMARY:Christ\n mas\nDTSTART:x\nEND:VEVENT\nEND:VCALENDAR";
        let (one, _) = text.split_once("BEGIN:VEVENT\nSUMMARY:Christ\n mas\nDTSTART:x").expect("two events");
        for (text, one) in [text.to_string(), text.replace('\n', "\r\n")]
            .iter()
            .zip([one.to_string(), one.replace('\n', "\r\n")])
        {
            assert_eq!(dates_in(&format!("{one}END:VCALENDAR")), "2026-12-25");
            let fault = listed(text).err().expect("a bad event").remove(0);
            assert_eq!(fault.line, 9);
            assert_eq!(fault.message, "event `Christmas` has `DTSTART:x`, which is no date");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_damage_to_a_file_makes_it_panic(
            (at, cut) in (0_usize..400, 0_usize..20),
            put in "([ -~\\n]|BEGIN:|END:|RRULE:|FREQ=|UNTIL=|\\r\\n|é){0,6}",
        ) {
            let rule = "RRULE:FREQ=YEARLY;INTERVAL=2;BYMONTH=11;BYDAY=-1TH;UNTIL=20500101\nEXDATE:20281130";
            let mut text = file(&["DTSTART:20261225\nDURATION:P2D", &format!("DTSTART;VALUE=DATE:20261126\n{rule}")]);
            let at = at.min(text.len() - 1);
            text.replace_range(at..(at + cut).min(text.len()), &put);
            let _ = listed(&text);
            let _ = Lines::of(&text).line_at(at.min(Lines::of(&text).unfolded.len()));
        }
    }
}
