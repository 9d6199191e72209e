//! What the operations work on, and how their inputs become what the file system takes.

use std::{sync::Arc, time::Duration};

use alknet_call::{ByteTickets, CallError};
use alknet_store::{Durability, Tables};

use super::{
    refusal::bad_path,
    text::{BranchRef, InodeNumber, Octets, Timestamp},
    views::{AttributesView, Committed, CommittedSteps, DurabilityName, EntryKind, Expect, Xattr},
};
use crate::{
    address::{Address, When},
    content::Content,
    file_system::FileSystem,
    history::History,
    hooks::Hooks,
    path::FsPath,
    rows::Kind,
    tree::{self, Attributes, Policy, Tree, Xattrs},
};

/// The permission bits of a folder whose maker does not say.
pub(super) const FOLDER_MODE: u16 = 0o755;

/// What the operations work on. Clones share it.
#[derive(Clone)]
pub struct Service(Arc<Parts>);

struct Parts {
    files: FileSystem,
    tickets: ByteTickets,
    policy: Policy,
    gc_grace: Duration,
}

impl Service {
    /// Operations on these files. Bytes leave and come by `tickets`; a bucket behaves by `policy` where its maker does not say;
    /// `fs/gc` leaves for `gc_grace` what nothing refers to any more.
    pub fn new(files: FileSystem, tickets: ByteTickets, policy: Policy, gc_grace: Duration) -> Self {
        Self(Arc::new(Parts { files, tickets, policy, gc_grace }))
    }
    /// The files.
    pub fn files(&self) -> &FileSystem {
        &self.0.files
    }
    pub(super) fn tree(&self) -> &Tree {
        self.0.files.tree()
    }
    pub(super) fn history(&self) -> History {
        History::new(self.tree().clone())
    }
    pub(super) fn hooks(&self) -> Hooks {
        Hooks::new(self.tree().clone())
    }
    pub(super) fn content(&self) -> &Content {
        self.0.files.content()
    }
    pub(super) fn tables(&self) -> &Tables {
        self.tree().tables()
    }
    pub(super) fn tickets(&self) -> &ByteTickets {
        &self.0.tickets
    }
    pub(super) fn gc_grace(&self) -> Duration {
        self.0.gc_grace
    }
    /// How a bucket behaves of which nothing was said.
    pub(super) fn policy(&self) -> &Policy {
        &self.0.policy
    }

    /// What stands after `@`.
    pub(super) fn when(&self, text: Option<&str>) -> Result<When, CallError> {
        let Some(text) = text else { return Ok(When::Now) };
        When::parse(text.as_bytes(), self.tables().clock().now_ns())
            .map_err(|error| CallError::invalid_input("/when", error.to_string()))
    }

    /// The address of an entry on a branch.
    pub(super) fn address(&self, at: &BranchRef, when: Option<&str>, path: &Octets) -> Result<Address, CallError> {
        let (bucket, branch) = (at.bucket.clone(), Some(at.branch.clone()));
        Ok(Address { node: None, bucket, branch, when: self.when(when)?, path: path_at("/path", path)? })
    }
}

/// The path in the member at `pointer`.
pub(super) fn path_at(pointer: &'static str, octets: &Octets) -> Result<FsPath, CallError> {
    octets.path().map_err(bad_path(pointer))
}

/// Extended attributes, all of them.
pub(super) fn xattrs(given: Option<Vec<Xattr>>) -> Result<Option<Xattrs>, CallError> {
    let Some(given) = given else { return Ok(None) };
    let pairs = given.into_iter().map(|xattr| (xattr.name.0, xattr.value.0));
    Xattrs::new(pairs).map(Some).map_err(|error| CallError::invalid_input("/xattrs", error.to_string()))
}

pub(super) fn xattr_views(xattrs: &Xattrs) -> Vec<Xattr> {
    xattrs.iter().map(|(name, value)| Xattr { name: name.into(), value: value.into() }).collect()
}

pub(super) const fn kind_view(kind: Kind) -> EntryKind {
    match kind {
        Kind::File => EntryKind::File,
        Kind::Folder => EntryKind::Folder,
        Kind::Symlink => EntryKind::Symlink,
    }
}

pub(super) fn attributes_view(attributes: &Attributes) -> AttributesView {
    AttributesView {
        ino: InodeNumber(attributes.ino.get()),
        size: attributes.size,
        mode: attributes.mode,
        mtime: Timestamp(attributes.mtime_ns),
        ctime: attributes.ctime_ns.map(Timestamp),
        nlink: attributes.nlink,
        seq: attributes.seq,
        hash: attributes.hash,
        target: attributes.target.as_deref().map(Into::into),
    }
}

pub(super) const fn durability_view(durability: Durability) -> DurabilityName {
    match durability {
        Durability::Strict => DurabilityName::Strict,
        Durability::Group => DurabilityName::Group,
        Durability::Lazy => DurabilityName::Lazy,
    }
}

pub(super) const fn committed_view(committed: tree::Committed) -> Committed {
    Committed { seq: committed.seq, durability: durability_view(committed.durability) }
}

pub(super) const fn steps_view(steps: tree::Steps) -> CommittedSteps {
    let tree::Steps { last, commits } = steps;
    CommittedSteps { seq: last.seq, durability: durability_view(last.durability), commits }
}

pub(super) fn expected(expect: Option<Expect>) -> tree::Expect {
    match expect {
        None => tree::Expect::Anything,
        Some(Expect::Absent) => tree::Expect::Absent,
        Some(Expect::Version(seq)) => tree::Expect::Version(seq),
        Some(Expect::Hash(hash)) => tree::Expect::Hash(hash),
    }
}
