//! Content that somebody reads: the collector leaves it where it is.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::ids::BlobId;

/// How often each is held.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<HashMap<BlobId, usize>>);

/// Holds one until it is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    leases: Arc<Leases>,
    blob: BlobId,
}

impl Leases {
    // No panic leaves a count half changed.
    fn lock(&self) -> MutexGuard<'_, HashMap<BlobId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Whoever holds it must look at its row once more: the collector may have been first.
    pub fn hold(self: &Arc<Self>, blob: BlobId) -> Lease {
        *self.lock().entry(blob).or_default() += 1;
        Lease { leases: self.clone(), blob }
    }
    pub fn is_held(&self, blob: BlobId) -> bool {
        self.lock().contains_key(&blob)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut held = self.leases.lock();
        if let Some(count) = held.get_mut(&self.blob) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.blob);
            }
        }
    }
}
