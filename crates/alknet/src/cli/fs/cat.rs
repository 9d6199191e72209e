//! `alknet fs cat`.

use std::ffi::OsString;

use alknet_call::ByteTicket;
use alknet_fs::operations::ReadFile;
use clap::Args;
use tokio::io::{AsyncWriteExt, stdout};

use super::{Files, turns::Turns};
use crate::{
    failure::Failure,
    files::{
        address::Spot,
        remote::{Remote, at},
    },
};

/// Write files to standard output
///
/// The node waits 60 s for whoever reads nothing.
///
/// Examples:
///   alknet fs cat notes/today.txt
///   alknet fs cat notes@yesterday/today.txt
///   alknet fs cat --range 0-99 notes/today.txt
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Cat {
    /// The files
    #[arg(value_name = "ADDR", required = true)]
    addresses: Vec<OsString>,
    /// Only these bytes, counted from 0, both included: 0-99, or 100- for the rest
    #[arg(long, value_name = "A-B", value_parser = parse_range)]
    range: Option<(u64, Option<u64>)>,
}

impl Cat {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        all_to_stdout(files, &self.addresses, self.range).await
    }
}

/// Writes files, or these of their bytes, to standard output.
pub(super) async fn all_to_stdout(files: &Files<'_>, addresses: &[OsString], range: Range) -> Result<(), Failure> {
    let mut turns = Turns::of(addresses.len());
    for address in addresses {
        let one = async {
            let spot = files.spot(address)?;
            let remote = files.reach(&spot).await?;
            let outcome = to_stdout(&remote, &spot, range).await;
            remote.finish().await;
            outcome
        };
        turns.took(one.await)?;
    }
    turns.end()
}

/// The first byte, and the last.
type Range = Option<(u64, Option<u64>)>;

async fn to_stdout(remote: &Remote<'_>, spot: &Spot, range: Range) -> Result<(), Failure> {
    let (offset, last) = range.unwrap_or_default();
    let length = last.map(|last| last - offset + 1);
    let (bucket, path, when) = (spot.branch.clone(), spot.octets(), spot.when.clone());
    let ticket = remote.call("fs/read", &ReadFile { bucket, path, when, offset, length }).await;
    let ticket: ByteTicket = ticket.map_err(|failure| at(spot, failure))?;
    let mut out = stdout();
    remote.download(&ticket, &mut out).await?;
    Ok(out.flush().await?)
}

fn parse_range(text: &str) -> Result<(u64, Option<u64>), String> {
    let bad = || format!("`{text}` is no range: write 0-99, or 100- for all that follow");
    let (first, last) = text.split_once('-').ok_or_else(bad)?;
    let first = first.parse().map_err(|_| bad())?;
    if last.is_empty() {
        return Ok((first, None));
    }
    let last = last.parse().map_err(|_| bad())?;
    if last < first || last == u64::MAX { Err(bad()) } else { Ok((first, Some(last))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_as_http_has_them() {
        assert_eq!(parse_range("0-99"), Ok((0, Some(99))));
        assert_eq!(parse_range("100-"), Ok((100, None)));
        assert_eq!(parse_range("5-5"), Ok((5, Some(5))));
        for bad in ["", "-", "-5", "5", "5-4", "a-b", "0-18446744073709551615", "18446744073709551616-"] {
            assert!(parse_range(bad).is_err(), "{bad}");
        }
    }
}
