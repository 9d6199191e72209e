//! Settles a conflict: one of the two versions stays, or both do.

use rusqlite::Connection;

use super::{
    changing,
    conflicts::{self, About, Conflict},
    merge,
    side::Side,
};
use crate::{
    chain::Chain,
    error::{Errno, FsError},
    ids::BranchId,
    rows::{conflict, inode},
    tree::Txn,
};

/// What stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Keep {
    /// What is here.
    Ours,
    /// What is there.
    Theirs,
    /// Both, theirs under a name of its own.
    Both,
}

/// Settles the open conflict of this number.
pub(super) fn settle(txn: &mut Txn<'_>, number: u64, keep: Keep) -> Result<(), FsError> {
    let of = (txn.branch().id, &txn.bucket().name, txn.identity());
    let known = conflicts::get(txn.sql(), of, number)?;
    if keep != Keep::Ours && !known.is_seen {
        let (what, path) = ("cannot keep without the right to read it the other side of", known.draft.path.to_string());
        return Err(FsError::At { errno: Errno::Perm, what, path });
    }
    let side = side(txn.sql(), txn.branch().id, &known, keep)?;
    let label = known.draft.theirs.as_ref().map_or("", |theirs| &theirs.label);
    let plan = merge::plan_settling(txn.sql(), (txn.chain(), &side, label), &known.draft, keep)?;
    changing::write(txn, &plan)?;
    if let Some(aside) = known.draft.theirs.as_ref().and_then(|theirs| theirs.aside)
        && Side::new(txn.sql(), txn.chain()).place(aside)?.is_none()
    {
        inode::prune(txn.sql(), txn.on(), aside, known.seq)?;
    }
    Ok(conflict::remove(txn.sql(), number)?)
}

/// The version that stays, as it was before the merge.
fn side(sql: &Connection, branch: BranchId, known: &Conflict, keep: Keep) -> Result<Chain, FsError> {
    let before = known.seq.before();
    let (of, at) = match (keep, known.from, known.draft.about) {
        (Keep::Theirs | Keep::Both, Some((from, at)), About::Place | About::Removed | About::Name) => {
            (from, at.min(before))
        }
        _ => (branch, before),
    };
    let gone = || FsError::At {
        errno: Errno::NoEnt,
        what: "the branch is gone that was merged, for the conflict at",
        path: known.draft.path.to_string(),
    };
    Chain::of(sql, of, at)?.ok_or_else(gone)
}
