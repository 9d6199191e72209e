//! What the fuzz targets feed, where no public function leads there. Not part of the API.

use std::io;

use alknet_core::Alpn;

use crate::{local, tls};

/// Parses the handshake bytes of a QUIC client: whether they are a whole hello, or the alert that refuses them.
pub fn client_hello(bytes: &[u8]) -> Result<bool, u8> {
    match tls::parse_hello(bytes) {
        Ok(progress) => Ok(progress != tls::HelloProgress::NeedMore),
        Err(error) => Err(error.alert()),
    }
}

/// Reads the first line of a connection to the control socket from bytes that end there.
pub fn local_alpn_line(mut bytes: &[u8]) -> io::Result<Alpn> {
    // Reading from memory never waits.
    let read = futures_util::FutureExt::now_or_never(local::read_alpn(&mut bytes));
    read.unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
}
