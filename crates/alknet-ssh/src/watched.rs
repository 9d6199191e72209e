//! File descriptors whose readiness the runtime watches.

use std::{io, os::fd::OwnedFd};

use tokio::io::unix::AsyncFd;

/// Has the runtime tell when `fd` becomes ready.
#[allow(
    unsafe_code,
    reason = "the safe constructor is deprecated in favour of one whose promise an owned descriptor keeps"
)]
pub(crate) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, always answers with the same number, and is closed by nobody else while the `AsyncFd` owns it.
    unsafe { AsyncFd::register(fd) }.map_err(io::Error::from)
}
