//! Auth tokens and API keys, presented over the call protocol by somebody whose own key nobody knows.

use std::time::{SystemTime, UNIX_EPOCH};

use alknet_core::{AuthToken, NodeKey, Scope, ScopeSet, TokenId};
use alknet_vault::{Epoch, KeyPurpose, Mnemonic, Vault};

use crate::{call_frames::IrohClient, folder::Folder};

/// Who presents a token of the node's own key.
const OWNER: &str = "local-owner";

/// The node's own key, brought back from its mnemonic: makes tokens that the node itself would not make.
struct Forge(Vault);

impl Forge {
    fn of(folder: &Folder) -> Self {
        let mnemonic = Mnemonic::parse(folder.run(&["identity", "backup"]).trim()).unwrap();
        Self(Vault::new(&mnemonic, "", Epoch::ZERO).unwrap())
    }

    fn key(&self) -> NodeKey {
        NodeKey::from_bytes(self.0.public_key(KeyPurpose::Node)).unwrap()
    }

    fn token(&self, audience: NodeKey, issued: u64, lifetime: u32) -> String {
        let sign = |message: &[u8]| self.0.sign(KeyPurpose::Node, message).unwrap();
        let none = ScopeSet::default();
        AuthToken::issue(self.key(), audience, TokenId([7; 16]), issued, lifetime, &none, sign).unwrap().to_string()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// What is wrong with it is not told.
async fn refuses(client: &IrohClient, token: &str, why: &str) {
    assert_eq!(client.whoami(Some(token)).await, Err("UNAUTHENTICATED".to_owned()), "{why}");
}

#[tokio::test]
async fn a_token_made_here_works_here_and_nowhere_else() {
    let (folder, other) = (Folder::with_identity(), Folder::with_identity());
    let (node, other) = (folder.serve(), other.serve());
    let client = IrohClient::stranger(&node.node_id, node.addr()).await;
    let token = folder.run(&["token", "create"]);
    let token = token.trim();
    assert_eq!(client.whoami(Some(token)).await, Ok(Some(OWNER.to_owned())));
    assert_eq!(client.whoami(None).await, Ok(None), "a token holds for its request alone");
    let elsewhere = IrohClient::stranger(&other.node_id, other.addr()).await;
    refuses(&elsewhere, token, "made for another node").await;
    let foreign = folder.run(&["token", "create", "--audience", &other.node_id]);
    refuses(&client, foreign.trim(), "made here for another node").await;
    refuses(&elsewhere, foreign.trim(), "made for that node by a key that it does not know").await;
    client.finish().await;
    elsewhere.finish().await;
}

#[tokio::test]
async fn a_token_keeps_the_scopes_it_names_and_no_more() {
    let folder = Folder::with_identity();
    let node = folder.serve();
    let client = IrohClient::stranger(&node.node_id, node.addr()).await;
    let token = folder.run(&["token", "create", "--scope", "peers:read"]);
    let token = Some(token.trim());
    assert_eq!(client.call("/peers/list", token).await["type"], "call.responded");
    assert_eq!(client.call("/keys/list", token).await["payload"]["code"], "NOT_FOUND");
    client.finish().await;
}

#[tokio::test]
async fn a_token_that_is_expired_or_from_the_future_or_too_long_is_refused() {
    let folder = Folder::with_identity();
    let node = folder.serve();
    let forge = Forge::of(&folder);
    let client = IrohClient::stranger(&node.node_id, node.addr()).await;
    let own = forge.key();
    assert_eq!(client.whoami(Some(&forge.token(own, now(), 60))).await, Ok(Some(OWNER.to_owned())));
    refuses(&client, &forge.token(own, now() - 7200, 3600), "expired an hour ago").await;
    refuses(&client, &forge.token(own, now() + 3600, 3600), "from the future").await;
    refuses(&client, &forge.token(own, now(), 86_401), "longer than tokens.max_lifetime").await;
    refuses(&client, &forge.token(own, 0, u32::MAX), "made before clocks were set").await;
    client.finish().await;
}

#[tokio::test]
async fn a_token_that_is_damaged_is_refused() {
    let folder = Folder::with_identity();
    let node = folder.serve();
    let client = IrohClient::stranger(&node.node_id, node.addr()).await;
    let token = folder.run(&["token", "create"]);
    let token = token.trim();
    for cut in [0, 1, token.len() / 2, token.len() - 1] {
        refuses(&client, &token[..cut], "truncated").await;
    }
    let last = if token.ends_with('A') { "B" } else { "A" };
    for at in [token.len() / 3, token.len() / 2] {
        let other = if token.as_bytes()[at] == b'x' { "y" } else { "x" };
        let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
        refuses(&client, &changed, "a character changed").await;
    }
    refuses(&client, &format!("{token}{last}"), "longer").await;
    for multi_byte in ["é", "日本語", "\u{1f511}", &format!("{}é", &token[..token.len() - 2])] {
        refuses(&client, multi_byte, "bytes beyond ASCII").await;
    }
    assert_eq!(client.whoami(Some(token)).await, Ok(Some(OWNER.to_owned())), "the connection lives on");
    client.finish().await;
}

#[tokio::test]
async fn a_revoked_token_is_refused_from_then_on() {
    let folder = Folder::with_identity();
    let node = folder.serve();
    let client = IrohClient::stranger(&node.node_id, node.addr()).await;
    let created = folder.json(&["token", "create"]);
    let (id, token) = (created["id"].as_str().unwrap(), created["token"].as_str().unwrap());
    assert_eq!(client.whoami(Some(token)).await, Ok(Some(OWNER.to_owned())));
    folder.run(&["token", "revoke", id]);
    let after = IrohClient::stranger(&node.node_id, node.addr()).await;
    refuses(&after, token, "revoked").await;
    client.finish().await;
    after.finish().await;
}

#[tokio::test]
async fn an_api_key_has_its_roles_rights_until_it_is_revoked() {
    let folder = Folder::with_identity();
    let node = folder.serve();
    let client = IrohClient::stranger(&node.node_id, node.addr()).await;
    let created = folder.json(&["key", "create", "backup", "--role", "observer"]);
    let (id, key) = (created["id"].as_str().unwrap(), created["key"].as_str().unwrap());
    assert_eq!(client.whoami(Some(key)).await, Ok(Some("backup".to_owned())));
    assert_eq!(client.call("/peers/list", Some(key)).await["type"], "call.responded");
    assert_eq!(client.call("/node/stop", Some(key)).await["payload"]["code"], "NOT_FOUND");
    folder.run(&["key", "revoke", id]);
    let after = IrohClient::stranger(&node.node_id, node.addr()).await;
    refuses(&after, key, "revoked").await;
    client.finish().await;
    after.finish().await;
}

/// A scope that does not parse never becomes a token that holds for everything.
#[test]
fn a_token_with_a_bad_scope_is_not_made() {
    assert!("peers".parse::<Scope>().is_err());
    let folder = Folder::with_identity();
    assert!(folder.refused(&["token", "create", "--scope", "peers"], 2).contains("/scopes"));
}
