//! Which rows can make two versions differ.

use std::collections::BTreeMap;

use rusqlite::{Connection, ffi};

use crate::{
    chain::{Chain, Level, Lineage},
    ids::{BranchId, Ino, Seq},
    rows::{dent, inode},
};

/// Commits of one branch, after one and up to another.
type Region = (BranchId, Seq, Seq);

/// The commits whose rows are seen in one of two versions and not, or not in the same way, in the other; each with a branch that has
/// their rows.
fn regions(sql: &Connection, old: &Chain, new: &Chain) -> rusqlite::Result<Vec<Region>> {
    let (old, new) = (lineage(sql, old)?, lineage(sql, new)?);
    let mut all: BTreeMap<BranchId, Region> = BTreeMap::new();
    for (mine, other) in [(&old, &new), (&new, &old)] {
        for (index, level) in mine.levels().iter().enumerate() {
            let found = other.levels().iter().position(|theirs| theirs.branch == level.branch);
            let after =
                found.map_or(Seq::ZERO, |there| seen_alike(&mine.levels()[..=index], &other.levels()[..=there]));
            // What a branch that was flattened has of its parents is in their regions.
            let parent = mine.levels().get(index + 1).filter(|parent| parent.fork.is_none());
            let after = parent.map_or(after, |parent| after.max(parent.bound));
            let holder = mine.holder(level.branch);
            let region = all.entry(level.branch).or_insert((holder, after, level.bound));
            if level.bound > region.2 {
                (region.0, region.2) = (holder, level.bound);
            }
        }
    }
    Ok(all.into_values().filter(|(_, after, to)| after < to).collect())
}

fn lineage(sql: &Connection, chain: &Chain) -> rusqlite::Result<Lineage> {
    let own = chain.levels().first().ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    Lineage::of(sql, own.branch, own.bound)?.ok_or(rusqlite::Error::QueryReturnedNoRows)
}

/// Up to which commit the last level of both is seen alike, whatever is below it.
fn seen_alike(mine: &[Level], theirs: &[Level]) -> Seq {
    let (Some((one, above)), Some((other, their_above))) = (mine.split_last(), theirs.split_last()) else {
        return Seq::ZERO;
    };
    let bound = one.bound.min(other.bound);
    let branches = |levels: &[Level]| levels.iter().map(|level| level.branch).collect::<Vec<_>>();
    if one.fork == other.fork && (one.fork.is_none() || branches(above) == branches(their_above)) {
        return bound;
    }
    // One that is followed is seen as it is up to the fork only; after it, the nearer levels have a say.
    let forks = [one.fork, other.fork].into_iter().flatten();
    forks.fold(bound, Seq::min)
}

/// Tells each folder and name that may stand for something else in the other version, some more than once.
pub(super) fn names(
    sql: &Connection,
    old: &Chain,
    new: &Chain,
    mut tell: impl FnMut(Ino, &[u8]) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    regions(sql, old, new)?.into_iter().try_for_each(|region| dent::touched(sql, region, &mut tell))
}

/// Tells each inode that may be something else in the other version, some more than once.
pub(super) fn inodes(
    sql: &Connection,
    old: &Chain,
    new: &Chain,
    mut tell: impl FnMut(Ino) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    regions(sql, old, new)?.into_iter().try_for_each(|region| inode::touched(sql, region, &mut tell))
}

/// What whoever is told answers when it is enough: no more is read.
pub(super) fn enough() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_ABORT), None)
}
