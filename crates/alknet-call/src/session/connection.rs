//! What the streams of one connection share.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use alknet_core::Caller;
use tokio_util::sync::CancellationToken;

use super::SessionError;
use crate::{
    CallError, Registry,
    authenticate::Callers,
    envelope::{RequestId, Requested},
    limits::{MAX_CALLS_IN_FLIGHT, MAX_FRAME_BYTES, MAX_UNIDENTIFIED_FRAME_BYTES},
};

/// One connection, as its streams see it.
pub(crate) struct CallConnection {
    /// What this side offers, if it offers anything, and to whom.
    offered: Option<(Arc<Registry>, Callers)>,
    /// Set once a known identity was seen: larger frames are then read.
    identified: AtomicBool,
    /// Cancelled when the node stops: nothing new is begun.
    pub(super) draining: CancellationToken,
    open: Mutex<HashSet<RequestId>>,
}

impl CallConnection {
    /// Offers the operations of `registry` to `callers`.
    pub(crate) fn offering(registry: Arc<Registry>, callers: Callers, draining: CancellationToken) -> Self {
        let identified = AtomicBool::new(callers.are_known());
        Self { offered: Some((registry, callers)), identified, draining, open: Mutex::default() }
    }

    /// Offers nothing to a peer that was chosen here, and so is known.
    pub(crate) fn offering_nothing() -> Self {
        let identified = AtomicBool::new(true);
        Self { offered: None, identified, draining: CancellationToken::new(), open: Mutex::default() }
    }

    /// The same for a peer that was chosen here: it is known.
    pub(crate) fn with_chosen_peer(self) -> Self {
        self.identified.store(true, Ordering::Relaxed);
        self
    }

    /// Longest frame that is read, in bytes.
    pub(crate) fn frame_bound(&self) -> usize {
        if self.identified.load(Ordering::Relaxed) { MAX_FRAME_BYTES } else { MAX_UNIDENTIFIED_FRAME_BYTES }
    }

    pub(super) fn node_id(&self) -> Option<String> {
        self.offered.as_ref().and_then(|(registry, _)| registry.node()).map(ToString::to_string)
    }

    /// Whose operations are called, and who calls.
    pub(super) fn admit(&self, requested: &Requested) -> Result<(Arc<Registry>, Caller), CallError> {
        let Some((registry, callers)) = &self.offered else {
            return Err(CallError::not_found("this side offers no operations"));
        };
        let caller = callers.of(registry, requested.auth_token.as_ref())?;
        if caller.identity.is_some() {
            self.identified.store(true, Ordering::Relaxed);
        }
        Ok((registry.clone(), caller))
    }

    fn open(&self) -> MutexGuard<'_, HashSet<RequestId>> {
        // A set of ids stays whole whoever panicked while holding it.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails where the id is in use on the connection; says whether there is room for one call more.
    pub(super) fn may_open(&self, id: &RequestId) -> Result<bool, SessionError> {
        let open = self.open();
        if open.contains(id) { Err(SessionError::DuplicateId) } else { Ok(open.len() < MAX_CALLS_IN_FLIGHT) }
    }

    /// Takes an id into use.
    pub(super) fn hold(self: &Arc<Self>, id: &RequestId) -> OpenId {
        self.open().insert(id.clone());
        OpenId { connection: self.clone(), id: id.clone() }
    }
}

/// An id that is in use until this is dropped.
pub(super) struct OpenId {
    connection: Arc<CallConnection>,
    id: RequestId,
}

impl Drop for OpenId {
    fn drop(&mut self) {
        self.connection.open().remove(&self.id);
    }
}
