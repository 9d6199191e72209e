//! A three-way merge: what one branch changed since the version that both have in common, made on the other.
//!
//! Entries are known by their numbers, so a folder that one side renamed and in which the other made a file holds that file. Three things
//! about an entry are merged apart: where it is, what it holds, and its attributes. Only what `theirs` changed is looked at, each thing
//! in `ours` by its key. First everything is planned in memory ([`plan`]), which is all that a dry run does; then written ([`apply`]).

mod apply;
pub mod base;
mod decide;
mod fields;
mod identity;
pub(super) mod overlay;
mod placing;
mod settling;

use std::collections::{BTreeMap, HashMap, HashSet};

use rusqlite::Connection;

use self::{identity::Identity, overlay::Overlay};
use super::{
    conflicts::Draft,
    regions,
    settle::Keep,
    side::{Place, Side},
};
use crate::{
    chain::Chain,
    error::{Errno, FsError},
    ids::Ino,
    rows::inode::Inode,
};

pub use apply::apply;
pub(super) use fields::is_same_content;

/// What happens where both sides changed the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Strategy {
    /// Ours stays; theirs is kept aside, and the conflict is listed until it is settled.
    #[default]
    Conflict,
    /// Ours stays.
    Ours,
    /// Theirs is taken.
    Theirs,
    /// Both stay: theirs under a name of its own, where there can be two.
    Both,
}

/// The three versions of a merge.
#[derive(Debug, Clone, Copy)]
pub struct Versions<'a> {
    /// What both have in common.
    pub base: &'a Chain,
    /// The branch that gets the changes.
    pub ours: &'a Chain,
    /// The branch whose changes are taken.
    pub theirs: &'a Chain,
    /// What theirs is called, for names that say where something comes from.
    pub label: &'a str,
}

/// What a merge does to `ours`.
#[derive(Default)]
pub struct Plan {
    /// How many entries theirs may have changed.
    pub(super) examined: usize,
    /// How many rows were looked at to find them.
    pub(super) looked: usize,
    /// Names in the order of folders, with what they stood for and shall stand for.
    pub(super) names: Vec<overlay::Renaming>,
    /// How names are written that are given to what had them in another version, where that is known from there.
    pub(super) shown: BTreeMap<Place, Option<Box<[u8]>>>,
    /// Inodes as they shall be.
    pub(super) inodes: BTreeMap<Ino, Inode>,
    /// Content that is kept without a name, for conflicts: by the index of the conflict.
    pub(super) aside: BTreeMap<usize, Inode>,
    /// Files that are made beside others, under a number that is drawn when they are.
    pub(super) copies: Vec<(Place, Inode)>,
    /// Where both sides changed the same thing.
    pub conflicts: Vec<Draft>,
}

impl Plan {
    /// How many entries change.
    pub fn len(&self) -> usize {
        let named = self.names.iter().flat_map(|name| [&name.before, &name.now]).flatten().map(|entry| entry.ino);
        named.chain(self.inodes.keys().copied()).collect::<HashSet<_>>().len() + self.copies.len()
    }
    /// How many entries theirs may have changed.
    pub const fn examined(&self) -> usize {
        self.examined
    }
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.inodes.is_empty() && self.copies.is_empty() && self.aside.is_empty()
    }
}

/// Plans a merge.
///
/// # Errors
/// Fails with [`Errno::TooBig`](crate::Errno::TooBig) when `theirs` changed more than
/// [`MAX_MERGE_CHANGES`](crate::limits::MAX_MERGE_CHANGES) entries.
pub fn plan(sql: &Connection, versions: Versions<'_>, strategy: Strategy) -> Result<Plan, FsError> {
    Merge::new(sql, versions, strategy).run()
}

/// Plans what makes one side of a conflict stay, or both. `side`: the version of that side, before the merge.
pub(super) fn plan_settling(
    sql: &Connection,
    (now, side, label): (&Chain, &Chain, &str),
    draft: &Draft,
    keep: Keep,
) -> Result<Plan, FsError> {
    let versions = Versions { base: side, ours: now, theirs: side, label };
    // Whatever is in the way of something stays.
    Merge::new(sql, versions, Strategy::Both).settle(draft, keep)
}

fn too_big(label: &str) -> FsError {
    FsError::At { errno: Errno::TooBig, what: "cannot merge so many changes at once from", path: label.to_owned() }
}

/// A merge that is being planned.
struct Merge<'a> {
    examined: usize,
    identity: Identity<'a>,
    overlay: Overlay<'a>,
    strategy: Strategy,
    label: &'a str,
    inodes: BTreeMap<Ino, Inode>,
    aside: BTreeMap<usize, Inode>,
    /// What is kept beside an entry of ours.
    beside: Vec<(Ino, Inode)>,
    conflicts: Vec<Draft>,
    /// Where in ours the folders of theirs are.
    homes: HashMap<Ino, Option<Ino>>,
    /// Names that theirs gave.
    additions: Vec<placing::Addition>,
    /// How theirs writes names that it gave, where no row of ours says it.
    shown: BTreeMap<Place, Option<Box<[u8]>>>,
    /// Folders of ours that theirs removed.
    removals: Vec<Ino>,
    /// Where what is moved was in ours.
    detached: HashMap<Ino, Place>,
    /// Folders that were put back for the sake of no loop.
    unwound: HashSet<Ino>,
}

impl<'a> Merge<'a> {
    fn new(sql: &'a Connection, versions: Versions<'a>, strategy: Strategy) -> Self {
        Self {
            examined: 0,
            identity: Identity::new(sql, versions),
            overlay: Overlay::new(Side::new(sql, versions.ours)),
            strategy,
            label: versions.label,
            inodes: BTreeMap::new(),
            aside: BTreeMap::new(),
            beside: Vec::new(),
            conflicts: Vec::new(),
            homes: HashMap::new(),
            additions: Vec::new(),
            shown: BTreeMap::new(),
            removals: Vec::new(),
            detached: HashMap::new(),
            unwound: HashSet::new(),
        }
    }
}
