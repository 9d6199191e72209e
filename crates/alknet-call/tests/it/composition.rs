//! Operations that call others.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use alknet_call::{
    Authority, CallError, CallOptions, ErrorCode, Item, Nothing, Operation, OperationBuilder, OperationContext,
    SubscribeOptions,
};
use alknet_core::{AccessRule, AuditOutcome, Identity, ResourceDemand, ResourceGrants, ScopeSet};
use futures_util::{StreamExt, future::join_all, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::node::{ALICE, Node, Text, alice, credential, scoped, soon, until};

fn rule(scope: &str) -> AccessRule {
    AccessRule::scoped([scope.parse().unwrap()])
}

fn authority(scope: &str) -> Authority {
    Authority::scoped([scope.parse().unwrap()])
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Call {
    name: String,
    #[serde(default)]
    input: Value,
}

/// Calls what its input names.
fn caller(name: &str) -> OperationBuilder {
    Operation::query(name).access(AccessRule::public())
}

fn calls(builder: OperationBuilder) -> Operation {
    builder.handler(|context, call: Call| async move { context.call_value(&call.name, call.input).await })
}

fn echo(name: &str, rule: AccessRule) -> OperationBuilder {
    Operation::query(name).access(rule)
}

fn echoes(builder: OperationBuilder) -> Operation {
    builder.handler(|_, input: Text| async move { Ok::<_, CallError>(input) })
}

async fn ask(node: &Node, who: Option<Identity>, name: &str, input: Value) -> Result<Value, CallError> {
    soon(node.local(who).call(name, input, CallOptions::default())).await
}

fn through(name: &str) -> Value {
    json!({"name": name, "input": {"text": "a"}})
}

// CALL-47: visible, satisfied by the handler's own authority, in the reachable set; each alone is not enough.
#[tokio::test]
async fn a_composed_call_passes_three_gates() {
    let node = Node::with(vec![
        calls(caller("c/able").authority(authority("far:use")).reaches(["t/scoped", "t/hidden", "t/public", "s/*"])),
        calls(caller("c/powerless").reaches(["t/scoped", "t/public"])),
        calls(caller("c/nowhere").authority(authority("far:use"))),
        echoes(echo("t/scoped", rule("far:use"))),
        echoes(echo("t/hidden", rule("far:use")).internal()),
        echoes(echo("t/public", AccessRule::public())),
        echoes(echo("s/any", rule("far:use"))),
        echoes(echo("s/other", rule("far:other"))),
    ]);
    let code = async |name: &str, target: &str| {
        ask(&node, Some(alice()), name, through(target)).await.map_err(|error| error.code)
    };
    for reached in ["t/scoped", "t/hidden", "t/public", "s/any"] {
        assert_eq!(code("c/able", reached).await, Ok(json!({"text": "a"})), "{reached}");
    }
    assert_eq!(code("c/able", "s/other").await, Err(ErrorCode::Forbidden), "beyond its rights");
    assert_eq!(code("c/able", "s/absent").await, Err(ErrorCode::NotFound));
    assert_eq!(code("c/able", "test/echo").await, Err(ErrorCode::NotFound), "outside its set, though public");
    assert_eq!(code("c/powerless", "t/public").await, Ok(json!({"text": "a"})));
    assert_eq!(code("c/powerless", "t/scoped").await, Err(ErrorCode::Forbidden));
    assert_eq!(code("c/nowhere", "t/public").await, Err(ErrorCode::NotFound), "what declares nothing reaches nothing");
    let owner = Some(Identity::owner("o"));
    let refused = ask(&node, owner, "c/powerless", through("t/scoped")).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Forbidden, "not even an owner's rights are inherited");
    let events = node.audit.events();
    let told = |action: &str, outcome, word: &str| {
        events.iter().any(|event| {
            let detail = event.detail.as_deref().unwrap_or_default();
            event.action == action
                && event.outcome == outcome
                && event.identity.as_deref() == Some("alice")
                && detail.contains(word)
        })
    };
    assert!(told("t/scoped", AuditOutcome::Allowed, "c/able"));
    assert!(told("t/scoped", AuditOutcome::Denied, "c/powerless"));
    assert!(told("t/public", AuditOutcome::Denied, "c/nowhere"));
    assert!(told("s/absent", AuditOutcome::Denied, "c/able"));
}

// CALL-47: where the handler says so, its caller must be allowed as well.
#[tokio::test]
async fn an_operation_may_stay_within_its_callers_rights() {
    let node = Node::with(vec![
        calls(caller("c/within").authority(authority("test:run")).reaches(["test/secret"]).within_caller()),
        calls(caller("c/outer").authority(authority("none:none")).reaches(["c/within"])),
    ]);
    let code = async |who, name: &str, input| ask(&node, who, name, input).await.map_err(|error| error.code);
    let bob = Identity::new("bob", ScopeSet::default(), ResourceGrants::default());
    assert_eq!(code(Some(alice()), "c/within", through("test/secret")).await, Ok(json!({"text": "a"})));
    assert_eq!(code(Some(bob), "c/within", through("test/secret")).await, Err(ErrorCode::Forbidden));
    assert_eq!(code(None, "c/within", through("test/secret")).await, Err(ErrorCode::Forbidden));
    let twice = json!({"name": "c/within", "input": through("test/secret")});
    let outcome = code(Some(alice()), "c/outer", twice).await;
    assert_eq!(outcome, Err(ErrorCode::Forbidden), "its caller is the operation between, whose rights are none");
}

// CALL-47: grants on resources are the handler's as well; a composed call keeps its caller's name.
#[tokio::test]
async fn resources_are_granted_to_the_handler_and_names_stay() {
    let who = |builder: OperationBuilder| {
        builder.handler(|context: Arc<OperationContext>, _: Nothing| async move {
            assert!(context.permit.identity().map(|identity| identity.id()) == context.caller.id());
            Ok::<_, CallError>(context.caller.id().map(str::to_owned))
        })
    };
    let granted = authority("test:run").on("bucket:mine".parse().unwrap(), "test:read");
    let node = Node::with(vec![
        calls(caller("c/bucket").authority(granted).reaches(["test/bucket"])),
        calls(caller("c/who").authority(authority("test:run")).reaches(["t/who"])),
        who(Operation::query("t/who").access(scoped())),
    ]);
    let bucket = |name: &str| json!({"name": "test/bucket", "input": {"bucket": name}});
    assert_eq!(ask(&node, None, "c/bucket", bucket("mine")).await, Ok(json!("mine")));
    let refused = ask(&node, Some(alice()), "c/bucket", bucket("photos")).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Forbidden, "alice's own grant is hers");
    let call = json!({"name": "t/who", "input": {}});
    assert_eq!(ask(&node, Some(alice()), "c/who", call.clone()).await, Ok(json!("alice")));
    assert_eq!(ask(&node, None, "c/who", call).await, Ok(Value::Null), "a stranger gets no name by it");
}

/// A number that no JSON could carry.
#[derive(Serialize, Deserialize, JsonSchema, PartialEq, Debug)]
struct Exact {
    #[serde(skip)]
    #[schemars(skip)]
    untold: u32,
    #[schemars(range(max = 9))]
    told: u32,
}

#[derive(Deserialize, Serialize, JsonSchema)]
struct InBucket {
    bucket: String,
}

// CALL-47 CALL-12: in the target's own types nothing becomes JSON, yet gates and schemas hold; with other types JSON goes between.
#[tokio::test]
async fn types_of_the_targets_own_skip_json_but_no_check() {
    let demand = ResourceDemand { kind: "bucket".into(), id_pointer: "/bucket".into(), action: "test:read".into() };
    let granted = authority("test:run").on("bucket:mine".parse().unwrap(), "test:read");
    let run = |context: Arc<OperationContext>, call: Call| async move {
        match call.name.as_str() {
            "typed" => {
                let exact: Exact = context.call("t/exact", Exact { untold: 7, told: 1 }).await?;
                Ok(json!(exact.untold))
            }
            "json" => context.call("t/exact", json!({"told": 1})).await,
            "large" => context.call::<_, Exact>("t/exact", Exact { untold: 7, told: 10 }).await.map(|_| Value::Null),
            "large-json" => context.call("t/exact", json!({"told": 10})).await,
            bucket => Ok(json!(context.call::<_, String>("t/bucket", InBucket { bucket: bucket.to_owned() }).await?)),
        }
    };
    let node = Node::with(vec![
        caller("c/exact").authority(granted).reaches(["t/exact", "t/bucket"]).handler(run),
        Operation::query("t/exact")
            .access(scoped())
            .handler(|_, input: Exact| async move { Ok::<_, CallError>(input) }),
        Operation::query("t/bucket")
            .access(scoped().on(demand))
            .handler(|_, input: InBucket| async move { Ok::<_, CallError>(input.bucket) }),
    ]);
    let ask = async |what: &str| ask(&node, None, "c/exact", json!({"name": what})).await;
    assert_eq!(ask("typed").await, Ok(json!(7)), "the value itself went there and back");
    assert_eq!(ask("json").await, Ok(json!({"told": 1})));
    for large in ["large", "large-json"] {
        let error = ask(large).await.unwrap_err();
        assert_eq!((error.code, error.details), (ErrorCode::InvalidInput, Some(json!({"pointer": "/told"}))));
    }
    assert_eq!(ask("mine").await, Ok(json!("mine")));
    assert_eq!(ask("photos").await.unwrap_err().code, ErrorCode::Forbidden);
    let typed = node.registry.typed::<InBucket, String>("t/bucket").unwrap();
    assert!(node.registry.typed::<Exact, String>("t/bucket").is_none(), "other types");
    assert!(node.registry.typed::<Nothing, Value>("test/hidden").is_none(), "no door shows it");
    let who = |identity| alknet_core::Caller {
        identity: Some(Arc::new(identity)),
        credential: None,
        addr: alknet_core::PeerAddr::LocalOwner { pid: 1 },
    };
    let photos = || InBucket { bucket: "photos".into() };
    assert_eq!(typed.call(&who(alice()), photos()).await, Ok("photos".to_owned()));
    let bob = Identity::new("bob", ScopeSet::default(), ResourceGrants::default());
    assert_eq!(typed.call(&who(bob), photos()).await.unwrap_err().code, ErrorCode::NotFound);
}

// CALL-50
#[tokio::test]
async fn compositions_nest_sixteen_deep() {
    let nest = |context: Arc<OperationContext>, left: u32| async move {
        if left == 0 { Ok(0) } else { Ok(1 + context.call::<u32, u32>("c/nest", left - 1).await?) }
    };
    let node = Node::with(vec![caller("c/nest").reaches(["c/nest"]).handler(nest)]);
    assert_eq!(ask(&node, None, "c/nest", json!(16)).await, Ok(json!(16)));
    let error = ask(&node, None, "c/nest", json!(17)).await.unwrap_err();
    assert_eq!((error.code, error.retryable), (ErrorCode::Overloaded, true));
    assert_eq!(node.registry.graph().live(), 0);
}

// CALL-50
#[tokio::test]
async fn one_call_composes_a_bounded_number_at_a_time() {
    let free = Arc::new(tokio::sync::Semaphore::new(0));
    let (frees, slow) = (free.clone(), free);
    let many = move |context: Arc<OperationContext>, count: usize| {
        let free = frees.clone();
        async move {
            let begin = |context: Arc<OperationContext>| async move {
                context.call::<Nothing, Value>("t/slow", Nothing {}).await.err().map(|error| error.code)
            };
            let calls: Vec<_> = (0..count).map(|_| tokio::spawn(begin(context.clone()))).collect();
            let refused = count.saturating_sub(256);
            until(|| calls.iter().filter(|call| call.is_finished()).count() == refused).await;
            until(|| context.node().running_below() as usize == count - refused).await;
            free.add_permits(count - refused);
            let codes: Vec<_> = join_all(calls).await.into_iter().filter_map(Result::unwrap).collect();
            assert!(codes.iter().all(|code| *code == ErrorCode::Overloaded));
            Ok::<_, CallError>(codes.len())
        }
    };
    let slow = move |_, _: Nothing| {
        let free = slow.clone();
        async move {
            free.acquire().await.unwrap().forget();
            Ok::<_, CallError>(Value::Null)
        }
    };
    let node = Node::with(vec![
        caller("c/many").reaches(["t/slow"]).handler(many),
        Operation::query("t/slow").access(AccessRule::public()).handler(slow),
    ]);
    assert_eq!(ask(&node, None, "c/many", json!(256)).await, Ok(json!(0)));
    assert_eq!(ask(&node, None, "c/many", json!(300)).await, Ok(json!(44)));
    assert_eq!(node.registry.graph().live(), 0);
}

fn waits(name: &str) -> Operation {
    caller(name).authority(authority("test:run")).reaches(["test/wait"]).handler(
        |context: Arc<OperationContext>, kept: bool| async move {
            if kept {
                context.continuing().call_value("test/wait", json!({})).await
            } else {
                context.call_value("test/wait", json!({})).await
            }
        },
    )
}

fn running(node: &Node) -> usize {
    node.waits.running.load(Ordering::Acquire)
}

// CALL-49: called off with its caller, unless it is continuing; both ways that a caller goes.
#[tokio::test]
async fn a_composed_call_ends_with_its_caller_unless_continuing() {
    let node = Arc::new(Node::with(vec![waits("c/wait")]));
    for by_drop in [true, false] {
        for kept in [false, true] {
            let asked = node.clone();
            let task = tokio::spawn(async move {
                asked.local(Some(alice())).call("c/wait", json!(kept), CallOptions::default()).await
            });
            until(|| running(&node) == 1).await;
            let graph = node.registry.graph();
            let root = graph.list(&Default::default(), 9).into_iter().find(|call| call.operation == "c/wait").unwrap();
            if by_drop {
                task.abort();
            } else {
                graph.get(root.number).unwrap().call_off(alknet_call::Ending::Aborted).unwrap();
                assert_eq!(soon(task).await.unwrap().unwrap_err().code, ErrorCode::Aborted);
            }
            if kept {
                until(|| graph.get(root.number).is_none_or(|call| call.took().is_some())).await;
                assert_eq!((running(&node), graph.live(), node.sessions.list().len()), (1, 1, 1), "it goes on");
                node.sessions.cancel_identity("alice");
            }
            until(|| running(&node) == 0 && graph.live() == 0 && node.sessions.list().is_empty()).await;
        }
    }
}

// CALL-49: a call that composed others in tasks of its own and is done ends them.
#[tokio::test]
async fn what_a_finished_call_left_behind_ends() {
    let leaves = |context: Arc<OperationContext>, _: Nothing| async move {
        let mine = context.clone();
        let left = tokio::spawn(async move { mine.call_value("test/wait", json!({})).await });
        until_running(&context).await;
        drop(left);
        Ok::<_, CallError>(Value::Null)
    };
    async fn until_running(context: &OperationContext) {
        until(|| context.node().running_below() == 1).await;
    }
    let leaver = caller("c/leaves").authority(authority("test:run")).reaches(["test/wait"]).handler(leaves);
    let node = Node::with(vec![leaver]);
    assert_eq!(ask(&node, None, "c/leaves", json!({})).await, Ok(Value::Null));
    until(|| running(&node) == 0 && node.registry.graph().live() == 0).await;
}

// CALL-49: at most the time that its caller has left; a continuing call has its own operation's.
#[tokio::test(start_paused = true)]
async fn time_is_never_gained_by_composing() {
    let left = |context: Arc<OperationContext>, _: Nothing| async move {
        let left = context.deadline.unwrap().saturating_duration_since(tokio::time::Instant::now());
        Ok::<_, CallError>(u64::try_from(left.as_millis()).unwrap())
    };
    let both = |context: Arc<OperationContext>, _: Nothing| async move {
        let within: u64 = context.call("t/left", Nothing {}).await?;
        let short: u64 = context.call("t/short", Nothing {}).await?;
        let continuing: u64 = context.continuing().call("t/left", Nothing {}).await?;
        Ok::<_, CallError>([within, short, continuing])
    };
    let public = |name: &str| Operation::query(name).access(AccessRule::public());
    let node = Node::with(vec![
        public("c/both").reaches(["t/left", "t/short"]).timeout(Duration::from_millis(500)).handler(both),
        public("t/left").timeout(Duration::from_millis(900)).handler(left),
        public("t/short").timeout(Duration::from_millis(100)).handler(left),
    ]);
    assert_eq!(ask(&node, None, "c/both", json!({})).await, Ok(json!([500, 100, 900])));
    let options = CallOptions { deadline: Some(Duration::from_millis(50)), ..CallOptions::default() };
    let outcome = node.local(None).call("c/both", json!({}), options).await;
    assert_eq!(outcome, Ok(json!([50, 50, 900])));
}

// CALL-50 CALL-25: rights that the outermost caller loses end the whole tree, continuing calls too.
#[tokio::test]
async fn lost_rights_end_the_whole_tree() {
    let both = |context: Arc<OperationContext>, _: Nothing| async move {
        let continuing = context.continuing();
        let (within, kept) =
            tokio::join!(context.call_value("c/wait", json!(false)), continuing.call_value("c/wait", json!(true)));
        within.and(kept)
    };
    let node = Arc::new(Node::with(vec![waits("c/wait"), caller("c/both").reaches(["c/wait"]).handler(both)]));
    node.identities.know(&credential(ALICE), alice());
    let asked = node.clone();
    let task =
        tokio::spawn(async move { asked.local(Some(alice())).call("c/both", json!({}), CallOptions::default()).await });
    until(|| running(&node) == 2).await;
    assert_eq!(node.registry.graph().live(), 5);
    assert!(node.sessions.cancel_identity("alice") > 0);
    assert_eq!(soon(task).await.unwrap().unwrap_err().code, ErrorCode::Unauthenticated);
    until(|| running(&node) == 0 && node.registry.graph().live() == 0 && node.sessions.list().is_empty()).await;
}

// CALL-47 CALL-42: subscriptions compose like calls; what a composed one gives can be given on.
#[tokio::test]
async fn subscriptions_compose() {
    let dropped = Arc::new(AtomicUsize::new(0));
    struct Dropped(Arc<AtomicUsize>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }
    let counting = dropped.clone();
    let count = move |_, from: u64| {
        let guard = Dropped(counting.clone());
        async move {
            let items = stream::iter(from..).map(move |n| {
                let _alive = &guard;
                Ok::<_, CallError>(Item::new(n))
            });
            Ok::<_, CallError>(items)
        }
    };
    let relay = |context: Arc<OperationContext>, from: u64| async move {
        let items = context.subscribe("t/count", json!(from), None).await?;
        Ok::<_, CallError>(items.take(3))
    };
    let sub = |name: &str| Operation::subscription(name).access(AccessRule::public());
    let node = Node::with(vec![
        sub("t/count").items(count),
        sub("c/relay").reaches(["t/count"]).items(relay),
        calls(caller("c/call").reaches(["t/count"])),
    ]);
    let items = node.local(None).subscribe("c/relay", json!(5), SubscribeOptions::default()).await.unwrap();
    let items: Vec<_> = soon(items.map(|item| item.unwrap().output).collect()).await;
    assert_eq!(items, [json!(5), json!(6), json!(7)]);
    until(|| dropped.load(Ordering::Acquire) == 1 && node.registry.graph().live() == 0).await;
    let wrong = ask(&node, None, "c/call", json!({"name": "t/count", "input": 1})).await.unwrap_err();
    assert_eq!(wrong.code, ErrorCode::InvalidOperationType);
}
