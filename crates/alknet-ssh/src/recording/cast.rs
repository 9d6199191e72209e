//! The format: asciinema's asciicast v2. A line of JSON about the session, then a line `[seconds, kind, data]` for each event.

use std::{fmt::Write, mem, time::Duration};

use serde::{Deserialize, Serialize};

use crate::limits::MAX_RECORDED_EVENT_BYTES;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) version: u8,
    pub(crate) width: u16,
    pub(crate) height: u16,
    /// When it began, in seconds since 1970.
    pub(crate) timestamp: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) command: Option<String>,
    pub(crate) env: Shown,
    /// What players skip.
    pub(crate) alknet: Who,
}

/// Of the environment, what matters for showing it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shown {
    #[serde(rename = "TERM")]
    pub(crate) term: String,
    #[serde(rename = "SHELL")]
    pub(crate) shell: String,
}

/// Whose session it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Who {
    pub(crate) identity: String,
    pub(crate) user: String,
    pub(crate) address: String,
}

impl Head {
    /// The line, with its end.
    pub(crate) fn line(&self) -> String {
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }
}

/// Puts output into events. Text that is cut between two pieces of output, in the middle of a character, comes with the second.
#[derive(Default)]
pub(crate) struct Encoder {
    carry: Vec<u8>,
}

impl Encoder {
    /// Appends the events of a piece of output to `lines`.
    pub(crate) fn output(&mut self, at: Duration, data: &[u8], lines: &mut String) {
        let text = self.decode(data);
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (event, more) = rest.split_at(rest.floor_char_boundary(MAX_RECORDED_EVENT_BYTES));
            push_event(at, 'o', event, lines);
            rest = more;
        }
    }

    /// Appends what was left of a character.
    pub(crate) fn finish(&mut self, at: Duration, lines: &mut String) {
        if !mem::take(&mut self.carry).is_empty() {
            push_event(at, 'o', "\u{fffd}", lines);
        }
    }

    fn decode(&mut self, data: &[u8]) -> String {
        let mut joined = mem::take(&mut self.carry);
        joined.extend_from_slice(data);
        let (mut text, mut rest) = (String::with_capacity(joined.len()), joined.as_slice());
        while let Err(error) = str::from_utf8(rest) {
            let (good, bad) = rest.split_at(error.valid_up_to());
            text.push_str(&String::from_utf8_lossy(good));
            let Some(length) = error.error_len() else {
                self.carry = bad.to_vec();
                return text;
            };
            text.push('\u{fffd}');
            rest = &bad[length..];
        }
        text.push_str(&String::from_utf8_lossy(rest));
        text
    }
}

/// Appends a change of the terminal's size.
pub(crate) fn resize(at: Duration, columns: u16, rows: u16, lines: &mut String) {
    push_event(at, 'r', &format!("{columns}x{rows}"), lines);
}

/// Appends a remark.
pub(crate) fn marker(at: Duration, text: &str, lines: &mut String) {
    push_event(at, 'm', text, lines);
}

fn push_event(at: Duration, kind: char, data: &str, lines: &mut String) {
    let data = serde_json::Value::from(data);
    // Writing to a string does not fail.
    let _ = writeln!(lines, "[{:.6}, \"{kind}\", {data}]", at.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<(f64, String, String)> {
        let (mut encoder, mut lines) = (Encoder::default(), String::new());
        for (second, piece) in pieces.iter().enumerate() {
            encoder.output(Duration::from_secs(second as u64), piece, &mut lines);
        }
        encoder.finish(Duration::from_secs(9), &mut lines);
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// SES-41.
    #[test]
    fn a_character_that_is_cut_comes_whole() {
        let euro = "€".as_bytes();
        let expected = [(0.0, "o".into(), "a".into()), (1.0, "o".into(), "€\u{1b}[1m\"".into())];
        assert_eq!(events(&[&[b'a', euro[0]], &[euro[1], euro[2], 0x1b, b'[', b'1', b'm', b'"']]), expected);
        assert_eq!(
            events(&[&[0xff, b'x', 0xe2]]),
            [(0.0, "o".into(), "\u{fffd}x".into()), (9.0, "o".into(), "\u{fffd}".into())]
        );
    }

    #[test]
    fn a_large_piece_becomes_events_of_bounded_size() {
        let long = "é".repeat(MAX_RECORDED_EVENT_BYTES);
        let events = events(&[long.as_bytes()]);
        assert!(events.iter().all(|(_, _, data)| data.len() <= MAX_RECORDED_EVENT_BYTES) && events.len() > 1);
        assert_eq!(events.iter().map(|(_, _, data)| data.as_str()).collect::<String>(), long);
    }

    #[test]
    fn sizes_and_remarks_are_events() {
        let mut lines = String::new();
        resize(Duration::from_millis(1500), 120, 40, &mut lines);
        marker(Duration::from_secs(2), "the end", &mut lines);
        assert_eq!(lines, "[1.500000, \"r\", \"120x40\"]\n[2.000000, \"m\", \"the end\"]\n");
    }

    proptest! {
        /// SES-41: however output is cut, the text is that of the whole.
        #[test]
        fn cuts_do_not_change_the_text(bytes: Vec<u8>, cuts: Vec<prop::sample::Index>) {
            let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            ends.push(bytes.len());
            ends.sort_unstable();
            let mut begin = 0;
            let pieces: Vec<_> = ends.into_iter().map(|end| &bytes[mem::replace(&mut begin, end)..end]).collect();
            let text: String = events(&pieces).into_iter().map(|(_, _, data)| data).collect();
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }
}
