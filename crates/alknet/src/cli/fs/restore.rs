//! `alknet fs restore`.

use std::ffi::OsString;

use alknet_fs::operations::{Committed, RestoreInput};
use clap::Args;

use super::Files;
use crate::{cli::output, failure::Failure, files::remote::LONG_TIMEOUT};

/// Make something again as it was; what is there now stays in the history
///
/// Examples:
///   alknet fs restore web@yesterday/index.html
///   alknet fs restore photos@now-1h/2019
///   alknet fs restore web@v1
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Restore {
    /// What, and as it was when
    #[arg(value_name = "ADDR@WHEN")]
    address: OsString,
}

impl Restore {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        let spot = files.spot(&self.address)?;
        let Some(when) = spot.when.clone() else {
            return Err(Failure::usage(format_args!("{spot} does not say as it was when"))
                .hint("write BUCKET@WHEN/PATH; `alknet fs log` shows the commits"));
        };
        let remote = files.reach(&spot).await?;
        let input = RestoreInput { bucket: spot.branch.clone(), path: spot.octets(), when };
        let committed: Committed = remote.call_within("fs/restore", &input, LONG_TIMEOUT).await?;
        remote.finish().await;
        if files.json() {
            output::json(&committed)
        } else {
            output::line(format!("restored, commit {}", committed.seq))
        }
    }
}
