//! The client that dials again.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use alknet_call::{
    CallClient, CallError, CallOptions, ErrorCode, Item, Nothing, Operation, ReconnectingClient, SubscribeOptions,
};
use alknet_core::{AccessRule, Carrier, ProtocolHandler, ServeError};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::Instant};

use crate::node::{Node, Text, alices, soon, until};

type Served = JoinHandle<Result<(), ServeError>>;

/// A node that can be reached or not, and whose connections can be cut.
#[derive(Clone)]
struct Flaky {
    node: Arc<Node>,
    dialled: Arc<Mutex<Vec<Instant>>>,
    refused: Arc<AtomicUsize>,
    served: Arc<Mutex<Option<Served>>>,
}

impl Flaky {
    fn new(node: Node) -> Self {
        let node = Arc::new(node);
        Self { node, dialled: Arc::default(), refused: Arc::default(), served: Arc::default() }
    }
    /// Refuses the next `times` tries.
    fn refuse(&self, times: usize) {
        self.refused.store(times, Ordering::Release);
    }
    fn cut(&self) {
        if let Some(served) = self.served.lock().unwrap().take() {
            served.abort();
        }
    }
    fn tries(&self) -> usize {
        self.dialled.lock().unwrap().len()
    }
    fn client(&self) -> ReconnectingClient {
        let flaky = self.clone();
        ReconnectingClient::new(move || {
            let flaky = flaky.clone();
            async move {
                flaky.dialled.lock().unwrap().push(Instant::now());
                if flaky.refused.load(Ordering::Acquire) > 0 {
                    flaky.refused.fetch_sub(1, Ordering::AcqRel);
                    return Err(CallError::unavailable("as the test wants"));
                }
                let (connection, served) = flaky.node.connect_over(alices(), Carrier::Tls);
                *flaky.served.lock().unwrap() = Some(served);
                CallClient::connect(connection).await
            }
        })
    }
}

/// A node with calls that count how often they ran and never end the first time, and a log that can be followed.
fn node(ran: &Arc<AtomicUsize>) -> Node {
    let counting = |operation: alknet_call::OperationBuilder| {
        let ran = ran.clone();
        operation.access(AccessRule::public()).handler(move |_, _: Nothing| {
            let nth = ran.fetch_add(1, Ordering::AcqRel);
            async move {
                if nth == 0 {
                    std::future::pending::<()>().await;
                }
                Ok::<_, CallError>(nth)
            }
        })
    };
    let log = Operation::subscription("log/follow").resumable().access(AccessRule::public()).items(
        |context, _: Nothing| async move {
            let after = context.after_seq.unwrap_or(0);
            Ok(stream::iter(after + 1..).map(|seq| Ok(Item::numbered(seq, seq))))
        },
    );
    let trimmed =
        Operation::subscription("log/short").resumable().error("TRIMMED", "Gone.").access(AccessRule::public());
    let trimmed = trimmed.items(|context, _: Nothing| async move {
        match context.after_seq {
            None => Ok(stream::iter([Ok(Item::numbered(1, 1))]).chain(stream::pending())),
            Some(_) => Err(CallError::declared("TRIMMED", "gone").with_details(json!({"oldest": 9}))),
        }
    });
    let plain = Operation::subscription("log/plain")
        .access(AccessRule::public())
        .items(|_, _: Nothing| std::future::ready(Ok(stream::iter([Ok(Item::new(1))]).chain(stream::pending()))));
    let echo = |_, input: Text| async move { Ok::<_, CallError>(input) };
    Node::with(vec![
        counting(Operation::query("count/query")),
        counting(Operation::mutation("count/mutation")),
        counting(Operation::mutation("count/again").idempotent()),
        log,
        trimmed,
        plain,
        Operation::query("log/echo").access(AccessRule::public()).handler(echo),
    ])
}

async fn echo(client: &ReconnectingClient) -> Result<Value, CallError> {
    client.call("log/echo", json!({"text": "a"}), CallOptions::default()).await
}

// CALL-45: waits from 100 ms, doubling to 30 s, with jitter.
#[tokio::test(start_paused = true)]
async fn tries_come_less_and_less_often() {
    let flaky = Flaky::new(node(&Arc::default()));
    flaky.refuse(15);
    let connected = flaky.client().connected().await;
    assert!(!connected.is_closed());
    let dialled = flaky.dialled.lock().unwrap().clone();
    assert_eq!(dialled.len(), 16);
    let mut whole = Duration::from_millis(100);
    for pair in dialled.windows(2) {
        let waited = pair[1] - pair[0];
        let bounds = whole / 2..=whole + Duration::from_millis(5);
        assert!(bounds.contains(&waited), "{waited:?} of {whole:?}");
        whole = (whole * 2).min(Duration::from_secs(30));
    }
}

// CALL-45: many who wait share one connection; a call waits for one only so long.
#[tokio::test(start_paused = true)]
async fn calls_wait_for_a_connection_and_share_it() {
    let flaky = Flaky::new(node(&Arc::default()));
    flaky.refuse(3);
    let client = flaky.client();
    let all = futures_util::future::join_all((0..20).map(|_| echo(&client))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(flaky.tries(), 4);
    let nobody = Flaky::new(node(&Arc::default()));
    nobody.refuse(usize::MAX);
    let options = CallOptions { deadline: Some(Duration::from_secs(3)), ..CallOptions::default() };
    let start = Instant::now();
    let error = nobody.client().call("log/echo", json!({"text": ""}), options).await.unwrap_err();
    assert_eq!((error.code, error.retryable), (ErrorCode::Unavailable, true));
    assert_eq!(start.elapsed().as_secs(), 3);
}

// CALL-45: a call whose answer was lost is repeated only where that does no harm.
#[tokio::test]
async fn only_what_may_be_is_repeated() {
    for (operation, key, runs) in [("count/query", None, 2), ("count/again", None, 2), ("count/mutation", None, 1)] {
        let ran = Arc::new(AtomicUsize::new(0));
        let flaky = Flaky::new(node(&ran));
        let client = flaky.client();
        let options = CallOptions { idempotency_key: key, ..CallOptions::default() };
        let call = tokio::spawn(async move { client.call(operation, json!({}), options).await });
        until(|| ran.load(Ordering::Acquire) == 1).await;
        flaky.cut();
        let outcome = soon(call).await.unwrap();
        match runs {
            1 => assert_eq!(outcome.unwrap_err().code, ErrorCode::Unavailable, "{operation}"),
            _ => assert_eq!(outcome, Ok(json!(1)), "{operation}"),
        }
        assert_eq!(ran.load(Ordering::Acquire), runs, "{operation}");
    }
}

// CALL-45: what was not sent is sent on the next connection, whatever it is.
#[tokio::test]
async fn what_was_not_sent_goes_on_the_next_connection() {
    let flaky = Flaky::new(node(&Arc::default()));
    let client = flaky.client();
    for _ in 0..3 {
        let before = client.connected().await;
        flaky.cut();
        soon(before.closed()).await;
        assert!(soon(echo(&client)).await.is_ok());
    }
}

// CALL-45 CALL-44: a resumable subscription goes on after the last item that was handed on: none twice, none missing.
#[tokio::test]
async fn a_resumable_subscription_survives_its_connections() {
    let flaky = Flaky::new(node(&Arc::default()));
    let client = flaky.client();
    let mut items = client.subscribe("log/follow", json!({}), SubscribeOptions::default()).await.unwrap();
    for seq in 1..=2000_u64 {
        assert_eq!(soon(items.next()).await.unwrap(), Ok(Item::numbered(seq, json!(seq))));
        if seq % 500 == 0 {
            flaky.refuse(1);
            flaky.cut();
        }
    }
    assert!(flaky.tries() >= 7, "{}", flaky.tries());
}

// CALL-45 CALL-44: what was lost in between is said, and what cannot go on ends.
#[tokio::test]
async fn what_cannot_go_on_ends() {
    let flaky = Flaky::new(node(&Arc::default()));
    let client = flaky.client();
    for (operation, code) in [("log/short", "TRIMMED"), ("log/plain", "UNAVAILABLE")] {
        let mut items = client.subscribe(operation, json!({}), SubscribeOptions::default()).await.unwrap();
        assert_eq!(soon(items.next()).await.unwrap().unwrap().seq, Some(1));
        flaky.cut();
        let error = soon(items.next()).await.unwrap().unwrap_err();
        assert_eq!(error.code.as_str(), code);
        assert!(items.next().await.is_none());
    }
}

// CALL-45 CALL-27: a node that stops and comes back is found again, and the subscription goes on.
#[tokio::test]
async fn a_subscription_survives_a_restart_of_the_node() {
    let flaky = Flaky::new(node(&Arc::default()));
    let next = Arc::new(node(&Arc::default()));
    let stopping = flaky.node.clone();
    let (nodes, served) = (Arc::new(Mutex::new(vec![next, stopping.clone()])), flaky.served.clone());
    let client = ReconnectingClient::new(move || {
        let node = nodes.lock().unwrap().last().cloned();
        if nodes.lock().unwrap().len() > 1 {
            nodes.lock().unwrap().pop();
        }
        let served = served.clone();
        async move {
            let (connection, serving) = node.unwrap().connect_over(alices(), Carrier::Tls);
            *served.lock().unwrap() = Some(serving);
            CallClient::connect(connection).await
        }
    });
    let options = SubscribeOptions { window: 1, ..SubscribeOptions::default() };
    let mut items = client.subscribe("log/follow", json!({}), options).await.unwrap();
    assert_eq!(soon(items.next()).await.unwrap().unwrap().seq, Some(1));
    stopping.handler.shutdown().await;
    for seq in 2..=10 {
        assert_eq!(soon(items.next()).await.unwrap().unwrap().seq, Some(seq));
    }
    flaky.cut();
}
