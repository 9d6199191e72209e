//! Hashes a spool on another thread than the one that writes it, and writes its outboard.

use std::{
    collections::VecDeque,
    io,
    ops::Range,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::{
    disk::{OpenFile, read_up_to},
    hasher::TreeHasher,
    pool::Pool,
};
use crate::{
    hash::ContentHash,
    limits::{COPY_BUFFER_BYTES, HASHING_TURN_BYTES, MAX_UNHASHED_BYTES, OUTBOARD_BUFFER_BYTES},
};

/// Takes the content in order, piece by piece, and holds a bounded part of it.
#[derive(Debug)]
pub(super) struct Feeder {
    shared: Arc<Shared>,
    pool: Arc<Pool>,
}

/// What comes next.
enum Piece {
    /// These bytes.
    Bytes(Bytes),
    /// What the file holds there.
    Read(Range<u64>),
}

/// What a piece counts for besides its bytes.
const PIECE_BYTES: usize = 128;

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    data: OpenFile,
}

#[derive(Default)]
struct State {
    /// Each with what it counts for.
    pieces: VecDeque<(Piece, usize)>,
    unhashed: usize,
    /// Nobody is at work if it is here.
    work: Option<Work>,
    failed: Option<io::ErrorKind>,
    abandoned: bool,
}

struct Work {
    hasher: TreeHasher,
    outboard: OpenFile,
    outboard_end: u64,
}

impl Feeder {
    pub fn new(pool: Arc<Pool>, data: OpenFile, outboard: OpenFile) -> Self {
        let work = Work { hasher: TreeHasher::new(), outboard, outboard_end: 0 };
        let state = State { work: Some(work), ..State::default() };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), data }), pool }
    }

    /// Hashes these bytes next. Waits while too many are not yet hashed.
    pub fn bytes(&self, bytes: Bytes) {
        self.push(bytes.len(), Piece::Bytes(bytes));
    }
    /// Hashes next what the file holds in this range at some moment from now on.
    pub fn read(&self, range: Range<u64>) {
        self.push(0, Piece::Read(range));
    }

    fn push(&self, length: usize, piece: Piece) {
        let counts = length + PIECE_BYTES;
        let mut state = self.shared.lock();
        while state.unhashed > MAX_UNHASHED_BYTES && state.failed.is_none() {
            state = self.shared.wait(state);
        }
        if state.failed.is_some() {
            return;
        }
        state.unhashed += counts;
        state.pieces.push_back((piece, counts));
        if let Some(work) = state.work.take() {
            self.shared.go_on(&self.pool, work);
        }
    }

    /// Waits until all is hashed and the outboard is written, and answers the hash. Once.
    pub fn finish(&self) -> io::Result<ContentHash> {
        let mut state = self.shared.lock();
        let work = loop {
            if let Some(kind) = state.failed {
                return Err(kind.into());
            }
            if let Some(work) = state.work.take() {
                break work;
            }
            state = self.shared.wait(state);
        };
        drop(state);
        work.finish()
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.abandoned = true;
        state.pieces.clear();
    }
}

impl Shared {
    // Nothing that is done while it is locked can panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn go_on(self: &Arc<Self>, pool: &Arc<Pool>, work: Work) {
        let (shared, again) = (self.clone(), pool.clone());
        pool.run(move || shared.work(&again, work));
    }

    /// Hashes until nothing is left, then puts the work back; or for as long as its turn is, then lets others have theirs.
    fn work(self: &Arc<Self>, pool: &Arc<Pool>, mut work: Work) {
        let mut fails = FailsUnlessDone { shared: self, outcome: Err(io::ErrorKind::Other) };
        let mut hashed = 0;
        loop {
            if hashed >= HASHING_TURN_BYTES {
                fails.outcome = Ok(());
                self.go_on(pool, work);
                break;
            }
            let (piece, counts) = {
                let mut state = self.lock();
                match state.next() {
                    Some(next) => next,
                    None => {
                        // Under the same lock as the look at the pieces: a new one finds the work.
                        state.work = Some(work);
                        fails.outcome = Ok(());
                        break;
                    }
                }
            };
            hashed += piece.length();
            let done = work.take(&self.data, piece, || self.lock().abandoned);
            self.lock().unhashed -= counts;
            self.changed.notify_all();
            if let Err(error) = done {
                fails.outcome = Err(error.kind());
                break;
            }
        }
    }
}

impl State {
    /// No more of it than one turn.
    fn next(&mut self) -> Option<(Piece, usize)> {
        let (piece, counts) = self.pieces.pop_front()?;
        match piece {
            Piece::Read(range) if range.end - range.start > HASHING_TURN_BYTES => {
                let until = range.start + HASHING_TURN_BYTES;
                self.pieces.push_front((Piece::Read(until..range.end), counts));
                Some((Piece::Read(range.start..until), 0))
            }
            piece => Some((piece, counts)),
        }
    }
}

impl Piece {
    fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Read(range) => range.end - range.start,
        }
    }
}

/// Lets nobody wait for work that will not go on.
struct FailsUnlessDone<'a> {
    shared: &'a Shared,
    outcome: Result<(), io::ErrorKind>,
}

impl Drop for FailsUnlessDone<'_> {
    fn drop(&mut self) {
        if let Err(kind) = self.outcome {
            self.shared.lock().failed = Some(kind);
        }
        self.shared.changed.notify_all();
    }
}

impl Work {
    fn take(&mut self, data: &OpenFile, piece: Piece, abandoned: impl Fn() -> bool) -> io::Result<()> {
        match piece {
            Piece::Bytes(bytes) => self.hasher.update(&bytes),
            Piece::Read(range) => {
                let mut buffer = vec![0; COPY_BUFFER_BYTES];
                let mut at = range.start;
                while at < range.end && !abandoned() {
                    let count = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(buffer.len());
                    // What was cut off meanwhile is hashed anew when the spool is sealed; what lies before it is not.
                    let held = read_up_to(&**data, &mut buffer[..count], at)?;
                    buffer[held..count].fill(0);
                    self.hasher.update(&buffer[..count]);
                    self.write_pairs(OUTBOARD_BUFFER_BYTES)?;
                    at += count as u64;
                }
            }
        }
        self.write_pairs(OUTBOARD_BUFFER_BYTES)
    }

    fn write_pairs(&mut self, from: usize) -> io::Result<()> {
        if self.hasher.pair_bytes() < from {
            return Ok(());
        }
        let pairs = self.hasher.take_pairs();
        self.append(&pairs)
    }

    fn append(&mut self, pairs: &[u8]) -> io::Result<()> {
        self.outboard.write_at(pairs, self.outboard_end)?;
        self.outboard_end += pairs.len() as u64;
        Ok(())
    }

    fn finish(mut self) -> io::Result<ContentHash> {
        self.write_pairs(0)?;
        let hasher = std::mem::replace(&mut self.hasher, TreeHasher::new());
        let (hash, pairs) = hasher.finish();
        self.append(&pairs)?;
        Ok(hash)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("data", &self.data).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{
        disk::{Disk, RealDisk},
        extents::Extents,
        rehash::rehash,
    };

    fn pattern(length: usize) -> Bytes {
        (0..251u8).cycle().take(length).collect()
    }

    /// A feeder over a file of these bytes, the file, and its outboard.
    fn feeder(folder: &std::path::Path, bytes: &[u8]) -> (Feeder, OpenFile, OpenFile) {
        let (data, outboard) =
            (RealDisk.create(&folder.join("d")).unwrap(), RealDisk.create(&folder.join("o")).unwrap());
        data.write_at(bytes, 0).unwrap();
        (Feeder::new(Arc::new(Pool::start().unwrap()), data.clone(), outboard.clone()), data, outboard)
    }

    #[test]
    fn what_lies_before_a_cut_is_hashed_as_it_is() {
        // BLOB-05
        let folder = tempfile::tempdir().unwrap();
        let kept = pattern(500_000);
        // The file was cut after the feeder was told of the range, and before it read it.
        let (feeder, data, outboard) = feeder(folder.path(), &kept);
        feeder.read(0..1 << 20);
        feeder.finish().unwrap();
        let mut changed = Extents::default();
        changed.add(500_000 / 16_384 * 16_384..1 << 20);
        let hash = rehash(&*data, &*outboard, 1 << 20, 500_000, &changed).unwrap();
        assert_eq!(hash, ContentHash::of(&kept));
    }

    #[test]
    fn a_long_range_does_not_keep_others_from_being_hashed() {
        // BLOB-08
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let small = pattern(100_000);
        let (other, ..) = feeder(folders[0].path(), &[]);
        let long: Vec<Feeder> = (0..2 * crate::limits::MAX_HASHING_THREADS)
            .map(|number| {
                let folder = folders[1].path().join(number.to_string());
                std::fs::create_dir(&folder).unwrap();
                let (mut feeder, data, _) = feeder(&folder, &[]);
                data.set_size(1 << 40).unwrap();
                feeder.pool = other.pool.clone();
                feeder.read(0..1 << 40);
                feeder
            })
            .collect();
        other.bytes(small.clone());
        assert_eq!(other.finish().unwrap(), ContentHash::of(&small));
        drop(long);
    }

    #[test]
    fn many_small_pieces_are_as_bounded_as_few_large_ones() {
        // BLOB-08
        let folder = tempfile::tempdir().unwrap();
        let (feeder, ..) = feeder(folder.path(), &[]);
        let bytes = pattern(300_000);
        for at in 0..bytes.len() {
            feeder.bytes(bytes.slice(at..at + 1));
            let state = feeder.shared.lock();
            assert!(state.pieces.len() * PIECE_BYTES <= MAX_UNHASHED_BYTES + PIECE_BYTES, "{}", state.pieces.len());
        }
        assert_eq!(feeder.finish().unwrap(), ContentHash::of(&bytes));
    }
}
