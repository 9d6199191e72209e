//! Content that is on the disk for good, and may be named by a row.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use alknet_store::StoreError;
use bytes::Bytes;
use rusqlite::Connection;

use super::files::Files;
use crate::{
    error::FsError,
    failpoints::step,
    hash::ContentHash,
    ids::BlobId,
    limits::GROUP_BYTES,
    rows::blob::{self, NewBlob},
};

/// It is linked in the transaction that names it. If nothing came to name its file, the file goes with the last clone of this.
#[derive(Clone)]
pub struct Placed {
    hash: ContentHash,
    size: u64,
    body: Body,
}

#[derive(Clone)]
enum Body {
    Held(Bytes),
    Whole(Arc<Whole>),
}

struct Whole {
    generation: u64,
    /// A row with this generation was written, by a change that may have been kept.
    named: AtomicBool,
    /// How often it was linked.
    links: AtomicUsize,
    /// Until it is settled.
    files: Mutex<Option<Files>>,
}

impl Placed {
    /// Content that is kept in the database; `None` if it is longer than [`GROUP_BYTES`].
    pub fn inline(bytes: impl Into<Bytes>) -> Option<Self> {
        let bytes = bytes.into();
        (bytes.len() as u64 <= GROUP_BYTES).then(|| Self::held(ContentHash::of(&bytes), bytes))
    }
    pub(super) const fn held(hash: ContentHash, bytes: Bytes) -> Self {
        Self { hash, size: bytes.len() as u64, body: Body::Held(bytes) }
    }
    pub(super) fn whole(hash: ContentHash, size: u64, generation: u64, files: Files) -> Self {
        let whole = Whole {
            generation,
            named: AtomicBool::default(),
            links: AtomicUsize::default(),
            files: Mutex::new(Some(files)),
        };
        Self { hash, size, body: Body::Whole(Arc::new(whole)) }
    }

    /// Its hash.
    pub const fn hash(&self) -> ContentHash {
        self.hash
    }
    /// Its length, in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The row of this content, within a change: the live one of its hash, else a new one that names what was placed. The caller
    /// refers to it with [`crate::rows::inode::write`] in the same change; it is the caller, too, who says with
    /// [`Self::settle`] what became of the change. `None`: it is empty, and has no row.
    pub fn link(&self, sql: &Connection, now_ms: u64) -> rusqlite::Result<Option<BlobId>> {
        if self.size == 0 {
            return Ok(None);
        }
        if let Body::Whole(whole) = &self.body {
            whole.links.fetch_add(1, Ordering::AcqRel);
        }
        let (live, free) = blob::live_or_free(sql, &self.hash)?;
        if live.is_some() {
            return Ok(live);
        }
        let (generation, bytes) = match &self.body {
            Body::Held(bytes) => (free, Some(&**bytes)),
            Body::Whole(whole) => {
                whole.named.store(true, Ordering::Release);
                (whole.generation, None)
            }
        };
        let new = NewBlob { hash: self.hash, generation, size: self.size, bytes };
        blob::insert(sql, &new, now_ms).map(Some)
    }

    /// Says what became of the change that linked it. Without this a file that no row names may stay until the next start.
    pub fn settle<T>(&self, outcome: &Result<T, FsError>) {
        let Body::Whole(whole) = &self.body else { return };
        // Of a change whose end is not known the row may be found in the log after a crash; of several changes one may be kept.
        // Of one that was handed in, and never answered because the database closed, neither.
        let is_open = |error: &FsError| matches!(error, FsError::Store(StoreError::Unknown(_) | StoreError::Closed));
        let is_undone = outcome.as_ref().is_err_and(|error| !is_open(error));
        if is_undone && whole.links.load(Ordering::Acquire) == 1 {
            whole.named.store(false, Ordering::Release);
        }
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        let files = self.files.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut files) = files else { return };
        if *self.named.get_mut() {
            files.keep();
        } else {
            drop(files);
            step("spare.unlinked");
        }
    }
}

impl fmt::Debug for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Placed").field("hash", &self.hash).field("size", &self.size).finish_non_exhaustive()
    }
}
