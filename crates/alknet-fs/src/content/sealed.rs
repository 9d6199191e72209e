//! Content that is whole and has its hash, but is not yet in its place.

use std::fmt;

use bytes::Bytes;

use super::{disk::OpenFile, files::Files, folders::BlobName, placed::Placed};
use crate::{error::FsError, failpoints::step, hash::ContentHash, limits::GROUP_BYTES};

/// Nothing of it stays when it is dropped.
pub struct Sealed {
    hash: ContentHash,
    size: u64,
    body: Body,
}

enum Body {
    Inline(Bytes),
    Files { files: Files, data: OpenFile, outboard: OpenFile },
}

impl Sealed {
    pub(super) fn inline(bytes: Bytes) -> Self {
        debug_assert!(bytes.len() as u64 <= GROUP_BYTES);
        Self { hash: ContentHash::of(&bytes), size: bytes.len() as u64, body: Body::Inline(bytes) }
    }
    pub(super) const fn files(hash: ContentHash, size: u64, files: Files, data: OpenFile, outboard: OpenFile) -> Self {
        Self { hash, size, body: Body::Files { files, data, outboard } }
    }

    /// Its hash.
    pub const fn hash(&self) -> ContentHash {
        self.hash
    }
    /// Its length, in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Puts it on the disk for good: first the bytes, then the names. Waits for the disk: not for async threads.
    pub(super) fn place(self) -> Result<Placed, FsError> {
        let Self { hash, size, body } = self;
        match body {
            Body::Inline(bytes) => Ok(Placed::held(hash, bytes)),
            Body::Files { mut files, data, outboard } => {
                let shown = files.shown();
                let generation = place(&mut files, hash, &data, &outboard)
                    .map_err(|error| FsError::of_disk("cannot store", shown, &error))?;
                Ok(Placed::whole(hash, size, generation, files))
            }
        }
    }
}

/// The order is that of `docs/spec/fs-content.md`, BLOB-10. An error leaves nothing behind: `files` knows the names.
fn place(files: &mut Files, hash: ContentHash, data: &OpenFile, outboard: &OpenFile) -> std::io::Result<u64> {
    let content = files.content().clone();
    data.seal()?;
    outboard.seal()?;
    // What the disk has begun with when it makes the bytes durable is in the same commit of its own; its sync then finds it done.
    outboard.hint_written(0..outboard.size()?);
    data.sync_data()?;
    step("spool.synced");
    outboard.sync_data()?;
    step("outboard.synced");
    let name = BlobName { hash, generation: content.generations.next()? };
    let is_new = content.folders.make_shard(&*content.disk, name.first())?;
    files.rename_outboard(content.folders.blob_outboard(name))?;
    step("outboard.renamed");
    files.rename_data(content.folders.blob(name))?;
    step("blob.renamed");
    if is_new {
        content.disk.sync_folder(&content.folders.blobs())?;
        content.folders.shard_is_synced(name.first());
    }
    content.syncer.sync(&*content.disk, &content.folders, name.first())?;
    step("folder.synced");
    Ok(name.generation)
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").field("hash", &self.hash).field("size", &self.size).finish_non_exhaustive()
    }
}
