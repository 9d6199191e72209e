//! Hashes a spool on another thread than the one that writes it, and writes its outboard.

use std::{
    collections::VecDeque,
    io,
    ops::Range,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::{
    disk::{OpenFile, read_exact_at},
    hasher::TreeHasher,
    pool::Pool,
};
use crate::{
    hash::ContentHash,
    limits::{COPY_BUFFER_BYTES, MAX_UNHASHED_BYTES, OUTBOARD_BUFFER_BYTES},
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

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    data: OpenFile,
}

#[derive(Default)]
struct State {
    pieces: VecDeque<Piece>,
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
        let mut state = self.shared.lock();
        while state.unhashed > MAX_UNHASHED_BYTES && state.failed.is_none() {
            state = self.shared.wait(state);
        }
        if state.failed.is_some() {
            return;
        }
        state.unhashed += length;
        state.pieces.push_back(piece);
        if let Some(work) = state.work.take() {
            let shared = self.shared.clone();
            self.pool.run(move || shared.work(work));
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

    /// Hashes until nothing is left, then puts the work back.
    fn work(&self, mut work: Work) {
        let mut fails = FailsUnlessDone { shared: self, outcome: Err(io::ErrorKind::Other) };
        loop {
            let piece = {
                let mut state = self.lock();
                match state.pieces.pop_front() {
                    Some(piece) => piece,
                    None => {
                        // Under the same lock as the look at the pieces: a new one finds the work.
                        state.work = Some(work);
                        fails.outcome = Ok(());
                        break;
                    }
                }
            };
            let length = if let Piece::Bytes(bytes) = &piece { bytes.len() } else { 0 };
            let done = work.take(&self.data, piece, || self.lock().abandoned);
            self.lock().unhashed -= length;
            self.changed.notify_all();
            if let Err(error) = done {
                fails.outcome = Err(error.kind());
                break;
            }
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
                    // What was cut off meanwhile is hashed anew when the spool is sealed.
                    match read_exact_at(&**data, &mut buffer[..count], at) {
                        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => buffer.fill(0),
                        other => other?,
                    }
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
