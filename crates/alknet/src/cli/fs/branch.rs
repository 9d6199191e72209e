//! `alknet fs branch`.

use std::ffi::OsString;

use alknet_fs::{
    BranchName,
    operations::{BranchMode, BranchRef, BranchView, Branches, CreateBranch, FlattenedBranch, ListBranches, OneBranch},
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Files, same_node};
use crate::{
    cli::output,
    failure::Failure,
    files::{
        address::Spot,
        remote::{LONG_TIMEOUT, Remote},
    },
};

/// Branches of a bucket: trees that begin as another and go their own way, at no cost
///
/// Examples:
///   alknet fs branch list web
///   alknet fs branch create web:trial
///   alknet fs branch create web:fix --from web@v1
///   alknet fs branch create web:preview --from web --follow
///   alknet fs branch flatten web:trial
///   alknet fs branch remove web:trial
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Branch {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List the branches of a bucket; * is the one that is meant where none is written
    List {
        /// The bucket
        #[arg(value_name = "BUCKET")]
        bucket: OsString,
    },
    /// Make a branch
    Create {
        /// The new branch
        #[arg(value_name = "BUCKET:BRANCH")]
        branch: OsString,
        /// What it begins as: another branch, perhaps as it was [default: the branch that was switched to, else main, now]
        #[arg(long, value_name = "ADDR")]
        from: Option<OsString>,
        /// It shows later changes of that branch too, where it has none of its own
        #[arg(long)]
        follow: bool,
    },
    /// Let a branch read its own rows alone, where it was made from a long chain of others; nothing that it shows changes
    Flatten {
        /// The branch
        #[arg(value_name = "BUCKET:BRANCH")]
        branch: OsString,
    },
    /// Remove a branch; what was merged from it stays
    Remove {
        /// The branch
        #[arg(value_name = "BUCKET:BRANCH")]
        branch: OsString,
    },
}

impl Branch {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        match self.action {
            Action::List { bucket } => list(files, &files.spot(&bucket)?).await,
            Action::Create { branch, from, follow } => {
                let branch = written(files, &branch)?;
                let from = match from {
                    Some(from) => files.spot(&from)?,
                    None => meant(files, &branch),
                };
                let mode = if follow { BranchMode::Follow } else { BranchMode::Pinned };
                create(files, &branch, &from, mode).await
            }
            Action::Flatten { branch } => flatten(files, &written(files, &branch)?).await,
            Action::Remove { branch } => remove(files, &written(files, &branch)?).await,
        }
    }
}

/// A branch that is named as one.
fn written(files: &Files<'_>, text: &OsString) -> Result<Spot, Failure> {
    let spot = files.spot_now(text)?;
    if spot.branch_written && spot.path.names().is_empty() {
        return Ok(spot);
    }
    Err(Failure::usage(format_args!("{spot} names no branch")).hint("write BUCKET:BRANCH"))
}

/// The branches of a bucket.
pub(super) async fn branches(remote: &Remote<'_>, spot: &Spot) -> Result<Vec<BranchView>, Failure> {
    let input = ListBranches { bucket: spot.branch.bucket.clone() };
    let Branches { branches } = remote.call("fs/branch.list", &input).await?;
    Ok(branches)
}

async fn list(files: &Files<'_>, spot: &Spot) -> Result<(), Failure> {
    let remote = files.reach(spot).await?;
    let branches = branches(&remote, spot).await?;
    remote.finish().await;
    if files.json() {
        return output::json(&branches);
    }
    let meant = files.switched.branch(spot.node.as_deref(), &spot.branch.bucket);
    let rows: Vec<_> = branches
        .into_iter()
        .map(|branch| {
            let mark = if branch.branch == meant { "*" } else { "" };
            let mode = match branch.mode {
                None => "-",
                Some(BranchMode::Pinned) => "pinned",
                Some(BranchMode::Follow) => "follows",
            };
            let parent = branch.parent.map_or_else(|| "-".to_owned(), |parent| parent.to_string());
            let fork = branch.fork.map_or_else(|| "-".to_owned(), |fork| fork.to_string());
            [mark.to_owned(), branch.branch.to_string(), parent, fork, mode.to_owned()]
        })
        .collect();
    output::table(["", "BRANCH", "FROM", "AT", "MODE"], &rows)
}

/// The branch that is meant where none is written.
fn meant(files: &Files<'_>, spot: &Spot) -> Spot {
    let bucket = spot.branch.bucket.clone();
    let branch = files.switched.branch(spot.node.as_deref(), &bucket);
    Spot { branch: BranchRef { bucket, branch }, ..spot.clone() }
}

async fn create(files: &Files<'_>, branch: &Spot, from: &Spot, mode: BranchMode) -> Result<(), Failure> {
    same_node(from, branch)?;
    if from.branch.bucket != branch.branch.bucket {
        return Err(Failure::usage(format_args!("{from} is in another bucket than {branch}")));
    }
    let remote = files.reach(branch).await?;
    let (when, from) = (from.when.clone(), Some(from.branch.branch.clone()));
    let input = CreateBranch { bucket: branch.branch.clone(), from, when, mode };
    let made: BranchView = remote.call("fs/branch.create", &input).await?;
    remote.finish().await;
    if files.json() {
        return output::json(&made);
    }
    let bucket = &branch.branch.bucket;
    output::line(format!(
        "{bucket}:{} is there; `alknet fs switch {bucket} {0}` makes it the one that is meant",
        made.branch
    ))
}

async fn flatten(files: &Files<'_>, branch: &Spot) -> Result<(), Failure> {
    let remote = files.reach(branch).await?;
    let input = OneBranch { bucket: branch.branch.clone() };
    let flattened: FlattenedBranch = remote.call_within("fs/branch.flatten", &input, LONG_TIMEOUT).await?;
    remote.finish().await;
    if files.json() {
        return output::json(&flattened);
    }
    let BranchRef { bucket, branch } = &branch.branch;
    let FlattenedBranch { levels, rows } = flattened;
    output::line(match levels {
        1 => format!("{bucket}:{branch} reads its own rows alone; {rows} were copied"),
        _ => format!(
            "{bucket}:{branch} reads through {} others, of which one follows another; {rows} rows were copied",
            levels - 1
        ),
    })
}

async fn remove(files: &Files<'_>, branch: &Spot) -> Result<(), Failure> {
    let remote = files.reach(branch).await?;
    let input = OneBranch { bucket: branch.branch.clone() };
    let _: Value = remote.call_within("fs/branch.remove", &input, LONG_TIMEOUT).await?;
    remote.finish().await;
    let is_meant = meant(files, branch).branch == branch.branch;
    let address = branch.bucket_address();
    let BranchRef { bucket, branch } = &branch.branch;
    if is_meant {
        let other = if *branch == BranchName::main() { "BRANCH` chooses another" } else { "main` goes back to main" };
        output::note(format!("`{address}` meant this branch; `alknet fs switch {address} {other}"));
    }
    if files.json() {
        return output::json(&json!({ "bucket": bucket, "branch": branch }));
    }
    output::line(format!("{bucket}:{branch} is removed"))
}
