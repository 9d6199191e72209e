//! Removed branches and buckets: their rows go a few at a time, once nobody looks at them.

use alknet_core::Maintenance;
use alknet_store::{Durability, Noted, Rights};
use rusqlite::Connection;

use super::Tree;
use crate::{
    error::FsError,
    limits::{MAX_BRANCHES, REAPED_ROWS_AT_ONCE},
    rows::{On, branch, bucket, dent, inode},
    session::Handles,
};

impl Tree {
    /// Takes some rows away of branches and buckets that were removed. Answers whether there may be more to take.
    pub async fn reap(&self, task: &Maintenance) -> Result<bool, FsError> {
        let forgetting = self.handles().forgetting().await;
        let (handles, now_ms) = (self.handles().clone(), self.tables().clock().now_ms());
        let body = move |sql: &Connection, _: &mut Noted<'_>| some(sql, &handles, now_ms);
        let more = self.tables().change(&Rights::maintenance(task), Durability::Group, body).await;
        drop(forgetting);
        more
    }
}

fn some(sql: &Connection, handles: &Handles, now_ms: u64) -> Result<bool, FsError> {
    let count = usize::try_from(MAX_BRANCHES).unwrap_or(usize::MAX);
    let doomed = branch::doomed(sql, count)?;
    if let Some(row) = doomed.iter().find(|row| !handles.is_used(row.id)) {
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
