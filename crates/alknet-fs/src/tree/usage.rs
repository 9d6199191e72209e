//! What a bucket holds, branch by branch.

use alknet_core::Permit;
use rusqlite::Connection;

use super::{
    Tree,
    buckets::{Bucket, found},
};
use crate::{
    access::{Pass, Place, Right},
    error::FsError,
    name::{BranchName, BucketName},
    rows::{branch, inode},
};

/// What a bucket holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The bucket, with what it is charged altogether, hidden branches included.
    pub bucket: Bucket,
    /// Its branches by name.
    pub branches: Vec<BranchUsage>,
}

/// What the versions of one branch hold, without those that it reads from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchUsage {
    /// Its name.
    pub name: BranchName,
    /// Versions that are kept.
    pub versions: u64,
    /// The bytes that they are charged.
    pub bytes: u64,
}

impl Tree {
    /// Counts what a bucket holds. It goes through every version that is kept.
    pub async fn usage(&self, permit: &Permit, name: &BucketName) -> Result<Usage, FsError> {
        let pass = Pass::of(permit, Right::Read, Place { bucket: name, branch: None })?;
        pass.rights().check()?;
        let name = name.clone();
        let count = move |sql: &Connection| {
            let row = found(sql, &name, "cannot look at the bucket")?;
            let mut branches = Vec::new();
            for branch in branch::list(sql, row.id)? {
                let (versions, bytes) = inode::kept(sql, branch.id)?;
                branches.push(BranchUsage { name: branch.name, versions, bytes });
            }
            Ok(Usage { bucket: Bucket::of(row), branches })
        };
        self.tables().read(count).await
    }
}
