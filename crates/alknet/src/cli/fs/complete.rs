//! `alknet fs complete`: what a shell asks while an address is written.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    time::Duration,
};

use alknet_fs::{
    limits::MAX_ENTRY_NAME_BYTES,
    operations::{Entries, EntryKind, EntryView, ListFolder, ListSnapshots, Octets, Snapshots},
};
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
    let (node, rest) = text.split_once("//").map_or((None, text), |(node, rest)| (Some(node), rest));
    if rest.contains('/') {
        let begin = text.rfind('/').map_or(0, |slash| slash + 1);
        return entries(files, &text[..begin], &text[begin..]).await;
    }
    let remote = Remote::reach(files.place, node).await?;
    let before = &text[..text.len() - rest.len()];
    let all: Vec<_> = match rest.split_once(':') {
        _ if rest.contains('@') => {
            let named = format!("{before}{}", rest.split_once('@').map_or(rest, |(named, _)| named));
            let spot = files.spot(OsStr::new(&named))?;
            let input = ListSnapshots { bucket: spot.branch.bucket.clone() };
            let Snapshots { snapshots } = remote.call("fs/snapshot.list", &input).await?;
            let of_branch = snapshots.into_iter().filter(|snapshot| snapshot.branch == spot.branch.branch);
            of_branch.map(|snapshot| format!("{named}@{}/", snapshot.name)).collect()
        }
        Some((bucket, _)) => {
            let named = format!("{before}{bucket}");
            let spot = files.spot(OsStr::new(&named))?;
            branches(&remote, &spot).await?.iter().map(|branch| format!("{named}:{}/", branch.branch)).collect()
        }
        None => all_buckets(&remote).await?.iter().map(|bucket| format!("{before}{}/", bucket.bucket)).collect(),
    };
    remote.finish().await;
    Ok(all.into_iter().filter(|candidate| candidate.starts_with(text)).collect())
}

/// The entries of a folder that begin so, as they continue the word.
async fn entries(files: &Files<'_>, folder: &str, begin: &str) -> Result<Vec<String>, Failure> {
    let spot: Spot = files.spot(OsStr::from_bytes(folder.as_bytes()))?;
    let remote = files.reach(&spot).await?;
    let input = ListFolder {
        bucket: spot.branch.clone(),
        path: spot.octets(),
        when: spot.when.clone(),
        after: before(begin.as_bytes()).map(Octets),
        limit: MAX_CANDIDATES,
        attributes: false,
        recursive: false,
    };
    let Entries { entries, .. } = remote.call("fs/list", &input).await?;
    remote.finish().await;
    Ok(entries.iter().filter_map(|entry| continued(entry, folder, begin)).collect())
}

/// A name that comes right before all that begin so: a folder's names come in the order of their bytes.
fn before(begin: &[u8]) -> Option<Vec<u8>> {
    let (last, all_but_last) = begin.split_last()?;
    let mut name = all_but_last.to_vec();
    // No name has a slash in it.
    name.push(if *last == b'0' { b'.' } else { last.saturating_sub(1).max(1) });
    name.resize(MAX_ENTRY_NAME_BYTES, 0xff);
    Some(name)
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
    use super::{before, is_plain};

    #[test]
    fn what_begins_so_comes_right_after() {
        assert_eq!(before(b""), None);
        for begin in [b"a".as_slice(), b"0", b".", b"f9999", "ä".as_bytes()] {
            let name = before(begin).unwrap();
            assert!(name.as_slice() < begin && !name.contains(&b'/') && !name.contains(&0), "{begin:?}");
            let less = [&begin[..begin.len() - 1], &[begin[begin.len() - 1] - 1, b'z']].concat();
            assert!(less.contains(&b'/') || less < name, "{begin:?}: what does not begin so is passed over");
        }
    }

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
