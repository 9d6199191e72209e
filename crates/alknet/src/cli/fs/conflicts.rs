//! `alknet fs conflicts`.

use std::ffi::OsString;

use alknet_fs::operations::{
    Committed, ConflictAbout, ConflictSide, ConflictView, Conflicts as Listed, KeepSide, ListConflicts, SettleConflict,
};
use clap::{Args, Subcommand};

use super::Files;
use crate::{cli::output, failure::Failure, files::address::Spot};

/// List and settle what two branches changed differently
///
/// Each side says where it can be read.
///
/// Examples:
///   alknet fs conflicts web
///   alknet fs cat web:trial@17/index.html
///   alknet fs conflicts web settle 3 --theirs
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Conflicts {
    /// The branch
    #[arg(value_name = "ADDR")]
    address: OsString,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand)]
enum Action {
    /// Say what stays
    Settle {
        /// The conflict's number
        number: u64,
        #[command(flatten)]
        side: Side,
    },
}

/// Which side counts.
#[derive(Args)]
pub(super) struct Side {
    /// What is here stays
    #[arg(long, conflicts_with_all = ["theirs", "both"])]
    pub(super) ours: bool,
    /// What is there is taken
    #[arg(long, conflicts_with = "both")]
    pub(super) theirs: bool,
    /// Both are kept, theirs under a name of its own
    #[arg(long)]
    pub(super) both: bool,
}

impl Conflicts {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        let spot = files.spot_now(&self.address)?;
        match self.action {
            None => list(files, &spot).await,
            Some(Action::Settle { number, side }) => settle(files, &spot, number, &side).await,
        }
    }
}

async fn list(files: &Files<'_>, spot: &Spot) -> Result<(), Failure> {
    let remote = files.reach(spot).await?;
    let limit = alknet_fs::limits::MAX_LISTED;
    let mut input = ListConflicts { bucket: spot.branch.clone(), after: None, limit };
    let mut all = Vec::new();
    loop {
        let Listed { conflicts, next } = remote.call("fs/conflicts", &input).await?;
        input.after = next;
        all.extend(conflicts);
        if next.is_none() {
            break;
        }
    }
    remote.finish().await;
    if files.json() {
        return output::json(&all);
    }
    all.iter().try_for_each(|conflict| output::line(line(spot, conflict)))
}

async fn settle(files: &Files<'_>, spot: &Spot, number: u64, side: &Side) -> Result<(), Failure> {
    let keep = match (side.ours, side.theirs, side.both) {
        (true, _, _) => KeepSide::Ours,
        (_, true, _) => KeepSide::Theirs,
        (_, _, true) => KeepSide::Both,
        _ => return Err(Failure::usage("say which side stays").hint("--ours, --theirs or --both")),
    };
    let remote = files.reach(spot).await?;
    let input = SettleConflict { bucket: spot.branch.clone(), number, keep };
    let committed: Committed = remote.call("fs/conflict.settle", &input).await?;
    remote.finish().await;
    if files.json() { output::json(&committed) } else { output::line(format!("{number} is settled")) }
}

const fn about(about: ConflictAbout) -> &'static str {
    match about {
        ConflictAbout::Content => "content",
        ConflictAbout::Attributes => "attributes",
        ConflictAbout::Place => "place",
        ConflictAbout::Removed => "removed",
        ConflictAbout::Name => "name",
    }
}

/// A conflict of a branch as a line: its number, what both changed, the path, and the addresses at which each side can be read.
pub(super) fn line(spot: &Spot, conflict: &ConflictView) -> String {
    let bucket = spot.bucket_address();
    let side = |side: &Option<ConflictSide>| match side {
        None => "removed".to_owned(),
        Some(side) if side.gone => format!("{bucket}:{}@{}{} (the branch is gone)", side.branch, side.at, side.path),
        Some(side) => format!("{bucket}:{}@{}{}", side.branch, side.at, side.path),
    };
    let number = conflict.number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let hidden = || "is on a branch that you may not read".to_owned();
    let (ours, theirs) = (side(&conflict.ours), if conflict.theirs_hidden { hidden() } else { side(&conflict.theirs) });
    format!("{number}  {}  {}  ours {ours}  theirs {theirs}", about(conflict.about), conflict.path)
}
