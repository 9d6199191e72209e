//! A database in a folder of its own, a clock that is set by hand, and permits.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use alknet_core::{
    AccessRule, AuditEvent, AuditLog, Authorizer, Caller, Credential, Demand, Effect, Fingerprint, Identity,
    IdentityProvider, PeerAddr, PeerName, Permit, ResourceGrants, SessionGuard, SessionKind, Sessions,
};
use alknet_store::{Clock, NewPeer, Role, Roles, Store};
use tempfile::TempDir;

pub const NOW: u64 = 1_800_000_000;

pub struct Node {
    pub store: Store,
    pub sessions: Sessions,
    pub clock: Arc<AtomicU64>,
    pub path: PathBuf,
    _folder: TempDir,
}

pub fn node() -> Node {
    node_with(roles(&[("friend", &["fs:read"]), ("helper", &["peers:write", "peers:read", "keys:write", "fs:read"])]))
}

pub fn node_with(roles: Roles) -> Node {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alknet.db");
    let (sessions, clock) = (Sessions::default(), Arc::new(AtomicU64::new(NOW)));
    let store = Store::open_with_clock(&path, roles, sessions.clone(), hand_set(&clock)).unwrap();
    Node { store, sessions, clock, path, _folder: folder }
}

pub fn hand_set(clock: &Arc<AtomicU64>) -> Clock {
    let clock = clock.clone();
    Clock::new(move || clock.load(Ordering::Relaxed))
}

impl Node {
    /// Closes the database and opens it again, with the same clock and sessions.
    pub fn reopen(&mut self, roles: Roles) {
        self.store.close();
        self.store = Store::open_with_clock(&self.path, roles, self.sessions.clone(), hand_set(&self.clock)).unwrap();
    }
    pub fn set_clock(&self, now: u64) {
        self.clock.store(now, Ordering::Relaxed);
    }
    pub fn identify(&self, credential: &Credential) -> Option<Arc<Identity>> {
        self.store.directory().identify(credential)
    }
    pub fn session_of(&self, credential: &Credential) -> SessionGuard {
        let identity = Some(self.identify(credential).unwrap());
        let caller = Caller { identity, credential: Some(credential.label()), addr: PeerAddr::LocalOwner { pid: 1 } };
        self.sessions.register(&caller, SessionKind::Connection)
    }
    pub async fn add(&self, name: &str, role: &str, keys: &[u8]) {
        self.store.peers().add(&owner("peers:write"), new_peer(name, role, keys)).await.unwrap();
    }
}

pub fn roles(all: &[(&str, &[&str])]) -> Roles {
    let role = |scopes: &[&str]| Role {
        scopes: scopes.iter().map(|scope| scope.parse().unwrap()).collect(),
        resources: ResourceGrants::default(),
    };
    Roles::new(all.iter().map(|(name, scopes)| ((*name).to_owned(), role(scopes))).collect::<BTreeMap<_, _>>()).unwrap()
}

pub fn key(seed: u8) -> Fingerprint {
    Fingerprint::of_sha256(&[seed; 32])
}

pub fn ssh(seed: u8) -> Credential {
    Credential::SshKey(key(seed))
}

pub fn name(text: &str) -> PeerName {
    text.parse().unwrap()
}

pub fn new_peer(text: &str, role: &str, keys: &[u8]) -> NewPeer {
    let keys = keys.iter().map(|seed| key(*seed).into()).collect();
    NewPeer { name: name(text), role: role.to_owned(), keys, authorities: Vec::new(), addresses: Vec::new() }
}

struct Silent;
impl AuditLog for Silent {
    fn record(&self, _: AuditEvent) {}
}

/// A permit for `scope` that the gate gave to `identity`.
pub fn permit(identity: Arc<Identity>, scope: &str) -> Permit {
    let rule = AccessRule::scoped([scope.parse().unwrap()]);
    let caller = Caller { identity: Some(identity), credential: None, addr: PeerAddr::LocalOwner { pid: 1 } };
    let demand = Demand { action: "test/this", rule: &rule, resource: None, effect: Effect::Mutation };
    Authorizer::new(Arc::new(Silent)).authorize(&caller, &demand).unwrap()
}

pub fn owner(scope: &str) -> Permit {
    permit(Arc::new(Identity::owner("me")), scope)
}

/// Waits until `done` holds.
pub async fn eventually(mut done: impl AsyncFnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(20);
    while !done().await {
        assert!(Instant::now() < patience, "it never came to be");
        tokio::task::yield_now().await;
    }
}
