//! Moving bytes between a channel and what it leads to: a process, or a socket.

use std::{collections::VecDeque, io, io::IoSlice, os::fd::OwnedFd, sync::Arc};

use bytes::{Buf, BytesMut};
use russh::{ChannelId, ChannelMsg, ChannelWriteHalf};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf},
    net::{tcp, unix, unix::pipe},
};

use crate::{
    inbox::{Inbox, Piece},
    limits::{BUSY_PIPE_BYTES, FIRST_READ_BYTES, READ_CHUNK_BYTES},
    pressure::Pressure,
    process::Pipes,
    pty::{Pty, PtyIo},
    recording::Recorder,
};

/// Number of an SSH channel's stream for errors (RFC 4254, 5.2).
pub(crate) const STDERR: u32 = 1;
/// Pieces written at a time.
const MAX_SLICES: usize = 16;
/// A pipe that has carried so many bytes is busy.
const BUSY_AFTER_BYTES: usize = 256 * 1024;

/// The near ends of a process's standard streams.
pub(crate) struct Ends {
    /// Until it is fed.
    pub(crate) stdin: Option<Input>,
    pub(crate) stdout: Output,
    pub(crate) stderr: Option<Output>,
}

impl Ends {
    /// Takes the ends of three pipes.
    pub(crate) fn of_pipes(pipes: Pipes) -> io::Result<Self> {
        Ok(Self {
            stdin: Some(Input::Pipe(pipe::Sender::from_owned_fd(pipes.stdin)?)),
            stdout: Output::pipe(pipes.stdout)?,
            stderr: Some(Output::pipe(pipes.stderr)?),
        })
    }
    /// Takes what output still comes and forgets it, for as long as somebody waits: a process that is told to end shall not die of a broken
    /// pipe while it tidies up.
    pub(crate) async fn discard(&mut self) {
        let errors = async {
            if let Some(stderr) = &mut self.stderr {
                discard_output(stderr).await;
            }
        };
        tokio::join!(discard_output(&mut self.stdout), errors);
        std::future::pending().await
    }
    /// Takes both directions of a terminal.
    pub(crate) fn of_terminal(pty: &Arc<Pty>, recorder: Option<Recorder>) -> Self {
        let stdin = Some(Input::Terminal(PtyIo(pty.clone())));
        Self { stdin, stdout: Output::Terminal(PtyIo(pty.clone()), recorder), stderr: None }
    }
}

/// Where a channel's input goes. Dropping it says that there is no more, except to a terminal.
pub(crate) enum Input {
    Pipe(pipe::Sender),
    Terminal(PtyIo),
    Subsystem(WriteHalf<DuplexStream>),
    Tcp(tcp::OwnedWriteHalf),
    Unix(unix::OwnedWriteHalf),
}

impl Input {
    fn stream(&mut self) -> &mut (dyn AsyncWrite + Send + Unpin) {
        match self {
            Self::Pipe(pipe) => pipe,
            Self::Terminal(pty) => pty,
            Self::Subsystem(stream) => stream,
            Self::Tcp(socket) => socket,
            Self::Unix(socket) => socket,
        }
    }
    fn grow(&self) {
        if let Self::Pipe(pipe) = self {
            // The system's bound on pipes may be reached: then it stays as it is.
            let _ = rustix::pipe::fcntl_setpipe_size(pipe, BUSY_PIPE_BYTES);
        }
    }
}

/// Where a channel's output comes from.
pub(crate) enum Output {
    Pipe(pipe::Receiver),
    /// What it shows may be recorded.
    Terminal(PtyIo, Option<Recorder>),
    Subsystem(ReadHalf<DuplexStream>),
    Tcp(tcp::OwnedReadHalf),
    Unix(unix::OwnedReadHalf),
}

impl Output {
    fn pipe(fd: OwnedFd) -> io::Result<Self> {
        pipe::Receiver::from_owned_fd(fd).map(Self::Pipe)
    }
    fn stream(&mut self) -> &mut (dyn AsyncRead + Send + Unpin) {
        match self {
            Self::Pipe(pipe) => pipe,
            Self::Terminal(pty, _) => pty,
            Self::Subsystem(stream) => stream,
            Self::Tcp(socket) => socket,
            Self::Unix(socket) => socket,
        }
    }
    /// Reads more into `buffer`. It is recorded before anybody sees it.
    async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        let read = self.stream().read_buf(buffer).await?;
        match self {
            Self::Terminal(_, Some(recorder)) if !recorder.output(&buffer[buffer.len() - read..]).await => {
                Err(io::Error::other("the recording has ended"))
            }
            _ => Ok(read),
        }
    }
    fn grow(&self) {
        if let Self::Pipe(pipe) = self {
            // As above.
            let _ = rustix::pipe::fcntl_setpipe_size(pipe, BUSY_PIPE_BYTES);
        }
    }
}

/// Writes the inbox to where it belongs until its end, or until nothing more is wanted there; either closes the input.
pub(crate) async fn feed(mut inbox: Inbox, mut input: Input) {
    let mut pieces: VecDeque<Piece> = VecDeque::new();
    let (mut moved, mut last) = (0, None);
    while let Some(piece) = inbox.next().await {
        pieces.push_back(piece);
        while !pieces.is_empty() {
            while let Some(piece) = if pieces.len() < MAX_SLICES { inbox.more() } else { None } {
                pieces.push_back(piece);
            }
            let Ok(written) = write_some(&mut input, &pieces).await else { return };
            last = consume(&mut pieces, written).or(last);
            inbox.progressed();
            if moved < BUSY_AFTER_BYTES && moved + written >= BUSY_AFTER_BYTES {
                input.grow();
            }
            moved = moved.saturating_add(written);
        }
    }
    match &mut input {
        // Dropping it closes it.
        Input::Pipe(_) | Input::Tcp(_) | Input::Unix(_) => {}
        Input::Terminal(pty) => end_terminal_input(pty, last).await,
        // Who has left needs no end.
        Input::Subsystem(stream) => drop(stream.shutdown().await),
    }
}

async fn write_some(input: &mut Input, pieces: &VecDeque<Piece>) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    for (slice, piece) in slices.iter_mut().zip(pieces) {
        *slice = IoSlice::new(&piece.data);
    }
    let filled = pieces.len().min(MAX_SLICES);
    match input.stream().write_vectored(&slices[..filled]).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        written => Ok(written),
    }
}

/// Takes `written` bytes off the front; answers with the last of them.
fn consume(pieces: &mut VecDeque<Piece>, mut written: usize) -> Option<u8> {
    let mut last = None;
    while let Some(piece) = pieces.front_mut() {
        let part = piece.data.len().min(written);
        last = part.checked_sub(1).map(|index| piece.data[index]).or(last);
        piece.data.advance(part);
        written -= part;
        if !piece.data.is_empty() {
            break;
        }
        pieces.pop_front();
    }
    last
}

/// A terminal has no end of input but the character for it, which only ends the line when one has been begun.
async fn end_terminal_input(pty: &mut PtyIo, last: Option<u8>) {
    let Some(code) = pty.0.end_of_input() else { return };
    let begun = last.is_some_and(|last| last != b'\n' && last != b'\r');
    // A terminal that is gone needs no end.
    let _ = pty.write_all(&[code, code][..1 + usize::from(begun)]).await;
}

/// How the sending of output ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// All there was.
    All,
    /// Whatever it comes from broke.
    Broken,
    /// The connection is gone.
    Cut,
}

/// Sends output on a channel until it ends, or until the connection does.
pub(crate) async fn send_output<S>(
    output: &mut Output,
    channel: &ChannelWriteHalf<S>,
    stream: Option<u32>,
    pressure: &Pressure,
) -> Sent
where
    S: From<(ChannelId, ChannelMsg)> + Send + Sync + 'static,
{
    let mut buffer = BytesMut::new();
    let mut chunk = FIRST_READ_BYTES;
    let mut moved: usize = 0;
    loop {
        if buffer.capacity() < chunk / 4 {
            buffer.reserve(chunk);
        }
        let room = buffer.capacity();
        let read = match output.read(&mut buffer).await {
            Ok(0) => return Sent::All,
            Ok(read) => read,
            Err(_) => return Sent::Broken,
        };
        if read == room {
            // Worth a large buffer; what is idle holds a small one.
            chunk = READ_CHUNK_BYTES;
        }
        let data = buffer.split().freeze();
        let waiting = pressure.sending();
        let sent = match stream {
            None => channel.data_bytes(data).await,
            Some(stream) => channel.extended_data_bytes(stream, data).await,
        };
        drop(waiting);
        if sent.is_err() {
            return Sent::Cut;
        }
        if moved < BUSY_AFTER_BYTES && moved + read >= BUSY_AFTER_BYTES {
            output.grow();
        }
        moved = moved.saturating_add(read);
    }
}

async fn discard_output(output: &mut Output) {
    // However it ends, there is nothing more to take.
    let _ = tokio::io::copy(&mut output.stream(), &mut tokio::io::sink()).await;
}
