use std::sync::Arc;

use alknet_core::{
    Credential, Fingerprint, Identity, IdentityProvider, KeyPurpose, KeySigner, LOCAL_OWNER, PermitError,
    ResourceGrants, ScopeSet,
};
use alknet_store::limits::{MAX_ADDRESSES_PER_PEER, MAX_AUTHORITIES_PER_PEER, MAX_KEYS_PER_PEER};
use alknet_store::{PeerError, PeerKey};

use alknet_testkit::identities::TestKeys;

use crate::fixture::{key, name, new_peer, node, owner, permit, roles, ssh};

#[tokio::test]
async fn a_peer_is_known_by_each_of_its_keys_as_soon_as_it_is_acknowledged() {
    // STORE-30
    let node = node();
    assert!(node.identify(&ssh(1)).is_none());
    let added = node.store.peers().add(&owner("peers:write"), new_peer("alice", "friend", &[1, 2])).await.unwrap();
    for seed in [1, 2] {
        let identity = node.identify(&ssh(seed)).unwrap();
        assert_eq!(identity.id(), "alice");
        assert!(identity.holds(&"fs:read".parse().unwrap()) && !identity.holds(&"fs:write".parse().unwrap()));
        assert_eq!(node.store.peers().name_of(&key(seed)), Some(name("alice")));
    }
    assert!(node.identify(&ssh(3)).is_none());
    assert_eq!(node.store.peers().show(&owner("peers:read"), &name("alice")).unwrap(), added);
    assert_eq!(node.store.peers().list(&owner("peers:read")).unwrap(), [added]);
    assert!(!node.identify(&ssh(1)).unwrap().is_owner());
    assert!(node.identify(&Credential::LocalOwner).is_some_and(|who| who.is_owner() && who.id() == LOCAL_OWNER));
}

#[tokio::test]
async fn what_cannot_be_a_peer_is_refused_with_the_reason_and_changes_nothing() {
    // STORE-31
    let node = node();
    node.add("alice", "owner", &[1]).await;
    let add = async |text: &str, role: &str, keys: &[u8]| {
        node.store.peers().add(&owner("peers:write"), new_peer(text, role, keys)).await.unwrap_err()
    };
    assert!(matches!(add("alice", "guest", &[9]).await, PeerError::NameTaken(_)));
    assert!(matches!(add(LOCAL_OWNER, "guest", &[9]).await, PeerError::Reserved(_)));
    let error = add("bob", "guest", &[9, 1]).await;
    assert!(matches!(&error, PeerError::KeyTaken { peer, .. } if peer == "alice"), "{error}");
    let error = add("bob", "frend", &[9]).await;
    assert!(matches!(error, PeerError::UnknownRole { .. }) && error.to_string().contains("friend"), "{error}");
    let many: Vec<u8> = (10..=10 + MAX_KEYS_PER_PEER as u8).collect();
    assert!(matches!(add("bob", "guest", &many).await, PeerError::TooMany { .. }));
    let mut new = new_peer("bob", "guest", &[9]);
    new.addresses = vec!["host:1".parse().unwrap(); MAX_ADDRESSES_PER_PEER + 1];
    let error = node.store.peers().add(&owner("peers:write"), new).await.unwrap_err();
    assert!(matches!(error, PeerError::TooMany { .. }));
    let mut new = new_peer("bob", "guest", &[9]);
    new.authorities = (0..=MAX_AUTHORITIES_PER_PEER as u8).map(|seed| key(100 + seed).into()).collect();
    let error = node.store.peers().add(&owner("peers:write"), new).await.unwrap_err();
    assert!(matches!(error, PeerError::TooMany { .. }));
    assert!(node.identify(&ssh(9)).is_none());
    assert_eq!(node.store.peers().list(&owner("peers:read")).unwrap().len(), 1);
    node.add("bob", "guest", &[9, 9]).await;
}

#[tokio::test]
async fn a_removed_peer_is_nobody_and_its_sessions_and_permits_end() {
    // STORE-32
    let node = node();
    node.add("alice", "helper", &[1]).await;
    node.add("bob", "friend", &[2]).await;
    let (alice, bob) = (node.session_of(&ssh(1)), node.session_of(&ssh(2)));
    let hers = permit(node.identify(&ssh(1)).unwrap(), "peers:write");
    let his = permit(node.identify(&ssh(2)).unwrap(), "fs:read");
    node.store.peers().remove(&owner("peers:write"), &name("alice")).await.unwrap();
    assert!(node.identify(&ssh(1)).is_none());
    assert!(alice.token().is_cancelled() && !bob.token().is_cancelled());
    assert_eq!(his.check(), Ok(()), "others notice nothing");
    let error = node.store.peers().add(&hers, new_peer("mallory", "guest", &[3])).await.unwrap_err();
    assert!(matches!(error, PeerError::Permit(PermitError::Revoked)), "{error}");
    assert!(node.identify(&ssh(3)).is_none());
    let error = node.store.peers().remove(&owner("peers:write"), &name("alice")).await.unwrap_err();
    assert!(matches!(error, PeerError::Unknown(_)));
    node.add("alice", "guest", &[1]).await;
    assert_eq!(hers.check(), Err(PermitError::Revoked), "the name coming back does not bring the rights back");
}

#[tokio::test]
async fn a_peer_gains_keys_without_a_break_and_loses_them_with_its_sessions() {
    // STORE-32
    let node = node();
    node.add("alice", "friend", &[1]).await;
    node.add("bob", "friend", &[5]).await;
    let (peers, writer) = (node.store.peers(), owner("peers:write"));
    let session = node.session_of(&ssh(1));
    let before = node.identify(&ssh(1)).unwrap();
    let record = peers.add_keys(&writer, &name("alice"), vec![key(2).into(), key(1).into()], vec![]).await.unwrap();
    assert_eq!(record.keys, [key(1).into(), key(2).into()]);
    assert!(before.standing().is_current() && !session.token().is_cancelled());
    assert_eq!(node.identify(&ssh(2)).unwrap().id(), "alice");
    let taken = peers.add_keys(&writer, &name("alice"), vec![key(3).into(), key(5).into()], vec![]).await.unwrap_err();
    assert!(matches!(taken, PeerError::KeyTaken { .. }));
    assert!(node.identify(&ssh(3)).is_none(), "all of it or nothing");
    let record = peers.remove_keys(&writer, &name("alice"), vec![key(1)]).await.unwrap();
    assert_eq!(record.keys, [key(2).into()]);
    assert!(!before.standing().is_current() && session.token().is_cancelled());
    assert!(node.identify(&ssh(1)).is_none() && node.identify(&ssh(2)).is_some());
    let missing = peers.remove_keys(&writer, &name("alice"), vec![key(2), key(1)]).await.unwrap_err();
    assert!(matches!(missing, PeerError::NoSuchKey { .. }));
    assert!(node.identify(&ssh(2)).is_some(), "all of it or nothing");
}

fn with_options(seed: u8, options: &str) -> PeerKey {
    PeerKey { fingerprint: key(seed), options: Some(options.to_owned()) }
}

#[tokio::test]
async fn a_key_with_options_is_one_for_ssh_only() {
    // STORE-85
    let mut node = node();
    let node_key = TestKeys::new(7).public_key(KeyPurpose::Node);
    let restricted = PeerKey { fingerprint: node_key.into(), options: Some("restrict".to_owned()) };
    let mut new = new_peer("alice", "friend", &[1]);
    new.keys.insert(0, restricted);
    node.store.peers().add(&owner("peers:write"), new.clone()).await.unwrap();
    node.reopen(roles(&[("friend", &["fs:read"])]));
    assert!(node.identify(&Credential::NodeKey(node_key)).is_none());
    assert!(node.identify(&Credential::SshKey(node_key.into())).is_none(), "whoever asks without regard to options");
    assert_eq!(node.store.peers().dial_target(&name("alice")).unwrap().key, None);
    let directory = node.store.directory();
    let grant =
        |key: &Fingerprint| directory.ssh_key(key).map(|it| (it.identity.id().to_owned(), it.options.to_string()));
    assert_eq!(grant(&node_key.into()), Some(("alice".to_owned(), "restrict".to_owned())));
    assert_eq!(grant(&key(1)), Some(("alice".to_owned(), String::new())));
    assert_eq!(grant(&key(2)), None);
    assert_eq!(node.store.peers().show(&owner("peers:read"), &name("alice")).unwrap().keys, new.keys);
}

#[tokio::test]
async fn other_options_end_what_was_begun_with_the_old_ones() {
    // STORE-85
    let node = node();
    node.add("alice", "friend", &[1]).await;
    let (peers, writer) = (node.store.peers(), owner("peers:write"));
    let before = node.identify(&ssh(1)).unwrap();
    let session = node.session_of(&ssh(1));
    let record = peers.add_keys(&writer, &name("alice"), vec![with_options(1, "no-pty")], vec![]).await.unwrap();
    assert_eq!(record.keys, [with_options(1, "no-pty")]);
    assert!(!before.standing().is_current() && session.token().is_cancelled() && node.identify(&ssh(1)).is_none());
    let restricted = node.store.directory().ssh_key(&key(1)).unwrap().identity;
    peers.add_keys(&writer, &name("alice"), vec![with_options(1, "no-pty")], vec![]).await.unwrap();
    assert!(restricted.standing().is_current(), "the same again changes nothing");
    peers.add_keys(&writer, &name("alice"), vec![key(1).into()], vec![]).await.unwrap();
    assert!(node.identify(&ssh(1)).is_some() && !restricted.standing().is_current());
}

#[tokio::test]
async fn several_peers_trust_one_authority_each_with_options_of_its_own() {
    // STORE-86
    let mut node = node();
    let (peers, writer) = (node.store.peers(), owner("peers:write"));
    assert!(!node.store.directory().has_ssh_authorities());
    let mut alice = new_peer("alice", "friend", &[]);
    alice.authorities = vec![key(9).into()];
    peers.add(&writer, alice).await.unwrap();
    node.add("bob", "guest", &[2]).await;
    let authority = with_options(9, "principals=\"ops\"");
    peers.add_keys(&writer, &name("bob"), vec![], vec![authority.clone(), authority.clone()]).await.unwrap();
    drop(peers);
    node.reopen(roles(&[("friend", &["fs:read"])]));
    let (directory, peers) = (node.store.directory(), node.store.peers());
    let trusting = || {
        let all = directory.ssh_authority(&key(9));
        all.iter().map(|it| (it.identity.id().to_owned(), it.options.to_string())).collect::<Vec<_>>()
    };
    let of = |name: &str, options: &str| (name.to_owned(), options.to_owned());
    assert_eq!(trusting(), [of("alice", ""), of("bob", "principals=\"ops\"")]);
    assert!(directory.has_ssh_authorities() && directory.ssh_authority(&key(2)).is_empty());
    assert!(node.identify(&ssh(9)).is_none(), "an authority's key is nobody's login");
    let by_certificate = directory.ssh_authority(&key(9))[1].identity.clone();
    let record = peers.remove_keys(&writer, &name("bob"), vec![key(9)]).await.unwrap();
    assert_eq!((record.keys, record.authorities), (vec![key(2).into()], vec![]));
    assert!(!by_certificate.standing().is_current());
    assert_eq!(trusting(), [of("alice", "")]);
    peers.remove(&writer, &name("alice")).await.unwrap();
    assert!(!directory.has_ssh_authorities());
}

#[tokio::test]
async fn only_an_owner_makes_changes_or_removes_an_owner() {
    // STORE-33
    let node = node();
    node.add("root", "owner", &[1]).await;
    node.add("helper", "helper", &[2]).await;
    let helper = || permit(node.identify(&ssh(2)).unwrap(), "peers:write");
    let peers = node.store.peers();
    let refused = |result| assert!(matches!(result, Err(PeerError::OwnersOnly(_))), "{result:?}");
    refused(peers.add(&helper(), new_peer("mallory", "owner", &[3])).await);
    refused(peers.add_keys(&helper(), &name("root"), vec![key(3).into()], vec![]).await);
    refused(peers.remove_keys(&helper(), &name("root"), vec![key(1)]).await);
    refused(peers.remove(&helper(), &name("root")).await);
    assert!(node.identify(&ssh(1)).unwrap().is_owner() && node.identify(&ssh(3)).is_none());
    peers.add(&helper(), new_peer("friend", "friend", &[3])).await.unwrap();
}

#[tokio::test]
async fn each_function_wants_its_own_scope() {
    // STORE-33
    let node = node();
    let (read, write, peers) = (owner("peers:read"), owner("peers:write"), node.store.peers());
    let uncovered = |error| assert!(matches!(error, PeerError::Permit(PermitError::NotCovered { .. })), "{error}");
    uncovered(peers.add(&read, new_peer("a", "guest", &[1])).await.unwrap_err());
    uncovered(peers.add_keys(&read, &name("a"), vec![], vec![]).await.unwrap_err());
    uncovered(peers.remove(&read, &name("a")).await.unwrap_err());
    uncovered(peers.list(&write).unwrap_err());
    uncovered(peers.show(&write, &name("a")).unwrap_err());
}

#[tokio::test]
async fn a_dial_target_is_the_first_node_key_and_the_addresses() {
    let node = node();
    let node_key = TestKeys::new(7).public_key(KeyPurpose::Node);
    let mut new = new_peer("box", "friend", &[1]);
    new.keys.push(Fingerprint::from(node_key).into());
    new.addresses = vec!["box.lan:4433".parse().unwrap(), "[::1]:4433".parse().unwrap()];
    node.store.peers().add(&owner("peers:write"), new.clone()).await.unwrap();
    let target = node.store.peers().dial_target(&name("box")).unwrap();
    assert_eq!((target.key, target.addresses), (Some(node_key), new.addresses));
    assert_eq!(node.store.peers().dial_target(&name("nobody")), None);
    assert_eq!(node.identify(&Credential::NodeKey(node_key)).unwrap().id(), "box");
    let same = Credential::SshKey(node_key.into());
    assert_eq!(node.identify(&same).unwrap().id(), "box", "one key is one peer on every carrier");
}

#[tokio::test]
async fn everything_is_found_again() {
    // STORE-01
    let mut node = node();
    node.add("alice", "friend", &[1, 2]).await;
    node.add("bob", "owner", &[3]).await;
    node.store.peers().remove(&owner("peers:write"), &name("bob")).await.unwrap();
    let before = node.store.peers().list(&owner("peers:read")).unwrap();
    node.reopen(roles(&[("friend", &["fs:read"])]));
    assert_eq!(node.store.peers().list(&owner("peers:read")).unwrap(), before);
    assert_eq!(node.identify(&ssh(2)).unwrap().id(), "alice");
    assert!(node.identify(&ssh(3)).is_none());
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let node = node();
    node.store.close();
    let error = node.store.peers().add(&owner("peers:write"), new_peer("a", "guest", &[1])).await.unwrap_err();
    assert_eq!(error.to_string(), "the database is closed");
    let nobody = Identity::new("x", ScopeSet::from_iter(["audit:read".parse().unwrap()]), ResourceGrants::default());
    let read = permit(Arc::new(nobody), "audit:read");
    assert!(node.store.audit().counters(&read).await.is_err());
    assert!(node.store.flush().await.is_err());
}

#[tokio::test]
async fn peers_are_added_together_or_not_at_all() {
    // STORE-31
    let node = node();
    let peers = node.store.peers();
    let batch = |last| vec![new_peer("alice", "friend", &[1]), new_peer("bob", "guest", &[last])];
    let error = peers.add_all(&owner("peers:write"), batch(1)).await.unwrap_err();
    assert!(matches!(&error, PeerError::KeyTaken { peer, .. } if peer == "alice"), "{error}");
    assert!(peers.list(&owner("peers:read")).unwrap().is_empty() && node.identify(&ssh(1)).is_none());
    assert_eq!(peers.add_all(&owner("peers:write"), batch(2)).await.unwrap().len(), 2);
    assert_eq!(node.identify(&ssh(2)).unwrap().id(), "bob");
    assert_eq!(peers.role_of(&name("alice")).as_deref(), Some("friend"));
    assert_eq!(peers.role_of(&name("carol")), None);
}
