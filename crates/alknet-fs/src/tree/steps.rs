//! Removing and copying of any size: in steps that are commits of their own, so that nobody who writes waits long for their turn.

use alknet_core::Permit;

use super::{Tree, Txn, View, copying::Copying, emptying::Emptying, resolve::Last, stop::Stop, txn::Committed};
use crate::{
    access::{Pass, Place, Right},
    error::{Errno, FsError},
    ids::{Ino, Seq},
    limits::ENTRIES_PER_STEP,
    name::{BranchName, BucketName},
    path::FsPath,
    rows::Kind,
};

/// A change that was made in one commit or in several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// The last of them.
    pub last: Committed,
    /// How many there are.
    pub commits: u32,
}

impl Tree {
    /// Removes what is at a path, with all that is in it. Up to [`ENTRIES_PER_STEP`] names go in one commit; more in steps of so many,
    /// what lies deeper first, and what others put there meanwhile goes too. A dropped future, an error or a crash leaves what is not
    /// removed yet where it is: asking again goes on.
    ///
    /// # Errors
    /// Fails with [`Errno::Stale`] when the folder was replaced or moved meanwhile.
    pub async fn remove_all(
        &self,
        permit: &Permit,
        (bucket, branch): (&BucketName, &BranchName),
        at: FsPath,
    ) -> Result<Steps, FsError> {
        self.step_by_step(permit, (bucket, branch), Removing { at, begun: None }).await
    }

    /// Copies what a view shows, with all that is below it: content is shared, not read. Up to [`ENTRIES_PER_STEP`] entries come in one
    /// commit; more in steps of so many, so that the copy grows. What an error or a crash leaves of it stays.
    ///
    /// # Errors
    /// Fails with [`Errno::Stale`] when the copy was removed while it grew, and as [`Change::Clone`](super::Change::Clone) does.
    pub async fn copy_all(
        &self,
        permit: &Permit,
        (bucket, branch): (&BucketName, &BranchName),
        (from, path): (View, FsPath),
        to: FsPath,
    ) -> Result<Steps, FsError> {
        self.step_by_step(permit, (bucket, branch), Cloning { from, path, to, begun: None }).await
    }

    async fn step_by_step(
        &self,
        permit: &Permit,
        (bucket, branch): (&BucketName, &BranchName),
        mut work: impl Work,
    ) -> Result<Steps, FsError> {
        let pass = Pass::of(permit, Right::Write, Place { bucket, branch: Some(branch) })?;
        let (mut commits, mut since) = (0, Seq::ZERO);
        loop {
            let step = move |txn: &mut Txn<'_>| {
                let is_done = work.step(txn, since)?;
                Ok((work, is_done))
            };
            let (last, (rest, is_done)) = self.transact(&pass, permit.action(), (bucket, branch), None, step).await?;
            commits += 1;
            if is_done {
                return Ok(Steps { last, commits });
            }
            (work, since) = (rest, last.seq);
        }
    }
}

/// Work that is done in steps.
trait Work: Sized + Send + 'static {
    /// Does a part of it; `since` is the commit of the part before. Answers whether that was the last.
    fn step(&mut self, txn: &mut Txn<'_>, since: Seq) -> Result<bool, FsError>;
}

struct Removing {
    at: FsPath,
    begun: Option<(Ino, Emptying)>,
}

impl Work for Removing {
    fn step(&mut self, txn: &mut Txn<'_>, since: Seq) -> Result<bool, FsError> {
        let removed = self.remove(txn, since);
        removed.map_err(|stop| stop.at("cannot remove", &self.at))
    }
}

impl Removing {
    fn remove(&mut self, txn: &mut Txn<'_>, since: Seq) -> Result<bool, Stop> {
        let spot = txn.resolve(&self.at, Last::Keep);
        let is_gone = matches!(&spot, Err(Stop::No(Errno::NoEnt)) | Ok(super::resolve::Spot { found: None, .. }));
        if is_gone && self.begun.is_some() {
            // Somebody else has removed the rest.
            return Ok(true);
        }
        let spot = spot?;
        let (dir, found) = (spot.dir()?, spot.found.ok_or(Errno::NoEnt)?);
        match &mut self.begun {
            Some((folder, _)) if *folder != found.ino => return Err(Errno::Stale.into()),
            Some((_, emptying)) => emptying.resume(txn, since)?,
            None if found.kind != Kind::Folder => {
                txn.take(dir, &found)?;
                return Ok(true);
            }
            None => {}
        }
        let (_, emptying) = self.begun.get_or_insert_with(|| (found.ino, Emptying::new(found.ino)));
        let is_empty = emptying.go_on(txn, ENTRIES_PER_STEP)?;
        if is_empty {
            txn.is_empty(found.ino)?;
            txn.take(dir, &found)?;
        }
        Ok(is_empty)
    }
}

struct Cloning {
    from: View,
    path: FsPath,
    to: FsPath,
    begun: Option<Copying>,
}

impl Work for Cloning {
    fn step(&mut self, txn: &mut Txn<'_>, _since: Seq) -> Result<bool, FsError> {
        let what = if self.begun.is_some() { "cannot copy the rest of" } else { "cannot copy" };
        let copied = self.copy(txn);
        copied.map_err(|stop| stop.at_both(what, &self.path, &self.to))
    }
}

impl Cloning {
    fn copy(&mut self, txn: &mut Txn<'_>) -> Result<bool, Stop> {
        let mut copying = match self.begun.take() {
            Some(mut copying) => {
                copying.resume(txn)?;
                copying
            }
            None => txn.begin_copy(&self.from, &self.path, &self.to)?,
        };
        let is_done = copying.go_on(txn, ENTRIES_PER_STEP)?;
        self.begun = Some(copying);
        Ok(is_done)
    }
}
