//! How many items of a subscription may still be sent.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;

/// What a subscriber still takes.
#[derive(Debug)]
pub(super) struct Credit {
    left: AtomicU32,
    more: Notify,
}

impl Credit {
    pub(super) fn new(items: u32) -> Self {
        Self { left: AtomicU32::new(items), more: Notify::new() }
    }
    /// How many items may be sent now.
    pub(super) fn left(&self) -> u32 {
        self.left.load(Ordering::Acquire)
    }
    /// Adds; a sum that cannot be counted is the most that can.
    pub(super) fn add(&self, items: u32) {
        let added = |left: u32| Some(left.saturating_add(items));
        let _always = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, added);
        self.more.notify_one();
    }
    /// Uses up as many as were sent: never more than were left.
    pub(super) fn spend(&self, items: u32) {
        self.left.fetch_sub(items, Ordering::AcqRel);
    }
    /// Waits until something may be sent. Cancel safe.
    pub(super) async fn available(&self) {
        while self.left() == 0 {
            self.more.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // CALL-41
    #[tokio::test]
    async fn credit_is_spent_and_a_sum_beyond_the_most_is_the_most() {
        let credit = Credit::new(2);
        credit.spend(2);
        assert_eq!(credit.left(), 0);
        credit.add(u32::MAX);
        credit.add(7);
        assert_eq!(credit.left(), u32::MAX);
        credit.available().await;
    }
}
