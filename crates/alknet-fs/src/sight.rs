//! How far somebody sees through a branch who may not read those that it came from.
//!
//! Through a branch its parents are seen: their older versions, and where it follows one also later changes. Whoever may not read the
//! parent sees of all that only what the branch began as. Whatever is looked at for somebody is looked at through a chain from here.

use alknet_core::Identity;
use rusqlite::Connection;

use crate::{
    access::{Access, Place},
    chain::Chain,
    ids::{BranchId, Seq},
    name::BucketName,
    rows::branch::{self, BranchRow, Mode},
};

/// How far somebody sees through a branch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sight {
    /// The version that the branch began as, if older ones are not shown.
    oldest: Seq,
    /// Branches of whose commits only those up to one are shown, though the branch follows them.
    capped: Vec<(BranchId, Seq)>,
}

impl Sight {
    /// That of somebody on a branch. Who may read the whole bucket sees everything, which is found at once.
    ///
    /// # Errors
    /// Fails with the database, and when a branch is missing that another came from.
    pub fn of(
        sql: &Connection,
        bucket: &BucketName,
        row: &BranchRow,
        may_read: impl Fn(Place<'_>) -> bool,
    ) -> rusqlite::Result<Self> {
        let mut sight = Self::default();
        if row.fork.is_none() || may_read(Place { bucket, branch: None }) {
            return Ok(sight);
        }
        let (mut of, mut upto, mut is_followed) = (row.clone(), Seq::MAX, true);
        let mut cap = None;
        while let Some(fork) = of.fork {
            let parent = branch::get(sql, fork.parent)?;
            let parent = parent.ok_or(rusqlite::Error::IntegralValueOutOfRange(0, fork.parent.0))?;
            is_followed &= fork.mode == Mode::Follow;
            let begins = fork.at.min(upto);
            // Of a removed branch the name is free, and who may read another one of that name may not read it.
            let is_seen = !parent.hidden && may_read(Place { bucket, branch: Some(&parent.name) });
            if !is_seen && sight.oldest == Seq::ZERO {
                // Below a level that is pinned, the versions since this one was made show what came to the unseen later, but for the last.
                let shows_later = fork.mode == Mode::Follow && !is_followed;
                sight.oldest = if shows_later { upto } else { begins };
                cap = is_followed.then_some(begins);
            }
            match cap {
                Some(cap) => sight.capped.push((parent.id, cap)),
                None if !is_seen => break,
                None => {}
            }
            if fork.mode == Mode::Pinned {
                upto = begins;
            }
            of = parent;
        }
        Ok(sight)
    }

    /// That of somebody with an identity.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn of_identity(
        sql: &Connection,
        bucket: &BucketName,
        row: &BranchRow,
        identity: Option<&Identity>,
    ) -> rusqlite::Result<Self> {
        Self::of(sql, bucket, row, |place| Access::sees(identity, place))
    }

    /// The oldest version of the branch that is shown.
    pub const fn oldest(&self) -> Seq {
        self.oldest
    }

    /// Whether less is shown than the branch shows to others now.
    pub const fn is_capped(&self) -> bool {
        !self.capped.is_empty()
    }

    /// What is shown of the branch that it is of, at a version of its bucket: as [`Chain::of`].
    ///
    /// # Errors
    /// As [`Chain::of`].
    pub fn chain(&self, sql: &Connection, branch: BranchId, bound: Seq) -> rusqlite::Result<Option<Chain>> {
        let capped = |chain: Chain| {
            if self.capped.is_empty() { chain } else { chain.capped(|branch| self.cap(branch)) }
        };
        Ok(Chain::of(sql, branch, bound)?.map(capped))
    }

    /// Whether a commit of a branch is shown as one that led to a version.
    pub fn shows(&self, branch: BranchId, seq: Seq) -> bool {
        seq > self.oldest && self.cap(branch).is_none_or(|cap| seq <= cap)
    }

    fn cap(&self, branch: BranchId) -> Option<Seq> {
        self.capped.iter().find(|(of, _)| *of == branch).map(|(_, cap)| *cap)
    }
}
