//! `alknet fs cp`.

use std::ffi::OsString;

use alknet_fs::operations::{CommittedSteps, CopyEntry, EntryKind, Source};
use clap::Args;

use super::{Files, listing, same_node, transfer};
use crate::{failure::Failure, files::remote::LONG_TIMEOUT};

/// Copy within a node, also from another branch or from the past; no bytes are moved
///
/// Into a folder that is there, under its own name. More than 1,000 entries come in several commits, one after the other.
///
/// Examples:
///   alknet fs cp notes/a.txt notes/b.txt
///   alknet fs cp notes@yesterday/a.txt notes/a-yesterday.txt
///   alknet fs cp -r web:trial/img web/img-trial
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Cp {
    /// What is copied
    #[arg(value_name = "FROM")]
    from: OsString,
    /// What the copy is called, or the folder that gets it
    #[arg(value_name = "TO")]
    to: OsString,
    /// A folder, with all that is in it
    #[arg(short)]
    recursive: bool,
}

impl Cp {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        let (from, to) = (files.spot(&self.from)?, files.spot_now(&self.to)?);
        same_node(&from, &to)?;
        let remote = files.reach(&to).await?;
        if remote.stat(&from, false).await?.kind == EntryKind::Folder && !self.recursive {
            return Err(Failure::usage(format_args!("{from} is a folder")).hint("copy it with -r"));
        }
        let is_folder = remote.look(&to, true).await?.is_some_and(|found| found.kind == EntryKind::Folder);
        let to = transfer::into_or_as(&to, &transfer::name_of_spot(&from), is_folder)?;
        let source = Source { bucket: Some(from.branch.clone()), path: from.octets(), when: from.when.clone() };
        let input = CopyEntry { bucket: to.branch.clone(), from: source, to: to.octets() };
        let committed: CommittedSteps = remote.call_within("fs/copy", &input, LONG_TIMEOUT).await?;
        remote.finish().await;
        if files.json() { listing::json_line(&committed) } else { Ok(()) }
    }
}
