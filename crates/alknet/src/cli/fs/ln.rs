//! `alknet fs ln`.

use std::{ffi::OsString, os::unix::ffi::OsStrExt};

use alknet_fs::operations::{Committed, EntryKind, LinkEntry, LinkTo, Octets};
use clap::Args;

use super::{Files, listing, same_branch};
use crate::{
    failure::{Failure, Kind},
    files::{address::Spot, remote::Remote},
};

/// Give a file another name, or make a symbolic link
///
/// Examples:
///   alknet fs ln notes/a.txt notes/same.txt
///   alknet fs ln -s ../a.txt notes/old/link
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Ln {
    /// The address of the file; with -s the text of the link
    #[arg(value_name = "TARGET")]
    target: OsString,
    /// The name that is made
    #[arg(value_name = "ADDR")]
    address: OsString,
    /// A symbolic link
    #[arg(short)]
    symbolic: bool,
}

impl Ln {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        let spot = files.spot_now(&self.address)?;
        let target = if self.symbolic { None } else { Some(files.spot_now(&self.target)?) };
        let to = match &target {
            None => LinkTo::Symbolic(Octets::from(self.target.as_bytes())),
            Some(target) => {
                same_branch(target, &spot)?;
                LinkTo::Hard(target.octets())
            }
        };
        let remote = files.reach(&spot).await?;
        let input = LinkEntry { bucket: spot.branch.clone(), path: spot.octets(), to };
        let committed: Result<Committed, _> = remote.call("fs/link", &input).await;
        let committed = match (committed, target) {
            (Err(failure), Some(target)) if failure.kind() == Kind::Denied && is_folder(&remote, &target).await => {
                Err(Failure::usage(format_args!("{target} is a folder, and only files have several names"))
                    .hint("with -s it is a symbolic link, which leads to a folder too"))
            }
            (committed, _) => committed,
        };
        remote.finish().await;
        let committed = committed?;
        if files.json() { listing::json_line(&committed) } else { Ok(()) }
    }
}

async fn is_folder(remote: &Remote<'_>, target: &Spot) -> bool {
    let found = remote.look(target, true).await;
    found.is_ok_and(|found| found.is_some_and(|found| found.kind == EntryKind::Folder))
}
