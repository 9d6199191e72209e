//! Commands, shells and subsystems at the node.

use std::{io, ops::Deref, os::fd::AsFd, path::PathBuf, sync::Arc};

use bytes::Bytes;
use rustix::termios::{tcgetattr, tcgetwinsize};

use super::{
    channel::{Arrived, Arriving, Piece, Sending},
    connection::{OpenError, SshClient},
};
use crate::terminal_modes;

/// What is to run at the node.
#[derive(Debug, Clone, Default)]
pub struct ProcessRequest {
    /// The command, given to the login shell; without one it is a login shell.
    pub command: Option<Vec<u8>>,
    /// Takes `command` as the name of a subsystem.
    pub subsystem: bool,
    /// Gives the process a terminal.
    pub terminal: Option<TerminalSpec>,
    /// Variables to set. A node takes those that it allows, and says nothing about the others.
    pub environment: Vec<(String, String)>,
    /// The socket of the ssh-agent that the process may use through this connection.
    pub agent: Option<PathBuf>,
}

/// A terminal as a node should make it (RFC 4254, 6.2 and 8).
#[derive(Debug, Clone)]
pub struct TerminalSpec {
    term: String,
    size: [u32; 4],
    modes: Vec<(russh::Pty, u32)>,
}

impl TerminalSpec {
    /// Describes a local terminal.
    pub fn of(terminal: impl AsFd, term: impl Into<String>) -> io::Result<Self> {
        let modes = terminal_modes::read(&tcgetattr(&terminal)?);
        Ok(Self { term: term.into(), size: size_of(terminal)?, modes })
    }
    /// Describes a terminal of that many columns and rows in its usual modes.
    pub fn plain(term: impl Into<String>, columns: u32, rows: u32) -> Self {
        Self { term: term.into(), size: [columns, rows, 0, 0], modes: Vec::new() }
    }
}

fn size_of(terminal: impl AsFd) -> io::Result<[u32; 4]> {
    let size = tcgetwinsize(terminal)?;
    Ok([size.ws_col, size.ws_row, size.ws_xpixel, size.ws_ypixel].map(u32::from))
}

/// Why nothing runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProcessError {
    /// No channel was opened.
    #[error("no session: {0}")]
    Open(#[from] OpenError),
    /// The node refuses a part of it.
    #[error("the node refuses to {0}")]
    Refused(&'static str),
    /// The connection has ended.
    #[error("the connection to the node has ended")]
    Ended,
}

impl From<io::Error> for ProcessError {
    fn from(_: io::Error) -> Self {
        Self::Ended
    }
}

/// A process that runs at the node. It is hung up on when both halves are dropped.
pub struct RemoteProcess {
    /// What goes to it.
    pub input: RemoteInput,
    /// What comes from it.
    pub output: RemoteOutput,
    /// Parts of the request that the node refused, which the process does without.
    pub refused: Vec<&'static str>,
}

/// What goes to a process. Clones go to the same one.
#[derive(Clone)]
pub struct RemoteInput(Arc<Sending>);

/// What comes from a process, in its order.
pub struct RemoteOutput {
    arriving: Arriving,
}

/// A piece of output.
pub struct RemotePiece(Piece);

impl Deref for RemotePiece {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0.data
    }
}

impl std::fmt::Debug for RemotePiece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

/// What comes from a process.
#[derive(Debug)]
pub enum RemoteEvent {
    /// Its output.
    Output(RemotePiece),
    /// Its errors.
    Errors(RemotePiece),
    /// There is no more output.
    EndOfOutput,
    /// It has ended.
    Exited(RemoteExit),
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteExit {
    /// With this exit status.
    Status(u32),
    /// By a signal, without `SIG`: peer-controlled text.
    Signal(String),
}

impl SshClient {
    /// Runs a command.
    pub async fn exec(&self, command: impl Into<Vec<u8>>) -> Result<RemoteProcess, ProcessError> {
        self.start(ProcessRequest { command: Some(command.into()), ..ProcessRequest::default() }).await
    }

    /// Starts a process. All requests are sent before the first answer is waited for.
    pub async fn start(&self, request: ProcessRequest) -> Result<RemoteProcess, ProcessError> {
        let channel = self.open_session().await?;
        let (sending, mut arriving) = (channel.sending, channel.arriving);
        let half = sending.half();
        // What each answer is about, in the order of the requests.
        let mut asked = Vec::new();
        if let Some(agent) = request.agent {
            self.shared().offer_agent(agent);
            sending.request(half.agent_forward(true)).await?;
            asked.push("forward the agent");
        }
        if let Some(TerminalSpec { term, size: [columns, rows, width, height], modes }) = &request.terminal {
            let wanted = half.request_pty(true, term.as_str(), *columns, *rows, *width, *height, modes);
            sending.request(wanted).await?;
            asked.push("give it a terminal");
        }
        for (name, value) in &request.environment {
            sending.request(half.set_env(false, name.as_str(), value.as_str())).await?;
        }
        let work = match (request.command, request.subsystem) {
            (None, _) => {
                sending.request(half.request_shell(true)).await?;
                "start a shell"
            }
            (Some(command), false) => {
                sending.request(half.exec(true, command)).await?;
                "run the command"
            }
            (Some(name), true) => {
                let name = String::from_utf8(name).map_err(|_| ProcessError::Refused("start that subsystem"))?;
                sending.request(half.request_subsystem(true, name)).await?;
                "start that subsystem"
            }
        };
        let mut refused = Vec::new();
        for part in asked {
            if !arriving.answer().await? {
                refused.push(part);
            }
        }
        if !arriving.answer().await? {
            return Err(ProcessError::Refused(work));
        }
        Ok(RemoteProcess { input: RemoteInput(sending), output: RemoteOutput { arriving }, refused })
    }
}

impl Arriving {
    async fn answer(&mut self) -> Result<bool, ProcessError> {
        loop {
            match self.next().await {
                Some(Arrived::Answer(granted)) => return Ok(granted),
                // Nothing that runs could have sent anything yet.
                Some(_) => {}
                None => return Err(ProcessError::Ended),
            }
        }
    }
}

impl RemoteInput {
    /// Sends input once the node has room for it.
    pub async fn send(&self, data: Bytes) -> io::Result<()> {
        self.0.data(data).await
    }
    /// Says that no more input comes.
    pub async fn end(&self) -> io::Result<()> {
        self.0.eof().await
    }
    /// Gives the process's terminal the size of a local one.
    pub async fn resize(&self, terminal: impl AsFd) -> io::Result<()> {
        let [columns, rows, width, height] = size_of(terminal)?;
        self.0.request(self.0.half().window_change(columns, rows, width, height)).await
    }
    /// Waits until nothing can be sent any more. Cancel safe.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

impl RemoteOutput {
    /// Waits for what comes next; `None` once the channel is closed. Cancel safe.
    pub async fn next(&mut self) -> Option<RemoteEvent> {
        loop {
            return Some(match self.arriving.next().await? {
                Arrived::Data(piece) => RemoteEvent::Output(RemotePiece(piece)),
                Arrived::Errors(piece) => RemoteEvent::Errors(RemotePiece(piece)),
                Arrived::EndOfData => RemoteEvent::EndOfOutput,
                Arrived::Status(status) => RemoteEvent::Exited(RemoteExit::Status(status)),
                Arrived::Signal(name) => RemoteEvent::Exited(RemoteExit::Signal(name)),
                Arrived::Answer(_) => continue,
            });
        }
    }
}
