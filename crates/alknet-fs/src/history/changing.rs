//! Merging, settling and restoring: what history changes, each as one commit.

use alknet_core::Permit;
use alknet_store::Durability;
use rusqlite::Connection;

use super::{
    History,
    conflicts::{self, Draft},
    merge::{self, Plan, Strategy, Versions, base},
    restore,
    settle::{self, Keep},
};
use crate::{
    access::{Pass, Place, Right},
    chain::Chain,
    error::{Errno, FsError},
    failpoints::step,
    ids::{BranchId, Seq},
    limits::{MAX_ROWS_PLANNED_IN_WRITER, MERGE_PLANS_BESIDE_WRITERS},
    name::{BranchName, BucketName},
    path::FsPath,
    rows::{bucket, dent, inode, merge as rows},
    tree::{Committed, Here, Txn, View},
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
    /// Makes the changes of a view's branch on another branch of the bucket, as one commit. `into` says which, and that whoever does it may
    /// see what is there: the answer tells of it where the two do not agree.
    ///
    /// # Errors
    /// Fails with [`Errno::TooBig`] when more than [`MAX_MERGE_CHANGES`](crate::limits::MAX_MERGE_CHANGES) entries changed since the last
    /// merge; an earlier version of the branch can be merged first. Fails with [`Errno::Perm`] where others see through one of the two
    /// what whoever merges does not: all of it would count as merged, or be decided without being looked at. Fails with [`Errno::Again`] when so much changes meanwhile that no
    /// plan holds.
    pub async fn merge(&self, permit: &Permit, into: &View, from: &View, how: How) -> Result<Merged, FsError> {
        let at = (into.bucket(), into.branch());
        let pass = Pass::of(permit, Right::Write, Place { bucket: at.0, branch: Some(at.1) })?;
        into.check()?;
        from.check()?;
        for view in [into, from] {
            whole(view.sight().is_capped(), view.bucket(), view.branch())?;
        }
        if from.bucket_id() != into.bucket_id() {
            let path = format!("{}:{}", from.bucket(), from.branch());
            return Err(FsError::At { errno: Errno::XDev, what: "cannot merge from", path });
        }
        let (strategy, views) = (how.strategy, (into.clone(), from.clone()));
        let plan = move |sql: &Connection, chain: &Chain| {
            let (into, from) = &views;
            into.check()?;
            from.check()?;
            let head = bucket::get(sql, into.bucket_id())?.map_or(Seq::ZERO, |row| row.head);
            planned(sql, (into.branch_id(), head, chain), from, strategy)
        };
        if how.dry_run {
            let plan = self.plan_beside(into, plan).await?.plan;
            let (entries, drafts) = (plan.len(), plan.conflicts);
            let conflicts = drafts.into_iter().map(|one| (None, one)).collect();
            return Ok(Merged { committed: None, entries, conflicts });
        }
        let from = from.clone();
        let write = move |txn: &mut Txn<'_>, plan: Plan| merge_in(txn, &from, plan, strategy);
        let (committed, mut merged) = self.carry_out((&pass, permit, how.durability), into, plan, write).await?;
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
    /// Fails when nothing was at the path then, when there was no bucket then, and as [`Self::merge`] does when too much changed since, or
    /// others see more.
    pub async fn restore(
        &self,
        permit: &Permit,
        (bucket, branch): (&BucketName, &BranchName),
        path: &FsPath,
        then: &View,
    ) -> Result<Committed, FsError> {
        let pass = Pass::of(permit, Right::Write, Place { bucket, branch: Some(branch) })?;
        then.check()?;
        if (then.bucket(), then.branch()) != (bucket, branch) {
            let path = format!("{}:{}", then.bucket(), then.branch());
            return Err(FsError::At {
                errno: Errno::Inval,
                what: "cannot restore from another branch than it is on:",
                path,
            });
        }
        if then.bound() == Seq::ZERO {
            // All that is there would go.
            return Err(FsError::At { errno: Errno::NoBucketThen, what: "cannot restore", path: path.to_string() });
        }
        whole(then.sight().is_capped(), bucket, branch)?;
        let (view, path) = (then.clone(), path.clone());
        let plan = move |sql: &Connection, chain: &Chain| {
            view.check()?;
            let path = view.chain().spelled(sql, &path)?.unwrap_or_else(|| path.clone());
            restore::plan(sql, chain, view.chain(), &path)
        };
        let seen = then.clone();
        let put = move |txn: &mut Txn<'_>, plan: Plan| {
            seen.check()?;
            if plan.is_empty() { Ok(()) } else { write(txn, &plan).map(|_| ()) }
        };
        Ok(self.carry_out((&pass, permit, None), then, plan, put).await?.0)
    }

    /// Plans a change while others go on writing, and writes it if the branch is then what it was planned for; after some tries it is
    /// planned where nobody else writes.
    async fn carry_out<T: Send + 'static>(
        &self,
        (pass, permit, durability): (&Pass, &Permit, Option<Durability>),
        on: &View,
        plan: impl Fn(&Connection, &Chain) -> Result<Plan, FsError> + Clone + Send + 'static,
        put: impl Fn(&mut Txn<'_>, Plan) -> Result<T, FsError> + Clone + Send + 'static,
    ) -> Result<(Committed, T), FsError> {
        let at = (on.bucket(), on.branch());
        let mut looked = 0;
        for _ in 0..MERGE_PLANS_BESIDE_WRITERS {
            let made = self.plan_beside(on, plan.clone()).await?;
            looked = made.plan.looked;
            step("merge.planned");
            let (of, put) = (on.branch_id(), put.clone());
            let body = move |txn: &mut Txn<'_>| match txn.branch().id == of && made.is_so(txn.sql())? {
                true => put(txn, made.plan).map(Some),
                false => Ok(None),
            };
            if let (committed, Some(answer)) = self.0.transact(pass, permit.action(), at, durability, body).await? {
                return Ok((committed, answer));
            }
        }
        let (of, again) = (on.branch_id(), format!("{}:{}", at.0, at.1));
        let body = move |txn: &mut Txn<'_>| {
            if looked > MAX_ROWS_PLANNED_IN_WRITER || txn.branch().id != of {
                return Err(FsError::At { errno: Errno::Again, what: "too much changes meanwhile on", path: again });
            }
            let plan = plan(txn.sql(), txn.chain())?;
            put(txn, plan)
        };
        self.0.transact(pass, permit.action(), at, durability, body).await
    }

    /// Plans a change of a view's branch as it is now.
    async fn plan_beside(
        &self,
        on: &View,
        plan: impl FnOnce(&Connection, &Chain) -> Result<Plan, FsError> + Send + 'static,
    ) -> Result<Made, FsError> {
        let (branch, sight, path) = (on.branch_id(), on.sight().clone(), format!("{}:{}", on.bucket(), on.branch()));
        let look = move |sql: &Connection| {
            let no = || FsError::At { errno: Errno::NoEnt, what: "cannot find the branch", path };
            let chain = sight.chain(sql, branch, Seq::MAX)?.ok_or_else(no)?;
            let newest = newest(sql, &chain)?;
            Ok(Made { plan: plan(sql, &chain)?, chain, newest })
        };
        self.0.tables().read(look).await
    }
}

/// A plan, and what it was made for.
struct Made {
    plan: Plan,
    chain: Chain,
    newest: Vec<Option<Seq>>,
}

impl Made {
    /// Whether nothing has changed since.
    fn is_so(&self, sql: &Connection) -> rusqlite::Result<bool> {
        Ok(newest(sql, &self.chain)? == self.newest)
    }
}

/// The newest row of each level that can still change.
fn newest(sql: &Connection, chain: &Chain) -> rusqlite::Result<Vec<Option<Seq>>> {
    let open = chain.levels().iter().filter(|level| level.bound == Seq::MAX);
    open.map(|level| Ok(dent::newest_of(sql, level.branch)?.max(inode::newest_of(sql, level.branch)?))).collect()
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

fn merge_in(txn: &mut Txn<'_>, from: &View, plan: Plan, strategy: Strategy) -> Result<Merged, FsError> {
    from.check()?;
    let (sql, into, head) = (txn.sql(), txn.branch().id, txn.bucket().head);
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

/// Whole trees are changed by those who see all of them.
fn whole(is_capped: bool, bucket: &BucketName, branch: &BranchName) -> Result<(), FsError> {
    let path = format!("{bucket}:{branch}");
    let what = "the right to read what it follows is needed for merges, conflicts and restores of";
    if is_capped { Err(FsError::At { errno: Errno::Perm, what, path }) } else { Ok(()) }
}

pub(super) fn write(txn: &mut Txn<'_>, plan: &Plan) -> Result<Vec<u64>, FsError> {
    whole(txn.is_capped(), &txn.bucket().name, &txn.branch().name)?;
    let seq = txn.seq()?;
    let (sql, on, chain) = (txn.sql(), txn.on(), txn.chain().clone());
    merge::apply(sql, (on, &chain), seq, plan, || txn.new_ino())
}

impl History {
    /// At most `count` conflicts of a view's branch that are not settled, by number, after this one.
    ///
    /// # Errors
    /// Fails with [`Errno::Perm`] where others see through the branch what whoever asks does not: it tells what both sides were.
    pub async fn conflicts(&self, view: &View, after: u64, count: usize) -> Result<Vec<conflicts::Conflict>, FsError> {
        whole(view.sight().is_capped(), view.bucket(), view.branch())?;
        let of = view.clone();
        let look = move |here: &Here<'_>| {
            conflicts::open(here.sql, (of.branch_id(), of.bucket(), of.reader()), (after, count))
        };
        view.look(look).await
    }
}
