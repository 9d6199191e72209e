//! Where something is and as of when, as people write it: `[node//]bucket[:branch][@when]/path`.

use std::fmt;

use crate::{
    ids::Seq,
    limits::{MAX_ADDRESS_NODE_BYTES, MAX_SHOWN_BYTES, MAX_WHEN_BYTES},
    name::{BadName, BranchName, BucketName, SnapshotName},
    path::{BadPath, Escaped, FsPath},
    time::{digits, format_rfc3339, is_relative, parse_rfc3339, relative},
};

/// An address. The path may be left out for the root, and the branch for the one that is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The node that has it, as its owner calls it; `None`: this one.
    pub node: Option<String>,
    /// The bucket.
    pub bucket: BucketName,
    /// The branch, if one was written.
    pub branch: Option<BranchName>,
    /// As of when.
    pub when: When,
    /// The entry.
    pub path: FsPath,
}

/// Which of the versions of a branch is meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum When {
    /// The newest.
    #[default]
    Now,
    /// As it was after this commit of the bucket.
    Seq(Seq),
    /// As it was at this time, in nanoseconds since 1970.
    Time(i64),
    /// As the snapshot holds it.
    Snapshot(SnapshotName),
}

/// Bytes that are no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// Nothing before the first `/`.
    #[error("an address begins with a bucket: [node//]bucket[:branch][@when]/path")]
    NoBucket,
    /// What stands before `//`.
    #[error("`{0}` before `//` names no node")]
    Node(String),
    /// The bucket, branch or snapshot.
    #[error(transparent)]
    Name(#[from] BadName),
    /// What stands after `@`.
    #[error(
        "`{0}` after `@` is no version: write a number, a time such as 2026-01-31T12:00:00Z, now-2d or yesterday, or a snapshot's name"
    )]
    When(String),
    /// The path.
    #[error(transparent)]
    Path(#[from] BadPath),
}

impl Address {
    /// Reads an address; `now_ns` (since 1970) is what relative times count from.
    ///
    /// A `//` right after the first word ends the name of a node; later ones are part of the path and say nothing.
    pub fn parse(text: &[u8], now_ns: i64) -> Result<Self, BadAddress> {
        let (node, text) = split_node(text)?;
        let slash = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
        let (place, path) = text.split_at(slash);
        let (place, when) = split_at_byte(place, b'@');
        let (bucket, branch) = split_at_byte(place, b':');
        if bucket.is_empty() {
            return Err(BadAddress::NoBucket);
        }
        Ok(Self {
            node,
            bucket: BucketName::parse(bucket)?,
            branch: branch.map(BranchName::parse).transpose()?,
            when: when.map_or(Ok(When::Now), |when| When::parse(when, now_ns))?,
            path: FsPath::parse(path)?,
        })
    }

    /// The branch that was written, or else `main`.
    pub fn branch_or_main(&self) -> BranchName {
        self.branch.clone().unwrap_or_else(BranchName::main)
    }

    /// The address as it is written, with a path in any case.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut place = self.node.as_ref().map_or_else(String::new, |node| format!("{node}//"));
        place.push_str(self.bucket.as_str());
        if let Some(branch) = &self.branch {
            place.push_str(&format!(":{branch}"));
        }
        if self.when != When::Now {
            place.push_str(&format!("@{}", self.when));
        }
        [place.into_bytes(), self.path.to_bytes()].concat()
    }
}

/// For people; bytes that are no text are escaped ([`Address::to_bytes`] is the way back).
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.to_bytes()).fmt(f)
    }
}

impl When {
    /// Reads what stands after `@`: all digits are a seq, what begins with another digit is RFC 3339, `now`, `now-2d` and `yesterday`
    /// count from `now_ns`, and everything else is a snapshot.
    pub fn parse(text: &[u8], now_ns: i64) -> Result<Self, BadAddress> {
        let bad = || BadAddress::When(Escaped(&text[..text.len().min(MAX_SHOWN_BYTES)]).to_string());
        let word = std::str::from_utf8(text).map_err(|_| bad())?;
        if word.len() > MAX_WHEN_BYTES || word.is_empty() {
            return Err(bad());
        }
        if word == "now" {
            return Ok(Self::Now);
        }
        if is_relative(word) {
            return relative(word, now_ns).map(Self::Time).ok_or_else(bad);
        }
        if text.iter().all(u8::is_ascii_digit) {
            let number = digits(text).and_then(|number| u64::try_from(number).ok());
            return number.and_then(Seq::new).map(Self::Seq).ok_or_else(bad);
        }
        if text[0].is_ascii_digit() {
            return parse_rfc3339(word).map(Self::Time).ok_or_else(bad);
        }
        SnapshotName::parse(text).map(Self::Snapshot).map_err(|_| bad())
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now => f.write_str("now"),
            Self::Seq(seq) => seq.fmt(f),
            Self::Time(ns) => f.write_str(&format_rfc3339(*ns)),
            Self::Snapshot(name) => name.fmt(f),
        }
    }
}

fn split_node(text: &[u8]) -> Result<(Option<String>, &[u8]), BadAddress> {
    let Some(slash) = text.iter().position(|byte| *byte == b'/') else { return Ok((None, text)) };
    let Some(rest) = text[slash..].strip_prefix(b"//") else { return Ok((None, text)) };
    let node = &text[..slash];
    if node.is_empty() {
        return Err(BadAddress::NoBucket);
    }
    let printable = |text: &&str| !text.chars().any(|character| character.is_control() || character.is_whitespace());
    match std::str::from_utf8(node).ok().filter(printable) {
        Some(name) if name.len() <= MAX_ADDRESS_NODE_BYTES => Ok((Some(name.to_owned()), rest)),
        _ => Err(BadAddress::Node(Escaped(&node[..node.len().min(MAX_SHOWN_BYTES)]).to_string())),
    }
}

/// What stands before the first such byte, and after it if there is one.
fn split_at_byte(text: &[u8], at: u8) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == at) {
        None => (text, None),
        Some(index) => (&text[..index], Some(&text[index + 1..])),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_800_000_000_000_000_000;

    fn parse(text: &str) -> Address {
        Address::parse(text.as_bytes(), NOW).unwrap()
    }

    #[test]
    fn each_part_of_an_address_is_found() {
        // FS-14
        let bare = parse("photos");
        assert_eq!((bare.node, bare.branch, bare.when, bare.path), (None, None, When::Now, FsPath::ROOT));
        let full = parse("home//photos:trip@v1/2026/a b.jpg");
        assert_eq!(full.node.as_deref(), Some("home"));
        assert_eq!(full.bucket.as_str(), "photos");
        assert_eq!(full.branch_or_main().as_str(), "trip");
        assert_eq!(full.when, When::Snapshot("v1".parse().unwrap()));
        assert_eq!(full.path.to_bytes(), b"/2026/a b.jpg");
        assert_eq!(parse("a/x").branch_or_main().as_str(), "main");
        assert_eq!(parse("example.org:4433//b:c/x").node.as_deref(), Some("example.org:4433"));
        assert_eq!(parse("b/x//y:z@1").path.to_bytes(), b"/x/y:z@1", "only the first word of an address has parts");
        assert_eq!(parse("b@2026-01-31T12:00:00+01:00/x").when, When::Time(1_769_857_200_000_000_000));
        assert_eq!(parse("b:c@2026-01-31").when, When::Time(1_769_817_600_000_000_000));
        assert_eq!(parse("b@17").when, When::Seq(Seq::new(17).unwrap()));
        assert_eq!(parse("b@0").when, When::Seq(Seq::ZERO));
        assert_eq!(parse("b@now/x").when, When::Now);
        assert_eq!(parse("b@now-2d/x").when, When::Time(NOW - 2 * 86_400 * 1_000_000_000));
        assert_eq!(parse("b@yesterday").when, parse("b@now-1d").when);
    }

    #[test]
    fn paths_keep_their_bytes() {
        // FS-12
        let address = Address::parse(b"b/\xff\xfe/\x01", NOW).unwrap();
        assert_eq!(address.path.names()[0].as_bytes(), b"\xff\xfe");
        assert_eq!(address.to_string(), "b/\\xff\\xfe/\\u{1}");
        assert_eq!(Address::parse(&address.to_bytes(), NOW).unwrap(), address);
    }

    proptest! {
        #[test]
        fn an_address_is_read_as_it_is_written(
            text in "([a-z.]{1,4}//)?[a-z0-9]{1,3}(:[a-z]{1,3})?(@([0-9]{1,20}|now|now-[0-9]d|[a-z]{1,4}|20[0-9]{2}-0[1-9]-1[0-9]))?(/[a-z./]{0,5})?"
        ) {
            // FS-14
            if let Ok(address) = Address::parse(text.as_bytes(), NOW) {
                prop_assert_eq!(Address::parse(&address.to_bytes(), 0).unwrap(), address);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused_with_little_said(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            // FS-16
            match Address::parse(&bytes, NOW) {
                Ok(address) => prop_assert_eq!(Address::parse(&address.to_bytes(), 0).unwrap(), address),
                Err(error) => prop_assert!(error.to_string().len() < 700 && !error.to_string().contains(char::is_control)),
            }
        }
    }
}
