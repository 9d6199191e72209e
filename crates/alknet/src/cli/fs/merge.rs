//! `alknet fs merge`.

use std::ffi::OsString;

use alknet_fs::operations::{MergeInput, MergeOutput, MergeStrategy};
use clap::Args;

use super::{Files, conflicts, same_node};
use crate::{cli::output, failure::Failure, files::remote::LONG_TIMEOUT};

/// Bring the changes of one branch into another
///
/// Where both changed the same thing, what is there stays, both versions are kept, and the conflict is listed;
/// `alknet fs conflicts` settles it. It exits with 1 if it leaves a conflict to settle, with --dry-run if it would.
///
/// Examples:
///   alknet fs merge --dry-run web:trial web
///   alknet fs merge web:trial web
///   alknet fs merge --theirs web:trial web:main
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Merge {
    /// The branch whose changes are taken
    #[arg(value_name = "FROM")]
    from: OsString,
    /// The branch that gets them
    #[arg(value_name = "INTO")]
    into: OsString,
    #[command(flatten)]
    side: conflicts::Side,
    /// Only say what would happen
    #[arg(long)]
    dry_run: bool,
}

impl Merge {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        let (from, into) = (files.spot(&self.from)?, files.spot_now(&self.into)?);
        if let Some(when) = &from.when {
            let bucket = from.bucket_address();
            return Err(Failure::usage(format_args!("{from} is of the past, and branches are merged as they are now"))
                .hint(format_args!("`alknet fs branch create {bucket}:NAME --from {bucket}:{}@{when}` makes a branch of it, which can be merged", from.branch.branch)));
        }
        same_node(&from, &into)?;
        if from.branch.bucket != into.branch.bucket || from.branch == into.branch {
            return Err(Failure::usage(format_args!("{from} and {into} are not two branches of one bucket"))
                .hint("write them as BUCKET:BRANCH"));
        }
        if !from.path.names().is_empty() || !into.path.names().is_empty() {
            return Err(Failure::usage("whole branches are merged: leave the paths away"));
        }
        let strategy = match (self.side.ours, self.side.theirs, self.side.both) {
            (true, _, _) => MergeStrategy::Ours,
            (_, true, _) => MergeStrategy::Theirs,
            (_, _, true) => MergeStrategy::Both,
            _ => MergeStrategy::Conflict,
        };
        let remote = files.reach(&into).await?;
        let (bucket, dry_run) = (into.branch.clone(), self.dry_run);
        let input = MergeInput { bucket, from: from.branch.branch.clone(), strategy, dry_run };
        let merged: MergeOutput = remote.call_within("fs/merge", &input, LONG_TIMEOUT).await?;
        remote.finish().await;
        let is_open = merged.conflict_count > 0 && strategy == MergeStrategy::Conflict;
        // As `git merge` ends: what is to be settled is said, and the exit code says that there is something.
        let end = if is_open { Err(Failure::status(1)) } else { Ok(()) };
        if files.json() {
            return output::json(&merged).and(end);
        }
        let would = if self.dry_run { "would be " } else { "" };
        let at = merged.committed.as_ref().map_or_else(String::new, |committed| format!(", commit {}", committed.seq));
        output::line(format!("{} entries {would}changed, {} conflicts{at}", merged.merged, merged.conflict_count))?;
        for conflict in &merged.conflicts {
            output::line(conflicts::line(&into, conflict))?;
        }
        if is_open && !self.dry_run {
            output::note(format!(
                "settle them with `alknet fs conflicts {into} settle N --ours` (or --theirs, --both)"
            ));
        }
        end
    }
}
