//! Writes what was planned, as rows of one commit.

use std::collections::{HashMap, hash_map::Entry as Known};

use rusqlite::Connection;

use super::{Plan, overlay::Renaming};
use crate::{
    chain::Chain,
    error::FsError,
    folding::Names,
    ids::{Ino, Seq},
    rows::{
        On, conflict,
        dent::{self, Dent},
        inode::{self, Inode},
    },
};

/// Writes a plan as a commit of the branch that `chain` is of. Answers the numbers of the conflicts, in their order; `listed`: they are
/// kept until they are settled.
pub fn apply(
    sql: &Connection,
    (on, chain): (On, &Chain),
    seq: Seq,
    plan: &Plan,
    mut new_ino: impl FnMut() -> Result<Ino, FsError>,
) -> Result<Vec<u64>, FsError> {
    let mut drawn = HashMap::new();
    let mut number = |ino: Ino| match drawn.entry(ino) {
        _ if !ino.is_pending() => Ok(ino),
        Known::Occupied(known) => Ok(*known.get()),
        Known::Vacant(new) => new_ino().map(|ino| *new.insert(ino)),
    };
    for Renaming { place: (dir, name), before, now } in &plan.names {
        let (entry, gone) = match (now, before) {
            (Some(now), _) => (now, false),
            (None, Some(before)) => (before, true),
            (None, None) => continue,
        };
        let made = !gone && !was_named(sql, chain, entry.ino)?;
        let shown = match plan.shown.get(&(*dir, name.clone())) {
            Some(shown) => shown.clone(),
            None => shown(sql, chain, entry.ino, name)?,
        };
        let (dir, ino) = (number(*dir)?, number(entry.ino)?);
        let dent = Dent { name: name.clone(), seq, ino, kind: entry.kind, gone, made, shown };
        dent::write(sql, on.branch, dir, &dent)?;
    }
    let written = plan.inodes.values().map(|inode| Ok(Inode { seq, ino: number(inode.ino)?, ..inode.clone() }));
    inode::write_all::<FsError>(sql, on, written)?;
    for ((dir, name), inode) in &plan.copies {
        let ino = new_ino()?;
        let kind = inode.kind;
        let dent = Dent { name: name.clone(), seq, ino, kind, gone: false, made: true, shown: None };
        dent::write(sql, on.branch, *dir, &dent)?;
        inode::write(sql, on, &Inode { ino, seq, ..inode.clone() })?;
    }
    let mut numbers = Vec::with_capacity(plan.conflicts.len());
    for (index, draft) in plan.conflicts.iter().enumerate() {
        let mut theirs = draft.theirs.clone();
        if let (Some(inode), Some(theirs)) = (plan.aside.get(&index), theirs.as_mut()) {
            let ino = new_ino()?;
            inode::write(sql, on, &Inode { ino, seq, ..inode.clone() })?;
            theirs.aside = Some(ino);
        }
        numbers.push(conflict::insert(sql, on, seq, draft.row(theirs))?);
    }
    Ok(numbers)
}

/// How a name is written that a merge moves from row to row.
fn shown(sql: &Connection, chain: &Chain, ino: Ino, name: &[u8]) -> rusqlite::Result<Option<Box<[u8]>>> {
    if chain.names() == Names::Fold { dent::shown(sql, ino, name) } else { Ok(None) }
}

/// Whether the branch ever knew a name of an inode.
fn was_named(sql: &Connection, chain: &Chain, ino: Ino) -> rusqlite::Result<bool> {
    for level in chain.levels() {
        if dent::places_it(sql, level.branch, ino, level.bound)? {
            return Ok(true);
        }
    }
    Ok(false)
}
