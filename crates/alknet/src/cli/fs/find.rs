//! `alknet fs find`.

use std::{
    ffi::OsString,
    io::{IsTerminal, stdout},
};

use alknet_fs::{
    When,
    operations::{EntryKind, EntryView, Octets},
};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{Files, listing};
use crate::{
    cli::output,
    failure::Failure,
    files::{address::now_ns, remote::path_of, send::below},
};

/// Find entries below a folder; prints their addresses
///
/// On a terminal what would steer it is escaped; elsewhere an address is printed byte for byte, as commands take it.
///
/// Examples:
///   alknet fs find photos --name '*.jpg' --larger 10M
///   alknet fs find notes@v1 --type f --newer now-7d
///   alknet fs find -0 photos --name '*.tmp' | xargs -0 alknet fs rm
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Find {
    /// Where to look
    #[arg(value_name = "ADDR")]
    address: OsString,
    /// The last name matches this: * any characters, ? one, [a-z] one of these
    #[arg(long, value_name = "GLOB")]
    name: Option<String>,
    /// Only of this kind
    #[arg(long = "type", value_name = "KIND")]
    kind: Option<Sort>,
    /// Modified after this time: 2026-01-31T12:00:00Z, now-2d, yesterday
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    newer: Option<i64>,
    /// Files with more bytes than this: 500, 10K, 5M, 1G
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    larger: Option<u64>,
    /// A NUL after each address instead of a line feed
    #[arg(short = '0', long = "null")]
    null: bool,
}

/// What is found, with where.
#[derive(Serialize)]
struct Addressed<'a> {
    address: Octets,
    #[serde(flatten)]
    entry: &'a EntryView,
}

/// A kind of entry.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    /// Files
    F,
    /// Folders
    D,
    /// Symbolic links
    L,
}

impl Find {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        let spot = files.spot(&self.address)?;
        let remote = files.reach(&spot).await?;
        let mut pages = remote.pages(&spot, true);
        while let Some(page) = pages.next().await? {
            for entry in page.iter().filter(|entry| self.matches(entry)) {
                let found = spot.at(below(&spot.path, &path_of(entry)?)?);
                if files.json() {
                    listing::json_flow(&Addressed { address: Octets::from(found.to_bytes().as_slice()), entry })?;
                } else if self.null {
                    output::flow_bytes(&found.to_bytes(), 0)?;
                } else if stdout().is_terminal() {
                    output::flow(found.to_string())?;
                } else {
                    output::flow_bytes(&found.to_bytes(), b'\n')?;
                }
            }
        }
        remote.finish().await;
        Ok(())
    }

    fn matches(&self, entry: &EntryView) -> bool {
        let kind = match entry.kind {
            EntryKind::File => Sort::F,
            EntryKind::Folder => Sort::D,
            EntryKind::Symlink => Sort::L,
        };
        let attributes = entry.attributes.as_ref();
        let is_larger = |than| kind == Sort::F && attributes.is_some_and(|attributes| attributes.size > than);
        self.kind.is_none_or(|wanted| wanted == kind)
            && self.name.as_ref().is_none_or(|glob| matches_glob(glob.as_bytes(), listing::last(&entry.name)))
            && self.larger.is_none_or(is_larger)
            && self.newer.is_none_or(|than| attributes.is_some_and(|attributes| attributes.mtime.0 > than))
    }
}

/// Whether a name matches a glob. Takes time that grows with the product of both lengths at most.
fn matches_glob(glob: &[u8], name: &[u8]) -> bool {
    let (mut at, mut in_name) = (0, 0);
    // Where to go on after the last `*`: behind it in the glob, and one byte further in the name each time.
    let mut star: Option<(usize, usize)> = None;
    while in_name < name.len() {
        match one(&glob[at..], name[in_name]) {
            Some(length) => {
                at += length;
                in_name += 1;
            }
            None if glob.get(at) == Some(&b'*') => {
                star = Some((at + 1, in_name));
                at += 1;
            }
            None => match star {
                Some((behind, taken)) => {
                    star = Some((behind, taken + 1));
                    (at, in_name) = (behind, taken + 1);
                }
                None => return false,
            },
        }
    }
    glob[at..].iter().all(|byte| *byte == b'*')
}

/// How long the beginning of a glob is that matches this byte.
fn one(glob: &[u8], byte: u8) -> Option<usize> {
    match glob {
        [b'*', ..] | [] => None,
        [b'?', ..] => Some(1),
        [b'\\', literal, ..] => (*literal == byte).then_some(2),
        [b'[', rest @ ..] => {
            // A `]` right at the beginning is one of the characters.
            let (negated, rest) = rest.strip_prefix(b"!").map_or((false, rest), |rest| (true, rest));
            let Some(end) = rest.iter().skip(1).position(|byte| *byte == b']').map(|end| end + 1) else {
                return (byte == b'[').then_some(1);
            };
            let (set, mut within, mut is_in) = (&rest[..end], 0, false);
            while within < set.len() {
                if let [low, b'-', high] = set[within..set.len().min(within + 3)] {
                    is_in |= (low..=high).contains(&byte);
                    within += 3;
                } else {
                    is_in |= set[within] == byte;
                    within += 1;
                }
            }
            (is_in != negated).then_some(1 + usize::from(negated) + end + 1)
        }
        [literal, ..] => (*literal == byte).then_some(1),
    }
}

fn parse_time(text: &str) -> Result<i64, String> {
    match When::parse(text.as_bytes(), now_ns()) {
        Ok(When::Time(ns)) => Ok(ns),
        Ok(When::Now) => Ok(now_ns()),
        _ => Err(format!("`{text}` is no time: write 2026-01-31T12:00:00Z, now-2d or yesterday")),
    }
}

/// Reads a number of bytes, with K, M, G or T (or KiB and so on, as sizes are shown) for powers of 1024.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is no size: write 500, 10K, 5M, 1G or 2T, or 10KiB and so on");
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let shift = match text[digits.len()..].trim_start().to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KIB" => 10,
        "M" | "MIB" => 20,
        "G" | "GIB" => 30,
        "T" | "TIB" => 40,
        _ => return Err(bad()),
    };
    let number: u64 = digits.parse().map_err(|_| bad())?;
    number.checked_mul(1 << shift).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_in_a_shell() {
        for (glob, name, matches) in [
            ("*.jpg", "a.jpg", true),
            ("*.jpg", "a.jpeg", false),
            ("*", "", true),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbX", false),
            ("?", "", false),
            ("?", "x", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[!a-c]x", "dx", true),
            ("[]]", "]", true),
            ("[a", "[a", true),
            ("[a-]", "-", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("**a", "bca", true),
        ] {
            assert_eq!(matches_glob(glob.as_bytes(), name.as_bytes()), matches, "{glob} {name}");
        }
        let (glob, name) = ("*a".repeat(50), "a".repeat(20_000) + "b");
        assert!(!matches_glob(glob.as_bytes(), name.as_bytes()), "and that soon");
    }

    #[test]
    fn sizes_and_times_are_read() {
        for (text, size) in
            [("0", 0), ("500", 500), ("10K", 10_240), ("5m", 5 << 20), ("1GiB", 1 << 30), ("2 TiB", 2 << 40)]
        {
            assert_eq!(parse_size(text), Ok(size));
        }
        for bad in ["", "K", "-1", "1.5M", "1KB", "99999999999T"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_time("1970-01-01T00:00:01Z"), Ok(1_000_000_000));
        assert!(parse_time("17").is_err() && parse_time("v1").is_err());
    }
}
