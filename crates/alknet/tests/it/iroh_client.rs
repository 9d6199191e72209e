//! A stock iroh client reaches the node's one UDP port by node key and address alone.

use std::time::Duration;

use alknet_core::NodeKey;
use iroh::SecretKey;

use crate::{call_frames::IrohClient, folder::Folder};

/// The node id of an iroh key, as this node writes it.
pub fn node_id(secret: &SecretKey) -> String {
    NodeKey::from_bytes(*secret.public().as_bytes()).unwrap().to_string()
}

#[tokio::test]
async fn an_iroh_client_is_known_by_its_peer_name() {
    let folder = Folder::with_identity();
    let node = folder.serve();
    let secret = SecretKey::generate();
    folder.run(&["peer", "add", "roaming", "--key", &node_id(&secret)]);
    let client = IrohClient::dial(secret, &node.node_id, node.addr()).await;
    assert_eq!(client.whoami(None).await, Ok(Some("roaming".to_owned())));
    client.finish().await;
}

#[tokio::test]
async fn an_unknown_iroh_client_is_a_stranger_who_sees_public_operations_only() {
    let folder = Folder::with_identity();
    let node = folder.serve();
    let client = IrohClient::stranger(&node.node_id, node.addr()).await;
    assert_eq!(client.whoami(None).await, Ok(None));
    let refused = client.call("/peers/list", None).await;
    let unknown = client.call("/peers/no-such", None).await;
    assert_eq!(refused["payload"]["code"], "UNAUTHENTICATED");
    assert_eq!(refused["payload"], unknown["payload"], "a stranger cannot tell what exists");
    client.finish().await;
}

#[tokio::test]
async fn a_removed_peer_loses_its_live_connection() {
    let folder = Folder::with_identity();
    let node = folder.serve();
    let secret = SecretKey::generate();
    folder.run(&["peer", "add", "leaver", "--key", &node_id(&secret), "--role", "observer"]);
    let client = IrohClient::dial(secret, &node.node_id, node.addr()).await;
    assert_eq!(client.call("/peers/list", None).await["type"], "call.responded");
    folder.run(&["peer", "remove", "leaver"]);
    assert!(client.closed_within(Duration::from_secs(5)).await);
    client.finish().await;
}
