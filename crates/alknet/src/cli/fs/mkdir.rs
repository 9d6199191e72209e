//! `alknet fs mkdir`.

use std::ffi::OsString;

use alknet_fs::operations::{Committed, MakeFolder};
use clap::Args;

use super::{Files, listing, turns::Turns};
use crate::failure::Failure;

/// Make folders
///
/// Examples:
///   alknet fs mkdir notes/2026
///   alknet fs mkdir -p notes/2026/november
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Mkdir {
    /// The folders
    #[arg(value_name = "ADDR", required = true)]
    addresses: Vec<OsString>,
    /// Also those above them; then it may also be there already
    #[arg(short)]
    parents: bool,
    /// Their permission bits, octal
    #[arg(short, value_name = "MODE", value_parser = parse_mode)]
    mode: Option<u16>,
}

impl Mkdir {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        let mut turns = Turns::of(self.addresses.len());
        for address in &self.addresses {
            turns.took(self.one(files, address).await)?;
        }
        turns.end()
    }

    async fn one(&self, files: &Files<'_>, address: &OsString) -> Result<(), Failure> {
        let spot = files.spot_now(address)?;
        let remote = files.reach(&spot).await?;
        let (bucket, path) = (spot.branch.clone(), spot.octets());
        let input = MakeFolder { bucket, path, mode: self.mode, parents: self.parents };
        let committed: Result<Committed, _> = remote.call("fs/mkdir", &input).await;
        remote.finish().await;
        let committed = committed?;
        if files.json() { listing::json_line(&committed) } else { Ok(()) }
    }
}

fn parse_mode(text: &str) -> Result<u16, String> {
    let mode = u16::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| format!("`{text}` is no mode: write octal digits, as 755"))
}
