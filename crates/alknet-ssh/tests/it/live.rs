use std::{
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use alknet_core::{AccessRule, Caller, Demand, Effect, Identity, PeerAddr, Permit};
use alknet_ssh::{KILL_SCOPE, SESSIONS_SCOPE};

use crate::node::{Client, Node, runs, wait_for};

pub fn permit(node: &Node, scope: &str) -> Permit {
    let identity = Some(Arc::new(Identity::owner("admin")));
    let caller = Caller { identity, credential: None, addr: PeerAddr::LocalOwner { pid: 1 } };
    let rule = AccessRule::scoped([scope.parse().unwrap()]);
    let demand = Demand { action: "ssh/test", rule: &rule, resource: None, effect: Effect::Query };
    node.authorizer.authorize(&caller, &demand).unwrap()
}

/// SES-50.
#[test]
fn a_live_session_is_listed_with_what_it_carried() {
    let node = Node::start();
    let looking = permit(&node, SESSIONS_SCOPE);
    assert!(node.live.list(&looking).unwrap().is_empty());
    let (master, join) = node.master();
    let idle = || node.live.list(&looking).unwrap().into_iter().next().filter(|session| session.channels == 0);
    wait_for("the session", || idle().is_some());
    let before = idle().unwrap();
    assert_eq!(before.info.identity.as_deref(), Some("alice"));
    assert!(before.info.addr.starts_with("127.0.0.1:") && before.info.credential.is_some());
    assert!(before.since.elapsed().unwrap() < Duration::from_secs(60));
    assert_eq!(node.text(&["-o", &join], "head -c 200000 /dev/zero | tr '\\0' x").len(), 200_000);
    let after = node.live.list(&looking).unwrap().remove(0);
    assert!(after.sent > before.sent + 200_000 && after.received > before.received, "{before:?} {after:?}");
    drop(master);
    wait_for("the session to be gone", || node.live.list(&looking).unwrap().is_empty());
}

/// SES-51.
#[test]
fn a_session_that_is_ended_is_gone_within_seconds_and_may_come_again() {
    let node = Node::start();
    let (looking, ending) = (permit(&node, SESSIONS_SCOPE), permit(&node, KILL_SCOPE));
    let mut ssh = node.ssh(&[], "trap '' HUP; echo $$ > pid; while :; do sleep 1; done");
    let mut client = Client(ssh.stdout(Stdio::null()).spawn().unwrap());
    let pid = || std::fs::read_to_string(node.path("pid")).unwrap_or_default();
    wait_for("the process", || pid().ends_with('\n'));
    let id = node.live.list(&looking).unwrap()[0].info.id;
    let begin = Instant::now();
    assert!(node.live.end(&ending, id + 1).unwrap().is_none());
    assert_eq!(node.live.end(&ending, id).unwrap().unwrap().channels, 1);
    wait_for("the client to be cut off", || client.0.try_wait().unwrap().is_some());
    wait_for("the process to end", || !runs(&pid()));
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(node.text(&[], "echo again"), "again\n");
}

/// SES-50, SES-51: each with its own scope.
#[test]
fn who_may_look_may_not_end() {
    let node = Node::start();
    let (looking, ending) = (permit(&node, SESSIONS_SCOPE), permit(&node, KILL_SCOPE));
    assert!(node.live.end(&looking, 0).is_err());
    assert!(node.live.list(&ending).is_err());
}
