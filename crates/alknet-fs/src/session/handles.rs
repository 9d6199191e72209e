//! What is open: who must hear that a branch is gone, and which versions must be kept for them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::Notify;

use crate::ids::{BranchId, BucketId, Seq};

/// The open handles of a node and the versions that its views see.
#[derive(Clone, Default)]
///
/// Whoever finds a version to look at and whoever forgets versions do not wait for each other. The one who forgets first reads in a
/// commit what must stay, then asks here what is looked at, and then takes away what neither names. The one who looks notes how often
/// that was asked, finds a version in a commit, says here what it looks at, and is done if nobody has asked meanwhile. Else it finds the
/// version again: what is still there in a commit that it reads after the question, the one who asked has found worth keeping, too.
pub struct Handles(Arc<Mutex<Open>>, Arc<Notify>);

#[derive(Default)]
struct Open {
    next: u64,
    /// How often somebody who forgets has asked what is looked at.
    asked: u64,
    /// Somebody waits until a branch is no longer used.
    is_awaited: bool,
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
    /// How often [`Self::pinned`] and [`Self::is_used`] were asked so far.
    pub fn asked(&self) -> u64 {
        self.open().asked
    }

    /// Wakes whoever heard that a branch is used once something is used no more.
    pub async fn unused(&self) {
        self.1.notified().await;
    }

    /// Says that these branches are looked at.
    pub fn look(&self, branches: Vec<BranchId>) -> Look {
        let mut open = self.open();
        for branch in &branches {
            *open.looks.entry(*branch).or_default() += 1;
        }
        drop(open);
        Look { handles: self.clone(), branches }
    }

    /// Whether a branch is looked at, or something on it is open: asked by whoever removes its rows, after a commit in which nobody
    /// could find it any more.
    pub fn is_used(&self, branch: BranchId) -> bool {
        let mut open = self.open();
        open.asked += 1;
        let is_used = open.looks.contains_key(&branch) || open.handles.values().any(|entry| entry.branch == branch);
        open.is_awaited |= is_used;
        is_used
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Each change of the maps is one call on them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, mut open: MutexGuard<'_, Open>) {
        if std::mem::take(&mut open.is_awaited) {
            self.1.notify_one();
        }
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

    /// Keeps what the bucket shows at `seq`.
    pub fn pin(&self, bucket: BucketId, seq: Seq) -> Pin {
        self.open().add(bucket, seq);
        Pin { handles: self.clone(), bucket, seq }
    }

    /// The commits of a bucket that somebody looks at, ascending: asked by whoever forgets versions, after a commit in which what is to
    /// be forgotten could not be found any more.
    pub fn pinned(&self, bucket: BucketId) -> Vec<Seq> {
        let mut open = self.open();
        open.asked += 1;
        open.pins.get(&bucket).map(|pins| pins.keys().copied().collect()).unwrap_or_default()
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
        self.handles.tell(open);
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
        let mut open = self.handles.open();
        open.handles.remove(&self.number);
        self.handles.tell(open);
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
        let first = handles.pin(BucketId(1), seq(7));
        assert_eq!((handles.asked(), handles.pinned(BucketId(1)), handles.asked()), (0, vec![seq(7)], 1));
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
