//! A view: a branch at a version, held for somebody who may read it.

use std::sync::Arc;

use alknet_core::{Identity, Permit};
use alknet_store::{Rights, Second, Tables};
use rusqlite::Connection;

use super::{Tree, here::Here, list::Page, stat::Attributes, stop::Stop, when};
use crate::{
    access::{Pass, Place, Right},
    address::{Address, When},
    chain::Chain,
    error::{Errno, FsError},
    ids::{BranchId, BucketId, Seq},
    name::{BranchName, BucketName},
    path::{EntryName, FsPath},
    rows::{branch, bucket},
    session::{Look, Pin},
    sight::Sight,
};

/// A branch at a version. What it shows stays as it is for as long as a copy of this is held, whatever is changed or forgotten.
#[derive(Clone)]
pub struct View(Arc<Seen>);

struct Seen {
    tables: Tables,
    rights: Rights,
    bucket: (BucketId, BucketName),
    branch: (BranchId, BranchName),
    chain: Chain,
    bound: Seq,
    sight: Sight,
    reader: Arc<Identity>,
    _pin: Pin,
    _look: Look,
}

impl Tree {
    /// The version of a branch that an address speaks of. Its path plays no part.
    ///
    /// # Errors
    /// Fails when there is no such bucket, branch or version, or when the permit is not for reading it.
    pub async fn view(&self, permit: &Permit, at: &Address) -> Result<View, FsError> {
        self.view_of(permit, &at.bucket, &at.branch_or_main(), &at.when).await
    }

    /// As [`Self::view`], by the parts of an address.
    pub async fn view_of(
        &self,
        permit: &Permit,
        bucket: &BucketName,
        branch: &BranchName,
        when: &When,
    ) -> Result<View, FsError> {
        let pass = Pass::of(permit, Right::Read, Place { bucket, branch: Some(branch) })?;
        let (found, pin, look) = self.hold((bucket, branch), when.clone(), pass.identity()).await?;
        let Found { bucket, branch, chain, bound, sight } = found;
        let (tables, rights, reader) = (self.tables().clone(), pass.rights().clone(), pass.identity().clone());
        let seen = Seen { tables, rights, bucket, branch, chain, bound, sight, reader, _pin: pin, _look: look };
        Ok(View(Arc::new(seen)))
    }

    /// Finds a version and keeps it from being forgotten, without waiting for those who forget.
    async fn hold(
        &self,
        (bucket, branch): (&BucketName, &BranchName),
        mut when: When,
        who: &Arc<Identity>,
    ) -> Result<(Found, Pin, Look), FsError> {
        let handles = self.handles();
        let mut held: Option<(Found, Pin, Look)> = None;
        loop {
            let (asked, names, at) = (handles.asked(), (bucket.clone(), branch.clone()), when.clone());
            let who = who.clone();
            let found = self.tables().read(move |sql| find(sql, names, &at, &who)).await?;
            // It was held before this commit was read.
            if let Some(held) = held.take_if(|(before, ..)| *before == found) {
                return Ok(held);
            }
            let pin = handles.pin(found.bucket.0, found.bound);
            let look = handles.look(found.chain.levels().iter().map(|level| level.branch).collect());
            if handles.asked() == asked {
                return Ok((found, pin, look));
            }
            if let When::Now | When::Time(_) = when {
                when = When::Seq(found.bound);
            }
            held = Some((found, pin, look));
        }
    }
}

#[derive(PartialEq, Eq)]
struct Found {
    bucket: (BucketId, BucketName),
    branch: (BranchId, BranchName),
    chain: Chain,
    bound: Seq,
    sight: Sight,
}

fn find(
    sql: &Connection,
    (bucket, branch): (BucketName, BranchName),
    when: &When,
    identity: &Identity,
) -> Result<Found, FsError> {
    let no = |errno, what, name: &str| FsError::At { errno, what, path: name.to_owned() };
    let row = bucket::find(sql, &bucket)?.ok_or_else(|| no(Errno::NoEnt, "cannot find the bucket", bucket.as_str()))?;
    let place = format!("{bucket}:{branch}");
    let of = branch::find(sql, row.id, &branch)?;
    let of = of.ok_or_else(|| no(Errno::NoEnt, "cannot find the branch", &place))?;
    let sight = Sight::of_identity(sql, &bucket, &of, Some(identity))?;
    let bound = when::bound(sql, &row, (&of, &sight), when).map_err(|stop: Stop| {
        stop.at_place("cannot find the version", || match when::forgotten(sql, &row, when) {
            Some(oldest) => format!("{place}@{when}, which is older than what is kept (the oldest is {oldest})"),
            None => format!("{place}@{when}"),
        })
    })?;
    let chain = sight.chain(sql, of.id, bound)?;
    let chain = chain.ok_or_else(|| no(Errno::NoEnt, "cannot find the branch", &place))?;
    Ok(Found { bucket: (row.id, bucket), branch: (of.id, branch), chain, bound, sight })
}

impl View {
    /// Many look-ups of one commit on the calling thread, which must not be an async one.
    ///
    /// # Errors
    /// Those of `look`, of the database, and of rights that have ended.
    pub fn here<T>(&self, look: impl FnOnce(&Here<'_>) -> Result<T, FsError>) -> Result<T, FsError> {
        self.0.rights.check()?;
        self.0.tables.read_here(|sql| look(&self.of(sql)))
    }

    /// As [`Self::here`], off the async threads.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Here<'_>) -> Result<T, FsError> + Send + 'static,
    ) -> Result<T, FsError> {
        self.0.rights.check()?;
        let view = self.clone();
        self.0.tables.read(move |sql| look(&view.of(sql))).await
    }

    /// As [`Self::look`], with a second connection that sees the same, for another thread, if there is one to be had.
    pub async fn look_by_two<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Here<'_>, Option<Second>) -> Result<T, FsError> + Send + 'static,
    ) -> Result<T, FsError> {
        self.0.rights.check()?;
        let view = self.clone();
        self.0.tables.read_by_two(move |sql, second| look(&view.of(sql), second)).await
    }

    /// The entry at a path. With `follow`, what a symbolic link at its end leads to.
    pub async fn stat(&self, path: &FsPath, follow: bool) -> Result<Attributes, FsError> {
        let path = path.clone();
        self.look(move |here| here.stat(&path, follow)).await
    }

    /// At most `count` entries of a folder by the bytes of their names, after this one; a link to a folder is followed.
    pub async fn list(
        &self,
        path: &FsPath,
        after: Option<&EntryName>,
        count: usize,
        attributes: bool,
    ) -> Result<Page, FsError> {
        let (path, after) = (path.clone(), after.cloned());
        self.look(move |here| here.list(&path, after.as_ref(), count, attributes)).await
    }

    /// The target of the symbolic link at a path.
    pub async fn read_link(&self, path: &FsPath) -> Result<Box<[u8]>, FsError> {
        let path = path.clone();
        self.look(move |here| here.read_link(&path)).await
    }

    /// Fails once the rights have ended that it was made with.
    pub(crate) fn check(&self) -> Result<(), FsError> {
        Ok(self.0.rights.check()?)
    }
    /// The bucket.
    pub fn bucket(&self) -> &BucketName {
        &self.0.bucket.1
    }
    /// The branch.
    pub fn branch(&self) -> &BranchName {
        &self.0.branch.1
    }
    /// The newest commit of the bucket that is seen.
    pub fn bound(&self) -> Seq {
        self.0.bound
    }
    /// The branch with those that it was made from.
    pub fn chain(&self) -> &Chain {
        &self.0.chain
    }
    /// How far whoever holds it sees through the branch.
    pub fn sight(&self) -> &Sight {
        &self.0.sight
    }
    /// Whoever holds it.
    pub fn reader(&self) -> &Identity {
        &self.0.reader
    }
    /// The number of the bucket.
    pub fn bucket_id(&self) -> BucketId {
        self.0.bucket.0
    }
    /// The number of the branch.
    pub fn branch_id(&self) -> BranchId {
        self.0.branch.0
    }
    /// The same view through a connection that somebody else has.
    pub(crate) fn of<'a>(&'a self, sql: &'a Connection) -> Here<'a> {
        Here { sql, chain: &self.0.chain, bucket: self.0.bucket.0 }
    }
}
