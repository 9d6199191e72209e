//! `alknet fs usage`.

use std::ffi::OsString;

use alknet_fs::operations::{UsageInput, UsageView};
use clap::Args;

use super::Files;
use crate::{cli::output, failure::Failure, files::remote::LONG_TIMEOUT};

/// Say what a bucket holds, every kept version counted, and which branch how much of it
///
/// Examples:
///   alknet fs usage photos
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Usage {
    /// The bucket
    #[arg(value_name = "BUCKET")]
    bucket: OsString,
}

impl Usage {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        let spot = files.spot_now(&self.bucket)?;
        let remote = files.reach(&spot).await?;
        let input = UsageInput { bucket: spot.branch.bucket.clone() };
        let usage: UsageView = remote.call_within("fs/usage", &input, LONG_TIMEOUT).await?;
        remote.finish().await;
        if files.json() {
            return output::json(&usage);
        }
        let of = |quota: Option<String>| quota.map_or_else(String::new, |quota| format!(" of {quota}"));
        output::line(format!(
            "bytes     {}{}",
            output::bytes(usage.used_bytes),
            of(usage.quota_bytes.map(output::bytes))
        ))?;
        output::line(format!(
            "files     {}{}",
            usage.used_files,
            of(usage.quota_files.map(|quota| quota.to_string()))
        ))?;
        output::line(format!("versions  {}", usage.versions))?;
        let row = |of: &alknet_fs::operations::BranchUsage| {
            [of.branch.to_string(), output::bytes(of.bytes), of.versions.to_string()]
        };
        output::table(["BRANCH", "BYTES", "VERSIONS"], &usage.branches.iter().map(row).collect::<Vec<_>>())
    }
}
