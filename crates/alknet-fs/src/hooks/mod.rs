//! Hooks: a web server or a queue is told of each commit that changed what it asked for.
//!
//! A hook stands at a commit of its bucket and goes on from there, in order, whatever happens to the node meanwhile: into a queue
//! each commit comes exactly once, to a web server at least once. How something is posted is not for this crate: a [`Courier`] does it.

mod courier;
mod keeper;
mod letter;
mod rights;
mod turn;

use alknet_core::Permit;
use alknet_store::{Durability, Noted};
use rusqlite::Connection;

pub use courier::{Courier, Letter, PostError};
pub(crate) use keeper::keep;
pub(crate) use rights::{credential_resource, credential_rule, queue_resource, queue_rule};

use crate::{
    access::{Pass, Place, Right},
    error::{Errno, FsError},
    events::{PathFilter, WatchError, position},
    ids::Seq,
    limits::{MAX_BUCKET_HOOKS, MAX_HOOKS},
    name::{BranchName, BucketName, HookName},
    rows::{
        branch, bucket,
        hook::{self, HookRow, NewHook, Target},
    },
    tree::Tree,
};

/// The hooks of all buckets.
#[derive(Clone)]
pub struct Hooks(Tree);

/// A hook to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name, once in the bucket.
    pub name: HookName,
    /// Which paths it is told of.
    pub filter: PathFilter,
    /// Where it tells.
    pub target: Target,
    /// After which commit it begins; `None`: with what comes from now on.
    pub after: Option<Seq>,
}

/// A hook as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The branch that it is told of.
    pub branch: BranchName,
    /// The rest.
    pub row: HookRow,
    /// The bucket's newest commit.
    pub head: Seq,
}

impl Hooks {
    /// Those of these trees.
    pub const fn new(tree: Tree) -> Self {
        Self(tree)
    }

    /// Makes a hook on behalf of the permit's holder, with a permit to read the branch.
    ///
    /// # Errors
    /// Fails when the name is taken, when there are too many, when there is no such branch, and when the commits that it would begin
    /// with are not kept or not yet there.
    pub async fn create(
        &self,
        (permit, read): (&Permit, &Permit),
        (bucket, branch): (&BucketName, &BranchName),
        wanted: Wanted,
    ) -> Result<Hook, FsError> {
        let pass = Pass::of(permit, Right::Admin, Place { bucket, branch: None })?;
        let reader = Pass::of(read, Right::Read, Place { bucket, branch: Some(branch) })?;
        let (bucket, branch, maker) = (bucket.clone(), branch.clone(), reader.actor().to_string());
        let make = move |sql: &Connection, _: &mut Noted<'_>| {
            let no = |errno| refused(errno, "cannot make the hook", &bucket, &wanted.name);
            let row = bucket::find(sql, &bucket)?.ok_or_else(|| no(Errno::NoEnt))?;
            let of = branch::find(sql, row.id, &branch)?.ok_or_else(|| FsError::At {
                errno: Errno::NoEnt,
                what: "cannot tell of the branch",
                path: format!("{bucket}:{branch}"),
            })?;
            if hook::find(sql, row.id, &wanted.name)?.is_some() {
                return Err(no(Errno::Exist));
            }
            if hook::count(sql, Some(row.id))? >= MAX_BUCKET_HOOKS || hook::count(sql, None)? >= MAX_HOOKS {
                return Err(no(Errno::TooMany));
            }
            let after = match position(sql, of.id, wanted.after) {
                Ok(after) => after,
                Err(WatchError::Store(error)) => return Err(error.into()),
                Err(WatchError::Another { .. }) => return Err(no(Errno::Stale)),
                Err(WatchError::Ahead { .. } | WatchError::Trimmed { .. } | WatchError::Removed) => {
                    return Err(no(Errno::Inval));
                }
            };
            let PathFilter { prefix, suffix } = wanted.filter;
            let (name, target) = (wanted.name, wanted.target);
            let new = NewHook { bucket: row.id, branch: of.id, name, prefix, suffix, target, maker, after };
            let id = hook::insert(sql, &new)?;
            let made = HookRow { id, hook: new, attempts: 0, next_ms: None, error: None };
            Ok(Hook { branch: of.name, row: made, head: row.head })
        };
        self.0.tables().change(pass.rights(), Durability::Strict, make).await
    }

    /// The hooks of a bucket, by name.
    pub async fn list(&self, permit: &Permit, bucket: &BucketName) -> Result<Vec<Hook>, FsError> {
        let pass = Pass::of(permit, Right::Admin, Place { bucket, branch: None })?;
        pass.rights().check()?;
        let bucket = bucket.clone();
        let list = move |sql: &Connection| {
            let missing = || FsError::At {
                errno: Errno::NoEnt,
                what: "cannot list the hooks of the bucket",
                path: bucket.to_string(),
            };
            let of = bucket::find(sql, &bucket)?.ok_or_else(missing)?;
            let mut found = Vec::new();
            for row in hook::list(sql, of.id)? {
                let branch = branch::get(sql, row.hook.branch)?;
                found.extend(branch.map(|branch| Hook { branch: branch.name, row, head: of.head }));
            }
            Ok(found)
        };
        self.0.tables().read(list).await
    }

    /// Removes a hook. What is under way to a web server may still arrive.
    pub async fn remove(&self, permit: &Permit, bucket: &BucketName, name: &HookName) -> Result<(), FsError> {
        self.with(permit, (bucket, name), "cannot remove the hook", |sql, row| Ok(hook::remove(sql, row.id)?)).await
    }

    /// Has a hook that failed, or is paused, tried again at once.
    pub async fn resume(&self, permit: &Permit, bucket: &BucketName, name: &HookName) -> Result<(), FsError> {
        self.with(permit, (bucket, name), "cannot resume the hook", |sql, row| Ok(hook::resume(sql, row.id)?)).await
    }

    async fn with(
        &self,
        permit: &Permit,
        (bucket, name): (&BucketName, &HookName),
        what: &'static str,
        body: impl FnOnce(&Connection, &HookRow) -> Result<(), FsError> + Send + 'static,
    ) -> Result<(), FsError> {
        let pass = Pass::of(permit, Right::Admin, Place { bucket, branch: None })?;
        let (bucket, name) = (bucket.clone(), name.clone());
        let change = move |sql: &Connection, _: &mut Noted<'_>| {
            let of = bucket::find(sql, &bucket)?;
            let row = of.map(|of| hook::find(sql, of.id, &name)).transpose()?.flatten();
            body(sql, &row.ok_or_else(|| refused(Errno::NoEnt, what, &bucket, &name))?)
        };
        self.0.tables().change(pass.rights(), Durability::Strict, change).await
    }
}

fn refused(errno: Errno, what: &'static str, bucket: &BucketName, name: &HookName) -> FsError {
    FsError::At { errno, what, path: format!("{name} of {bucket}") }
}
