//! Forgets versions that nobody can ask for any more.
//!
//! A row may go only if a newer row of the same branch and key is there at every version that is still to be seen: all from the horizon
//! on, and before it those that are pinned. A whiteout may go once nothing lies under it. An inode may go once it has no name in any of
//! those versions.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use alknet_core::Maintenance;
use alknet_store::{Durability, Noted, Rights};
use rusqlite::Connection;

use super::History;
use crate::{
    chain::Chain,
    error::FsError,
    failpoints::step,
    ids::{BranchId, BucketId, Ino, Seq},
    limits::{FORGOTTEN_ROWS_AT_ONCE, RETENTION_COMMITS_AT_ONCE, RETENTION_ROWS_AT_ONCE},
    name::BucketName,
    rows::{
        On,
        branch::{self, Mode},
        bucket, commit, conflict,
        dent::{self, Keyed},
        hook, inode, merge, meta, snapshot,
    },
    tree::Policy,
};

/// What a crash undoes of it is forgotten again.
const FORGOTTEN: Durability = Durability::Lazy;

impl History {
    /// Forgets what is older than the retention that a bucket's policy has. What goes is looked for in reads, which nobody waits for, and
    /// taken away a few rows at a time, each time as a change of its own. Answers how many rows went.
    pub async fn forget(&self, task: &Maintenance, bucket: &BucketName) -> Result<usize, FsError> {
        let (tables, rights) = (self.0.tables(), Rights::maintenance(task));
        let (name, now_ns) = (bucket.clone(), tables.clock().now_ns());
        let Some((id, horizon, floor)) = tables.read(move |sql| horizon(sql, &name, now_ns)).await? else {
            return Ok(0);
        };
        step("forget.looked");
        let horizon = if horizon > floor {
            let begin = move |sql: &Connection, _: &mut Noted<'_>| Ok::<_, FsError>(begin(sql, id, horizon)?);
            tables.change(&rights, FORGOTTEN, begin).await?
        } else {
            floor
        };
        // In this order: from now on older versions are not given out, but for those that `of` finds here or that are looked at already.
        let of = move |sql: &Connection| -> Result<_, FsError> {
            Ok((Kept::of(sql, id, horizon, &[])?, branch::all(sql, id)?))
        };
        let (kept, branches) = tables.read(of).await?;
        let kept = kept.with(&self.0.handles().pinned(id));
        let mut gone = 0;
        for row in branches {
            let mut at = Some(Cursor::start());
            while let Some(cursor) = at.take() {
                let on = On { bucket: id, branch: row.id, now_ms: tables.clock().now_ms() };
                let (all, from) = (kept.clone(), cursor);
                let look = move |sql: &Connection| -> Result<_, FsError> { Ok(look(sql, on, &all, from)?) };
                let (next, going) = tables.read(look).await?;
                for some in going.parts(FORGOTTEN_ROWS_AT_ONCE) {
                    let take = move |sql: &Connection, _: &mut Noted<'_>| Ok::<_, FsError>(take(sql, on, &some)?);
                    gone += tables.change(&rights, FORGOTTEN, take).await?;
                }
                at = next;
            }
        }
        if gone > 0 || horizon > floor {
            gone += self.forget_commits(&rights, id, &kept).await?;
        }
        Ok(gone)
    }

    async fn forget_commits(&self, rights: &Rights, bucket: BucketId, kept: &Kept) -> Result<usize, FsError> {
        let (mut at, mut gone) = (Some(Seq::ZERO), 0);
        while let Some(after) = at.take() {
            let all = kept.clone();
            let look = move |sql: &Connection| -> Result<_, FsError> { Ok(unnamed_commits(sql, bucket, &all, after)?) };
            let (next, going) = self.0.tables().read(look).await?;
            for some in going.chunks(FORGOTTEN_ROWS_AT_ONCE) {
                let (some, count) = (some.to_vec(), some.len());
                let take = move |sql: &Connection, _: &mut Noted<'_>| -> Result<(), FsError> {
                    Ok(some.iter().try_for_each(|seq| commit::prune(sql, bucket, *seq))?)
                };
                self.0.tables().change(rights, FORGOTTEN, take).await?;
                gone += count;
            }
            at = next;
        }
        Ok(gone)
    }
}

/// The bucket, if its policy has a retention, with the commit from which on it keeps all versions, and the one up to now.
fn horizon(sql: &Connection, name: &BucketName, now_ns: i64) -> Result<Option<(BucketId, Seq, Seq)>, FsError> {
    let Some(row) = bucket::find(sql, name)? else { return Ok(None) };
    let span = Policy::parse(&row.terms.policy).ok().and_then(|policy| policy.retention);
    let Some(span) = span else { return Ok(None) };
    let horizon = told(sql, row.id, commit::at_time(sql, row.id, span.before(now_ns))?)?;
    Ok(Some((row.id, horizon, floor(sql, row.id)?)))
}

/// A horizon as far as hooks were told: forgetting waits for them, since a commit is told by the versions before and after it.
fn told(sql: &Connection, bucket: BucketId, horizon: Seq) -> rusqlite::Result<Seq> {
    Ok(hook::oldest(sql, bucket)?.map_or(horizon, |stands| horizon.min(stands)))
}

/// Which versions of a bucket are still to be seen: all from the horizon on, and some before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    horizon: Seq,
    /// Ascending, all before the horizon.
    pins: Vec<Seq>,
}

impl Kept {
    /// All from `horizon` on, those that `held` says are open, the snapshots, what branches were made from, what was merged: from
    /// there the next merge begins, and what open conflicts are about. A pin counts for every branch of the bucket.
    pub fn of(sql: &Connection, bucket: BucketId, horizon: Seq, held: &[Seq]) -> rusqlite::Result<Self> {
        let mut pins = snapshot::seqs(sql, bucket)?;
        for row in branch::all(sql, bucket)? {
            pins.extend(row.fork.map(|fork| fork.at));
            pins.extend(merge::taken(sql, row.id)?);
            pins.extend(conflict::needed(sql, row.id)?);
        }
        Ok(Self { horizon, pins }.with(held))
    }

    /// These, too.
    fn with(mut self, held: &[Seq]) -> Self {
        self.pins.extend(held);
        self.pins.retain(|pin| *pin < self.horizon);
        self.pins.sort_unstable();
        self.pins.dedup();
        self
    }

    /// The first version that is to be seen, of a commit or of one after it.
    fn first_from(&self, seq: Seq) -> Seq {
        let first = self.pins.get(self.pins.partition_point(|pin| *pin < seq));
        first.copied().unwrap_or_else(|| self.horizon.max(seq))
    }

    /// Whether nobody sees a row of one commit that a later one has replaced.
    fn is_unseen(&self, seq: Seq, newer: Seq) -> bool {
        newer <= self.horizon && self.first_from(seq) >= newer
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

/// Rows of a branch that may go, and what this was found by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Going {
    by: Option<Arc<Basis>>,
    names: BTreeSet<(Ino, Box<[u8]>, Seq)>,
    inodes: BTreeSet<(Ino, Seq)>,
}

/// What decides, besides the rows and pins, whether a row is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Basis {
    chain: Chain,
    /// The first commit after which another branch that follows this one may see its superseded rows.
    followed: Option<Seq>,
}

impl Basis {
    fn of(sql: &Connection, of: BranchId) -> rusqlite::Result<Option<Self>> {
        let Some(chain) = Chain::of(sql, of, Seq::MAX)? else { return Ok(None) };
        let followed = branch::children(sql, of)?.into_iter().filter_map(|child| child.fork);
        let followed = followed.filter(|fork| fork.mode == Mode::Follow).map(|fork| fork.at).min();
        Ok(Some(Self { chain, followed }))
    }
}

impl Going {
    /// The same in parts of at most `count` rows.
    pub fn parts(self, count: usize) -> Vec<Self> {
        let Self { by, names, inodes } = self;
        let (mut names, mut inodes) = (names.into_iter().peekable(), inodes.into_iter().peekable());
        let mut parts = Vec::new();
        while names.peek().is_some() || inodes.peek().is_some() {
            // Names come last: by what is left of them the inodes are found again after a crash.
            let some: BTreeSet<_> = inodes.by_ref().take(count).collect();
            let rest = count - some.len();
            parts.push(Self { by: by.clone(), inodes: some, names: names.by_ref().take(rest).collect() });
        }
        parts
    }
}

/// Looks at some rows of a branch for those that nobody sees. Answers where to go on, and which may go; `None`: the pass is over.
pub fn look(sql: &Connection, on: On, kept: &Kept, at: Cursor) -> rusqlite::Result<(Option<Cursor>, Going)> {
    let Some(by) = Basis::of(sql, on.branch)?.map(Arc::new) else { return Ok((None, Going::default())) };
    let follows = by.chain.levels().iter().any(|level| level.fork.is_some());
    let going = Going { by: Some(by.clone()), ..Going::default() };
    let (chains, nameless) = (BTreeMap::new(), BTreeSet::new());
    let mut pass = Pass { sql, branch: on.branch, kept, by, follows, going, chains, nameless };
    let next = match at {
        Cursor::Names(dir, name, seq) => pass.names(dir, &name, seq)?,
        Cursor::Inodes(ino, seq) => pass.inodes(ino, seq)?,
    };
    Ok((next, pass.going))
}

/// Takes rows away, unless what they were found by is no longer so. Answers how many went.
///
/// Everything else that they were found by stays so: rows that come are newer than the horizon or copies of what is there, and a version
/// before it becomes a pin only if it is one already.
pub fn take(sql: &Connection, on: On, going: &Going) -> rusqlite::Result<usize> {
    if Basis::of(sql, on.branch)?.as_ref() != going.by.as_deref() {
        return Ok(0);
    }
    for (dir, name, seq) in &going.names {
        dent::prune(sql, on.branch, *dir, name, *seq)?;
    }
    for (ino, seq) in &going.inodes {
        inode::prune(sql, on, *ino, *seq)?;
    }
    Ok(going.names.len() + going.inodes.len())
}

struct Pass<'a> {
    sql: &'a Connection,
    branch: BranchId,
    kept: &'a Kept,
    by: Arc<Basis>,
    follows: bool,
    going: Going,
    /// What the branch reads through at the pins that were asked.
    chains: BTreeMap<Seq, Option<Chain>>,
    /// Inodes of which everything goes.
    nameless: BTreeSet<Ino>,
}

impl Pass<'_> {
    fn names(&mut self, dir: Ino, name: &[u8], seq: Seq) -> rusqlite::Result<Option<Cursor>> {
        let rows = dent::from(self.sql, self.branch, (dir, name, seq), RETENTION_ROWS_AT_ONCE)?;
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
            None => dent.gone && dent.seq <= self.kept.horizon && self.hides_nothing(row)? && !self.tells_time(row)?,
        };
        if goes {
            self.going.names.insert((*dir, dent.name.clone(), dent.seq));
        }
        if (goes || dent.gone) && dent.seq <= self.kept.horizon {
            self.forget(dent.ino)?;
        }
        Ok(())
    }

    /// Whether a branch that follows would see something else without the row.
    fn is_needed_to_follow(&self, Keyed { dent, .. }: &Keyed) -> rusqlite::Result<bool> {
        if self.by.followed.is_some_and(|fork| dent.seq > fork) {
            return Ok(true);
        }
        // Since when a branch has had a say about the names of an inode decides what flows into it.
        Ok(self.follows && !dent::places_it(self.sql, self.branch, dent.ino, dent.seq.before())?)
    }

    /// Whether a whiteout, the newest row of its name, lies over nothing.
    fn hides_nothing(&self, row: &Keyed) -> rusqlite::Result<bool> {
        let Keyed { dir, dent } = row;
        if self.follows || self.by.followed.is_some_and(|fork| dent.seq > fork) {
            return Ok(false);
        }
        let older = dent::between(self.sql, (self.branch, *dir), &dent.name, Seq::ZERO, dent.seq.before())?;
        if older.iter().any(|older| !self.going.names.contains(&(*dir, older.name.clone(), older.seq))) {
            return Ok(false);
        }
        for level in &self.by.chain.levels()[1..] {
            if dent::newest(self.sql, level.branch, *dir, &dent.name, level.bound)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a whiteout tells when its folder last lost a name, in a version that is to be seen.
    fn tells_time(&self, Keyed { dir, dent }: &Keyed) -> rusqlite::Result<bool> {
        if self.nameless.contains(dir) || *dir != Ino::ROOT && self.by.chain.inode(self.sql, *dir)?.is_none() {
            return Ok(false);
        }
        let newest = dent::newest_in(self.sql, self.branch, *dir, self.kept.first_from(dent.seq))?;
        if newest.is_some_and(|newest| newest > dent.seq) {
            return Ok(false);
        }
        // One row is enough: the last of the commit, or one that still stands.
        Ok(!dent::is_told_by_another(self.sql, self.branch, *dir, dent)?)
    }

    /// Forgets what an inode was, if it has no name in any version that is to be seen.
    fn forget(&mut self, ino: Ino) -> rusqlite::Result<()> {
        let horizon = self.kept.horizon;
        let last = inode::last_of(self.sql, self.branch, ino, Seq::MAX)?;
        if ino == Ino::ROOT || self.by.followed.is_some() || last.is_none_or(|last| last > horizon) {
            return Ok(());
        }
        for level in self.by.chain.levels() {
            if dent::last_of(self.sql, level.branch, ino, level.bound)?.is_some_and(|last| last > horizon) {
                return Ok(());
            }
        }
        for at in self.versions_that_may_name(ino)? {
            let (sql, branch) = (self.sql, self.branch);
            let chain = match self.chains.entry(at) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(Chain::of(sql, branch, at)?),
            };
            if chain.as_ref().map(|chain| chain.places(sql, ino)).transpose()?.is_some_and(|places| !places.is_empty())
            {
                return Ok(());
            }
        }
        self.nameless.insert(ino);
        self.going.inodes.extend(inode::versions(self.sql, self.branch, ino)?.into_iter().map(|seq| (ino, seq)));
        Ok(())
    }

    /// Versions that are to be seen, one for each state that the names of an inode had.
    fn versions_that_may_name(&self, ino: Ino) -> rusqlite::Result<BTreeSet<Seq>> {
        let Kept { horizon, pins } = self.kept;
        if self.follows {
            return Ok(pins.iter().chain([horizon]).copied().collect());
        }
        let levels = self.by.chain.levels();
        let mut names = BTreeSet::new();
        for level in levels {
            names.extend(dent::places(self.sql, level.branch, ino, level.bound)?);
        }
        let mut versions = BTreeSet::new();
        for (dir, name) in names {
            for level in levels {
                let rows = dent::between(self.sql, (level.branch, dir), &name, Seq::ZERO, level.bound)?;
                versions.extend(rows.iter().map(|row| self.kept.first_from(row.seq)));
            }
        }
        versions.retain(|version| version <= horizon);
        Ok(versions)
    }

    fn inodes(&mut self, ino: Ino, seq: Seq) -> rusqlite::Result<Option<Cursor>> {
        let rows = inode::from(self.sql, self.branch, (ino, seq), RETENTION_ROWS_AT_ONCE)?;
        for pair in rows.windows(2) {
            let ((ino, seq), (other, newer)) = (pair[0], pair[1]);
            if ino == other && self.kept.is_unseen(seq, newer) {
                self.going.inodes.insert((ino, seq));
            }
        }
        let next = rows.last().filter(|_| rows.len() == RETENTION_ROWS_AT_ONCE);
        Ok(next.map(|(ino, seq)| Cursor::Inodes(*ino, *seq)))
    }
}

/// Commits after this one, and before the horizon, whose rows are all gone, and from which no time and no version is counted any more.
/// Answers where to go on; `None`: these were all.
pub fn unnamed_commits(
    sql: &Connection,
    bucket: BucketId,
    kept: &Kept,
    after: Seq,
) -> rusqlite::Result<(Option<Seq>, Vec<Seq>)> {
    let mut commits = commit::after(sql, bucket, after, RETENTION_COMMITS_AT_ONCE)?;
    commits.retain(|commit| commit.seq < kept.horizon);
    let (Some(first), Some(last)) = (commits.first().map(|row| row.seq), commits.last().map(|row| row.seq)) else {
        return Ok((None, Vec::new()));
    };
    let mut named = BTreeSet::new();
    for row in branch::all(sql, bucket)? {
        named.extend(dent::commits(sql, row.id, (first, last))?);
        named.extend(inode::commits(sql, row.id, (first, last))?);
    }
    // A bucket is as old as its first commit. What comes after a snapshot says up to when it was the newest.
    let is_pin = |seq: Seq| kept.pins.binary_search(&seq).is_ok();
    let is_marked = |seq: Seq| seq.get() == 1 || is_pin(seq) || is_pin(seq.before());
    let mut going = Vec::new();
    for commit in commits.into_iter().filter(|commit| !named.contains(&commit.seq) && !is_marked(commit.seq)) {
        let (branch, seq) = (commit.branch, commit.seq);
        if merge::of_commit(sql, branch, seq)?.is_none() && !conflict::is_of_commit(sql, branch, seq)? {
            going.push(seq);
        }
    }
    Ok((Some(last), going))
}

/// Notes that versions before `horizon` may be forgotten from now on, as far as no hook is still to be told of them. Answers the newest
/// horizon that there was.
pub fn begin(sql: &Connection, bucket: BucketId, horizon: Seq) -> rusqlite::Result<Seq> {
    // There may be a hook by now that was not there when the horizon was looked for.
    let horizon = told(sql, bucket, horizon)?.max(floor(sql, bucket)?);
    meta::write(sql, &meta::kept_from(bucket), i64::try_from(horizon.get()).unwrap_or(i64::MAX))?;
    Ok(horizon)
}

/// Whether a version of a branch can still be seen as it was: it is not older than the horizon, or a snapshot was taken of it.
pub fn is_kept(sql: &Connection, (bucket, of): (BucketId, BranchId), seq: Seq) -> rusqlite::Result<bool> {
    let is_snapshot = |row: &snapshot::SnapshotRow| row.branch == of && row.seq == seq;
    Ok(seq >= floor(sql, bucket)? || snapshot::list(sql, bucket)?.iter().any(is_snapshot))
}

/// The oldest commit whose version a bucket still shows; before it only snapshots are.
pub(crate) fn floor(sql: &Connection, bucket: BucketId) -> rusqlite::Result<Seq> {
    let floor = meta::read(sql, &meta::kept_from(bucket))?.and_then(|floor| u64::try_from(floor).ok());
    Ok(floor.and_then(Seq::new).unwrap_or(Seq::ZERO))
}
