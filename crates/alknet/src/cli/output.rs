//! Data goes to stdout, everything else to stderr.

use std::io::{self, Write};

use serde::Serialize;

use crate::failure::Failure;

/// Prints a line of data.
pub fn line(text: impl AsRef<str>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{}", text.as_ref()).and_then(|()| out.flush()) {
        // The reader of a pipe has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => Ok(outcome?),
    }
}

/// Prints a line of data of many. Once nobody reads any more, the command ends without a word.
pub fn flow(text: impl AsRef<str>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{}", text.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::status(0)),
        outcome => Ok(outcome?),
    }
}

/// As [`flow`], of bytes as they are and what ends them: for a pipe.
pub fn flow_bytes(bytes: &[u8], end: u8) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.write_all(&[end])).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::status(0)),
        outcome => Ok(outcome?),
    }
}

/// As [`flow`], of JSON.
pub fn json_flow(value: &impl Serialize) -> Result<(), Failure> {
    flow(unsteering(serde_json::to_string(value)?))
}

/// Prints data as JSON.
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(unsteering(serde_json::to_string_pretty(value)?))
}

/// Prints data as JSON on one line.
pub fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    line(unsteering(serde_json::to_string(value)?))
}

/// JSON that means the same and has no control characters: it escapes those below 32 only, and terminals heed more.
fn unsteering(json: String) -> String {
    let steers = |character: char| ('\u{7f}'..='\u{9f}').contains(&character);
    if !json.contains(steers) {
        return json;
    }
    // Outside of texts JSON is ASCII.
    let escaped =
        |character: char| if steers(character) { format!("\\u{:04x}", u32::from(character)) } else { character.into() };
    json.chars().map(escaped).collect()
}

/// Says something to the person, beside the data.
#[expect(clippy::print_stderr, reason = "the command line speaks to its user")]
pub fn note(text: impl AsRef<str>) {
    eprintln!("{}", text.as_ref());
}

/// What another machine said, without whatever would steer the terminal.
pub fn printable(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_debug().collect() } else { String::from(c) };
    text.chars().map(escaped).collect()
}

/// Prints rows under a header, in columns as wide as their widest cell.
pub fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> Result<(), Failure> {
    let rows: Vec<_> = rows.iter().map(|row| row.each_ref().map(|cell| printable(cell))).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..N).map(width).collect();
    let print = |cells: [&str; N]| {
        let padded: Vec<_> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        line(padded.join("  ").trim_end())
    };
    print(header)?;
    rows.iter().try_for_each(|row| print(std::array::from_fn(|column| row[column].as_str())))
}

/// Seconds since 1970 as UTC, `2026-11-21 22:05:09Z` (proleptic Gregorian calendar).
pub fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, in eras of 400 years (Howard Hinnant's civil calendar arithmetic).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// A number of bytes as a person says it: `17 B`, `4.2 MiB`.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let (mut scaled, mut unit) = (number as f64, "B");
    for larger in UNITS {
        if scaled < 1024.0 {
            break;
        }
        (scaled, unit) = (scaled / 1024.0, larger);
    }
    if unit == "B" { format!("{number} B") } else { format!("{scaled:.1} {unit}") }
}

/// A length of time as a person says it: `3 d 4 h`, `5 min 6 s`, `250 ms`.
pub fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 => format!("{milliseconds} ms"),
        1..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// Reads a length of time: a number and `s`, `min`, `m`, `h` or `d`.
pub fn parse_duration(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "s" | "" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(format!("`{text}` is no length of time: write 90s, 15min, 24h or 30d")),
    };
    let number: u64 =
        number.parse().map_err(|_| format!("`{text}` is no length of time: write 90s, 15min, 24h or 30d"))?;
    number.checked_mul(factor).ok_or_else(|| format!("`{text}` is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_the_calendars() {
        let table = [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_400, "2000-02-29 00:00:00Z"),
            (951_868_799, "2000-02-29 23:59:59Z"),
            (951_868_800, "2000-03-01 00:00:00Z"),
            (1_735_689_599, "2024-12-31 23:59:59Z"),
            (4_107_542_400, "2100-03-01 00:00:00Z"),
        ];
        for (seconds, text) in table {
            assert_eq!(utc(seconds), text);
        }
    }

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        assert_eq!(printable("a\u{1b}[31mb\n\u{9b}é"), "a\\u{1b}[31mb\\n\\u{9b}é");
    }

    #[test]
    fn json_means_the_same_and_steers_no_terminal() {
        let text = serde_json::to_string("a\u{9b}31m\u{7f}é").unwrap();
        let plain = unsteering(text.clone());
        assert_eq!(plain, r#""a\u009b31m\u007fé""#);
        assert_eq!(serde_json::from_str::<String>(&plain).unwrap(), serde_json::from_str::<String>(&text).unwrap());
    }

    #[test]
    fn numbers_of_bytes_are_scaled() {
        for (number, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 40, "5.0 TiB")] {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn lengths_of_time_read_and_print() {
        for (text, seconds) in [("90s", 90), ("15min", 900), ("2m", 120), ("24h", 86_400), ("30d", 2_592_000), ("7", 7)]
        {
            assert_eq!(parse_duration(text), Ok(seconds));
        }
        for bad in ["", "h", "1w", "-1s", "1.5h", "99999999999999999999s", "18446744073709551615d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        let printed = [
            (250, "250 ms"),
            (59_999, "59 s"),
            (60_000, "1 min 0 s"),
            (3_600_000, "1 h 0 min"),
            (90_000_000, "1 d 1 h"),
        ];
        for (milliseconds, text) in printed {
            assert_eq!(duration(milliseconds), text);
        }
    }
}
