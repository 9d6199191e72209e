//! The moment of `expiry-time=` (sshd(8)): `YYYYMMDD[HHMM[SS]][Z]`, read as UTC with and without the `Z`.

/// Seconds since 1970; `None` for what is no such moment.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let digits = text.strip_suffix(['Z', 'z']).unwrap_or(text).as_bytes();
    if !matches!(digits.len(), 8 | 12 | 14) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |from: usize, to: usize| {
        digits.get(from..to).unwrap_or_default().iter().fold(0, |sum, digit| 10 * sum + u64::from(digit - b'0'))
    };
    let (year, month, day) = (number(0, 4), number(4, 6), number(6, 8));
    let (hour, minute, second) = (number(8, 10), number(10, 12), number(12, 14));
    let real = (1970..).contains(&year) && (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    if !real || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let months: u64 = (1..month).map(|month| days_in(year, month)).sum();
    let days = 365 * (year - 1970) + leap_days_before(year) - leap_days_before(1970) + months + day - 1;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// The same moment, so that everybody reads it alike.
pub(crate) fn canonical(text: &str) -> String {
    format!("{}Z", text.trim_end_matches(['Z', 'z']))
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
}

const fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + is_leap(year) as u64,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Leap days from the year 1 to the beginning of `year`.
const fn leap_days_before(year: u64) -> u64 {
    let years = year - 1;
    years / 4 - years / 100 + years / 400
}

#[cfg(test)]
mod tests {
    use super::*;

    /// KEY-11.
    #[test]
    fn moments_are_utc() {
        // `date -u -d '…' +%s`.
        for (text, seconds) in [
            ("19700101", 0),
            ("20000229", 951_782_400),
            ("20261122Z", 1_795_305_600),
            ("202611220406", 1_795_320_360),
            ("20261122040659Z", 1_795_320_419),
            ("21000301", 4_107_542_400),
            ("99991231235959", 253_402_300_799),
        ] {
            assert_eq!(parse(text), Some(seconds), "{text}");
        }
        assert_eq!(canonical("20261122"), "20261122Z");
        assert_eq!(parse(&canonical("20261122Z")), parse("20261122"));
    }

    /// KEY-11.
    #[test]
    fn other_texts_are_no_moment() {
        for text in [
            "",
            "Z",
            "2026",
            "2026112",
            "20261301",
            "20260001",
            "20260230",
            "21000229",
            "20260100",
            "202601012400",
            "202601010060",
            "20260101000060",
            "19691231",
            "+2026112",
            "20260101ZZ",
            "2026-01-01",
            "２０２６０１０１",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
