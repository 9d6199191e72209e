use alknet_core::{ApiKey, Credential, LOCAL_OWNER, PermitError};
use alknet_store::{ApiKeyError, KeyRights, NewApiKey};

use crate::fixture::{NOW, eventually, name, new_peer, node, owner, permit, roles, ssh};

fn with_role(text: &str, role: &str) -> NewApiKey {
    NewApiKey { name: name(text), rights: KeyRights::Role(role.into()), expires_at: None }
}

fn with_scopes(text: &str, scopes: &[&str]) -> NewApiKey {
    let scopes = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
    NewApiKey { name: name(text), rights: KeyRights::Scopes(scopes), expires_at: None }
}

fn proof(key: &ApiKey) -> Credential {
    Credential::ApiKey(key.digest())
}

#[tokio::test]
async fn an_api_key_is_an_identity_with_its_own_rights_and_its_secret_is_not_stored() {
    // STORE-36
    let mut node = node();
    let keys = node.store.api_keys();
    let (friend, record) = keys.create(&owner("keys:write"), with_role("job", "friend")).await.unwrap();
    let (scoped, _) = keys.create(&owner("keys:write"), with_scopes("scoped", &["fs:write"])).await.unwrap();
    let (root, _) = keys.create(&owner("keys:write"), with_role("root-job", "owner")).await.unwrap();
    let (read, write) = ("fs:read".parse().unwrap(), "fs:write".parse().unwrap());
    for reopened in [false, true] {
        if reopened {
            node.reopen(roles(&[("friend", &["fs:read"])]));
        }
        let who = node.identify(&proof(&friend)).unwrap();
        assert!(who.id() == "job" && who.holds(&read) && !who.holds(&write));
        let who = node.identify(&proof(&scoped)).unwrap();
        assert!(who.id() == "scoped" && who.holds(&write) && !who.holds(&read));
        assert!(node.identify(&proof(&root)).unwrap().is_owner());
    }
    let listed = node.store.api_keys().list(&owner("keys:read")).await.unwrap();
    assert_eq!(listed.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["job", "root-job", "scoped"]);
    assert_eq!((&listed[0].id, listed[0].created_at), (&record.id, NOW));
    node.store.close();
    let file = std::fs::read(&node.path).unwrap();
    let secret = &friend.reveal().as_bytes()[13..];
    assert!(!file.windows(secret.len()).any(|window| window == secret));
}

#[tokio::test]
async fn a_key_with_the_right_id_and_another_secret_is_nobody() {
    // STORE-36
    let node = node();
    let (key, _) = node.store.api_keys().create(&owner("keys:write"), with_role("job", "friend")).await.unwrap();
    let other = ApiKey::from_random(&[3; 37]);
    let forged: ApiKey = format!("{}{}", &key.reveal()[..12], &other.reveal()[12..]).parse().unwrap();
    assert_eq!(forged.digest().id(), key.digest().id());
    assert!(node.identify(&proof(&forged)).is_none() && node.identify(&proof(&other)).is_none());
    assert!(node.identify(&proof(&key)).is_some());
}

#[tokio::test]
async fn an_api_key_ends_at_its_time_or_when_it_is_revoked() {
    // STORE-36
    let node = node();
    let keys = node.store.api_keys();
    let new = NewApiKey { expires_at: Some(NOW + 10), ..with_role("short", "friend") };
    let (short, _) = keys.create(&owner("keys:write"), new.clone()).await.unwrap();
    let (long, record) = keys.create(&owner("keys:write"), with_role("long", "friend")).await.unwrap();
    node.set_clock(NOW + 9);
    assert!(node.identify(&proof(&short)).is_some());
    node.set_clock(NOW + 10);
    assert!(node.identify(&proof(&short)).is_none());
    let late = NewApiKey { name: name("late"), ..new };
    assert!(matches!(keys.create(&owner("keys:write"), late).await, Err(ApiKeyError::Expired { .. })));
    let (session, identity) = (node.session_of(&proof(&long)), node.identify(&proof(&long)).unwrap());
    assert_eq!(keys.revoke(&owner("keys:write"), &record.id).await.unwrap(), "long");
    assert!(node.identify(&proof(&long)).is_none());
    assert!(session.token().is_cancelled() && !identity.standing().is_current());
    assert!(matches!(keys.revoke(&owner("keys:write"), &record.id).await, Err(ApiKeyError::Unknown(_))));
    keys.create(&owner("keys:write"), with_role("long", "friend")).await.unwrap();
}

#[tokio::test]
async fn names_are_one_for_peers_and_api_keys() {
    // STORE-31
    let node = node();
    node.add("alice", "guest", &[1]).await;
    let keys = node.store.api_keys();
    let create = async |new| keys.create(&owner("keys:write"), new).await.map(|_| ());
    assert!(matches!(create(with_role("alice", "guest")).await, Err(ApiKeyError::NameTaken(_))));
    assert!(matches!(create(with_role(LOCAL_OWNER, "guest")).await, Err(ApiKeyError::Reserved(_))));
    create(with_role("job", "guest")).await.unwrap();
    let taken = node.store.peers().add(&owner("peers:write"), new_peer("job", "guest", &[2])).await;
    assert!(matches!(taken, Err(alknet_store::PeerError::NameTaken(_))));
    assert!(node.store.peers().remove(&owner("peers:write"), &name("job")).await.is_err(), "it is no peer");
}

#[tokio::test]
async fn nobody_hands_out_more_than_they_hold() {
    // STORE-33
    let node = node();
    node.add("helper", "helper", &[1]).await;
    let helper = permit(node.identify(&ssh(1)).unwrap(), "keys:write");
    let keys = node.store.api_keys();
    let create = async |permit, new| keys.create(permit, new).await.map(|_| ());
    let all = owner("keys:write");
    assert!(matches!(create(&helper, with_role("a", "owner")).await, Err(ApiKeyError::Beyond(_))));
    assert!(matches!(create(&helper, with_scopes("a", &["fs:read", "fs:write"])).await, Err(ApiKeyError::Beyond(_))));
    assert!(matches!(create(&all, with_scopes("a", &["ssh:exec"])).await, Err(ApiKeyError::Scopes(_))));
    assert!(matches!(create(&all, with_role("a", "frend")).await, Err(ApiKeyError::UnknownRole { .. })));
    let reader = owner("keys:read");
    let covered = create(&reader, with_role("a", "guest")).await;
    assert!(matches!(covered, Err(ApiKeyError::Permit(PermitError::NotCovered { .. }))));
    create(&helper, with_scopes("a", &["fs:read"])).await.unwrap();
}

#[tokio::test]
async fn the_last_use_is_written_at_most_once_a_minute() {
    // STORE-37
    let node = node();
    let keys = node.store.api_keys();
    let (key, _) = keys.create(&owner("keys:write"), with_role("job", "friend")).await.unwrap();
    let last_used = async || {
        node.store.flush().await.unwrap();
        keys.list(&owner("keys:read")).await.unwrap()[0].last_used_at
    };
    assert_eq!(last_used().await, None);
    node.identify(&proof(&key)).unwrap();
    assert_eq!(last_used().await, Some(NOW));
    node.set_clock(NOW + 59);
    node.identify(&proof(&key)).unwrap();
    assert_eq!(last_used().await, Some(NOW));
    node.set_clock(NOW + 60);
    node.identify(&proof(&key)).unwrap();
    // Without anybody flushing.
    eventually(async || keys.list(&owner("keys:read")).await.unwrap()[0].last_used_at == Some(NOW + 60)).await;
}

#[tokio::test]
async fn whoever_has_rights_is_known_by_name_for_as_long_as_they_last() {
    // FS-76
    let node = node();
    let named = |name: &str| node.store.directory().named(name);
    assert!(named(LOCAL_OWNER).is_some_and(|who| who.is_owner()));
    assert!(["alice", "job", "", "*", "Not a name"].iter().all(|name| named(name).is_none()));
    node.add("alice", "friend", &[1]).await;
    let ending = NewApiKey { expires_at: Some(NOW + 10), ..with_role("job", "friend") };
    node.store.api_keys().create(&owner("keys:write"), ending).await.unwrap();
    for name in ["alice", "job"] {
        let who = named(name).unwrap();
        assert!(who.id() == name && who.holds(&"fs:read".parse().unwrap()) && !who.is_owner());
    }
    let before = named("alice").unwrap();
    node.set_clock(NOW + 10);
    assert!(named("job").is_none(), "it has ended");
    node.store.peers().remove(&owner("peers:write"), &name("alice")).await.unwrap();
    assert!(named("alice").is_none() && !before.standing().is_current());
}
