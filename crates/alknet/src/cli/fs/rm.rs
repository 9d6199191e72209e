//! `alknet fs rm`.

use std::ffi::OsString;

use alknet_fs::operations::{CommittedSteps, RemoveEntry};
use clap::Args;

use super::{Files, listing, turns::Turns};
use crate::{
    failure::{Failure, Kind},
    files::remote::LONG_TIMEOUT,
};

/// Remove files, links and folders; older versions stay in the history
///
/// A folder with more than 1,000 entries goes in several commits; one that is cut in the middle goes on when it is said again.
///
/// Examples:
///   alknet fs rm notes/old.txt
///   alknet fs rm -r photos:trial/2019
///   alknet fs restore photos@now-1h/2019
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Rm {
    /// What goes; a link itself goes, not what it points to
    #[arg(value_name = "ADDR", required = true)]
    addresses: Vec<OsString>,
    /// Folders with all that is in them
    #[arg(short)]
    recursive: bool,
    /// It is no failure if something is not there
    #[arg(short)]
    force: bool,
}

impl Rm {
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
        let input = RemoveEntry { bucket: spot.branch.clone(), path: spot.octets(), recursive: self.recursive };
        let removed: Result<CommittedSteps, _> = remote.call_within("fs/remove", &input, LONG_TIMEOUT).await;
        remote.finish().await;
        match removed {
            Ok(committed) if files.json() => listing::json_line(&committed),
            Ok(_) => Ok(()),
            Err(failure) if self.force && failure.kind() == Kind::NotFound => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}
