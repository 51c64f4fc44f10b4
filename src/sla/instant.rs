//! Instants and spans: milliseconds of UTC, and how they are read and written.

use std::fmt;

use chrono::{DateTime, Datelike, SecondsFormat, Timelike, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(i64);

impl Instant {
    /// Before every instant a fact can have.
    pub const MIN: Instant = Instant(i64::MIN);
    /// After every instant a fact can have.
    pub const MAX: Instant = Instant(i64::MAX);

    /// The instant `ms` milliseconds after the epoch.
    pub const fn from_millis(ms: i64) -> Instant {
        Instant(ms)
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Reads RFC 3339 with an offset. Rule F1: cut to milliseconds, and second 60 is the last
    /// millisecond of its minute.
    pub fn parse(text: &str) -> Option<Instant> {
        let time = DateTime::parse_from_rfc3339(text).ok()?;
        let seconds = time.timestamp();
        Some(Instant(match time.timestamp_subsec_nanos() {
            leap if leap >= 1_000_000_000 => seconds * 1000 + 999,
            nanos => seconds * 1000 + i64::from(nanos / 1_000_000),
        }))
    }

    /// This instant `ms` milliseconds later, or the last one there is.
    #[must_use]
    pub const fn plus(self, ms: i64) -> Instant {
        Instant(self.0.saturating_add(ms))
    }

    /// This instant `ms` milliseconds earlier, or the first one there is.
    #[must_use]
    pub const fn minus(self, ms: i64) -> Instant {
        Instant(self.0.saturating_sub(ms))
    }

    /// Milliseconds from `earlier` to this instant; negative where it is later.
    pub const fn since(self, earlier: Instant) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// RFC 3339 in UTC with milliseconds, as in every output.
impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = DateTime::<Utc>::from_timestamp_millis(self.0);
        match time.map(|time| (time, time.year())) {
            // Digits straight into place: outputs are full of instants.
            Some((time, year @ 0..=9999)) => {
                let mut text = *b"0000-00-00T00:00:00.000Z";
                put(&mut text[0..4], year.unsigned_abs());
                put(&mut text[5..7], time.month());
                put(&mut text[8..10], time.day());
                put(&mut text[11..13], time.hour());
                put(&mut text[14..16], time.minute());
                put(&mut text[17..19], time.second());
                put(&mut text[20..23], time.timestamp_subsec_millis());
                f.write_str(std::str::from_utf8(&text).unwrap_or_default())
            }
            Some((time, _)) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true)),
            None => write!(f, "{}ms", self.0),
        }
    }
}

/// Writes a number's last digits over all of `place`.
fn put(place: &mut [u8], mut number: u32) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// RFC 3339 where people read it, milliseconds in the changelog.
impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.collect_str(self),
            false => serializer.serialize_i64(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Instant, D::Error> {
        if !deserializer.is_human_readable() {
            return i64::deserialize(deserializer).map(Instant);
        }
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Instant::parse(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 time with an offset"))
    }
}

#[cfg(test)]
mod tests {
    use super::Instant;

    fn check(text: &str, written: &str) {
        assert_eq!(Instant::parse(text).map(|t| t.to_string()).as_deref(), Some(written), "{text}");
    }

    #[test]
    fn reads_offsets_and_cuts_to_milliseconds() {
        check("2026-03-01T10:00:00+01:00", "2026-03-01T09:00:00.000Z");
        check("2026-03-01T10:00:00.1239Z", "2026-03-01T10:00:00.123Z");
        check("1969-12-31T23:59:59.9999Z", "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn every_instant_is_written_as_chrono_writes_it() {
        for ms in
            [0, 1, 999, -1, 951_782_400_000, 253_402_300_799_999, 253_402_300_800_000, -62_167_219_200_001]
        {
            let time = chrono::DateTime::from_timestamp_millis(ms).expect("in range");
            assert_eq!(
                Instant::from_millis(ms).to_string(),
                time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
            );
        }
    }

    #[test]
    fn second_60_is_the_last_millisecond_of_its_minute() {
        check("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999Z");
        check("2016-12-31T23:59:60.7Z", "2016-12-31T23:59:59.999Z");
    }

    #[test]
    fn a_time_without_an_offset_is_none() {
        assert_eq!(Instant::parse("2026-03-01T10:00:00"), None);
        assert_eq!(Instant::parse("2026-03-01"), None);
        assert_eq!(Instant::parse(""), None);
    }
}
