//! What is being written: in memory while it is small, else in a sparse file.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use super::{Inner, reader::BlobReader, sealed::Sealed, spool_file::SpoolFile};
use crate::{
    error::{Errno, FsError},
    limits::{GROUP_BYTES, MAX_CONTENT_BYTES},
    rows::upload::UploadId,
};

const WRITE: &str = "cannot write";

/// An open write. Nothing of it stays when it is dropped, but the content of an upload that was not sealed. Its methods wait for the disk: not for async threads.
pub struct Spool {
    content: Arc<Inner>,
    size: u64,
    body: Body,
}

enum Body {
    /// At most one group.
    Memory(Vec<u8>),
    /// Content that was not touched yet.
    Base(BlobReader),
    File(Box<SpoolFile>),
}

impl Spool {
    pub(super) const fn new(content: Arc<Inner>) -> Self {
        Self { content, size: 0, body: Body::Memory(Vec::new()) }
    }
    pub(super) fn over(content: Arc<Inner>, base: BlobReader) -> Self {
        let size = base.size();
        let body = base.inline().map(|bytes| Body::Memory(bytes.to_vec()));
        Self { content, size, body: body.unwrap_or(Body::Base(base)) }
    }

    pub(super) fn upload(content: Arc<Inner>, id: UploadId) -> Result<Self, FsError> {
        let (file, size) = SpoolFile::upload(&content, id)?;
        Ok(Self { content, size, body: Body::File(Box::new(file)) })
    }

    /// Lets go of it; of an upload, too, nothing stays.
    pub fn give_up(mut self) {
        if let Body::File(file) = &mut self.body {
            file.give_up();
        }
    }

    /// How long the content is by now, in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Writes these bytes; what lies between the end and `offset` becomes zeros.
    ///
    /// # Errors
    /// After any but [`Errno::TooBig`] the spool is of no use any more.
    pub fn write_at(&mut self, offset: u64, bytes: Bytes) -> Result<(), FsError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let end = end_of_write(offset, bytes.len())?;
        if let Body::Memory(held) = &mut self.body
            && end <= GROUP_BYTES
        {
            let (start, end) = (in_memory(offset), in_memory(end));
            held.resize(held.len().max(end), 0);
            held[start..end].copy_from_slice(&bytes);
        } else {
            self.file()?.write_at(offset, bytes)?;
        }
        self.size = self.size.max(end);
        Ok(())
    }

    /// Cuts the content, or extends it with zeros.
    ///
    /// # Errors
    /// As [`Self::write_at`].
    pub fn set_size(&mut self, size: u64) -> Result<(), FsError> {
        end_of_write(size, 0)?;
        if let Body::Memory(held) = &mut self.body
            && size <= GROUP_BYTES
        {
            held.resize(in_memory(size), 0);
        } else {
            self.file()?.set_size(size)?;
        }
        self.size = size;
        Ok(())
    }

    /// Reads what is there by now. Answers how much; less than asked for only at the end.
    ///
    /// # Errors
    /// Fails with the disk, and where what lies below is damaged.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, FsError> {
        let count = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..count];
        match &self.body {
            _ if count == 0 => {}
            Body::Memory(held) => buffer.copy_from_slice(&held[in_memory(offset)..][..count]),
            Body::Base(base) => return base.read_here(offset, buffer),
            Body::File(file) => file.read_at(offset, buffer)?,
        }
        Ok(count)
    }

    /// Puts what was written on the disk. It is still gone when the spool is dropped, or the process ends.
    ///
    /// # Errors
    /// As [`Self::write_at`]: it is not tried again.
    pub fn sync(&mut self) -> Result<(), FsError> {
        match &mut self.body {
            Body::Memory(_) | Body::Base(_) => Ok(()),
            Body::File(file) => file.sync(),
        }
    }

    /// Ends the writing and answers the content with its hash. Nothing of it is on the disk for good yet.
    ///
    /// # Errors
    /// Fails if an earlier write did, with the disk, and where what lies below and is needed is damaged.
    pub fn seal(mut self) -> Result<Sealed, FsError> {
        if matches!(self.body, Body::Base(_)) {
            self.file()?;
        }
        match self.body {
            Body::Memory(bytes) => Ok(Sealed::inline(bytes.into())),
            Body::File(file) => file.seal(self.size),
            Body::Base(_) => unreachable!("it became a file"),
        }
    }

    /// The file, which is made if there is none.
    fn file(&mut self) -> Result<&mut SpoolFile, FsError> {
        let made = match &mut self.body {
            Body::Memory(bytes) => Some(SpoolFile::create(&self.content, std::mem::take(bytes).into())?),
            Body::Base(base) => Some(SpoolFile::over(&self.content, base.clone())?),
            Body::File(_) => None,
        };
        if let Some(made) = made {
            self.body = Body::File(Box::new(made));
        }
        match &mut self.body {
            Body::File(file) => Ok(file),
            Body::Memory(_) | Body::Base(_) => unreachable!("it became a file"),
        }
    }
}

fn end_of_write(offset: u64, length: usize) -> Result<u64, FsError> {
    let end = offset.checked_add(length as u64).filter(|end| *end <= MAX_CONTENT_BYTES);
    end.ok_or_else(|| FsError::At { errno: Errno::TooBig, what: WRITE, path: "content".to_owned() })
}

/// A length or offset of what is held in memory.
fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).expect("because it is at most one group")
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").field("size", &self.size).finish_non_exhaustive()
    }
}
