//! Opens sealed credentials for the operations that declared them, and has them renewed before they end.

mod renewal;
mod sealing;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use alknet_call::{CapabilityError, CapabilitySource, CredentialSet};
use alknet_core::{BoxFuture, Maintenance};
use alknet_store::{Clock, CredentialRecord, Store};

pub use sealing::seal;

use crate::identity::NodeIdentity;
use renewal::{Need, Renewal};

/// How long an opened credential, or a refusal to renew one, is kept in memory.
const KEPT_OPEN: Duration = Duration::from_secs(10);

const TASK: Maintenance = Maintenance::of("credentials");

/// The credentials of a node, opened with its vault. Clones share what is open.
#[derive(Clone)]
pub struct CredentialResolver(Arc<Inner>);

struct Inner {
    identity: NodeIdentity,
    store: Store,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: HashMap<String, Kept>,
    renewals: HashMap<String, Renewal>,
    /// Grows whenever a credential is changed: what was read before is not kept.
    changes: u64,
}

/// What came of the last look at a credential.
struct Kept {
    outcome: Result<Arc<CredentialSet>, CapabilityError>,
    /// When it ends, in seconds since 1970.
    ends_at: Option<u64>,
    until: Instant,
}

/// A credential as it stands in the database, opened.
struct Opened {
    record: CredentialRecord,
    set: Arc<CredentialSet>,
}

impl CredentialResolver {
    /// Reads from `store` and opens with `identity`.
    pub fn new(identity: NodeIdentity, store: Store, clock: Clock) -> Self {
        Self(Arc::new(Inner { identity, store, clock, state: Mutex::default() }))
    }

    /// Forgets what is open under a name, because it was changed: the next operation gets the new one.
    pub fn forget(&self, name: &str) {
        let mut state = self.0.state();
        state.changes += 1;
        state.open.remove(name);
    }
}

impl CapabilitySource for CredentialResolver {
    fn resolve(&self, name: &str) -> BoxFuture<'_, Result<Arc<CredentialSet>, CapabilityError>> {
        let name = name.to_owned();
        Box::pin(async move { self.0.resolve(&name).await })
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // The maps stay whole whoever panicked while holding them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn resolve(self: &Arc<Self>, name: &str) -> Result<Arc<CredentialSet>, CapabilityError> {
        let changes = {
            let mut state = self.state();
            let (now, clock) = (Instant::now(), self.clock.now());
            state.open.retain(|_, kept| now < kept.until && kept.ends_at.is_none_or(|end| clock < end));
            match state.open.get(name) {
                Some(kept) => return kept.outcome.clone(),
                None => state.changes,
            }
        };
        let opened = self.open(name).await?;
        match renewal::need(&opened.set, self.clock.now()) {
            Need::Nothing => {
                self.keep(name, Ok(opened.set.clone()), end_of(&opened), changes);
                Ok(opened.set)
            }
            Need::Given => Err(CapabilityError::Expired(name.to_owned())),
            Need::Soon | Need::Now => self.renewed(name).await,
        }
    }

    /// The credential as it stands now, unless it is over.
    async fn open(&self, name: &str) -> Result<Opened, CapabilityError> {
        let found = self.store.credentials().sealed(&TASK, name).await;
        let found =
            found.map_err(|error| CapabilityError::Unavailable { name: name.to_owned(), why: error.to_string() })?;
        let found = found.ok_or_else(|| CapabilityError::Missing(name.to_owned()))?;
        if found.record.expires_at.is_some_and(|end| end <= self.clock.now()) {
            return Err(CapabilityError::Expired(name.to_owned()));
        }
        let set = sealing::open(&self.identity, name, &found.sealed)
            .map_err(|error| CapabilityError::Unusable { name: name.to_owned(), why: error.to_string() })?;
        Ok(Opened { record: found.record, set: Arc::new(set) })
    }

    /// Keeps what came of a look, unless something was changed since it began.
    fn keep(
        &self,
        name: &str,
        outcome: Result<Arc<CredentialSet>, CapabilityError>,
        ends_at: Option<u64>,
        changes: u64,
    ) {
        let mut state = self.state();
        if state.changes == changes {
            let until = Instant::now() + KEPT_OPEN;
            state.open.insert(name.to_owned(), Kept { outcome, ends_at, until });
        }
    }
}

/// When an opened credential is no longer good, whichever comes first: its own end or its tokens'.
fn end_of(opened: &Opened) -> Option<u64> {
    let tokens = match &*opened.set {
        CredentialSet::Oidc(tokens) => tokens.expires_at,
        _ => None,
    };
    [opened.record.expires_at, tokens].into_iter().flatten().min()
}

#[cfg(test)]
mod tests;
