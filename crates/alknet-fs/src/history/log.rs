//! What led to a version: the commits of a branch, and the versions of one entry whatever it was called.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::{
    diff::{Change, compared},
    side::{Place, Side, State},
};
use crate::{
    chain::{Chain, Lineage},
    error::{Errno, FsError},
    ids::{BranchId, BucketId, Ino, Seq},
    limits::{MAX_LOG_COMMITS, MAX_LOG_STEPS},
    path::FsPath,
    rows::{
        Kind,
        commit::{self, CommitRow},
        dent, inode,
    },
    sight::Sight,
};

/// Commits, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commits {
    /// Them.
    pub all: Vec<CommitRow>,
    /// Before which commit there may be more.
    pub next: Option<Seq>,
}

/// What a commit made of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The commit, if it is still known.
    pub commit: Option<CommitRow>,
    /// Its number.
    pub seq: Seq,
    /// Where the entry was then; of a name that was taken away: where that was.
    pub path: Option<FsPath>,
    /// Where it was before, if that was elsewhere.
    pub from: Option<FsPath>,
    /// In which ways it differs from the version before, at least one.
    pub changes: Vec<Change>,
    /// What it was then; `None`: it was removed.
    pub state: Option<State>,
}

/// Versions of an entry, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// Them.
    pub all: Vec<Version>,
    /// Before which commit there may be more.
    pub next: Option<Seq>,
}

/// At most `limit` commits before `before` whose changes a branch shows: its own, and those of its parents that it sees.
pub fn commits(
    sql: &Connection,
    bucket: BucketId,
    chain: &Chain,
    before: Seq,
    limit: usize,
) -> rusqlite::Result<Commits> {
    let own = chain.levels().first().map(|level| Lineage::of(sql, level.branch, level.bound));
    let lineage = own.transpose()?.flatten();
    let bounds: BTreeMap<_, _> =
        lineage.iter().flat_map(Lineage::levels).map(|level| (level.branch, level.bound)).collect();
    let is_shown = |row: &CommitRow| bounds.get(&row.branch).is_some_and(|bound| row.seq <= *bound);
    let rows = commit::page(sql, bucket, before, MAX_LOG_COMMITS)?;
    let last = rows.last().map(|row| row.seq).filter(|_| rows.len() == MAX_LOG_COMMITS);
    let mut all: Vec<_> = rows.into_iter().filter(is_shown).collect();
    let more = all.len() > limit;
    all.truncate(limit);
    let next = if more { all.last().map(|row| row.seq) } else { last };
    Ok(Commits { all, next })
}

/// At most `limit` versions of the entry at a path, from before `before`, as they are within somebody's sight, which `chain` is. An entry that was removed has its versions too, and one that
/// another took the place of goes on with the other's. `None`: there never was one.
///
/// # Errors
/// Fails with [`Errno::TooBig`] when there are more than [`MAX_LOG_STEPS`] versions after those.
pub fn versions(
    sql: &Connection,
    (bucket, branch): (BucketId, BranchId),
    (chain, sight): (&Chain, &Sight),
    path: &FsPath,
    (before, limit): (Seq, usize),
) -> Result<Option<Versions>, FsError> {
    let Some((ino, _)) = named(sql, chain, path)? else { return Ok(None) };
    let bound = chain.levels().first().map_or(Seq::ZERO, |level| level.bound);
    let mut trail = Trail { sql, branch, sight, open: BTreeMap::from([(ino, bound)]) };
    let mut all: Vec<Version> = Vec::new();
    for _ in 0..MAX_LOG_STEPS {
        let Some((ino, seq)) = trail.next()? else { return Ok(Some(Versions { all, next: None })) };
        let Some(version) = trail.version(ino, seq)? else { continue };
        if seq < before {
            if all.len() >= limit {
                let next = all.last().map(|version| version.seq);
                return Ok(Some(Versions { all, next }));
            }
            let commit = commit::get(sql, bucket, seq)?;
            all.push(Version { commit, ..version });
        }
    }
    Err(FsError::At { errno: Errno::TooBig, what: "cannot go that far back in the log of", path: path.to_string() })
}

/// What a path names, or named last, and whether it still does.
pub(super) fn named(sql: &Connection, chain: &Chain, path: &FsPath) -> rusqlite::Result<Option<(Ino, bool)>> {
    let mut found = (Ino::ROOT, Kind::Folder);
    let mut is_there = true;
    for name in path.names() {
        if found.1 != Kind::Folder {
            return Ok(None);
        }
        let Some(dent) = chain.entry(sql, 0, found.0, name.as_bytes())? else { return Ok(None) };
        found = (dent.ino, dent.kind);
        is_there &= !dent.gone;
    }
    Ok(Some((found.0, is_there)))
}

/// The inodes whose versions are told, each with the newest commit that was not looked at.
struct Trail<'a> {
    sql: &'a Connection,
    branch: BranchId,
    sight: &'a Sight,
    open: BTreeMap<Ino, Seq>,
}

impl Trail<'_> {
    /// The newest version that was not looked at.
    fn next(&mut self) -> rusqlite::Result<Option<(Ino, Seq)>> {
        let mut newest: Option<(Ino, Seq)> = None;
        for (ino, seq) in std::mem::take(&mut self.open) {
            // Once it is known to have a version there, asking again costs the same few look-ups.
            let Some(seq) = self.last(ino, seq)? else { continue };
            self.open.insert(ino, seq);
            if newest.is_none_or(|(_, other)| seq > other) {
                newest = Some((ino, seq));
            }
        }
        if let Some((ino, seq)) = newest {
            self.open.insert(ino, seq.before());
        }
        Ok(newest)
    }

    fn last(&self, ino: Ino, bound: Seq) -> rusqlite::Result<Option<Seq>> {
        let Some(chain) = self.chain(bound)? else { return Ok(None) };
        let mut last = None;
        for level in chain.levels() {
            let named = dent::last_of(self.sql, level.branch, ino, level.bound)?;
            last = last.max(named).max(inode::last_of(self.sql, level.branch, ino, level.bound)?);
        }
        Ok(last.filter(|seq| *seq > Seq::ZERO))
    }

    fn chain(&self, bound: Seq) -> rusqlite::Result<Option<Chain>> {
        self.sight.chain(self.sql, self.branch, bound)
    }

    /// What a commit made of an inode, if anything that is seen.
    fn version(&mut self, ino: Ino, seq: Seq) -> rusqlite::Result<Option<Version>> {
        let (Some(old), Some(new)) = (self.chain(seq.before())?, self.chain(seq)?) else { return Ok(None) };
        let (mut old, mut new) = (Side::new(self.sql, &old), Side::new(self.sql, &new));
        let (gone, come) = apart(old.places(ino)?, new.places(ino)?, ino);
        let (before, after) = (Known::of(&mut old, ino)?, Known::of(&mut new, ino)?);
        let mut changes = Vec::new();
        let mut from = None;
        match (gone.first(), come.first()) {
            (Some((dir, name)), Some(_)) => {
                changes.push(Change::Renamed);
                from = old.path(*dir, name)?;
            }
            (Some(_), None) => changes.push(Change::Removed),
            (None, Some(_)) => changes.push(Change::Added),
            (None, None) => {}
        }
        let mut told = before.state.clone();
        if let Some((dir, name)) = come.first()
            && let Some(other) = old.chain.entry(self.sql, 0, *dir, name)?.filter(|other| other.ino != ino)
        {
            let upto = if other.gone { other.seq } else { seq.before() };
            self.open.entry(other.ino).or_insert(upto);
            if !other.gone && before.path.is_none() {
                told = old.state(other.ino)?;
                changes.clear();
            }
        }
        if after.path.is_some() && told.is_some() {
            changes.extend(compared(told.as_ref(), after.state.as_ref()));
        }
        if changes.is_empty() {
            return Ok(None);
        }
        let path = match (come.first(), gone.first()) {
            (Some((dir, name)), _) => new.path(*dir, name)?,
            (None, Some((dir, name))) => old.path(*dir, name)?,
            (None, None) => after.path.clone(),
        };
        let state = after.state.filter(|_| after.path.is_some());
        Ok(Some(Version { commit: None, seq, path, from, changes, state }))
    }
}

/// What is known of an inode in a version.
struct Known {
    path: Option<FsPath>,
    state: Option<State>,
}

impl Known {
    fn of(side: &mut Side<'_>, ino: Ino) -> rusqlite::Result<Self> {
        let place = side.places(ino)?.into_iter().next();
        let path = match place {
            _ if ino == Ino::ROOT => Some(FsPath::ROOT),
            Some((dir, name)) => side.path(dir, &name)?,
            None => None,
        };
        let state = if path.is_some() { side.state(ino)? } else { None };
        Ok(Self { path, state })
    }
}

/// The places that only one of two versions has.
fn apart(mut old: Vec<Place>, mut new: Vec<Place>, ino: Ino) -> (Vec<Place>, Vec<Place>) {
    if ino == Ino::ROOT {
        return (Vec::new(), Vec::new());
    }
    let stay: Vec<_> = old.iter().filter(|place| new.contains(place)).cloned().collect();
    old.retain(|place| !stay.contains(place));
    new.retain(|place| !stay.contains(place));
    (old, new)
}
