//! A data folder of its own, and the program at work on it.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::running::RunningNode;

/// How long anything may take that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A data folder, and a home folder that holds nothing.
pub struct Folder {
    root: TempDir,
}

impl Folder {
    /// A folder in which nothing is.
    pub fn empty() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("home")).unwrap();
        Self { root }
    }

    /// A folder with an identity that opens unattended.
    pub fn with_identity() -> Self {
        let folder = Self::empty();
        folder.run(&["init"]);
        folder
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }
    /// A place for files that are not the node's.
    pub fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    /// Writes the configuration beside the data.
    pub fn configure(&self, text: &str) {
        fs::create_dir_all(self.data()).unwrap();
        fs::write(self.data().join("alknet.toml"), text).unwrap();
    }

    /// The program with these words, seeing nothing of the environment that runs the tests.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_alknet"));
        command.args(words).env_clear().stdin(Stdio::null()).current_dir(self.home());
        command.env("ALKNET_DATA", self.data()).env("HOME", self.home()).env("PATH", std::env::var_os("PATH").unwrap());
        command
    }

    /// Runs the program to its end.
    pub fn output(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// The same, with something on standard input.
    pub fn output_of(&self, words: &[&str], stdin: &str) -> Output {
        let mut command = self.command(words);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A program that does not want its input has closed the pipe.
        let _unwanted = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// Runs the program, which must succeed, and gives what it printed.
    pub fn run(&self, words: &[&str]) -> String {
        let output = self.output(words);
        assert!(output.status.success(), "{words:?}: {}", errors(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same for `--json`.
    pub fn json(&self, words: &[&str]) -> Value {
        let words = [words, &["--json"]].concat();
        serde_json::from_str(&self.run(&words)).unwrap()
    }

    /// Runs the program, which must fail with this exit code, and gives what it complained about.
    pub fn refused(&self, words: &[&str], code: i32) -> String {
        let output = self.output(words);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", errors(&output));
        errors(&output)
    }

    /// Starts a node, and waits until it serves.
    pub fn serve(&self) -> RunningNode {
        RunningNode::start(self, "serve")
    }
}

impl Drop for Folder {
    /// A test that failed leaves no detached node behind.
    fn drop(&mut self) {
        if thread::panicking() {
            let _none_runs = self.command(&["stop"]).status();
        }
    }
}

/// What a program wrote to standard error.
pub fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits for a condition.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < give_up, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Makes an Ed25519 key pair for stock OpenSSH; gives the path of the private half.
pub fn ssh_key(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&path).output();
    let made = made.expect("these tests need OpenSSH's client: apt-get install openssh-client");
    assert!(made.status.success(), "{}", errors(&made));
    path
}
