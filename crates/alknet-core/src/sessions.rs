//! Everything alive that hangs on somebody's rights, so that taking the rights away ends it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::Caller;

/// What sort of session it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionKind {
    /// A connection whose peer proved a key.
    Connection,
    /// An SSH login.
    Ssh,
    /// A call in progress.
    Call,
    /// An open file or other handle.
    Handle,
}

/// One live session, for listings.
#[derive(Debug, Clone, Serialize)]
pub struct SessionInfo {
    /// A number that is not reused while the node runs.
    pub id: u64,
    /// What sort of session.
    pub kind: SessionKind,
    /// The peer name; `None` for somebody unknown.
    pub identity: Option<String>,
    /// Fingerprint or id of the credential.
    pub credential: Option<String>,
    /// Where it comes from.
    pub addr: String,
}

/// The live sessions of a node.
#[derive(Clone, Default)]
pub struct Sessions(Arc<Inner>);

#[derive(Default)]
struct Inner {
    next: AtomicU64,
    live: Mutex<BTreeMap<u64, (SessionInfo, CancellationToken)>>,
}

impl Inner {
    fn live(&self) -> MutexGuard<'_, BTreeMap<u64, (SessionInfo, CancellationToken)>> {
        // A map of tokens stays whole whoever panicked while holding it.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    /// Enters a session under the caller's identity and credential; dropping the guard takes it out again.
    pub fn register(&self, caller: &Caller, kind: SessionKind) -> SessionGuard {
        self.register_under(caller, kind, &CancellationToken::new())
    }

    /// Enters a session that also ends when `parent` is cancelled.
    pub fn register_under(&self, caller: &Caller, kind: SessionKind, parent: &CancellationToken) -> SessionGuard {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let token = parent.child_token();
        let identity = caller.id().map(str::to_owned);
        let info =
            SessionInfo { id, kind, identity, credential: caller.credential.clone(), addr: caller.addr.to_string() };
        self.0.live().insert(id, (info.clone(), token.clone()));
        // Rights that ended between the look-up of the identity and this entry would find nobody to end.
        if caller.identity.as_deref().is_some_and(|identity| !identity.standing().is_current()) {
            token.cancel();
        }
        SessionGuard { sessions: self.0.clone(), info, token }
    }

    /// Ends every session of a peer; answers how many.
    pub fn cancel_identity(&self, identity: &str) -> usize {
        self.cancel_where(|session| session.identity.as_deref() == Some(identity))
    }

    /// Ends every session that a credential (by fingerprint or id) opened; answers how many.
    pub fn cancel_credential(&self, credential: &str) -> usize {
        self.cancel_where(|session| session.credential.as_deref() == Some(credential))
    }

    fn cancel_where(&self, matches: impl Fn(&SessionInfo) -> bool) -> usize {
        let hit: Vec<_> =
            self.0.live().values().filter(|(info, _)| matches(info)).map(|(_, token)| token.clone()).collect();
        // Outside the lock: waking a session may drop its guard at once.
        hit.iter().for_each(CancellationToken::cancel);
        hit.len()
    }

    /// The live sessions, oldest first.
    pub fn list(&self) -> Vec<SessionInfo> {
        self.0.live().values().map(|(info, _)| info.clone()).collect()
    }
}

/// A session's entry. Whoever serves the session stops when [`Self::token`] is cancelled.
pub struct SessionGuard {
    sessions: Arc<Inner>,
    info: SessionInfo,
    token: CancellationToken,
}

impl SessionGuard {
    /// What is listed of it.
    pub const fn info(&self) -> &SessionInfo {
        &self.info
    }
    /// Cancelled when the rights under which the session runs are taken away.
    pub const fn token(&self) -> &CancellationToken {
        &self.token
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.sessions.live().remove(&self.info.id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Identity, PeerAddr, ResourceGrants, ScopeSet};

    fn caller(name: &str, credential: &str) -> Caller {
        let identity = Identity::new(name, ScopeSet::default(), ResourceGrants::default());
        Caller {
            identity: Some(Arc::new(identity)),
            credential: Some(credential.into()),
            addr: PeerAddr::LocalOwner { pid: 1 },
        }
    }

    #[test]
    fn removing_a_peer_or_credential_ends_its_sessions_only() {
        // AUTH-14
        let sessions = Sessions::default();
        let alice_key = sessions.register(&caller("alice", "k1"), SessionKind::Connection);
        let alice_token = sessions.register(&caller("alice", "t1"), SessionKind::Call);
        let bob = sessions.register(&caller("bob", "k2"), SessionKind::Ssh);
        assert_eq!(sessions.cancel_credential("t1"), 1);
        assert!(alice_token.token().is_cancelled() && !alice_key.token().is_cancelled());
        assert_eq!(sessions.cancel_identity("alice"), 2);
        assert!(alice_key.token().is_cancelled() && !bob.token().is_cancelled());
        drop((alice_key, alice_token));
        assert_eq!(sessions.list().iter().map(|s| s.identity.as_deref()).collect::<Vec<_>>(), [Some("bob")]);
    }

    #[test]
    fn a_session_of_rights_that_ended_meanwhile_begins_cancelled() {
        // AUTH-14
        let counter = Arc::new(AtomicU64::new(0));
        let identity = Identity::owner("a").with_standing(crate::Standing::at_present(&counter));
        let stale = Caller { identity: Some(Arc::new(identity)), ..caller("a", "k") };
        counter.fetch_add(1, Ordering::AcqRel);
        assert!(Sessions::default().register(&stale, SessionKind::Ssh).token().is_cancelled());
    }

    #[test]
    fn a_session_ends_with_its_parent() {
        let parent = CancellationToken::new();
        let session = Sessions::default().register_under(&caller("a", "k"), SessionKind::Call, &parent);
        parent.cancel();
        assert!(session.token().is_cancelled());
    }
}
