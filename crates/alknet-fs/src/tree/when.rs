//! From a point in time to the number of a version.

use rusqlite::Connection;

use super::stop::Stop;
use crate::{
    address::When,
    error::Errno,
    history::retention::{floor, is_kept},
    ids::Seq,
    rows::{branch::BranchRow, bucket::BucketRow, commit, snapshot},
    sight::Sight,
};

/// The newest commit of the bucket that a version of the branch shows, if it is in somebody's sight.
pub(crate) fn bound(
    sql: &Connection,
    bucket: &BucketRow,
    (branch, sight): (&BranchRow, &Sight),
    when: &When,
) -> Result<Seq, Stop> {
    let bound = any(sql, bucket, branch, when)?;
    if bound < sight.oldest() { Err(Errno::NoEnt.into()) } else { Ok(bound) }
}

fn any(sql: &Connection, bucket: &BucketRow, branch: &BranchRow, when: &When) -> Result<Seq, Stop> {
    match when {
        When::Now => Ok(bucket.head),
        When::Seq(seq) if *seq > bucket.head => Err(Errno::NoEnt.into()),
        When::Seq(seq) => kept(sql, bucket, branch, *seq),
        When::Time(ns) => kept(sql, bucket, branch, commit::at_time(sql, bucket.id, *ns)?),
        When::Snapshot(name) => {
            let found = snapshot::find(sql, bucket.id, name)?;
            // Who may read this branch may not, for that, read the snapshots of another.
            Ok(found.filter(|snapshot| snapshot.branch == branch.id).ok_or(Errno::NoEnt)?.seq)
        }
    }
}

/// The oldest version that is kept, where one is meant that is older.
pub(crate) fn forgotten(sql: &Connection, bucket: &BucketRow, when: &When) -> Option<Seq> {
    let oldest = floor(sql, bucket.id).ok()?;
    let meant = match when {
        When::Seq(seq) => *seq,
        When::Time(ns) => commit::at_time(sql, bucket.id, *ns).ok()?,
        When::Now | When::Snapshot(_) => return None,
    };
    (meant < oldest).then_some(oldest)
}

/// What may have been forgotten in part is not shown.
fn kept(sql: &Connection, bucket: &BucketRow, branch: &BranchRow, seq: Seq) -> Result<Seq, Stop> {
    if is_kept(sql, (bucket.id, branch.id), seq)? { Ok(seq) } else { Err(Errno::NoEnt.into()) }
}
