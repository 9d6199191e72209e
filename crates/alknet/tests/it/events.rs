//! Events and jobs, from the command line and through the socket.

use alknet_call::{CALL, CallClient, CallOptions, ErrorCode, PresentedCredential, SubscribeOptions};
use alknet_net::connect_local;
use futures_util::StreamExt;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    folder::{Folder, PATIENCE},
    running::RunningNode,
};

async fn client(folder: &Folder) -> CallClient {
    let connection = connect_local(&folder.data().join("alknet.sock"), &CALL).await.unwrap();
    CallClient::connect(connection).await.unwrap()
}

async fn call(client: &CallClient, operation: &str, input: Value) -> Value {
    client.call(operation, input, CallOptions::default()).await.unwrap()
}

async fn refused(client: &CallClient, operation: &str, input: Value) -> (ErrorCode, Option<Value>) {
    let error = client.call(operation, input, CallOptions::default()).await.unwrap_err();
    (error.code, error.details)
}

fn payload(item: &Value) -> &Value {
    &item["payload"]
}

#[tokio::test]
async fn a_consumer_goes_on_where_it_was_after_a_kill() {
    let folder = Folder::with_identity();
    let node = folder.serve();
    let before = client(&folder).await;
    call(&before, "events/declare", json!({"topic": "orders", "version": 1})).await;
    let events: Vec<_> = (0..5).map(|n| json!({"payload": n})).collect();
    let published = call(&before, "events/publish", json!({"topic": "orders", "events": events})).await;
    let ids: Vec<u64> = serde_json::from_value(published["ids"].clone()).unwrap();
    call(&before, "events/save-position", json!({"topic": "orders", "consumer": "billing", "id": ids[1]})).await;
    node.signal(Signal::KILL);
    node.gone();

    let _node = folder.serve();
    let after = client(&folder).await;
    let input = json!({"topic": "orders", "consumer": "billing", "from": "oldest"});
    let mut followed = after.subscribe("events/subscribe", input, SubscribeOptions::default()).await.unwrap();
    for (n, id) in ids.iter().enumerate().skip(2) {
        let item = timeout(PATIENCE, followed.next()).await.unwrap().unwrap().unwrap();
        assert_eq!((payload(&item.output), item.seq), (&json!(n), Some(*id)));
    }
    // What is published while somebody follows comes at once.
    let live = json!({"topic": "orders", "events": [{"payload": "live"}]});
    call(&after, "events/publish", live).await;
    let item = timeout(PATIENCE, followed.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(payload(&item.output), "live");
}

#[tokio::test]
async fn what_is_no_longer_kept_is_said() {
    let folder = Folder::with_identity();
    let _node = folder.serve();
    let client = client(&folder).await;
    call(&client, "events/declare", json!({"topic": "short", "version": 1, "max_events": 2})).await;
    let events: Vec<_> = (0..5).map(|n| json!({"payload": n})).collect();
    call(&client, "events/publish", json!({"topic": "short", "events": events})).await;
    let options = SubscribeOptions { after_seq: Some(1), ..SubscribeOptions::default() };
    let mut followed = client.subscribe("events/subscribe", json!({"topic": "short"}), options).await.unwrap();
    let error = timeout(PATIENCE, followed.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.code, ErrorCode::Declared("TRIMMED".into()));
    let oldest = error.details.unwrap()["oldest"].as_u64().unwrap();
    let page = call(&client, "events/list", json!({"topic": "short", "after": oldest - 1})).await;
    let left: Vec<_> = page["events"].as_array().unwrap().iter().map(payload).collect();
    assert_eq!(left, [&json!(3), &json!(4)]);
    let mut all = client
        .subscribe("events/subscribe", json!({"topic": "short", "from": "oldest"}), SubscribeOptions::default())
        .await
        .unwrap();
    assert_eq!(payload(&timeout(PATIENCE, all.next()).await.unwrap().unwrap().unwrap().output), 3);
}

#[tokio::test]
async fn only_what_was_declared_is_published() {
    let folder = Folder::with_identity();
    let _node = folder.serve();
    let client = client(&folder).await;
    let publish = |payload: Value| json!({"topic": "orders", "events": [{"payload": {"n": 1}}, {"payload": payload}]});
    let undeclared = refused(&client, "events/publish", publish(json!({"n": 2}))).await;
    assert_eq!(undeclared.0, ErrorCode::Declared("UNDECLARED".into()));
    let schema = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}});
    call(&client, "events/declare", json!({"topic": "orders", "version": 1, "schema": schema})).await;
    let (code, details) = refused(&client, "events/publish", publish(json!({"n": "two"}))).await;
    assert_eq!((code, details), (ErrorCode::InvalidInput, Some(json!({"pointer": "/events/1/payload/n"}))));
    let page = call(&client, "events/list", json!({"topic": "orders"})).await;
    assert_eq!(page["events"], json!([]), "all or nothing");
    let changed = json!({"topic": "orders", "version": 1, "schema": {"type": "string"}});
    assert_eq!(refused(&client, "events/declare", changed).await.0, ErrorCode::InvalidInput);
    let fetched = json!({"topic": "o2", "version": 1, "schema": {"$ref": "https://example.com/schema"}});
    assert_eq!(refused(&client, "events/declare", fetched).await.0, ErrorCode::InvalidInput);
    let own = json!({"topic": "node.peers", "events": [{"payload": {"change": "added", "name": "x"}}]});
    assert_eq!(refused(&client, "events/publish", own).await.0, ErrorCode::Forbidden);
}

#[tokio::test]
async fn a_change_of_the_peers_is_told_by_the_node() {
    let folder = Folder::with_identity();
    let _node = folder.serve();
    let client = client(&folder).await;
    let topic = json!({"topic": "node.peers"});
    let mut changes = client.subscribe("events/subscribe", topic, SubscribeOptions::default()).await.unwrap();
    // Subscribed once its request is answered by nothing yet: a second call comes after it.
    call(&client, "events/topics", json!({})).await;
    folder.run(&["peer", "add", "alice", "--key", &format!("ed25519:{:064x}", 7), "--role", "guest"]);
    folder.run(&["peer", "remove", "alice"]);
    for change in ["added", "removed"] {
        let item = timeout(PATIENCE, changes.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(payload(&item.output), &json!({"change": change, "name": "alice"}));
        assert!(item.output.get("publisher").is_none(), "the node itself said so");
    }
}

/// A key of a role that may do the two things, each with one topic or queue.
fn limited(folder: &Folder) -> (RunningNode, PresentedCredential) {
    folder.configure(
        "[roles.shop]\nscopes = [\"events:publish\", \"events:subscribe\", \"queues:consume\"]\n\
         resources = { \"topic:orders\" = [\"publish\"], \"queue:mail\" = [\"consume\"] }\n",
    );
    let node = folder.serve();
    let created = folder.json(&["key", "create", "shop", "--role", "shop"]);
    (node, PresentedCredential::new(created["key"].as_str().unwrap()))
}

#[tokio::test]
async fn rights_are_about_one_topic_and_one_queue() {
    let folder = Folder::with_identity();
    let (_node, token) = limited(&folder);
    let client = client(&folder).await;
    for topic in ["orders", "secrets"] {
        call(&client, "events/declare", json!({"topic": topic, "version": 1})).await;
    }
    call(&client, "queues/enqueue", json!({"queue": "mail", "payload": 1})).await;
    let try_it = async |operation: &str, input: Value| {
        let options = CallOptions { token: Some(token.clone()), ..CallOptions::default() };
        client.call(operation, input, options).await.map_err(|error| error.code)
    };
    let publish = |topic: &str| json!({"topic": topic, "events": [{"payload": 1}]});
    assert!(try_it("events/publish", publish("orders")).await.is_ok());
    assert_eq!(try_it("events/publish", publish("secrets")).await, Err(ErrorCode::Forbidden));
    assert_eq!(try_it("events/list", json!({"topic": "orders"})).await, Err(ErrorCode::Forbidden), "publish only");
    let claim = |queue: &str| json!({"queue": queue, "worker": "w"});
    assert_eq!(try_it("queues/claim", claim("mail")).await.unwrap()["jobs"][0]["payload"], 1);
    assert_eq!(try_it("queues/claim", claim("bills")).await, Err(ErrorCode::Forbidden));
    let more = json!({"queue": "mail", "payload": 1});
    assert_eq!(try_it("queues/enqueue", more).await, Err(ErrorCode::NotFound), "the scope is not held");
}

#[tokio::test]
async fn a_job_is_one_workers_until_it_ends_it() {
    let folder = Folder::with_identity();
    let _node = folder.serve();
    let client = client(&folder).await;
    let claim = |wait: u64| json!({"queue": "mail", "worker": "w", "wait_s": wait, "visibility_ms": 60_000});
    // One that waits gets what comes later.
    let waiting = call(&client, "queues/claim", claim(30));
    let handing = call(&client, "queues/enqueue", json!({"queue": "mail", "payload": {"to": "bob"}}));
    let (claimed, enqueued) = timeout(PATIENCE, async { tokio::join!(waiting, handing) }).await.unwrap();
    let job = &claimed["jobs"][0];
    assert_eq!((&job["payload"], &job["job"]), (&json!({"to": "bob"}), &enqueued["id"]));
    assert_eq!(call(&client, "queues/claim", claim(0)).await["jobs"], json!([]), "it is claimed");
    let held = json!({"queue": "mail", "job": job["job"], "attempt": job["attempt"]});
    let mut back = held.clone();
    back["error"] = json!("no such user");
    call(&client, "queues/fail", back).await;
    assert_eq!(refused(&client, "queues/ack", held).await.0, ErrorCode::Declared("CLAIM_LOST".into()));
    let dead = call(&client, "queues/dead", json!({"queue": "mail"})).await;
    assert_eq!(dead["letters"][0]["error"], "no such user");
    let again = json!({"queue": "mail", "letter": dead["letters"][0]["id"]});
    call(&client, "queues/requeue", again).await;
    let job = call(&client, "queues/claim", claim(0)).await["jobs"][0].clone();
    call(&client, "queues/ack", json!({"queue": "mail", "job": job["job"], "attempt": job["attempt"]})).await;
    let left = call(&client, "queues/show", json!({"queue": "mail"})).await;
    assert_eq!((&left["waiting"], &left["claimed"], &left["dead"]), (&json!(0), &json!(0), &json!(0)));
}
