//! What happens while a process is being started: its client sends, closes, goes away, or is sent away.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use alknet_ssh::{RecordingLimits, RecordingPolicy};
use bytes::Bytes;
use russh::{
    Channel, Error,
    client::{self, Handler, Msg},
    keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key},
};
use tokio::time::timeout;

use crate::{
    churn::tasks_of,
    node::{Client, Node, runs, wait_for},
    revoked::SOON,
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// Packets that nobody takes: more than the SSH library holds for a channel.
const MANY_PACKETS: usize = 3 * alknet_ssh::limits::CHANNEL_QUEUE_PACKETS;

/// Believes every server.
pub struct Trusting;

impl Handler for Trusting {
    type Error = Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Error> {
        Ok(true)
    }
}

/// A client that does as it is told, and nothing by itself; so many bytes may be sent to it on each channel.
pub async fn obedient(node: &Node, window_size: u32) -> client::Handle<Trusting> {
    let config = Arc::new(client::Config { window_size, ..client::Config::default() });
    let mut client = client::connect(config, ("127.0.0.1", node.port), Trusting).await.unwrap();
    let key = PrivateKeyWithHashAlg::new(Arc::new(load_secret_key(node.path("me"), None).unwrap()), None);
    assert!(client.authenticate_publickey("alice", key).await.unwrap().success());
    client
}

async fn session(client: &client::Handle<Trusting>) -> Channel<Msg> {
    timeout(PATIENCE, client.channel_open_session()).await.expect("the connection stands still").unwrap()
}

async fn terminal(client: &client::Handle<Trusting>) -> Channel<Msg> {
    let channel = session(client).await;
    channel.request_pty(false, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
    channel
}

async fn send(channel: &Channel<Msg>, packets: usize, data: &'static [u8]) {
    for _ in 0..packets {
        let sent = channel.data_bytes(Bytes::from_static(data));
        timeout(PATIENCE, sent).await.expect("the connection stands still").unwrap();
    }
}

/// Another channel of the connection is served.
async fn others_move(client: &client::Handle<Trusting>, node: &Node) {
    session(client).await.exec(false, "touch moved").await.unwrap();
    tokio::task::block_in_place(|| wait_for("the other channel", || node.path("moved").exists()));
}

/// A node at which the start of a login shell on a terminal takes as long as the test wants: its message of the day is a pipe.
fn slow() -> Node {
    let node = Node::with(|config| {
        config.motd = Some(config.home.join("motd"));
        config.shell = config.home.join("shell");
        let script =
            "#!/bin/sh\n[ \"$1\" = -c ] && exec /bin/sh \"$@\"\necho $$ > pid; trap '' HUP; exec cat > typed\n";
        std::fs::write(&config.shell, script).unwrap();
        std::fs::set_permissions(&config.shell, std::fs::Permissions::from_mode(0o700)).unwrap();
    });
    assert!(Command::new("mkfifo").arg(node.path("motd")).status().unwrap().success());
    node
}

/// Waits until a process is being started; it is when the answer is dropped.
fn held_up(node: &Node) -> File {
    let mut opened = None;
    wait_for("the start", || {
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        opened = OpenOptions::new().write(true).custom_flags(flags).open(node.path("motd")).ok();
        opened.is_some()
    });
    opened.unwrap()
}

/// Nothing but the node itself is there any more.
fn all_gone(node: &Node, tasks: usize) {
    wait_for("all tasks to end", || node.runtime.metrics().num_alive_tasks() == tasks);
    if let Ok(pid) = std::fs::read_to_string(node.path("pid")) {
        wait_for("the process to end", || !runs(&pid));
    }
}

/// SSH-31: not even a client that does not want to hear why, and goes on sending.
#[test]
fn a_session_that_cannot_start_holds_nobody_up() {
    let node = Node::with(|config| {
        let (folder, who) = (config.home.join("recordings"), vec!["*".parse().unwrap()]);
        config.recording = Some(RecordingPolicy { folder, who, limits: RecordingLimits::default() });
    });
    std::fs::write(node.path("recordings"), "a file where the folder should be").unwrap();
    node.runtime.block_on(async {
        let client = obedient(&node, 0).await;
        let refused = terminal(&client).await;
        refused.exec(false, "true").await.unwrap();
        send(&refused, MANY_PACKETS, b"x").await;
        others_move(&client, &node).await;
    });
}

/// SSH-31: what is typed meanwhile is kept for the process.
#[test]
fn a_session_that_is_being_started_holds_nobody_up() {
    let node = slow();
    node.runtime.block_on(async {
        let client = obedient(&node, 1 << 20).await;
        let starting = terminal(&client).await;
        starting.request_shell(false).await.unwrap();
        let held = tokio::task::block_in_place(|| held_up(&node));
        send(&starting, MANY_PACKETS, b"typed\n").await;
        others_move(&client, &node).await;
        drop(held);
        let typed = || std::fs::read_to_string(node.path("typed")).unwrap_or_default();
        let all = "typed\n".repeat(MANY_PACKETS);
        tokio::task::block_in_place(|| wait_for("what was typed", || typed() == all));
    });
}

/// SSH-41: between the request and the start the client closes the channel, or goes away.
#[test]
fn what_is_being_started_for_nobody_ends() {
    let node = slow();
    let tasks = tasks_of(&node);
    for closes in [true, false] {
        node.runtime.block_on(async {
            let client = obedient(&node, 1 << 20).await;
            let starting = terminal(&client).await;
            starting.request_shell(false).await.unwrap();
            let held = tokio::task::block_in_place(|| held_up(&node));
            if closes {
                starting.close().await.unwrap();
                others_move(&client, &node).await;
            }
            drop((starting, client));
            tokio::task::block_in_place(|| wait_for("its end", || node.sessions.list().is_empty()));
            drop(held);
        });
        all_gone(&node, tasks);
    }
}

/// SSH-40: whose rights are taken away meanwhile gets no process.
#[test]
fn what_is_being_started_for_a_removed_peer_never_begins() {
    let node = slow();
    let tasks = tasks_of(&node);
    let mut ssh = node.ssh(&["-tt"], "");
    let mut client = Client(ssh.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let held = held_up(&node);
    let begin = Instant::now();
    assert_eq!(node.remove("me", "alice"), 1);
    wait_for("the client to be cut off", || client.0.try_wait().unwrap().is_some());
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    drop(held);
    all_gone(&node, tasks);
    assert!(!node.path("pid").exists());
}
