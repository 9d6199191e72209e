//! `alknet fs set`.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    time::{SystemTime, UNIX_EPOCH},
};

use alknet_fs::{
    Escaped,
    operations::{Committed, Octets, SetAttributes, Timestamp, Xattr},
};
use clap::{ArgGroup, Args};

use super::{Files, listing, turns::Turns};
use crate::failure::Failure;

/// Set the mode, the time and the extended attributes of entries
///
/// At least one of the options says what. What is not said stays as it is; the content does, too. Of a symbolic link it is the link itself that is set.
///
/// Examples:
///   alknet fs set --mode 755 web/run.sh
///   alknet fs set --time 2026-01-31T12:00:00Z photos/2026/a.jpg photos/2026/b.jpg
///   alknet fs set --xattr user.origin=scan --no-xattr user.draft notes/a.txt
#[derive(Args)]
#[command(verbatim_doc_comment, group(ArgGroup::new("what").required(true).multiple(true)))]
pub struct Set {
    /// The entries
    #[arg(value_name = "ADDR", required = true)]
    addresses: Vec<OsString>,
    /// The permission bits in octal: 644, 0755, 4711
    #[arg(long, value_name = "MODE", value_parser = parse_mode, group = "what")]
    mode: Option<u16>,
    /// When the content counts as changed: 2026-01-31T12:00:00Z, or now
    #[arg(long, value_name = "TIME", value_parser = parse_time, group = "what")]
    time: Option<Timestamp>,
    /// An extended attribute with its value
    #[arg(long, value_name = "NAME=VALUE", group = "what")]
    xattr: Vec<OsString>,
    /// An extended attribute that goes
    #[arg(long, value_name = "NAME", group = "what")]
    no_xattr: Vec<OsString>,
}

impl Set {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        let xattrs = self.xattr.iter().map(|text| parse_xattr(text)).collect::<Result<Vec<_>, _>>()?;
        let mut turns = Turns::of(self.addresses.len());
        for address in &self.addresses {
            turns.took(self.one(files, address, xattrs.clone()).await)?;
        }
        turns.end()
    }

    async fn one(&self, files: &Files<'_>, address: &OsStr, set_xattrs: Vec<Xattr>) -> Result<(), Failure> {
        let spot = files.spot_now(address)?;
        let remote = files.reach(&spot).await?;
        let input = SetAttributes {
            bucket: spot.branch.clone(),
            path: spot.octets(),
            mode: self.mode,
            mtime: self.time,
            xattrs: None,
            set_xattrs,
            remove_xattrs: self.no_xattr.iter().map(|name| Octets::from(name.as_bytes())).collect(),
        };
        let committed: Result<Committed, _> = remote.call("fs/set", &input).await;
        remote.finish().await;
        let committed = committed?;
        if files.json() { listing::json_line(&committed) } else { Ok(()) }
    }
}

fn parse_mode(text: &str) -> Result<u16, String> {
    let octal = text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = u16::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= 0o7777);
    mode.ok_or_else(|| "a mode is an octal number up to 7777".to_owned())
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    if text != "now" {
        return text.parse().map_err(|error| format!("{error}"));
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)))
}

/// The name ends at the first `=`; what follows is the value, whatever its bytes.
fn parse_xattr(text: &OsStr) -> Result<Xattr, Failure> {
    let bytes = text.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=').filter(|at| *at > 0);
    let wrong =
        || Failure::usage(format_args!("{} is no attribute with a value", Escaped(bytes))).hint("write NAME=VALUE");
    let at = at.ok_or_else(wrong)?;
    Ok(Xattr { name: bytes[..at].into(), value: bytes[at + 1..].into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal_and_attributes_end_their_name_at_the_first_equals_sign() {
        assert_eq!(parse_mode("0644"), Ok(0o644));
        assert_eq!(parse_mode("7777"), Ok(0o7777));
        for bad in ["", "8", "0o644", "+644", "10000", "u+x"] {
            assert!(parse_mode(bad).is_err(), "{bad}");
        }
        let xattr = parse_xattr(OsStr::from_bytes(b"user.a=b=\xff")).unwrap();
        assert_eq!((&*xattr.name.0, &*xattr.value.0), (b"user.a".as_slice(), b"b=\xff".as_slice()));
        assert_eq!(parse_xattr(OsStr::new("user.a=")).unwrap().value.0, b"");
        assert!(parse_xattr(OsStr::new("=b")).is_err() && parse_xattr(OsStr::new("user.a")).is_err());
        assert_eq!(parse_time("2026-01-31T12:00:00Z").unwrap().to_string(), "2026-01-31T12:00:00Z");
        assert!(parse_time("yesterday").is_err() && parse_time("now").is_ok());
    }
}
