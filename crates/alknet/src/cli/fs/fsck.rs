//! `alknet fs fsck`.

use alknet_call::SubscribeOptions;
use alknet_fs::operations::{CheckFiles, CheckItem};
use clap::Args;
use futures_util::StreamExt;

use super::{Files, listing};
use crate::{
    cli::output,
    failure::Failure,
    files::remote::{self, Remote},
};

/// Check that all content is there and what its hash says, and that the trees are in order
///
/// Fails if something is wrong that was not put right. With --json, one object a line.
///
/// Examples:
///   alknet fs fsck
///   alknet fs fsck --deep --repair
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Fsck {
    /// Read all content and hold it against its hash, and have SQLite check its tables
    #[arg(long)]
    deep: bool,
    /// Put right what can be: counts, outboards, files that nothing names; damaged content is set aside, so that putting
    /// it again replaces it
    #[arg(long)]
    repair: bool,
}

impl Fsck {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        let remote = Remote::reach(files.place, None).await?;
        let input = CheckFiles { deep: self.deep, repair: self.repair };
        let mut items = remote.client().subscribe("fs/fsck", &input, SubscribeOptions::default()).await?;
        let mut summary = None;
        while let Some(item) = items.next().await {
            let item = item.map_err(|error| remote::explain("fs/fsck", &error))?;
            let item: CheckItem = serde_json::from_value(item.output)?;
            if files.json() {
                listing::json_line(&item)?;
            }
            match item {
                CheckItem::Finding(finding) if !files.json() => {
                    let hash = finding.hash.map_or_else(String::new, |hash| format!(" {hash}"));
                    let repaired = if finding.repaired { ", put right" } else { "" };
                    output::line(crate::cli::printable(&format!("{}{hash}{repaired}", finding.what)))?;
                }
                CheckItem::Finding(_) => {}
                CheckItem::Summary(said) => summary = Some(said),
            }
        }
        let summary = summary.ok_or_else(|| Failure::failed("the check ended before all was looked at"))?;
        if !files.json() {
            output::line(format!("{} contents looked at, {} findings", summary.blobs, summary.findings))?;
        }
        match summary.findings - summary.repaired.min(summary.findings) {
            0 => Ok(()),
            wrong => Err(Failure::failed(format_args!("{wrong} things are wrong"))
                .hint("--repair puts right what can be; content that is damaged can be put again")),
        }
    }
}
