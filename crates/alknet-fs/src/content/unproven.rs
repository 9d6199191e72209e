//! Content as it lies on the disk, for a door that proves what it sends itself.

use std::io;

use super::{BlobReader, disk::read_exact_at};

impl BlobReader {
    /// Fills the buffer with bytes that nobody has proven. Waits for the disk: not for async threads.
    ///
    /// # Errors
    /// Fails when the content ends before, and with the disk.
    pub fn read_unproven(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match (self.inline(), self.files()) {
            (Some(bytes), _) => read_slice_at(bytes, offset, buffer),
            (None, Some((data, _))) => read_exact_at(&**data, buffer, offset),
            (None, None) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Fills the buffer from the outboard: pairs of hashes in post-order (`docs/spec/fs-content.md`). Waits for the disk, too.
    ///
    /// # Errors
    /// As [`Self::read_unproven`]; content of at most one group has no outboard.
    pub fn read_outboard(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let (_, outboard) = self.files().ok_or(io::ErrorKind::UnexpectedEof)?;
        read_exact_at(&**outboard, buffer, offset)
    }
}

fn read_slice_at(bytes: &[u8], offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..));
    let wanted = rest.and_then(|rest| rest.get(..buffer.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
    buffer.copy_from_slice(wanted);
    Ok(())
}
