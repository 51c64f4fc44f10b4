//! Reads holidays: dates, ranges, dates with hours, countries and iCalendar files. Rule C2.
//!
//! The public holidays of a country are those that `opening-hours` carries, from the data of
//! Nager.Date: of 122 countries, from 2000 to 2076, only those kept in the whole country. What a
//! part of a country keeps besides must be given as dates or as an iCalendar file; nothing is
//! fetched from anywhere.

use chrono::{Datelike, NaiveDate};
use opening_hours::localization::Country;

use super::calendars;
use super::files::Library;
use super::ics;
use crate::config::cursor::{Cursor, Fields};
use crate::config::problem::{did_you_mean, listed};
use crate::config::tree::Value;
use crate::sla::calendar::{Holidays, Source};

/// Longest range of dates: ten years.
const RANGE_DAYS_MAX: i64 = 3653;

/// Names by which countries go that their codes do not show.
const COUNTRY_ALIASES: [(&str, Country); 4] =
    [("UK", Country::GB), ("England", Country::GB), ("Britain", Country::GB), ("America", Country::US)];

/// Reads a list of holidays, or a single one.
pub(super) fn read(holidays: &Cursor<'_>, library: &Library<'_>) -> Option<Holidays> {
    let mut all = Holidays::default();
    let read: Vec<_> =
        holidays.items_or_one().iter().map(|holiday| one(holiday, library, &mut all)).collect();
    read.into_iter().collect::<Option<Vec<()>>>().map(|_| all)
}

fn one(holiday: &Cursor<'_>, library: &Library<'_>, all: &mut Holidays) -> Option<()> {
    if let Value::Map(_) = holiday.node.value {
        return described(holiday, library, all);
    }
    let text = holiday.text()?;
    if text.to_lowercase().ends_with(".ics") {
        return ics::read(holiday, library, all);
    }
    dates(holiday)?.for_each(|date| all.add(date));
    Some(())
}

/// Reads a holiday written as a map.
fn described(holiday: &Cursor<'_>, library: &Library<'_>, all: &mut Holidays) -> Option<()> {
    let fields = holiday.fields(&["date", "hours", "country", "subdivision", "ics"], &[])?;
    let given: Vec<_> = ["date", "country", "ics"].into_iter().filter_map(|name| fields.get(name)).collect();
    match given[..] {
        [] if fields.refused => None,
        [one] => {
            only_beside(&fields, "hours", "date")?;
            only_beside(&fields, "subdivision", "country")?;
            match one.path.rsplit('.').next() {
                Some("date") => dated(one, fields.get("hours"), all),
                Some("country") => country(one, fields.get("subdivision"), all),
                _ => ics::read(one, library, all),
            }
        }
        _ => holiday.refuse("must have one of `date`, `country`, `ics`"),
    }
}

/// Refuses `field` where what it belongs to is not given.
fn only_beside(fields: &Fields<'_>, field: &str, beside: &str) -> Option<()> {
    match fields.get(field) {
        Some(given) if fields.get(beside).is_none() => {
            given.key_problem(format!("only goes with `{beside}`"));
            None
        }
        _ => Some(()),
    }
}

/// Adds dates with their hours; with none they are holidays like any other.
fn dated(date: &Cursor<'_>, hours: Option<&Cursor<'_>>, all: &mut Holidays) -> Option<()> {
    let dates = dates(date);
    let read: Vec<_> =
        hours.map(Cursor::items_or_one).unwrap_or_default().iter().map(calendars::range).collect();
    let hours: Vec<_> = read.into_iter().collect::<Option<_>>()?;
    for date in dates? {
        all.add(date);
        hours.iter().for_each(|hours| all.add_hours(date, *hours));
    }
    Some(())
}

/// Reads `2026-12-25`, or `2026-08-01/2026-08-14` with both ends.
fn dates(written: &Cursor<'_>) -> Option<impl Iterator<Item = NaiveDate> + use<>> {
    let text = written.text()?;
    let (first, last) = text.split_once('/').unwrap_or((text, text));
    let (Some(first), Some(last)) = (date(first.trim()), date(last.trim())) else {
        return written.refuse(format!(
            "`{text}` must be a date such as `2026-12-25`, a range such as `2026-08-01/2026-08-14` or an iCalendar \
             file such as `holidays.ics`"
        ));
    };
    let days = last.signed_duration_since(first).num_days();
    if days < 0 {
        return written.refuse(format!("must not end before it begins: `{last}` is before `{first}`"));
    }
    if days >= RANGE_DAYS_MAX {
        return written.refuse("must be ten years at most");
    }
    Some(first.iter_days().take_while(move |date| *date <= last))
}

/// Reads `YYYY-MM-DD` and nothing like it.
fn date(text: &str) -> Option<NaiveDate> {
    let shape = text.bytes().map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
    text.parse().ok().filter(|_| shape.eq(*b"0000-00-00"))
}

/// Adds the public holidays of a country.
fn country(written: &Cursor<'_>, subdivision: Option<&Cursor<'_>>, all: &mut Holidays) -> Option<()> {
    // Not `text`, so that whatever becomes of a bare `NO` in YAML, it is Norway here.
    let text = written.written()?;
    if let Some(subdivision) = subdivision {
        subdivision.key_problem(
            "the holidays of parts of a country are not known, only those of the whole: give the others as dates or \
             as an iCalendar file besides",
        );
        return None;
    }
    match text.to_uppercase().parse::<Country>() {
        Ok(country) => {
            add_country(country, all);
            Some(())
        }
        Err(_) => written.refuse(unknown_country(text)),
    }
}

fn add_country(country: Country, all: &mut Holidays) {
    let holidays = country.holidays();
    let mut last = None;
    for date in holidays.get_public().iter() {
        all.add(date);
        last = last.max(Some(date));
    }
    let until = last.and_then(end_of_year).unwrap_or_default();
    all.add_source(Source { name: country.iso_code().to_string(), until });
}

/// The last day of a date's year; lists of holidays are made for whole years.
pub(super) fn end_of_year(date: NaiveDate) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(date.year(), 12, 31)
}

fn unknown_country(text: &str) -> String {
    format!(
        "the holidays of `{text}` are not known{}: give the code of another country, such as `NL`, or dates or an \
         iCalendar file",
        near_countries(text)
    )
}

/// The country that is meant, or the codes that begin like the one written.
fn near_countries(text: &str) -> String {
    if let Some(country) = named(text) {
        return format!(", did you mean `{}` ({})?", country.iso_code(), country.name());
    }
    let initial = text.to_uppercase().chars().next();
    let codes = Country::ALL.iter().map(|country| country.iso_code());
    let near: Vec<_> = codes.filter(|code| text.len() == 2 && code.chars().next() == initial).collect();
    if near.is_empty() { String::new() } else { format!(", near it are {}", listed(near)) }
}

/// The country whose name or alias is near.
fn named(text: &str) -> Option<Country> {
    let alias = COUNTRY_ALIASES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    alias.map(|(_, country)| *country).or_else(|| {
        let mut countries = Country::ALL.iter().copied();
        countries.find(|country| text.len() > 2 && !did_you_mean(text, [country.name()]).is_empty())
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::config::{load_policies, read_policies_with};
    use crate::sla::calendar::Calendar;
    use crate::sla::instant::Instant;

    /// Policies whose calendar has Mondays to Fridays from 9 to 17 in UTC, and these holidays.
    fn policies(holidays: &str) -> String {
        format!(
            "calendars:\n  a:\n    time_zone: UTC\n    hours: {{mon-fri: \"09:00-17:00\"}}\n    holidays:\n    - \
             {holidays}\npolicies: [{{name: a, objectives: {{}}}}]"
        )
    }

    const FILE: &str =
        "BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:Party\nDTSTART:20261210\nEND:VEVENT\nEND:VCALENDAR\n";

    fn files(text: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("holidays.ics".to_string(), text.to_string())])
    }

    fn calendar(holidays: &str) -> Calendar {
        let read = read_policies_with("p.yaml", &policies(holidays), &files(FILE));
        let (mut policies, _) = read.unwrap_or_else(|problems| panic!("{problems}"));
        policies.calendars.remove(0).calendar
    }

    /// Open minutes of a date.
    fn open_minutes(calendar: &Calendar, date: &str) -> i64 {
        let begin = Instant::parse(&format!("{date}T00:00:00Z")).expect("an instant");
        calendar.counted(begin, begin.plus(24 * 3_600_000)) / 60_000
    }

    fn check(holidays: &str, days: &[(&str, i64)]) {
        let calendar = calendar(holidays);
        for (date, minutes) in days {
            assert_eq!(open_minutes(&calendar, date), *minutes, "{holidays}: {date}");
        }
    }

    fn check_refused(holidays: &str, said: &str) {
        let problems = read_policies_with("p.yaml", &policies(holidays), &files(FILE)).expect_err(holidays);
        let shown = problems.0[0].to_string();
        let first = shown.lines().next().unwrap_or_default();
        assert!(first.starts_with("p.yaml:6:") && first.contains("calendars.a.holidays[0]"), "{first}");
        assert!(first.ends_with(said), "{first}\nis not\n{said}");
    }

    #[test]
    fn dates_and_ranges_are_holidays() {
        check("2026-12-25", &[("2026-12-24", 480), ("2026-12-25", 0), ("2026-12-28", 480)]);
        check(
            "2026-12-28/2027-01-01",
            &[
                ("2026-12-25", 480),
                ("2026-12-28", 0),
                ("2026-12-31", 0),
                ("2027-01-01", 0),
                ("2027-01-04", 480),
            ],
        );
        check("2026-12-25/2026-12-25", &[("2026-12-24", 480), ("2026-12-25", 0)]);
        check("{date: 2026-12-24/2026-12-25}", &[("2026-12-23", 480), ("2026-12-24", 0), ("2026-12-25", 0)]);
    }

    #[test]
    fn dates_with_hours_have_these_alone() {
        check("{date: 2026-12-24, hours: \"09:00-12:00\"}", &[("2026-12-24", 180), ("2026-12-25", 480)]);
        check("{date: 2026-12-24, hours: []}", &[("2026-12-24", 0)]);
        check(
            "{date: 2026-12-24, hours: [\"09:00-12:00\", \"22:00-02:00\"]}",
            &[("2026-12-24", 300), ("2026-12-25", 600)],
        );
        check(
            "{date: 2026-12-24, hours: [\"09:00-12:00\"]}\n    - {date: 2026-12-24, hours: [\"11:00-13:00\"]}\n    - 2026-12-24",
            &[("2026-12-24", 240)],
        );
        check(
            "{date: 2026-07-01/2026-08-31, hours: [\"08:00-14:00\"]}",
            &[("2026-07-01", 360), ("2026-08-31", 360)],
        );
        // A Saturday that is worked.
        check("{date: 2026-12-19, hours: [\"10:00-16:00\"]}", &[("2026-12-19", 360)]);
    }

    #[test]
    fn countries_have_their_public_holidays() {
        let days = [("2026-04-27", 0), ("2026-12-25", 0), ("2026-12-24", 480)];
        check("{country: NL}", &days);
        check("{country: nl}", &days);
        check(
            "{country: NL}\n    - {country: US}",
            &[("2026-04-27", 0), ("2026-11-26", 0), ("2026-07-03", 0)],
        );
        check("{country: NO}", &[("2027-05-17", 0)]);
    }

    #[test]
    fn a_holiday_of_a_country_may_have_hours() {
        check("{country: NL}\n    - {date: 2026-04-27, hours: [\"10:00-12:00\"]}", &[("2026-04-27", 120)]);
    }

    #[test]
    fn it_is_known_how_far_the_holidays_of_a_country_reach() {
        assert_eq!(calendar("2026-12-25").holidays_known_until(), None);
        let until = calendar("{country: NL}").holidays_known_until().expect("a last date");
        assert!(until.to_string().as_str() >= "2050-12-31", "{until}");
        let both = calendar("{country: NL}\n    - holidays.ics");
        assert_eq!(both.holidays_known_until().map(|date| date.to_string()).as_deref(), Some("2026-12-31"));
        let names: Vec<_> = both.sources().iter().map(|source| source.name.as_str()).collect();
        assert_eq!(names, ["NL", "holidays.ics"]);
    }

    #[test]
    fn files_are_read_by_either_spelling_and_returned() {
        for written in ["holidays.ics", "{ics: holidays.ics}"] {
            check(written, &[("2026-12-10", 0), ("2026-12-11", 480)]);
        }
        let text = policies("holidays.ics");
        let (policies, read) = read_policies_with("p.yaml", &text, &files(FILE)).expect("good policies");
        assert_eq!(read, files(FILE));
        let (again, _) = read_policies_with("p.yaml", &text, &read).expect("good policies");
        assert_eq!(again.version, policies.version);
    }

    #[test]
    fn the_version_covers_the_files() {
        let version = |text: &str, file: &str| {
            read_policies_with("p.yaml", &policies(text), &files(file)).expect("good policies").0.version
        };
        let other = FILE.replace("20261210", "20261211");
        assert_ne!(version("holidays.ics", FILE), version("holidays.ics", &other));
        assert_eq!(version("2026-12-25", FILE), version("2026-12-25", &other), "it refers to no file");
    }

    #[test]
    fn files_are_looked_up_beside_the_policies() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("p.yaml");
        std::fs::write(&path, policies("days/off.ics")).expect("written");
        let missing = load_policies(path.clone()).expect_err("no such file").to_string();
        assert!(
            missing.contains("calendars.a.holidays[0]: `days/off.ics` can't be read: no such file"),
            "{missing}"
        );
        std::fs::create_dir(folder.path().join("days")).expect("a folder");
        std::fs::write(folder.path().join("days/off.ics"), FILE).expect("written");
        let read = load_policies(path).expect("good policies");
        assert_eq!(open_minutes(&read.policies.calendars[0].calendar, "2026-12-10"), 0);
        assert_eq!(read.files["days/off.ics"], FILE);
    }

    #[test]
    fn problems_of_a_file_show_its_line() {
        let text = FILE.replace("20261210", "20261210T090000");
        let problems = read_policies_with("p.yaml", &policies("holidays.ics"), &files(&text))
            .expect_err("a time of day");
        assert_eq!(
            problems.to_string(),
            "holidays.ics:2:1: calendars.a.holidays[0]: event `Party` has a time of day, \
             `DTSTART:20261210T090000`; only whole days can be holidays\n    BEGIN:VEVENT\n    ^"
        );
    }

    #[test]
    fn what_is_no_holiday_is_refused() {
        let shape = "a range such as `2026-08-01/2026-08-14` or an iCalendar file such as `holidays.ics`";
        for text in
            ["2026-02-30", "2026-2-3", "+2026-01-1", "christmas", "2026-12-24/", "2026-12-24/25", "a.ical"]
        {
            check_refused(text, &format!("`{text}` must be a date such as `2026-12-25`, {shape}"));
        }
        check_refused("2026", "must be a text, such as `\"2026\"` in quotes");
        check_refused(
            "2026-08-14/2026-08-01",
            "must not end before it begins: `2026-08-01` is before `2026-08-14`",
        );
        check_refused("2026-01-01/2036-01-02", "must be ten years at most");
        check_refused(
            "{date: 2026-12-24, hours: [\"9-12\"]}",
            "`9-12` must be hours such as `\"09:00-17:30\"`, up to 24:00",
        );
        check_refused("{hours: [\"09:00-12:00\"]}", "must have one of `date`, `country`, `ics`");
        check_refused("{country: NL, hours: [\"09:00-12:00\"]}", "hours: only goes with `date`");
        check_refused("{country: NL, date: 2026-12-24}", "must have one of `date`, `country`, `ics`");
        check_refused("{contry: NL}", "unknown field, did you mean `country`?");
        check_refused("other.ics", "`other.ics` is not among the files that came with the policies");
    }

    #[test]
    fn countries_that_are_not_known_are_refused_with_near_ones() {
        let instead = "give the code of another country, such as `NL`, or dates or an iCalendar file";
        let check = |written: &str, near: &str| {
            check_refused(
                &format!("{{country: {written}}}"),
                &format!("the holidays of `{written}` are not known{near}: {instead}"),
            );
        };
        check("UK", ", did you mean `GB` (United Kingdom)?");
        check("Nederlands", ", did you mean `NL` (Netherlands)?");
        check("IN", ", near it are `ID`, `IE`, `IM`, `IS`, `IT`");
        check("Atlantis", "");
        check_refused(
            "{country: DE, subdivision: BY}",
            "give the others as dates or as an iCalendar file besides",
        );
    }
}
