//! `alknet fs snapshot`.

use std::ffi::OsString;

use alknet_fs::{
    SnapshotName,
    operations::{BranchRef, CreateSnapshot, ListSnapshots, RemoveSnapshot, SnapshotView, Snapshots},
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Files, listing};
use crate::{cli::output, failure::Failure, files::address::Spot};

/// Names for versions of a branch, which are kept as long as they have one
///
/// Examples:
///   alknet fs snapshot create web v1
///   alknet fs snapshot create web@yesterday before-the-change
///   alknet fs ls web@v1
///   alknet fs snapshot remove web v1
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Snapshot {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Name a version
    Create {
        /// The branch, perhaps as it was
        #[arg(value_name = "ADDR")]
        address: OsString,
        /// The name: it begins with a letter
        name: SnapshotName,
    },
    /// List the snapshots of a bucket
    List {
        /// The bucket
        #[arg(value_name = "BUCKET")]
        bucket: OsString,
    },
    /// Take a name away; what only it kept goes in time
    Remove {
        /// The branch that it is of
        #[arg(value_name = "ADDR")]
        address: OsString,
        /// Its name
        name: SnapshotName,
    },
}

impl Snapshot {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        match self.action {
            Action::Create { address, name } => create(files, &files.spot(&address)?, name).await,
            Action::List { bucket } => list(files, &files.spot(&bucket)?).await,
            Action::Remove { address, name } => {
                let spot = files.spot_now(&address)?;
                let remote = files.reach(&spot).await?;
                let input = RemoveSnapshot { bucket: spot.branch.clone(), name: name.clone() };
                let _: Value = remote.call("fs/snapshot.remove", &input).await?;
                remote.finish().await;
                if files.json() {
                    let BranchRef { bucket, branch } = &spot.branch;
                    return output::json(&json!({ "bucket": bucket, "branch": branch, "name": name }));
                }
                output::line(format!("{name} is removed"))
            }
        }
    }
}

async fn create(files: &Files<'_>, spot: &Spot, name: SnapshotName) -> Result<(), Failure> {
    if !spot.path.names().is_empty() {
        return Err(Failure::usage(format_args!("{spot}: a snapshot is of a whole branch")).hint("leave the path away"));
    }
    let remote = files.reach(spot).await?;
    let input = CreateSnapshot { bucket: spot.branch.clone(), name, when: spot.when.clone() };
    let made: SnapshotView = remote.call("fs/snapshot.create", &input).await?;
    remote.finish().await;
    if files.json() {
        return output::json(&made);
    }
    output::line(format!(
        "{}@{} is {}:{} at {}",
        spot.branch.bucket, made.name, spot.branch.bucket, made.branch, made.seq
    ))
}

async fn list(files: &Files<'_>, spot: &Spot) -> Result<(), Failure> {
    let remote = files.reach(spot).await?;
    let input = ListSnapshots { bucket: spot.branch.bucket.clone() };
    let Snapshots { snapshots } = remote.call("fs/snapshot.list", &input).await?;
    remote.finish().await;
    if files.json() {
        return output::json(&snapshots);
    }
    let row =
        |of: SnapshotView| [of.name.to_string(), of.branch.to_string(), of.seq.to_string(), listing::seconds(of.time)];
    output::table(["SNAPSHOT", "BRANCH", "AT", "MADE"], &snapshots.into_iter().map(row).collect::<Vec<_>>())
}
