//! Durations as written: `1h30m`, `4bh`, `2bd`.

use crate::sla::policy::Target;

const SECOND_MS: i64 = 1000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
const WEEK_MS: i64 = 7 * DAY_MS;

/// Longest duration, in milliseconds: a hundred years.
const DURATION_MS_MAX: i64 = 100 * 365 * DAY_MS;
/// Longest duration in open days.
const OPEN_DAYS_MAX: i64 = 100 * 365;

/// Time that elapses everywhere.
const ELAPSED: &[(&str, i64)] =
    &[("s", SECOND_MS), ("m", MINUTE_MS), ("h", HOUR_MS), ("d", DAY_MS), ("w", WEEK_MS)];
/// Open time of a calendar.
const OPEN: &[(&str, i64)] = &[("bm", MINUTE_MS), ("bh", HOUR_MS)];
/// Open days of a calendar.
const OPEN_DAYS: &[(&str, i64)] = &[("bd", 1)];
/// Time of the service's own settings.
const SETTING: &[(&str, i64)] =
    &[("ms", 1), ("s", SECOND_MS), ("m", MINUTE_MS), ("h", HOUR_MS), ("d", DAY_MS), ("w", WEEK_MS)];

/// Reads how long an objective allows. Rule C4.
pub(super) fn target(text: &str) -> Result<Target, String> {
    let parts = parts(text).ok_or_else(|| form(text, "`30m`, `1h30m`, `4bh` or `2bd`"))?;
    let kinds = [ELAPSED, OPEN, OPEN_DAYS];
    let kind_of = |unit: &str| kinds.iter().position(|units| value(units, unit).is_some());
    if let Some((_, unit)) = parts.iter().find(|(_, unit)| kind_of(unit).is_none()) {
        return Err(unknown_unit(unit, "`s m h d w`, `bm bh` or `bd`"));
    }
    let kind = kind_of(parts[0].1).unwrap_or_default();
    if parts.iter().any(|(_, unit)| kind_of(unit) != Some(kind)) {
        return Err(format!("`{text}` mixes kinds of time: use only `s m h d w`, only `bm bh` or only `bd`"));
    }
    let total = sum(&parts, kinds[kind], if kind == 2 { OPEN_DAYS_MAX } else { DURATION_MS_MAX })?;
    match kind {
        _ if total == 0 || parts.iter().any(|(count, _)| count.bytes().all(|digit| digit == b'0')) => {
            Err("must be longer than zero".to_string())
        }
        0 => Ok(Target::Elapsed(total)),
        1 => Ok(Target::Open(total)),
        _ => u32::try_from(total).map(Target::OpenDays).map_err(|_| too_long()),
    }
}

/// Reads a duration of the service's settings, in milliseconds; `0s` is one.
pub fn setting_ms(text: &str) -> Result<i64, String> {
    let parts = parts(text).ok_or_else(|| form(text, "`100ms`, `5s` or `7d`"))?;
    if let Some((_, unit)) = parts.iter().find(|(_, unit)| value(SETTING, unit).is_none()) {
        return Err(unknown_unit(unit, "`ms s m h d w`"));
    }
    sum(&parts, SETTING, DURATION_MS_MAX)
}

fn form(text: &str, such_as: &str) -> String {
    match text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => format!("must be a duration such as {such_as}"),
        false => format!("`{text}` has no unit, must be a duration such as {such_as}"),
    }
}

fn unknown_unit(unit: &str, units: &str) -> String {
    format!("unknown unit `{unit}`, must be one of {units}")
}

fn too_long() -> String {
    "must be at most 100 years".to_string()
}

/// Splits into counts and their units; `None` where it is something else.
fn parts(text: &str) -> Option<Vec<(&str, &str)>> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        if digits == 0 || letters == 0 {
            return None;
        }
        parts.push((&rest[..digits], &rest[digits..digits + letters]));
        rest = &rest[digits + letters..];
    }
    (!parts.is_empty()).then_some(parts)
}

fn value(units: &[(&str, i64)], unit: &str) -> Option<i64> {
    units.iter().find(|(name, _)| *name == unit).map(|(_, value)| *value)
}

fn sum(parts: &[(&str, &str)], units: &[(&str, i64)], max: i64) -> Result<i64, String> {
    let mut total = 0i64;
    for (index, (count, unit)) in parts.iter().enumerate() {
        if parts[..index].iter().any(|(_, earlier)| earlier == unit) {
            return Err(format!("has the unit `{unit}` twice"));
        }
        let part = count.parse().ok().and_then(|count: i64| count.checked_mul(value(units, unit)?));
        total = part
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= max)
            .ok_or_else(too_long)?;
    }
    Ok(total)
}

/// A target as a policy would write it.
pub fn written(target: Target) -> String {
    match target {
        Target::Elapsed(ms) => {
            spelled(ms, &[("d", DAY_MS), ("h", HOUR_MS), ("m", MINUTE_MS), ("s", SECOND_MS)])
        }
        Target::Open(ms) => spelled(ms, &[("bh", HOUR_MS), ("bm", MINUTE_MS)]),
        Target::OpenDays(days) => format!("{days}bd"),
    }
}

fn spelled(ms: i64, units: &[(&str, i64)]) -> String {
    let (mut text, mut rest) = (String::new(), ms);
    for (unit, value) in units {
        if rest >= *value {
            text += &format!("{}{unit}", rest / value);
            rest %= value;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{setting_ms, target, written};
    use crate::sla::policy::Target::{self, Elapsed, Open, OpenDays};

    #[test]
    fn units_of_one_kind_add_up() {
        let check = |text: &str, expected: Target| assert_eq!(target(text), Ok(expected), "{text}");
        check("1s", Elapsed(1000));
        check("1h30m", Elapsed(5_400_000));
        check("30m1h", Elapsed(5_400_000));
        check("1w1d", Elapsed(8 * 86_400_000));
        check("36500d", Elapsed(3_153_600_000_000));
        check("15bm", Open(900_000));
        check("1bh15bm", Open(4_500_000));
        check("2bd", OpenDays(2));
        check("007m", Elapsed(420_000));
    }

    #[test]
    fn anything_else_is_refused_with_what_is_allowed() {
        let check = |text: &str, said: &str| assert_eq!(target(text), Err(said.to_string()), "{text}");
        let form = "must be a duration such as `30m`, `1h30m`, `4bh` or `2bd`";
        for text in ["", "h", "1.5h", "-1h", "1h 30m", "soon", "1hour30", "½h", "1µ"] {
            check(text, form);
        }
        check("5", "`5` has no unit, must be a duration such as `30m`, `1h30m`, `4bh` or `2bd`");
        check("0h", "must be longer than zero");
        check("1h0m", "must be longer than zero");
        check("5x", "unknown unit `x`, must be one of `s m h d w`, `bm bh` or `bd`");
        check("5ms", "unknown unit `ms`, must be one of `s m h d w`, `bm bh` or `bd`");
        check("1h1h", "has the unit `h` twice");
        check("1h1bh", "`1h1bh` mixes kinds of time: use only `s m h d w`, only `bm bh` or only `bd`");
        check("1bd1bh", "`1bd1bh` mixes kinds of time: use only `s m h d w`, only `bm bh` or only `bd`");
        check("36501d", "must be at most 100 years");
        check("99999999999999999999s", "must be at most 100 years");
        check("9223372036854775807w", "must be at most 100 years");
        check("36501bd", "must be at most 100 years");
    }

    #[test]
    fn a_target_is_written_as_it_was_read() {
        for text in ["1h30m", "1d", "4bh", "1bh15bm", "2bd", "10d12h", "45s"] {
            assert_eq!(target(text).map(written).as_deref(), Ok(text));
        }
    }

    #[test]
    fn settings_count_milliseconds() {
        assert_eq!(setting_ms("100ms"), Ok(100));
        assert_eq!(setting_ms("0s"), Ok(0));
        assert_eq!(setting_ms("400d"), Ok(34_560_000_000));
        assert_eq!(setting_ms("1bh"), Err("unknown unit `bh`, must be one of `ms s m h d w`".to_string()));
    }
}
