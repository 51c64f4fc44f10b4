//! Instants and spans as people read them.

use chrono::{DateTime, Timelike, Utc};
use chrono_tz::Tz;

use crate::sla::instant::Instant;

const UNITS: [(&str, i64); 4] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];

/// `Fri 2026-11-20 10:04 +01:00` on the clocks of a zone; seconds and milliseconds where there are some.
pub fn local(at: Instant, zone: Tz) -> String {
    let Some(utc) = DateTime::<Utc>::from_timestamp_millis(at.millis()) else { return at.to_string() };
    let time = utc.with_timezone(&zone);
    let digits = match (time.second(), time.timestamp_subsec_millis()) {
        (0, 0) => "%H:%M",
        (_, 0) => "%H:%M:%S",
        _ => "%H:%M:%S%.3f",
    };
    time.format(&format!("%a %Y-%m-%d {digits} %:z")).to_string()
}

/// The zone of this name; UTC where there is none.
pub(super) fn zone(name: Option<&str>) -> Tz {
    name.and_then(|name| name.parse().ok()).unwrap_or(Tz::UTC)
}

/// How long something lasted, in milliseconds: `1d 2h`, `4m`, `1.5s`.
pub fn lasting(ms: i64) -> String {
    spelled(ms, &UNITS)
}

/// How much open time passed, in milliseconds: a day of it is no day, so that hours are the largest unit.
pub(super) fn lasting_open(ms: i64) -> String {
    spelled(ms, &UNITS[1..])
}

fn spelled(ms: i64, units: &[(&str, i64)]) -> String {
    let (mut words, mut rest) = (Vec::new(), ms.abs());
    for (unit, value) in units {
        if rest >= *value {
            words.push(format!("{}{unit}", rest / value));
            rest %= value;
        }
    }
    if rest > 0 {
        words.push(format!("{rest}ms"));
    }
    let sign = if ms < 0 { "-" } else { "" };
    if words.is_empty() { "0s".to_owned() } else { format!("{sign}{}", words.join(" ")) }
}

#[cfg(test)]
mod tests {
    use super::{lasting, lasting_open, local};
    use crate::sla::instant::Instant;

    #[test]
    fn a_span_is_spelled_in_the_units_that_it_has() {
        for (ms, elapsed, open) in [
            (0, "0s", "0s"),
            (1_500, "1s 500ms", "1s 500ms"),
            (240_000, "4m", "4m"),
            (90_061_000, "1d 1h 1m 1s", "25h 1m 1s"),
            (-60_000, "-1m", "-1m"),
        ] {
            assert_eq!((lasting(ms).as_str(), lasting_open(ms).as_str()), (elapsed, open));
        }
    }

    #[test]
    fn an_instant_is_told_on_the_clocks_of_its_zone() {
        let at = |text: &str| {
            let at = Instant::parse(text).expect("an instant");
            local(at, chrono_tz::Europe::Amsterdam)
        };
        assert_eq!(at("2026-11-20T09:04:00Z"), "Fri 2026-11-20 10:04 +01:00");
        assert_eq!(at("2026-07-01T09:04:05Z"), "Wed 2026-07-01 11:04:05 +02:00");
        assert_eq!(at("2026-07-01T09:04:05.007Z"), "Wed 2026-07-01 11:04:05.007 +02:00");
    }
}
