//! `services/list`, `services/schema`, `services/watch` and `services/peers`, of one node.

use alknet_call::{CallOptions, ErrorCode, SubscribeOptions, limits::MAX_SCHEMAS_ASKED};
use alknet_core::Identity;
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::node::{Node, alice, alices, anonymous};

async fn ask(node: &Node, who: Option<Identity>, name: &str, input: Value) -> Result<Value, ErrorCode> {
    node.local(who).call(name, input, CallOptions::default()).await.map_err(|error| error.code)
}

fn names(page: &Value) -> Vec<&str> {
    page["operations"].as_array().unwrap().iter().map(|listed| listed["name"].as_str().unwrap()).collect()
}

// CALL-30: only what the caller may call; nothing internal.
#[tokio::test]
async fn a_list_shows_what_the_caller_may_call() {
    let node = Node::new();
    let all = ask(&node, None, "services/list", json!({})).await.unwrap();
    let seen = names(&all);
    assert!(seen.contains(&"services/list") && seen.contains(&"test/echo"));
    assert!(!seen.contains(&"test/secret") && !seen.contains(&"test/hidden"), "{seen:?}");
    assert!(seen.is_sorted());
    let alices = ask(&node, Some(alice()), "services/list", json!({})).await.unwrap();
    assert!(names(&alices).contains(&"test/secret"));
    assert_ne!(all["revision"], alices["revision"], "a revision is of what the caller sees");
    let other = Node::with(vec![crate::registration::simple("other/public")]);
    let more = ask(&other, None, "services/list", json!({})).await.unwrap();
    assert_ne!(all["revision"], more["revision"]);
    let client = node.client(anonymous()).await;
    assert_eq!(client.call("services/list", json!({}), CallOptions::default()).await.unwrap(), all);
}

// CALL-30: pages join to the whole.
#[tokio::test]
async fn pages_follow_each_other() {
    let node = Node::new();
    let whole = ask(&node, Some(alice()), "services/list", json!({})).await.unwrap();
    let mut joined = Vec::new();
    let mut input = json!({"limit": 3});
    loop {
        let page = ask(&node, Some(alice()), "services/list", input.clone()).await.unwrap();
        assert_eq!(page["revision"], whole["revision"]);
        joined.extend(names(&page).iter().map(|name| (*name).to_owned()));
        match page["next"].as_str() {
            Some(next) => input["cursor"] = json!(next),
            None => break,
        }
    }
    assert_eq!(joined, names(&whole));
    for bad in [json!({"limit": 0}), json!({"limit": 100_000}), json!({"cursor": 7}), json!({"page": 1})] {
        assert_eq!(ask(&node, None, "services/list", bad).await, Err(ErrorCode::InvalidInput));
    }
}

// CALL-31
#[tokio::test]
async fn schemas_are_shown_by_the_same_filter() {
    let node = Node::new();
    let wanted = json!({"names": ["test/echo", "test/secret", "test/hidden", "no/such"]});
    let seen = ask(&node, None, "services/schema", wanted.clone()).await.unwrap();
    assert_eq!(names(&seen), ["test/echo"]);
    assert_eq!(seen["missing"], json!(["test/secret", "test/hidden", "no/such"]));
    let echo = &seen["operations"][0];
    assert_eq!(echo["input"]["properties"]["text"]["type"], "string");
    assert_eq!(echo["input"]["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(
        (&echo["kind"], &echo["access"]["public"], &echo["idempotent"]),
        (&json!("query"), &json!(true), &json!(true))
    );
    let seen = ask(&node, Some(alice()), "services/schema", wanted).await.unwrap();
    assert_eq!(names(&seen), ["test/echo", "test/secret"]);
    let many = vec!["a/b"; MAX_SCHEMAS_ASKED + 1];
    for bad in [json!({"names": []}), json!({ "names": many }), json!({})] {
        assert_eq!(ask(&node, None, "services/schema", bad).await, Err(ErrorCode::InvalidInput));
    }
}

// CALL-59: the revision at once; the rest in `workers.rs`.
#[tokio::test]
async fn a_watch_begins_with_the_revision_of_the_list() {
    let node = Node::new();
    let listed = ask(&node, Some(alice()), "services/list", json!({})).await.unwrap();
    let client = node.client(alices()).await;
    let mut watched = client.subscribe("services/watch", json!({}), SubscribeOptions::default()).await.unwrap();
    let first = watched.next().await.unwrap().unwrap();
    assert_eq!((&first.output["revision"], first.output.as_object().unwrap().len()), (&listed["revision"], 1));
}

// CALL-60
#[tokio::test]
async fn nobody_offers_to_a_node_without_workers() {
    let node = Node::new();
    for who in [None, Some(alice())] {
        assert_eq!(ask(&node, who, "services/peers", json!({})).await, Ok(json!({"peers": []})));
    }
}
