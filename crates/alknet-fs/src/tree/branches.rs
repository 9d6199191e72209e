//! Branches: making them from a version of another, and removing them.

use alknet_core::Permit;
use alknet_store::{Durability, Noted};
use rusqlite::Connection;

use super::{Tree, view::View};
use crate::{
    access::{Access, Pass, Place, Right},
    chain::Chain,
    error::{Errno, FsError},
    ids::{BranchId, Seq},
    limits::{MAX_BRANCHES, MAX_CHAIN_LEVELS, MAX_UNFLATTENED_LEVELS},
    name::{BranchName, BucketName},
    rows::{
        branch::{self, BranchRow, Fork, Mode},
        bucket::{self, BucketRow},
        snapshot,
    },
};

/// A branch as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// Its name.
    pub name: BranchName,
    /// Where it comes from; `None` for one that was made from no other.
    pub origin: Option<Origin>,
    /// The bucket's newest commit when it was made.
    pub made: Seq,
}

/// Where a branch comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The branch that it was made from; `None`: that was removed, or may not be read.
    pub parent: Option<BranchName>,
    /// The version of it.
    pub at: Seq,
    /// What is seen of later ones.
    pub mode: Mode,
}

impl Tree {
    /// Makes a branch that begins as what the view shows: one row, however large the tree.
    pub async fn create_branch(
        &self,
        permit: &Permit,
        name: &BranchName,
        from: &View,
        mode: Mode,
    ) -> Result<Branch, FsError> {
        let bucket = from.bucket().clone();
        let pass = Pass::of(permit, Right::Branch, Place { bucket: &bucket, branch: Some(name) })?;
        let (name, from) = (name.clone(), from.clone());
        let make = move |sql: &Connection, _: &mut Noted<'_>| {
            let no = |errno| refused(errno, "cannot make the branch", &bucket, &name);
            let row = bucket::find(sql, &bucket)?.filter(|row| row.id == from.bucket_id());
            let row = row.ok_or_else(|| no(Errno::NoEnt))?;
            if branch::find(sql, row.id, &name)?.is_some() {
                return Err(no(Errno::Exist));
            }
            let parent = branch::get(sql, from.branch_id())?.filter(|parent| !parent.hidden);
            let parent = parent.ok_or_else(|| no(Errno::Stale))?;
            if from.bound() == Seq::ZERO {
                return Err(no(Errno::NoBucketThen));
            }
            // It would show what its maker does not see.
            if mode == Mode::Pinned && from.sight().is_capped() {
                return Err(no(Errno::Perm));
            }
            let levels = depth(sql, parent.id)?;
            if branch::count(sql, row.id)? >= MAX_BRANCHES {
                return Err(no(Errno::TooMany));
            }
            if levels >= MAX_CHAIN_LEVELS {
                return Err(too_deep(&bucket, &name));
            }
            let fork = Fork { parent: parent.id, at: from.bound(), mode };
            branch::insert(sql, row.id, &name, Some(fork), row.head)?;
            let origin = Origin { parent: Some(parent.name), at: fork.at, mode };
            Ok((Branch { name, origin: Some(origin), made: row.head }, levels + 1))
        };
        let (made, levels) = self.tables().change(pass.rights(), Durability::Strict, make).await?;
        if levels > MAX_UNFLATTENED_LEVELS {
            self.deepened().notify_one();
        }
        Ok(made)
    }

    /// The branches of a bucket that the permit's holder may read, by name.
    pub async fn branches(&self, permit: &Permit, bucket: &BucketName) -> Result<Vec<Branch>, FsError> {
        permit.require(Right::Read.as_str())?;
        let (identity, bucket) = (permit.identity().cloned(), bucket.clone());
        let list = move |sql: &Connection| {
            let sees = |branch: &BranchRow| {
                Access::sees(identity.as_deref(), Place { bucket: &bucket, branch: Some(&branch.name) })
            };
            let row = bucket::find(sql, &bucket)?;
            let rows = row.map(|row| branch::list(sql, row.id)).transpose()?.unwrap_or_default();
            let rows: Vec<_> = rows.into_iter().filter(sees).collect();
            if rows.is_empty() {
                let path = bucket.to_string();
                return Err(FsError::At { errno: Errno::NoEnt, what: "cannot list the branches of", path });
            }
            let name_of = |id| rows.iter().find(|row: &&BranchRow| row.id == id).map(|row| row.name.clone());
            let origin = |fork: Fork| Origin { parent: name_of(fork.parent), at: fork.at, mode: fork.mode };
            let shown =
                |row: &BranchRow| Branch { name: row.name.clone(), origin: row.fork.map(origin), made: row.made };
            Ok(rows.iter().map(shown).collect())
        };
        self.tables().read(list).await
    }

    /// Removes a branch. Others that were made from it go on reading through it; its rows go when nobody does any more.
    ///
    /// # Errors
    /// A bucket's last branch stays, and one that has snapshots.
    pub async fn remove_branch(&self, permit: &Permit, bucket: &BucketName, name: &BranchName) -> Result<(), FsError> {
        let pass = Pass::of(permit, Right::Branch, Place { bucket, branch: Some(name) })?;
        let (bucket, name) = (bucket.clone(), name.clone());
        let remove = move |sql: &Connection, _: &mut Noted<'_>| -> Result<BranchId, FsError> {
            let no = |errno| refused(errno, "cannot remove the branch", &bucket, &name);
            let (row, of) = find(sql, &bucket, &name)?.ok_or_else(|| no(Errno::NoEnt))?;
            if branch::list(sql, row.id)?.len() == 1 {
                return Err(no(Errno::Perm));
            }
            if snapshot::any_of(sql, row.id, of.id)? {
                return Err(no(Errno::NotEmpty));
            }
            branch::hide(sql, of.id)?;
            Ok(of.id)
        };
        let id = self.tables().change(pass.rights(), Durability::Strict, remove).await?;
        self.handles().end_branch(id);
        Ok(())
    }
}

/// A bucket and a branch of it.
pub(super) fn find(
    sql: &Connection,
    bucket: &BucketName,
    name: &BranchName,
) -> rusqlite::Result<Option<(BucketRow, BranchRow)>> {
    let Some(row) = bucket::find(sql, bucket)? else { return Ok(None) };
    Ok(branch::find(sql, row.id, name)?.map(|of| (row, of)))
}

pub(super) fn refused(errno: Errno, what: &'static str, bucket: &BucketName, name: &BranchName) -> FsError {
    FsError::At { errno, what, path: format!("{bucket}:{name}") }
}

/// What is said of a branch that would read through too many others. Those that follow others are not flattened.
fn too_deep(bucket: &BucketName, name: &BranchName) -> FsError {
    let path = format!(
        "{bucket}:{name}, which would read through {MAX_CHAIN_LEVELS} others (flatten the one that it is made from, or follow one that \
         comes before it)"
    );
    FsError::At { errno: Errno::TooMany, what: "cannot make the branch", path }
}

fn depth(sql: &Connection, branch: BranchId) -> rusqlite::Result<usize> {
    Ok(Chain::of(sql, branch, Seq::MAX)?.map_or(0, |chain| chain.levels().len()))
}
