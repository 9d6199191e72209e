//! Watching a branch: each commit that changed what it shows, in order, from any commit that is still kept.

use std::collections::VecDeque;

use alknet_store::{StoreError, Tables};
use rusqlite::Connection;
use tokio::sync::watch;

use super::{
    filter::PathFilter,
    projection::{Reach, Told, tell},
};
use crate::{
    chain::Lineage,
    history::retention,
    ids::{BranchId, BucketId, Seq},
    limits::{MAX_TOLD_CHANGES, MAX_TOLD_ROWS, WATCHED_COMMITS_AT_ONCE},
    rows::{
        branch::{self, Mode},
        bucket,
        commit::{self, CommitRow},
    },
    sight::Sight,
};

/// A commit that changed something that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The commit.
    pub commit: CommitRow,
    /// What it changed.
    pub told: Told,
}

/// Why there is nothing more to hear.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// Commits after the position are no longer kept.
    #[error("what happened before commit {oldest} is no longer kept; go on after {}", .oldest.get().saturating_sub(1))]
    Trimmed {
        /// The oldest commit that is kept.
        oldest: Seq,
    },
    /// The position is one that the bucket has not reached.
    #[error("there is no commit {position} yet; the newest is {newest}")]
    Ahead {
        /// What was asked for.
        position: Seq,
        /// The newest one.
        newest: Seq,
    },
    /// The position is one of another branch, which had this name before.
    #[error(
        "the branch was made after commit {made}, and commit {position} may be from another one that had its name before: begin anew, with --after 0 from the first that is kept"
    )]
    Another {
        /// What was asked for.
        position: Seq,
        /// The bucket's newest commit when the branch was made.
        made: Seq,
    },
    /// The branch is gone.
    #[error("the branch was removed")]
    Removed,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for WatchError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

const REACH: Reach = Reach { rows: MAX_TOLD_ROWS, changes: MAX_TOLD_CHANGES };

/// A place in the commits of a branch.
pub struct Watcher {
    tables: Tables,
    branch: BranchId,
    filter: PathFilter,
    sight: Sight,
    at: Seq,
    heard: VecDeque<Heard>,
    commits: watch::Receiver<u64>,
}

/// What one look at the database brought.
pub(crate) struct Page {
    /// Up to which commit it looked.
    pub at: Seq,
    pub heard: Vec<Heard>,
}

impl Watcher {
    /// Watches a branch after a commit; `None`: after the newest one.
    pub async fn new(
        tables: Tables,
        branch: BranchId,
        filter: PathFilter,
        after: Option<Seq>,
    ) -> Result<Self, WatchError> {
        // Before the first look: what is committed after it wakes us.
        let commits = tables.watch();
        let at = tables.read(move |sql| position(sql, branch, after)).await?;
        Ok(Self { tables, branch, filter, sight: Sight::default(), at, heard: VecDeque::new(), commits })
    }

    /// Hears only of commits that are in somebody's sight.
    #[must_use]
    pub fn within(self, sight: Sight) -> Self {
        Self { sight, ..self }
    }

    /// The next commit; waits until there is one. `None` when the database is closed. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<Heard>, WatchError> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Ok(Some(heard));
            }
            self.commits.mark_unchanged();
            let (branch, at, filter, sight) = (self.branch, self.at, self.filter.clone(), self.sight.clone());
            let page = self.tables.read(move |sql| page(sql, (branch, &sight), at, &filter)).await?;
            self.heard = page.heard.into();
            let is_idle = page.at == self.at;
            self.at = page.at;
            if is_idle && self.commits.changed().await.is_err() {
                return Ok(None);
            }
        }
    }
}

fn bucket_of(sql: &Connection, branch: BranchId) -> Result<(BucketId, Seq), WatchError> {
    let row = branch::get(sql, branch)?.filter(|row| !row.hidden).ok_or(WatchError::Removed)?;
    let bucket = bucket::get(sql, row.bucket)?.ok_or(WatchError::Removed)?;
    Ok((bucket.id, bucket.head))
}

/// Where watching a branch begins: after a commit, or after the newest one.
pub(crate) fn position(sql: &Connection, branch: BranchId, after: Option<Seq>) -> Result<Seq, WatchError> {
    let (bucket, newest) = bucket_of(sql, branch)?;
    let Some(position) = after else { return Ok(newest) };
    if position > newest {
        return Err(WatchError::Ahead { position, newest });
    }
    not_trimmed(sql, bucket, position, newest)?;
    not_anothers(sql, (bucket, branch), position)?;
    Ok(position)
}

/// Refuses a position that somebody can have from another branch only, which had this one's name before it was made: it would go on with
/// what it was not told of. A branch begins as its parent, whose commits up to then are its own; what one that follows showed of its parent
/// it showed beside its own. Where what is kept begins anybody may begin: there whoever is told that the rest is trimmed goes on.
fn not_anothers(sql: &Connection, (bucket, branch): (BucketId, BranchId), position: Seq) -> Result<(), WatchError> {
    let row = branch::get(sql, branch)?.ok_or(WatchError::Removed)?;
    let floor = retention::floor(sql, bucket)?;
    if floor > Seq::ZERO && [floor, floor.after()].contains(&position) {
        return Ok(());
    }
    let Some(fork) = row.fork.filter(|_| Seq::ZERO < position && position <= row.made) else { return Ok(()) };
    let lineage = Lineage::of(sql, branch, Seq::MAX)?.ok_or(WatchError::Removed)?;
    let commit = commit::get(sql, row.bucket, position)?;
    let of = commit.as_ref().map(|commit| commit.branch);
    let is_shown = of.and_then(|of| lineage.bound(of)).is_some_and(|bound| position <= bound);
    let is_its_own = if position == row.made {
        // Whoever begins with the branch need not have seen that commit.
        let is_there = of.map(|of| branch::get(sql, of)).transpose()?.flatten().is_some_and(|row| !row.hidden);
        is_shown || is_there
    } else {
        is_shown && fork.mode == Mode::Pinned
    };
    if is_its_own { Ok(()) } else { Err(WatchError::Another { position, made: row.made }) }
}

fn not_trimmed(sql: &Connection, bucket: BucketId, after: Seq, newest: Seq) -> Result<(), WatchError> {
    if after == newest {
        return Ok(());
    }
    // What a commit changed is told by the version before it.
    let floor = retention::floor(sql, bucket)?;
    if after < floor {
        return Err(WatchError::Trimmed { oldest: floor.after() });
    }
    match commit::after(sql, bucket, after, 1)?.first() {
        Some(next) if next.seq.get() == after.get() + 1 => Ok(()),
        Some(next) => Err(WatchError::Trimmed { oldest: next.seq }),
        None => Err(WatchError::Trimmed { oldest: newest }),
    }
}

/// Looks at some commits after `at` that are in somebody's sight.
pub(crate) fn page(
    sql: &Connection,
    (branch, sight): (BranchId, &Sight),
    at: Seq,
    filter: &PathFilter,
) -> Result<Page, WatchError> {
    let (bucket, newest) = bucket_of(sql, branch)?;
    not_trimmed(sql, bucket, at, newest)?;
    let lineage = Lineage::of(sql, branch, Seq::MAX)?.ok_or(WatchError::Removed)?;
    let shows = |commit: &CommitRow| {
        sight.shows(commit.branch, commit.seq) && lineage.bound(commit.branch).is_some_and(|bound| commit.seq <= bound)
    };
    let (mut page, mut changes) = (Page { at, heard: Vec::new() }, 0);
    for commit in commit::after(sql, bucket, at, WATCHED_COMMITS_AT_ONCE)? {
        page.at = commit.seq;
        if !shows(&commit) {
            continue;
        }
        let told = tell(sql, (branch, sight), &commit, filter, REACH)?;
        if told.changes.is_empty() && !told.more {
            continue;
        }
        changes += told.changes.len();
        page.heard.push(Heard { commit, told });
        if changes >= MAX_TOLD_CHANGES {
            break;
        }
    }
    Ok(page)
}
