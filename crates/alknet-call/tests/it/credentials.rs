//! Credentials that requests carry.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use alknet_call::{Authenticator, CALL, CallHandler, CallOptions, ErrorCode, PresentedCredential};
use alknet_core::{
    ApiKey, AuditKind, AuditOutcome, AuthToken, Credential, CredentialVerifier, KeyPurpose, KeySigner, ProtocolHandler,
    ScopeSet, TokenBounds, TokenId,
};
use alknet_testkit::{
    identities::{TestKeys, peer_with_key},
    memory,
};
use serde_json::{Value, json};

use crate::node::{ALICE, NODE, NOW, Node, alice, alices, anonymous, key, soon};

fn token(audience: u8, id: u8, issued: u64, lifetime: u32) -> AuthToken {
    let keys = TestKeys::new(ALICE);
    let sign = |message: &[u8]| keys.sign(KeyPurpose::Node, message);
    AuthToken::issue(key(ALICE), key(audience), TokenId([id; 16]), issued, lifetime, &ScopeSet::default(), sign)
        .unwrap()
}

fn with(text: impl ToString) -> CallOptions {
    CallOptions { token: Some(PresentedCredential::new(text.to_string())), ..CallOptions::default() }
}

/// Makes the token's bearer known, as the store does for tokens that were not revoked.
fn know(node: &Node, token: &AuthToken) -> Credential {
    let bounds = TokenBounds::default();
    let credential = Credential::AuthToken(token.clone().verify(&key(NODE), NOW, &bounds).unwrap());
    node.identities.know(&credential, alice());
    credential
}

async fn whoami(client: &alknet_call::CallClient, options: CallOptions) -> Result<Value, ErrorCode> {
    client.call("test/whoami", json!({}), options).await.map_err(|error| error.code)
}

// CALL-23 CALL-24
#[tokio::test]
async fn a_token_or_key_makes_a_stranger_known_for_its_request() {
    let node = Node::new();
    let token = token(NODE, 9, NOW, 600);
    know(&node, &token);
    let api_key = ApiKey::from_random(&[7; 37]);
    node.identities.know(&Credential::ApiKey(api_key.digest()), alice());
    let client = node.client(anonymous()).await;
    for _ in 0..3 {
        for presented in [with(&token), with(api_key.reveal())] {
            assert_eq!(whoami(&client, presented).await.unwrap()["id"], "alice");
        }
        assert_eq!(whoami(&client, CallOptions::default()).await.unwrap()["id"], Value::Null, "for its request only");
    }
    let proven = node.audit.events().iter().filter(|event| event.kind == AuditKind::Authentication).count();
    assert_eq!(proven, 2, "once a connection and credential");
}

// CALL-23: never ignored in favour of a weaker one, also for something public.
#[tokio::test]
async fn a_bad_credential_fails_its_request() {
    let node = Node::new();
    let good = token(NODE, 9, NOW, 600);
    know(&node, &good);
    let text = good.to_string();
    let unknown_key = ApiKey::from_random(&[8; 37]);
    let bad = [
        String::new(),
        "garbage".to_owned(),
        "日本語".to_owned(),
        text[..text.len() - 1].to_owned(),
        format!("{}{}", if text.starts_with('A') { 'B' } else { 'A' }, &text[1..]),
        "A".repeat(4000),
        unknown_key.reveal().to_owned(),
        token(3, 9, NOW, 600).to_string(),
        token(NODE, 9, NOW - 700, 600).to_string(),
        token(NODE, 9, NOW + 100, 600).to_string(),
        token(NODE, 9, NOW, 600_000).to_string(),
        token(NODE, 10, NOW, 600).to_string(),
    ];
    let client = node.client(alices()).await;
    for text in &bad {
        assert_eq!(whoami(&client, with(text)).await, Err(ErrorCode::Unauthenticated), "{text}");
    }
    let events = node.audit.events();
    let failed: Vec<_> = events.iter().filter(|event| event.kind == AuditKind::Authentication).collect();
    assert_eq!(failed.len(), bad.len());
    for event in failed {
        assert_eq!((event.outcome, &event.identity), (AuditOutcome::Denied, &None));
        let shown = format!("{event:?}");
        assert!(bad.iter().filter(|text| !text.is_empty()).all(|text| !shown.contains(text.as_str())), "{shown}");
    }
    assert_eq!(whoami(&client, CallOptions::default()).await.unwrap()["id"], "alice");
}

// CALL-24: what verified once is looked up again each time.
#[tokio::test]
async fn a_revoked_or_expired_token_stops_at_its_next_use() {
    static TIME: AtomicU64 = AtomicU64::new(NOW);
    let node = Node::new();
    let clock = || TIME.load(Ordering::Acquire);
    let authenticator = Authenticator::new(node.identities.clone(), CredentialVerifier::new(key(NODE), clock));
    let handler = Arc::new(CallHandler::new(node.registry.clone(), authenticator));
    let (near, far) = memory::pair(&CALL, anonymous(), peer_with_key(NODE));
    let served = tokio::spawn(async move { handler.serve(far).await });
    let client = alknet_call::CallClient::connect(near).await.unwrap();
    let (revoked, expired) = (token(NODE, 1, NOW, 600), token(NODE, 2, NOW, 600));
    let credential = know(&node, &revoked);
    know(&node, &expired);
    assert!(whoami(&client, with(&revoked)).await.is_ok());
    assert!(whoami(&client, with(&expired)).await.is_ok());
    node.identities.forget(&credential);
    assert_eq!(whoami(&client, with(&revoked)).await, Err(ErrorCode::Unauthenticated));
    TIME.store(NOW + 661, Ordering::Release);
    assert_eq!(whoami(&client, with(&expired)).await, Err(ErrorCode::Unauthenticated));
    drop(client);
    soon(served).await.unwrap().unwrap();
}

// CALL-25: a call that runs under a token ends with the token, the connection stays.
#[tokio::test]
async fn a_running_call_ends_with_the_token_that_began_it() {
    let node = Node::new();
    let token = token(NODE, 3, NOW, 600);
    let label = know(&node, &token).label();
    let client = node.client(anonymous()).await;
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move { client.call("test/wait", json!({}), with(&token)).await })
    };
    crate::node::until(|| node.waits.running.load(Ordering::Acquire) == 1).await;
    assert_eq!(node.sessions.cancel_credential(&label), 1);
    assert_eq!(soon(waiting).await.unwrap().unwrap_err().code, ErrorCode::Unauthenticated);
    assert!(whoami(&client, CallOptions::default()).await.is_ok());
}

// CALL-02: a valid token lets larger frames in.
#[tokio::test]
async fn a_first_valid_token_raises_the_frame_bound() {
    let node = Node::new();
    let token = token(NODE, 4, NOW, 600);
    know(&node, &token);
    let client = node.client(anonymous()).await;
    assert!(whoami(&client, with(&token)).await.is_ok());
    let text = "x".repeat(alknet_call::limits::MAX_UNIDENTIFIED_FRAME_BYTES + 1);
    assert!(client.call("test/echo", json!({ "text": text }), CallOptions::default()).await.is_ok());
}
