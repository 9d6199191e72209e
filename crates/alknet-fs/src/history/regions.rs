//! Which rows can make two versions differ.

use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::{
    chain::{Chain, Level},
    ids::{BranchId, Ino, Seq},
    rows::{dent, inode},
};

/// Commits of one branch, after one and up to another.
type Region = (BranchId, Seq, Seq);

/// The commits whose rows are seen in one of two versions and not, or not in the same way, in the other.
fn regions(old: &Chain, new: &Chain) -> Vec<Region> {
    let mut all: BTreeMap<BranchId, Region> = BTreeMap::new();
    for (mine, other) in [(old, new), (new, old)] {
        for (index, level) in mine.levels().iter().enumerate() {
            let found = other.levels().iter().position(|theirs| theirs.branch == level.branch);
            let after =
                found.map_or(Seq::ZERO, |there| seen_alike(&mine.levels()[..=index], &other.levels()[..=there]));
            let region = all.entry(level.branch).or_insert((level.branch, after, level.bound));
            region.2 = region.2.max(level.bound);
        }
    }
    all.into_values().filter(|(_, after, to)| after < to).collect()
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
    regions(old, new).into_iter().try_for_each(|region| dent::touched(sql, region, &mut tell))
}

/// Tells each inode that may be something else in the other version, some more than once.
pub(super) fn inodes(
    sql: &Connection,
    old: &Chain,
    new: &Chain,
    mut tell: impl FnMut(Ino) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    regions(old, new).into_iter().try_for_each(|region| inode::touched(sql, region, &mut tell))
}
