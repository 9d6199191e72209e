//! Snapshots: names for versions of a branch, which are kept for as long.

use alknet_core::Permit;
use alknet_store::{Durability, Noted};
use rusqlite::Connection;

use super::{Tree, branches, when};
use crate::{
    access::{Access, Pass, Place, Right},
    address::When,
    error::{Errno, FsError},
    ids::Seq,
    limits::MAX_SNAPSHOTS,
    name::{BranchName, BucketName, SnapshotName},
    rows::{
        branch, bucket,
        snapshot::{self, SnapshotRow},
    },
    sight::Sight,
};

/// A snapshot as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name, once in the bucket.
    pub name: SnapshotName,
    /// The branch that it is of.
    pub branch: BranchName,
    /// The version that it holds.
    pub seq: Seq,
    /// When it was taken, in nanoseconds since 1970.
    pub time_ns: i64,
}

impl Tree {
    /// Names a version of a branch: one row, however large the tree.
    pub async fn create_snapshot(
        &self,
        permit: &Permit,
        (bucket, branch): (&BucketName, &BranchName),
        name: &SnapshotName,
        when: &When,
    ) -> Result<Snapshot, FsError> {
        let pass = Pass::of(permit, Right::Branch, Place { bucket, branch: Some(branch) })?;
        let (bucket, branch, name, when) = (bucket.clone(), branch.clone(), name.clone(), when.clone());
        let (time_ns, who) = (self.tables().clock().now_ns(), pass.identity().clone());
        let take = move |sql: &Connection, _: &mut Noted<'_>| {
            let what = "cannot take the snapshot";
            let no = |errno| FsError::At { errno, what, path: format!("{bucket}:{branch}@{name}") };
            let (row, of) = branches::find(sql, &bucket, &branch)?.ok_or_else(|| no(Errno::NoEnt))?;
            if snapshot::find(sql, row.id, &name)?.is_some() {
                return Err(no(Errno::Exist));
            }
            if snapshot::count(sql, row.id)? >= MAX_SNAPSHOTS {
                return Err(no(Errno::TooMany));
            }
            let sight = Sight::of_identity(sql, &bucket, &of, Some(&who))?;
            let seq = when::bound(sql, &row, (&of, &sight), &when)
                .map_err(|stop| stop.at_place(what, || format!("{bucket}:{branch}@{when}")))?;
            if seq == Seq::ZERO {
                return Err(no(Errno::NoBucketThen));
            }
            snapshot::insert(sql, row.id, &SnapshotRow { name: name.clone(), branch: of.id, seq, time_ns })?;
            Ok(Snapshot { name, branch, seq, time_ns })
        };
        self.tables().change(pass.rights(), Durability::Strict, take).await
    }

    /// The snapshots of a bucket's branches that the permit's holder may read, by name.
    pub async fn snapshots(&self, permit: &Permit, bucket: &BucketName) -> Result<Vec<Snapshot>, FsError> {
        permit.require(Right::Read.as_str())?;
        let (identity, bucket) = (permit.identity().cloned(), bucket.clone());
        let list = move |sql: &Connection| {
            let row = bucket::find(sql, &bucket)?;
            let branches = row.as_ref().map(|row| branch::list(sql, row.id)).transpose()?.unwrap_or_default();
            let may_read =
                |name: &BranchName| Access::sees(identity.as_deref(), Place { bucket: &bucket, branch: Some(name) });
            let seen: Vec<_> = branches.into_iter().filter(|branch| may_read(&branch.name)).collect();
            let Some(row) = row.filter(|_| !seen.is_empty()) else {
                let path = bucket.to_string();
                return Err(FsError::At { errno: Errno::NoEnt, what: "cannot list the snapshots of", path });
            };
            let shown = |SnapshotRow { name, branch, seq, time_ns }| {
                let branch = seen.iter().find(|of| of.id == branch)?.name.clone();
                Some(Snapshot { name, branch, seq, time_ns })
            };
            Ok(snapshot::list(sql, row.id)?.into_iter().filter_map(shown).collect())
        };
        self.tables().read(list).await
    }

    /// Lets go of a snapshot of a branch; the version is then kept as long as any other.
    pub async fn remove_snapshot(
        &self,
        permit: &Permit,
        (bucket, branch): (&BucketName, &BranchName),
        name: &SnapshotName,
    ) -> Result<(), FsError> {
        let pass = Pass::of(permit, Right::Branch, Place { bucket, branch: Some(branch) })?;
        let (bucket, branch, name) = (bucket.clone(), branch.clone(), name.clone());
        let remove = move |sql: &Connection, _: &mut Noted<'_>| {
            let found = match branches::find(sql, &bucket, &branch)? {
                Some((row, of)) => {
                    snapshot::find(sql, row.id, &name)?.filter(|found| found.branch == of.id).map(|_| row.id)
                }
                None => None,
            };
            let Some(id) = found else {
                let path = format!("{bucket}:{branch}@{name}");
                return Err(FsError::At { errno: Errno::NoEnt, what: "cannot remove the snapshot", path });
            };
            snapshot::remove(sql, id, &name)?;
            Ok(())
        };
        self.tables().change(pass.rights(), Durability::Strict, remove).await
    }
}
