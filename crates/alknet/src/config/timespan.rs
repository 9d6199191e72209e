//! Spans of time as people write them: `500ms`, `10s`, `5m`, `2h`, `7d`.

use std::{fmt, str::FromStr, time::Duration};

/// A span of time: a whole number and one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Timespan(pub(super) Duration);

/// A text that is no span of time.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a span of time: write a whole number and a unit (ms, s, m, h, d), such as \"10s\"")]
pub(super) struct InvalidTimespan;

/// Units with their length in milliseconds, longest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl FromStr for Timespan {
    type Err = InvalidTimespan;
    fn from_str(text: &str) -> Result<Self, InvalidTimespan> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let (_, length) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(InvalidTimespan)?;
        let number: u64 = number.parse().map_err(|_| InvalidTimespan)?;
        number.checked_mul(*length).map(|millis| Self(Duration::from_millis(millis))).ok_or(InvalidTimespan)
    }
}

impl fmt::Display for Timespan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let whole = UNITS.iter().find(|(_, length)| millis > 0 && millis.is_multiple_of((*length).into()));
        match whole {
            Some((unit, length)) => write!(f, "{}{unit}", millis / u128::from(*length)),
            None => f.write_str("0s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_parse_and_print() {
        for text in ["500ms", "10s", "90s", "5m", "2h", "1d", "0s"] {
            assert_eq!(text.parse::<Timespan>().unwrap().to_string(), text);
        }
        assert_eq!("24h".parse::<Timespan>().unwrap().to_string(), "1d");
        assert_eq!("5m".parse::<Timespan>().unwrap().0, Duration::from_secs(300));
        for bad in ["", "10", "s", "-1s", "1.5s", "1 s", "10sec", "1h30m", "S", "18446744073709551615d", "１s"] {
            assert_eq!(bad.parse::<Timespan>(), Err(InvalidTimespan), "{bad}");
        }
    }
}
