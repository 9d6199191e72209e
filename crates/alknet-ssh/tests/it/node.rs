//! A node that serves nothing but SSH, and the client's key.

use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::{Arc, atomic::AtomicU64, atomic::Ordering},
    time::{Duration, Instant},
};

use alknet_core::{
    AuditKind, AuditOutcome, Authorizer, Credential, Fingerprint, Identity, ProtocolHandler, Sessions, Standing,
};
use alknet_ssh::{ForwardPolicy, HostKey, LiveSessions, SshConfig, SshServer, Subsystems, parse_public_key};
use alknet_testkit::identities::{KeptAudit, TestIdentities};
use tokio::{net::TcpListener, runtime::Runtime};

use crate::tcp_link::plain_connection;

/// Longer than anything here takes.
const PATIENCE_SECONDS: &str = "280";

pub struct Node {
    pub port: u16,
    pub dir: tempfile::TempDir,
    pub identities: Arc<TestIdentities>,
    pub audit: Arc<KeptAudit>,
    pub authorizer: Authorizer,
    pub sessions: Sessions,
    pub live: LiveSessions,
    pub server: Arc<SshServer>,
    pub runtime: Runtime,
    rights: Arc<AtomicU64>,
}

/// What the node's own environment holds and no session may see.
pub const SECRET: (&str, &str) = ("CARGO_PKG_NAME", "alknet-ssh");

impl Node {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut SshConfig)) -> Self {
        Self::with_subsystems(change, Subsystems::default())
    }

    pub fn with_subsystems(change: impl FnOnce(&mut SshConfig), subsystems: Subsystems) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = SshConfig::new(HostKey::from_seed([7; 32].into()), "nodeuser", "/bin/sh", dir.path());
        let rule = "allow alice * *".parse().unwrap();
        config.forward = Arc::new(ForwardPolicy::new(vec![rule], &dir.path().join("data")));
        change(&mut config);
        let identities = Arc::new(TestIdentities::default());
        let (audit, sessions) = (Arc::new(KeptAudit::default()), Sessions::default());
        let (authorizer, live) = (Authorizer::new(audit.clone()), LiveSessions::default());
        let server =
            SshServer::new(config, identities.clone(), authorizer.clone(), sessions.clone(), live.clone(), subsystems);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = server.clone();
        runtime.spawn(async move {
            while let Ok((socket, addr)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move { serving.serve(plain_connection(socket, addr)).await });
            }
        });
        let rights = Arc::default();
        let node = Self { port, dir, identities, audit, authorizer, sessions, live, server, runtime, rights };
        node.make_key("me", "ed25519", &[]);
        node.know("me", Identity::owner("alice"));
        node
    }

    pub fn make_key(&self, name: &str, kind: &str, more: &[&str]) {
        let mut command = Command::new("ssh-keygen");
        let made = command.args(["-q", "-N", "", "-t", kind, "-f"]).arg(self.path(name)).args(more).status().unwrap();
        assert!(made.success());
    }

    /// Runs `ssh-keygen` in the node's folder.
    pub fn keygen(&self, args: &[&str]) -> Output {
        let output = Command::new("ssh-keygen").current_dir(self.dir.path()).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        output
    }

    pub fn fingerprint(&self, name: &str) -> Fingerprint {
        let line = std::fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap();
        parse_public_key(&line).unwrap().fingerprint
    }

    pub fn credential(&self, name: &str) -> Credential {
        Credential::SshKey(self.fingerprint(name))
    }

    /// Somebody whose rights end with [`Self::remove`].
    pub fn standing(&self, identity: Identity) -> Identity {
        identity.with_standing(Standing::at_present(&self.rights))
    }

    /// Makes the bearer of a key somebody, until [`Self::remove`].
    pub fn know(&self, name: &str, identity: Identity) {
        self.identities.know(&self.credential(name), self.standing(identity));
    }

    /// Takes a peer's rights away, as the store does.
    pub fn remove(&self, name: &str, identity: &str) -> usize {
        self.identities.forget(&self.credential(name));
        self.rights.fetch_add(1, Ordering::AcqRel);
        self.sessions.cancel_identity(identity)
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// `ssh` with these options and no configuration but ours, bounded in time.
    pub fn ssh_as(&self, user: &str, key: &Path, options: &[&str], command: &str) -> Command {
        let mut ssh = Command::new("timeout");
        // What is told to end before it has noted its child leaves it behind; that one ends with it.
        ssh.args([PATIENCE_SECONDS, "setpriv", "--pdeathsig", "KILL", "ssh"]);
        ssh.args(["-F", "none", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]);
        ssh.args(["-i"]).arg(key).args(options);
        ssh.args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
        ssh.args(["-o", "LogLevel=ERROR"]);
        ssh.args(["-p", &self.port.to_string(), &format!("{user}@127.0.0.1")]);
        if !command.is_empty() {
            ssh.arg(command);
        }
        ssh.env("TERM", "xterm").stdin(Stdio::null());
        ssh
    }

    pub fn ssh(&self, options: &[&str], command: &str) -> Command {
        self.ssh_as("alice", &self.path("me"), options, command)
    }

    pub fn run(&self, options: &[&str], command: &str) -> Output {
        self.ssh(options, command).output().unwrap()
    }

    /// Runs a command that is expected to succeed; answers with what it printed.
    pub fn text(&self, options: &[&str], command: &str) -> String {
        let output = self.run(options, command);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Opens a connection that further commands share; answers with the client and the option that joins it.
    pub fn master(&self) -> (Client, String) {
        let socket = format!("ControlPath={}", self.path("control").display());
        let master = self.ssh(&["-M", "-N", "-o", &socket], "").spawn().unwrap();
        wait_for("the shared connection", || self.path("control").exists());
        (Client(master), socket)
    }

    pub fn logins(&self, outcome: AuditOutcome) -> usize {
        let events = self.audit.events();
        events.iter().filter(|e| e.kind == AuditKind::Authentication && e.outcome == outcome).count()
    }
}

/// A client process that does not outlive its test.
pub struct Client(pub Child);

impl Client {
    /// Ends the client: what stands between it and us passes the signal on.
    pub fn end(&self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // The stock client misses a signal that comes just before it waits for events.
        while self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.end();
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
}

pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Whether connections to this socket are accepted: its file is there a moment before.
pub fn listens(path: &Path) -> bool {
    let sockets = std::fs::read("/proc/net/unix").unwrap();
    let (sockets, path) = (String::from_utf8_lossy(&sockets), path.display().to_string());
    sockets.lines().any(|line| line.contains(" 00010000 ") && line.ends_with(&path))
}

/// Whether a process (not a zombie) has this number.
pub fn runs(pid: &str) -> bool {
    // A shell that was killed while it wrote its number down has left nothing.
    let Ok(pid) = pid.trim().parse::<u32>() else { return false };
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}
