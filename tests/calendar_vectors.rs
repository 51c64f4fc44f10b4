//! Deadlines and counted time that the suites of other SLA engines and business-hours libraries
//! expect, as facts in our words: what is asked, and what we answer.
//!
//! Each row begins with the name of its vector. Where we differ on principle, a comment says from
//! whom and why. Calendars are read as policies write them.

use chrono::{NaiveDateTime, TimeZone};
use chrono_tz::Tz;
use overdue::config::read_policies;
use overdue::sla::calendar::Calendar;
use overdue::sla::instant::Instant;
use overdue::sla::policy::Target;

const OFFICE: &str = "{time_zone: UTC, hours: {mon-fri: \"09:00-17:00\"}}";
const DESK: &str = "{time_zone: UTC, hours: {mon-fri: \"10:00-18:00\"}}";
const DAILY: &str = "{time_zone: UTC, hours: {mon-sun: \"10:00-18:00\"}, holidays: [2019-03-05]}";
const BERLIN: &str = "{time_zone: Europe/Berlin, hours: {mon-sun: \"09:00-18:00\"}}";
const LATE_MONDAY: &str = "{time_zone: UTC, hours: {mon: \"10:30-19:00\", tue-fri: \"08:30-19:00\"}}";
const SAO_PAULO: &str = "{time_zone: America/Sao_Paulo, hours: {mon-sun: \"00:00-24:00\"}}";
const PARIS_SUNDAY: &str = "{time_zone: Europe/Paris, hours: {sun: \"00:00-24:00\"}}";

struct Shop {
    zone: Tz,
    calendar: Calendar,
}

impl Shop {
    /// Reads one line of `calendars`.
    fn open(calendar: &str) -> Shop {
        let text = format!("calendars: {{shop: {calendar}}}\npolicies: [{{name: any, objectives: {{}}}}]");
        let mut read = read_policies("policies.yaml", &text).unwrap_or_else(|problems| panic!("{problems}"));
        let (_, zone) = calendar.split_once("time_zone: ").expect("a time zone");
        let zone = zone.split([',', '}']).next().expect("its name").parse().expect("a known one");
        Shop { zone, calendar: read.calendars.remove(0).calendar }
    }

    /// A time of the first occurrence on the shop's clocks; with `Z`, of UTC.
    fn at(&self, text: &str) -> Instant {
        let (zone, text) = text.strip_suffix('Z').map_or((self.zone, text), |utc| (Tz::UTC, utc));
        let format = if text.len() > 16 { "%Y-%m-%d %H:%M:%S" } else { "%Y-%m-%d %H:%M" };
        let local = NaiveDateTime::parse_from_str(text, format).expect("a time");
        let instant = zone.from_local_datetime(&local).earliest().expect("one that occurs");
        Instant::from_millis(instant.timestamp_millis())
    }
}

fn target(text: &str) -> Target {
    let number = |unit| text.strip_suffix(unit).and_then(|digits| digits.parse::<i64>().ok());
    match (number("bh"), number("bm"), number("bd"), number("d")) {
        (Some(hours), ..) => Target::Open(hours * 3_600_000),
        (_, Some(minutes), ..) => Target::Open(minutes * 60_000),
        (_, _, Some(days), _) => Target::OpenDays(u32::try_from(days).expect("a few days")),
        (.., days) => Target::Elapsed(days.expect("a target") * 24 * 3_600_000),
    }
}

/// Each row: vector, start, target, due.
fn due(calendar: &str, rows: &[(&str, &str, &str, &str)]) {
    let shop = Shop::open(calendar);
    for (vector, start, within, due) in rows {
        let found = shop.calendar.due(shop.at(start), target(within));
        assert_eq!(found, shop.at(due), "{vector}: {start} + {within} of {calendar}");
    }
}

/// Each row: vector, from, to, open seconds.
fn counted(calendar: &str, rows: &[(&str, &str, &str, i64)]) {
    let shop = Shop::open(calendar);
    for (vector, from, to, seconds) in rows {
        let found = shop.calendar.counted(shop.at(from), shop.at(to));
        assert_eq!(found, seconds * 1000, "{vector}: {from} to {to} of {calendar}");
    }
}

#[test]
fn open_hours_run_on_where_the_shop_opens_next() {
    due(
        OFFICE,
        &[
            ("C1", "2024-01-19 16:00", "2bh", "2024-01-22 10:00"),
            ("C3", "2024-01-17 18:00", "2bh", "2024-01-18 11:00"),
            ("C5", "2024-01-15 16:00", "10bh", "2024-01-17 10:00"),
        ],
    );
    due(
        "{time_zone: UTC, hours: {mon: \"09:00-17:00\", fri: \"09:00-17:00\", sat: \"10:00-15:00\"}}",
        &[("B1", "2010-12-24 15:00", "9bh", "2010-12-27 11:00")],
    );
}

#[test]
fn a_deadline_on_closing_time_stays_there() {
    due(
        "{time_zone: UTC, hours: {sat: \"00:00-24:00\"}}",
        &[("C7, the last minute too", "2024-01-20 00:00", "24bh", "2024-01-21 00:00")],
    );
    due(
        "{time_zone: UTC, hours: {mon: \"09:00-17:00\", tue: \"09:00-20:00\"}}",
        &[("C9", "2024-01-15 16:00", "12bh", "2024-01-16 20:00")],
    );
    due(
        DESK,
        &[
            ("H2", "2024-01-20 15:00", "24bh", "2024-01-24 18:00"),
            ("H2", "2024-01-20 15:00", "72bh", "2024-02-01 18:00"),
            ("H4, an hour on hold taken as target", "2024-01-18 15:00", "3bh", "2024-01-18 18:00"),
        ],
    );
    due(DAILY, &[("E2", "2019-03-04 14:00", "4bh", "2019-03-04 18:00")]);
}

#[test]
fn holidays_do_not_count() {
    due(DAILY, &[("E2", "2019-03-04 14:00", "6bh", "2019-03-06 12:00")]);
    due(
        "{time_zone: UTC, hours: {mon-fri: \"09:00-17:00\"}, holidays: [2010-07-05]}",
        &[("B3", "2010-07-02 16:50", "1bh", "2010-07-06 09:50")],
    );
    counted(
        "{time_zone: UTC, hours: {mon-fri: \"09:00-17:00\"}, holidays: [2024-01-15]}",
        &[("F1", "2024-01-12 10:00", "2024-01-16 12:00", 36_000)],
    );
    // All Saints', by the day and by the country: the deadline of Z6 moves past it.
    for holidays in ["2016-11-01", "2016-11-01/2016-11-01", "{country: ES}"] {
        due(
            &format!(
                "{{time_zone: Europe/Berlin, hours: {{mon-fri: \"08:00-20:00\"}}, holidays: [{holidays}]}}"
            ),
            &[("Z6", "2016-10-31 19:00", "2bh", "2016-11-02 09:00")],
        );
    }
}

#[test]
fn a_date_may_have_other_hours() {
    due(
        "{time_zone: UTC, hours: {thu-fri: \"08:00-18:00\"}, \
         holidays: [{date: 2019-12-27, hours: [\"08:00-17:00\"]}]}",
        &[("W2", "2019-12-27 16:00", "2bh", "2020-01-02 09:00")],
    );
}

#[test]
fn breaks_are_gaps_between_the_hours_of_a_day() {
    // Z11: breaks and holidays are both left out. We have no operator that intersects two
    // calendars: the hours are written as they are.
    let lunch = "{time_zone: UTC, hours: {mon-fri: [\"09:00-12:00\", \"13:00-17:00\"]}, holidays: [2024-01-16, 2024-01-17]}";
    counted(lunch, &[("Z11", "2024-01-15 11:00", "2024-01-18 14:00", (1 + 4 + 3 + 1) * 3600)]);
    due(lunch, &[("Z11", "2024-01-15 11:00", "6bh", "2024-01-18 10:00")]);
}

#[test]
fn what_falls_outside_the_hours_counts_nothing() {
    counted(
        DESK,
        &[
            // E4: ERPNext answers a second, so that zero is not taken for an answer that is missing. With
            // us no time is no time, and a missing answer is a clock without an end.
            ("E4", "2019-03-04 19:00", "2019-03-04 20:00", 0),
            ("H6, nine minutes late", "2024-01-18 10:30", "2024-01-18 10:39", 540),
        ],
    );
}

#[test]
fn open_time_is_counted_in_the_shops_zone() {
    due(
        BERLIN,
        &[
            ("Z2, with no pause", "2013-06-04 09:00Z", "120bm", "2013-06-04 11:00Z"),
            ("Z4, from the closing on", "2013-06-04 16:00Z", "240bm", "2013-06-05 11:00Z"),
        ],
    );
    due(LATE_MONDAY, &[("G2, with no pause", "2034-06-05 10:00", "4bh", "2034-06-05 14:30")]);
}

#[test]
fn days_end_with_the_last_hours_of_the_last_one() {
    due(
        LATE_MONDAY,
        &[
            // G4: GLPI keeps the time of day, 08:46:12, unless told to go to the end of the working day; our
            // `bd` always goes there.
            ("G4", "2034-06-09 08:46:12", "5bd", "2034-06-16 19:00"),
            ("G4, two days earlier", "2034-06-09 08:46:12", "3bd", "2034-06-14 19:00"),
        ],
    );
    due(
        OFFICE,
        &[
            // T4: Intercom's "1 day" is 24 office hours, shown as five days. With us that is `24bh`; `1bd` is the
            // end of the next open day and `1d` is 24 hours on any clock.
            ("T4", "2024-01-19 16:55", "24bh", "2024-01-24 16:55"),
            ("T4", "2024-01-19 16:55", "1bd", "2024-01-22 17:00"),
            ("T4", "2024-01-19 16:55", "1d", "2024-01-20 16:55"),
        ],
    );
}

#[test]
fn counted_time_is_physical_when_clocks_change() {
    due(
        "{time_zone: Europe/Berlin, hours: {mon-fri: [\"08:00-13:00\", \"14:00-18:00\"]}}",
        &[("N1", "2015-03-27 11:00Z", "15bh", "2015-03-31 07:00Z")],
    );
    due(
        SAO_PAULO,
        &[
            ("N3, an hour twice", "2015-02-21 22:00", "5bh", "2015-02-22 02:00"),
            ("N3, no midnight", "2015-10-17 22:00", "7bh", "2015-10-18 06:00"),
        ],
    );
    // W4: working_hours answers 24 hours for a Sunday of 25.
    counted(PARIS_SUNDAY, &[("W4", "2020-10-24 22:00Z", "2020-10-25 23:00Z", 25 * 3600)]);
}

#[test]
fn hours_that_no_clock_shows_begin_as_much_later_as_is_missing() {
    due(
        "{time_zone: Europe/Berlin, hours: {sun: \"02:05-12:00\"}}",
        &[("N5", "2022-03-27 00:00", "1bm", "2022-03-27 03:06")],
    );
    due(
        "{time_zone: America/Los_Angeles, hours: {sun: \"02:30-12:00\"}}",
        &[("Z9", "2014-03-09 08:00Z", "60bm", "2014-03-09 11:30Z")],
    );
}

#[test]
fn hours_that_clocks_show_twice_begin_the_first_time() {
    due(
        "{time_zone: America/Los_Angeles, hours: {sun: \"01:30-12:00\"}}",
        &[("Z9", "2014-11-02 07:00Z", "60bm", "2014-11-02 09:30Z")],
    );
}
