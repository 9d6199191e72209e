//! TCP that acknowledges at once while the connection is young.
//!
//! An SSH client sends its key exchange in two writes, and its kernel holds the second back until the first is acknowledged
//! (Nagle, RFC 9293, 3.7.4; OpenSSH switches that off only once it is logged in). A server's kernel by itself takes up to 40 ms over that
//! (RFC 9293, 3.8.6.3), which was two thirds of a login on loopback.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::limits::PROMPT_READS;

/// A stream whose first reads are acknowledged at once.
pub(crate) struct PromptTcp {
    io: TcpStream,
    prompt_reads: u32,
}

impl PromptTcp {
    pub(crate) fn new(io: TcpStream) -> Self {
        Self { io, prompt_reads: PROMPT_READS }
    }
}

/// Sends the acknowledgement that is due. The kernel goes back to its own ways by itself.
fn acknowledge(io: &TcpStream) {
    #[cfg(target_os = "linux")]
    // Without it the connection is only slower.
    let _ = socket2::SockRef::from(io).set_tcp_quickack(true);
    #[cfg(not(target_os = "linux"))]
    let _ = io;
}

impl AsyncRead for PromptTcp {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        if let Some(left) = self.prompt_reads.checked_sub(1) {
            self.prompt_reads = left;
            acknowledge(&self.io);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PromptTcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const TURNS: u32 = 8;

    /// A client with Nagle's rule that writes twice before it waits for an answer.
    async fn two_writes_and_an_answer(client: &mut TcpStream, server: &mut PromptTcp) -> Duration {
        let begun = Instant::now();
        for _ in 0..TURNS {
            client.write_all(&[1; 1000]).await.unwrap();
            client.write_all(&[2]).await.unwrap();
            server.read_exact(&mut [0; 1001]).await.unwrap();
            server.write_all(b"answer").await.unwrap();
            client.read_exact(&mut [0; 6]).await.unwrap();
        }
        begun.elapsed()
    }

    async fn pair(prompt_reads: u32) -> (TcpStream, PromptTcp) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (io, _) = listener.accept().await.unwrap();
        io.set_nodelay(true).unwrap();
        (client, PromptTcp { io, prompt_reads })
    }

    #[tokio::test]
    #[cfg_attr(not(target_os = "linux"), ignore = "only Linux acknowledges on demand")]
    async fn a_client_that_writes_twice_does_not_wait_for_an_acknowledgement() {
        let (mut client, mut server) = pair(u32::MAX).await;
        let prompt = two_writes_and_an_answer(&mut client, &mut server).await;
        let (mut client, mut server) = pair(0).await;
        let usual = two_writes_and_an_answer(&mut client, &mut server).await;
        // The usual way waits 40 ms in most turns.
        assert!(prompt * 2 < usual, "{prompt:?} is not much less than {usual:?}");
    }
}
