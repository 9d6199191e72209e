//! The version that two branches have in common: the newest that both came from or took in.

use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::{
    chain::Chain,
    ids::{BranchId, Seq},
    rows::{branch, merge},
};

/// Up to which commit of each branch a version has it, because it was made from there or merged it.
type Known = BTreeMap<BranchId, Seq>;

/// The newest version that both have in them, of a branch that is still there.
pub fn common(
    sql: &Connection,
    one: (BranchId, Seq),
    other: (BranchId, Seq),
) -> rusqlite::Result<Option<(BranchId, Seq)>> {
    let (mine, theirs) = (known(sql, one)?, known(sql, other)?);
    let shared: Vec<_> =
        mine.iter().filter_map(|(branch, seq)| Some((*branch, *theirs.get(branch)?.min(seq)))).collect();
    let mut best: Option<(BranchId, Seq, Known)> = None;
    for (branch, seq) in shared {
        // Nothing may be left of it: then it was taken in by one other branch only, whose version both have too.
        if Chain::standing_for(sql, branch, seq)?.is_none() {
            continue;
        }
        let holds = known(sql, (branch, seq))?;
        // One that has the other in it is the newer one; of two that do not know of each other, that with the higher number.
        let is_newer = match &best {
            None => true,
            Some((best, at, best_holds)) => {
                let has = |known: &Known, branch, seq| known.get(&branch).is_some_and(|known| *known >= seq);
                has(&holds, *best, *at) || !has(best_holds, branch, seq) && (seq, branch) > (*at, *best)
            }
        };
        if is_newer {
            best = Some((branch, seq, holds));
        }
    }
    Ok(best.map(|(branch, seq, _)| (branch, seq)))
}

fn known(sql: &Connection, version: (BranchId, Seq)) -> rusqlite::Result<Known> {
    let (mut known, mut open) = (Known::new(), vec![version]);
    while let Some((branch, seq)) = open.pop() {
        if known.get(&branch).is_some_and(|known| *known >= seq) {
            continue;
        }
        known.insert(branch, seq);
        // One that follows has its parent's later changes too, but not those that it overrides: only up to the fork it has them all.
        let fork = branch::get(sql, branch)?.and_then(|row| row.fork);
        open.extend(fork.map(|fork| (fork.parent, fork.at.min(seq))));
        open.extend(merge::taken_in(sql, branch, seq)?);
    }
    Ok(known)
}
