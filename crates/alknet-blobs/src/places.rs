//! How many transfers each identity has at a time, over all its connections.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::MAX_TRANSFERS;

/// The places of every identity that has fetched anything: no more than there are peers.
#[derive(Default)]
pub struct Places(Mutex<HashMap<Box<str>, Arc<Semaphore>>>);

impl Places {
    /// Waits for a place; dropping it gives it back.
    pub async fn enter(&self, id: &str) -> OwnedSemaphorePermit {
        let places = self.of(id);
        places.acquire_owned().await.expect("because nobody closes these places")
    }

    fn of(&self, id: &str) -> Arc<Semaphore> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(id.into()).or_insert_with(|| Arc::new(Semaphore::new(MAX_TRANSFERS))).clone()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn each_identity_has_so_many_places() {
        // IROH-07
        let places = Places::default();
        let taken: Vec<_> = (0..MAX_TRANSFERS).map(|_| places.enter("alice").now_or_never().unwrap()).collect();
        assert!(places.enter("alice").now_or_never().is_none());
        assert!(places.enter("bob").now_or_never().is_some());
        drop(taken);
        assert!(places.enter("alice").now_or_never().is_some());
    }
}
