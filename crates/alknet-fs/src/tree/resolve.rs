//! From a path to an entry: by inodes, from the root of a branch, never by a path of the host.

use std::borrow::Cow;

use rusqlite::Connection;

use super::stop::Stop;
use crate::{
    chain::Chain,
    error::Errno,
    ids::{Ino, Seq},
    limits::{MAX_ENTRY_NAME_BYTES, MAX_RESOLVE_STEPS, MAX_SYMLINK_HOPS},
    rows::{Kind, dent::Dent},
};

/// What becomes of a symbolic link at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Last {
    /// The path leads on to what it names.
    Follow,
    /// The path leads to the link itself.
    Keep,
}

impl From<bool> for Last {
    fn from(follow: bool) -> Self {
        if follow { Self::Follow } else { Self::Keep }
    }
}

/// Where a path leads, whether or not something is there.
#[derive(Debug, Clone)]
pub(crate) struct Spot {
    /// The folders on the way, without links: the root first, the one that holds the name last. None for the root itself.
    pub above: Vec<Dent>,
    /// The name.
    pub name: Box<[u8]>,
    /// What it stands for.
    pub found: Option<Dent>,
}

impl Spot {
    /// The folder that holds the name; the root is nowhere, and can be neither made, moved nor removed.
    pub fn dir(&self) -> Result<Ino, Errno> {
        self.above.last().map(|dent| dent.ino).ok_or(Errno::Inval)
    }
}

/// The root, as if something held it.
pub(crate) fn root() -> Dent {
    Dent { name: Box::default(), seq: Seq::ZERO, ino: Ino::ROOT, kind: Kind::Folder, gone: false, made: true }
}

/// Follows names from the root. `.` and `..` are understood, for the sake of links; above the root is the root.
pub(crate) fn resolve(sql: &Connection, chain: &Chain, names: Vec<Cow<'_, [u8]>>, last: Last) -> Result<Spot, Stop> {
    let (mut above, mut todo) = (vec![root()], names);
    todo.reverse();
    let (mut steps, mut hops) = (0, 0);
    while let Some(name) = todo.pop() {
        steps += 1;
        if steps > MAX_RESOLVE_STEPS || name.len() > MAX_ENTRY_NAME_BYTES {
            return Err(Errno::NameTooLong.into());
        }
        match &*name {
            b"." => continue,
            b".." => {
                above.truncate((above.len() - 1).max(1));
                continue;
            }
            _ => {}
        }
        let is_last = todo.is_empty();
        let found = chain.dent(sql, above[above.len() - 1].ino, &name)?;
        match found {
            Some(found) if found.kind == Kind::Folder => above.push(found),
            Some(found) if found.kind == Kind::Symlink && (!is_last || last == Last::Follow) => {
                hops += 1;
                if hops > MAX_SYMLINK_HOPS {
                    return Err(Errno::Loop.into());
                }
                let target = chain.inode(sql, found.ino)?.and_then(|inode| inode.target).unwrap_or_default();
                if target.first() == Some(&b'/') {
                    above.truncate(1);
                }
                lead_on(&mut todo, &target);
            }
            Some(_) if !is_last => return Err(Errno::NotDir.into()),
            None if !is_last => return Err(Errno::NoEnt.into()),
            found => return Ok(Spot { above, name: name.into_owned().into(), found }),
        }
    }
    // The way ends in the last folder that was entered; the first of them is the root.
    let found = above.pop().ok_or(Errno::NoEnt)?;
    Ok(Spot { above, name: found.name.clone(), found: Some(found) })
}

/// Puts the names of a target before those that are left.
fn lead_on(todo: &mut Vec<Cow<'_, [u8]>>, target: &[u8]) {
    if target.last() == Some(&b'/') {
        // A slash at the end wants a folder there.
        todo.push(Cow::Borrowed(b"."));
    }
    let names = target.rsplit(|byte| *byte == b'/').filter(|name| !name.is_empty());
    todo.extend(names.map(|name| Cow::Owned(name.to_vec())));
}
