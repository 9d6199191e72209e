//! Points in time as people write them: RFC 3339, or relative to now. Nanoseconds since 1970, as `i64`: the years 1677 to 2262.

const NS: i64 = 1_000_000_000;
const DAY_SECONDS: i64 = 86_400;

/// Whether a word after `@` stands for a time relative to now, or means to.
pub(crate) fn is_relative(text: &str) -> bool {
    text == "now" || text == "yesterday" || text.starts_with("now-")
}

/// `yesterday` (24 hours before `now_ns`) or `now-` with a number and a unit: s, m, h, d or w.
pub(crate) fn relative(text: &str, now_ns: i64) -> Option<i64> {
    let seconds = match text.strip_prefix("now-") {
        None if text == "yesterday" => DAY_SECONDS,
        None => return None,
        Some(span) => {
            let (number, unit) = span.split_at_checked(span.len().checked_sub(1)?)?;
            let unit = match unit {
                "s" => 1,
                "m" => 60,
                "h" => 3600,
                "d" => DAY_SECONDS,
                "w" => 7 * DAY_SECONDS,
                _ => return None,
            };
            digits(number.as_bytes())?.checked_mul(unit)?
        }
    };
    now_ns.checked_sub(seconds.checked_mul(NS)?)
}

/// A date, at its beginning in UTC, or a date and time (RFC 3339, section 5.6). Digits beyond nanoseconds are dropped.
pub(crate) fn parse_rfc3339(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let (date, rest) = bytes.split_at_checked(10)?;
    let days = days_since_1970(date)?;
    if rest.is_empty() {
        return days.checked_mul(DAY_SECONDS)?.checked_mul(NS);
    }
    let (clock, rest) = rest.split_at_checked(9)?;
    let [b'T' | b't', _, _, b':', _, _, b':', _, _] = clock else { return None };
    let (hour, minute) = (within(&clock[1..3], 23)?, within(&clock[4..6], 59)?);
    // A leap second is the first of the next minute.
    let second = within(&clock[7..9], 60)?;
    let (fraction, zone) = fraction(rest)?;
    let seconds = days * DAY_SECONDS + hour * 3600 + minute * 60 + second - offset_seconds(zone)?;
    seconds.checked_mul(NS)?.checked_add(fraction)
}

fn days_since_1970(date: &[u8]) -> Option<i64> {
    let [_, _, _, _, b'-', _, _, b'-', _, _] = date else { return None };
    let (year, month, day) = (digits(&date[..4])?, within(&date[5..7], 12)?, within(&date[8..], 31)?);
    if month == 0 || day == 0 || day > days_of(year, month) {
        return None;
    }
    // Years begin in March here, so that the leap day is the last of one (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    let year = if month > 2 { year } else { year - 1 };
    let (era, month) = (year.div_euclid(400), (month + 9) % 12);
    let of_era = year.rem_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Nanoseconds, and what stands after the fraction.
fn fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some(after) = rest.strip_prefix(b".") else { return Some((0, rest)) };
    let count = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (figures, zone) = after.split_at(count);
    let kept = digits(&figures[..count.min(9)])?;
    Some((kept * 10_i64.pow(9 - u32::try_from(count.min(9)).ok()?), zone))
}

fn offset_seconds(zone: &[u8]) -> Option<i64> {
    match zone {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), hour @ .., b':', tens, ones] if hour.len() == 2 => {
            let seconds = within(hour, 23)? * 3600 + within(&[*tens, *ones], 59)? * 60;
            Some(if *sign == b'+' { seconds } else { -seconds })
        }
        _ => None,
    }
}

fn within(figures: &[u8], most: i64) -> Option<i64> {
    digits(figures).filter(|number| *number <= most)
}

/// A number of decimal digits and nothing else, at least one.
pub(crate) fn digits(figures: &[u8]) -> Option<i64> {
    if figures.is_empty() || !figures.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(figures).ok()?.parse().ok()
}

/// A time in UTC by RFC 3339, with as many digits of a fraction as it needs.
pub(crate) fn format_rfc3339(ns: i64) -> String {
    let (seconds, fraction) = (ns.div_euclid(NS), ns.rem_euclid(NS));
    let (days, of_day) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS));
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let fraction = if fraction == 0 { String::new() } else { format!(".{fraction:09}") };
    let fraction = fraction.trim_end_matches('0');
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_rfc_3339_and_their_edges() {
        // FS-14
        let table = [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01", 0),
            ("1969-12-31T23:59:59.999999999Z", -1),
            ("1985-04-12T23:20:50.52Z", 482_196_050_520_000_000),
            ("1996-12-19T16:39:57-08:00", 851_042_397 * NS),
            ("1990-12-31T23:59:60Z", 662_688_000 * NS),
            ("1937-01-01T12:00:27.87+00:20", -1_041_337_172_130_000_000),
            ("2000-02-29t01:02:03z", 951_786_123 * NS),
            ("2026-11-22T10:00:00.1234567899999Z", 1_795_341_600_123_456_789),
        ];
        for (text, ns) in table {
            assert_eq!(parse_rfc3339(text), Some(ns), "{text}");
        }
        let bad = [
            "",
            "2026",
            "2026-1-1",
            "2026-13-01",
            "2026-00-01",
            "2026-02-29",
            "2100-02-29",
            "2026-04-31",
            "2026-01-00",
            "2026-01-01T",
            "2026-01-01T00:00:00",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:61Z",
            "2026-01-01 00:00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+1:00",
            "2026-01-01T00:00:00+01",
            "2026-01-01T00:00:00Zx",
            "+026-01-01",
            "9999-01-01",
            "0001-01-01",
            "2026-01-01T00:00:00+0é:00",
        ];
        for text in bad {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn spans_before_now() {
        // FS-14
        let now = 1_000_000 * NS;
        let table = [
            ("now-1s", 1),
            ("now-0s", 0),
            ("now-2m", 120),
            ("now-3h", 10_800),
            ("now-2d", 172_800),
            ("now-1w", 604_800),
        ];
        for (text, seconds) in table.into_iter().chain([("yesterday", DAY_SECONDS)]) {
            assert_eq!(relative(text, now), Some(now - seconds * NS), "{text}");
        }
        let bad =
            ["now", "now-", "now-d", "now-2", "now-2x", "now--2d", "now-+2d", "now-2é", "now-99999999999999999999d"];
        for text in bad.into_iter().chain(["now-9999999999w", "tomorrow", "now-1h30m"]) {
            assert_eq!(relative(text, now), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_time_is_read_as_it_is_written(ns in any::<i64>()) {
            // FS-14
            prop_assert_eq!(parse_rfc3339(&format_rfc3339(ns)), Some(ns));
        }
    }
}
