//! Moving bytes between a forwarded connection and a local one.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{
    channel::{Arrived, Arriving, Sending},
    forward_stream::ForwardStream,
};
use crate::limits::READ_CHUNK_BYTES;

/// Below so many free bytes a new buffer is taken for the next read.
const MIN_READ_BYTES: usize = 16 * 1024;

impl ForwardStream {
    /// Moves bytes both ways until both ends have said that no more comes, or one of them is gone.
    ///
    /// # Errors
    ///
    /// The local side failed: the channel is closed then, which the other end sees.
    pub async fn relay(
        self,
        mut reader: impl AsyncRead + Unpin,
        mut writer: impl AsyncWrite + Unpin,
    ) -> io::Result<()> {
        let (sending, mut arriving) = self.into_parts();
        tokio::try_join!(upwards(&mut reader, &sending), downwards(&mut arriving, &mut writer)).map(drop)
    }
}

/// The same for both directions of one socket, whose failure nobody waits for.
pub(super) async fn relay(stream: ForwardStream, socket: impl AsyncRead + AsyncWrite) {
    let (reader, writer) = tokio::io::split(socket);
    if let Err(error) = stream.relay(Box::pin(reader), Box::pin(writer)).await {
        tracing::debug!(%error, "a forwarded connection broke off");
    }
}

async fn upwards(reader: &mut (impl AsyncRead + Unpin), sending: &Sending) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        if buffer.capacity() < MIN_READ_BYTES {
            buffer.reserve(READ_CHUNK_BYTES);
        }
        let read = tokio::select! {
            read = reader.read_buf(&mut buffer) => read?,
            // What came before is still to be written.
            () = sending.closed() => return Ok(()),
        };
        // The node may have closed the channel: then nobody wants the rest.
        let sent = if read == 0 { sending.eof().await } else { sending.data(buffer.split().freeze()).await };
        if read == 0 || sent.is_err() {
            return Ok(());
        }
    }
}

async fn downwards(arriving: &mut Arriving, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    while let Some(arrived) = arriving.next().await {
        match arrived {
            Arrived::Data(piece) => writer.write_all(&piece.data).await?,
            Arrived::EndOfData => break,
            _ => {}
        }
    }
    writer.shutdown().await
}
