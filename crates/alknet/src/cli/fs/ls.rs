//! `alknet fs ls`.

use std::ffi::OsString;

use alknet_fs::operations::{BucketView, Buckets, EntryKind, EntryView, ListBuckets, Octets};
use clap::Args;

use super::{Files, listing};
use crate::{
    cli::output,
    failure::Failure,
    files::{address::Spot, remote::Remote},
};

/// List what is in a folder, or the buckets
///
/// With --json, one object a line.
///
/// Examples:
///   alknet fs ls
///   alknet fs ls -l photos/2026
///   alknet fs ls -lR photos@yesterday
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Ls {
    /// The folder [default: the buckets]
    #[arg(value_name = "ADDR")]
    address: Option<OsString>,
    /// Permissions, size and time too
    #[arg(short)]
    long: bool,
    /// Also names that begin with a dot
    #[arg(short)]
    all: bool,
    /// What is in the folders below too
    #[arg(short = 'R')]
    recursive: bool,
    /// Only what comes after this name
    #[arg(long, value_name = "NAME")]
    after: Option<String>,
}

impl Ls {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        let Some(address) = &self.address else { return buckets(files).await };
        let spot = files.spot(address)?;
        let remote = files.reach(&spot).await?;
        let outcome = self.list(files, &remote, &spot).await;
        remote.finish().await;
        outcome
    }

    async fn list(&self, files: &Files<'_>, remote: &Remote<'_>, spot: &Spot) -> Result<(), Failure> {
        let found = remote.stat(spot, true).await?;
        if found.kind != EntryKind::Folder {
            let name = Octets(spot.path.split_last().map(|(_, name)| name.as_bytes().to_vec()).unwrap_or_default());
            return self.print(files, &EntryView { name, kind: found.kind, attributes: Some(found.attributes) });
        }
        let mut pages = remote.pages(spot, self.recursive).after(self.after.as_deref().map(Octets::from));
        while let Some(page) = pages.next().await? {
            page.iter().filter(|entry| self.is_shown(entry)).try_for_each(|entry| self.print(files, entry))?;
        }
        Ok(())
    }

    fn is_shown(&self, entry: &EntryView) -> bool {
        self.all || !entry.name.0.split(|byte| *byte == b'/').any(|name| name.starts_with(b"."))
    }

    fn print(&self, files: &Files<'_>, entry: &EntryView) -> Result<(), Failure> {
        if files.json() {
            return listing::json_flow(entry);
        }
        match &entry.attributes {
            Some(attributes) if self.long => {
                output::flow(listing::long(entry.kind, attributes, &entry.name.to_string()))
            }
            _ => output::flow(listing::marked(entry)),
        }
    }
}

/// Lists the buckets of the node that runs here.
async fn buckets(files: &Files<'_>) -> Result<(), Failure> {
    let remote = Remote::reach(files.place, None).await?;
    let mut found = all_buckets(&remote).await?.into_iter();
    if files.json() {
        return found.try_for_each(|bucket| listing::json_flow(&bucket));
    }
    found.try_for_each(|bucket| output::flow(bucket.bucket.as_str()))
}

/// All buckets that the caller may see.
pub(super) async fn all_buckets(remote: &Remote<'_>) -> Result<Vec<BucketView>, Failure> {
    let (mut all, mut input) = (Vec::new(), ListBuckets::default());
    loop {
        let page: Buckets = remote.call("fs/bucket.list", &input).await?;
        all.extend(page.buckets);
        match page.next {
            Some(after) => input.after = Some(after),
            None => return Ok(all),
        }
    }
}
