//! A pseudo-terminal: the master's side, and the slave that becomes a process's controlling terminal.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, ptsname, unlockpt},
    termios::{LocalModes, OptionalActions, SpecialCodeIndex, Winsize, tcgetattr, tcgetpgrp, tcsetattr, tcsetwinsize},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, unix::AsyncFd},
    sync::watch,
};

use crate::{terminal_modes, watched::watch as watched};

/// What a client wants its terminal to be.
pub(crate) struct TerminalRequest<'a> {
    pub(crate) term: &'a str,
    pub(crate) size: Winsize,
    pub(crate) modes: &'a [(russh::Pty, u32)],
}

/// An open pseudo-terminal. Closing it (dropping the last clone) hangs up whoever still has it as a terminal.
pub(crate) struct Pty {
    master: AsyncFd<OwnedFd>,
    sizes: watch::Sender<Winsize>,
    path: PathBuf,
    term: String,
}

impl Pty {
    /// Opens a terminal with the wanted modes and size; answers with the slave's end too.
    pub(crate) fn open(request: &TerminalRequest<'_>) -> io::Result<(Self, OwnedFd)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        unlockpt(&master)?;
        let path = PathBuf::from(std::ffi::OsString::from_vec(ptsname(&master, Vec::new())?.into_bytes()));
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        let mut termios = tcgetattr(&slave)?;
        terminal_modes::apply(&mut termios, request.modes);
        tcsetattr(&slave, OptionalActions::Now, &termios)?;
        tcsetwinsize(&master, request.size)?;
        fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
        let sizes = watch::Sender::new(request.size);
        Ok((Self { master: watched(master)?, sizes, path, term: request.term.to_owned() }, slave))
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    pub(crate) fn term(&self) -> &str {
        &self.term
    }

    /// Changes the size; the kernel tells the foreground processes.
    pub(crate) fn resize(&self, size: Winsize) -> io::Result<()> {
        tcsetwinsize(&self.master, size)?;
        self.sizes.send_replace(size);
        Ok(())
    }

    /// The size, and its changes from now on.
    pub(crate) fn sizes(&self) -> watch::Receiver<Winsize> {
        self.sizes.subscribe()
    }

    /// The processes in the foreground of the terminal, if there are any.
    pub(crate) fn foreground(&self) -> Option<rustix::process::Pid> {
        tcgetpgrp(&self.master).ok()
    }

    /// What must be typed to say that there is no more input, if the terminal is in a mode that has such a thing.
    pub(crate) fn end_of_input(&self) -> Option<u8> {
        let termios = tcgetattr(&self.master).ok()?;
        let code = termios.special_codes[SpecialCodeIndex::VEOF];
        (termios.local_modes.contains(LocalModes::ICANON) && code != 0).then_some(code)
    }
}

/// One direction of the master's side.
pub(crate) struct PtyIo(pub(crate) Arc<Pty>);

impl AsyncRead for PtyIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.master.poll_read_ready(cx))?;
            let read = ready.try_io(|fd| Ok(rustix::io::read(fd.as_fd(), buf.initialize_unfilled())?));
            match read {
                Ok(Ok(n)) => {
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                // What a master reads once nobody has the slave open any more.
                Ok(Err(error)) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for PtyIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.master.poll_write_ready(cx))?;
            if let Ok(written) = ready.try_io(|fd| Ok(rustix::io::write(fd.as_fd(), buf)?)) {
                return Poll::Ready(written);
            }
        }
    }
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
