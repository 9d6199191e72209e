//! `alknet fs ln`.

use std::{ffi::OsString, os::unix::ffi::OsStrExt};

use alknet_fs::operations::{Committed, LinkEntry, LinkTo, Octets};
use clap::Args;

use super::{Files, listing, same_branch};
use crate::failure::Failure;

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
        let to = if self.symbolic {
            LinkTo::Symbolic(Octets::from(self.target.as_bytes()))
        } else {
            let target = files.spot_now(&self.target)?;
            same_branch(&target, &spot)?;
            LinkTo::Hard(target.octets())
        };
        let remote = files.reach(&spot).await?;
        let input = LinkEntry { bucket: spot.branch.clone(), path: spot.octets(), to };
        let committed: Committed = remote.call("fs/link", &input).await?;
        remote.finish().await;
        if files.json() { listing::json_line(&committed) } else { Ok(()) }
    }
}
