//! Standard input and output as streams for a command that is a pipe: without a thread in between where they are pipes or sockets.
//!
//! tokio's own hand every piece to another thread, which costs more than the TLS around the bytes does.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream as StdStream,
    },
};

use rustix::{
    fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat},
    pipe::fcntl_setpipe_size,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{UnixStream, unix::pipe},
    signal::unix::{SignalKind, signal},
};

/// Size that a pipe is grown to, in bytes, so that each turn moves more.
const PIPE_BYTES: usize = 512 * 1024;

type Input = Box<dyn AsyncRead + Send + Unpin>;
type Output = Box<dyn AsyncWrite + Send + Unpin>;

/// Both streams. They are as they were before once this is dropped.
pub struct StandardStreams {
    /// What this process is given.
    pub input: Input,
    /// What this process gives.
    pub output: Output,
    /// Who started this process may share the streams, and would not expect them to refuse to wait.
    pub restored: [Option<Restored>; 2],
}

impl StandardStreams {
    /// Takes them; needs a runtime.
    ///
    /// # Errors
    /// When the system refuses what it should not.
    pub fn take() -> io::Result<Self> {
        let given = match Kind::of(io::stdin())? {
            Kind::Other => None,
            _ => stop_waiting(io::stdin())?,
        };
        let gives = match Kind::of(io::stdout())? {
            Kind::Other => None,
            _ => stop_waiting(io::stdout())?,
        };
        let input = input_of(io::stdin().as_fd())?.unwrap_or_else(|| Box::new(tokio::io::stdin()));
        let output = output_of(io::stdout().as_fd())?.unwrap_or_else(|| Box::new(tokio::io::stdout()));
        Ok(Self { input, output, restored: [given, gives] })
    }
}

/// Makes a descriptor wait again when dropped.
pub struct Restored(OwnedFd);

impl Drop for Restored {
    fn drop(&mut self) {
        // It is this process's last act on it; nothing could be done about a refusal.
        let _ = fcntl_getfl(&self.0).and_then(|flags| fcntl_setfl(&self.0, flags - OFlags::NONBLOCK));
    }
}

/// Makes a descriptor refuse to wait; `None` if it did so before.
fn stop_waiting(stream: impl AsFd) -> io::Result<Option<Restored>> {
    let flags = fcntl_getfl(&stream)?;
    if flags.contains(OFlags::NONBLOCK) {
        return Ok(None);
    }
    fcntl_setfl(&stream, flags | OFlags::NONBLOCK)?;
    Ok(Some(Restored(stream.as_fd().try_clone_to_owned()?)))
}

enum Kind {
    Pipe,
    Socket,
    /// A file is always ready, and a terminal belongs to others too.
    Other,
}

impl Kind {
    fn of(stream: impl AsFd) -> io::Result<Self> {
        Ok(match FileType::from_raw_mode(fstat(stream)?.st_mode) {
            FileType::Fifo => Self::Pipe,
            FileType::Socket => Self::Socket,
            _ => Self::Other,
        })
    }
}

/// A stream over a descriptor that does not wait.
fn input_of(stream: BorrowedFd<'_>) -> io::Result<Option<Input>> {
    Ok(match Kind::of(stream)? {
        Kind::Pipe => Some(Box::new(pipe::Receiver::from_owned_fd(grown(stream)?)?)),
        Kind::Socket => Some(Box::new(socket(stream)?)),
        Kind::Other => None,
    })
}

/// As [`input_of`].
fn output_of(stream: BorrowedFd<'_>) -> io::Result<Option<Output>> {
    Ok(match Kind::of(stream)? {
        Kind::Pipe => Some(Box::new(pipe::Sender::from_owned_fd(grown(stream)?)?)),
        Kind::Socket => Some(Box::new(socket(stream)?)),
        Kind::Other => None,
    })
}

fn grown(pipe: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // The system's bound on pipes may be reached: then it stays as it is.
    let _ = fcntl_setpipe_size(pipe, PIPE_BYTES);
    pipe.try_clone_to_owned()
}

/// Whatever the family of the socket: only reading and writing are asked of it.
fn socket(stream: BorrowedFd<'_>) -> io::Result<UnixStream> {
    UnixStream::from_std(StdStream::from(stream.try_clone_to_owned()?))
}

/// Waits for a signal to end. `ssh` hangs up on its ProxyCommand when it is done; a QUIC connection that ends without a farewell
/// would look alive at the node until its idle timeout.
pub async fn told_to_end() -> io::Result<()> {
    let (mut hangup, mut terminate) = (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?);
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = hangup.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        time::Duration,
    };

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn waits(stream: impl AsFd) -> bool {
        !fcntl_getfl(stream).unwrap().contains(OFlags::NONBLOCK)
    }

    #[tokio::test]
    async fn a_pipe_carries_more_than_it_holds_and_ends() {
        const BYTES: usize = 3 * 1024 * 1024;
        let (mut reader, writer) = io::pipe().unwrap();
        let _restored = stop_waiting(&writer).unwrap();
        let mut output = output_of(writer.as_fd()).unwrap().unwrap();
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all)
        });
        output.write_all(&vec![7; BYTES]).await.unwrap();
        drop((output, writer, _restored));
        assert_eq!(reading.join().unwrap().unwrap(), vec![7; BYTES]);
    }

    #[tokio::test]
    async fn a_reader_wakes_when_something_arrives() {
        let (reader, mut writer) = io::pipe().unwrap();
        let _restored = stop_waiting(&reader).unwrap();
        let mut input = input_of(reader.as_fd()).unwrap().unwrap();
        let waiting = tokio::spawn(async move {
            let mut all = Vec::new();
            input.read_to_end(&mut all).await.map(|_| all)
        });
        tokio::task::yield_now().await;
        writer.write_all(b"late").unwrap();
        drop(writer);
        let read = tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("in time").unwrap();
        assert_eq!(read.unwrap(), b"late");
    }

    #[tokio::test]
    async fn a_socket_that_is_both_carries_both_ways_and_waits_again_afterwards() {
        let (near, mut far) = StdStream::pair().unwrap();
        let (first, second) = (stop_waiting(&near).unwrap(), stop_waiting(&near).unwrap());
        assert!(!waits(&near) && second.is_none(), "the first changed it, so the first changes it back");
        let mut input = input_of(near.as_fd()).unwrap().unwrap();
        let mut output = output_of(near.as_fd()).unwrap().unwrap();
        far.write_all(b"in").unwrap();
        output.write_all(b"out").await.unwrap();
        let (mut came, mut went) = ([0; 2], [0; 3]);
        input.read_exact(&mut came).await.unwrap();
        far.read_exact(&mut went).unwrap();
        assert_eq!((&came, &went), (b"in", b"out"));
        drop((input, output, first, second));
        assert!(waits(&near));
    }

    #[tokio::test]
    async fn a_file_is_left_as_it_is() {
        let file = tempfile::tempfile().unwrap();
        assert!(input_of(file.as_fd()).unwrap().is_none() && output_of(file.as_fd()).unwrap().is_none());
    }
}
