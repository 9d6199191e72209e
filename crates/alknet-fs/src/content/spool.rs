//! What is being written: in memory while it is small, else in a sparse file that is hashed as it grows.

use std::{fmt, io, sync::Arc};

use bytes::Bytes;

use super::{
    Inner,
    disk::{OpenFile, read_exact_at},
    extents::Extents,
    feeder::Feeder,
    files::Files,
    folders::SpoolName,
    rehash::rehash,
    sealed::Sealed,
};
use crate::{
    error::{Errno, FsError},
    failpoints::step,
    limits::{GROUP_BYTES, MAX_CONTENT_BYTES, MAX_EXTENTS, WRITE_BEHIND_BYTES},
};

const WRITE: &str = "cannot write";
const READ: &str = "cannot read";

/// An open write. Nothing of it stays when it is dropped. Its methods wait for the disk: not for async threads.
pub struct Spool {
    content: Arc<Inner>,
    size: u64,
    body: Body,
}

enum Body {
    /// At most one group.
    Memory(Vec<u8>),
    File(Box<SpoolFile>),
}

/// After an error nobody knows what is in the file.
struct SpoolFile {
    files: Files,
    data: OpenFile,
    outboard: OpenFile,
    feeder: Feeder,
    /// The feeder was given all before here.
    fed: u64,
    /// Written beyond that.
    ahead: Extents,
    /// Whole groups that changed after the feeder was given them.
    dirty: Extents,
    /// The disk was asked to begin with all before here.
    hinted: u64,
    failed: bool,
}

impl Spool {
    pub(super) const fn new(content: Arc<Inner>) -> Self {
        Self { content, size: 0, body: Body::Memory(Vec::new()) }
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
        let end = self.end_of_write(offset, bytes.len())?;
        if let Body::Memory(held) = &mut self.body
            && end <= GROUP_BYTES
        {
            let (start, end) = (in_memory(offset), in_memory(end));
            held.resize(held.len().max(end), 0);
            held[start..end].copy_from_slice(&bytes);
        } else {
            self.on_disk(WRITE, |file| file.write_at(offset, bytes))?;
        }
        self.size = self.size.max(end);
        Ok(())
    }

    /// Cuts the content, or extends it with zeros.
    ///
    /// # Errors
    /// As [`Self::write_at`].
    pub fn set_size(&mut self, size: u64) -> Result<(), FsError> {
        self.end_of_write(size, 0)?;
        if let Body::Memory(held) = &mut self.body
            && size <= GROUP_BYTES
        {
            held.resize(in_memory(size), 0);
        } else {
            self.on_disk(WRITE, |file| file.set_size(size))?;
        }
        self.size = size;
        Ok(())
    }

    /// Reads what is there by now. Answers how much; less than asked for only at the end.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, FsError> {
        let count = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..count];
        match &self.body {
            _ if count == 0 => {}
            Body::Memory(held) => buffer.copy_from_slice(&held[in_memory(offset)..][..count]),
            Body::File(file) => {
                read_exact_at(&*file.data, buffer, offset).map_err(|error| file.failure(READ, &error))?;
            }
        }
        Ok(count)
    }

    /// Puts what was written on the disk. It is still gone when the spool is dropped, or the process ends.
    ///
    /// # Errors
    /// As [`Self::write_at`]: it is not tried again.
    pub fn sync(&mut self) -> Result<(), FsError> {
        match &self.body {
            Body::Memory(_) => Ok(()),
            Body::File(_) => self.on_disk(WRITE, |file| file.data.sync_data()),
        }
    }

    /// Ends the writing and answers the content with its hash. Nothing of it is on the disk for good yet.
    ///
    /// # Errors
    /// Fails if an earlier write did, and with the disk.
    pub fn seal(self) -> Result<Sealed, FsError> {
        match self.body {
            Body::Memory(bytes) => Ok(Sealed::inline(self.content, bytes.into())),
            Body::File(file) => {
                let name = file.files.shown();
                file.seal(self.content, self.size).map_err(|error| FsError::of_disk(WRITE, name, &error))
            }
        }
    }

    fn end_of_write(&self, offset: u64, length: usize) -> Result<u64, FsError> {
        let end = offset.checked_add(length as u64).filter(|end| *end <= MAX_CONTENT_BYTES);
        end.ok_or_else(|| FsError::At { errno: Errno::TooBig, what: WRITE, path: "content".to_owned() })
    }

    fn on_disk(
        &mut self,
        what: &'static str,
        act: impl FnOnce(&mut SpoolFile) -> io::Result<()>,
    ) -> Result<(), FsError> {
        if let Body::Memory(bytes) = &mut self.body {
            let bytes = std::mem::take(bytes).into();
            let file = SpoolFile::create(&self.content, bytes)
                .map_err(|error| FsError::of_disk("cannot make a spool file in", "spool", &error))?;
            self.body = Body::File(Box::new(file));
        }
        let Body::File(file) = &mut self.body else { return Ok(()) };
        let done = if file.failed { Err(io::Error::other("an earlier write failed")) } else { act(file) };
        file.failed |= done.is_err();
        done.map_err(|error| file.failure(what, &error))
    }
}

/// A length or offset of what is held in memory.
fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).expect("because it is at most one group")
}

impl SpoolFile {
    fn create(content: &Arc<Inner>, held: Bytes) -> io::Result<Self> {
        let name = SpoolName::random()?;
        let files = Files::new(content.clone(), content.folders.spool_file(name), content.folders.spool_outboard(name));
        let data = content.disk.create(files.data())?;
        let outboard = content.disk.create(files.outboard())?;
        step("spool.created");
        let feeder = Feeder::new(content.hashing.clone(), data.clone(), outboard.clone());
        let (ahead, dirty) = (Extents::default(), Extents::default());
        let mut file = Self { files, data, outboard, feeder, fed: 0, ahead, dirty, hinted: 0, failed: false };
        if !held.is_empty() {
            file.write_at(0, held)?;
        }
        Ok(file)
    }

    fn failure(&self, what: &'static str, error: &io::Error) -> FsError {
        FsError::of_disk(what, self.files.shown(), error)
    }

    fn write_at(&mut self, offset: u64, bytes: Bytes) -> io::Result<()> {
        self.data.write_at(&bytes, offset)?;
        step("spool.written");
        let end = offset + bytes.len() as u64;
        if offset < self.fed {
            self.changed_after_hashing(offset, end.min(self.fed));
        }
        if offset > self.fed {
            self.ahead.add(offset..end);
            if self.ahead.count() > MAX_EXTENTS {
                // What was not written yet is fed as zeros, and counts as changed when it is.
                self.ahead.join_all();
            }
        } else if end > self.fed {
            let known = usize::try_from(self.fed - offset).expect("because it lies within the bytes");
            self.feeder.bytes(bytes.slice(known..));
            self.fed = end;
            if let Some(until) = self.ahead.end_of(end) {
                self.feeder.read(end..until);
                self.fed = until;
            }
            self.ahead.cut_before(self.fed);
            self.write_behind();
        }
        Ok(())
    }

    /// Lets the disk begin with what is not likely to change again, so that little is left when it must be there.
    fn write_behind(&mut self) {
        if self.fed - self.hinted >= WRITE_BEHIND_BYTES {
            self.data.hint_written(self.hinted..self.fed);
            self.hinted = self.fed;
        }
    }

    fn changed_after_hashing(&mut self, start: u64, end: u64) {
        self.dirty.add(start / GROUP_BYTES * GROUP_BYTES..end.next_multiple_of(GROUP_BYTES));
        if self.dirty.count() > MAX_EXTENTS {
            self.dirty.join_all();
        }
    }

    fn set_size(&mut self, size: u64) -> io::Result<()> {
        self.data.set_size(size)?;
        self.ahead.cut(size);
        if size < self.fed {
            self.changed_after_hashing(size, self.fed);
        }
        Ok(())
    }

    fn seal(self, content: Arc<Inner>, size: u64) -> io::Result<Sealed> {
        if self.failed {
            return Err(io::Error::other("an earlier write failed"));
        }
        if size <= GROUP_BYTES {
            let mut bytes = vec![0; in_memory(size)];
            read_exact_at(&*self.data, &mut bytes, 0)?;
            return Ok(Sealed::inline(content, bytes.into()));
        }
        let Self { files, data, outboard, feeder, fed, dirty, .. } = self;
        if fed < size {
            feeder.read(fed..size);
        }
        let hashed = fed.max(size);
        let mut hash = feeder.finish()?;
        if hashed != size || !dirty.is_empty() {
            hash = rehash(&*data, &*outboard, hashed, size, &dirty)?;
        }
        step("outboard.written");
        Ok(Sealed::files(hash, size, files, data, outboard))
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").field("size", &self.size).finish_non_exhaustive()
    }
}
