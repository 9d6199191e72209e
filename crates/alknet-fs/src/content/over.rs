//! A spool over content: what was not written still comes from there.

use std::{io, ops::Range};

use super::{
    disk::{DiskFile, OpenFile, read_exact_at},
    extents::Extents,
    outboard::outboard_bytes,
    reader::BlobReader,
};
use crate::{
    error::FsError,
    limits::{COPY_BUFFER_BYTES, GROUP_BYTES},
};

/// What the spool's file holds, and what shows through.
pub(super) struct Over {
    /// Content with files.
    pub base: BlobReader,
    /// What was written. Whatever is not, and lies beyond what shows through, is zeros.
    pub written: Extents,
    /// Before here the base shows through.
    visible: u64,
    /// The file began with all bytes of the base, which the disk shares.
    cloned: bool,
}

impl Over {
    pub fn begin(base: BlobReader, data: &dyn DiskFile) -> io::Result<Self> {
        let cloned = base.files().is_some_and(|(from, _)| data.share_from(&**from).is_ok());
        let visible = base.size();
        data.set_size(visible)?;
        Ok(Self { base, written: Extents::default(), visible, cloned })
    }

    pub fn cut(&mut self, size: u64) {
        self.written.cut(size);
        self.visible = self.visible.min(size);
    }

    /// Reads a range within the content.
    pub fn read(
        &self,
        data: &dyn DiskFile,
        offset: u64,
        buffer: &mut [u8],
        failure: impl Fn(&io::Error) -> FsError,
    ) -> Result<(), FsError> {
        let end = offset + buffer.len() as u64;
        read_exact_at(data, buffer, offset).map_err(|error| failure(&error))?;
        for gap in self.showing(offset..end) {
            let at = |offset_in: u64| usize::try_from(offset_in - offset).expect("because it lies in the buffer");
            self.base.read_here(gap.start, &mut buffer[at(gap.start)..at(gap.end)])?;
        }
        Ok(())
    }

    /// Where in a range the base shows through.
    fn showing(&self, range: Range<u64>) -> Vec<Range<u64>> {
        if range.start >= self.visible {
            Vec::new()
        } else {
            self.written.gaps(range.start..range.end.min(self.visible))
        }
    }

    /// A last group that is not full changes when the content grows or is cut.
    pub fn mark_edge(&self, size: u64, changed: &mut Extents) {
        let common = size.min(self.base.size());
        if size != self.base.size() && !common.is_multiple_of(GROUP_BYTES) {
            let start = common / GROUP_BYTES * GROUP_BYTES;
            changed.add(start..start + GROUP_BYTES);
        }
    }

    /// Writes what changed groups still have from the base, proven: with the new hash nobody could tell any more that it is damaged.
    pub fn complete_groups(
        &mut self,
        data: &dyn DiskFile,
        changed: &Extents,
        failure: impl Fn(&io::Error) -> FsError,
    ) -> Result<(), FsError> {
        let mut buffer = vec![0; COPY_BUFFER_BYTES];
        for groups in changed.iter() {
            for gap in self.showing(groups) {
                let mut at = gap.start;
                while at < gap.end {
                    let count = usize::try_from(gap.end - at).unwrap_or(usize::MAX).min(buffer.len());
                    self.base.read_here(at, &mut buffer[..count])?;
                    data.write_at(&buffer[..count], at).map_err(|error| failure(&error))?;
                    at += count as u64;
                }
                self.written.add(gap);
            }
        }
        Ok(())
    }

    /// Copies what is not yet in the file. It keeps its hashes: if it is damaged, it is found damaged there too.
    pub fn copy_rest(&mut self, data: &dyn DiskFile, failure: impl Fn(&io::Error) -> FsError) -> Result<(), FsError> {
        let Some((from, _)) = self.base.files() else { return Ok(()) };
        for gap in self.showing(0..self.visible) {
            if !self.cloned {
                data.copy_from(&**from, gap.clone()).map_err(|error| self.short_or(&error, &failure))?;
            }
            self.written.add(gap);
        }
        Ok(())
    }

    /// Takes the base's outboard along, and proves it.
    pub fn copy_outboard(&self, outboard: &OpenFile, failure: impl Fn(&io::Error) -> FsError) -> Result<(), FsError> {
        let Some((_, from)) = self.base.files() else { return Ok(()) };
        if outboard.share_from(&**from).is_err() {
            let all = 0..outboard_bytes(self.base.size());
            outboard.copy_from(&**from, all).map_err(|error| self.short_or(&error, &failure))?;
        }
        self.base.prove_outboard(outboard)
    }

    fn short_or(&self, error: &io::Error, failure: impl Fn(&io::Error) -> FsError) -> FsError {
        if error.kind() == io::ErrorKind::UnexpectedEof { self.base.cut_short() } else { failure(error) }
    }
}
