//! Forgets versions that nobody can ask for any more.
//!
//! A row may go only if a newer row of the same branch and key is there at every version that is still to be seen: all from the horizon
//! on, and before it those that are pinned. A whiteout may go once nothing lies under it. An inode may go once it has no name in any of
//! those versions.

use alknet_core::Maintenance;
use alknet_store::{Durability, Noted, Rights};
use rusqlite::Connection;

use super::History;
use crate::{
    chain::Chain,
    error::FsError,
    ids::{BranchId, BucketId, Ino, Seq},
    limits::RETENTION_ROWS_AT_ONCE,
    name::BucketName,
    rows::{
        On,
        branch::{self, Mode},
        bucket, commit, conflict,
        dent::{self, Keyed},
        inode, merge, meta, snapshot,
    },
    tree::Policy,
};

impl History {
    /// Forgets what is older than the retention that a bucket's policy has: a few rows at a time, each time as a change of its own, so that
    /// nobody waits long. Answers how many rows went.
    pub async fn forget(&self, task: &Maintenance, bucket: &BucketName) -> Result<usize, FsError> {
        let tree = &self.0;
        let (name, now_ns) = (bucket.clone(), tree.tables().clock().now_ns());
        let begin = move |sql: &Connection, _: &mut Noted<'_>| -> Result<_, FsError> {
            let Some(row) = bucket::find(sql, &name)? else { return Ok(None) };
            let Some(span) = Policy::parse(&row.terms.policy).ok().and_then(|policy| policy.retention) else {
                return Ok(None);
            };
            let horizon = begin(sql, row.id, commit::at_time(sql, row.id, span.before(now_ns))?)?;
            Ok(Some((row.id, horizon, branch::all(sql, row.id)?)))
        };
        let rights = Rights::maintenance(task);
        let forgetting = tree.handles().forgetting().await;
        let begun = tree.tables().change(&rights, Durability::Group, begin).await?;
        drop(forgetting);
        let Some((id, horizon, branches)) = begun else { return Ok(0) };
        let mut gone = 0;
        for row in branches {
            let mut at = Some(Cursor::start());
            while let Some(cursor) = at.take() {
                let forgetting = tree.handles().forgetting().await;
                let (handles, now_ms) = (tree.handles().clone(), tree.tables().clock().now_ms());
                let some = move |sql: &Connection, _: &mut Noted<'_>| -> Result<_, FsError> {
                    let kept = Kept::of(sql, id, horizon, &handles.pinned(id))?;
                    Ok(step(sql, On { bucket: id, branch: row.id, now_ms }, &kept, cursor)?)
                };
                let (next, some) = tree.tables().change(&rights, Durability::Group, some).await?;
                drop(forgetting);
                (at, gone) = (next, gone + some);
            }
        }
        Ok(gone)
    }
}

/// Which versions of a bucket are still to be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    horizon: Seq,
    pins: Vec<Seq>,
}

impl Kept {
    /// All from `horizon` on, those that `held` says are open, the snapshots, what branches were made from, what was merged: from
    /// there the next merge begins, and what open conflicts are about. A pin counts for every branch of the bucket.
    pub fn of(sql: &Connection, bucket: BucketId, horizon: Seq, held: &[Seq]) -> rusqlite::Result<Self> {
        let mut pins = held.to_vec();
        pins.extend(snapshot::list(sql, bucket)?.into_iter().map(|snapshot| snapshot.seq));
        for row in branch::all(sql, bucket)? {
            pins.extend(row.fork.map(|fork| fork.at));
            pins.extend(merge::taken(sql, row.id)?);
            pins.extend(conflict::needed(sql, row.id)?);
        }
        pins.sort_unstable();
        pins.dedup();
        // A pin on nothing is that of somebody who is about to look: nothing goes then.
        let horizon = if pins.first() == Some(&Seq::ZERO) && held.contains(&Seq::ZERO) { Seq::ZERO } else { horizon };
        Ok(Self { horizon, pins })
    }

    /// Whether nobody sees a row of one commit that a later one has replaced.
    fn is_unseen(&self, seq: Seq, newer: Seq) -> bool {
        let first = self.pins.partition_point(|pin| *pin < seq);
        newer <= self.horizon && self.pins.get(first).is_none_or(|pin| *pin >= newer)
    }
}

/// How far a pass over a branch came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cursor {
    /// At this version of a name.
    Names(Ino, Box<[u8]>, Seq),
    /// At this version of an inode.
    Inodes(Ino, Seq),
}

impl Cursor {
    /// Before everything.
    pub fn start() -> Self {
        Self::Names(Ino::ROOT, Box::default(), Seq::ZERO)
    }
}

/// Looks at some rows of a branch and forgets those that nobody sees. Answers where to go on, and how many rows went; `None`: the pass
/// is over.
pub fn step(sql: &Connection, on: On, kept: &Kept, at: Cursor) -> rusqlite::Result<(Option<Cursor>, usize)> {
    let Some(chain) = Chain::of(sql, on.branch, Seq::MAX)? else { return Ok((None, 0)) };
    let followed = branch::children(sql, on.branch)?.into_iter().filter_map(|child| child.fork);
    let followed = followed.filter(|fork| fork.mode == Mode::Follow).map(|fork| fork.at).min();
    let follows = chain.levels().iter().any(|level| level.fork.is_some());
    let mut pass = Pass { sql, on, kept, chain, followed, follows, gone: 0 };
    let next = match at {
        Cursor::Names(dir, name, seq) => pass.names(dir, &name, seq)?,
        Cursor::Inodes(ino, seq) => pass.inodes(ino, seq)?,
    };
    Ok((next, pass.gone))
}

struct Pass<'a> {
    sql: &'a Connection,
    on: On,
    kept: &'a Kept,
    chain: Chain,
    /// The first commit after which another branch that follows this one may see its superseded rows.
    followed: Option<Seq>,
    follows: bool,
    gone: usize,
}

impl Pass<'_> {
    fn names(&mut self, dir: Ino, name: &[u8], seq: Seq) -> rusqlite::Result<Option<Cursor>> {
        let rows = dent::from(self.sql, self.on.branch, (dir, name, seq), RETENTION_ROWS_AT_ONCE)?;
        let is_last = rows.len() < RETENTION_ROWS_AT_ONCE;
        for (index, row) in rows.iter().enumerate() {
            let newer = rows.get(index + 1);
            if newer.is_none() && !is_last {
                return Ok(Some(Cursor::Names(row.dir, row.dent.name.clone(), row.dent.seq)));
            }
            let newer = newer.filter(|newer| (newer.dir, &newer.dent.name) == (row.dir, &row.dent.name));
            self.name(row, newer)?;
        }
        Ok(Some(Cursor::Inodes(Ino::FIRST, Seq::ZERO)))
    }

    fn name(&mut self, row: &Keyed, newer: Option<&Keyed>) -> rusqlite::Result<()> {
        let Keyed { dir, dent } = row;
        let goes = match newer {
            Some(newer) => self.kept.is_unseen(dent.seq, newer.dent.seq) && !self.is_needed_to_follow(row)?,
            None => dent.gone && dent.seq <= self.kept.horizon && self.hides_nothing(row)?,
        };
        if goes {
            dent::prune(self.sql, self.on.branch, *dir, &dent.name, dent.seq)?;
            self.gone += 1;
        }
        if (goes || dent.gone) && dent.seq <= self.kept.horizon {
            self.forget(dent.ino)?;
        }
        Ok(())
    }

    /// Whether a branch that follows would see something else without the row.
    fn is_needed_to_follow(&self, Keyed { dent, .. }: &Keyed) -> rusqlite::Result<bool> {
        if self.followed.is_some_and(|fork| dent.seq > fork) {
            return Ok(true);
        }
        // Since when a branch has had a say about the names of an inode decides what flows into it.
        Ok(self.follows && !dent::places_it(self.sql, self.on.branch, dent.ino, dent.seq.before())?)
    }

    /// Whether a whiteout, the newest row of its name, lies over nothing.
    fn hides_nothing(&self, row: &Keyed) -> rusqlite::Result<bool> {
        let Keyed { dir, dent } = row;
        if self.follows || self.followed.is_some_and(|fork| dent.seq > fork) {
            return Ok(false);
        }
        if dent::newest(self.sql, self.on.branch, *dir, &dent.name, dent.seq.before())?.is_some() {
            return Ok(false);
        }
        for level in &self.chain.levels()[1..] {
            if dent::newest(self.sql, level.branch, *dir, &dent.name, level.bound)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Forgets what an inode was, if it has no name in any version that is to be seen.
    fn forget(&mut self, ino: Ino) -> rusqlite::Result<()> {
        let last = inode::last_of(self.sql, self.on.branch, ino, Seq::MAX)?;
        if ino == Ino::ROOT || self.followed.is_some() || last.is_none_or(|last| last > self.kept.horizon) {
            return Ok(());
        }
        for level in self.chain.levels() {
            if dent::last_of(self.sql, level.branch, ino, level.bound)?.is_some_and(|last| last > self.kept.horizon) {
                return Ok(());
            }
        }
        for pin in self.kept.pins.iter().chain([&self.kept.horizon]) {
            let chain = Chain::of(self.sql, self.on.branch, *pin)?;
            if chain.map(|chain| chain.places(self.sql, ino)).transpose()?.is_some_and(|places| !places.is_empty()) {
                return Ok(());
            }
        }
        for seq in inode::versions(self.sql, self.on.branch, ino)? {
            inode::prune(self.sql, self.on, ino, seq)?;
            self.gone += 1;
        }
        Ok(())
    }

    fn inodes(&mut self, ino: Ino, seq: Seq) -> rusqlite::Result<Option<Cursor>> {
        let rows = inode::from(self.sql, self.on.branch, (ino, seq), RETENTION_ROWS_AT_ONCE)?;
        for pair in rows.windows(2) {
            let ((ino, seq), (other, newer)) = (pair[0], pair[1]);
            if ino == other && self.kept.is_unseen(seq, newer) {
                inode::prune(self.sql, self.on, ino, seq)?;
                self.gone += 1;
            }
        }
        let next = rows.last().filter(|_| rows.len() == RETENTION_ROWS_AT_ONCE);
        Ok(next.map(|(ino, seq)| Cursor::Inodes(*ino, *seq)))
    }
}

/// Notes that versions before `horizon` may be forgotten from now on. Answers the newest horizon that there was.
pub fn begin(sql: &Connection, bucket: BucketId, horizon: Seq) -> rusqlite::Result<Seq> {
    let horizon = horizon.max(floor(sql, bucket)?);
    meta::write(sql, &key(bucket), i64::try_from(horizon.get()).unwrap_or(i64::MAX))?;
    Ok(horizon)
}

/// Whether a version of a branch can still be seen as it was: it is not older than the horizon, or a snapshot was taken of it.
pub fn is_kept(sql: &Connection, (bucket, of): (BucketId, BranchId), seq: Seq) -> rusqlite::Result<bool> {
    let is_snapshot = |row: &snapshot::SnapshotRow| row.branch == of && row.seq == seq;
    Ok(seq >= floor(sql, bucket)? || snapshot::list(sql, bucket)?.iter().any(is_snapshot))
}

fn floor(sql: &Connection, bucket: BucketId) -> rusqlite::Result<Seq> {
    let floor = meta::read(sql, &key(bucket))?.and_then(|floor| u64::try_from(floor).ok());
    Ok(floor.and_then(Seq::new).unwrap_or(Seq::ZERO))
}

fn key(bucket: BucketId) -> String {
    format!("kept from {}", bucket.0)
}
