//! Asking the person at this machine: in a window of `SSH_ASKPASS`, or on the terminal.

use std::{
    env,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use alknet_core::BoxFuture;
use alknet_ssh::AskPermission;
use rustix::{
    fs::OFlags,
    process::{Pid, PidfdFlags, Signal, getpgrp, pidfd_open, pidfd_send_signal},
    termios::{QueueSelector, tcflush, tcgetpgrp},
};
use tokio::{io::AsyncReadExt, net::unix::pipe, task::spawn_blocking};

use crate::failure::{Failure, Kind};

/// The terminal of this process, whatever its standard streams are.
const TERMINAL: &str = "/dev/tty";
/// Where a system keeps the window that asks.
const USUAL_ASKPASS: &str = "/usr/bin/ssh-askpass";
/// Longest answer read from a terminal, in bytes.
const MAX_ANSWER_BYTES: usize = 256;

/// How a person is asked.
#[derive(Debug, PartialEq, Eq)]
pub enum Person {
    /// By a program that shows the question and ends with 0 for yes, as stock ssh-agents use it.
    Window(PathBuf),
    /// On the terminal, while no other job has it.
    AtTerminal,
    /// Nobody is there; nothing is permitted.
    Nobody,
}

impl Person {
    /// Finds out how to ask, by ssh's own variables (`SSH_ASKPASS`, `SSH_ASKPASS_REQUIRE`, `DISPLAY`).
    pub fn find() -> Result<Self, Failure> {
        let terminal = open_terminal().is_ok();
        let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let program = variable("SSH_ASKPASS").map(PathBuf::from);
        let program = program.or_else(|| Path::new(USUAL_ASKPASS).exists().then(|| USUAL_ASKPASS.into()));
        let display = variable("DISPLAY").or_else(|| variable("WAYLAND_DISPLAY")).is_some();
        let required = variable("SSH_ASKPASS_REQUIRE");
        match choose(program, display, required.as_deref().and_then(std::ffi::OsStr::to_str), terminal) {
            Self::Nobody => Err(Failure::new(Kind::Usage, "there is nobody to confirm a signature")
                .hint("set SSH_ASKPASS to a program that asks, such as ssh-askpass or ksshaskpass")
                .hint("or run it with --foreground in a terminal of its own")),
            person => Ok(person),
        }
    }
}

fn choose(program: Option<PathBuf>, display: bool, required: Option<&str>, terminal: bool) -> Person {
    let window = match required {
        Some("never") => false,
        Some("force") => true,
        _ => display,
    };
    match program {
        Some(program) if window => Person::Window(program),
        _ if terminal => Person::AtTerminal,
        _ => Person::Nobody,
    }
}

impl AskPermission for Person {
    fn ask(&self, question: String) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            let answer = match self {
                Self::Window(program) => in_a_window(program, &question).await,
                Self::AtTerminal => on_the_terminal(&question).await,
                Self::Nobody => Ok(false),
            };
            answer.unwrap_or_else(|error| {
                tracing::warn!(%error, "cannot ask for permission");
                false
            })
        })
    }
}

async fn in_a_window(program: &Path, question: &str) -> io::Result<bool> {
    let mut command = Command::new(program);
    command.arg(question).env("SSH_ASKPASS_PROMPT", "confirm").stdin(Stdio::null()).stdout(Stdio::piped());
    let child = command.spawn()?;
    let _withdrawn = Withdrawal::of(&child)?;
    let output = spawn_blocking(move || child.wait_with_output()).await??;
    let said = output.stdout.trim_ascii();
    Ok(output.status.success() && (said.is_empty() || said.eq_ignore_ascii_case(b"yes")))
}

/// Closes the window when nobody waits for its answer any more.
struct Withdrawal(OwnedFd);

impl Withdrawal {
    fn of(child: &Child) -> io::Result<Self> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("a process without a number"))?;
        Ok(Self(pidfd_open(pid, PidfdFlags::empty())?))
    }
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        // It has usually ended by itself.
        let _ = pidfd_send_signal(&self.0, Signal::TERM);
    }
}

async fn on_the_terminal(question: &str) -> io::Result<bool> {
    let mut terminal = open_terminal()?;
    if tcgetpgrp(&terminal)? != getpgrp() {
        return Err(io::Error::other("another job has the terminal"));
    }
    // What was typed before the question is no answer to it.
    tcflush(&terminal, QueueSelector::IFlush)?;
    terminal.write_all(format!("{question} [y/N] ").as_bytes())?;
    // Read as a pipe is, so that nothing is left reading when the question is withdrawn.
    let mut typed = pipe::Receiver::from_file_unchecked(terminal)?;
    let mut answer = Vec::new();
    while !answer.contains(&b'\n') && answer.len() < MAX_ANSWER_BYTES {
        if typed.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    Ok(is_yes(&answer))
}

fn is_yes(answer: &[u8]) -> bool {
    let answer = answer.trim_ascii();
    answer.eq_ignore_ascii_case(b"y") || answer.eq_ignore_ascii_case(b"yes")
}

fn open_terminal() -> io::Result<File> {
    let no_waiting = OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().read(true).write(true).custom_flags(no_waiting).open(TERMINAL)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn who_is_asked_follows_sshs_variables() {
        let askpass = || Some(PathBuf::from("/bin/ask"));
        let window = Person::Window("/bin/ask".into());
        let table = [
            (askpass(), true, None, true, &window),
            (askpass(), true, Some("prefer"), true, &window),
            (askpass(), false, Some("force"), true, &window),
            (askpass(), false, None, true, &Person::AtTerminal),
            (askpass(), true, Some("never"), true, &Person::AtTerminal),
            (None, true, Some("force"), true, &Person::AtTerminal),
            (askpass(), false, None, false, &Person::Nobody),
            (None, true, None, false, &Person::Nobody),
        ];
        for (program, display, required, terminal, person) in table {
            assert_eq!(choose(program, display, required, terminal), *person, "{display} {required:?} {terminal}");
        }
    }

    #[test]
    fn only_a_clear_yes_is_one() {
        assert!([b"y\n".as_slice(), b" Yes \n", b"YES"].into_iter().all(is_yes));
        assert!(![b"".as_slice(), b"\n", b"n\n", b"yes please\n", b"yy"].into_iter().any(is_yes));
    }

    /// AGENT-22.
    #[tokio::test]
    async fn a_window_says_yes_with_its_status_and_nothing_else_or_yes() {
        let world = tempfile::tempdir().unwrap();
        let table =
            [("exit 0", true), ("echo yes", true), ("exit 1", false), ("echo no", false), ("kill -9 $$", false)];
        for (index, (script, wanted)) in table.into_iter().enumerate() {
            let program = world.path().join(format!("ask{index}"));
            let log = world.path().join("asked");
            let text = format!("#!/bin/sh\necho \"$SSH_ASKPASS_PROMPT $1\" >'{}'\n{script}\n", log.display());
            std::fs::write(&program, text).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
            assert_eq!(Person::Window(program).ask("May it?".to_owned()).await, wanted, "{script}");
            assert_eq!(std::fs::read_to_string(log).unwrap(), "confirm May it?\n");
        }
        assert!(!Person::Window(world.path().join("none")).ask("May it?".to_owned()).await);
    }
}
