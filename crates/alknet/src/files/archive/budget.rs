//! How much an archive may unfold to.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::ArchiveError;
use crate::files::limits::{MAX_ARCHIVE_ENTRIES, MAX_UNFOLDED_BYTES_ANYWAY, MAX_UNFOLDED_RATIO};

/// Counts the bytes of an archive as they are read.
pub(super) struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R> Counted<R> {
    pub(super) fn new(inner: R) -> (Self, Arc<AtomicU64>) {
        let read = Arc::new(AtomicU64::new(0));
        (Self { inner, read: read.clone() }, read)
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// What is left to unfold.
pub(super) struct Budget {
    /// Bytes of the archive itself: all of them, or those that were read so far.
    folded: Arc<AtomicU64>,
    unfolded: u64,
    entries: u64,
    /// Bytes that may come in any case.
    pub(super) anyway: u64,
}

impl Budget {
    pub(super) fn new(folded: Arc<AtomicU64>) -> Self {
        Self { folded, unfolded: 0, entries: 0, anyway: MAX_UNFOLDED_BYTES_ANYWAY }
    }

    pub(super) fn entry(&mut self) -> Result<(), ArchiveError> {
        self.entries += 1;
        if self.entries > MAX_ARCHIVE_ENTRIES { Err(ArchiveError::TooMany) } else { Ok(()) }
    }

    /// Counts bytes that were made in memory without being read.
    pub(super) fn made(&mut self, bytes: u64) -> Result<(), ArchiveError> {
        self.unfolded = self.unfolded.saturating_add(bytes);
        if self.exceeded() { Err(ArchiveError::Bomb) } else { Ok(()) }
    }

    fn exceeded(&self) -> bool {
        let most = self.folded.load(Ordering::Relaxed).saturating_mul(MAX_UNFOLDED_RATIO);
        self.unfolded > most.max(self.anyway)
    }

    /// Counts what is read through it.
    pub(super) fn reading<'a, R: Read>(&'a mut self, inner: R) -> Reading<'a, R> {
        Reading { budget: self, inner }
    }
}

/// A reader of unfolded bytes, which fails once there are too many.
pub(super) struct Reading<'a, R> {
    budget: &'a mut Budget,
    inner: R,
}

/// What the reader fails with.
#[derive(Debug, thiserror::Error)]
#[error("too many bytes")]
pub(super) struct TooManyBytes;

impl<R: Read> Read for Reading<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf)?;
        self.budget.unfolded += read as u64;
        if self.budget.exceeded() { Err(io::Error::other(TooManyBytes)) } else { Ok(read) }
    }
}

/// Says [`ArchiveError::Bomb`] where a reader of the budget failed.
pub(super) fn tell_bomb(error: ArchiveError) -> ArchiveError {
    let (ArchiveError::Disk { source, .. } | ArchiveError::Content { source, .. }) = &error else { return error };
    let bomb = source.get_ref().is_some_and(|cause| cause.is::<TooManyBytes>());
    if bomb { ArchiveError::Bomb } else { error }
}
