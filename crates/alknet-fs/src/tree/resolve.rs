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
    Dent {
        name: Box::default(),
        seq: Seq::ZERO,
        ino: Ino::ROOT,
        kind: Kind::Folder,
        gone: false,
        made: true,
        shown: None,
    }
}

/// Follows names from the root. `.` and `..` are understood, for the sake of links; above the root is the root.
pub(crate) fn resolve(sql: &Connection, chain: &Chain, names: Vec<Cow<'_, [u8]>>, last: Last) -> Result<Spot, Stop> {
    match follow(sql, chain, (vec![root()], names), last)?.end {
        End::There(spot) | End::LeadsNowhere(spot) => Ok(spot),
        End::Missing { .. } | End::Lost => Err(Errno::NoEnt.into()),
    }
}

/// A way that was followed.
pub(super) struct Way {
    /// Where it ended.
    pub end: End,
    /// The folders that the names before the last led through, the root first, once all of them were there.
    pub folders: Option<Vec<Dent>>,
    /// Whether each of those names stands for one of these folders, and none for a link.
    pub is_straight: bool,
    /// How many names were looked at.
    pub steps: usize,
}

/// Where a way ends.
pub(super) enum End {
    /// In the folder that holds the last name, if it holds it.
    There(Spot),
    /// As before, with a name that a link leads to and that stands for nothing.
    LeadsNowhere(Spot),
    /// In a folder that does not have the name which comes next; so many are left with it.
    Missing {
        /// That folder.
        dir: Ino,
        /// Names that were not followed.
        left: usize,
    },
    /// In the midst of what a link leads to.
    Lost,
}

/// Follows names from the last of these folders, of which the first is the root.
pub(super) fn follow(
    sql: &Connection,
    chain: &Chain,
    (above, names): (Vec<Dent>, Vec<Cow<'_, [u8]>>),
    last: Last,
) -> Result<Way, Stop> {
    let (mut above, mut todo) = (above, names);
    todo.reverse();
    let (mut steps, mut hops) = (0, 0);
    // The names that are left of those that were given: the undermost, below what links lead to.
    let (mut left, mut folders, mut is_straight) = (todo.len(), None, true);
    // How the folder in which the way ends was called, if it was.
    let mut called = None;
    while let Some(name) = todo.pop() {
        steps += 1;
        if steps > MAX_RESOLVE_STEPS || name.len() > MAX_ENTRY_NAME_BYTES {
            return Err(Errno::NameTooLong.into());
        }
        let is_given = todo.len() < left;
        if is_given {
            left = todo.len();
            folders = (left == 0).then(|| above.clone());
            is_straight = hops == 0;
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
        let end = match found {
            Some(found) if found.kind == Kind::Folder => {
                called = is_last.then(|| name.into_owned().into());
                above.push(found);
                continue;
            }
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
                continue;
            }
            Some(_) if !is_last => return Err(Errno::NotDir.into()),
            None if !is_last && is_given => End::Missing { dir: above[above.len() - 1].ino, left: left + 1 },
            None if !is_last => End::Lost,
            found => {
                let is_there = is_given || found.is_some();
                let spot = Spot { above, name: name.into_owned().into(), found };
                if is_there { End::There(spot) } else { End::LeadsNowhere(spot) }
            }
        };
        return Ok(Way { end, folders, is_straight, steps });
    }
    // The way ends in the last folder that was entered; the first of them is the root.
    let found = above.pop().ok_or(Errno::NoEnt)?;
    let name = called.unwrap_or_else(|| found.name.clone());
    let end = End::There(Spot { above, name, found: Some(found) });
    Ok(Way { end, folders, is_straight, steps })
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
