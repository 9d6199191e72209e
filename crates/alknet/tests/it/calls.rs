//! The call graph of a running node, through its socket and on the command line.

use alknet_call::{CALL, CallClient, CallOptions, ErrorCode, PresentedCredential, SubscribeOptions};
use alknet_net::connect_local;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::folder::{Folder, PATIENCE};

async fn client(folder: &Folder) -> CallClient {
    let connection = connect_local(&folder.data().join("alknet.sock"), &CALL).await.unwrap();
    CallClient::connect(connection).await.unwrap()
}

async fn call(client: &CallClient, operation: &str, input: Value) -> Value {
    client.call(operation, input, CallOptions::default()).await.unwrap()
}

/// Follows the events of the node's peers; answers the call's number.
async fn follow(client: &CallClient) -> (alknet_call::Subscription, Value) {
    let input = json!({"topic": "node.peers"});
    let followed = client.subscribe("events/subscribe", input, SubscribeOptions::default()).await.unwrap();
    let wanted = json!({"statuses": ["running"], "operation_prefix": "events/"});
    let running = async {
        loop {
            let listed = call(client, "calls/list", wanted.clone()).await;
            if let Some(call) = listed["calls"].get(0) {
                return call["number"].clone();
            }
        }
    };
    let number = timeout(PATIENCE, running).await.unwrap();
    (followed, number)
}

// CALL-58
#[tokio::test]
async fn a_call_is_shown_watched_called_off_and_kept() {
    let folder = Folder::with_identity();
    let _node = folder.serve();
    let client = client(&folder).await;
    let (mut followed, number) = follow(&client).await;
    let input = json!({"operation_prefix": "events/"});
    let mut watched = client.subscribe("calls/watch", input, SubscribeOptions::default()).await.unwrap();
    let mut step = async || {
        let item = timeout(PATIENCE, watched.next()).await.unwrap().unwrap().unwrap();
        (item.output["call"]["number"].clone(), item.output["call"]["status"].clone())
    };
    assert_eq!(step().await, (number.clone(), json!("running")), "what runs comes first");
    assert_eq!(call(&client, "calls/abort", json!({"number": number})).await, json!({"called_off": 1}));
    assert_eq!(step().await, (number.clone(), json!("aborted")));
    let error = timeout(PATIENCE, followed.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.code, ErrorCode::Aborted);

    let shown = call(&client, "calls/show", json!({"number": number})).await;
    assert_eq!((&shown["call"]["status"], &shown["call"]["identity"]), (&json!("aborted"), &json!("local-owner")));
    assert!(!shown.to_string().contains("node.peers"), "inputs are never in it: {shown}");
    let kept = call(&client, "calls/keep", json!({"number": number})).await;
    let again = call(&client, "calls/kept", kept).await;
    assert_eq!(again["kept"][0]["tree"]["call"]["number"], number);
    let stats = call(&client, "calls/stats", json!({})).await;
    let events = stats["operations"].as_array().unwrap().iter().find(|one| one["operation"] == "events/subscribe");
    assert_eq!(events.map(|one| (&one["begun"], &one["aborted"])), Some((&json!(1), &json!(1))));
}

// CALL-58: to holders of the scopes.
#[tokio::test]
async fn without_the_scopes_there_is_nothing() {
    let folder = Folder::with_identity();
    folder.configure("[roles.viewer]\nscopes = [\"node:read\"]\n");
    let _node = folder.serve();
    let created = folder.json(&["key", "create", "eve", "--role", "viewer"]);
    let token = PresentedCredential::new(created["key"].as_str().unwrap());
    let client = client(&folder).await;
    let (_followed, number) = follow(&client).await;
    for operation in ["list", "show", "watch", "stats", "abort", "keep", "kept"] {
        let options = CallOptions { token: Some(token.clone()), ..CallOptions::default() };
        let input = json!({"number": number});
        let refused = client.call(&format!("calls/{operation}"), input, options).await;
        assert_eq!(refused.unwrap_err().code, ErrorCode::NotFound, "{operation}");
    }
    let still = call(&client, "calls/show", json!({"number": number})).await;
    assert_eq!(still["call"]["status"], "running");
}

#[test]
fn the_command_line_lists_and_shows() {
    let folder = Folder::with_identity();
    let _node = folder.serve();
    folder.run(&["status"]);
    let all = folder.json(&["calls", "--all", "--operation", "node/"]);
    assert_eq!((&all[0]["operation"], &all[0]["status"]), (&json!("node/status"), &json!("completed")));
    let number = all[0]["number"].to_string();
    assert!(folder.run(&["calls", "show", &number]).starts_with("✓ node/status"));
    assert!(folder.run(&["calls", "abort", &number]).contains("had ended"));
    assert!(folder.run(&["calls", "keep", &number]).contains("alknet calls kept 1"));
    assert!(folder.run(&["calls", "kept", "1"]).starts_with("✓ node/status"));
    assert!(folder.run(&["calls", "stats"]).contains("node/status"));
    assert!(folder.refused(&["calls", "show", "999"], 4).contains("no call 999"));
    folder.refused(&["calls", "--watch", "stats"], 2);
}
