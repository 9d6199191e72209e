//! Reads content, and gives no byte that it has not proven.

use std::{collections::VecDeque, fmt, io, ops::Range, path::Path, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::{io::AsyncRead, task::JoinHandle};
use tokio_util::io::StreamReader;

use super::{
    Content, Inner, blocking,
    disk::{OpenFile, read_exact_at},
    folders::BlobName,
    leases::Lease,
    outboard::outboard_bytes,
    proof::{Disproved, Outboard, Proof},
};
use crate::{
    error::{Damage, Errno, FsError},
    hash::ContentHash,
    ids::BlobId,
    limits::{CHUNKS_AHEAD, COPY_BUFFER_BYTES, GROUP_BYTES},
    rows::blob::{self, BlobRow, Class, State},
};

/// Content that is open. It stays readable, whatever is removed meanwhile, until the last clone is dropped.
#[derive(Clone)]
pub struct BlobReader(Arc<Reader>);

struct Reader {
    hash: ContentHash,
    size: u64,
    body: Body,
    shown: String,
    _lease: Lease,
}

/// A row, with the bytes of an inline one.
type Stored = (BlobRow, Option<Vec<u8>>);

enum Body {
    Inline(Bytes),
    Whole { data: OpenFile, outboard: OpenFile },
}

impl Content {
    /// Opens content; `shown` is how errors name it.
    ///
    /// # Errors
    /// [`Errno::Stale`] when it is being removed: whoever found its number in a row reads that row again.
    /// [`FsError::Damaged`] when its file is missing or has another length.
    pub async fn reader(&self, blob: BlobId, shown: impl Into<String>) -> Result<BlobReader, FsError> {
        let (content, shown) = (self.clone(), shown.into());
        blocking(move || content.reader_here(blob, shown)).await
    }

    /// As [`Self::reader`], on the calling thread, which must not be an async one.
    ///
    /// # Errors
    /// As there.
    pub fn reader_here(&self, blob: BlobId, shown: impl Into<String>) -> Result<BlobReader, FsError> {
        let shown = shown.into();
        // First held, then looked at: the collector looks at the leases after it has marked a row.
        let mut lease = self.0.leases.hold(blob);
        let mut found = self.row(blob)?;
        if let Some((row, _)) = &found
            && row.state == State::Missing
            && let Some(whole) = self.whole_again(row.hash)?
        {
            lease = self.0.leases.hold(whole);
            found = self.row(whole)?;
        }
        let Some((row, bytes)) = found.filter(|(row, _)| row.state != State::Dying) else {
            return Err(FsError::At { errno: Errno::Stale, what: "cannot open", path: shown });
        };
        let body = match bytes {
            Some(bytes) => check_inline(&row, bytes),
            None => open(&self.0, &row),
        };
        let damaged = |why| FsError::Damaged { path: shown.clone(), hash: row.hash, why };
        let body = body.map_err(damaged)?;
        Ok(BlobReader(Arc::new(Reader { hash: row.hash, size: row.size, body, shown, _lease: lease })))
    }

    fn row(&self, blob: BlobId) -> Result<Option<Stored>, FsError> {
        self.0.tables.read_here(|sql| {
            let Some(row) = blob::get(sql, blob)? else { return Ok(None) };
            let bytes = if row.class == Class::Inline { blob::bytes(sql, blob)? } else { None };
            Ok(Some((row, bytes)))
        })
    }

    /// Equal content that came after this was found damaged.
    pub(super) fn whole_again(&self, hash: ContentHash) -> Result<Option<BlobId>, FsError> {
        self.0.tables.read_here(|sql| Ok(blob::live(sql, &hash)?.map(|row| row.id)))
    }
}

fn check_inline(row: &BlobRow, bytes: Vec<u8>) -> Result<Body, Damage> {
    match bytes.len() as u64 {
        found if found != row.size => Err(Damage::Length { found, wanted: row.size }),
        _ if ContentHash::of(&bytes) != row.hash => Err(Damage::Flipped { group: 0 }),
        _ => Ok(Body::Inline(bytes.into())),
    }
}

fn open(content: &Inner, row: &BlobRow) -> Result<Body, Damage> {
    let name = BlobName { hash: row.hash, generation: row.generation };
    let file = |path: &Path, missing| match content.disk.open(path, false) {
        Ok(file) => file.size().map(|size| (file, size)).map_err(|error| Damage::Unreadable(error.kind())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing),
        Err(error) => Err(Damage::Unreadable(error.kind())),
    };
    let (data, found) = file(&content.folders.blob(name), Damage::Missing)?;
    if found != row.size {
        return Err(Damage::Length { found, wanted: row.size });
    }
    let (outboard, found) = file(&content.folders.blob_outboard(name), Damage::Outboard)?;
    if found != outboard_bytes(row.size) {
        return Err(Damage::Outboard);
    }
    Ok(Body::Whole { data, outboard })
}

impl BlobReader {
    /// Its hash.
    pub fn hash(&self) -> ContentHash {
        self.0.hash
    }
    /// Its length, in bytes.
    pub fn size(&self) -> u64 {
        self.0.size
    }

    /// At most `count` bytes from `offset` on, fewer only at the end. Cancel safe.
    ///
    /// # Errors
    /// [`FsError::Damaged`] when they cannot be proven; other ranges are not affected.
    pub async fn read_at(&self, offset: u64, count: usize) -> Result<Bytes, FsError> {
        let count = count.min(usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX));
        if let Body::Inline(bytes) = &self.0.body {
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            return Ok(bytes.slice(start..start + count));
        }
        let reader = self.clone();
        blocking(move || {
            let mut buffer = vec![0; count];
            reader.read_here(offset, &mut buffer)?;
            Ok(buffer.into())
        })
        .await
    }

    /// As [`Self::read_at`], into a buffer and on the calling thread, which must not be an async one. Answers how much there was.
    ///
    /// # Errors
    /// As there; what the buffer then holds is not proven.
    pub fn read_here(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, FsError> {
        let count = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX).min(buffer.len());
        let mut rest = &mut buffer[..count];
        let mut at = offset;
        // In parts, so that a large read of a range that fits no group needs no second buffer of its size.
        while !rest.is_empty() {
            let boundary = COPY_BUFFER_BYTES - usize::try_from(at % COPY_BUFFER_BYTES as u64).unwrap_or(0);
            let (part, after) = rest.split_at_mut(boundary.min(rest.len()));
            self.read_part(at, part)?;
            at += part.len() as u64;
            rest = after;
        }
        Ok(count)
    }

    /// A range within the content.
    fn read_part(&self, offset: u64, part: &mut [u8]) -> Result<(), FsError> {
        let end = offset + part.len() as u64;
        match &self.0.body {
            Body::Inline(bytes) => {
                let start = usize::try_from(offset).expect("because it lies in the bytes");
                part.copy_from_slice(&bytes[start..start + part.len()]);
                Ok(())
            }
            Body::Whole { data, outboard } => {
                let groups = offset / GROUP_BYTES..end.div_ceil(GROUP_BYTES);
                let (start, until) = (groups.start * GROUP_BYTES, (groups.end * GROUP_BYTES).min(self.size()));
                if (start, until) == (offset, end) {
                    return self.read_groups(data, outboard, groups, part);
                }
                let length = usize::try_from(until - start).expect("because parts are small");
                let mut whole = vec![0; length];
                self.read_groups(data, outboard, groups, &mut whole)?;
                let skipped = usize::try_from(offset - start).expect("because a group is small");
                part.copy_from_slice(&whole[skipped..skipped + part.len()]);
                Ok(())
            }
        }
    }

    fn read_groups(
        &self,
        data: &OpenFile,
        outboard: &OpenFile,
        groups: Range<u64>,
        bytes: &mut [u8],
    ) -> Result<(), FsError> {
        let damage = match read_exact_at(&**data, bytes, groups.start * GROUP_BYTES) {
            Ok(()) => match self.proof(outboard).prove(groups, bytes) {
                Ok(()) => return Ok(()),
                Err(disproved) => disproved.into(),
            },
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Damage::Length { found: data.size().unwrap_or(0), wanted: self.size() }
            }
            Err(error) => Damage::Unreadable(error.kind()),
        };
        Err(self.damaged(damage))
    }

    fn proof<'a>(&self, outboard: &'a OpenFile) -> Proof<'a> {
        Proof { hash: self.hash(), size: self.size(), outboard: Outboard::File(&**outboard) }
    }

    fn damaged(&self, why: Damage) -> FsError {
        tracing::warn!(hash = %self.hash(), path = self.0.shown, %why, "damaged content");
        FsError::Damaged { path: self.0.shown.clone(), hash: self.hash(), why }
    }

    /// The bytes of a range, as far as the content has them, as they are read ahead.
    pub fn chunks(&self, range: Range<u64>) -> impl Stream<Item = Result<Bytes, FsError>> + Send + use<> {
        let (end, next) = (range.end.min(self.size()), VecDeque::with_capacity(CHUNKS_AHEAD));
        let ahead = Ahead { reader: self.clone(), at: range.start, end, next };
        stream::try_unfold(ahead, Ahead::step)
    }

    /// The same as bytes. An error is an [`io::Error`] that holds the [`FsError`].
    pub fn stream(&self, range: Range<u64>) -> impl AsyncRead + Send + Unpin + use<> {
        use futures_util::TryStreamExt;
        StreamReader::new(Box::pin(self.chunks(range).map_err(io::Error::other)))
    }

    /// Reads all of it, and proves its outboard too.
    pub(super) fn prove_all(&self) -> Result<(), FsError> {
        let Some((_, outboard)) = self.files() else { return Ok(()) };
        let (mut buffer, mut at) = (vec![0; COPY_BUFFER_BYTES], 0);
        while at < self.size() {
            at += self.read_here(at, &mut buffer)? as u64;
        }
        self.prove_outboard(outboard)
    }
    /// The two files, of content that has them.
    pub(super) fn files(&self) -> Option<(&OpenFile, &OpenFile)> {
        match &self.0.body {
            Body::Inline(_) => None,
            Body::Whole { data, outboard } => Some((data, outboard)),
        }
    }
    /// The bytes, of content that is inline.
    pub(super) fn inline(&self) -> Option<&Bytes> {
        match &self.0.body {
            Body::Inline(bytes) => Some(bytes),
            Body::Whole { .. } => None,
        }
    }
    /// Its file ended too early.
    pub(super) fn cut_short(&self) -> FsError {
        let found = self.files().and_then(|(data, _)| data.size().ok());
        self.damaged(Damage::Length { found: found.unwrap_or(0), wanted: self.size() })
    }
    /// An outboard that is to be believed is proven first.
    pub(super) fn prove_outboard(&self, outboard: &OpenFile) -> Result<(), FsError> {
        self.proof(outboard).prove_outboard().map_err(|disproved| self.damaged(disproved.into()))
    }
}

impl From<Disproved> for Damage {
    fn from(disproved: Disproved) -> Self {
        match disproved {
            Disproved::Group(group) => Self::Flipped { group },
            Disproved::Outboard => Self::Outboard,
            Disproved::Unreadable(error) => Self::Unreadable(error.kind()),
        }
    }
}

/// Some chunks are read and proven while the one before them is used.
struct Ahead {
    reader: BlobReader,
    at: u64,
    end: u64,
    next: VecDeque<JoinHandle<Result<Bytes, FsError>>>,
}

impl Ahead {
    async fn step(mut self) -> Result<Option<(Bytes, Self)>, FsError> {
        while self.next.len() <= CHUNKS_AHEAD
            && let Some(begun) = self.begin()
        {
            self.next.push_back(begun);
        }
        let Some(current) = self.next.pop_front() else { return Ok(None) };
        let bytes = current.await.map_err(|_| FsError::At {
            errno: Errno::Io,
            what: "cannot read",
            path: self.reader.0.shown.clone(),
        })??;
        Ok(Some((bytes, self)))
    }

    /// Up to the next boundary, so that all further chunks are whole subtrees.
    fn begin(&mut self) -> Option<JoinHandle<Result<Bytes, FsError>>> {
        let (reader, at) = (self.reader.clone(), self.at);
        let end = ((at / COPY_BUFFER_BYTES as u64 + 1) * COPY_BUFFER_BYTES as u64).min(self.end);
        let length = usize::try_from(end.checked_sub(at)?).ok().filter(|length| *length > 0)?;
        self.at = end;
        Some(tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; length];
            reader.read_here(at, &mut buffer)?;
            Ok(buffer.into())
        }))
    }
}

impl fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobReader").field("hash", &self.hash()).field("size", &self.size()).finish_non_exhaustive()
    }
}
