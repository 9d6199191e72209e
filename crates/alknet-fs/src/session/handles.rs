//! What is open: who must hear that a branch is gone, and which versions must be kept for them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::ids::{BranchId, BucketId, Seq};

/// The open handles of a node and the versions that its views see.
#[derive(Clone, Default)]
pub struct Handles(Arc<Mutex<Open>>, Arc<RwLock<()>>);

/// As long as this is held, no version is forgotten.
pub struct Finding<'a>(#[expect(dead_code, reason = "held")] RwLockReadGuard<'a, ()>);

/// As long as this is held, nobody begins to look at a version.
pub struct Forgetting<'a>(#[expect(dead_code, reason = "held")] RwLockWriteGuard<'a, ()>);

#[derive(Default)]
struct Open {
    next: u64,
    looks: BTreeMap<BranchId, usize>,
    handles: HashMap<u64, Entry>,
    pins: BTreeMap<BucketId, BTreeMap<Seq, usize>>,
}

struct Entry {
    bucket: BucketId,
    branch: BranchId,
    is_gone: Arc<AtomicBool>,
}

/// An open file's entry. Dropping it takes it out.
pub struct Handle {
    handles: Handles,
    number: u64,
    is_gone: Arc<AtomicBool>,
}

/// Keeps what a bucket showed at a commit from being forgotten, until it is dropped.
pub struct Pin {
    handles: Handles,
    bucket: BucketId,
    seq: Seq,
}

/// Keeps the rows of branches from being removed with them, until it is dropped.
pub struct Look {
    handles: Handles,
    branches: Vec<BranchId>,
}

impl Handles {
    /// Says that these branches are looked at, which was found out under [`Self::finding`].
    pub fn look(&self, branches: Vec<BranchId>) -> Look {
        let mut open = self.open();
        for branch in &branches {
            *open.looks.entry(*branch).or_default() += 1;
        }
        drop(open);
        Look { handles: self.clone(), branches }
    }

    /// Whether a branch is looked at, or something on it is open.
    pub fn is_used(&self, branch: BranchId) -> bool {
        let open = self.open();
        open.looks.contains_key(&branch) || open.handles.values().any(|entry| entry.branch == branch)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Each change of the maps is one call on them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be held while a version is found, until it is pinned.
    pub async fn finding(&self) -> Finding<'_> {
        Finding(self.1.read().await)
    }

    /// To be held while versions are forgotten, from before [`Self::pinned`] is asked until the transaction has ended; it waits for
    /// those who are finding one, and keeps others from it, so the transaction should be short.
    pub async fn forgetting(&self) -> Forgetting<'_> {
        Forgetting(self.1.write().await)
    }

    /// Enters a handle on a branch. Whoever does so looks afterwards whether the branch is still there: what ends later is told.
    pub fn enter(&self, bucket: BucketId, branch: BranchId) -> Handle {
        let is_gone = Arc::new(AtomicBool::new(false));
        let mut open = self.open();
        let number = open.next;
        open.next += 1;
        open.handles.insert(number, Entry { bucket, branch, is_gone: is_gone.clone() });
        drop(open);
        Handle { handles: self.clone(), number, is_gone }
    }

    /// Says to the handles of a branch that it was removed; after the commit that did. Answers to how many.
    pub fn end_branch(&self, branch: BranchId) -> usize {
        self.end_where(|entry| entry.branch == branch)
    }

    /// Says to the handles of a bucket that it was removed; after the commit that did. Answers to how many.
    pub fn end_bucket(&self, bucket: BucketId) -> usize {
        self.end_where(|entry| entry.bucket == bucket)
    }

    fn end_where(&self, hit: impl Fn(&Entry) -> bool) -> usize {
        let open = self.open();
        let ended = open.handles.values().filter(|entry| hit(entry));
        ended.filter(|entry| !entry.is_gone.swap(true, Ordering::AcqRel)).count()
    }

    /// How many handles are open.
    pub fn count(&self) -> usize {
        self.open().handles.len()
    }

    /// Keeps what the bucket shows at `seq`, which was found under [`Self::finding`]. A pin on [`Seq::ZERO`] keeps everything.
    pub fn pin(&self, bucket: BucketId, seq: Seq) -> Pin {
        self.open().add(bucket, seq);
        Pin { handles: self.clone(), bucket, seq }
    }

    /// The commits of a bucket that somebody looks at, ascending. With [`Seq::ZERO`] among them nothing may be forgotten.
    pub fn pinned(&self, bucket: BucketId) -> Vec<Seq> {
        self.open().pins.get(&bucket).map(|pins| pins.keys().copied().collect()).unwrap_or_default()
    }
}

impl Open {
    fn add(&mut self, bucket: BucketId, seq: Seq) {
        *self.pins.entry(bucket).or_default().entry(seq).or_default() += 1;
    }
    fn remove(&mut self, bucket: BucketId, seq: Seq) {
        let Some(pins) = self.pins.get_mut(&bucket) else { return };
        if let Some(count) = pins.get_mut(&seq) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&seq);
            }
        }
        if pins.is_empty() {
            self.pins.remove(&bucket);
        }
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        let mut open = self.handles.open();
        for branch in &self.branches {
            if let Some(count) = open.looks.get_mut(branch) {
                *count -= 1;
                if *count == 0 {
                    open.looks.remove(branch);
                }
            }
        }
    }
}

impl Handle {
    /// Whether its branch was removed.
    pub fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire)
    }
    /// Notes that its branch was removed, found out in another way.
    pub fn set_gone(&self) {
        self.is_gone.store(true, Ordering::Release);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.handles.open().handles.remove(&self.number);
    }
}

impl Pin {
    /// Keeps another commit instead.
    pub fn to(&mut self, seq: Seq) {
        let mut open = self.handles.open();
        open.add(self.bucket, seq);
        open.remove(self.bucket, self.seq);
        drop(open);
        self.seq = seq;
    }
    /// The commit that it keeps.
    pub const fn seq(&self) -> Seq {
        self.seq
    }
}

impl Clone for Pin {
    fn clone(&self) -> Self {
        self.handles.pin(self.bucket, self.seq)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.handles.open().remove(self.bucket, self.seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(number: u64) -> Seq {
        Seq::new(number).unwrap()
    }

    #[test]
    fn handles_of_what_is_removed_hear_of_it_and_no_others() {
        // SESS-32
        let handles = Handles::default();
        let main = handles.enter(BucketId(1), BranchId(1));
        let dev = handles.enter(BucketId(1), BranchId(2));
        let elsewhere = handles.enter(BucketId(2), BranchId(3));
        assert_eq!(handles.end_branch(BranchId(2)), 1);
        assert!(dev.is_gone() && !main.is_gone());
        assert_eq!(handles.end_bucket(BucketId(1)), 1, "one knew already");
        assert!(main.is_gone() && !elsewhere.is_gone());
        drop((main, dev));
        assert_eq!(handles.count(), 1);
    }

    #[test]
    fn versions_are_pinned_as_long_as_somebody_sees_them() {
        // SESS-33
        let handles = Handles::default();
        let mut first = handles.pin(BucketId(1), Seq::ZERO);
        assert_eq!(handles.pinned(BucketId(1)), [Seq::ZERO]);
        first.to(seq(7));
        let second = first.clone();
        let older = handles.pin(BucketId(1), seq(3));
        assert_eq!(handles.pinned(BucketId(1)), [seq(3), seq(7)]);
        drop(first);
        assert_eq!(handles.pinned(BucketId(1)), [seq(3), seq(7)], "a copy is a pin of its own");
        drop((second, older));
        assert_eq!(handles.pinned(BucketId(1)), []);
        assert_eq!(handles.pinned(BucketId(2)), []);
    }
}
