use alknet_core::Scope;

use crate::fixture::{node, node_with, roles, ssh};

#[tokio::test]
async fn other_roles_reach_those_whose_rights_differ_and_nobody_else() {
    // STORE-35
    let node = node_with(roles(&[("friend", &["fs:read"]), ("guide", &["fs:read"])]));
    node.add("alice", "friend", &[1]).await;
    node.add("bob", "guide", &[2]).await;
    node.add("carol", "owner", &[3]).await;
    let (alice, bob, carol) = (node.session_of(&ssh(1)), node.session_of(&ssh(2)), node.session_of(&ssh(3)));
    let old = node.identify(&ssh(1)).unwrap();
    let bobs = node.identify(&ssh(2)).unwrap();
    node.store.set_roles(roles(&[("friend", &["fs:write"]), ("guide", &["fs:read"])]));
    let (read, write): (Scope, Scope) = ("fs:read".parse().unwrap(), "fs:write".parse().unwrap());
    let new = node.identify(&ssh(1)).unwrap();
    assert!(new.holds(&write) && !new.holds(&read) && new.standing().is_current());
    assert!(!old.standing().is_current() && alice.token().is_cancelled());
    assert!(bobs.standing().is_current() && !bob.token().is_cancelled() && !carol.token().is_cancelled());
}

#[tokio::test]
async fn a_peer_whose_role_is_gone_stays_known_and_may_do_nothing() {
    // STORE-35
    let mut node = node();
    node.add("alice", "friend", &[1]).await;
    for reopen in [false, true] {
        if reopen {
            node.reopen(roles(&[]));
        } else {
            node.store.set_roles(roles(&[]));
        }
        let alice = node.identify(&ssh(1)).unwrap();
        assert_eq!(alice.id(), "alice");
        assert!(alice.scopes().is_empty() && !alice.is_owner());
    }
    node.store.set_roles(roles(&[("friend", &["fs:read"])]));
    assert!(node.identify(&ssh(1)).unwrap().holds(&"fs:read".parse().unwrap()));
}

#[tokio::test]
async fn an_identity_names_the_role_that_it_has() {
    // STORE-35
    let node = node_with(roles(&[("friend", &["fs:read"]), ("guide", &["fs:read"])]));
    node.add("alice", "friend", &[1]).await;
    node.add("carol", "owner", &[3]).await;
    let role_of = |key: u8| node.identify(&ssh(key)).unwrap().role().map(str::to_owned);
    assert_eq!((role_of(1).as_deref(), role_of(3).as_deref()), (Some("friend"), Some("owner")));
    node.store.set_roles(roles(&[]));
    assert_eq!(role_of(1), None, "a role that is not configured is none");
}
