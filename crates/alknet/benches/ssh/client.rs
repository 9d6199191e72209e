//! The stock client, without anybody's configuration, agent or known hosts.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use alknet_testkit::wan::Namespace;

/// A key to log in with.
pub struct Key {
    path: PathBuf,
}

impl Key {
    pub fn make(folder: &Path) -> Self {
        let path = folder.join("id");
        let mut keygen = Command::new("ssh-keygen");
        done(keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f"]).arg(&path));
        Self { path }
    }
    pub fn public(&self) -> PathBuf {
        self.path.with_extension("pub")
    }
}

/// Where a program runs.
#[derive(Clone, Copy)]
pub enum Site<'a> {
    /// Here, on loopback.
    Here,
    /// At one end of a simulated path.
    End(&'a Namespace),
}

impl Site<'_> {
    /// A program that runs there.
    pub fn command(self, program: &str) -> Command {
        match self {
            Self::Here => Command::new(program),
            Self::End(end) => end.command(program),
        }
    }
    /// The address that others reach it under.
    pub const fn addr(self) -> Ipv4Addr {
        match self {
            Self::Here => Ipv4Addr::LOCALHOST,
            Self::End(end) => end.addr(),
        }
    }
}

/// A server and its clients: both here, or one at each end of a path.
#[derive(Clone, Copy)]
pub struct Sites<'a> {
    pub servers: Site<'a>,
    pub clients: Site<'a>,
}

impl Sites<'_> {
    pub const HERE: Self = Self { servers: Site::Here, clients: Site::Here };
}

/// How a server is reached.
pub trait Server {
    /// Where its clients run.
    fn clients(&self) -> Site<'_>;
    /// Its address.
    fn host(&self) -> Ipv4Addr;
    /// Its port.
    fn port(&self) -> u16;
    /// The process whose memory counts.
    fn pid(&self) -> u32;
}

/// `ssh` towards a server, up to the host; options and the remote command follow.
pub fn ssh(key: &Key, server: &impl Server, options: &[&str]) -> Command {
    let mut ssh = server.clients().command("ssh");
    ssh.args(["-F", "none", "-T", "-p", &server.port().to_string(), "-i"]).arg(&key.path);
    for option in [
        "BatchMode=yes",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "LogLevel=ERROR",
    ]
    .iter()
    .chain(options)
    {
        ssh.args(["-o", option]);
    }
    ssh.arg(server.host().to_string()).stdin(Stdio::null()).stdout(Stdio::null());
    ssh
}

/// Runs a command to its end, which must be a good one.
pub fn done(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
    assert!(status.success(), "{command:?}: {status}");
}

/// How long a command takes as a whole process.
pub fn timed(command: &mut Command) -> Duration {
    let begun = Instant::now();
    done(command);
    begun.elapsed()
}

/// What a command prints.
pub fn printed(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}
