//! A stream of ours as the provider of iroh-blobs reads and writes it.

use std::{future::Future, io, time::Duration};

use alknet_core::{RecvStream, SendStream};
use bytes::{Bytes, BytesMut};
use iroh::endpoint::VarInt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::limits::STALL_TIMEOUT;

/// What the peer sends: its request, and then nothing. How long that takes is for who reads it to bound.
pub struct Incoming(pub RecvStream);

impl iroh_blobs::util::RecvStream for Incoming {
    /// Takes memory as bytes arrive, not as they are announced.
    async fn recv_bytes(&mut self, len: usize) -> io::Result<Bytes> {
        let mut bytes = BytesMut::new();
        let mut rest = (&mut self.0).take(len as u64);
        while rest.read_buf(&mut bytes).await? > 0 {}
        Ok(bytes.freeze())
    }
    async fn recv_bytes_exact(&mut self, len: usize) -> io::Result<Bytes> {
        let bytes = self.recv_bytes(len).await?;
        if bytes.len() < len { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes) }
    }
    async fn recv_exact(&mut self, target: &mut [u8]) -> io::Result<()> {
        self.0.read_exact(target).await.map(|_| ())
    }
    fn stop(&mut self, code: VarInt) -> io::Result<()> {
        self.0.stop(code.into_inner());
        Ok(())
    }
    fn id(&self) -> u64 {
        self.0.id()
    }
}

/// What the peer gets. The stream itself stays with who lent it, and is ended there.
pub struct Outgoing<'a>(pub &'a mut SendStream);

impl iroh_blobs::util::SendStream for Outgoing<'_> {
    async fn send_bytes(&mut self, bytes: Bytes) -> io::Result<()> {
        self.send(&bytes).await
    }
    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        within(STALL_TIMEOUT, self.0.write_all(bytes)).await
    }
    async fn sync(&mut self) -> io::Result<()> {
        within(STALL_TIMEOUT, self.0.flush()).await
    }
    fn reset(&mut self, code: VarInt) -> io::Result<()> {
        self.0.reset(code.into_inner());
        Ok(())
    }
    async fn stopped(&mut self) -> io::Result<Option<VarInt>> {
        Ok(self.0.stopped().await.and_then(|code| VarInt::from_u64(code).ok()))
    }
    fn id(&self) -> u64 {
        self.0.id()
    }
}

/// Does something with a stream that must get on.
pub async fn within<T>(limit: Duration, io: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, io).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
