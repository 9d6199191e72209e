//! Folder syncs that many share: who comes while one runs takes part in the next.

use std::{
    io,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use super::{disk::Disk, folders::Folders};

/// One turn for each folder of blobs.
#[derive(Debug)]
pub(super) struct Syncer(Vec<Turn>);

#[derive(Debug, Default)]
struct Turn {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// How many asked.
    asked: u64,
    /// How many of them were served.
    served: u64,
    /// The newest of them that were served with a failure, and which.
    failed: Option<(u64, io::ErrorKind)>,
    runs: bool,
}

impl Syncer {
    pub fn new() -> Self {
        Self((0..256).map(|_| Turn::default()).collect())
    }

    /// Puts all names on the disk that are in this folder by now.
    pub fn sync(&self, disk: &dyn Disk, folders: &Folders, first: u8) -> io::Result<()> {
        self.0[usize::from(first)].share(|| disk.sync_folder(&folders.shard(first)))
    }
}

impl Turn {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Counters alone are behind it, which no panic leaves half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn share(&self, act: impl Fn() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.lock();
        state.asked += 1;
        let mine = state.asked;
        loop {
            if state.served >= mine {
                return match state.failed {
                    Some((until, kind)) if mine <= until => Err(kind.into()),
                    _ => Ok(()),
                };
            }
            if state.runs {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.runs = true;
            let until = state.asked;
            drop(state);
            let done = act();
            state = self.lock();
            state.runs = false;
            state.served = until;
            if let Err(error) = &done {
                state.failed = Some((until, error.kind()));
            }
            self.changed.notify_all();
            // My own is among them.
            return done;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc, Barrier,
            atomic::{AtomicUsize, Ordering},
        },
        thread,
    };

    use super::*;

    #[test]
    fn whoever_waits_while_one_runs_shares_the_next() {
        // BLOB-13
        let turn = Arc::new(Turn::default());
        let (runs, inside, release) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let first = thread::spawn({
            let (turn, runs, inside, release) = (turn.clone(), runs.clone(), inside.clone(), release.clone());
            move || {
                turn.share(|| {
                    runs.fetch_add(1, Ordering::SeqCst);
                    inside.wait();
                    release.wait();
                    Ok(())
                })
            }
        });
        inside.wait();
        let others: Vec<_> = (0..6)
            .map(|_| {
                let (turn, runs) = (turn.clone(), runs.clone());
                thread::spawn(move || {
                    turn.share(|| {
                        runs.fetch_add(1, Ordering::SeqCst);
                        Err(io::ErrorKind::StorageFull.into())
                    })
                })
            })
            .collect();
        while turn.lock().asked < 7 {
            thread::yield_now();
        }
        release.wait();
        first.join().unwrap().unwrap();
        for other in others {
            assert_eq!(other.join().unwrap().unwrap_err().kind(), io::ErrorKind::StorageFull);
        }
        assert_eq!(runs.load(Ordering::SeqCst), 2, "six shared one");
        assert!(turn.share(|| Ok(())).is_ok(), "a failure is told to those that it hit");
    }
}
