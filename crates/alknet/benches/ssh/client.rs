//! The stock client, without anybody's configuration, agent or known hosts.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

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

/// How a server is reached.
pub trait Server {
    /// Its port, or what stands in for one where a command makes the connection.
    fn port(&self) -> u16;
    /// The process whose memory counts.
    fn pid(&self) -> u32;
}

/// `ssh` towards a server, up to the host; options and the remote command follow.
pub fn ssh(key: &Key, server: &impl Server, options: &[&str]) -> Command {
    let mut ssh = Command::new("ssh");
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
    ssh.arg("127.0.0.1").stdin(Stdio::null()).stdout(Stdio::null());
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
