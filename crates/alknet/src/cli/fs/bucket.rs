//! `alknet fs bucket`.

use std::ffi::OsString;

use alknet_fs::{
    Retention,
    operations::{
        BucketView, Committed, ConflictPolicy, CreateBucket, DurabilityName, NamePolicy, RemoveBucket, SetBucket,
    },
};
use clap::{Args, Subcommand, ValueEnum};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Files, find::parse_size, ls::all_buckets};
use crate::{
    cli::output,
    failure::Failure,
    files::{
        address::{Spot, Switched},
        remote::{LONG_TIMEOUT, Remote},
    },
};

/// Buckets: trees of files with branches, quotas and rules of their own
///
/// Examples:
///   alknet fs bucket create photos
///   alknet fs bucket create scratch --quota 10G --durability lazy --retention 7d
///   alknet fs bucket create office --names fold
///   alknet fs bucket set photos --quota 50G --events false
///   alknet fs bucket list
///   alknet fs bucket remove --force scratch
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Bucket {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make a bucket
    Create {
        /// Its name: a-z 0-9 . _ -
        #[arg(value_name = "[NODE//]BUCKET")]
        bucket: OsString,
        #[command(flatten)]
        terms: Terms,
        /// Which names of entries are one and the same; this stays as it is
        #[arg(long, value_name = "HOW")]
        names: Option<Names>,
    },
    /// List the buckets
    List {
        /// Those of another node
        #[arg(value_name = "NODE")]
        node: Option<String>,
    },
    /// Change how a bucket behaves
    Set {
        /// The bucket
        #[arg(value_name = "[NODE//]BUCKET")]
        bucket: OsString,
        #[command(flatten)]
        terms: Terms,
    },
    /// Remove a bucket
    Remove {
        /// The bucket
        #[arg(value_name = "[NODE//]BUCKET")]
        bucket: OsString,
        /// Also if something is in it; its history goes with it
        #[arg(long)]
        force: bool,
    },
}

#[derive(Args)]
struct Terms {
    /// Bytes that it may hold, every kept version counted: 500M, 10G; 0 is no bound
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    quota: Option<u64>,
    /// Files, folders and links that it may hold; 0 is no bound
    #[arg(long, value_name = "N")]
    quota_files: Option<u64>,
    /// What an answer to a change means
    #[arg(long, value_name = "HOW")]
    durability: Option<Durability>,
    /// What happens to a file that somebody else changed while it was written
    #[arg(long, value_name = "HOW")]
    conflict: Option<Conflict>,
    /// How long old versions are kept: 12h, 30d, 8w, or forever
    #[arg(long, value_name = "TIME", value_parser = parse_retention)]
    retention: Option<String>,
    /// Whether each commit is published as an event
    #[arg(long, value_name = "BOOL")]
    events: Option<bool>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Durability {
    /// It comes after the change is on disk
    Strict,
    /// The same, a little later, so that many share one wait for the disk
    Group,
    /// It comes before; a power cut may take the last second back, whole
    Lazy,
}

#[derive(Clone, Copy, ValueEnum)]
enum Names {
    /// Those of the same bytes
    Bytes,
    /// Those of the same characters, however these are put together: é as one, or as e and an accent
    Nfc,
    /// Those of the same letters, whatever their case; they are shown as they were written first
    Fold,
}

#[derive(Clone, Copy, ValueEnum)]
enum Conflict {
    /// The later writer wins; the other version stays in the history
    Lww,
    /// The later writer is refused
    Fail,
    /// Both are kept: the later one under a name of its own
    KeepBoth,
}

fn parse_retention(text: &str) -> Result<String, String> {
    if text == "forever" || Retention::parse(text).is_ok() {
        return Ok(text.to_owned());
    }
    Err("write a number with s, m, h, d or w behind it, as 12h, 30d or 52w, or forever".to_owned())
}

impl Terms {
    /// Whether nothing is said.
    const fn is_empty(&self) -> bool {
        let Self { quota, quota_files, durability, conflict, retention, events } = self;
        quota.is_none()
            && quota_files.is_none()
            && durability.is_none()
            && conflict.is_none()
            && retention.is_none()
            && events.is_none()
    }
    fn durability(&self) -> Option<DurabilityName> {
        self.durability.map(|durability| match durability {
            Durability::Strict => DurabilityName::Strict,
            Durability::Group => DurabilityName::Group,
            Durability::Lazy => DurabilityName::Lazy,
        })
    }
    fn conflict(&self) -> Option<ConflictPolicy> {
        self.conflict.map(|conflict| match conflict {
            Conflict::Lww => ConflictPolicy::Lww,
            Conflict::Fail => ConflictPolicy::Fail,
            Conflict::KeepBoth => ConflictPolicy::KeepBoth,
        })
    }
}

impl Bucket {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        match self.action {
            Action::Create { bucket, terms, names } => {
                let spot = named(&bucket)?;
                let input = CreateBucket {
                    bucket: spot.branch.bucket.clone(),
                    quota_bytes: terms.quota,
                    quota_files: terms.quota_files,
                    durability: terms.durability(),
                    conflict: terms.conflict(),
                    retention: terms.retention.clone(),
                    names: names.map(|names| match names {
                        Names::Bytes => NamePolicy::Bytes,
                        Names::Nfc => NamePolicy::Nfc,
                        Names::Fold => NamePolicy::Fold,
                    }),
                    events: terms.events,
                };
                let made: Committed = ask(files, &spot, "fs/bucket.create", &input).await?;
                if files.json() {
                    return output::json(&made);
                }
                output::line(format!("{} is there", spot.branch.bucket))
            }
            Action::Set { bucket, terms } => {
                let spot = named(&bucket)?;
                if terms.is_empty() {
                    return Err(Failure::usage("say what is to be set")
                        .hint("--quota, --quota-files, --durability, --conflict, --retention or --events; `alknet fs bucket list` shows what is"));
                }
                let input = SetBucket {
                    bucket: spot.branch.bucket.clone(),
                    quota_bytes: terms.quota,
                    quota_files: terms.quota_files,
                    durability: terms.durability(),
                    conflict: terms.conflict(),
                    retention: terms.retention.clone(),
                    events: terms.events,
                };
                let set: BucketView = ask(files, &spot, "fs/bucket.set", &input).await?;
                if files.json() { output::json(&set) } else { output::line(format!("{} is set", set.bucket)) }
            }
            Action::List { node } => list(files, node.as_deref()).await,
            Action::Remove { bucket, force } => {
                let spot = named(&bucket)?;
                let input = RemoveBucket { bucket: spot.branch.bucket.clone(), force };
                let _: Value = ask(files, &spot, "fs/bucket.remove", &input).await?;
                if files.json() {
                    return output::json(&json!({ "bucket": spot.branch.bucket }));
                }
                output::line(format!("{} is removed", spot.branch.bucket))
            }
        }
    }
}

/// A bucket that is named alone.
fn named(text: &OsString) -> Result<Spot, Failure> {
    let spot = Spot::read_now(text, &Switched::default())?;
    if spot.branch_written || !spot.path.names().is_empty() {
        return Err(Failure::usage(format_args!("{spot} is more than a bucket")).hint("write only its name"));
    }
    Ok(spot)
}

async fn ask<T: DeserializeOwned>(
    files: &Files<'_>,
    spot: &Spot,
    operation: &str,
    input: &impl serde::Serialize,
) -> Result<T, Failure> {
    let remote = files.reach(spot).await?;
    let answer = remote.call_within(operation, input, LONG_TIMEOUT).await;
    remote.finish().await;
    answer
}

async fn list(files: &Files<'_>, node: Option<&str>) -> Result<(), Failure> {
    let remote = Remote::reach(files.place, node).await?;
    let buckets = all_buckets(&remote).await?;
    remote.finish().await;
    if files.json() {
        return output::json(&buckets);
    }
    let rows: Vec<_> = buckets
        .into_iter()
        .map(|bucket| {
            let of =
                |used: String, quota: Option<String>| quota.map_or(used.clone(), |quota| format!("{used} of {quota}"));
            [
                bucket.bucket.to_string(),
                of(output::bytes(bucket.used_bytes), bucket.quota_bytes.map(output::bytes)),
                of(bucket.used_files.to_string(), bucket.quota_files.map(|quota| quota.to_string())),
                bucket.head.to_string(),
                format!("{:?}", bucket.policy.durability).to_lowercase(),
                bucket.policy.retention,
            ]
        })
        .collect();
    output::table(["BUCKET", "HOLDS", "FILES", "COMMIT", "DURABILITY", "RETENTION"], &rows)
}

#[cfg(test)]
mod tests {
    use super::parse_retention;

    #[test]
    fn a_retention_is_a_number_with_a_unit_or_for_ever() {
        for good in ["1s", "90m", "12h", "30d", "8w", "forever"] {
            assert_eq!(parse_retention(good).as_deref(), Ok(good));
        }
        for bad in ["", "1", "1y", "d", "1.5d", "-1d", "1 d", "for ever", "1dd"] {
            assert!(parse_retention(bad).unwrap_err().contains("30d"), "{bad}");
        }
    }
}
