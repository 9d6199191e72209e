//! What buckets, branches, snapshots and hooks are called.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{
    limits::{MAX_NAME_BYTES, MAX_SHOWN_BYTES},
    path::Escaped,
};

/// A text that is no such name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Wrong characters or length.
    #[error(
        "`{shown}` is no name of a {what}: 1 to {MAX_NAME_BYTES} of a-z, 0-9, `.`, `_` and `-`, beginning with a {first}"
    )]
    Grammar {
        /// What should have been named.
        what: &'static str,
        /// What the name may begin with.
        first: &'static str,
        /// The beginning of the text.
        shown: String,
    },
    /// It reads as a time.
    #[error("`{0}` names no snapshot: after `@` it reads as a time")]
    ReadsAsTime(String),
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $what:literal, $check:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Reads a name.
            pub fn parse(text: &[u8]) -> Result<Self, BadName> {
                $check($what, text).map(|name| Self(name.into()))
            }
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                Self::parse(text.as_bytes())
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

names! {
    /// The name of a bucket: `[a-z0-9][a-z0-9._-]{0,62}`.
    BucketName, "bucket", plain;
    /// The name of a branch, by the same grammar.
    BranchName, "branch", plain;
    /// The name of a snapshot: as the others, but it begins with a letter and does not read as a time.
    SnapshotName, "snapshot", lettered;
    /// The name of a hook, by the grammar of buckets.
    HookName, "hook", plain;
}

impl BranchName {
    /// The branch that every bucket begins with.
    pub fn main() -> Self {
        Self("main".into())
    }
}

fn plain<'a>(what: &'static str, text: &'a [u8]) -> Result<&'a str, BadName> {
    let good = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    begins_with(what, "letter or digit", text, good)
}

fn lettered<'a>(what: &'static str, text: &'a [u8]) -> Result<&'a str, BadName> {
    let name = begins_with(what, "letter", text, u8::is_ascii_lowercase)?;
    if crate::time::is_relative(name) { Err(BadName::ReadsAsTime(name.to_owned())) } else { Ok(name) }
}

fn begins_with<'a>(
    what: &'static str,
    first: &'static str,
    text: &'a [u8],
    good_first: impl Fn(&u8) -> bool,
) -> Result<&'a str, BadName> {
    let rest = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    let well = text.len() <= MAX_NAME_BYTES && text.first().is_some_and(good_first) && text.iter().all(rest);
    match std::str::from_utf8(text) {
        Ok(name) if well => Ok(name),
        _ => {
            let shown = Escaped(&text[..text.len().min(MAX_SHOWN_BYTES)]).to_string();
            Err(BadName::Grammar { what, first, shown })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_lower_case_and_never_look_like_options_or_dots() {
        // FS-10
        let longest = "x".repeat(MAX_NAME_BYTES);
        for good in ["a", "0", "photos", "a.b_c-d", "2026", "a..b", &longest] {
            assert_eq!(good.parse::<BucketName>().unwrap().as_str(), good);
            assert_eq!(BranchName::parse(good.as_bytes()).unwrap().to_string(), good);
        }
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        let texts =
            ["", ".", "..", ".a", "-a", "_a", "A", "aB", "a b", "a/b", "a:b", "a@b", "ä", "a\0", "a\n", "*", &long];
        for bad in texts {
            assert!(bad.parse::<BucketName>().is_err(), "{bad:?}");
            assert!(bad.parse::<BranchName>().is_err(), "{bad:?}");
            assert!(bad.parse::<SnapshotName>().is_err(), "{bad:?}");
        }
        assert!(BucketName::parse(b"a\xff").is_err());
        assert_eq!(BranchName::main(), "main".parse().unwrap());
    }

    #[test]
    fn a_snapshots_name_reads_neither_as_a_number_nor_as_a_time() {
        // FS-11
        for good in ["a", "v1", "release-2026", "nowhere", "yesterday-evening", "tuesday"] {
            assert_eq!(good.parse::<SnapshotName>().unwrap().as_str(), good);
        }
        for bad in ["0", "17", "2026-01-01", "2026-01-01t00.00"] {
            assert!(matches!(bad.parse::<SnapshotName>(), Err(BadName::Grammar { .. })), "{bad}");
        }
        for bad in ["now", "now-2d", "now-x", "yesterday"] {
            assert_eq!(bad.parse::<SnapshotName>(), Err(BadName::ReadsAsTime(bad.to_owned())));
        }
    }

    #[test]
    fn an_error_shows_little_of_a_hostile_name_and_nothing_raw() {
        // FS-16
        let hostile = [b"\x1b[31m\xff\n".as_slice(), &[b'x'; 10_000]].concat();
        let error = BucketName::parse(&hostile).unwrap_err().to_string();
        assert!(error.starts_with(r"`\u{1b}[31m\xff\n"), "{error}");
        assert!(error.len() < 250);
    }
}
