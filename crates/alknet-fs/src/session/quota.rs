//! What open sessions have taken of their bucket's quota: a writer hears that it is used up while writing, not after.
//!
//! The commit asks again, in its transaction, and that answer holds: what is kept here is what is under way.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use crate::{
    ids::{BucketId, Seq},
    rows::bucket::BucketRow,
};

/// What a bucket holds and may hold, as its row said at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The newest commit that it counts.
    pub head: Seq,
    /// Bytes that it holds, or has promised to uploads that can be resumed.
    pub used_bytes: u64,
    pub used_files: u64,
    pub quota_bytes: Option<u64>,
    pub quota_files: Option<u64>,
}

impl Standing {
    /// That of a row, with what is promised to uploads.
    pub fn of(row: &BucketRow, promised_bytes: u64) -> Self {
        Self {
            head: row.head,
            used_bytes: row.used_bytes.saturating_add(promised_bytes),
            used_files: row.used_files,
            quota_bytes: row.terms.quota_bytes,
            quota_files: row.terms.quota_files,
        }
    }
    /// Whether so much more fits.
    pub fn admits(&self, bytes: u64, files: u64) -> bool {
        let fits = |used: u64, more: u64, quota: Option<u64>| {
            more == 0 || quota.is_none_or(|quota| used.checked_add(more).is_some_and(|sum| sum <= quota))
        };
        fits(self.used_bytes, bytes, self.quota_bytes) && fits(self.used_files, files, self.quota_files)
    }
}

/// The quota is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UsedUp;

/// The buckets that have open sessions.
#[derive(Clone, Default)]
pub(crate) struct Allowances(Arc<Mutex<BTreeMap<BucketId, Weak<Mutex<Shared>>>>>);

/// What the sessions of one bucket share.
struct Shared {
    standing: Standing,
    taken_bytes: u64,
    taken_files: u64,
}

/// What one session has taken. Dropping it gives it back.
pub(crate) struct Allowance {
    shared: Arc<Mutex<Shared>>,
    bytes: u64,
    files: u64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Numbers, which no panic leaves half written.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Allowances {
    /// Begins a session's allowance, with nothing taken.
    pub fn begin(&self, bucket: BucketId, standing: Standing) -> Allowance {
        let mut buckets = locked(&self.0);
        let shared = buckets.get(&bucket).and_then(Weak::upgrade).unwrap_or_else(|| {
            buckets.retain(|_, shared| shared.strong_count() > 0);
            let new = Arc::new(Mutex::new(Shared { standing, taken_bytes: 0, taken_files: 0 }));
            buckets.insert(bucket, Arc::downgrade(&new));
            new
        });
        drop(buckets);
        let allowance = Allowance { shared, bytes: 0, files: 0 };
        allowance.learn(standing);
        allowance
    }
}

impl Allowance {
    /// Has `bytes` and `files` taken, altogether: more than before, or less.
    pub fn hold(&mut self, bytes: u64, files: u64) -> Result<(), UsedUp> {
        let mut shared = locked(&self.shared);
        let others_bytes = shared.taken_bytes - self.bytes;
        let others_files = shared.taken_files - self.files;
        let grows = bytes > self.bytes || files > self.files;
        let all = (others_bytes.checked_add(bytes).ok_or(UsedUp)?, others_files.saturating_add(files));
        if grows && !shared.standing.admits(all.0, all.1) {
            return Err(UsedUp);
        }
        (shared.taken_bytes, shared.taken_files) = all;
        drop(shared);
        (self.bytes, self.files) = (bytes, files);
        Ok(())
    }
    /// The same bucket's, with nothing taken.
    pub fn another(&self) -> Self {
        Self { shared: self.shared.clone(), bytes: 0, files: 0 }
    }
    /// Whether so many bytes can be promised beside all that is taken.
    pub fn admits(&self, bytes: u64) -> Result<(), UsedUp> {
        let shared = locked(&self.shared);
        let all = shared.taken_bytes.checked_add(bytes).ok_or(UsedUp)?;
        if shared.standing.admits(all, 0) { Ok(()) } else { Err(UsedUp) }
    }
    /// Learns what the bucket's row says, unless something newer is known.
    pub fn learn(&self, standing: Standing) {
        let mut shared = locked(&self.shared);
        if standing.head >= shared.standing.head {
            shared.standing = standing;
        }
    }
    /// Whether there is a quota at all.
    pub fn is_bounded(&self) -> bool {
        locked(&self.shared).standing.quota_bytes.is_some()
    }
    /// Bytes that it has taken.
    #[cfg(test)]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
    /// Files that it has taken.
    pub const fn files(&self) -> u64 {
        self.files
    }
}

impl Drop for Allowance {
    fn drop(&mut self) {
        let mut shared = locked(&self.shared);
        shared.taken_bytes -= self.bytes;
        shared.taken_files -= self.files;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn standing(head: u64, used_bytes: u64, quota_bytes: Option<u64>) -> Standing {
        Standing { head: Seq::new(head).unwrap(), used_bytes, used_files: 0, quota_bytes, quota_files: Some(3) }
    }

    #[test]
    fn sessions_of_a_bucket_share_what_is_left() {
        // SESS-40
        let allowances = Allowances::default();
        let mut first = allowances.begin(BucketId(1), standing(1, 40, Some(100)));
        let mut second = allowances.begin(BucketId(1), standing(1, 40, Some(100)));
        assert_eq!(first.hold(30, 1), Ok(()));
        assert_eq!(second.hold(31, 1), Err(UsedUp));
        assert_eq!(second.hold(30, 1), Ok(()), "a refusal took nothing");
        assert_eq!(first.hold(31, 1), Err(UsedUp));
        assert_eq!(second.hold(29, 1).and_then(|()| first.hold(31, 1)), Ok(()), "a shorter file gives back");
        drop(first);
        assert_eq!(second.hold(60, 1), Ok(()), "so does one that is given up");
        let mut elsewhere = allowances.begin(BucketId(2), standing(1, 0, None));
        assert_eq!(elsewhere.hold(u64::MAX, 1), Ok(()), "without a quota there is no end");
    }

    #[test]
    fn files_are_counted_too() {
        // SESS-40
        let allowances = Allowances::default();
        let mut all: Vec<_> = (0..4).map(|_| allowances.begin(BucketId(1), standing(1, 0, None))).collect();
        let answers: Vec<_> = all.iter_mut().map(|allowance| allowance.hold(0, 1)).collect();
        assert_eq!(answers, [Ok(()), Ok(()), Ok(()), Err(UsedUp)]);
    }

    #[test]
    fn what_is_over_the_quota_may_still_shrink_and_empty_files_cost_no_bytes() {
        // SESS-40
        let allowances = Allowances::default();
        let mut session = allowances.begin(BucketId(1), standing(1, 0, Some(100)));
        session.hold(90, 1).unwrap();
        session.learn(standing(2, 50, Some(100)));
        assert_eq!(session.hold(80, 1), Ok(()));
        assert_eq!(session.hold(81, 1), Err(UsedUp));
        session.learn(standing(1, 0, Some(100)));
        assert_eq!(session.hold(81, 1), Err(UsedUp), "older news are no news");
        let mut other = allowances.begin(BucketId(1), standing(2, 100, Some(100)));
        drop(session);
        assert_eq!(other.hold(0, 1), Ok(()));
    }

    proptest! {
        #[test]
        fn no_order_of_sessions_takes_more_than_there_is(steps in proptest::collection::vec((0..4_usize, 0..60_u64), 1..60)) {
            // SESS-40
            let allowances = Allowances::default();
            let mut sessions: Vec<_> = (0..4).map(|_| None).collect();
            for (which, bytes) in steps {
                if bytes < 5 {
                    sessions[which] = None;
                    continue;
                }
                let session = sessions[which].get_or_insert_with(|| allowances.begin(BucketId(1), standing(1, 20, Some(100))));
                let before = session.bytes();
                let outcome = session.hold(bytes, 0);
                prop_assert_eq!(session.bytes(), if outcome.is_ok() { bytes } else { before });
                let others = sessions.iter().enumerate().filter(|(other, _)| *other != which);
                let others: u64 = others.filter_map(|(_, other)| other.as_ref()).map(Allowance::bytes).sum();
                prop_assert_eq!(outcome.is_ok(), others + bytes <= 80 || bytes <= before);
                prop_assert!(sessions.iter().flatten().map(Allowance::bytes).sum::<u64>() <= 80);
            }
        }
    }
}
