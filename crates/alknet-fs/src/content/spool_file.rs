//! A spool that is a file: hashed while it grows, or laid over content whose hash tree it takes along.

use std::{io, sync::Arc};

use bytes::Bytes;

use super::{
    Inner,
    disk::{DiskFile, OpenFile, read_exact_at},
    extents::Extents,
    feeder::Feeder,
    files::Files,
    folders::SpoolName,
    over::Over,
    reader::BlobReader,
    rehash::rehash,
    sealed::Sealed,
};
use crate::{
    error::FsError,
    failpoints::step,
    hash::ContentHash,
    limits::{GROUP_BYTES, MAX_EXTENTS, WRITE_BEHIND_BYTES},
    rows::upload::UploadId,
};

const WRITE: &str = "cannot write";

/// After an error nobody knows what is in it.
pub(super) struct SpoolFile {
    files: Files,
    data: OpenFile,
    outboard: OpenFile,
    origin: Origin,
    /// Whole groups that are not what the outboard says.
    changed: Extents,
    failed: bool,
}

enum Origin {
    New(New),
    Over(Over),
}

/// Something new, hashed from its beginning on.
struct New {
    feeder: Feeder,
    /// The feeder was given all before here.
    fed: u64,
    /// Written beyond that.
    ahead: Extents,
    /// The disk was asked to begin with all before here.
    hinted: u64,
}

impl SpoolFile {
    /// With what was written so far.
    pub fn create(content: &Arc<Inner>, held: Bytes) -> Result<Self, FsError> {
        Self::make(content, |data, outboard| {
            let feeder = Feeder::new(content.hashing.clone(), data.clone(), outboard.clone());
            let mut new = New { feeder, fed: 0, ahead: Extents::default(), hinted: 0 };
            if !held.is_empty() {
                data.write_at(&held, 0)?;
                new.take(&**data, 0, held);
            }
            Ok(Origin::New(new))
        })
    }

    /// Content of more than one group.
    pub fn over(content: &Arc<Inner>, base: BlobReader) -> Result<Self, FsError> {
        Self::make(content, |data, _| Ok(Origin::Over(Over::begin(base, &**data)?)))
    }

    fn make(
        content: &Arc<Inner>,
        begin: impl FnOnce(&OpenFile, &OpenFile) -> io::Result<Origin>,
    ) -> Result<Self, FsError> {
        let make = || {
            let files = files(content, SpoolName::random()?);
            let data = content.disk.create(files.data())?;
            Self::begin(files, data, begin)
        };
        make().map_err(|error: io::Error| FsError::of_disk("cannot make a file in", "spool", &error))
    }

    fn begin(
        files: Files,
        data: OpenFile,
        begin: impl FnOnce(&OpenFile, &OpenFile) -> io::Result<Origin>,
    ) -> io::Result<Self> {
        let outboard = files.content().disk.create(files.outboard())?;
        step("spool.created");
        let origin = begin(&data, &outboard)?;
        Ok(Self { files, data, outboard, origin, changed: Extents::default(), failed: false })
    }

    /// An upload's file, with what it held before if there was one. Its content stays when this is dropped. Answers its length too.
    pub fn upload(content: &Arc<Inner>, id: UploadId) -> Result<(Self, u64), FsError> {
        let open = || {
            let mut files = files(content, SpoolName::Upload(id));
            files.keep_data();
            let data = match content.disk.open(files.data(), true) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => content.disk.create(files.data())?,
                other => other?,
            };
            let size = data.size()?;
            let _ = content.disk.unlink(files.outboard());
            let file = Self::begin(files, data, |data, outboard| {
                let feeder = Feeder::new(content.hashing.clone(), data.clone(), outboard.clone());
                feeder.read(0..size);
                Ok(Origin::New(New { feeder, fed: size, ahead: Extents::default(), hinted: size }))
            })?;
            Ok((file, size))
        };
        open().map_err(|error: io::Error| FsError::of_disk("cannot open an upload in", "spool", &error))
    }

    /// Lets an upload's content go, too, when this is dropped.
    pub const fn give_up(&mut self) {
        self.files.give_up();
    }

    pub fn write_at(&mut self, offset: u64, bytes: Bytes) -> Result<(), FsError> {
        self.unless_failed(|file| file.write(offset, bytes))
    }

    pub fn set_size(&mut self, size: u64) -> Result<(), FsError> {
        self.unless_failed(|file| file.resize(size))
    }

    pub fn sync(&mut self) -> Result<(), FsError> {
        self.unless_failed(|file| file.disk(|file| file.data.sync_data()))
    }

    /// A range that lies within the content.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FsError> {
        match &self.origin {
            Origin::New(_) => read_exact_at(&*self.data, buffer, offset).map_err(|error| self.failure(&error)),
            Origin::Over(over) => over.read(&*self.data, offset, buffer, |error| self.failure(error)),
        }
    }

    fn unless_failed(&mut self, act: impl FnOnce(&mut Self) -> Result<(), FsError>) -> Result<(), FsError> {
        self.check()?;
        let done = act(self);
        self.failed |= done.is_err();
        done
    }
    fn check(&self) -> Result<(), FsError> {
        if self.failed { Err(self.failure(&io::Error::other("an earlier write failed"))) } else { Ok(()) }
    }
    fn failure(&self, error: &io::Error) -> FsError {
        FsError::of_disk(WRITE, self.files.shown(), error)
    }
    fn disk<T>(&self, act: impl FnOnce(&Self) -> io::Result<T>) -> Result<T, FsError> {
        act(self).map_err(|error| self.failure(&error))
    }

    fn write(&mut self, offset: u64, bytes: Bytes) -> Result<(), FsError> {
        self.disk(|file| file.data.write_at(&bytes, offset))?;
        step("spool.written");
        let end = offset + bytes.len() as u64;
        match &mut self.origin {
            Origin::New(new) => {
                let hashed = new.fed;
                new.take(&*self.data, offset, bytes);
                self.mark(offset, end.min(hashed));
                Ok(())
            }
            Origin::Over(over) => {
                over.written.add(offset..end);
                self.mark(offset, end);
                self.bound_extents()
            }
        }
    }

    fn resize(&mut self, size: u64) -> Result<(), FsError> {
        self.disk(|file| file.data.set_size(size))?;
        let hashed = match &mut self.origin {
            Origin::New(new) => {
                new.ahead.cut(size);
                new.fed
            }
            Origin::Over(over) => {
                over.cut(size);
                over.base.size()
            }
        };
        self.mark(size, hashed);
        Ok(())
    }

    /// Says that the groups of a range changed.
    fn mark(&mut self, start: u64, end: u64) {
        if start < end {
            self.changed.add(start / GROUP_BYTES * GROUP_BYTES..end.next_multiple_of(GROUP_BYTES));
            if self.changed.count() > MAX_EXTENTS {
                self.changed.join_all();
            }
        }
    }

    /// What is written over content is joined by writing what lies between.
    fn bound_extents(&mut self) -> Result<(), FsError> {
        if let Origin::Over(over) = &mut self.origin
            && over.written.count() > MAX_EXTENTS
        {
            let failure = |error: &io::Error| FsError::of_disk(WRITE, self.files.shown(), error);
            over.complete_groups(&*self.data, &self.changed, failure)?;
            if over.written.count() > MAX_EXTENTS {
                over.copy_rest(&*self.data, failure)?;
            }
        }
        Ok(())
    }

    /// Makes it content of this size, which it has.
    pub fn seal(mut self, size: u64) -> Result<Sealed, FsError> {
        self.check()?;
        self.files.give_up();
        if size <= GROUP_BYTES {
            let mut bytes = vec![0; usize::try_from(size).expect("because it is at most one group")];
            self.read_at(0, &mut bytes)?;
            return Ok(Sealed::inline(bytes.into()));
        }
        let hash = self.hash(size)?;
        step("outboard.written");
        Ok(Sealed::files(hash, size, self.files, self.data, self.outboard))
    }

    fn hash(&mut self, size: u64) -> Result<ContentHash, FsError> {
        let failure = |error: &io::Error| FsError::of_disk(WRITE, self.files.shown(), error);
        let (data, outboard) = (&*self.data, &*self.outboard);
        let (hashed, hash) = match &mut self.origin {
            Origin::New(new) => {
                let hashed = new.fed.max(size);
                (hashed, new.finish(size).map_err(|error| failure(&error))?)
            }
            Origin::Over(over) => {
                over.mark_edge(size, &mut self.changed);
                over.complete_groups(data, &self.changed, failure)?;
                over.copy_rest(data, failure)?;
                over.copy_outboard(&self.outboard, failure)?;
                (over.base.size(), over.base.hash())
            }
        };
        if hashed == size && self.changed.is_empty() {
            return Ok(hash);
        }
        rehash(data, outboard, hashed, size, &self.changed).map_err(|error| failure(&error))
    }
}

fn files(content: &Arc<Inner>, name: SpoolName) -> Files {
    Files::new(content.clone(), content.folders.spool_file(name), content.folders.spool_outboard(name))
}

impl New {
    /// Has hashed what follows on what was hashed, and remembers the rest.
    fn take(&mut self, data: &dyn DiskFile, offset: u64, bytes: Bytes) {
        let end = offset + bytes.len() as u64;
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
            self.write_behind(data);
        }
    }

    /// Lets the disk begin with what is not likely to change again, so that little is left when it must be there.
    fn write_behind(&mut self, data: &dyn DiskFile) {
        if self.fed - self.hinted >= WRITE_BEHIND_BYTES {
            data.hint_written(self.hinted..self.fed);
            self.hinted = self.fed;
        }
    }

    fn finish(&mut self, size: u64) -> io::Result<ContentHash> {
        if self.fed < size {
            self.feeder.read(self.fed..size);
            self.fed = size;
        }
        self.feeder.finish()
    }
}
