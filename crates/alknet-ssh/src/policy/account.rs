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
        let place = self.accounts.enter(&self.who, false)?;
        Ok(Self { ended: self.ended.child_token(), ..place })
    }
}
