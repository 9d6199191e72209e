//! `alknet fs stat`.

use std::ffi::OsString;

use alknet_fs::operations::{EntryKind, Octets, StatView};
use clap::Args;
use serde::Serialize;

use super::{Files, listing, turns::Turns};
use crate::{cli::output, failure::Failure, files::address::Spot};

/// Say everything about an entry: hash, times, links, attributes
///
/// With --json, an object; of several entries, one object a line.
///
/// Examples:
///   alknet fs stat notes/a.txt
///   alknet fs stat --json notes@17/a.txt
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Stat {
    /// The entries
    #[arg(value_name = "ADDR", required = true)]
    addresses: Vec<OsString>,
    /// What a symbolic link points to, instead of the link
    #[arg(short = 'L')]
    follow: bool,
}

impl Stat {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        let mut turns = Turns::of(self.addresses.len());
        for address in &self.addresses {
            turns.took(self.one(files, address).await)?;
        }
        turns.end()
    }

    async fn one(&self, files: &Files<'_>, address: &OsString) -> Result<(), Failure> {
        let spot = files.spot(address)?;
        let remote = files.reach(&spot).await?;
        let found = remote.stat(&spot, self.follow).await;
        remote.finish().await;
        let found = found?;
        let said = Addressed { address: Octets::from(spot.to_bytes().as_slice()), found: &found };
        match (files.json(), self.addresses.len()) {
            (false, _) => print(&spot, &found),
            (true, 1) => output::json(&said),
            (true, _) => listing::json_line(&said),
        }
    }
}

/// What is found, with where.
#[derive(Serialize)]
struct Addressed<'a> {
    address: Octets,
    #[serde(flatten)]
    found: &'a StatView,
}

fn print(spot: &Spot, found: &StatView) -> Result<(), Failure> {
    let attributes = &found.attributes;
    let kind = match found.kind {
        EntryKind::File => "file",
        EntryKind::Folder => "folder",
        EntryKind::Symlink => "symbolic link",
    };
    let row = |name: &str, value: String| output::line(format!("{name:<10}{value}"));
    row("address", spot.to_string())?;
    row("kind", kind.to_owned())?;
    row("size", format!("{} bytes", attributes.size))?;
    row("mode", format!("{:04o} {}", attributes.mode, listing::permissions(found.kind, attributes.mode)))?;
    row("modified", attributes.mtime.to_string())?;
    if let Some(ctime) = attributes.ctime {
        row("changed", ctime.to_string())?;
    }
    let names = attributes.nlink.map_or_else(String::new, |names| format!(", {names} names"));
    row("inode", format!("{}{names}", attributes.ino))?;
    row("commit", attributes.seq.to_string())?;
    if let Some(hash) = attributes.hash {
        row("hash", hash.to_string())?;
    }
    if let Some(target) = &attributes.target {
        row("target", target.to_string())?;
    }
    found.xattrs.iter().try_for_each(|xattr| row("attribute", format!("{} = {}", xattr.name, xattr.value)))
}
