//! How many associations each identity has, over all its connections.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::limits::MAX_UDP_ASSOCIATIONS_PER_IDENTITY;

/// The count of every identity that has any.
#[derive(Clone, Default)]
pub(super) struct Accounts(Arc<Mutex<HashMap<Arc<str>, usize>>>);

/// One association's place; dropping it gives the place back.
pub(super) struct Account {
    accounts: Accounts,
    id: Arc<str>,
}

impl Accounts {
    fn counts(&self) -> MutexGuard<'_, HashMap<Arc<str>, usize>> {
        // Each change below is one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place, if there is one.
    pub(super) fn enter(&self, id: &str) -> Option<Account> {
        let mut counts = self.counts();
        let count = counts.get(id).copied().unwrap_or_default();
        if count >= MAX_UDP_ASSOCIATIONS_PER_IDENTITY {
            return None;
        }
        let id: Arc<str> = id.into();
        counts.insert(id.clone(), count + 1);
        Some(Account { accounts: self.clone(), id })
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let mut counts = self.accounts.counts();
        match counts.get_mut(&self.id) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_identity_has_so_many_places_and_leaves_nothing_behind() {
        // SOCKS-19
        let accounts = Accounts::default();
        let places: Vec<_> = (0..MAX_UDP_ASSOCIATIONS_PER_IDENTITY).map(|_| accounts.enter("alice").unwrap()).collect();
        assert!(accounts.enter("alice").is_none());
        assert!(accounts.enter("bob").is_some());
        drop(places);
        assert!(accounts.counts().is_empty());
    }
}
