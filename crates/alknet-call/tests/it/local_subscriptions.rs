//! Subscriptions in process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use alknet_call::{
    CallError, CallOptions, ErrorCode, Item, ItemStream, Nothing, Operation, OperationBuilder, OperationContext,
    SubscribeOptions,
};
use alknet_core::AccessRule;
use futures_util::{StreamExt, poll, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::node::{Node, alice, soon, until};

fn public(name: &str) -> OperationBuilder {
    Operation::subscription(name).access(AccessRule::public())
}

#[derive(Deserialize, Serialize, JsonSchema)]
struct Count {
    to: u64,
    #[serde(default)]
    then: Option<String>,
}

/// Gives the numbers up to `to`, then what `then` says.
fn counts(builder: OperationBuilder) -> Operation {
    builder.items(|context: Arc<OperationContext>, input: Count| async move {
        if input.then.as_deref() == Some("refuse") {
            return Err(CallError::declared("TRIMMED", "gone").with_details(json!({"oldest": 9})));
        }
        let from = context.after_seq.map_or(0, |seq| seq + 1);
        let numbers = stream::iter(from..input.to).map(|n| Ok(Item::numbered(n, n)));
        let last = match input.then.as_deref() {
            Some("declared") => Some(CallError::declared("TRIMMED", "gone")),
            Some("undeclared") => Some(CallError::declared("OTHER", "secret")),
            _ => None,
        };
        let waits = input.then.as_deref() == Some("wait");
        let panics = input.then.as_deref() == Some("panic");
        let rest = stream::poll_fn(move |_| {
            assert!(!panics, "as the test wants");
            if waits { std::task::Poll::Pending } else { std::task::Poll::Ready(None) }
        });
        Ok(numbers.chain(stream::iter(last.map(Err))).chain(rest))
    })
}

fn node() -> Node {
    Node::with(vec![
        counts(public("sub/count").error("TRIMMED", "What was asked for is gone.")),
        counts(public("sub/resume").error("TRIMMED", "What was asked for is gone.").resumable()),
        counts(public("sub/idle").timeout(Duration::from_millis(20))),
        public("sub/backwards").resumable().items(|_, _: Nothing| async {
            Ok(stream::iter([3, 3]).map(|n| Ok::<_, CallError>(Item::numbered(n, n))))
        }),
        public("sub/unnumbered")
            .resumable()
            .items(|_, _: Nothing| async { Ok(stream::iter([Ok::<_, CallError>(Item::new(1))])) }),
    ])
}

async fn open(node: &Node, name: &str, input: Value) -> Result<ItemStream, CallError> {
    node.local(Some(alice())).subscribe(name, input, SubscribeOptions::default()).await
}

async fn all(items: ItemStream) -> Vec<Result<Item, CallError>> {
    soon(items.collect()).await
}

fn is_over(node: &Node) -> bool {
    node.registry.graph().live() == 0 && node.sessions.list().is_empty()
}

// CALL-42 CALL-20 CALL-22: items, then completion or one error; undeclared codes and panics are INTERNAL.
#[tokio::test]
async fn a_subscription_ends_once() {
    let node = node();
    let count = async |then: Value| all(open(&node, "sub/count", json!({"to": 2, "then": then})).await.unwrap()).await;
    let numbers: Vec<_> = count(Value::Null).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(numbers, [Item::numbered(0, json!(0)), Item::numbered(1, json!(1))]);
    for (then, code) in [("declared", "TRIMMED"), ("undeclared", "INTERNAL"), ("panic", "INTERNAL")] {
        let items = count(json!(then)).await;
        assert_eq!(items.len(), 3, "{then}: the error is the last item");
        let error = items[2].clone().unwrap_err();
        assert_eq!(error.code.as_str(), code);
        assert!(!error.message.contains("secret"));
        assert!(is_over(&node));
    }
    let refused = open(&node, "sub/count", json!({"to": 2, "then": "refuse"})).await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.details), ("TRIMMED", Some(json!({"oldest": 9}))));
    assert_eq!(open(&node, "sub/count", json!({})).await.unwrap_err().code, ErrorCode::InvalidInput);
    assert!(is_over(&node));
}

// CALL-43: it is asked for nothing that nobody takes, and dropping it calls it off.
#[tokio::test]
async fn a_subscription_goes_at_its_subscribers_pace() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counting = asked.clone();
    let items = move |_, _: Nothing| {
        let asked = counting.clone();
        async move {
            Ok::<_, CallError>(stream::repeat_with(move || {
                asked.fetch_add(1, Ordering::AcqRel);
                Ok::<_, CallError>(Item::new(1))
            }))
        }
    };
    let node = Node::with(vec![public("sub/endless").items(items)]);
    let mut stream = open(&node, "sub/endless", json!({})).await.unwrap();
    assert_eq!(asked.load(Ordering::Acquire), 0);
    for taken in 1..4 {
        soon(stream.next()).await.unwrap().unwrap();
        assert_eq!(asked.load(Ordering::Acquire), taken);
    }
    assert_eq!(node.sessions.list().len(), 1, "it hangs on its caller's rights");
    drop(stream);
    assert!(is_over(&node));
}

// CALL-43 CALL-25 CALL-15: rights, an abort in the graph and the deadline end it, also while nobody asks for items.
#[tokio::test]
async fn whatever_ends_a_call_ends_a_subscription() {
    let node = node();
    let waiting = async || open(&node, "sub/count", json!({"to": 0, "then": "wait"})).await.unwrap();
    for asks in [true, false] {
        let end = async |mut items: ItemStream| {
            if asks {
                let error = soon(items.next()).await.unwrap().unwrap_err();
                assert!(items.next().await.is_none(), "nothing follows");
                error.code
            } else {
                soon(std::future::poll_fn(|cx| items.poll_ended(cx))).await.code
            }
        };
        let mut items = waiting().await;
        assert!(poll!(items.next()).is_pending());
        assert_eq!(node.sessions.cancel_identity("alice"), 1);
        assert_eq!(end(items).await, ErrorCode::Unauthenticated);
        let items = waiting().await;
        let graph = node.registry.graph();
        let number = graph.list(&Default::default(), 1)[0].number;
        assert_eq!(graph.abort(number), Some(1));
        assert_eq!(end(items).await, ErrorCode::Aborted);
        let call = CallOptions { deadline: Some(Duration::from_millis(20)), ..CallOptions::default() };
        let options = SubscribeOptions { call, ..SubscribeOptions::default() };
        let local = node.local(Some(alice()));
        let items = local.subscribe("sub/count", json!({"to": 0, "then": "wait"}), options).await.unwrap();
        assert_eq!(end(items).await, ErrorCode::Timeout);
        assert!(is_over(&node));
    }
}

// CALL-43: the operation's own timeout bounds the wait for an item, not the whole.
#[tokio::test(start_paused = true)]
async fn a_timeout_bounds_the_time_between_items() {
    let node = node();
    let mut items = open(&node, "sub/idle", json!({"to": 2, "then": "wait"})).await.unwrap();
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(soon(items.next()).await.unwrap().is_ok(), "whoever is slow to ask loses nothing");
    }
    assert_eq!(items.next().await.unwrap().unwrap_err().code, ErrorCode::Timeout);
    let mut unbounded = open(&node, "sub/count", json!({"to": 0, "then": "wait"})).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(100_000), unbounded.next()).await.is_err());
}

// CALL-44
#[tokio::test]
async fn only_resumable_subscriptions_go_on_and_their_numbers_grow() {
    let node = node();
    let after = async |name: &str, seq| {
        let options = SubscribeOptions { after_seq: Some(seq), ..SubscribeOptions::default() };
        node.local(None).subscribe(name, json!({"to": 5}), options).await
    };
    let numbers: Vec<_> = all(after("sub/resume", 2).await.unwrap()).await;
    assert_eq!(numbers.iter().map(|item| item.as_ref().unwrap().seq).collect::<Vec<_>>(), [Some(3), Some(4)]);
    let refused = after("sub/count", 2).await.unwrap_err();
    assert_eq!((refused.code, refused.details), (ErrorCode::InvalidInput, Some(json!({"pointer": "/afterSeq"}))));
    for (name, good) in [("sub/backwards", 1), ("sub/unnumbered", 0)] {
        let items = all(open(&node, name, json!({})).await.unwrap()).await;
        assert_eq!(items.len(), good + 1);
        assert_eq!(items[good].as_ref().unwrap_err().code, ErrorCode::Internal, "{name}");
    }
}

// CALL-41: what is called is not what is subscribed to.
#[tokio::test]
async fn kinds_are_not_mixed_up() {
    let node = node();
    let called = node.local(None).call("sub/count", json!({"to": 1}), CallOptions::default()).await;
    assert_eq!(called.unwrap_err().code, ErrorCode::InvalidOperationType);
    let subscribed = open(&node, "test/echo", json!({"text": "a"})).await;
    assert_eq!(subscribed.unwrap_err().code, ErrorCode::InvalidOperationType);
    let hidden = node.local(None).subscribe("test/secret", json!({}), SubscribeOptions::default()).await;
    assert_eq!(hidden.unwrap_err().code, ErrorCode::Unauthenticated, "the gate speaks first");
    until(|| is_over(&node)).await;
}
