//! `alknet fs switch`.

use std::ffi::OsString;

use alknet_fs::{BranchName, operations::BranchRef};
use clap::Args;
use serde_json::json;

use super::{Files, branch::branches};
use crate::{
    cli::output,
    failure::{Failure, Kind},
    files::address::{Spot, Switched},
};

/// Choose the branch of a bucket that is meant where none is written
///
/// It is remembered for this user and this data folder; the bucket itself does not change.
///
/// Examples:
///   alknet fs switch web trial
///   alknet fs switch web main
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Switch {
    /// The bucket
    #[arg(value_name = "BUCKET")]
    bucket: OsString,
    /// Its branch
    #[arg(value_name = "BRANCH")]
    branch: BranchName,
}

impl Switch {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        let spot = Spot::read_now(&self.bucket, &Switched::default())?;
        let remote = files.reach(&spot).await?;
        let known = branches(&remote, &spot).await?;
        remote.finish().await;
        let branch = BranchRef { bucket: spot.branch.bucket.clone(), branch: self.branch };
        if !known.iter().any(|known| known.branch == branch.branch) {
            let bucket = &branch.bucket;
            return Err(Failure::new(Kind::NotFound, format_args!("{bucket} has no branch {}", branch.branch))
                .hint(format_args!("`alknet fs branch list {bucket}` shows them"))
                .hint(format_args!("make it with `alknet fs branch create {bucket}:{}`", branch.branch)));
        }
        let mut switched = files.switched.clone();
        switched.remember(spot.node.as_deref(), &branch)?;
        if files.json() {
            return output::json(&json!({ "bucket": branch.bucket, "branch": branch.branch }));
        }
        output::line(format!("{0} means {0}:{1} from now on", branch.bucket, branch.branch))
    }
}
