//! The ssh-agent: stock OpenSSH's tools at its socket, and what they would never send.

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::PathBuf,
    process::{Command, Output},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use alknet_core::{BoxFuture, KeyPurpose, KeySigner, NodeKey};
use alknet_ssh::{Agent, AgentKey, AskPermission, limits};
use alknet_testkit::{identities::TestKeys, skipping};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::node::{Node, wait_for};

/// An agent on a socket of its own.
struct Running {
    world: TempDir,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

const PURPOSES: [KeyPurpose; 3] = [KeyPurpose::SshUser, KeyPurpose::Node, KeyPurpose::Git];

impl Running {
    fn start() -> Self {
        Self::with(|_| {}, Arc::new(Says(true)))
    }

    fn with(change: impl Fn(&mut AgentKey), asker: Arc<dyn AskPermission>) -> Self {
        let keys = PURPOSES.map(|purpose| {
            let comment = format!("{purpose:?}");
            let mut key = AgentKey { purpose, comment, confirm: false, lifetime: None };
            change(&mut key);
            key
        });
        let world = tempfile::tempdir().unwrap();
        let (path, stop) = (world.path().join("agent.sock"), CancellationToken::new());
        let (ready, is_ready) = mpsc::channel();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::UnixListener::bind(path).unwrap();
                ready.send(()).unwrap();
                Agent::new(Arc::new(TestKeys::new(9)), keys.into(), asker).serve(listener, stopped).await;
            });
        });
        is_ready.recv().unwrap();
        Self { world, stop, thread: Some(thread) }
    }

    fn socket(&self) -> PathBuf {
        self.world.path().join("agent.sock")
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    fn tool(&self, program: &str, words: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.args(words).current_dir(self.world.path()).env("SSH_AUTH_SOCK", self.socket()).env_remove("DISPLAY");
        command.output().unwrap()
    }

    /// What a tool says, which must end with this status.
    fn says(&self, status: i32, program: &str, words: &[&str]) -> String {
        let output = self.tool(program, words);
        let text = [output.stdout.as_slice(), &output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(output.status.code(), Some(status), "{program} {words:?}: {text}");
        text
    }

    /// Writes the public half of a key as a file; gives its name.
    fn public(&self, purpose: KeyPurpose) -> String {
        let name = format!("{purpose:?}.pub");
        let listed = self.says(0, "ssh-add", &["-L"]);
        let line = listed.lines().find(|line| line.ends_with(&format!(" {purpose:?}"))).unwrap();
        std::fs::write(self.world.path().join(&name), format!("{line}\n")).unwrap();
        name
    }

    /// Types a passphrase at a tool that asks for it, twice.
    fn passphrase(&self, words: &[&str], passphrase: &str) -> bool {
        let program = self.world.path().join("says-it");
        std::fs::write(&program, format!("#!/bin/sh\necho {passphrase}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        let mut command = Command::new("ssh-add");
        command.args(words).env("SSH_AUTH_SOCK", self.socket());
        command.env("SSH_ASKPASS", program).env("SSH_ASKPASS_REQUIRE", "force");
        command.output().unwrap().status.success()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))));
    }
}

/// Says the same to every question.
struct Says(bool);

impl AskPermission for Says {
    fn ask(&self, _question: String) -> BoxFuture<'_, bool> {
        Box::pin(async { self.0 })
    }
}

/// Keeps what was asked, and never answers.
#[derive(Default)]
struct Thinks {
    asked: Mutex<Vec<String>>,
    withdrawn: Arc<AtomicUsize>,
}

struct Withdrawn(Arc<AtomicUsize>);

impl Drop for Withdrawn {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl AskPermission for Thinks {
    fn ask(&self, question: String) -> BoxFuture<'_, bool> {
        self.asked.lock().unwrap().push(question);
        let withdrawn = Withdrawn(self.withdrawn.clone());
        Box::pin(async move {
            let _counted_when_dropped = withdrawn;
            std::future::pending().await
        })
    }
}

fn public(purpose: KeyPurpose) -> NodeKey {
    TestKeys::new(9).public_key(purpose)
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn blob(purpose: KeyPurpose) -> Vec<u8> {
    [string(b"ssh-ed25519"), string(public(purpose).as_bytes())].concat()
}

/// A request to sign, framed.
fn sign_request(purpose: KeyPurpose, data: &[u8]) -> Vec<u8> {
    string(&[&[13], string(&blob(purpose)).as_slice(), &string(data), &[0; 4]].concat())
}

/// The next message.
fn reply(stream: &mut UnixStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut message = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut message).unwrap();
    message
}

/// AGENT-10, AGENT-11, AGENT-12.
#[test]
fn ssh_add_lists_tests_and_removes_but_adds_nothing() {
    let agent = Running::start();
    let listed = agent.says(0, "ssh-add", &["-l"]);
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(listed.lines().zip(PURPOSES).all(|(line, key)| line.ends_with(&format!(" {key:?} (ED25519)"))), "{listed}");
    let [user, node, git] = PURPOSES.map(|purpose| agent.public(purpose));
    agent.says(0, "ssh-add", &["-T", &user, &git]);
    agent.says(1, "ssh-add", &["-T", &node]);

    agent.says(0, "ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", "mine"]);
    assert!(agent.says(1, "ssh-add", &["mine"]).contains("agent refused operation"));
    assert!(agent.says(1, "ssh-add", &["-c", "-t", "60", "mine"]).contains("agent refused operation"));

    agent.says(0, "ssh-add", &["-d", &node]);
    agent.says(1, "ssh-add", &["-d", &node]);
    assert_eq!(agent.says(0, "ssh-add", &["-l"]).lines().count(), 2);
    agent.says(0, "ssh-add", &["-D"]);
    assert_eq!(agent.says(1, "ssh-add", &["-l"]), "The agent has no identities.\n");
    agent.says(1, "ssh-add", &["-T", &user]);
}

/// AGENT-13.
#[test]
fn ssh_add_locks_and_unlocks() {
    let agent = Running::start();
    let user = agent.public(KeyPurpose::SshUser);
    assert!(agent.passphrase(&["-x"], "sesame"));
    assert_eq!(agent.says(1, "ssh-add", &["-l"]), "The agent has no identities.\n");
    agent.says(1, "ssh-add", &["-T", &user]);
    let mut stream = agent.connect();
    stream.write_all(&string(&[19])).unwrap();
    assert_eq!(reply(&mut stream), [5], "a locked agent forgets nothing");
    assert!(!agent.passphrase(&["-X"], "wrong"));
    assert!(agent.passphrase(&["-X"], "sesame"));
    assert_eq!(agent.says(0, "ssh-add", &["-l"]).lines().count(), 3);
    agent.says(0, "ssh-add", &["-T", &user]);
}

/// AGENT-14: a wrong guess delays the next one, whether or not whoever made it waits for its answer.
#[test]
fn hanging_up_does_not_make_guessing_faster() {
    let agent = Running::start();
    let said = |number: u8, passphrase: &[u8]| string(&[&[number], string(passphrase).as_slice()].concat());
    let mut stream = agent.connect();
    stream.write_all(&said(22, b"right")).unwrap();
    assert_eq!(reply(&mut stream), [6]);
    // Whether the agent has looked at a guess before its client hung up cannot be seen: one of many does.
    let waited = (0..50).any(|_| {
        let mut hasty = agent.connect();
        hasty.write_all(&said(23, b"wrong")).unwrap();
        stream.write_all(&string(&[11])).unwrap();
        reply(&mut stream);
        drop(hasty);
        let begin = Instant::now();
        stream.write_all(&said(23, b"wrong")).unwrap();
        assert_eq!(reply(&mut stream), [5]);
        let took = begin.elapsed();
        stream.write_all(&said(23, b"right")).unwrap();
        assert_eq!(reply(&mut stream), [6]);
        stream.write_all(&said(22, b"right")).unwrap();
        assert_eq!(reply(&mut stream), [6]);
        // What is left of the first wait, and twice as much for the second guess.
        took > limits::FIRST_UNLOCK_DELAY * 5 / 2
    });
    assert!(waited, "no wait outlives its client");
}

/// AGENT-20: signatures on files, as git makes them, verify; the node's key makes none.
#[test]
fn ssh_keygen_signs_and_verifies() {
    let agent = Running::start();
    let [user, node, git] = PURPOSES.map(|purpose| agent.public(purpose));
    for (key, status) in [(&user, 0), (&git, 0), (&node, 255)] {
        let text = agent.world.path().join("text");
        std::fs::write(&text, "words").unwrap();
        let _from_the_key_before = std::fs::remove_file(agent.world.path().join("text.sig"));
        agent.says(status, "ssh-keygen", &["-Y", "sign", "-n", "git", "-U", "-f", key, "text"]);
        if status == 0 {
            let line = std::fs::read_to_string(agent.world.path().join(key)).unwrap();
            std::fs::write(agent.world.path().join("allowed"), format!("me {line}")).unwrap();
            let verify = "ssh-keygen -Y verify -f allowed -I me -n git -s text.sig <text";
            assert!(agent.says(0, "sh", &["-c", verify]).contains("Good \"git\" signature"));
        }
    }
}

/// AGENT-20, AGENT-30: stock ssh binds the session and logs in with the user key and with the node's, not with the git key.
#[test]
fn stock_ssh_logs_in_with_it() {
    let node = Node::start();
    let agent = Running::start();
    for (purpose, logs_in) in [(KeyPurpose::SshUser, true), (KeyPurpose::Node, true), (KeyPurpose::Git, false)] {
        let key = agent.world.path().join(agent.public(purpose));
        std::fs::copy(&key, node.path("agent.pub")).unwrap();
        node.know("agent", alknet_core::Identity::owner("agent"));
        let (key, port) = (key.to_str().unwrap(), node.port.to_string());
        let options = ["-F", "none", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"];
        let host =
            ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-p", &port, "agent@127.0.0.1"];
        let output = agent.tool("ssh", &[&options[..], &["-i", key], &host, &["echo in"]].concat());
        assert_eq!(output.stdout == b"in\n", logs_in, "{purpose:?} {output:?}");
        node.remove("agent", "agent");
    }
}

/// AGENT-21, AGENT-22.
#[test]
fn without_a_yes_nothing_is_signed() {
    let only_git = |key: &mut AgentKey| key.confirm = key.purpose == KeyPurpose::Git;
    for (yes, status) in [(true, 0), (false, 1)] {
        let agent = Running::with(only_git, Arc::new(Says(yes)));
        let [user, git] = [KeyPurpose::SshUser, KeyPurpose::Git].map(|purpose| agent.public(purpose));
        agent.says(0, "ssh-add", &["-T", &user]);
        agent.says(status, "ssh-add", &["-T", &git]);
    }
}

/// AGENT-25.
#[test]
fn a_question_is_withdrawn_when_its_client_leaves() {
    let asker = Arc::new(Thinks::default());
    let agent = Running::with(|key| key.confirm = true, asker.clone());
    let mut stream = agent.connect();
    stream.write_all(&sign_request(KeyPurpose::SshUser, b"something")).unwrap();
    wait_for("the question", || asker.asked.lock().unwrap().len() == 1);
    // Others are answered meanwhile.
    assert_eq!(agent.says(0, "ssh-add", &["-l"]).lines().count(), 3);
    let question = asker.asked.lock().unwrap()[0].clone();
    assert!(
        question.contains("SshUser") && question.contains(&format!("process {}", std::process::id())),
        "{question}"
    );
    assert_eq!(asker.withdrawn.load(Ordering::SeqCst), 0);
    drop(stream);
    wait_for("the withdrawal", || asker.withdrawn.load(Ordering::SeqCst) == 1);
}

/// AGENT-24.
#[test]
fn keys_go_when_their_time_is_over() {
    let agent = Running::with(|key| key.lifetime = Some(Duration::from_millis(300)), Arc::new(Says(true)));
    let mut stream = agent.connect();
    let begin = Instant::now();
    loop {
        stream.write_all(&sign_request(KeyPurpose::SshUser, b"something")).unwrap();
        if reply(&mut stream)[0] == 5 {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
    assert!(begin.elapsed() > Duration::from_millis(200));
    assert_eq!(agent.says(1, "ssh-add", &["-l"]), "The agent has no identities.\n");
}

/// AGENT-01, AGENT-02, AGENT-33: a bad message is refused and the next is answered; a bad length ends the connection, and no other.
#[test]
fn bad_messages_cost_their_connection_at_most() {
    let agent = Running::start();
    let mut other = agent.connect();
    let mut stream = agent.connect();
    for bad in [vec![13], vec![1], vec![255; 300], vec![18, 0, 0, 0, 9], vec![27, 0, 0, 0, 1]] {
        stream.write_all(&string(&bad)).unwrap();
        assert_eq!(reply(&mut stream), [5], "{bad:?}");
    }
    stream.write_all(&string(&[&[27], string(b"query").as_slice()].concat())).unwrap();
    assert_eq!(reply(&mut stream), [28]);
    // Two at once are answered one after the other.
    stream.write_all(&[string(&[11]), sign_request(KeyPurpose::SshUser, b"x")].concat()).unwrap();
    assert_eq!((reply(&mut stream)[0], reply(&mut stream)[0]), (12, 14));
    for bad in [[0, 0, 0, 0], [0, 4, 0, 1], [0xff; 4]] {
        let mut stream = agent.connect();
        stream.write_all(&bad).unwrap();
        let end = stream.read(&mut [0; 8]);
        assert!(matches!(end, Ok(0)) || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset), "{bad:?}");
    }
    other.write_all(&string(&[11])).unwrap();
    assert_eq!(reply(&mut other)[0], 12);
}

/// AGENT-05.
#[test]
fn connections_are_bounded_and_come_free_again() {
    let agent = Running::start();
    let answered = |stream: &mut UnixStream| {
        let mut length = [0; 4];
        stream.write_all(&string(&[11])).is_ok() && stream.read_exact(&mut length).is_ok()
    };
    let mut streams: Vec<_> = (0..limits::MAX_AGENT_CONNECTIONS).map(|_| agent.connect()).collect();
    assert!(streams.iter_mut().all(answered));
    assert!(!answered(&mut agent.connect()));
    streams.pop();
    wait_for("a place", || answered(&mut agent.connect()));
}

/// AGENT-06: needs root, to be somebody else.
#[test]
fn another_users_process_gets_nothing() {
    if !skipping::is_root("play another user") {
        return;
    }
    let agent = Running::start();
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(agent.world.path(), open.clone()).unwrap();
    std::fs::set_permissions(agent.socket(), open).unwrap();
    let listing = format!("SSH_AUTH_SOCK='{}' ssh-add -l", agent.socket().display());
    let refused = agent.tool("setpriv", &["--reuid=65534", "--clear-groups", "sh", "-c", &listing]);
    // Whether it is told so or ended by the closed connection is a matter of a moment.
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
    assert_eq!(agent.says(0, "ssh-add", &["-l"]).lines().count(), 3);
}
