//! Makes branches that read through many others read their own rows.
//!
//! What a branch shows through those that it came from is copied into it: each row with the commit that wrote it, the newest commit
//! first. All that a branch wrote itself is newer than what its parents show, so at every moment the newest row of a name that is not
//! newer than a version is the same one, be it the copy or the row itself. Every version of the branch reads the same before, half way
//! and after. Once all are there the branch is marked, and no longer reads through the others. Where it came from stays known.

use std::collections::BTreeSet;

use alknet_core::{Maintenance, Permit};
use alknet_store::{Durability, Noted, Rights};
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use super::History;
use crate::{
    access::{Pass, Place, Right},
    chain::{Chain, Level},
    error::{Errno, FsError},
    failpoints,
    ids::{BranchId, Ino, Seq},
    limits::{FLATTEN_RETRY_INTERVAL, FLATTENED_ROWS_AT_ONCE, MAX_UNFLATTENED_LEVELS},
    name::{BranchName, BucketName},
    rows::{
        On,
        branch::{self, Below, BranchRow},
        bucket, dent, inode,
    },
};

/// What flattening a branch came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flattened {
    /// Branches that it reads through now, itself included.
    pub levels: usize,
    /// Rows that were copied.
    pub rows: u64,
}

/// What is to be copied into a branch: of each level the commits after where the next one begins. A level that is being flattened
/// itself has some rows of those before, and the next one has them all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    levels: Vec<(Level, Seq)>,
    below: Below,
}

/// How far the copying came, and from where: rows of later commits were copied, and of this one those before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    source: Source,
    level: usize,
    seq: Seq,
    at: At,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum At {
    Names(Ino, Box<[u8]>),
    Inodes(Ino),
}

impl At {
    fn start() -> Self {
        Self::Names(Ino::FIRST, Box::default())
    }
}

impl Source {
    /// What a branch reads through and need not, or `None` where it reads its own rows alone or was flattened before.
    ///
    /// # Errors
    /// Fails with [`Errno::Inval`] where all that it reads through is followed: that shows by rules, not by rows alone.
    pub fn of(sql: &Connection, row: &BranchRow) -> Result<Option<Self>, FsError> {
        let Some(chain) = Chain::of(sql, row.id, Seq::MAX)? else { return Ok(None) };
        if row.flat.is_some() || chain.levels().len() == 1 {
            return Ok(None);
        }
        // The level that follows another has to stay as it is.
        let levels = chain.levels();
        let end = levels.iter().position(|level| level.fork.is_some()).map_or(levels.len(), |followed| followed - 1);
        if end <= 1 {
            let (what, path) = ("cannot flatten what follows another branch:", row.name.to_string());
            return Err(FsError::At { errno: Errno::Inval, what, path });
        }
        let begins = |index: usize| levels.get(index + 1).map_or(Seq::ZERO, |next| next.bound);
        let below = Below(levels.get(end).map(|level| (level.branch, level.bound)));
        Ok(Some(Self { levels: (1..end).map(|index| (levels[index], begins(index))).collect(), below }))
    }

    /// The bytes and files that the copies of commits up to one will be charged.
    fn charged(&self, sql: &Connection, upto: Seq) -> rusqlite::Result<(u64, u64)> {
        let mut sum = (0, 0);
        for (level, begins) in &self.levels {
            let (bytes, files) = inode::charged(sql, level.branch, (*begins, level.bound.min(upto)))?;
            sum = (sum.0 + bytes, sum.1 + files);
        }
        Ok(sum)
    }
}

impl Cursor {
    /// Where an earlier copying came to, or the beginning.
    pub fn resumed(row: &BranchRow, source: Source) -> Self {
        Self { source, level: 0, seq: row.copied.unwrap_or(Seq::MAX), at: At::start() }
    }

    /// The same, from what the branch reads through now: one that it came from may have been flattened since, and others be gone.
    fn on(self, source: Source) -> Self {
        if self.source == source { self } else { Self { source, level: 0, seq: self.seq, at: At::start() } }
    }
}

/// Copies rows into a branch, and looks at no more than `count`. Answers where to go on, and how many were copied; `None`: all are there.
///
/// # Errors
/// Fails with [`Errno::Stale`] where the branch was removed.
pub fn step(sql: &Connection, on: On, at: Cursor, count: usize) -> Result<(Option<Cursor>, u64), FsError> {
    let Some(source) = Source::of(sql, &shown(sql, on.branch)?)? else { return Ok((None, 0)) };
    let mut at = at.on(source);
    let (mut room, mut copied) = (count, 0);
    while room > 0 {
        let Some((level, begins)) = at.source.levels.get(at.level).copied() else { return Ok((None, copied)) };
        if at.at == At::start() {
            let upto = at.seq.min(level.bound);
            let last = dent::last_commit(sql, level.branch, upto)?.max(inode::last_commit(sql, level.branch, upto)?);
            let Some(last) = last.filter(|last| *last > begins) else {
                at.level += 1;
                continue;
            };
            at.seq = last;
        }
        let (looked, new) = of_commit(sql, (level.branch, on), &mut at, room)?;
        (room, copied) = (room.saturating_sub(looked.max(1)), copied + new);
    }
    branch::set_copied(sql, on.branch, at.seq)?;
    Ok((Some(at), copied))
}

/// Marks a branch that has all the rows: it no longer reads through the others.
///
/// # Errors
/// As [`step`].
pub fn finish(sql: &Connection, branch: BranchId) -> Result<(), FsError> {
    let source = Source::of(sql, &shown(sql, branch)?)?;
    Ok(source.map_or(Ok(()), |source| branch::set_flat(sql, branch, source.below))?)
}

/// Copies rows of one commit. Answers how many were looked at, and how many of them copied.
fn of_commit(
    sql: &Connection,
    (from, on): (BranchId, On),
    at: &mut Cursor,
    room: usize,
) -> rusqlite::Result<(usize, u64)> {
    let mut copied = 0;
    let looked = match &at.at {
        At::Names(dir, name) => {
            let keys = dent::keys_of_commit(sql, (from, at.seq), (*dir, name), room)?;
            for (dir, name) in &keys {
                copied += u64::from(dent::copy(sql, (from, on.branch), (*dir, name, at.seq))?);
            }
            let looked = keys.len();
            let last = keys.into_iter().next_back().filter(|_| looked == room);
            at.at = last.map_or(At::Inodes(Ino::FIRST), |(dir, name)| At::Names(dir, name));
            looked
        }
        At::Inodes(after) => {
            let keys = inode::keys_of_commit(sql, (from, at.seq), *after, room)?;
            for ino in &keys {
                copied += u64::from(inode::copy(sql, from, on, (*ino, at.seq))?);
            }
            match keys.last().filter(|_| keys.len() == room) {
                Some(last) => at.at = At::Inodes(*last),
                None => (at.seq, at.at) = (at.seq.before(), At::start()),
            }
            keys.len()
        }
    };
    Ok((looked, copied))
}

impl History {
    /// Copies into a branch what it shows through those that it came from, so that it reads its own rows alone: a few rows at a time,
    /// each time as a change of its own. No version of it changes. Where one that it came from follows another, it goes on reading
    /// through that one. Given again, it goes on where it was.
    ///
    /// # Errors
    /// Fails with [`Errno::Quota`] where the bucket has no room for the copies, which are charged like others, with [`Errno::Inval`] where
    /// the branch follows another, and with [`Errno::Stale`] when it is removed meanwhile.
    pub async fn flatten(
        &self,
        permit: &Permit,
        (bucket, branch): (&BucketName, &BranchName),
    ) -> Result<Flattened, FsError> {
        let pass = Pass::of(permit, Right::Branch, Place { bucket, branch: Some(branch) })?;
        let names = (bucket.clone(), branch.clone());
        let find = move |sql: &Connection| {
            let row = bucket::find(sql, &names.0)?.map(|row| branch::find(sql, row.id, &names.1)).transpose()?;
            row.flatten().ok_or_else(|| refused(Errno::NoEnt, &names.0, &names.1))
        };
        let row = self.0.tables().read(find).await?;
        self.flatten_rows(pass.rights(), row).await
    }

    async fn flatten_rows(&self, rights: &Rights, row: BranchRow) -> Result<Flattened, FsError> {
        let tables = self.0.tables();
        let begun = tables.read(move |sql| begin(sql, row)).await?;
        let (row, source) = match begun {
            Begun::Already(flattened) => return Ok(flattened),
            Begun::From(row, source) => (row, source),
        };
        let (mut at, mut rows) = (Some(Cursor::resumed(&row, source)), 0);
        let (id, on) = (row.id, On { bucket: row.bucket, branch: row.id, now_ms: tables.clock().now_ms() });
        while let Some(from) = at.take() {
            let some = move |sql: &Connection, _: &mut Noted<'_>| -> Result<_, FsError> {
                let came = step(sql, on, from, FLATTENED_ROWS_AT_ONCE)?;
                failpoints::step("flatten.rows");
                Ok(came)
            };
            // What a crash loses of the copies is copied again.
            let (next, copied) = tables.change(rights, Durability::Lazy, some).await?;
            (at, rows) = (next, rows + copied);
            failpoints::step("flatten.copied");
        }
        let mark = move |sql: &Connection, _: &mut Noted<'_>| -> Result<usize, FsError> {
            finish(sql, id)?;
            Ok(levels(sql, id)?)
        };
        let levels = tables.change(rights, Durability::Strict, mark).await?;
        failpoints::step("flatten.done");
        Ok(Flattened { levels, rows })
    }

    /// Flattens branches that read through many others, after they are made and at the start. What cannot be now is tried again.
    pub(crate) async fn keep_flattening(self, stop: CancellationToken) {
        let rights = Rights::maintenance(&Maintenance::of("fs-flattening"));
        let flattening = async {
            loop {
                self.flatten_deep(&rights).await;
                let deepened = self.0.deepened();
                drop(tokio::time::timeout(FLATTEN_RETRY_INTERVAL, deepened.notified()).await);
            }
        };
        tokio::select! { () = flattening => {}, () = stop.cancelled() => {} }
    }

    async fn flatten_deep(&self, rights: &Rights) {
        let mut tried = BTreeSet::new();
        loop {
            let known = tried.clone();
            // The first one is asked for each time: what is above it may have fewer levels by then.
            let next = move |sql: &Connection| -> Result<Option<BranchRow>, FsError> {
                let deep = branch::deep(sql, MAX_UNFLATTENED_LEVELS)?;
                let next = deep.into_iter().find(|id| !known.contains(id));
                Ok(next.map(|id| branch::get(sql, id)).transpose()?.flatten())
            };
            let row = match self.0.tables().read(next).await {
                Ok(Some(row)) => row,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "branches that read through many others could not be looked for");
                    return;
                }
            };
            tried.insert(row.id);
            let name = row.name.clone();
            match self.flatten_rows(rights, row).await {
                Ok(Flattened { levels, rows }) => tracing::debug!(branch = %name, levels, rows, "flattened a branch"),
                Err(FsError::At { errno: Errno::Inval | Errno::Stale, .. }) => {}
                Err(error) => {
                    tracing::warn!(branch = %name, %error, "a branch could not be flattened; it is tried again")
                }
            }
        }
    }
}

enum Begun {
    Already(Flattened),
    From(BranchRow, Source),
}

/// What there is to copy, if there is room for it.
fn begin(sql: &Connection, row: BranchRow) -> Result<Begun, FsError> {
    // Read again: how far an earlier copying came.
    let row = branch::get(sql, row.id)?.ok_or_else(|| gone(row.id))?;
    let Some(source) = Source::of(sql, &row)? else {
        return Ok(Begun::Already(Flattened { levels: levels(sql, row.id)?, rows: 0 }));
    };
    let bucket = bucket::get(sql, row.bucket)?.ok_or_else(|| gone(row.id))?;
    let terms = &bucket.terms;
    if terms.quota_bytes.is_some() || terms.quota_files.is_some() {
        let (bytes, files) = source.charged(sql, row.copied.unwrap_or(Seq::MAX))?;
        let is_beyond =
            |used: u64, more: u64, quota: Option<u64>| more > 0 && quota.is_some_and(|quota| used + more > quota);
        if is_beyond(bucket.used_bytes, bytes, terms.quota_bytes)
            || is_beyond(bucket.used_files, files, terms.quota_files)
        {
            return Err(refused(Errno::Quota, &bucket.name, &row.name));
        }
    }
    Ok(Begun::From(row, source))
}

/// A branch that is still there.
fn shown(sql: &Connection, id: BranchId) -> Result<BranchRow, FsError> {
    branch::get(sql, id)?.filter(|row| !row.hidden).ok_or_else(|| gone(id))
}

/// How many branches a branch reads through, itself included.
fn levels(sql: &Connection, id: BranchId) -> rusqlite::Result<usize> {
    Ok(Chain::of(sql, id, Seq::MAX)?.map_or(1, |chain| chain.levels().len()))
}

fn refused(errno: Errno, bucket: &BucketName, branch: &BranchName) -> FsError {
    FsError::At { errno, what: "cannot flatten the branch", path: format!("{bucket}:{branch}") }
}

fn gone(id: BranchId) -> FsError {
    FsError::At { errno: Errno::Stale, what: "cannot flatten the branch", path: format!("of number {}", id.0) }
}
