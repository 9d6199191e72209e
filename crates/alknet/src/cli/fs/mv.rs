//! `alknet fs mv`.

use std::ffi::OsString;

use alknet_fs::operations::{Committed, EntryKind, MoveEntry, MoveHow};
use clap::Args;

use super::{Files, listing, same_branch, transfer};
use crate::failure::Failure;

/// Move or rename within a branch
///
/// A folder moves with all that is in it, at once. Into a folder that is there, under its own name.
///
/// Examples:
///   alknet fs mv notes/a.txt notes/b.txt
///   alknet fs mv notes/a.txt notes/b.txt notes/old/
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Mv {
    /// What is moved, and its new name or folder
    #[arg(value_names = ["FROM", "TO"], num_args = 2.., required = true)]
    addresses: Vec<OsString>,
    /// Refuse where the new name is taken
    #[arg(short = 'n', long)]
    no_replace: bool,
}

impl Mv {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        let Some((to, from)) = self.addresses.split_last() else { return Ok(()) };
        let to = files.spot_now(to)?;
        let remote = files.reach(&to).await?;
        let is_folder = remote.look(&to, true).await?.is_some_and(|found| found.kind == EntryKind::Folder);
        for from in from {
            let from = files.spot_now(from)?;
            same_branch(&from, &to)?;
            let into = is_folder || self.addresses.len() > 2;
            let to = transfer::into_or_as(&to, &transfer::name_of_spot(&from), into)?;
            let how = if self.no_replace { MoveHow::NoReplace } else { MoveHow::Replace };
            let input = MoveEntry { bucket: to.branch.clone(), from: from.octets(), to: to.octets(), how };
            let committed: Committed = remote.call("fs/move", &input).await?;
            if files.json() {
                listing::json_line(&committed)?;
            }
        }
        remote.finish().await;
        Ok(())
    }
}
