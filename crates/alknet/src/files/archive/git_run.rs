//! Runs `git`, without what the environment or a repository could make it run besides.

use std::{
    io::{self, Read},
    path::Path,
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
};

use alknet_fs::Escaped;

use super::ArchiveError;
use crate::files::limits::MAX_COMPLAINT_BYTES;

/// A `git` that will work on this repository.
pub(super) fn git(repository: &Path) -> Command {
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GIT_") {
            command.env_remove(name);
        }
    }
    command
        // Nothing is fetched for a repository that does not have all of itself, and nobody is asked.
        .envs([("GIT_NO_LAZY_FETCH", "1"), ("GIT_TERMINAL_PROMPT", "0"), ("LC_ALL", "C")])
        .arg("-C")
        .arg(repository)
        .args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A `git` that runs, and what it complains of.
pub(super) struct Running {
    pub(super) child: Child,
    what: &'static str,
    complaint: Option<JoinHandle<Vec<u8>>>,
}

impl Running {
    pub(super) fn start(command: &mut Command, what: &'static str) -> Result<Self, ArchiveError> {
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => complained(what, b"the program `git` is not installed"),
            _ => complained(what, error.to_string().as_bytes()),
        })?;
        let complaint = child.stderr.take().map(|mut stderr| {
            thread::spawn(move || {
                let mut text = Vec::new();
                let _ = (&mut stderr).take(MAX_COMPLAINT_BYTES as u64).read_to_end(&mut text);
                let _ = io::copy(&mut stderr, &mut io::sink());
                text
            })
        });
        Ok(Self { child, what, complaint })
    }

    /// Waits for its end; what it complains of is the error if it failed.
    pub(super) fn finish(mut self) -> Result<(), ArchiveError> {
        drop(self.child.stdin.take());
        let status = self.child.wait().map_err(|error| complained(self.what, error.to_string().as_bytes()))?;
        let complaint = self.complaint.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        if status.success() { Ok(()) } else { Err(complained(self.what, complaint.trim_ascii())) }
    }

    /// Ends it; the error is what it complained of.
    pub(super) fn fail(mut self, otherwise: &str) -> ArchiveError {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
        let complaint = self.complaint.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let complaint = complaint.trim_ascii();
        complained(self.what, if complaint.is_empty() { otherwise.as_bytes() } else { complaint })
    }
}

/// Runs it to its end and gives what it says, at most so many bytes.
pub(super) fn output(command: &mut Command, what: &'static str, most: u64) -> Result<Vec<u8>, ArchiveError> {
    let mut running = Running::start(command, what)?;
    let mut said = Vec::new();
    if let Some(stdout) = running.child.stdout.take() {
        let read = stdout.take(most + 1).read_to_end(&mut said);
        if read.is_err() || said.len() as u64 > most {
            return Err(running.fail("it says too much"));
        }
    }
    running.finish()?;
    Ok(said)
}

fn complained(what: &str, complaint: &[u8]) -> ArchiveError {
    ArchiveError::Git { what: what.to_owned(), complaint: Escaped(complaint).to_string() }
}
