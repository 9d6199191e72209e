//! How much each identity forwards at the moment.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use alknet_core::Identity;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::judge::Wanted;
use crate::limits::{MAX_FORWARDS_PER_IDENTITY, MAX_LISTENERS_PER_IDENTITY, MAX_RESOLUTIONS_PER_IDENTITY};

/// The identity has as many of these as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlaceError {
    /// Open forwards.
    #[error("the identity has {MAX_FORWARDS_PER_IDENTITY} open forwards")]
    Forwards,
    /// Listening ports and sockets.
    #[error("the identity listens in {MAX_LISTENERS_PER_IDENTITY} places")]
    Listeners,
}

/// The accounts of every identity that forwards something.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accounts(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    next: u64,
    accounts: HashMap<Arc<str>, Account>,
    live: HashMap<u64, Live>,
}

#[derive(Debug)]
struct Account {
    forwards: usize,
    listeners: usize,
    resolving: Arc<Semaphore>,
}

impl Default for Account {
    fn default() -> Self {
        Self { forwards: 0, listeners: 0, resolving: Arc::new(Semaphore::new(MAX_RESOLUTIONS_PER_IDENTITY)) }
    }
}

/// A forward that is there.
#[derive(Debug)]
struct Live {
    who: Arc<Identity>,
    wanted: Vec<Wanted>,
    ended: CancellationToken,
}

/// A forward's place in its identity's account; dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Place {
    accounts: Accounts,
    number: u64,
    who: Arc<Identity>,
    listens: bool,
    ended: CancellationToken,
}

impl Accounts {
    fn book(&self) -> MutexGuard<'_, Book> {
        // Every change below is whole before the lock is given back.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place in the identity's account.
    pub(crate) fn enter(&self, who: &Arc<Identity>, listens: bool) -> Result<Place, PlaceError> {
        let mut book = self.book();
        let account = book.accounts.entry(who.id().into()).or_default();
        let (count, most, full) = match listens {
            true => (&mut account.listeners, MAX_LISTENERS_PER_IDENTITY, PlaceError::Listeners),
            false => (&mut account.forwards, MAX_FORWARDS_PER_IDENTITY, PlaceError::Forwards),
        };
        if *count >= most {
            return Err(full);
        }
        *count += 1;
        book.next += 1;
        let (number, ended) = (book.next, CancellationToken::new());
        Ok(Place { accounts: self.clone(), number, who: who.clone(), listens, ended })
    }

    /// What bounds how many names are looked up for an identity at once; it has a place.
    pub(crate) fn resolving(&self, who: &Identity) -> Arc<Semaphore> {
        let mut book = self.book();
        book.accounts.entry(who.id().into()).or_default().resolving.clone()
    }

    /// Ends the forwards of which something is no longer allowed.
    pub(crate) fn end_unless(&self, allowed: impl Fn(&Identity, &Wanted) -> bool) {
        for live in self.book().live.values() {
            if !live.wanted.iter().all(|wanted| allowed(&live.who, wanted)) {
                live.ended.cancel();
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut book = self.accounts.book();
        book.live.remove(&self.number);
        let Some(account) = book.accounts.get_mut(self.who.id()) else { return };
        let count = if self.listens { &mut account.listeners } else { &mut account.forwards };
        *count = count.saturating_sub(1);
        // Lookups may outlive the forward that wanted them; they stay counted until then.
        let looks_up = account.resolving.available_permits() < MAX_RESOLUTIONS_PER_IDENTITY;
        if account.forwards + account.listeners == 0 && !looks_up {
            book.accounts.remove(self.who.id());
        }
    }
}

impl Place {
    /// Writes down what the place is used for.
    pub(crate) fn uses(&self, wanted: Vec<Wanted>) {
        let live = Live { who: self.who.clone(), wanted, ended: self.ended.clone() };
        self.accounts.book().live.insert(self.number, live);
    }
    /// Cancelled when changed rules no longer allow it.
    pub(crate) const fn ended(&self) -> &CancellationToken {
        &self.ended
    }
    /// Takes a forward's place for the same identity, which ends with this one.
    pub(crate) fn another(&self) -> Result<Self, PlaceError> {
        let mut place = self.accounts.enter(&self.who, false)?;
        place.ended = self.ended.child_token();
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use alknet_core::Identity;

    use super::*;

    fn someone(name: &str) -> Arc<Identity> {
        Arc::new(Identity::owner(name))
    }

    #[test]
    fn places_are_counted_for_each_identity_and_given_back() {
        // POL-40
        let accounts = Accounts::default();
        let (alice, bob) = (someone("alice"), someone("bob"));
        let enter = |who: &Arc<Identity>, listens| accounts.enter(who, listens);
        let mut places: Vec<Place> = (0..MAX_FORWARDS_PER_IDENTITY).map(|_| enter(&alice, false).unwrap()).collect();
        assert_eq!(enter(&alice, false).unwrap_err(), PlaceError::Forwards);
        let listener = enter(&alice, true).unwrap();
        assert_eq!(listener.another().unwrap_err(), PlaceError::Forwards, "what comes in at a listener counts too");
        assert!(enter(&bob, false).is_ok(), "somebody else's are another's");
        places.pop();
        assert!(listener.another().is_ok());
        let more: Vec<Place> = (1..MAX_LISTENERS_PER_IDENTITY).map(|_| enter(&alice, true).unwrap()).collect();
        assert_eq!(enter(&alice, true).unwrap_err(), PlaceError::Listeners);
        drop((places, listener, more));
        assert!(accounts.book().accounts.is_empty(), "nothing is kept of those who forward nothing");
    }

    #[test]
    fn lookups_that_outlive_their_forward_stay_counted() {
        // POL-41
        let (accounts, alice) = (Accounts::default(), someone("alice"));
        let place = accounts.enter(&alice, false).unwrap();
        let looking_up = accounts.resolving(&alice).try_acquire_owned().unwrap();
        drop(place);
        assert_eq!(accounts.resolving(&alice).available_permits(), MAX_RESOLUTIONS_PER_IDENTITY - 1);
        drop(looking_up);
    }

    #[test]
    fn forwards_that_are_no_longer_allowed_end_with_what_hangs_on_them() {
        // POL-42
        let (accounts, alice) = (Accounts::default(), someone("alice"));
        let wanted = |port| vec![Wanted::Listen { name: None, address: [127, 0, 0, 1].into(), port }];
        let (kept, ended) = (accounts.enter(&alice, true).unwrap(), accounts.enter(&alice, true).unwrap());
        kept.uses(wanted(1));
        ended.uses(wanted(2));
        let connection = ended.another().unwrap();
        accounts.end_unless(|who, wanted| who.id() == "alice" && matches!(wanted, Wanted::Listen { port: 1, .. }));
        assert!(!kept.ended().is_cancelled() && ended.ended().is_cancelled() && connection.ended().is_cancelled());
    }
}
