use std::time::Duration;

use alknet_core::{
    AuthToken, Credential, Fingerprint, KeyPurpose, KeySigner, Maintenance, NodeKey, TokenBounds, TokenId,
};
use alknet_store::{NewToken, TokenDenial, TokenStoreError};
use alknet_testkit::identities::TestKeys;

use crate::fixture::{NOW, Node, name, node, node_with, owner, permit, roles};

const HOUR: u32 = 3600;

fn signer() -> NodeKey {
    TestKeys::new(1).public_key(KeyPurpose::Node)
}

/// A token of the test key, verified.
fn token(id: u8, issued: u64, scopes: &[&str]) -> Credential {
    let audience = TestKeys::new(2).public_key(KeyPurpose::Node);
    let scopes = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
    let sign = |message: &[u8]| TestKeys::new(1).sign(KeyPurpose::Node, message);
    let token = AuthToken::issue(signer(), audience, TokenId([id; 16]), issued, HOUR, &scopes, sign).unwrap();
    Credential::AuthToken(token.verify(&audience, issued, &TokenBounds::default()).unwrap())
}

async fn with_alice() -> Node {
    let node = node_with(roles(&[("friend", &["fs:read", "fs:list"])]));
    node.add("alice", "friend", &[]).await;
    node.store
        .peers()
        .add_keys(&owner("peers:write"), &name("alice"), vec![Fingerprint::from(signer()).into()], vec![])
        .await
        .unwrap();
    node
}

fn made(id: u8, expires_at: u64) -> NewToken {
    let key = Fingerprint::from(signer());
    NewToken {
        id: TokenId([id; 16]),
        key,
        issued_at: NOW,
        expires_at,
        scopes: ["fs:read".parse().unwrap()].into_iter().collect(),
    }
}

async fn deny(node: &Node, denial: TokenDenial) {
    node.store.tokens().deny(&owner("tokens:write"), denial, &TokenBounds::default()).await.unwrap();
}

#[tokio::test]
async fn a_token_is_its_keys_peer_limited_to_its_scopes() {
    // STORE-38
    let node = with_alice().await;
    let (read, list) = ("fs:read".parse().unwrap(), "fs:list".parse().unwrap());
    let all = node.identify(&token(1, NOW, &[])).unwrap();
    assert!(all.id() == "alice" && all.holds(&read) && all.holds(&list));
    let limited = node.identify(&token(2, NOW, &["fs:read", "fs:write"])).unwrap();
    assert!(limited.id() == "alice" && limited.holds(&read) && !limited.holds(&list));
    assert!(!limited.holds(&"fs:write".parse().unwrap()), "a token adds nothing");
    node.store.peers().remove(&owner("peers:write"), &name("alice")).await.unwrap();
    assert!(node.identify(&token(1, NOW, &[])).is_none());
    assert!(!all.standing().is_current() && !limited.standing().is_current());
}

#[tokio::test]
async fn a_denied_token_is_nobody_and_what_it_began_ends() {
    // STORE-39
    let mut node = with_alice().await;
    let by_key = Credential::NodeKey(signer());
    let (denied, other) = (token(1, NOW, &[]), token(2, NOW, &[]));
    let sessions = [&denied, &other, &by_key].map(|credential| node.session_of(credential));
    let permit = permit(node.identify(&denied).unwrap(), "fs:read");
    let others = node.identify(&other).unwrap();
    deny(&node, TokenDenial::Token(TokenId([1; 16]))).await;
    assert_eq!(sessions.each_ref().map(|session| session.token().is_cancelled()), [true, false, false]);
    assert!(permit.check().is_err() && others.standing().is_current());
    assert!(node.identify(&denied).is_none() && node.identify(&other).is_some() && node.identify(&by_key).is_some());
    node.reopen(roles(&[("friend", &["fs:read"])]));
    assert!(node.identify(&denied).is_none() && node.identify(&other).is_some());
}

#[tokio::test]
async fn all_tokens_of_a_key_before_a_time_are_denied() {
    // STORE-39
    let node = with_alice().await;
    let (old, new) = (token(1, NOW - 10, &[]), token(2, NOW, &[]));
    let sessions = [&old, &new].map(|credential| node.session_of(credential));
    deny(&node, TokenDenial::KeyBefore(signer().into(), NOW)).await;
    assert!(node.identify(&old).is_none() && node.identify(&new).is_some());
    assert_eq!(sessions.each_ref().map(|session| session.token().is_cancelled()), [true, false]);
    deny(&node, TokenDenial::KeyBefore(signer().into(), NOW - 100)).await;
    assert!(node.identify(&old).is_none(), "an earlier time takes nothing back");
}

#[tokio::test]
async fn denials_are_kept_until_what_they_deny_is_over() {
    // STORE-39
    let node = with_alice().await;
    let task = Maintenance::of("test");
    let tokens = node.store.tokens();
    tokens.record(&owner("tokens:write"), made(1, NOW + 600)).await.unwrap();
    deny(&node, TokenDenial::Token(TokenId([1; 16]))).await;
    deny(&node, TokenDenial::Token(TokenId([2; 16]))).await;
    let skew = TokenBounds::default().skew.as_secs();
    node.set_clock(NOW + 600 + skew - 1);
    tokens.prune(&task).await.unwrap();
    assert!(node.identify(&token(1, NOW, &[])).is_none());
    node.set_clock(NOW + 600 + skew);
    tokens.prune(&task).await.unwrap();
    assert!(node.identify(&token(1, NOW, &[])).is_some(), "its own end keeps it out from here on");
    assert!(node.identify(&token(2, NOW, &[])).is_none(), "of a token made elsewhere nobody knows the end");
    node.set_clock(NOW + Duration::from_secs(24 * 3600).as_secs() + 2 * skew);
    tokens.prune(&task).await.unwrap();
    assert!(node.identify(&token(2, NOW, &[])).is_some());
}

#[tokio::test]
async fn tokens_made_here_are_listed_with_their_standing() {
    let node = with_alice().await;
    let tokens = node.store.tokens();
    for id in [1, 2] {
        tokens.record(&owner("tokens:write"), made(id, NOW + 600)).await.unwrap();
    }
    let again = tokens.record(&owner("tokens:write"), made(1, NOW + 600)).await;
    assert!(matches!(again, Err(TokenStoreError::Known(_))));
    deny(&node, TokenDenial::Token(TokenId([2; 16]))).await;
    let listed = tokens.list(&owner("tokens:read")).await.unwrap();
    assert_eq!(listed.iter().map(|row| row.denied).collect::<Vec<_>>(), [false, true]);
    assert_eq!(listed[0].token, made(1, NOW + 600));
    deny(&node, TokenDenial::KeyBefore(signer().into(), NOW + 1)).await;
    assert!(tokens.list(&owner("tokens:read")).await.unwrap().iter().all(|row| row.denied));
    assert!(tokens.list(&owner("tokens:write")).await.is_err());
    assert!(tokens.record(&owner("tokens:read"), made(3, NOW)).await.is_err());
}

#[tokio::test]
async fn a_stranger_with_a_good_signature_is_nobody() {
    let node = node();
    assert!(node.identify(&token(1, NOW, &[])).is_none());
}

#[tokio::test]
async fn the_nodes_own_key_is_its_owner_and_its_tokens_can_be_denied() {
    // STORE-46
    let node = with_alice().await;
    node.store.bind_node_key(&Maintenance::of("test"), signer()).await.unwrap();
    let own = node.identify(&Credential::NodeKey(signer())).unwrap();
    assert!(own.is_owner() && own.id() == alknet_core::LOCAL_OWNER, "though alice lists the key");
    let limited = node.identify(&token(1, NOW, &["fs:read"])).unwrap();
    assert!(limited.holds(&"fs:read".parse().unwrap()) && !limited.holds(&"peers:write".parse().unwrap()));
    assert!(!limited.is_owner());
    deny(&node, TokenDenial::Token(TokenId([1; 16]))).await;
    assert!(node.identify(&token(1, NOW, &["fs:read"])).is_none() && !limited.standing().is_current());
    assert!(own.standing().is_current() && node.identify(&token(2, NOW, &[])).is_some());
}
