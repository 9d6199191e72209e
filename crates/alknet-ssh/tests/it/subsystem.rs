use std::{
    io::{self, Write},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use alknet_core::{Caller, Identity, Permit, ResourceGrants, Scope, ScopeSet};
use alknet_ssh::{Served, Subsystem, SubsystemError, Subsystems};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::node::{Node, wait_for};

/// Greets its caller and says everything in capitals; refuses and panics on demand.
struct Shout;

impl Subsystem for Shout {
    fn scope(&self) -> Scope {
        "shout:use".parse().unwrap()
    }
    fn serve(&self, caller: Caller, permit: Permit, mut stream: DuplexStream) -> Served {
        Box::pin(async move {
            permit.require("shout:use").map_err(io::Error::other)?;
            stream.write_all(format!("{}:", caller.id().unwrap()).as_bytes()).await?;
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let read = stream.read(&mut buffer).await?;
                assert!(!buffer[..read].starts_with(b"panic"), "asked to");
                match &buffer[..read] {
                    [] => return Ok(()),
                    text if text.starts_with(b"fail") => return Err(io::Error::other("asked to")),
                    text => stream.write_all(&text.to_ascii_uppercase()).await?,
                }
            }
        })
    }
}

/// Panics before it serves anybody.
struct Careless;

impl Subsystem for Careless {
    fn scope(&self) -> Scope {
        "shout:use".parse().unwrap()
    }
    fn serve(&self, _: Caller, _: Permit, _: DuplexStream) -> Served {
        panic!("as it is called")
    }
}

fn node() -> Node {
    let subsystems = Subsystems::default().with("shout", Arc::new(Shout)).unwrap();
    let subsystems = subsystems.with("careless", Arc::new(Careless)).unwrap();
    Node::with_subsystems(|_| {}, subsystems)
}

fn through(node: &Node, input: &[u8]) -> (Vec<u8>, Option<i32>) {
    let mut child = node.ssh(&["-s"], "shout").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    (output.stdout, output.status.code())
}

/// SES-60: streams of any size, the end of input, and success are passed on.
#[test]
fn a_subsystem_is_joined_to_a_channel() {
    let node = node();
    let input: Vec<u8> = (0..4 << 20).map(|n: u32| b'a' + (n % 26) as u8).collect();
    let (output, status) = through(&node, &input);
    assert!(output.strip_prefix(b"alice:") == Some(&input.to_ascii_uppercase()), "{}", output.len());
    assert_eq!(status, Some(0));
}

/// SES-60: a failure, and even a panic, is the client's exit status.
#[test]
fn a_subsystem_that_fails_says_so() {
    let node = node();
    for input in [b"fail".as_slice(), b"panic"] {
        assert_eq!(through(&node, input), (b"alice:".to_vec(), Some(1)));
    }
    assert_eq!(through(&node, b"x").0, b"alice:X", "and the next is served");
}

/// SES-60: one that panics as it is called harms nothing else on its connection.
#[test]
fn a_subsystem_that_panics_at_once_harms_nobody() {
    let node = node();
    let (_master, join) = node.master();
    assert_eq!(node.ssh(&["-o", &join, "-s"], "careless").status().unwrap().code(), Some(1));
    assert_eq!(node.text(&["-o", &join], "echo on"), "on\n");
    assert_eq!(node.sessions.list().len(), 1, "on one connection");
}

/// SES-61.
#[test]
fn a_subsystem_needs_its_scope() {
    let node = node();
    for (scopes, status) in [("fs:read", 255), ("shout:use", 0)] {
        let scopes = ScopeSet::from_iter([scopes.parse().unwrap()]);
        node.know("me", Identity::new("alice", scopes, ResourceGrants::default()));
        assert_eq!(node.ssh(&["-s"], "shout").status().unwrap().code(), Some(status));
    }
    assert_eq!(node.ssh(&["-s"], "sftp").status().unwrap().code(), Some(255), "and one of that name must be there");
}

/// SSH-40: it ends with the rights of its caller.
#[test]
fn a_subsystem_ends_with_its_callers_rights() {
    let node = node();
    let mut child = node.ssh(&["-s"], "shout").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    wait_for("the session", || node.sessions.list().len() == 1);
    let begin = Instant::now();
    node.remove("me", "alice");
    wait_for("the client to be cut off", || child.try_wait().unwrap().is_some());
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

/// SES-62.
#[test]
fn names_are_checked_and_never_taken_twice() {
    let add = |name: &str| Subsystems::default().with(name, Arc::new(Shout)).map(|_| ());
    for bad in ["", "SFTP", "a b", "a/b", &"a".repeat(33)] {
        assert!(matches!(add(bad), Err(SubsystemError::Name(_))), "{bad}");
    }
    let twice = Subsystems::default().with("a", Arc::new(Shout)).unwrap().with("a", Arc::new(Shout));
    assert_eq!(twice.map(|_| ()), Err(SubsystemError::Taken("a".into())));
}
