//! Changes as data: what a branch can be asked for, and how it becomes a commit.

use alknet_core::Permit;
use alknet_store::{Durability, Noted};
use rusqlite::Connection;

use super::{
    Tree, Txn,
    put::Body,
    stop::Stop,
    txn::{Author, Committed},
    xattrs::Xattrs,
};
use crate::{
    access::{Pass, Place, Right},
    content::Placed,
    error::{Errno, FsError},
    failpoints::step,
    hash::ContentHash,
    ids::Seq,
    name::{BranchName, BucketName},
    path::FsPath,
    rows::bucket,
    tree::policy::Policy,
};

/// One thing to do to a branch.
pub enum Change {
    /// Makes a folder.
    MakeFolder {
        /// Where.
        at: FsPath,
        /// Its permission bits.
        mode: u16,
        /// Makes the folders above it too where they are missing, and is content with one that is there.
        parents: bool,
    },
    /// Gives a file content; makes it if there is none.
    Put(Put),
    /// Removes what is there.
    Remove {
        /// Where; a symbolic link is removed itself.
        at: FsPath,
        /// What may be there.
        how: RemoveHow,
    },
}

impl Change {
    fn placed(&self) -> Option<&Placed> {
        match self {
            Self::Put(Put { body: Body::Placed(placed), .. }) => Some(placed),
            _ => None,
        }
    }
}

/// Content for a file.
pub struct Put {
    /// Where; symbolic links are followed, unless there must be nothing.
    pub at: FsPath,
    /// The content.
    pub body: Body,
    /// The permission bits; `None`: as they are, and `rw-r--r--` of a new file.
    pub mode: Option<u16>,
    /// When the content was changed, in nanoseconds since 1970; `None`: now.
    pub mtime_ns: Option<i64>,
    /// The extended attributes, all of them; `None`: as they are.
    pub xattrs: Option<Xattrs>,
    /// Makes the folders above it where they are missing.
    pub parents: bool,
    /// What must be there before.
    pub expect: Expect,
}

impl Put {
    /// Content at a path, whatever is there before.
    pub const fn new(at: FsPath, body: Body) -> Self {
        Self { at, body, mode: None, mtime_ns: None, xattrs: None, parents: false, expect: Expect::Anything }
    }
}

/// What a writer expects to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expect {
    /// A file or nothing.
    #[default]
    Anything,
    /// Nothing, not even a link that leads nowhere.
    Absent,
    /// A file that this commit was the last to change.
    Version(Seq),
    /// A file with this content.
    Hash(ContentHash),
}

/// What may be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoveHow {
    /// A file or a link.
    File,
    /// A folder with nothing in it.
    EmptyFolder,
    /// A file or a link, or a folder with nothing in it.
    Bare,
    /// Anything, with all that is in it.
    Recursive,
}

impl Tree {
    /// Makes changes of a branch, in their order, as one commit: all of them or none. `durability`: what the answer shall mean, if not
    /// what the bucket's policy says. A dropped future does not take the commit back.
    ///
    /// # Errors
    /// The first change that cannot be made says why, and names its path.
    pub async fn change(
        &self,
        permit: &Permit,
        (bucket, branch): (&BucketName, &BranchName),
        changes: Vec<Change>,
        durability: Option<Durability>,
    ) -> Result<Committed, FsError> {
        let pass = Pass::of(permit, Right::Write, Place { bucket, branch: Some(branch) })?;
        let op = permit.action().to_owned();
        let placed: Vec<_> = changes.iter().filter_map(Change::placed).cloned().collect();
        let apply = move |txn: &mut Txn<'_>| changes.into_iter().try_for_each(|change| txn.apply(change));
        let outcome = self.transact(&pass, &op, (bucket, branch), durability, apply).await;
        placed.iter().for_each(|placed| placed.settle(&outcome));
        Ok(outcome?.0)
    }

    /// Runs `body` as one commit of a branch, in the writer. The pass must be for the right that it needs there. Whoever links placed
    /// content in it settles that with the outcome.
    pub(crate) async fn transact<T: Send + 'static>(
        &self,
        pass: &Pass,
        op: &str,
        (bucket, branch): (&BucketName, &BranchName),
        durability: Option<Durability>,
        body: impl FnOnce(&mut Txn<'_>) -> Result<T, FsError> + Send + 'static,
    ) -> Result<(Committed, T), FsError> {
        let durability = match durability {
            Some(durability) => durability,
            None => self.durability_of(bucket).await?,
        };
        let (author, witness, known) = (self.author(pass, op), self.witness.clone(), self.known.clone());
        let names = (bucket.clone(), branch.clone());
        let run = move |sql: &Connection, noted: &mut Noted<'_>| {
            let mut txn = Txn::begin(sql, (&names.0, &names.1), author)?;
            known.note(&names.0, txn.policy().durability);
            let answer = body(&mut txn)?;
            let committed = txn.finish(durability, witness.as_deref(), noted)?;
            step("rows.written");
            Ok((committed, answer))
        };
        self.tables.change(pass.rights(), durability, run).await
    }

    pub(super) fn author(&self, pass: &Pass, op: &str) -> Author {
        Author {
            identity: pass.identity().clone(),
            op: op.to_owned(),
            now_ns: self.tables.clock().now_ns(),
            replica: self.replica,
        }
    }

    async fn durability_of(&self, bucket: &BucketName) -> Result<Durability, FsError> {
        if let Some(durability) = self.known.durability(bucket) {
            return Ok(durability);
        }
        let name = bucket.clone();
        let row = self.tables.read(move |sql| -> Result<_, FsError> { Ok(bucket::find(sql, &name)?) }).await?;
        let policy = row.and_then(|row| Policy::parse(&row.terms.policy).ok()).unwrap_or_default();
        Ok(policy.durability)
    }
}

impl Txn<'_> {
    /// Makes one change.
    pub fn apply(&mut self, change: Change) -> Result<(), FsError> {
        match change {
            Change::MakeFolder { at, mode, parents } => {
                self.make_folder(&at, mode, parents).map_err(|stop| stop.at("cannot make the folder", &at))
            }
            Change::Put(put) => self.put(put),
            Change::Remove { at, how } => self.remove(&at, how).map_err(|stop| stop.at("cannot remove", &at)),
        }
    }
}

/// The permission bits, and nothing above them.
pub(super) fn checked_mode(mode: u16) -> Result<u16, Stop> {
    if mode & !0o7777 == 0 { Ok(mode) } else { Err(Errno::Inval.into()) }
}
