//! What other programs may rely on: every operation of a running node, `docs/spec/operations.json`.

use std::{env, fs, path::Path};

use alknet_call::OperationSpec;

use super::*;
use crate::{
    config::{Sources, load},
    identity::Protection,
};

/// The registry of a node that runs, with its identity unlocked.
async fn everything(data: &DataFolder) -> Arc<Registry> {
    data.create().unwrap();
    let (identity, _) = NodeIdentity::create(data, &Protection::KeyFile).unwrap();
    let loaded = load(&Sources::default()).unwrap();
    let sessions = Sessions::default();
    let store = Store::open(&data.database(), loaded.config().roles().unwrap(), sessions.clone()).unwrap();
    let authorizer = Authorizer::new(store.audit_log());
    let tickets = ByteTickets::default();
    let files =
        crate::settings::files(loaded.config(), data, &store, authorizer.clone(), tickets.clone()).await.unwrap();
    let credentials = CredentialResolver::new(identity.clone(), store.clone(), Clock::system());
    let foundation = Foundation {
        node: identity.node_key(),
        credentials: Some(credentials),
        identity: Some(identity),
        authorizer,
        store,
        sessions,
        ssh_sessions: LiveSessions::default(),
        config: SharedConfig::new(Sources::default(), loaded),
        tickets,
        data: data.clone(),
        heads: Heads::of(data).unwrap(),
        gate: AbuseGate::default(),
        forward: Arc::default(),
        control: Some(NodeControl::new().0),
        files,
        clock: Clock::system(),
    };
    registry(&foundation).unwrap()
}

#[tokio::test]
async fn the_operations_are_golden() {
    let folder = tempfile::tempdir().unwrap();
    let registry = everything(&DataFolder::at(folder.path().join("data"))).await;
    let mut specs: Vec<&OperationSpec> = registry.specs().collect();
    specs.sort_by(|one, other| one.name.cmp(&other.name));
    let now = serde_json::to_string_pretty(&specs).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec/operations.json");
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &now).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == now, "{} is not what the node offers: UPDATE_GOLDEN=1 writes it", path.display());
}

/// A stranger may ask who the node is and what it offers. Whatever else becomes public is to be decided here.
#[tokio::test]
async fn little_is_open_to_strangers() {
    let folder = tempfile::tempdir().unwrap();
    let registry = everything(&DataFolder::at(folder.path().join("data"))).await;
    let mut open: Vec<_> = registry.specs().filter(|spec| spec.access == AccessRule::public()).collect();
    open.sort_by(|one, other| one.name.cmp(&other.name));
    let open: Vec<_> = open.iter().map(|spec| spec.name.as_str()).collect();
    assert_eq!(open, ["node/identify", "services/list", "services/peers", "services/schema", "services/watch"]);
    assert!(registry.specs().all(|spec| !spec.title.is_empty()), "every operation says what it is");
}
