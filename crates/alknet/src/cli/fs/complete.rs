//! `alknet fs complete`: what a shell asks while an address is written.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    time::Duration,
};

use alknet_fs::operations::{Entries, EntryKind, EntryView, ListFolder};
use clap::Args;

use super::{Files, branch::branches, ls::all_buckets};
use crate::{
    cli::output,
    failure::Failure,
    files::{address::Spot, remote::Remote},
};

/// A shell does not wait longer for candidates.
const DEADLINE: Duration = Duration::from_millis(500);
/// Candidates that are given at most.
const MAX_CANDIDATES: u32 = 1000;

/// Print what an address that begins so may be
///
/// The completions of `alknet completions` ask this. It prints nothing where nothing is known, and never fails.
#[derive(Args)]
#[command(hide = true, verbatim_doc_comment)]
pub struct Complete {
    /// The beginning of an address
    word: OsString,
}

impl Complete {
    pub(super) async fn run(self, files: &Files<'_>) -> Result<(), Failure> {
        let candidates = tokio::time::timeout(DEADLINE, candidates(files, &self.word)).await;
        for candidate in candidates.ok().and_then(Result::ok).unwrap_or_default() {
            output::line(candidate)?;
        }
        Ok(())
    }
}

async fn candidates(files: &Files<'_>, word: &OsStr) -> Result<Vec<String>, Failure> {
    let Some(text) = word.to_str() else { return Ok(Vec::new()) };
    match text.rfind('/') {
        None => {
            let remote = Remote::reach(files.place, None).await?;
            match text.split_once(':') {
                Some((bucket, _)) => branch_names(files, &remote, bucket).await,
                None => Ok(all_buckets(&remote).await?.iter().map(|bucket| format!("{}/", bucket.bucket)).collect()),
            }
            .map(|all| all.into_iter().filter(|candidate| candidate.starts_with(text)).collect())
        }
        Some(slash) => entries(files, &text[..=slash], &text[slash + 1..]).await,
    }
}

async fn branch_names(files: &Files<'_>, remote: &Remote<'_>, bucket: &str) -> Result<Vec<String>, Failure> {
    let spot = files.spot(OsStr::new(bucket))?;
    Ok(branches(remote, &spot).await?.iter().map(|branch| format!("{bucket}:{}/", branch.branch)).collect())
}

/// The entries of a folder that begin so, as they continue the word.
async fn entries(files: &Files<'_>, folder: &str, begin: &str) -> Result<Vec<String>, Failure> {
    let spot: Spot = files.spot(OsStr::from_bytes(folder.as_bytes()))?;
    let remote = files.reach(&spot).await?;
    let input = ListFolder {
        bucket: spot.branch.clone(),
        path: spot.octets(),
        when: spot.when.clone(),
        after: None,
        limit: MAX_CANDIDATES,
        attributes: false,
        recursive: false,
    };
    let Entries { entries, .. } = remote.call("fs/list", &input).await?;
    Ok(entries.iter().filter_map(|entry| continued(entry, folder, begin)).collect())
}

/// A name that no shell reads anything into: whoever may write may choose it, and what is completed is run as it stands.
fn continued(entry: &EntryView, folder: &str, begin: &str) -> Option<String> {
    let name = std::str::from_utf8(&entry.name.0).ok()?;
    let slash = if entry.kind == EntryKind::Folder { "/" } else { "" };
    (name.starts_with(begin) && is_plain(name)).then(|| format!("{folder}{name}{slash}"))
}

fn is_plain(name: &str) -> bool {
    name.chars().all(|character| character.is_alphanumeric() || "._,+@%=:-".contains(character))
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn names_that_a_shell_would_run_are_not_offered() {
        for plain in ["a.txt", "2026-01-31T12:00", "größe_1", "a+b,c=d@e%"] {
            assert!(is_plain(plain), "{plain}");
        }
        for bad in [
            "$(id)", "`id`", "a b", "a;b", "a|b", "a&b", "a\nb", "a'b", "a\"b", "a\\b", "*", "a>b", "{a,b}", "!a",
            "#a", "~a",
        ] {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}
