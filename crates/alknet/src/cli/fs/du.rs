//! `alknet fs du`.

use std::{
    collections::{BTreeMap, HashSet},
    ffi::OsString,
};

use alknet_fs::operations::{EntryKind, EntryView, Octets};
use clap::Args;
use serde_json::json;

use super::{Files, listing, turns::Turns};
use crate::{cli::output, failure::Failure, files::address::Spot};

/// Say how many bytes the files in a folder have
///
/// What older versions and other branches hold is what `alknet fs usage` says. A file with several names counts once.
///
/// Examples:
///   alknet fs du photos
///   alknet fs du -s photos photos@v1
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Du {
    /// The folders
    #[arg(value_name = "ADDR", required = true)]
    addresses: Vec<OsString>,
    /// Only the sum of each
    #[arg(short)]
    summary: bool,
    /// Bytes as plain numbers
    #[arg(short)]
    bytes: bool,
}

impl Du {
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
        let mut sums = Sums::default();
        let mut pages = remote.pages(&spot, true);
        while let Some(page) = pages.next().await? {
            page.iter().for_each(|entry| sums.add(entry));
        }
        remote.finish().await;
        self.print(files, &spot, &sums)
    }

    fn print(&self, files: &Files<'_>, spot: &Spot, sums: &Sums) -> Result<(), Failure> {
        let folders = sums.folders.iter().filter(|(path, _)| !self.summary || path.is_empty());
        for (path, sum) in folders {
            let address = if path.is_empty() {
                spot.to_string()
            } else {
                format!("{}/{}", spot.to_string().trim_end_matches('/'), listing::shown(path))
            };
            if files.json() {
                let path = Octets(path.clone());
                listing::json_flow(
                    &json!({ "address": spot.to_string(), "path": path, "files": sum.1, "bytes": sum.0 }),
                )?;
            } else if self.bytes {
                output::flow(format!("{:>14}  {address}", sum.0))?;
            } else {
                output::flow(format!("{:>10}  {address}", output::bytes(sum.0)))?;
            }
        }
        Ok(())
    }
}

/// Bytes and files of each folder with all that is below it, by its path.
#[derive(Default)]
struct Sums {
    folders: BTreeMap<Vec<u8>, (u64, u64)>,
    counted: HashSet<alknet_fs::operations::InodeNumber>,
}

impl Sums {
    fn add(&mut self, entry: &EntryView) {
        let path = &entry.name.0;
        if entry.kind == EntryKind::Folder {
            self.folders.entry(path.clone()).or_default();
        }
        self.folders.entry(Vec::new()).or_default();
        let Some(attributes) = entry.attributes.as_ref().filter(|_| entry.kind == EntryKind::File) else { return };
        if !self.counted.insert(attributes.ino) {
            return;
        }
        let above = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in std::iter::once(0).chain(above) {
            let sum = self.folders.entry(path[..end].to_vec()).or_default();
            sum.0 += attributes.size;
            sum.1 += 1;
        }
    }
}
