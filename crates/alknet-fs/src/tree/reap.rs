//! Removed branches and buckets: their rows go a few at a time, once nobody looks at them.

use alknet_core::Maintenance;
use alknet_store::{Durability, Noted, Rights};
use rusqlite::Connection;

use super::Tree;
use crate::{
    error::FsError,
    ids::BranchId,
    limits::{MAX_BRANCHES, REAPED_ROWS_AT_ONCE},
    rows::{On, branch, bucket, dent, inode},
};

impl Tree {
    /// Takes some rows away of branches and buckets that were removed. Answers whether there may be more to take.
    pub async fn reap(&self, task: &Maintenance) -> Result<bool, FsError> {
        let find = |sql: &Connection| -> Result<_, FsError> { Ok((doomed(sql)?, bucket::doomed(sql)?)) };
        let (branches, bucket) = self.tables().read(find).await?;
        // Only now: nobody finds them any more.
        let unused: Vec<_> = branches.into_iter().filter(|id| !self.handles().is_used(*id)).collect();
        if unused.is_empty() && bucket.is_none() {
            return Ok(false);
        }
        let now_ms = self.tables().clock().now_ms();
        let some = move |sql: &Connection, _: &mut Noted<'_>| some(sql, &unused, now_ms);
        // What is lost by a crash is taken away again.
        self.tables().change(&Rights::maintenance(task), Durability::Lazy, some).await
    }
}

fn doomed(sql: &Connection) -> Result<Vec<BranchId>, FsError> {
    let count = usize::try_from(MAX_BRANCHES).unwrap_or(usize::MAX);
    Ok(branch::doomed(sql, count)?.into_iter().map(|row| row.id).collect())
}

fn some(sql: &Connection, unused: &[BranchId], now_ms: u64) -> Result<bool, FsError> {
    let doomed = branch::doomed(sql, usize::try_from(MAX_BRANCHES).unwrap_or(usize::MAX))?;
    if let Some(row) = doomed.iter().find(|row| unused.contains(&row.id)) {
        let on = On { bucket: row.bucket, branch: row.id, now_ms };
        let versions = inode::some(sql, row.id, REAPED_ROWS_AT_ONCE)?;
        for (ino, seq) in &versions {
            inode::prune(sql, on, *ino, *seq)?;
        }
        if versions.is_empty() && dent::prune_some(sql, row.id, REAPED_ROWS_AT_ONCE)? == 0 {
            branch::remove(sql, row.id)?;
        }
        return Ok(true);
    }
    match bucket::doomed(sql)? {
        Some(id) => {
            bucket::erase(sql, id, REAPED_ROWS_AT_ONCE)?;
            Ok(true)
        }
        None => Ok(false),
    }
}
