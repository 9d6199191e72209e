//! One change of one branch, in the writer's transaction: it becomes one commit, whole, or nothing.

use std::{collections::BTreeSet, sync::Arc};

use alknet_core::Identity;
use alknet_store::{Durability, Noted};
use rusqlite::Connection;

use super::{Witness, buckets::policy_of, finding::Ways, here::Here, policy::Policy, stat, stop::Stop};
use crate::{
    chain::Chain,
    error::{Errno, FsError},
    ids::{Ino, Seq},
    limits::{MAX_COMMIT_ROWS, MAX_ENTRY_NAME_BYTES},
    name::{BranchName, BucketName},
    rows::{
        Kind, On,
        branch::{self, BranchRow},
        bucket::{self, BucketRow},
        commit::{self, CommitRow},
        dent::{self, Dent},
        inode::{self, Changed, Inode},
        upload,
    },
    sight::Sight,
};

/// A change that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Its number; of a change that changed nothing, that of the newest commit.
    pub seq: Seq,
    /// What the acknowledgement means.
    pub durability: Durability,
}

/// Who changes what, by which clock.
#[derive(Debug, Clone)]
pub(crate) struct Author {
    /// Who.
    pub identity: Arc<Identity>,
    /// What it is, as in `fs/mkdir`.
    pub op: String,
    /// The clock's time, in nanoseconds since 1970.
    pub now_ns: i64,
    /// The replica that gives new inodes their numbers.
    pub replica: u16,
}

/// A commit that is about to be kept, for those who tell of it.
pub struct Commit<'a> {
    /// The connection of the transaction.
    pub sql: &'a Connection,
    /// The bucket as it was before.
    pub bucket: &'a BucketRow,
    /// The bucket's policy.
    pub policy: &'a Policy,
    /// The branch that was changed.
    pub branch: &'a BranchRow,
    /// What the branch shows now.
    pub chain: &'a Chain,
    /// The commit.
    pub row: &'a CommitRow,
}

/// A change under way. The rows that it writes carry the number of its commit, which is drawn with the first of them.
pub struct Txn<'a> {
    sql: &'a Connection,
    bucket: BucketRow,
    policy: Policy,
    branch: BranchRow,
    chain: Chain,
    /// What the branch shows to others, where its author sees less.
    whole: Option<Chain>,
    author: Author,
    commit: Option<CommitRow>,
    rows: usize,
    /// Folders that have a row of this change, after which none of their names has changed.
    timed: BTreeSet<Ino>,
    pub(super) ways: Ways,
    /// Steps of the searches for content that it names by its hash.
    pub(super) asked: usize,
}

impl<'a> Txn<'a> {
    /// Begins a change of a branch that is there.
    pub(crate) fn begin(
        sql: &'a Connection,
        (bucket, branch): (&BucketName, &BranchName),
        author: Author,
    ) -> Result<Self, FsError> {
        let no = |what, path| FsError::At { errno: Errno::NoEnt, what, path };
        let row = bucket::find(sql, bucket)?.ok_or_else(|| no("cannot find the bucket", bucket.to_string()))?;
        let of = branch::find(sql, row.id, branch)?;
        let place = || format!("{bucket}:{branch}");
        let of = of.ok_or_else(|| no("cannot find the branch", place()))?;
        let sight = Sight::of_identity(sql, bucket, &of, Some(&author.identity))?;
        let chain = sight.chain(sql, of.id, Seq::MAX)?.ok_or_else(|| no("cannot find the branch", place()))?;
        let whole = if sight.is_capped() { Chain::of(sql, of.id, Seq::MAX)? } else { None };
        let policy = policy_of(&row, "cannot write to the bucket")?;
        let (timed, ways) = (BTreeSet::new(), Ways::default());
        let (bucket, branch) = (row, of);
        Ok(Self { sql, bucket, policy, branch, chain, whole, author, commit: None, rows: 0, timed, ways, asked: 0 })
    }

    /// Ends it: the quota is asked, and those who tell of changes hear of it. What an error leaves behind is for the savepoint.
    pub(crate) fn finish(
        self,
        durability: Durability,
        witness: Option<&dyn Witness>,
        noted: &mut Noted<'_>,
    ) -> Result<Committed, FsError> {
        let Some(row) = &self.commit else { return Ok(Committed { seq: self.bucket.head, durability }) };
        self.ask_quota()?;
        let Self { sql, bucket, policy, branch, chain, .. } = &self;
        if let Some(witness) = witness {
            witness.committed(&Commit { sql, bucket, policy, branch, chain, row }, noted)?;
        }
        Ok(Committed { seq: row.seq, durability })
    }

    /// A bucket may hold more than its quota, which can be lowered: then it may shrink, but not grow.
    fn ask_quota(&self) -> Result<(), FsError> {
        let now = bucket::get(self.sql, self.bucket.id)?.unwrap_or_else(|| self.bucket.clone());
        // What uploads were promised is theirs; one that ends here was promised nothing any more.
        let promised = upload::promised(self.sql, self.bucket.id)?;
        let is_beyond =
            |used: u64, before: u64, quota: Option<u64>| used > before && quota.is_some_and(|quota| used > quota);
        let terms = &self.bucket.terms;
        let grows = now.used_bytes > self.bucket.used_bytes;
        let beside = if grows { promised } else { 0 };
        if is_beyond(now.used_bytes.saturating_add(beside), self.bucket.used_bytes, terms.quota_bytes)
            || is_beyond(now.used_files, self.bucket.used_files, terms.quota_files)
        {
            let path = format!("{}:{}", self.bucket.name, self.branch.name);
            return Err(FsError::At { errno: Errno::Quota, what: "cannot write to", path });
        }
        Ok(())
    }

    /// The connection.
    pub fn sql(&self) -> &'a Connection {
        self.sql
    }
    /// The bucket as it was before.
    pub fn bucket(&self) -> &BucketRow {
        &self.bucket
    }
    /// The branch.
    pub fn branch(&self) -> &BranchRow {
        &self.branch
    }
    /// How the bucket behaves.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }
    /// What the branch shows, this change included.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }
    /// Whoever makes it.
    pub fn identity(&self) -> &Identity {
        &self.author.identity
    }
    /// The clock's time, in nanoseconds since 1970.
    pub fn now_ns(&self) -> i64 {
        self.author.now_ns
    }
    /// The branch, looked at.
    pub fn here(&self) -> Here<'_> {
        Here { sql: self.sql, chain: &self.chain, bucket: self.bucket.id }
    }
    /// Where its rows are counted.
    pub fn on(&self) -> On {
        let now_ms = u64::try_from(self.author.now_ns / 1_000_000).unwrap_or(0);
        On { bucket: self.bucket.id, branch: self.branch.id, now_ms }
    }

    /// The number of the commit. The first call begins it: a change that never asks is none.
    pub fn seq(&mut self) -> Result<Seq, FsError> {
        if let Some(commit) = &self.commit {
            return Ok(commit.seq);
        }
        let Author { identity, op, now_ns, .. } = &self.author;
        let commit = commit::begin(self.sql, self.bucket.id, self.branch.id, *now_ns, (identity.id(), op))?;
        let seq = commit.seq;
        self.commit = Some(commit);
        Ok(seq)
    }

    /// A number that no inode ever had.
    pub fn new_ino(&mut self) -> Result<Ino, FsError> {
        Ok(bucket::next_ino(self.sql, self.bucket.id, self.author.replica)?)
    }

    /// Lets a name stand for an inode; `made`: for the first time.
    pub fn give(&mut self, dir: Ino, name: &[u8], of: (Ino, Kind), made: bool) -> Result<(), Stop> {
        self.ways.forget();
        self.give_new(dir, name, of, made)
    }

    /// As [`Self::give`], where it is known that the name stands for nothing.
    pub(super) fn give_new(&mut self, dir: Ino, name: &[u8], (ino, kind): (Ino, Kind), made: bool) -> Result<(), Stop> {
        let seq = self.seq()?;
        let (name, shown) = self.chain.names().split(name);
        if name.len() > MAX_ENTRY_NAME_BYTES {
            return Err(Errno::NameTooLong.into());
        }
        self.write_name(dir, Dent { name, seq, ino, kind, gone: false, made, shown })
    }

    /// Takes a name away from what it stands for.
    pub fn take(&mut self, dir: Ino, found: &Dent) -> Result<(), Stop> {
        self.ways.forget();
        let seq = self.seq()?;
        self.write_name(dir, Dent { seq, gone: true, made: false, ..found.clone() })
    }

    fn write_name(&mut self, dir: Ino, dent: Dent) -> Result<(), Stop> {
        self.ask_others(|chain| Ok(chain.dent(self.sql, dir, &dent.name)?.map(|dent| dent.ino)))?;
        self.count()?;
        dent::write(self.sql, self.branch.id, dir, &dent)?;
        if self.timed.remove(&dir) {
            self.touch(dir)?;
        }
        Ok(())
    }

    /// Whether nothing is in a folder. If only its author sees nothing there, nobody may go by that.
    pub(super) fn is_empty(&self, folder: Ino) -> Result<bool, Stop> {
        let is_empty = |chain: &Chain| Ok(chain.page(self.sql, folder, b"", 1)?.is_empty());
        if !is_empty(&self.chain)? {
            return Ok(false);
        }
        self.ask_others(is_empty).map(|()| true)
    }

    /// Fails where others see through the branch something else than its author does: his rows count for them too.
    fn ask_others<T: PartialEq>(&self, look: impl Fn(&Chain) -> rusqlite::Result<T>) -> Result<(), Stop> {
        let Some(whole) = &self.whole else { return Ok(()) };
        if look(whole)? == look(&self.chain)? { Ok(()) } else { Err(Errno::Perm.into()) }
    }

    /// Whether others see through the branch what its author does not.
    pub fn is_capped(&self) -> bool {
        self.whole.is_some()
    }

    /// A folder that this very change has set attributes of, and that changes after it, is as new as the change.
    fn touch(&mut self, dir: Ino) -> Result<(), Stop> {
        let time_ns = self.commit.as_ref().map_or(self.author.now_ns, |commit| commit.time_ns);
        if let Some(inode) = self.here().inode(dir)? {
            inode::write(self.sql, self.on(), &Inode { mtime_ns: time_ns, changed: Changed::default(), ..inode })?;
        }
        Ok(())
    }

    /// Writes a version of an inode; its number becomes that of the commit.
    pub fn write(&mut self, inode: Inode) -> Result<(), Stop> {
        self.count()?;
        let seq = self.seq()?;
        inode::write(self.sql, self.on(), &Inode { seq, ..inode })?;
        Ok(())
    }

    /// As [`Self::write`], of a folder that is there: the row holds its time until one of its names changes.
    pub fn write_timed(&mut self, inode: Inode) -> Result<(), Stop> {
        let ino = inode.ino;
        self.write(inode)?;
        self.timed.insert(ino);
        Ok(())
    }

    /// A folder that this change has made with a time of its own keeps it until one of its names changes.
    pub(super) fn keep_time(&mut self, folder: Ino) {
        self.timed.insert(folder);
    }

    /// An inode as the branch shows it; the root has a version even before it has a row.
    pub fn inode(&self, ino: Ino) -> Result<Inode, Stop> {
        match self.here().inode(ino)? {
            Some(inode) => Ok(inode),
            None if ino == Ino::ROOT => Ok(stat::root(&self.here())?),
            None => Err(Errno::Io.into()),
        }
    }

    fn count(&mut self) -> Result<(), Errno> {
        self.rows += 1;
        if self.rows > MAX_COMMIT_ROWS { Err(Errno::TooMuch) } else { Ok(()) }
    }
}
