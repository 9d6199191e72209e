//! `alknet fs gc`.

use alknet_fs::operations::{CollectGarbage, Collected};
use clap::Args;

use super::Files;
use crate::{
    cli::output,
    failure::Failure,
    files::remote::{LONG_TIMEOUT, Remote},
};

/// Throw away what nothing refers to any more
///
/// The node does this by itself in time; here it is done now. Content goes that no kept version has named for longer than
/// `fs.gc_grace` (10 minutes).
///
/// Examples:
///   alknet fs gc --dry-run
///   alknet fs gc
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Gc {
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
}

impl Gc {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        let remote = Remote::reach(files.place, None).await?;
        let input = CollectGarbage { dry_run: self.dry_run };
        let collected: Collected = remote.call_within("fs/gc", &input, LONG_TIMEOUT).await?;
        if files.json() {
            return output::json(&collected);
        }
        let Collected { blobs, bytes, left } = collected;
        let would = if self.dry_run { "would go" } else { "went" };
        let kept = if left > 0 { format!(", {left} in use stay for now") } else { String::new() };
        output::line(format!("{blobs} contents of {} {would}{kept}", output::bytes(bytes)))
    }
}
