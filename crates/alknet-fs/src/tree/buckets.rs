//! Buckets: making, setting and removing them, and what they hold.

use alknet_core::{Identity, Permit};
use alknet_store::{Durability, Noted};
use rusqlite::Connection;

use super::{Tree, policy::Policy, txn::Committed};
use crate::{
    access::{Access, Pass, Place, Right},
    chain::Chain,
    error::{Errno, FsError},
    ids::{BucketId, Ino, Seq},
    limits::{MAX_BUCKETS, MAX_PAGE_ENTRIES},
    name::{BranchName, BucketName},
    rows::{
        branch,
        bucket::{self, BucketRow},
        commit, snapshot,
    },
};

/// What a bucket may hold, and how it behaves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    /// Bytes that it may hold, every kept version counted; `None`: no bound.
    pub quota_bytes: Option<u64>,
    /// Files, folders and links that it may hold, counted on each branch that has changed them; `None`: no bound.
    pub quota_files: Option<u64>,
    /// How it behaves.
    pub policy: Policy,
}

/// A bucket as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: BucketName,
    /// What it may hold, and how it behaves.
    pub terms: Terms,
    /// Bytes that it holds.
    pub used_bytes: u64,
    /// Files, folders and links that it holds.
    pub used_files: u64,
    /// Its newest commit.
    pub head: Seq,
}

/// Buckets by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketPage {
    /// The buckets.
    pub buckets: Vec<Bucket>,
    /// After which name the next page begins; `None`: there is no more.
    pub next: Option<BucketName>,
}

impl Terms {
    fn row(&self) -> bucket::Terms {
        let Self { quota_bytes, quota_files, policy } = self;
        bucket::Terms { policy: policy.to_json(), quota_bytes: *quota_bytes, quota_files: *quota_files }
    }
    /// A policy that cannot be read leaves the bucket readable.
    fn of(row: &bucket::Terms) -> Self {
        let policy = Policy::parse(&row.policy).unwrap_or_default();
        Self { quota_bytes: row.quota_bytes, quota_files: row.quota_files, policy }
    }
}

impl Bucket {
    pub(super) fn of(row: BucketRow) -> Self {
        let BucketRow { name, terms, used_bytes, used_files, head, .. } = row;
        Self { name, terms: Terms::of(&terms), used_bytes, used_files, head }
    }
}

impl Tree {
    /// Makes a bucket with a branch `main`.
    pub async fn create_bucket(&self, permit: &Permit, name: &BucketName, terms: Terms) -> Result<Committed, FsError> {
        let pass = Pass::of(permit, Right::Admin, Place { bucket: name, branch: None })?;
        let author = self.author(&pass, permit.action());
        let name = name.clone();
        let make = move |sql: &Connection, _: &mut Noted<'_>| {
            let no = |errno| FsError::At { errno, what: "cannot make the bucket", path: name.to_string() };
            if bucket::find(sql, &name)?.is_some() {
                return Err(no(Errno::Exist));
            }
            if bucket::count(sql)? >= MAX_BUCKETS {
                return Err(no(Errno::TooMany));
            }
            let id = bucket::insert(sql, &name, &terms.row())?;
            let main = branch::insert(sql, id, &BranchName::main(), None, Seq::ZERO)?;
            // The first commit says who made it, and how old the root is.
            let commit = commit::begin(sql, id, main, author.now_ns, (author.identity.id(), &author.op))?;
            Ok(Committed { seq: commit.seq, durability: Durability::Strict })
        };
        self.tables().change(pass.rights(), Durability::Strict, make).await
    }

    /// The bucket of this name.
    pub async fn bucket(&self, permit: &Permit, name: &BucketName) -> Result<Bucket, FsError> {
        let pass = Pass::of(permit, Right::Read, Place { bucket: name, branch: None })?;
        pass.rights().check()?;
        let wanted = name.clone();
        self.tables().read(move |sql| Ok(Bucket::of(found(sql, &wanted, "cannot look at the bucket")?))).await
    }

    /// At most `count` buckets after this name of which the permit's holder may read something: the bucket, or a branch of it.
    pub async fn buckets(
        &self,
        permit: &Permit,
        after: Option<&BucketName>,
        count: usize,
    ) -> Result<BucketPage, FsError> {
        permit.require(Right::Read.as_str())?;
        let (identity, mut after) = (permit.identity().cloned(), after.cloned());
        let count = count.clamp(1, MAX_PAGE_ENTRIES);
        let search = move |sql: &Connection| -> Result<BucketPage, FsError> {
            let mut page = BucketPage { buckets: Vec::new(), next: None };
            loop {
                let rows = bucket::page(sql, after.as_ref(), MAX_PAGE_ENTRIES)?;
                let Some(last) = rows.last() else { return Ok(page) };
                after = Some(last.name.clone());
                for row in rows {
                    if page.buckets.len() == count {
                        page.next = page.buckets.last().map(|bucket| bucket.name.clone());
                        return Ok(page);
                    }
                    if sees_some(sql, identity.as_deref(), &row)? {
                        page.buckets.push(Bucket::of(row));
                    }
                }
            }
        };
        self.tables().read(search).await
    }

    /// Sets what a bucket may hold and how it behaves. What it holds already stays, and by what it compares names.
    pub async fn set_bucket(
        &self,
        permit: &Permit,
        name: &BucketName,
        set: impl FnOnce(&mut Terms) + Send + 'static,
    ) -> Result<Bucket, FsError> {
        let pass = Pass::of(permit, Right::Admin, Place { bucket: name, branch: None })?;
        let (wanted, known) = (name.clone(), self.known.clone());
        let change = move |sql: &Connection, _: &mut Noted<'_>| {
            let row = found(sql, &wanted, "cannot set the bucket")?;
            let names = policy_of(&row, "cannot set the bucket")?.names;
            let mut terms = Terms::of(&row.terms);
            set(&mut terms);
            terms.policy.names = names;
            bucket::set(sql, row.id, &terms.row())?;
            known.forget(&wanted);
            Ok(Bucket { terms, ..Bucket::of(row) })
        };
        let bucket = self.tables().change(pass.rights(), Durability::Strict, change).await;
        self.known.forget(name);
        bucket
    }

    /// Removes a bucket; with `force` also one that holds something, or has branches or snapshots. Its rows go in their own time.
    pub async fn remove_bucket(&self, permit: &Permit, name: &BucketName, force: bool) -> Result<(), FsError> {
        let pass = Pass::of(permit, Right::Admin, Place { bucket: name, branch: None })?;
        let wanted = name.clone();
        let change = move |sql: &Connection, _: &mut Noted<'_>| -> Result<BucketId, FsError> {
            let row = found(sql, &wanted, "cannot remove the bucket")?;
            if !force && !is_bare(sql, &row)? {
                let path = wanted.to_string();
                return Err(FsError::At { errno: Errno::NotEmpty, what: "cannot remove the bucket", path });
            }
            bucket::remove(sql, row.id)?;
            Ok(row.id)
        };
        let id = self.tables().change(pass.rights(), Durability::Strict, change).await?;
        self.known.forget(name);
        self.handles().end_bucket(id);
        Ok(())
    }
}

pub(super) fn found(sql: &Connection, name: &BucketName, what: &'static str) -> Result<BucketRow, FsError> {
    let missing = || FsError::At { errno: Errno::NoEnt, what, path: name.to_string() };
    bucket::find(sql, name)?.ok_or_else(missing)
}

/// How a bucket behaves, if it can be told: what a newer version wrote is neither guessed at nor written over.
pub(super) fn policy_of(row: &BucketRow, what: &'static str) -> Result<Policy, FsError> {
    let unknown = |_| FsError::At { errno: Errno::Newer, what, path: row.name.to_string() };
    Policy::parse(&row.terms.policy).map_err(unknown)
}

/// Whether nothing is in a bucket: one branch, no entries, no snapshots.
fn is_bare(sql: &Connection, row: &BucketRow) -> Result<bool, FsError> {
    let branches = branch::list(sql, row.id)?;
    let [only] = &branches[..] else { return Ok(branches.is_empty()) };
    let chain = Chain::of(sql, only.id, row.head)?;
    let is_empty = match chain {
        Some(chain) => chain.page(sql, Ino::ROOT, b"", 1)?.is_empty(),
        None => true,
    };
    Ok(is_empty && snapshot::list(sql, row.id)?.is_empty())
}

/// Whether somebody may read a bucket or one of its branches.
fn sees_some(sql: &Connection, identity: Option<&Identity>, row: &BucketRow) -> Result<bool, FsError> {
    if Access::sees(identity, Place { bucket: &row.name, branch: None }) {
        return Ok(true);
    }
    let branches = branch::list(sql, row.id)?;
    Ok(branches.iter().any(|branch| Access::sees(identity, Place { bucket: &row.name, branch: Some(&branch.name) })))
}
