//! The places for connections that have not proven a key yet. There is always one more: the oldest goes.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// A bounded number of places.
pub(crate) struct WaitingRoom {
    places: Mutex<Places>,
    capacity: usize,
}

#[derive(Default)]
struct Places {
    next: u64,
    taken: VecDeque<(u64, CancellationToken)>,
}

/// A place; dropping it makes room.
pub(crate) struct Place {
    room: Arc<WaitingRoom>,
    number: u64,
    displaced: CancellationToken,
}

impl WaitingRoom {
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { places: Mutex::default(), capacity: capacity.max(1) })
    }

    /// Takes a place, from the one who has waited longest when all are taken.
    pub(crate) fn enter(self: &Arc<Self>) -> Place {
        let displaced = CancellationToken::new();
        let mut places = self.places();
        let number = places.next;
        places.next += 1;
        let oldest = if places.taken.len() >= self.capacity { places.taken.pop_front() } else { None };
        places.taken.push_back((number, displaced.clone()));
        drop(places);
        if let Some((_, oldest)) = oldest {
            oldest.cancel();
        }
        Place { room: self.clone(), number, displaced }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        // A queue of tokens stays whole whoever panicked while holding it.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits until somebody newer has taken this place. Cancel safe.
    pub(crate) async fn displaced(&self) {
        self.displaced.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.places().taken.retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_unfinished_makes_room() {
        let room = WaitingRoom::new(2);
        let [first, second] = [room.enter(), room.enter()];
        drop(first);
        let third = room.enter();
        assert!(!second.displaced.is_cancelled());
        let fourth = room.enter();
        assert!(second.displaced.is_cancelled() && !third.displaced.is_cancelled() && !fourth.displaced.is_cancelled());
        drop((second, third, fourth));
        assert!(room.places().taken.is_empty());
    }
}
