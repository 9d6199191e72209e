//! A process at a node with this process's standard streams.

use std::{env, ffi::OsStr, io, os::fd::AsFd};

use alknet_ssh::{
    ProcessError, ProcessRequest, RemoteEvent, RemoteExit, RemoteInput, RemoteOutput, RemoteProcess, SshClient,
    TerminalSpec,
};
use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    signal::unix::{SignalKind, signal},
};

use crate::{
    cli::note,
    escapes::{Escapes, Typed},
    failure::{Failure, Kind},
    raw_terminal::RawTerminal,
    standard_streams::{StandardStreams, told_to_end},
};

/// Bytes read at a time.
const READ_BYTES: usize = 128 * 1024;
/// Below so many free bytes a new buffer is taken for the next read.
const MIN_READ_BYTES: usize = 16 * 1024;
/// What a signal's number is added to, as shells do.
const SIGNALLED: u8 = 128;
/// What scripts take for "it broke off", as from ssh.
const BROKEN_OFF: u8 = 255;
/// Variables that go along with a terminal; a node takes those that it allows.
const SENT_ALONG: [&str; 3] = ["LANG", "COLORTERM", "LC_"];

/// What a person wants of a process at a node.
pub struct Wanted {
    /// The command; without one it is a shell.
    pub command: Option<Vec<u8>>,
    /// Whether it gets a terminal.
    pub terminal: bool,
    /// Whether it may use this machine's ssh-agent.
    pub agent: bool,
}

/// Runs a process with our standard streams; answers with the exit status to end with.
pub async fn run(client: &SshClient, wanted: Wanted) -> Result<u8, Failure> {
    let request = request(&wanted)?;
    let process = client.start(request).await.map_err(explain)?;
    for part in &process.refused {
        note(format!("the node refuses to {part}"));
    }
    let on_terminal = wanted.terminal && rustix::termios::isatty(io::stdin());
    // Whichever way this ends, the terminal is given back.
    let raw = if on_terminal { Some(RawTerminal::take()?) } else { None };
    let streams = StandardStreams::take()?;
    let ended = attach(process, streams, on_terminal).await;
    drop(raw);
    match ended? {
        Ended::Exit(RemoteExit::Status(status)) => Ok(u8::try_from(status & 0xff).unwrap_or(BROKEN_OFF)),
        Ended::Exit(RemoteExit::Signal(name)) => Ok(number_of(&name).map_or(BROKEN_OFF, |number| SIGNALLED + number)),
        Ended::Left | Ended::Told => Ok(BROKEN_OFF),
        Ended::Lost => {
            let why = if client.is_closed() { client.closed().await } else { "the node closed the session".to_owned() };
            note(format!("connection lost: {}", crate::cli::printable(&why)));
            Ok(BROKEN_OFF)
        }
    }
}

fn request(wanted: &Wanted) -> Result<ProcessRequest, Failure> {
    let mut request = ProcessRequest { command: wanted.command.clone(), ..ProcessRequest::default() };
    if wanted.agent {
        let socket = env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty());
        let none = || Failure::usage("there is no ssh-agent to forward: SSH_AUTH_SOCK is not set");
        request.agent = Some(socket.ok_or_else(none)?.into());
    }
    if wanted.terminal {
        let term = env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
        // Asked for although there is none here (-t in a script): one of the usual size.
        let local = TerminalSpec::of(io::stdin(), &term);
        request.terminal = Some(local.unwrap_or_else(|_| TerminalSpec::plain(&term, 80, 24)));
        let goes_along = |name: &OsStr| {
            name.to_str().is_some_and(|name| SENT_ALONG.contains(&name) || name.starts_with(SENT_ALONG[2]))
        };
        let variables = env::vars_os().filter(|(name, _)| goes_along(name));
        request.environment =
            variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
    }
    Ok(request)
}

fn explain(error: ProcessError) -> Failure {
    match error {
        ProcessError::Refused(_) => Failure::caused_by(Kind::Denied, &error).hint(
            "a role with the scope ssh:exec or ssh:shell may do that: `alknet peer list` at the node shows the roles",
        ),
        ProcessError::Open(_) | ProcessError::Ended => Failure::caused_by(Kind::Unavailable, &error),
    }
}

enum Ended {
    Exit(RemoteExit),
    /// The person left it with `~.`.
    Left,
    /// This process was told to end.
    Told,
    /// Without a word about how the process ended.
    Lost,
}

async fn attach(process: RemoteProcess, streams: StandardStreams, on_terminal: bool) -> io::Result<Ended> {
    let StandardStreams { input, output, restored: _restored } = streams;
    let to_process = process.input.clone();
    let feeding = async {
        let left = if on_terminal { feed_keys(input, &to_process).await } else { feed(input, &to_process).await };
        match left {
            // The end of input is not the end of the process.
            Ok(false) => std::future::pending().await,
            Ok(true) => Ok(Ended::Left),
            Err(error) => Err(error),
        }
    };
    let resizing = async {
        if !on_terminal {
            std::future::pending::<()>().await;
        }
        follow_size(&process.input).await
    };
    tokio::select! {
        ended = give(process.output, output) => ended,
        left = feeding => left,
        told = told_to_end() => told.map(|()| Ended::Told),
        () = resizing => Ok(Ended::Lost),
    }
}

/// Sends input until its end; what the process does not want any more is nobody's failure.
async fn feed(mut input: impl AsyncRead + Unpin, process: &RemoteInput) -> io::Result<bool> {
    let mut buffer = BytesMut::new();
    loop {
        if buffer.capacity() < MIN_READ_BYTES {
            buffer.reserve(READ_BYTES);
        }
        let read = input.read_buf(&mut buffer).await?;
        let sent = if read == 0 { process.end().await } else { process.send(buffer.split().freeze()).await };
        if read == 0 || sent.is_err() {
            return Ok(false);
        }
    }
}

/// The same from a keyboard; answers whether the person left.
async fn feed_keys(mut input: impl AsyncRead + Unpin, process: &RemoteInput) -> io::Result<bool> {
    let (mut escapes, mut buffer) = (Escapes::default(), vec![0; MIN_READ_BYTES]);
    loop {
        let read = input.read(&mut buffer).await?;
        let (keys, left) = match escapes.take(&buffer[..read]) {
            Typed::Input(keys) => (keys, false),
            Typed::Leave(keys) => (keys, true),
        };
        let sent = if read == 0 { process.end().await } else { process.send(keys.into()).await };
        if left || read == 0 || sent.is_err() {
            return Ok(left);
        }
    }
}

/// Writes what comes until the channel is closed.
async fn give(mut process: RemoteOutput, mut output: impl AsyncWrite + Unpin) -> io::Result<Ended> {
    let (mut errors, mut ended) = (tokio::io::stderr(), Ended::Lost);
    while let Some(event) = process.next().await {
        match event {
            RemoteEvent::Output(piece) => {
                output.write_all(&piece).await?;
                output.flush().await?;
            }
            RemoteEvent::Errors(piece) => {
                errors.write_all(&piece).await?;
                errors.flush().await?;
            }
            RemoteEvent::EndOfOutput => {}
            RemoteEvent::Exited(exit) => ended = Ended::Exit(exit),
        }
    }
    Ok(ended)
}

/// Tells the process whenever the terminal's size changes, until nobody listens.
async fn follow_size(process: &RemoteInput) {
    let Ok(mut changed) = signal(SignalKind::window_change()) else { return std::future::pending().await };
    while changed.recv().await.is_some() {
        // A terminal that has gone tells no size; the end of its input is seen elsewhere.
        let _ = process.resize(io::stdin().as_fd()).await;
    }
}

/// The number of a signal by its name (RFC 4254, 6.10), as this system counts them.
fn number_of(name: &str) -> Option<u8> {
    use rustix::process::Signal as S;
    let known = [
        ("ABRT", S::ABORT),
        ("ALRM", S::ALARM),
        ("FPE", S::FPE),
        ("HUP", S::HUP),
        ("ILL", S::ILL),
        ("INT", S::INT),
        ("KILL", S::KILL),
        ("PIPE", S::PIPE),
        ("QUIT", S::QUIT),
        ("SEGV", S::SEGV),
        ("TERM", S::TERM),
        ("USR1", S::USR1),
        ("USR2", S::USR2),
    ];
    let number = known.iter().find(|(known, _)| *known == name).map(|(_, signal)| signal.as_raw());
    // Others come as `NUMBER@DOMAIN` from nodes.
    let number = number.or_else(|| name.split_once('@')?.0.parse().ok());
    number.and_then(|number| u8::try_from(number).ok()).filter(|number| *number < SIGNALLED)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CLI-31.
    #[test]
    fn signals_have_the_numbers_of_this_system() {
        assert_eq!([number_of("TERM"), number_of("KILL"), number_of("12@alknet")], [Some(15), Some(9), Some(12)]);
        assert_eq!([number_of("NONSENSE"), number_of("300@x"), number_of("128@x")], [None; 3]);
    }
}
