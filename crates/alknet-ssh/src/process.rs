//! A session's process: started with a clean environment in a session and process group of its own, and ended with all of its group.

use std::{
    ffi::{CString, OsStr, OsString},
    io,
    net::SocketAddr,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::{
            ffi::{OsStrExt, OsStringExt},
            process::CommandExt,
        },
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use alknet_core::{PeerAddr, Permit, PermitError};
use rustix::fs::fchown;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, chdir, ioctl_tiocsctty, kill_process_group, pidfd_open, setsid,
    waitid,
};
use tokio::io::unix::AsyncFd;

use crate::{
    SshConfig,
    account::{Account, AccountError, Users},
    environment::{self, ClientEnv, Terminal},
    forward::AgentSocket,
    limits::MAX_RECORDED_COMMAND_CHARS,
    login::Right,
    pty::Pty,
    recording::{self, Head, Recorder, Shown, Who, cells},
    watched::watch,
};

/// What is to be run.
pub(crate) struct Launch {
    pub(crate) right: Right,
    /// A command line; a login shell otherwise.
    pub(crate) command: Option<Vec<u8>>,
    /// What the client asked for, where its key has another command run.
    pub(crate) original_command: Option<Vec<u8>>,
    pub(crate) config: Arc<SshConfig>,
    pub(crate) users: Arc<Users>,
    pub(crate) env: ClientEnv,
    pub(crate) addr: PeerAddr,
    /// What the client connected to.
    pub(crate) local: Option<SocketAddr>,
    pub(crate) terminal: Option<(Arc<Pty>, OwnedFd)>,
    /// The way to the client's agent.
    pub(crate) agent: Option<AgentSocket>,
}

impl Launch {
    /// Whom the process runs as, which the bearer of the permit decides. Blocks.
    pub(crate) fn account(&self, permit: &Permit) -> Result<Account, LaunchError> {
        let identity = permit.identity().ok_or_else(|| AccountError::NotMapped(String::new()))?;
        Ok(Account::of(identity, &self.users, &self.config)?)
    }

    /// Starts to record what the terminal shows, if there is one and the policy says so. Blocks.
    pub(crate) fn record(&self, account: &Account, permit: &Permit) -> Result<Option<Recorder>, LaunchError> {
        let (Some((pty, _)), Some(policy), Some(identity)) =
            (&self.terminal, &self.config.recording, permit.identity())
        else {
            return Ok(None);
        };
        if !policy.covers(identity) {
            return Ok(None);
        }
        let sizes = pty.sizes();
        let (columns, rows) = cells(*sizes.borrow());
        let asked = self.command.as_ref().or(self.original_command.as_ref());
        let command =
            asked.map(|line| String::from_utf8_lossy(line).chars().take(MAX_RECORDED_COMMAND_CHARS).collect());
        let head = Head {
            version: 2,
            width: columns,
            height: rows,
            timestamp: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            command,
            env: Shown { term: pty.term().to_owned(), shell: account.shell.display().to_string() },
            alknet: Who {
                identity: identity.id().to_owned(),
                user: account.name.clone(),
                address: self.addr.to_string(),
            },
        };
        recording::begin(policy, &head, sizes).map(Some).map_err(LaunchError::Recording)
    }
}

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    #[error(transparent)]
    Denied(#[from] PermitError),
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error("cannot run {}: {source}", shell.display())]
    Spawn { shell: PathBuf, source: io::Error },
    #[error("this session is to be recorded, which fails: {0}")]
    Recording(io::Error),
    #[error("the streams of the process cannot be watched: {0}")]
    Streams(io::Error),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Status(u32),
    Signal(i32),
}

/// The ends of the pipes of a process without a terminal.
pub(crate) struct Pipes {
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// Where signals for a session go: nowhere before its process runs, and nowhere once it has been reaped (its number may be another's then).
#[derive(Clone, Default)]
pub(crate) struct SignalTarget(Arc<Mutex<Option<Target>>>);

type Target = (Pid, Option<Arc<Pty>>);

impl SignalTarget {
    /// Sends `signal` to the process group, and to the terminal's foreground group.
    pub(crate) fn send(&self, signal: Signal) {
        let target = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((leader, pty)) = &*target else { return };
        let foreground = pty.as_ref().and_then(|pty| pty.foreground()).filter(|group| group != leader);
        for group in foreground.into_iter().chain([*leader]) {
            // A group that has just gone needs no signal.
            let _ = kill_process_group(group, signal);
        }
    }
    fn set(&self, target: Option<Target>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }
}

/// A running process and its group. Dropped before [`Self::reap`], the whole group is killed.
pub(crate) struct Process {
    child: Option<Child>,
    pidfd: AsyncFd<OwnedFd>,
    target: SignalTarget,
    /// There for as long as the process is.
    _agent: Option<AgentSocket>,
}

impl Process {
    /// Starts the process as `account`. The permit says that it may be.
    pub(crate) fn start(
        launch: Launch,
        account: Account,
        permit: &Permit,
        target: SignalTarget,
    ) -> Result<(Self, Option<Pipes>), LaunchError> {
        permit.require(launch.right.scope())?;
        let shell = account.shell.clone();
        Self::spawn(launch, account, target).map_err(|source| LaunchError::Spawn { shell, source })
    }

    fn spawn(launch: Launch, account: Account, target: SignalTarget) -> io::Result<(Self, Option<Pipes>)> {
        let mut command = command(&launch, &account);
        let pty = match launch.terminal {
            Some((pty, slave)) => {
                if let Some(ids) = &account.ids {
                    fchown(&slave, Some(ids.uid), None)?;
                }
                command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
                Some(pty)
            }
            None => {
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
                None
            }
        };
        if let (Some(agent), Some(ids)) = (&launch.agent, &account.ids) {
            agent.give_to(ids.uid.as_raw())?;
        }
        own_session(&mut command, pty.is_some(), account)?;
        let mut child = command.spawn()?;
        // The command holds the slave: closed here, so that the terminal ends with its last process.
        drop(command);
        let pid = Pid::from_child(&child);
        target.set(Some((pid, pty)));
        let pipes = match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => {
                Some(Pipes { stdin: stdin.into(), stdout: stdout.into(), stderr: stderr.into() })
            }
            _ => None,
        };
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from).and_then(watch);
        match pidfd {
            Ok(pidfd) => Ok((Self { child: Some(child), pidfd, target, _agent: launch.agent }, pipes)),
            Err(error) => {
                end_at_once(&target, child);
                Err(error)
            }
        }
    }

    /// Waits for the process to end, without reaping it: until then nobody else can have its number. Cancel safe.
    pub(crate) async fn exited(&self) -> io::Result<Exit> {
        loop {
            let mut ready = self.pidfd.readable().await?;
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
            let Some(status) = waitid(WaitId::PidFd(rustix::fd::AsFd::as_fd(&self.pidfd)), options)? else {
                ready.clear_ready();
                continue;
            };
            let code = status.exit_status().and_then(|code| u32::try_from(code).ok());
            return Ok(code.map_or_else(|| Exit::Signal(status.terminating_signal().unwrap_or(9)), Exit::Status));
        }
    }

    /// Ends the whole group: SIGHUP, and after `grace` SIGKILL for whatever is left.
    pub(crate) async fn hang_up(mut self, grace: Duration) {
        self.target.send(Signal::HUP);
        // A stopped process takes no hint.
        self.target.send(Signal::CONT);
        tokio::time::sleep(grace).await;
        self.target.send(Signal::KILL);
        let _ = self.exited().await;
        self.reap();
    }

    /// Takes the ended process out of the system's table.
    pub(crate) fn reap(&mut self) {
        self.target.set(None);
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            end_at_once(&self.target, child);
        }
    }
}

fn end_at_once(target: &SignalTarget, mut child: Child) {
    target.send(Signal::KILL);
    target.set(None);
    // It may take the kernel a moment, which a runtime's thread does not have.
    std::thread::spawn(move || child.wait());
}

fn command(launch: &Launch, account: &Account) -> Command {
    let name = account.shell.file_name().unwrap_or(OsStr::new("sh"));
    let mut command = Command::new(&account.shell);
    match &launch.command {
        Some(line) => command.arg0(name).arg("-c").arg(OsStr::from_bytes(line)),
        None => {
            // The dash makes it a login shell.
            let mut login_name = OsString::from("-");
            login_name.push(name);
            command.arg0(login_name)
        }
    };
    let shown = launch.terminal.as_ref().map(|(pty, _)| Terminal { name: pty.term(), path: pty.path() });
    let agent = launch.agent.as_ref().map(AgentSocket::path);
    let mut env = environment::build(account, &launch.env, launch.addr, launch.local, shown.as_ref(), agent.as_deref());
    if let Some(original) = &launch.original_command {
        env.push(("SSH_ORIGINAL_COMMAND".into(), OsString::from_vec(original.clone())));
    }
    command.env_clear().envs(env);
    command
}

/// Makes the child the leader of a new session (so it loses the node's own terminal) and of a new process group; its standard input becomes
/// its controlling terminal when it is one; every other descriptor closes on exec; and it becomes its user before it enters that user's
/// home, so that nothing is reached with the node's rights.
#[allow(unsafe_code, reason = "there is no safe way to run code between fork and exec")]
fn own_session(command: &mut Command, has_terminal: bool, account: Account) -> io::Result<()> {
    let highest = highest_descriptor();
    let (home, ids) = (CString::new(account.home.into_os_string().into_vec())?, account.ids);
    // SAFETY: between fork and exec only async-signal-safe calls are made: setsid(2), ioctl(2), fcntl(2), setgroups(2), setresgid(2),
    // setresuid(2), setuid(2) and chdir(2), directly, without allocation or locks. A number that is borrowed without being open only makes
    // fcntl(2) fail.
    unsafe {
        command.pre_exec(move || {
            setsid()?;
            for fd in 3..=highest {
                let _ = fcntl_setfd(BorrowedFd::borrow_raw(fd), FdFlags::CLOEXEC);
            }
            if has_terminal {
                ioctl_tiocsctty(rustix::stdio::stdin())?;
            }
            if let Some(ids) = &ids {
                ids.assume()?;
            }
            Ok(chdir(&*home).or_else(|_| chdir(c"/"))?)
        });
    }
    Ok(())
}

/// The highest number of an open descriptor. Those that this program opens close on exec by themselves; those that it was started with
/// may not.
fn highest_descriptor() -> i32 {
    let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).max().unwrap_or(2)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    /// SSH-29.
    #[test]
    fn a_signal_reaches_the_group_until_it_is_reaped() {
        let mut child = Command::new("sh").args(["-c", "sleep 60; true"]).process_group(0).spawn().unwrap();
        let target = SignalTarget::default();
        target.send(Signal::TERM);
        assert!(child.try_wait().unwrap().is_none(), "before it is known nobody is hit");
        target.set(Some((Pid::from_child(&child), None)));
        target.send(Signal::TERM);
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
        target.set(None);
        target.send(Signal::KILL);
    }
}
