//! What a key line's options forbid, with the stock client.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
};

use alknet_core::{AuditOutcome, Identity};

use crate::{
    forward::{port_of, remote_forward},
    node::{Node, wait_for},
    stock_agent::with_agent,
    targets::{at_path, on_port},
};

/// A node that knows `alice` by the key `bound`, under these options.
fn node(options: &str) -> Node {
    let node = Node::start();
    node.make_key("bound", "ed25519", &[]);
    bind(&node, options);
    node
}

fn bind(node: &Node, options: &str) {
    node.identities.know_with_options(node.fingerprint("bound"), Identity::owner("alice"), options);
}

fn run(node: &Node, options: &[&str], command: &str) -> (Option<i32>, String, String) {
    let output = node.ssh_as("alice", &node.path("bound"), options, command).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

const REFUSED: Option<i32> = Some(255);

/// KEY-10: the client comes from 127.0.0.1.
#[test]
fn from_says_where_a_key_may_come_from() {
    let node = node("from=\"127.0.0.0/8\"");
    assert_eq!(run(&node, &[], "echo in").1, "in\n");
    bind(&node, "from=\"127.0.0.?\"");
    assert_eq!(run(&node, &[], "echo in").1, "in\n");
    for options in ["from=\"10.0.0.0/8\"", "from=\"*,!127.0.0.1\"", "from=\"::1\""] {
        bind(&node, options);
        let (code, out, _) = run(&node, &[], "echo in");
        assert_eq!((code, out.as_str()), (REFUSED, ""), "{options}");
    }
    wait_for("the failures in the audit", || node.logins(AuditOutcome::Denied) == 3);
    let detail = node.audit.events().into_iter().rev().find_map(|event| event.detail).unwrap();
    assert!(
        detail.starts_with("user alice, key ed25519:") && detail.contains("not allowed by its options"),
        "{detail}"
    );
}

/// KEY-11.
#[test]
fn a_key_ends_at_its_expiry_time() {
    let node = node("expiry-time=\"20991231\"");
    assert_eq!(run(&node, &[], "echo in").1, "in\n");
    bind(&node, "expiry-time=\"20200101\"");
    assert_eq!(run(&node, &[], "echo in").0, REFUSED);
}

static NOW: AtomicU64 = AtomicU64::new(1_800_000_000);

/// KEY-12: the connection stays, and what runs goes on.
#[test]
fn nothing_new_is_authorised_once_a_key_has_expired() {
    let node = Node::with(|config| config.clock = || NOW.load(Ordering::Relaxed));
    // 1,800,000,000 is 2027-01-15 08:00:00.
    node.identities.know_with_options(node.fingerprint("me"), Identity::owner("alice"), "expiry-time=\"202701150900\"");
    let (master, socket) = node.master();
    assert_eq!(node.text(&["-o", &socket], "echo in"), "in\n");
    let forwards = Forwards::of(&node, &socket);
    NOW.fetch_add(3600, Ordering::Relaxed);
    let late = node.run(&["-o", &socket], "echo in");
    assert_eq!((late.status.success(), late.stdout.len()), (false, 0), "{late:?}");
    forwards.have_ended(&node, &socket);
    let ended = Some("the key or certificate has ended");
    for action in ["ssh/exec", "ssh/forward.local", "ssh/forward.remote"] {
        let refused = |event: &alknet_core::AuditEvent| {
            (event.action.as_str(), event.outcome, event.detail.as_deref()) == (action, AuditOutcome::Denied, ended)
        };
        assert!(node.audit.events().iter().any(refused), "{action}");
    }
    assert_eq!(node.sessions.list().len(), 1, "the session itself is still there");
    drop(master);
}

/// Forwards of both directions that a client asked for on a shared connection.
pub struct Forwards {
    near: std::path::PathBuf,
    far: u16,
}

impl Forwards {
    /// Makes them; they work.
    pub fn of(node: &Node, join: &str) -> Self {
        let target = greeting();
        let near = node.path("near");
        let spec = format!("{}:127.0.0.1:{target}", near.display());
        assert!(node.run(&["-o", join, "-O", "forward", "-L", &spec], "").status.success());
        let far = port_of(&remote_forward(node, join, &format!("0:127.0.0.1:{target}")));
        let forwards = Self { near, far };
        assert_eq!(read(UnixStream::connect(&forwards.near).unwrap()), b"in");
        assert_eq!(read(TcpStream::connect(("127.0.0.1", far)).unwrap()), b"in");
        forwards
    }

    /// Nothing more comes through them, and no further ones are made.
    pub fn have_ended(&self, node: &Node, join: &str) {
        assert_eq!(read(UnixStream::connect(&self.near).unwrap()), b"");
        assert_eq!(TcpStream::connect(("127.0.0.1", self.far)).map_or(Vec::new(), read), b"");
        wait_for("the listener to end", || TcpStream::connect(("127.0.0.1", self.far)).is_err());
        for from in ["0".to_owned(), node.path("new").display().to_string()] {
            // Another target: the client itself answers when it is asked for the same again.
            let spec = format!("{from}:127.0.0.1:1");
            assert!(!remote_forward(node, join, &spec).status.success(), "{spec}");
        }
    }
}

/// A port at which everybody is told the same.
fn greeting() -> u16 {
    on_port(|mut stream| stream.write_all(b"in").unwrap_or_default())
}

/// What comes until the end, or until the connection breaks.
fn read(mut stream: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    all
}

/// What of `-A`, `-W` and `-R` the client gets that `ssh` makes.
pub fn forwards(node: &Node, ssh: impl Fn(&[&str], &str) -> Command) -> (bool, bool, bool) {
    let agent = node.path("no-agent");
    if !agent.exists() {
        at_path(&agent, drop::<UnixStream>);
    }
    let offered = with_agent(&ssh(&["-A"], "echo \"[$SSH_AUTH_SOCK]\""), &agent).output().unwrap();
    assert!(offered.status.success(), "{offered:?}");
    let open = ssh(&["-W", &format!("127.0.0.1:{}", greeting())], "").output().unwrap();
    let listen = ssh(&["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1"], "true").output().unwrap();
    (offered.stdout != b"[]\n", open.stdout == b"in", listen.status.success())
}

/// KEY-02, KEY-04, FWD-05.
#[test]
fn forwards_need_their_options() {
    let node = node("");
    let here = greeting();
    for (options, may) in [
        ("", (true, true, true)),
        ("restrict", (false, false, false)),
        ("restrict,agent-forwarding", (true, false, false)),
        ("restrict,port-forwarding", (false, true, true)),
        ("no-agent-forwarding", (false, true, true)),
        ("no-port-forwarding", (true, false, false)),
        ("permitopen=\"127.0.0.1:1\"", (true, false, true)),
        ("permitopen=\"127.0.0.1:*\"", (true, true, true)),
        ("permitlisten=\"1\"", (true, true, false)),
        ("permitlisten=\"localhost:*\"", (true, true, true)),
    ] {
        bind(&node, options);
        let ssh = |args: &[&str], command: &str| node.ssh_as("alice", &node.path("bound"), args, command);
        assert_eq!(forwards(&node, ssh), may, "{options}");
    }
    bind(&node, &format!("permitopen=\"127.0.0.1:{here}\""));
    assert_eq!(run(&node, &["-W", &format!("127.0.0.1:{here}")], "").1, "in");
}

/// KEY-02, KEY-03, SES-20.
#[test]
fn a_forced_command_runs_whatever_is_asked_for() {
    let node = node("command=\"echo \\\"forced: $SSH_ORIGINAL_COMMAND\\\"\",restrict");
    assert_eq!(run(&node, &[], "rm -rf x").1, "forced: rm -rf x\n");
    assert_eq!(run(&node, &[], "").1, "forced: \n");
    assert_eq!(run(&node, &["-s"], "sftp").1, "forced: sftp\n");
}

/// KEY-02, SES-22.
#[test]
fn a_terminal_needs_its_option_when_the_key_is_restricted() {
    let node = node("restrict");
    let (_, out, err) = run(&node, &["-tt"], "tty");
    assert!(!out.contains("/dev/") && err.contains("PTY allocation request failed"), "{out}{err}");
    bind(&node, "restrict,pty");
    assert!(run(&node, &["-tt"], "tty").1.contains("/dev/"));
    bind(&node, "no-pty");
    assert!(!run(&node, &["-tt"], "tty").1.contains("/dev/"));
}

/// KEY-06: as if the key did not exist.
#[test]
fn options_that_cannot_be_read_any_more_let_nobody_in() {
    let node = node("from-a-newer-version=\"1\"");
    assert_eq!(run(&node, &[], "echo in").0, REFUSED);
}

/// KEY-03.
#[test]
fn environment_is_set_within_what_clients_may_set() {
    let node = node("environment=\"LC_TEST=from the key\",environment=\"LD_PRELOAD=/tmp/evil.so\"");
    assert_eq!(run(&node, &[], "echo $LC_TEST:$LD_PRELOAD:").1, "from the key::\n");
}
