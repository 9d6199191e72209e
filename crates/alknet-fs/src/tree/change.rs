//! Changes as data: what a branch can be asked for, and how it becomes a commit.

use alknet_core::Permit;
use alknet_store::{Durability, Noted};
use rusqlite::Connection;

use super::{
    Tree, Txn, View,
    confine::InPlace,
    put::{Body, Set},
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
    /// Sees to it that what is written to a path next stays below a folder.
    Confine {
        /// The folder; links on the way to it are followed.
        beneath: FsPath,
        /// Where is written: between the folder and this only folders may be.
        at: FsPath,
        /// What becomes of a link there.
        link: InPlace,
    },
    /// Gives a file content; makes it if there is none.
    Put(Put),
    /// Makes a symbolic link.
    Symlink {
        /// Where.
        at: FsPath,
        /// What it leads to: bytes that are understood where the link is followed.
        target: Vec<u8>,
        /// When it was made, in nanoseconds since 1970; `None`: now.
        mtime_ns: Option<i64>,
    },
    /// Gives a file or symbolic link one name more.
    HardLink {
        /// One that it has.
        from: FsPath,
        /// The new one, where nothing is.
        to: FsPath,
    },
    /// Moves a name, with all that is below it.
    Rename {
        /// From where.
        from: FsPath,
        /// To where.
        to: FsPath,
        /// What becomes of what is there.
        how: RenameHow,
    },
    /// Sets attributes; those that are not given stay.
    SetAttributes {
        /// Of what.
        at: FsPath,
        /// The permission bits.
        mode: Option<u16>,
        /// When the content was changed, in nanoseconds since 1970.
        mtime_ns: Option<i64>,
        /// The extended attributes, all of them.
        xattrs: Option<Xattrs>,
        /// Of what a symbolic link leads to, rather than of the link.
        follow: bool,
    },
    /// Sets some of the extended attributes of an entry, of a symbolic link those of the link; the others stay.
    SetXattrs {
        /// Of what.
        at: FsPath,
        /// Keys with their values.
        set: Vec<(Vec<u8>, Vec<u8>)>,
        /// Keys that go before.
        remove: Vec<Vec<u8>>,
    },
    /// Makes a copy of what a view shows, with all that is below it: content is shared, not read.
    Clone {
        /// The view, of any branch of any bucket.
        from: View,
        /// What is copied; a symbolic link is copied itself.
        path: FsPath,
        /// Where to: nothing, or for a file also a file, which gets the content.
        to: FsPath,
    },
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

/// What becomes of what is where something is moved to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenameHow {
    /// It goes, as POSIX has it: a file for a file, an empty folder for a folder.
    Replace,
    /// It stays, and nothing is moved.
    NoReplace,
    /// It comes where the other was.
    Exchange,
}

/// What may be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoveHow {
    /// A file or a link.
    File,
    /// A file or a link, if one is there.
    FileIfAny,
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
            Change::Confine { beneath, at, link } => self
                .confine(&beneath, &at, link)
                .map_err(|stop| stop.at("cannot write without following a link to", &at)),
            Change::Put(put) => self.put(put),
            Change::Symlink { at, target, mtime_ns } => {
                self.symlink(&at, &target, mtime_ns).map_err(|stop| stop.at("cannot make the link", &at))
            }
            Change::HardLink { from, to } => {
                self.hard_link(&from, &to).map_err(|stop| stop.at_both("cannot link", &from, &to))
            }
            Change::Rename { from, to, how } => {
                self.rename(&from, &to, how).map_err(|stop| stop.at_both("cannot move", &from, &to))
            }
            Change::SetAttributes { at, mode, mtime_ns, xattrs, follow } => {
                let set = Set { mode, mtime_ns, xattrs };
                self.set_attributes(&at, set, follow.into()).map_err(|stop| stop.at("cannot set attributes of", &at))
            }
            Change::SetXattrs { at, set, remove } => {
                self.set_xattrs(&at, set, &remove).map_err(|stop| stop.at("cannot set attributes of", &at))
            }
            Change::Clone { from, path, to } => {
                self.copy(&from, &path, &to).map_err(|stop| stop.at_both("cannot copy", &path, &to))
            }
            Change::Remove { at, how } => self.remove(&at, how).map_err(|stop| stop.at("cannot remove", &at)),
        }
    }
}

/// The permission bits, and nothing above them.
pub(super) fn checked_mode(mode: u16) -> Result<u16, Stop> {
    if mode & !0o7777 == 0 { Ok(mode) } else { Err(Errno::Inval.into()) }
}
