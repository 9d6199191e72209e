//! The call graph: what is in it, for how long, and how calls are called off.

use std::{sync::Arc, time::Duration};

use alknet_call::{
    BelowError, Bond, CallFilter, CallGraph, CallStatus, CallTree, Ending, LiveCall, NewCall, Watched,
    limits::{ENDED_CALL_LIFETIME, MAX_CALL_DEPTH, MAX_CALLS_BELOW, MAX_ENDED_CALLS, MAX_UNSEEN_CHANGES},
};
use alknet_core::Identity;

fn call(graph: &CallGraph, operation: &str) -> NewCall {
    NewCall {
        operation: graph.operation(operation),
        identity: Some(Arc::new(Identity::owner("alice"))),
        request_id: "r1".into(),
        origin: None,
        input_bytes: 10,
    }
}

fn begin(graph: &CallGraph, operation: &str) -> LiveCall {
    graph.begin(call(graph, operation))
}

fn below(graph: &CallGraph, parent: &LiveCall, bond: Bond, operation: &str) -> LiveCall {
    graph.begin_below(parent.node(), bond, call(graph, operation)).map_err(|error| error.to_string()).unwrap()
}

fn statuses(graph: &CallGraph) -> Vec<(u64, CallStatus)> {
    graph.list(&CallFilter::default(), 100).iter().map(|view| (view.number.0, view.status)).collect()
}

// CALL-58: id, parent, operation, identity, status, times, sizes.
#[tokio::test(start_paused = true)]
async fn a_call_is_seen_while_it_runs_and_after() {
    let graph = CallGraph::default();
    let root = begin(&graph, "a/root");
    let child = below(&graph, &root, Bond::Within, "a/child");
    assert_eq!(statuses(&graph), [(2, CallStatus::Pending), (1, CallStatus::Pending)]);
    root.running();
    child.running();
    tokio::time::advance(Duration::from_millis(30)).await;
    assert_eq!(child.finish(Ending::Failed, 0), Ending::Failed);
    assert_eq!(graph.live(), 1);
    tokio::time::advance(Duration::from_millis(20)).await;
    assert_eq!(root.finish(Ending::Completed, 77), Ending::Completed);
    assert_eq!((graph.live(), statuses(&graph)), (0, vec![(2, CallStatus::Failed), (1, CallStatus::Completed)]));
    let CallTree { call, children } = graph.show(alknet_call::CallNumber(1)).unwrap();
    assert_eq!((call.id.as_str(), call.operation.as_str(), call.identity.as_deref()), ("r1", "a/root", Some("alice")));
    assert_eq!((call.parent, call.took_us, call.input_bytes, call.output_bytes), (None, 50_000, 10, 77));
    assert_eq!(children.len(), 1);
    assert_eq!((children[0].call.parent.map(|number| number.0), children[0].call.took_us), (Some(1), 30_000));
}

// CALL-58: for a bounded time after.
#[tokio::test(start_paused = true)]
async fn ended_calls_are_forgotten_with_age_and_running_ones_are_not() {
    let graph = CallGraph::default();
    let running = begin(&graph, "a/long");
    begin(&graph, "a/short").finish(Ending::Completed, 0);
    tokio::time::advance(ENDED_CALL_LIFETIME).await;
    assert_eq!(statuses(&graph).len(), 2);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(statuses(&graph), [(running.number().0, CallStatus::Pending)]);
}

// CALL-58: for a bounded number after.
#[test]
fn ended_calls_make_room_for_later_ones() {
    let graph = CallGraph::default();
    let running = begin(&graph, "a/b");
    for _ in 0..MAX_ENDED_CALLS + 100 {
        begin(&graph, "a/b").finish(Ending::Completed, 0);
    }
    let all = graph.list(&CallFilter::default(), usize::MAX);
    assert!(all.len() <= MAX_ENDED_CALLS + 1 && all.len() > MAX_ENDED_CALLS - 16, "{}", all.len());
    assert_eq!(all.last().unwrap().number, running.number());
    assert_eq!(all[0].number.0, MAX_ENDED_CALLS as u64 + 101);
    assert_eq!(graph.live(), 1);
}

// CALL-15, CALL-49: everything below is called off, but what is continuing.
#[test]
fn calling_off_reaches_what_is_below_but_not_what_continues() {
    let graph = CallGraph::default();
    let root = begin(&graph, "a/root");
    let child = below(&graph, &root, Bond::Within, "a/child");
    let grandchild = below(&graph, &child, Bond::Within, "a/grandchild");
    let continuing = below(&graph, &child, Bond::Continuing, "a/continuing");
    let early = grandchild.cancel_token().clone();
    root.call_off(Ending::TimedOut).unwrap();
    assert!(early.is_cancelled() && child.cancel_token().is_cancelled(), "made before or after");
    assert!(child.is_over() && grandchild.is_over());
    assert!(!continuing.is_over() && !continuing.cancel_token().is_cancelled());
    assert_eq!(child.finish(Ending::Aborted, 0), Ending::Aborted);
    assert_eq!(root.finish(Ending::Completed, 5), Ending::TimedOut, "what came first stands");
    assert_eq!(continuing.finish(Ending::Completed, 5), Ending::Completed);
}

// CALL-58: `calls/abort` takes everything below, continuing or not, through calls that ended already.
#[test]
fn an_abort_by_number_takes_the_whole_tree() {
    let graph = CallGraph::default();
    let root = begin(&graph, "a/root");
    let middle = below(&graph, &root, Bond::Within, "a/middle");
    let continuing = below(&graph, &middle, Bond::Continuing, "a/continuing");
    let other = begin(&graph, "a/other");
    middle.finish(Ending::Completed, 0);
    assert_eq!(graph.abort(root.number()), Some(2));
    assert_eq!(graph.abort(root.number()), Some(0));
    assert!(root.cancel_token().is_cancelled() && continuing.cancel_token().is_cancelled());
    assert!(!other.is_over());
    assert_eq!(graph.abort(alknet_call::CallNumber(99)), None);
    let refused = graph.begin_below(root.node(), Bond::Continuing, call(&graph, "a/late"));
    assert_eq!(refused.err(), Some(BelowError::Over));
}

// CALL-50
#[test]
fn depth_and_width_are_bounded() {
    let graph = CallGraph::default();
    let mut chain = vec![begin(&graph, "a/0")];
    for _ in 0..MAX_CALL_DEPTH {
        chain.push(below(&graph, chain.last().unwrap(), Bond::Within, "a/n"));
    }
    let deeper = graph.begin_below(chain.last().unwrap().node(), Bond::Within, call(&graph, "a/n"));
    assert_eq!(deeper.err(), Some(BelowError::TooDeep));
    let wide = begin(&graph, "a/wide");
    let mut calls: Vec<_> = (0..MAX_CALLS_BELOW).map(|_| below(&graph, &wide, Bond::Within, "a/n")).collect();
    let more = || graph.begin_below(wide.node(), Bond::Continuing, call(&graph, "a/n"));
    assert_eq!(more().err(), Some(BelowError::TooMany));
    drop(calls.pop());
    assert!(more().is_ok(), "a place is free again once a call ended");
}

#[test]
fn a_call_whose_work_is_dropped_ends_as_aborted() {
    let graph = CallGraph::default();
    let live = begin(&graph, "a/b");
    let (number, token) = (live.number(), live.cancel_token().clone());
    drop(live);
    assert!(token.is_cancelled());
    assert_eq!(graph.get(number).unwrap().ending().decided(), Some(Ending::Aborted));
    assert_eq!((graph.live(), graph.stats()[0].aborted), (0, 1));
}

#[test]
fn calls_are_listed_by_status_identity_and_name() {
    let graph = CallGraph::default();
    let running = begin(&graph, "fs/read");
    running.running();
    graph.begin(NewCall { identity: None, ..call(&graph, "fs/write") }).finish(Ending::Completed, 0);
    begin(&graph, "git/log").finish(Ending::Revoked, 0);
    let numbers = |filter: CallFilter| -> Vec<_> { graph.list(&filter, 9).iter().map(|view| view.number.0).collect() };
    assert_eq!(numbers(CallFilter { operation_prefix: Some("fs/".into()), ..CallFilter::default() }), [2, 1]);
    assert_eq!(numbers(CallFilter { identity: Some("alice".into()), ..CallFilter::default() }), [3, 1]);
    let ended = vec![CallStatus::Completed, CallStatus::Aborted];
    assert_eq!(numbers(CallFilter { statuses: ended, ..CallFilter::default() }), [3, 2]);
    assert_eq!(numbers(CallFilter { before: Some(alknet_call::CallNumber(3)), ..CallFilter::default() }), [2, 1]);
    assert_eq!(graph.list(&CallFilter::default(), 1)[0].reason.as_deref(), Some("revoked"));
}

// CALL-58: a watcher that lags is told how much it missed.
#[tokio::test]
async fn watchers_see_each_step_and_are_told_what_they_missed() {
    let graph = CallGraph::default();
    begin(&graph, "a/unseen").finish(Ending::Completed, 0);
    let mut watch = graph.watch();
    let live = begin(&graph, "a/seen");
    live.running();
    live.finish(Ending::Failed, 0);
    for status in [CallStatus::Pending, CallStatus::Running, CallStatus::Failed] {
        let Some(Watched::Changed(change)) = watch.next().await else { panic!("nothing was missed") };
        assert_eq!((change.view().operation.as_str(), change.view().status), ("a/seen", status));
    }
    for _ in 0..MAX_UNSEEN_CHANGES {
        begin(&graph, "a/b").finish(Ending::Completed, 0);
    }
    let Some(Watched::Missed(missed)) = watch.next().await else { panic!("it lagged") };
    assert_eq!(missed, MAX_UNSEEN_CHANGES as u64);
    assert!(matches!(watch.next().await, Some(Watched::Changed(_))));
}

#[test]
fn racing_compositions_never_escape_an_abort() {
    for _ in 0..200 {
        let graph = CallGraph::default();
        let root = begin(&graph, "a/root");
        let racer = {
            let (graph, root) = (graph.clone(), root.node().clone());
            std::thread::spawn(move || {
                let bond = [Bond::Continuing, Bond::Within];
                let mut begun = Vec::new();
                for bond in bond.into_iter().cycle().take(50) {
                    match graph.begin_below(&root, bond, call(&graph, "a/n")) {
                        Ok(live) => begun.push(live),
                        Err(_) => break,
                    }
                }
                begun
            })
        };
        graph.abort(root.number());
        let begun = racer.join().unwrap();
        assert!(begun.iter().all(|live| live.is_over() && live.cancel_token().is_cancelled()));
    }
}
