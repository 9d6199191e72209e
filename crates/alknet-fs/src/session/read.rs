//! A file open for reading: the version that was there when it was opened, whatever happens to it.

use std::{io, ops::Range};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use super::Handle;
use crate::{
    content::BlobReader,
    error::{Errno, FsError},
    path::FsPath,
    tree::{Attributes, View},
};

/// An open file. It reads one version to the end, also when there are newer ones, when it is renamed, and when it is removed.
pub struct ReadHandle {
    view: View,
    handle: Handle,
    path: FsPath,
    attributes: Attributes,
    /// `None`: it is empty.
    content: Option<BlobReader>,
}

impl ReadHandle {
    pub(crate) const fn new(
        view: View,
        handle: Handle,
        path: FsPath,
        attributes: Attributes,
        content: Option<BlobReader>,
    ) -> Self {
        Self { view, handle, path, attributes, content }
    }

    /// What was known of the file when it was opened.
    pub const fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// At most `count` bytes from `offset` on, fewer only at the end.
    ///
    /// # Errors
    /// `Stale` once the branch was removed, `Damaged` where the bytes are not those that were stored, and when the rights ended.
    pub async fn read_at(&self, offset: u64, count: usize) -> Result<Bytes, FsError> {
        self.check()?;
        match &self.content {
            None => Ok(Bytes::new()),
            Some(content) => content.read_at(offset, count).await,
        }
    }

    /// The bytes of a range, as far as the file has them, read ahead.
    ///
    /// # Errors
    /// As [`Self::read_at`].
    pub fn chunks(self, range: Range<u64>) -> impl Stream<Item = Result<Bytes, FsError>> + Send + 'static {
        let chunks = match &self.content {
            Some(content) => content.chunks(range).left_stream(),
            None => stream::empty().right_stream(),
        };
        chunks.map(move |chunk| self.check().and(chunk))
    }

    /// As [`Self::chunks`]. An error is an [`io::Error`] that holds the [`FsError`].
    pub fn stream(self, range: Range<u64>) -> impl AsyncRead + Send + Unpin + 'static {
        StreamReader::new(Box::pin(self.chunks(range).map_err(io::Error::other)))
    }

    fn check(&self) -> Result<(), FsError> {
        self.view.check()?;
        let gone = || FsError::At { errno: Errno::Stale, what: "cannot read", path: self.path.to_string() };
        if self.handle.is_gone() { Err(gone()) } else { Ok(()) }
    }
}
