//! `alknet fs log`.

use std::ffi::OsString;

use alknet_fs::{
    FsPath, Seq,
    operations::{LogEntry, LogInput, LogOutput},
};
use clap::Args;

use super::{Files, diff, listing};
use crate::{cli::output, failure::Failure};

/// Say what was done to a branch, or to an entry, the newest first
///
/// Of an address with @ it is what was done until then. With --json, one object a line.
///
/// Examples:
///   alknet fs log web
///   alknet fs log web@yesterday
///   alknet fs log -n 5 web/index.html
///   alknet fs cat web@17/index.html
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Log {
    /// The branch, or an entry of it
    #[arg(value_name = "ADDR")]
    address: OsString,
    /// At most so many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
}

impl Log {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        let spot = files.spot(&self.address)?;
        let remote = files.reach(&spot).await?;
        let path = (!spot.path.names().is_empty()).then(|| spot.octets());
        let most = u64::from(alknet_fs::limits::MAX_LISTED);
        let before = match spot.when {
            None => None,
            // The version that is meant, itself among them.
            Some(_) => Seq::new(remote.stat(&spot.at(FsPath::ROOT), false).await?.seq.get() + 1),
        };
        let mut input = LogInput { bucket: spot.branch.clone(), path, before, limit: 0 };
        let mut left = self.limit;
        while left > 0 {
            input.limit = u32::try_from(left.min(most)).unwrap_or(u32::MAX);
            let page: LogOutput = remote.call("fs/log", &input).await?;
            left = left.saturating_sub(page.commits.len() as u64);
            for commit in &page.commits {
                if files.json() {
                    listing::json_flow(commit)?;
                } else {
                    output::flow(line(commit))?;
                }
            }
            match page.next {
                Some(next) => input.before = Some(next),
                None => break,
            }
        }
        remote.finish().await;
        Ok(())
    }
}

fn line(commit: &LogEntry) -> String {
    let version = match &commit.version {
        None => String::new(),
        Some(version) => {
            let size = version.state.as_ref().map_or_else(|| "removed".to_owned(), |state| output::bytes(state.size));
            format!("  {} {size}", diff::mark(&version.changes))
        }
    };
    let said = |text: &Option<String>| {
        text.as_deref().map_or_else(|| "-".to_owned(), |text| crate::cli::printable(text).to_string())
    };
    let time = commit.time.map_or_else(|| "-".to_owned(), |time| listing::seconds(time).to_string());
    format!("{:>6}  {time}  {}  {}{version}", commit.seq, said(&commit.actor), said(&commit.op))
}
