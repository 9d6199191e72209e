//! A node's identity and database in a folder of their own, with a clock that is set by hand.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use alknet_call::{CapabilityError, CapabilitySource, CredentialKind, CredentialSet, Secret};
use alknet_core::{
    AccessRule, AuditEvent, AuditLog, Authorizer, Caller, Demand, Effect, Identity, PeerAddr, Permit, Sessions,
};
use alknet_store::{Clock, NewCredential, Roles, Store};
use tempfile::TempDir;

use super::super::{CredentialResolver, TASK, seal, sealing};
use crate::{
    data_folder::DataFolder,
    identity::{NodeIdentity, Protection},
};

pub const NOW: u64 = 1_800_000_000;

pub struct Node {
    pub identity: NodeIdentity,
    pub store: Store,
    pub resolver: CredentialResolver,
    clock: Arc<AtomicU64>,
    folder: TempDir,
}

pub fn node() -> Node {
    let folder = tempfile::tempdir().unwrap();
    let data = DataFolder::at(folder.path().join("data"));
    data.create().unwrap();
    let (identity, _) = NodeIdentity::create(&data, &Protection::KeyFile).unwrap();
    let clock = Arc::new(AtomicU64::new(NOW));
    let told = clock.clone();
    let told = Clock::new(move || told.load(Ordering::Relaxed));
    let store = Store::open_with_clock(&data.database(), Roles::default(), Sessions::default(), told.clone()).unwrap();
    let resolver = CredentialResolver::new(identity.clone(), store.clone(), told);
    Node { identity, store, resolver, clock, folder }
}

impl Node {
    /// Where all of it is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn set_clock(&self, now: u64) {
        self.clock.store(now, Ordering::Relaxed);
    }

    /// Keeps a set that was sealed for a name.
    pub async fn add(&self, name: &str, set: &CredentialSet) {
        let sealed = seal(&self.identity, name, set).unwrap();
        self.store.credentials().add(&writing(), new(name, sealed)).await.unwrap();
    }

    /// Puts another in its place, as `credentials/rotate` does.
    pub async fn rotate(&self, name: &str, set: &CredentialSet) {
        let sealed = seal(&self.identity, name, set).unwrap();
        self.store.credentials().rotate(&writing(), new(name, sealed)).await.unwrap();
        self.resolver.forget(name);
    }

    pub async fn resolve(&self, name: &str) -> Result<Arc<CredentialSet>, CapabilityError> {
        self.resolver.resolve(name).await
    }

    /// What stands in the database, opened.
    pub async fn kept(&self, name: &str) -> CredentialSet {
        let found = self.store.credentials().sealed(&TASK, name).await.unwrap().unwrap();
        sealing::open(&self.identity, name, &found.sealed).unwrap()
    }
}

pub fn new(name: &str, sealed: String) -> NewCredential {
    let name = name.parse().unwrap();
    NewCredential { name, kind: "any".to_owned(), sealed, expires_at: None, note: None }
}

pub fn set(kind: CredentialKind, fields: &[(&str, &str)]) -> CredentialSet {
    let fields = fields.iter().map(|(name, text)| ((*name).to_owned(), Secret::from((*text).to_owned())));
    CredentialSet::from_fields(kind, fields.collect::<BTreeMap<_, _>>()).unwrap()
}

pub fn bearer(token: &str) -> CredentialSet {
    set(CredentialKind::Bearer, &[("token", token)])
}

/// What an operation would show to the service.
pub fn token_of(set: &CredentialSet) -> &str {
    match set {
        CredentialSet::Bearer { token } => token.expose(),
        CredentialSet::Oidc(tokens) => tokens.access_token.as_ref().unwrap().expose(),
        other => panic!("{other:?} has no token"),
    }
}

struct Silent;
impl AuditLog for Silent {
    fn record(&self, _: AuditEvent) {}
}

pub fn writing() -> Permit {
    permit("credentials:write")
}

pub fn permit(scope: &str) -> Permit {
    let rule = AccessRule::scoped([scope.parse().unwrap()]);
    let identity = Some(Arc::new(Identity::owner("me")));
    let caller = Caller { identity, credential: None, addr: PeerAddr::LocalOwner { pid: 1 } };
    let demand = Demand { action: "test/this", rule: &rule, resource: None, effect: Effect::Mutation };
    Authorizer::new(Arc::new(Silent)).authorize(&caller, &demand).unwrap()
}
