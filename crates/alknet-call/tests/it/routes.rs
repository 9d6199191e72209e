//! A head, and workers that are written frame by frame: good, odd and hostile.

use std::time::Duration;

use alknet_call::{CallClient, CallOptions, ErrorCode, SubscribeOptions, head_operations};
use alknet_core::Identity;
use alknet_testkit::identities::peer_with_key;
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::node::{NODE, Node, RawPeer, anonymous, credential, key, requested, soon, until};

const WORKER: u8 = 20;
const OTHER_WORKER: u8 = 21;
const BOSS: u8 = 30;
const CLERK: u8 = 31;

fn somebody(name: &str, scopes: &[&str]) -> Identity {
    Identity::new(
        name,
        scopes.iter().map(|scope| scope.parse().unwrap()).collect(),
        alknet_core::ResourceGrants::default(),
    )
}

fn head() -> Node {
    let node = Node::with(head_operations());
    node.identities.know(&credential(WORKER), somebody("box", &["workers:offer"]));
    node.identities.know(&credential(OTHER_WORKER), somebody("den", &["workers:offer"]));
    node.identities.know(&credential(BOSS), somebody("boss", &["remote:*", "job:run"]));
    node.identities.know(&credential(CLERK), somebody("clerk", &["remote:den", "job:run"]));
    node
}

fn job(name: &str, kind: &str) -> Value {
    json!({"name": name, "kind": kind, "access": {"scopes": ["job:run"]}})
}

/// A worker of the test's own making, whose offer was taken.
async fn worker(node: &Node, seed: u8, operations: Value) -> RawPeer {
    let mut worker = node.raw(peer_with_key(seed)).await;
    let offered = operations.as_array().unwrap().len();
    worker.request("offer", "/workers/offer", json!({ "operations": operations })).await;
    assert_eq!(worker.output("offer").await, json!({ "offered": offered }));
    worker
}

async fn boss(node: &Node) -> CallClient {
    node.client(peer_with_key(BOSS)).await
}

/// Asks in a task of its own.
fn ask(
    client: &CallClient,
    operation: &str,
    options: CallOptions,
) -> tokio::task::JoinHandle<Result<Value, alknet_call::CallError>> {
    let (client, operation) = (client.clone(), operation.to_owned());
    tokio::spawn(async move { client.call(&operation, json!({}), options).await })
}

async fn code(client: &CallClient, operation: &str) -> ErrorCode {
    soon(client.call(operation, json!({}), CallOptions::default())).await.unwrap_err().code
}

impl RawPeer {
    /// The next request of the head.
    async fn asked(&mut self) -> Value {
        let frame = self.next().await.expect("a request");
        assert_eq!(frame["type"], "call.requested", "{frame}");
        frame
    }
    async fn answer(&mut self, request: &Value, kind: &str, payload: Value) {
        self.send(json!({"type": kind, "id": request["id"], "payload": payload})).await;
    }
}

// CALL-54: what the worker is told, and what it is not.
#[tokio::test]
async fn the_worker_is_told_who_asks_and_never_with_what_credential() {
    let node = head();
    let mut worker = worker(&node, WORKER, json!([job("job/run", "mutation")])).await;
    let mut keys = Vec::new();
    for (seed, name) in [(BOSS, "boss"), (CLERK, "clerk")] {
        node.identities.know(&credential(seed), somebody(name, &["remote:box", "job:run"]));
        let mut caller = node.raw(peer_with_key(seed)).await;
        let mut request = requested("1", "/box/job/run", json!({"a": 1}));
        let payload =
            json!({"deadlineMs": 5000, "idempotencyKey": "mine", "via": ["a"], "origin": "root", "parentId": "p"});
        request["payload"].as_object_mut().unwrap().extend(payload.as_object().unwrap().clone());
        caller.send(request).await;
        let asked = worker.asked().await;
        let payload = &asked["payload"];
        assert_eq!(payload["operationId"], "/job/run");
        assert_eq!(payload["input"], json!({"a": 1}));
        assert_eq!(payload["origin"], name, "what the caller says of itself is not passed on");
        assert_eq!(payload["via"], json!(["a", key(NODE).to_string()]));
        assert!(payload["deadlineMs"].as_u64().is_some_and(|left| (1..=5000).contains(&left)), "{payload}");
        assert!(payload.get("authToken").is_none());
        keys.push(payload["idempotencyKey"].as_str().unwrap().to_owned());
        worker.answer(&asked, "call.responded", json!({"output": [1]})).await;
        assert_eq!(caller.output("1").await, json!([1]));
    }
    assert_ne!(keys[0], keys[1], "two callers' keys never meet");
    assert!(keys.iter().all(|key| key.len() <= 128 && key.ends_with(":mine")), "{keys:?}");
}

// CALL-54, CALL-23: a credential of the request is for the head alone.
#[tokio::test]
async fn a_token_is_not_forwarded() {
    let node = head();
    let mut worker = worker(&node, WORKER, json!([job("job/run", "query")])).await;
    let mut caller = node.raw(peer_with_key(BOSS)).await;
    let mut request = requested("1", "/box/job/run", json!({}));
    request["payload"]["authToken"] = json!("alk_aaaaaaaa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    caller.send(request).await;
    assert_eq!(caller.code("1").await, "UNAUTHENTICATED");
    caller.request("2", "/box/job/run", json!({})).await;
    let asked = worker.asked().await;
    assert!(!asked.to_string().contains("alk_"), "{asked}");
}

// CALL-54: keys that are long stay within the bound, and keep apart.
#[tokio::test]
async fn long_keys_are_digested() {
    let node = head();
    let mut worker = worker(&node, WORKER, json!([job("job/run", "mutation"), job("job/items", "subscription")])).await;
    let caller = boss(&node).await;
    let mut seen = Vec::new();
    for end in ["a", "b"] {
        let key = Some("k".repeat(127) + end);
        let call = ask(&caller, "box/job/run", CallOptions { idempotency_key: key, ..CallOptions::default() });
        let asked = worker.asked().await;
        worker.answer(&asked, "call.responded", json!({})).await;
        assert!(soon(call).await.unwrap().is_ok());
        seen.push(asked["payload"]["idempotencyKey"].as_str().unwrap().to_owned());
    }
    assert!(seen[0] != seen[1] && seen.iter().all(|key| key.len() <= 128), "{seen:?}");
    for (operation, key) in [("box/job/run", "ä"), ("box/job/items", "k")] {
        let mut raw = node.raw(peer_with_key(BOSS)).await;
        let mut request = requested("1", &format!("/{operation}"), json!({}));
        request["payload"]["idempotencyKey"] = json!(key);
        raw.send(request).await;
        let refused = raw.next().await.unwrap();
        assert_eq!(refused["payload"]["code"], "INVALID_INPUT", "{refused}");
        assert_eq!(refused["payload"]["details"]["pointer"], "/idempotencyKey");
    }
}

// CALL-55
#[tokio::test]
async fn what_came_through_here_before_is_refused() {
    let node = head();
    let _worker = worker(&node, WORKER, json!([job("job/run", "query")])).await;
    let caller = boss(&node).await;
    let four = || vec!["a".to_owned(); 4];
    for via in [vec![key(NODE).to_string()], vec!["x".to_owned(), key(NODE).to_string()], four()] {
        for operation in ["box/job/run", "test/echo"] {
            let options = CallOptions { via: via.clone(), ..CallOptions::default() };
            let refused = soon(caller.call(operation, json!({"text": ""}), options)).await.unwrap_err();
            assert_eq!(refused.code, ErrorCode::NotFound, "{via:?}");
        }
    }
    let options = CallOptions { via: vec!["a".to_owned(); 3], ..CallOptions::default() };
    assert!(soon(caller.call("test/echo", json!({"text": ""}), options)).await.is_ok());
}

// CALL-51, CALL-52
#[tokio::test]
async fn hostile_offers_are_refused_whole_with_a_pointer() {
    let node = head();
    let good = job("job/run", "query");
    let with = |input: Value| json!({"name": "job/other", "kind": "query", "input": input});
    let offers = [
        (json!([]), "/operations"),
        (json!({"0": good}), "/operations"),
        (json!(vec![good.clone(); 10_000]), "/operations"),
        (json!([good, good]), "/operations/1/name"),
        (json!([good, with(json!({"$ref": "https://example.com/x"}))]), "/operations/1/input"),
        (json!([with(json!({"$ref": "#"}))]), "/operations/0/input"),
        (json!([with(json!({"title": "x".repeat(100_000)}))]), "/operations/0"),
        (json!([good, {"name": "box/job/run", "kind": "query"}]), "/operations/1/name"),
        (json!([{"name": "workers/offer/x", "kind": "query"}]), "/operations/0/name"),
        (json!([["job/run", "query"]]), "/operations/0"),
    ];
    let mut worker = node.raw(peer_with_key(WORKER)).await;
    for (operations, pointer) in offers {
        worker.request("offer", "/workers/offer", json!({ "operations": operations })).await;
        let refused = worker.next().await.unwrap();
        assert_eq!(refused["payload"]["code"], "INVALID_INPUT", "{refused}");
        assert_eq!(refused["payload"]["details"]["pointer"], pointer, "{refused}");
    }
    assert!(node.registry.routes().workers().is_empty());
    assert!(worker.is_alive().await);
}

// CALL-51
#[tokio::test]
async fn only_a_known_caller_with_the_scope_offers() {
    let node = head();
    let offer = json!({"operations": [job("job/run", "query")]});
    for (peer, refusal) in [(anonymous(), "UNAUTHENTICATED"), (peer_with_key(BOSS), "NOT_FOUND")] {
        let mut raw = node.raw(peer).await;
        raw.request("1", "/workers/offer", offer.clone()).await;
        assert_eq!(raw.code("1").await, refusal);
    }
    node.identities.know(&credential(WORKER), somebody("any", &["workers:offer"]));
    let mut raw = node.raw(peer_with_key(WORKER)).await;
    raw.request("1", "/workers/offer", offer).await;
    assert_eq!(raw.code("1").await, "INVALID_INPUT");
}

// CALL-51, CALL-56
#[tokio::test]
async fn an_offer_stands_while_it_is_open_and_a_later_one_replaces_it() {
    let node = head();
    let caller = boss(&node).await;
    let listed = async || {
        let page = caller.call("services/list", json!({}), CallOptions::default()).await.unwrap();
        let names = page["operations"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned());
        (names.filter(|name| name.starts_with("box/")).collect::<Vec<_>>(), page["revision"].clone())
    };
    let nothing = listed().await;
    let mut first = worker(&node, WORKER, json!([job("job/a", "query")])).await;
    let one = listed().await;
    assert_eq!(one.0, ["box/job/a"]);
    assert_ne!(one.1, nothing.1, "the revision tells of it");
    let mut second = worker(&node, WORKER, json!([job("job/b", "query")])).await;
    assert_eq!(first.next().await.unwrap()["type"], "call.completed");
    assert_eq!(listed().await.0, ["box/job/b"]);
    assert_eq!(code(&caller, "box/job/a").await, ErrorCode::NotFound);
    second.send(json!({"type": "call.aborted", "id": "offer"})).await;
    assert_eq!(second.code("offer").await, "ABORTED");
    assert_eq!(listed().await, nothing);
    let gone = soon(caller.call("box/job/b", json!({}), CallOptions::default())).await.unwrap_err();
    assert_eq!((gone.code, gone.retryable), (ErrorCode::Unavailable, true));
    assert_eq!(code(&node.client(peer_with_key(CLERK)).await, "box/job/b").await, ErrorCode::NotFound);
}

// CALL-52, CALL-53
#[tokio::test]
async fn public_and_internal_mean_nothing_in_a_workers_mouth() {
    let node = head();
    let said = json!([
        {"name": "job/open", "kind": "query", "access": {"public": true}},
        {"name": "job/inner", "kind": "query", "visibility": "internal"},
    ]);
    let mut worker = worker(&node, WORKER, said).await;
    assert_eq!(code(&node.client(anonymous()).await, "box/job/open").await, ErrorCode::Unauthenticated);
    assert_eq!(code(&node.client(peer_with_key(CLERK)).await, "box/job/open").await, ErrorCode::NotFound);
    let caller = boss(&node).await;
    let call = ask(&caller, "box/job/inner", CallOptions::default());
    let asked = worker.asked().await;
    worker.answer(&asked, "call.responded", json!({"output": 1})).await;
    assert_eq!(soon(call).await.unwrap().unwrap(), 1);
}

// CALL-54, CALL-12
#[tokio::test]
async fn an_input_that_does_not_fit_never_reaches_the_worker() {
    let node = head();
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let mut worker = worker(&node, WORKER, json!([{"name": "job/run", "kind": "query", "input": schema}])).await;
    let caller = boss(&node).await;
    let refused = soon(caller.call("box/job/run", json!({"n": "x"}), CallOptions::default())).await.unwrap_err();
    assert_eq!((refused.code, refused.details), (ErrorCode::InvalidInput, Some(json!({"pointer": "/n"}))));
    let call = {
        let caller = caller.clone();
        tokio::spawn(async move { caller.call("box/job/run", json!({"n": 7}), CallOptions::default()).await })
    };
    let asked = worker.asked().await;
    assert_eq!(asked["payload"]["input"], json!({"n": 7}), "the first that it sees");
    worker.answer(&asked, "call.error", json!({"code": "NOT_FOUND", "message": "m", "retryable": false})).await;
    assert_eq!(soon(call).await.unwrap().unwrap_err().code, ErrorCode::NotFound);
}

// CALL-20, CALL-54
#[tokio::test]
async fn declared_codes_pass_and_others_are_internal() {
    let node = head();
    let mut said = job("job/run", "query");
    said["errors"] = json!([{"code": "TEAPOT"}]);
    let mut worker = worker(&node, WORKER, json!([said])).await;
    let caller = boss(&node).await;
    for (told, seen) in
        [("TEAPOT", "TEAPOT"), ("KETTLE", "INTERNAL"), ("tea pot", "INTERNAL"), ("FORBIDDEN", "FORBIDDEN")]
    {
        let call = ask(&caller, "box/job/run", CallOptions::default());
        let asked = worker.asked().await;
        let payload = json!({"code": told, "message": "\u{1b}[31m", "retryable": true, "details": {"n": 1}});
        worker.answer(&asked, "call.error", payload).await;
        let error = soon(call).await.unwrap().unwrap_err();
        assert_eq!(error.code.as_str(), seen);
        if told == "TEAPOT" {
            assert_eq!((error.retryable, error.details), (true, Some(json!({"n": 1}))));
        }
    }
}

// CALL-41, CALL-56: more items than there was credit for break the protocol, and cost the worker its stream.
#[tokio::test]
async fn more_items_than_credit_end_the_workers_stream() {
    let node = head();
    let mut worker = worker(&node, WORKER, json!([job("job/items", "subscription")])).await;
    let caller = boss(&node).await;
    let options = SubscribeOptions { window: 2, ..SubscribeOptions::default() };
    let mut items = soon(caller.subscribe("box/job/items", json!({}), options)).await.unwrap();
    let asked = worker.asked().await;
    assert_eq!(asked["payload"]["credit"], 2, "the head keeps no more than the subscriber asked for");
    for n in 0..9 {
        worker.answer(&asked, "call.responded", json!({"output": n, "seq": n + 1})).await;
    }
    let error = soon(async {
        loop {
            if let Err(error) = items.next().await.unwrap() {
                return error;
            }
        }
    })
    .await;
    assert_eq!(error.code, ErrorCode::Unavailable);
    until(|| node.registry.routes().workers().iter().all(|worker| !worker.connected)).await;
    assert!(caller.call("test/echo", json!({"text": ""}), CallOptions::default()).await.is_ok());
}

// CALL-54: aborts, items and completion pass through.
#[tokio::test]
async fn a_subscription_passes_through_with_its_end() {
    let node = head();
    let mut said = job("job/log", "subscription");
    said["resumable"] = json!(true);
    let mut worker = worker(&node, WORKER, json!([said])).await;
    let caller = boss(&node).await;
    let options = SubscribeOptions { after_seq: Some(4), ..SubscribeOptions::default() };
    let mut items = soon(caller.subscribe("box/job/log", json!({}), options.clone())).await.unwrap();
    let asked = worker.asked().await;
    assert_eq!(asked["payload"]["afterSeq"], 4);
    for seq in [5, 9] {
        worker.answer(&asked, "call.responded", json!({"output": "x", "seq": seq})).await;
        assert_eq!(soon(items.next()).await.unwrap().unwrap().seq, Some(seq));
    }
    worker.answer(&asked, "call.completed", json!({})).await;
    assert!(soon(items.next()).await.is_none());
    let items = soon(caller.subscribe("box/job/log", json!({}), options)).await.unwrap();
    let asked = worker.asked().await;
    drop(items);
    let aborted = worker.next().await.unwrap();
    assert_eq!((&aborted["type"], &aborted["id"]), (&json!("call.aborted"), &asked["id"]));
}

// CALL-17, CALL-56: the operation's own time, as the worker's specification says.
#[tokio::test]
async fn a_worker_that_is_late_is_called_off() {
    let node = head();
    let mut said = job("job/slow", "mutation");
    (said["timeout_ms"], said["idempotent"]) = (json!(30), json!(true));
    let mut worker = worker(&node, WORKER, json!([said])).await;
    let call = ask(&boss(&node).await, "box/job/slow", CallOptions::default());
    let asked = worker.asked().await;
    let late = soon(call).await.unwrap().unwrap_err();
    assert_eq!((late.code, late.retryable), (ErrorCode::Timeout, true));
    let aborted = worker.next().await.unwrap();
    assert_eq!((&aborted["type"], &aborted["id"]), (&json!("call.aborted"), &asked["id"]));
    assert!(node.registry.routes().workers()[0].ailing);
}

// CALL-56
#[tokio::test]
async fn calls_for_any_go_by_turns_and_pass_over_who_ailed() {
    let node = head();
    let said = json!([job("job/run", "query")]);
    let mut one = worker(&node, WORKER, said.clone()).await;
    let mut two = worker(&node, OTHER_WORKER, said).await;
    let caller = boss(&node).await;
    let answered = async |worker: &mut RawPeer, kind: &str, payload: Value| {
        let asked = worker.asked().await;
        worker.answer(&asked, kind, payload).await;
    };
    for _ in 0..3 {
        let calls = [(); 2].map(|()| ask(&caller, "any/job/run", CallOptions::default()));
        answered(&mut one, "call.responded", json!({"output": 1})).await;
        answered(&mut two, "call.responded", json!({"output": 2})).await;
        let mut outputs = Vec::new();
        for call in calls {
            outputs.push(soon(call).await.unwrap().unwrap().as_u64().unwrap());
        }
        outputs.sort_unstable();
        assert_eq!(outputs, [1, 2]);
    }
    // Whoever has its turn says that it is full; the next ones go to the other, for a second.
    let call = ask(&caller, "box/job/run", CallOptions::default());
    answered(&mut one, "call.error", json!({"code": "OVERLOADED", "retryable": true})).await;
    assert_eq!(soon(call).await.unwrap().unwrap_err().code, ErrorCode::Overloaded);
    for _ in 0..4 {
        let call = ask(&caller, "any/job/run", CallOptions::default());
        answered(&mut two, "call.responded", json!({"output": 2})).await;
        assert_eq!(soon(call).await.unwrap().unwrap(), 2);
    }
    // The clerk may use only one of them.
    let clerk = node.client(peer_with_key(CLERK)).await;
    for _ in 0..3 {
        let call = ask(&clerk, "any/job/run", CallOptions::default());
        answered(&mut two, "call.responded", json!({"output": 2})).await;
        assert_eq!(soon(call).await.unwrap().unwrap(), 2);
    }
    assert_eq!(code(&caller, "any/job/nothing").await, ErrorCode::NotFound);
    drop(two);
    until(|| !node.registry.routes().workers()[1].connected).await;
    let gone = soon(clerk.call("any/job/run", json!({}), CallOptions::default())).await.unwrap_err();
    assert_eq!((gone.code, gone.retryable), (ErrorCode::Unavailable, true));
}

// CALL-56: under one key, one worker.
#[tokio::test]
async fn a_key_stays_with_its_worker() {
    let node = head();
    let said = json!([job("job/run", "mutation")]);
    let mut one = worker(&node, WORKER, said.clone()).await;
    let mut two = worker(&node, OTHER_WORKER, said).await;
    let caller = boss(&node).await;
    for key in ["a", "b", "c", "d"] {
        let mut takers = Vec::new();
        for _ in 0..3 {
            let options = CallOptions { idempotency_key: Some(key.to_owned()), ..CallOptions::default() };
            let call = ask(&caller, "any/job/run", options);
            tokio::select! {
                asked = one.asked() => {
                    takers.push(1);
                    one.answer(&asked, "call.responded", json!({})).await;
                }
                asked = two.asked() => {
                    takers.push(2);
                    two.answer(&asked, "call.responded", json!({})).await;
                }
            }
            assert!(soon(call).await.unwrap().is_ok());
        }
        assert!(takers.iter().all(|taker| *taker == takers[0]), "{takers:?}");
    }
}

// CALL-51, CALL-56: a worker says how much it takes.
#[tokio::test]
async fn no_more_calls_than_the_worker_accepts() {
    let node = head();
    let mut worker = node.raw(peer_with_key(WORKER)).await;
    worker.request("offer", "/workers/offer", json!({"operations": [job("job/run", "query")], "accepts": 1})).await;
    worker.output("offer").await;
    let caller = boss(&node).await;
    let call = ask(&caller, "box/job/run", CallOptions::default());
    let asked = worker.asked().await;
    let refused = soon(caller.call("box/job/run", json!({}), CallOptions::default())).await.unwrap_err();
    assert_eq!((refused.code, refused.retryable), (ErrorCode::Overloaded, true));
    worker.answer(&asked, "call.responded", json!({"output": 1})).await;
    assert_eq!(soon(call).await.unwrap().unwrap(), 1);
    let call =
        ask(&caller, "box/job/run", CallOptions { deadline: Some(Duration::from_secs(9)), ..CallOptions::default() });
    let asked = worker.asked().await;
    worker.answer(&asked, "call.responded", json!({"output": 2})).await;
    assert_eq!(soon(call).await.unwrap().unwrap(), 2);
}

// CALL-53, CALL-12: a resource in the input is asked of the head's own gate.
#[tokio::test]
async fn resources_are_granted_at_the_head() {
    let node = head();
    let mut grants = alknet_core::ResourceGrants::default();
    grants.grant("thing:one".parse().unwrap(), "use");
    let limited = Identity::new("limited", ["remote:box".parse().unwrap()].into_iter().collect(), grants);
    node.identities.know(&credential(CLERK), limited);
    let said = json!([{"name": "job/use", "kind": "query",
        "input": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
        "access": {"resource": {"type": "thing", "id_pointer": "/id", "action": "use"}}}]);
    let mut worker = worker(&node, WORKER, said).await;
    let caller = node.client(peer_with_key(CLERK)).await;
    for (input, refusal) in [(json!({"id": "two"}), ErrorCode::Forbidden), (json!({"id": 1}), ErrorCode::InvalidInput)]
    {
        let refused = soon(caller.call("box/job/use", input, CallOptions::default())).await.unwrap_err();
        assert_eq!(refused.code, refusal);
    }
    let call =
        tokio::spawn(async move { caller.call("box/job/use", json!({"id": "one"}), CallOptions::default()).await });
    let asked = worker.asked().await;
    assert_eq!(asked["payload"]["input"], json!({"id": "one"}));
    worker.answer(&asked, "call.responded", json!({"output": null})).await;
    assert!(soon(call).await.unwrap().is_ok());
    let audited = node.audit.events();
    let denied = audited.iter().find(|event| event.action == "box/job/use" && event.detail.is_some()).unwrap();
    assert_eq!(denied.resource.as_deref(), Some("thing:two"));
}
