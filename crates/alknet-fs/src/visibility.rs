//! Whether content exists for somebody: a hash is no capability.
//!
//! For a caller a hash exists when a branch that he may read refers to it, now or in its history, itself or through the branches that
//! it was made from, as far as he sees them. Every other hash is answered like one that nobody ever stored.

use alknet_core::Caller;
use rusqlite::Connection;

use crate::{
    access::{Access, Pass, Place, Right},
    content::BlobReader,
    error::{Errno, FsError},
    file_system::FileSystem,
    hash::ContentHash,
    ids::{BlobId, BranchId, BucketId, Ino, Seq},
    limits::{MAX_ASKED_STEPS, MAX_VISIBILITY_STEPS},
    name::{BranchName, BucketName},
    rows::{
        blob::{self, BlobRow},
        branch::{self, BranchRow, Mode},
        inode,
    },
    sight::Sight,
};

/// Content that exists for somebody, and a place where it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visible {
    /// The content.
    pub blob: BlobRow,
    /// A bucket that has it.
    pub bucket: BucketName,
    /// A branch that may be read and shows it.
    pub branch: BranchName,
}

/// The stored content of a hash, if it exists for whom `may_read` speaks: in one bucket, or in any.
pub fn visible(
    sql: &Connection,
    hash: &ContentHash,
    within: Option<BucketId>,
    may_read: impl Fn(Place<'_>) -> bool,
) -> rusqlite::Result<Option<Visible>> {
    // What of damaged content is whole can be read.
    let blob = blob::kept(sql, hash, 1)?.pop();
    Search { sql, may_read, blob: BlobId(0), steps: 0, most: MAX_VISIBILITY_STEPS }.find(blob, within)
}

/// As [`visible`] in one bucket, for one of many hashes that are asked for together: `steps` counts those of all of them, and beyond
/// [`MAX_ASKED_STEPS`] none exists.
pub(crate) fn visible_among(
    sql: &Connection,
    hash: &ContentHash,
    within: BucketId,
    may_read: impl Fn(Place<'_>) -> bool,
    steps: &mut usize,
) -> rusqlite::Result<Option<Visible>> {
    let mut search = Search { sql, may_read, blob: BlobId(0), steps: *steps, most: MAX_ASKED_STEPS };
    let found = search.find(blob::live(sql, hash)?, Some(within));
    *steps = search.steps;
    found
}

struct Search<'a, F> {
    sql: &'a Connection,
    may_read: F,
    blob: BlobId,
    steps: usize,
    most: usize,
}

impl<F: Fn(Place<'_>) -> bool> Search<'_, F> {
    fn find(&mut self, blob: Option<BlobRow>, within: Option<BucketId>) -> rusqlite::Result<Option<Visible>> {
        // The answer is the same for what nobody stored and for what others did; how long it takes is not.
        self.blob = blob.as_ref().map_or(BlobId(0), |blob| blob.id);
        for (_, bucket, holder) in blob::holders(self.sql, self.blob, within)? {
            if let Some(branch) = self.reading(&bucket, holder)? {
                return Ok(blob.map(|blob| Visible { blob, bucket, branch }));
            }
        }
        Ok(None)
    }

    /// A branch that may be read: the one whose rows refer to the content, or one made from it that shows such a row.
    fn reading(&mut self, bucket: &BucketName, holder: BranchId) -> rusqlite::Result<Option<BranchName>> {
        // Each branch with the newest of the holder's commits that it may show.
        let mut open: Vec<_> = branch::get(self.sql, holder)?.map(|row| (row, Seq::MAX)).into_iter().collect();
        while let Some((row, bound)) = open.pop() {
            self.steps += 1;
            if self.steps > self.most {
                return Ok(None);
            }
            let is_readable = !row.hidden && (self.may_read)(Place { bucket, branch: Some(&row.name) });
            if is_readable && self.shows(bucket, &row, holder, bound)? {
                return Ok(Some(row.name));
            }
            for child in branch::children(self.sql, row.id)? {
                let pinned = child.fork.filter(|fork| fork.mode == Mode::Pinned);
                let shown = pinned.map_or(bound, |fork| bound.min(fork.at));
                open.push((child, shown));
            }
        }
        Ok(None)
    }

    /// Whether a branch shows, at any of its versions that are shown, a row of the holder's that refers to the content.
    fn shows(
        &mut self,
        bucket: &BucketName,
        branch: &BranchRow,
        holder: BranchId,
        bound: Seq,
    ) -> rusqlite::Result<bool> {
        let sight = Sight::of(self.sql, bucket, branch, &self.may_read)?;
        if branch.id == holder && sight == Sight::default() {
            return Ok(true);
        }
        for (ino, seq) in inode::holding(self.sql, holder, self.blob, bound, MAX_VISIBILITY_STEPS)? {
            self.steps += 1;
            let is_own = branch.id == holder && seq > sight.oldest();
            if is_own || self.is_shown((branch.id, seq.max(sight.oldest())), &sight, ino)? {
                return Ok(true);
            }
            if self.steps > self.most {
                break;
            }
        }
        Ok(false)
    }
}

impl<F> Search<'_, F> {
    /// Whether a file of that content has a name in a version.
    fn is_shown(&self, (branch, seq): (BranchId, Seq), sight: &Sight, ino: Ino) -> rusqlite::Result<bool> {
        let Some(chain) = sight.chain(self.sql, branch, seq)? else { return Ok(false) };
        let shown = chain.inode(self.sql, ino)?.is_some_and(|shown| shown.blob == Some(self.blob));
        Ok(shown && !chain.places(self.sql, ino)?.is_empty())
    }
}

impl FileSystem {
    /// Opens the content of a hash for a caller, if it exists for him; `operation` is what the audit calls this.
    ///
    /// # Errors
    /// Fails when the content is damaged, and with the database.
    pub async fn content_for(
        &self,
        caller: &Caller,
        operation: &str,
        hash: ContentHash,
    ) -> Result<Option<BlobReader>, FsError> {
        let identity = caller.identity.clone();
        let search = move |sql: &Connection| -> Result<_, FsError> {
            Ok(visible(sql, &hash, None, |place| Access::sees(identity.as_deref(), place))?)
        };
        let Some(found) = self.tree().tables().read(search).await? else { return Ok(None) };
        let place = Place { bucket: &found.bucket, branch: Some(&found.branch) };
        // Rights that ended since the search are as good as none.
        let Ok(permit) = self.access().permit(caller, operation, Right::Read, place) else { return Ok(None) };
        Pass::of(&permit, Right::Read, place)?;
        match self.content().reader(found.blob.id, hash.to_string()).await {
            Err(FsError::At { errno: Errno::Stale, .. }) => Ok(None),
            opened => opened.map(Some),
        }
    }
}
