//! Settles a conflict: one of the two versions stays, or both do.

use super::{
    conflicts::{self, About, Conflict, Subject},
    merge::overlay::Overlay,
    side::{Place, Side},
};
use crate::{
    error::{Errno, FsError},
    ids::Ino,
    path::FsPath,
    rows::{
        Kind, conflict,
        inode::{self, Changed, Inode},
    },
    tree::{Change, RemoveHow, RenameHow, Txn},
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
    let Conflict { seq, draft, .. } = conflicts::get(txn.sql(), txn.branch().id, number)?;
    let (ours, theirs) = (draft.ours.as_ref(), draft.theirs.as_ref());
    let gone = || FsError::At {
        errno: Errno::NoEnt,
        what: "what the conflict is about is gone:",
        path: draft.path.to_string(),
    };
    match (draft.about, keep, ours, theirs) {
        (About::Content, Keep::Ours, ..) => {}
        (About::Content, Keep::Theirs, Some(ours), Some(theirs)) => {
            let kept = aside(txn, theirs)?.ok_or_else(gone)?;
            let own = txn.chain().inode(txn.sql(), ours.ino)?.ok_or_else(gone)?;
            path_of(txn, ours.ino)?.ok_or_else(gone)?;
            let changed = Changed { content: true, attributes: false };
            let Inode { blob, size, target, mtime_ns, .. } = kept;
            txn.write(Inode { blob, size, target, mtime_ns, changed, ..own })
                .map_err(|stop| stop.at("cannot write", &draft.path))?;
        }
        (About::Content, Keep::Both, Some(ours), Some(theirs)) => {
            let kept = aside(txn, theirs)?.ok_or_else(gone)?;
            let place = place_of(txn, ours.ino)?.unwrap_or_else(|| draft.place.clone());
            let name = free_name(txn, &place, &theirs.label)?;
            let made = (kept.ino, kept.kind);
            txn.give(place.0, &name, made, true).map_err(|stop| stop.at("cannot give a name beside", &draft.path))?;
        }
        (About::Attributes, Keep::Theirs, Some(ours), Some(theirs)) => {
            let own = txn.chain().inode(txn.sql(), ours.ino)?.ok_or_else(gone)?;
            let changed = Changed { content: false, attributes: true };
            let (mode, xattrs) = (theirs.state.mode, theirs.state.xattrs.clone());
            txn.write(Inode { mode, xattrs, changed, ..own }).map_err(|stop| stop.at("cannot change", &draft.path))?;
        }
        (About::Place, Keep::Theirs | Keep::Both, Some(ours), Some(theirs)) => {
            let from = path_of(txn, ours.ino)?.ok_or_else(gone)?;
            let chain = txn.chain().clone();
            let to = Side::new(txn.sql(), &chain).path(theirs.place.0, &theirs.place.1)?.ok_or_else(gone)?;
            txn.apply(if keep == Keep::Theirs {
                Change::Rename { from, to, how: RenameHow::NoReplace }
            } else {
                Change::HardLink { from, to }
            })?;
        }
        (About::Removed, Keep::Theirs, Some(ours), None) => remove(txn, ours.ino)?,
        (About::Removed, Keep::Ours, None, Some(theirs)) => remove(txn, theirs.ino)?,
        (About::Name, Keep::Ours, _, Some(theirs)) => remove(txn, theirs.ino)?,
        (About::Name, Keep::Theirs, Some(ours), Some(theirs)) => {
            let from = path_of(txn, theirs.ino)?.ok_or_else(gone)?;
            let to = path_of(txn, ours.ino)?.ok_or_else(gone)?;
            remove(txn, ours.ino)?;
            txn.apply(Change::Rename { from, to, how: RenameHow::NoReplace })?;
        }
        _ => {}
    }
    if let Some(aside) = theirs.and_then(|theirs| theirs.aside)
        && place_of(txn, aside)?.is_none()
    {
        inode::prune(txn.sql(), txn.on(), aside, seq)?;
    }
    let settled = txn.seq()?;
    Ok(conflict::settle(txn.sql(), number, settled)?)
}

fn aside(txn: &Txn<'_>, theirs: &Subject) -> rusqlite::Result<Option<Inode>> {
    match theirs.aside {
        Some(ino) => txn.chain().inode(txn.sql(), ino),
        None => Ok(None),
    }
}

fn place_of(txn: &Txn<'_>, ino: Ino) -> rusqlite::Result<Option<Place>> {
    Side::new(txn.sql(), txn.chain()).place(ino)
}

fn path_of(txn: &Txn<'_>, ino: Ino) -> rusqlite::Result<Option<FsPath>> {
    let mut side = Side::new(txn.sql(), txn.chain());
    match side.place(ino)? {
        Some((dir, name)) => side.path(dir, &name),
        None => Ok(None),
    }
}

fn free_name(txn: &Txn<'_>, (dir, name): &Place, label: &str) -> rusqlite::Result<Box<[u8]>> {
    Overlay::new(Side::new(txn.sql(), txn.chain())).beside(*dir, name, label)
}

/// Removes an entry with all its names, if it is still there.
fn remove(txn: &mut Txn<'_>, ino: Ino) -> Result<(), FsError> {
    while let Some(at) = path_of(txn, ino)? {
        let kind = txn.chain().inode(txn.sql(), ino)?.map(|inode| inode.kind);
        let how = if kind == Some(Kind::Folder) { RemoveHow::Recursive } else { RemoveHow::File };
        txn.apply(Change::Remove { at, how })?;
    }
    Ok(())
}
