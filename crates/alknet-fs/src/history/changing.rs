//! Merging, settling and restoring: what history changes, each as one commit.

use alknet_core::Permit;
use alknet_store::Durability;
use rusqlite::Connection;

use super::{
    History,
    conflicts::{self, Draft},
    merge::{self, Plan, Strategy, Versions, base},
    settle::{self, Keep},
};
use crate::{
    access::{Pass, Place, Right},
    chain::Chain,
    error::{Errno, FsError},
    ids::{BranchId, Seq},
    name::{BranchName, BucketName},
    path::FsPath,
    rows::{branch, bucket, merge as rows},
    tree::{Committed, Txn, View},
};

/// How a merge is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct How {
    /// What happens where both sides changed the same thing.
    pub strategy: Strategy,
    /// Only says what would happen.
    pub dry_run: bool,
    /// What the answer shall mean, if not what the bucket's policy says.
    pub durability: Option<Durability>,
}

/// What a merge came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The commit; `None`: there was nothing to do, or nothing was to be done.
    pub committed: Option<Committed>,
    /// How many entries change.
    pub entries: usize,
    /// Where both sides changed the same thing, each with its number if it is listed.
    pub conflicts: Vec<(Option<u64>, Draft)>,
}

impl History {
    /// Makes the changes of a view's branch on another branch of the bucket, as one commit.
    ///
    /// # Errors
    /// Fails with [`Errno::TooBig`] when more than [`MAX_MERGE_CHANGES`](crate::limits::MAX_MERGE_CHANGES) entries changed since the last
    /// merge; an earlier version of the branch can be merged first.
    pub async fn merge(
        &self,
        permit: &Permit,
        (bucket, into): (&BucketName, &BranchName),
        from: &View,
        how: How,
    ) -> Result<Merged, FsError> {
        let pass = Pass::of(permit, Right::Write, Place { bucket, branch: Some(into) })?;
        from.check()?;
        if from.bucket() != bucket {
            let path = format!("{}:{}", from.bucket(), from.branch());
            return Err(FsError::At { errno: Errno::XDev, what: "cannot merge from", path });
        }
        let from = from.clone();
        if how.dry_run {
            let (bucket, into) = (bucket.clone(), into.clone());
            let look = move |sql: &Connection| {
                let no = || not_found(&bucket, &into);
                let row = bucket::find(sql, &bucket)?.ok_or_else(no)?;
                let of = branch::find(sql, row.id, &into)?.ok_or_else(no)?;
                let chain = Chain::of(sql, of.id, Seq::MAX)?.ok_or_else(no)?;
                let plan = planned(sql, (of.id, row.head, &chain), &from, how.strategy)?;
                let entries = plan.len();
                Ok(Merged {
                    committed: None,
                    entries,
                    conflicts: plan.conflicts.into_iter().map(|one| (None, one)).collect(),
                })
            };
            return self.0.tables().read(look).await;
        }
        let body = move |txn: &mut Txn<'_>| merge_in(txn, &from, how.strategy);
        let op = permit.action().to_owned();
        let (committed, mut merged) = self.0.transact(&pass, &op, (bucket, into), how.durability, body).await?;
        if merged.committed.is_some() {
            merged.committed = Some(committed);
        }
        Ok(merged)
    }

    /// Settles a conflict that a merge into a branch left.
    ///
    /// # Errors
    /// Fails with [`Errno::NoEnt`] when there is no such open conflict, or when what it is about is gone.
    pub async fn settle(
        &self,
        permit: &Permit,
        (bucket, branch): (&BucketName, &BranchName),
        number: u64,
        keep: Keep,
    ) -> Result<Committed, FsError> {
        let pass = Pass::of(permit, Right::Write, Place { bucket, branch: Some(branch) })?;
        let op = permit.action().to_owned();
        let body = move |txn: &mut Txn<'_>| settle::settle(txn, number, keep);
        Ok(self.0.transact(&pass, &op, (bucket, branch), None, body).await?.0)
    }

    /// Makes a path, with all that is below it, again what it was in an earlier version of the branch. Only rows change: no content is
    /// read or written.
    ///
    /// # Errors
    /// Fails when nothing was at the path then, and as [`Self::merge`] does when too much changed since.
    pub async fn restore(
        &self,
        permit: &Permit,
        (bucket, branch): (&BucketName, &BranchName),
        path: &FsPath,
        then: &View,
    ) -> Result<Committed, FsError> {
        let pass = Pass::of(permit, Right::Write, Place { bucket, branch: Some(branch) })?;
        then.check()?;
        let (then, path) = (then.clone(), path.clone());
        let op = permit.action().to_owned();
        let body = move |txn: &mut Txn<'_>| {
            if then.bucket_id() != txn.bucket().id || then.branch_id() != txn.branch().id {
                return Err(FsError::At { errno: Errno::XDev, what: "cannot restore", path: path.to_string() });
            }
            let path = then.chain().spelled(txn.sql(), &path)?.unwrap_or(path);
            let plan = merge::plan_restore(txn.sql(), txn.chain(), then.chain(), &path)?;
            if !plan.is_empty() {
                write(txn, &plan)?;
            }
            Ok(())
        };
        Ok(self.0.transact(&pass, &op, (bucket, branch), None, body).await?.0)
    }
}

fn not_found(bucket: &BucketName, branch: &BranchName) -> FsError {
    FsError::At { errno: Errno::NoEnt, what: "cannot find the branch", path: format!("{bucket}:{branch}") }
}

fn planned(
    sql: &Connection,
    (into, head, ours): (BranchId, Seq, &Chain),
    from: &View,
    strategy: Strategy,
) -> Result<Plan, FsError> {
    let common = base::common(sql, (into, head), (from.branch_id(), from.bound()))?;
    let chain = common.map(|(branch, seq)| Chain::standing_for(sql, branch, seq)).transpose()?.flatten();
    let path = || from.branch().to_string();
    let chain =
        chain.ok_or_else(|| FsError::At { errno: Errno::Inval, what: "no version in common with", path: path() })?;
    let versions = Versions { base: &chain, ours, theirs: from.chain(), label: from.branch().as_str() };
    merge::plan(sql, versions, strategy)
}

fn merge_in(txn: &mut Txn<'_>, from: &View, strategy: Strategy) -> Result<Merged, FsError> {
    let (sql, into, head) = (txn.sql(), txn.branch().id, txn.bucket().head);
    let plan = planned(sql, (into, head, txn.chain()), from, strategy)?;
    if plan.examined == 0 {
        return Ok(Merged { committed: None, entries: 0, conflicts: Vec::new() });
    }
    let numbers = write(txn, &plan)?;
    let seq = txn.seq()?;
    // What a branch that follows sees of this very commit came from here: it is merged too.
    let merged = if from.bound() == head { seq } else { from.bound() };
    rows::insert(sql, (into, seq), (from.branch_id(), merged))?;
    let entries = plan.len();
    let is_listed = strategy == Strategy::Conflict;
    let numbered = numbers.into_iter().map(|number| is_listed.then_some(number)).zip(plan.conflicts).collect();
    // What the answer means is known when it is given.
    let committed = Committed { seq, durability: Durability::default() };
    Ok(Merged { committed: Some(committed), entries, conflicts: numbered })
}

pub(super) fn write(txn: &mut Txn<'_>, plan: &Plan) -> Result<Vec<u64>, FsError> {
    let seq = txn.seq()?;
    let (sql, on, chain) = (txn.sql(), txn.on(), txn.chain().clone());
    merge::apply(sql, (on, &chain), seq, plan, || txn.new_ino())
}

impl History {
    /// At most `count` conflicts of a view's branch that are not settled, by number, after this one.
    pub async fn conflicts(&self, view: &View, after: u64, count: usize) -> Result<Vec<conflicts::Conflict>, FsError> {
        let branch = view.branch_id();
        view.look(move |here| conflicts::open(here.sql, branch, after, count)).await
    }
}
