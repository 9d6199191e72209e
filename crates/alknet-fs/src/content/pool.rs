//! Threads of our own that hash while others write.

use std::{
    collections::VecDeque,
    fmt, io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use crate::limits::MAX_HASHING_THREADS;

type Task = Box<dyn FnOnce() + Send>;

/// As many threads as there are cores, within bounds. Tasks never wait for one another.
pub(super) struct Pool(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Task>,
    ends: bool,
}

impl Shared {
    // A task that panics does so while nothing is locked.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn next(&self) -> Option<Task> {
        let mut queue = self.lock();
        loop {
            if let Some(task) = queue.tasks.pop_front() {
                return Some(task);
            }
            if queue.ends {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Pool {
    pub fn start() -> io::Result<Self> {
        let pool = Self(Arc::default());
        let cores = thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..cores.min(MAX_HASHING_THREADS) {
            let shared = pool.0.clone();
            let work = move || {
                while let Some(task) = shared.next() {
                    // One that panics costs its own work, not the thread.
                    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(task));
                }
            };
            thread::Builder::new().name("fs-hash".to_owned()).spawn(work)?;
        }
        Ok(pool)
    }

    pub fn run(&self, task: impl FnOnce() + Send + 'static) {
        self.0.lock().tasks.push_back(Box::new(task));
        self.0.changed.notify_one();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.0.lock().ends = true;
        self.0.changed.notify_all();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}
