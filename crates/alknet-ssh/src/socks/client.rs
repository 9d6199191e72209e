//! One client of the proxy, from its first byte to its tunnel.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional_with_sizes},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

use super::{
    associate::Relay,
    http_connect::{ESTABLISHED, HttpRefusal, parse_connect},
    proxy::Door,
    reach::{Reach, ReachError},
    request::{self, Reply, Request, RequestError, WELCOME, parse_greeting, parse_request},
    target::Target,
};
use crate::limits::{
    MAX_HTTP_HEAD_BYTES, PROXY_BUFFER_BYTES, PROXY_FAREWELL_BYTES, PROXY_FAREWELL_TIMEOUT, PROXY_HANDSHAKE_TIMEOUT,
    PROXY_REACH_TIMEOUT,
};

/// Room for everything that a usual client says before its tunnel.
const USUAL_BYTES: usize = 512;

/// How a client left before it had a tunnel.
enum Left {
    /// It is answered this, and hung up on.
    Refused(Vec<u8>),
    /// It is gone.
    Gone,
}

impl From<RequestError> for Left {
    fn from(error: RequestError) -> Self {
        tracing::debug!(%error, "a client of the proxy is refused");
        Self::Refused(error.reply())
    }
}

impl From<HttpRefusal> for Left {
    fn from(refusal: HttpRefusal) -> Self {
        tracing::debug!(error = %refusal, "a client of the proxy is refused");
        Self::Refused(refusal.reply())
    }
}

impl From<io::Error> for Left {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// What a client asks for, in either language.
enum Asked {
    Socks(Request),
    Http(Target),
}

/// A client, with what it has said and nobody has read yet.
pub(super) struct Client {
    io: TcpStream,
    said: Vec<u8>,
    origin: SocketAddr,
}

impl Client {
    pub(super) fn new(io: TcpStream, origin: SocketAddr) -> Self {
        Self { io, said: Vec::with_capacity(USUAL_BYTES), origin }
    }

    /// Serves the client to its end.
    pub(super) async fn serve<R: Reach>(mut self, door: &Arc<Door<R>>) {
        let served = match timeout(PROXY_HANDSHAKE_TIMEOUT, self.ask()).await {
            Ok(Ok(asked)) => self.answer(asked, door).await,
            Ok(Err(left)) => Err(left),
            Err(_) => Err(Left::Gone),
        };
        if let Err(Left::Refused(answer)) = served {
            self.say_farewell(&answer).await;
        }
    }

    /// The first byte decides which language it is. Nothing in one can be read as the other, so that a web page that makes a
    /// browser talk HTTP to this port reaches nothing but a refusal.
    async fn ask(&mut self) -> Result<Asked, Left> {
        let first = self.until(|bytes| Ok::<_, Left>(bytes.first().map(|first| (*first, 0)))).await?;
        if first.is_ascii_alphabetic() {
            return Ok(Asked::Http(self.until(parse_connect).await?));
        }
        self.until(|bytes| Ok::<_, RequestError>(parse_greeting(bytes)?.map(|length| ((), length)))).await?;
        self.io.write_all(&WELCOME).await?;
        Ok(Asked::Socks(self.until(parse_request).await?))
    }

    /// Reads until `parse` is content, and takes as much as it says.
    async fn until<T, E: Into<Left>>(
        &mut self,
        parse: impl Fn(&[u8]) -> Result<Option<(T, usize)>, E>,
    ) -> Result<T, Left> {
        loop {
            if let Some((parsed, length)) = parse(&self.said).map_err(Into::into)? {
                self.said.drain(..length);
                return Ok(parsed);
            }
            let room = MAX_HTTP_HEAD_BYTES.saturating_sub(self.said.len()) as u64;
            // The parsers refuse what does not fit: no room means that one did not.
            if (&mut self.io).take(room).read_buf(&mut self.said).await? == 0 {
                return Err(Left::Gone);
            }
        }
    }

    async fn answer<R: Reach>(&mut self, asked: Asked, door: &Arc<Door<R>>) -> Result<(), Left> {
        let (target, established, refusal): (_, _, fn(ReachError) -> Vec<u8>) = match asked {
            Asked::Socks(Request::UdpAssociate(from)) => return self.associate(from, door).await,
            Asked::Socks(Request::Connect(target)) => {
                (target, request::reply(Reply::Succeeded, None), |error| request::reply(error.into(), None))
            }
            Asked::Http(target) => (target, ESTABLISHED.to_vec(), |error| HttpRefusal::from(error).reply()),
        };
        let reaching = timeout(PROXY_REACH_TIMEOUT, door.reach.reach(&target, self.origin));
        let reached = tokio::select! {
            biased;
            reached = reaching => reached.unwrap_or(Err(ReachError::TimedOut)),
            () = self.gone() => return Err(Left::Gone),
        };
        match reached {
            Ok(stream) => {
                self.io.write_all(&established).await?;
                self.join(stream).await
            }
            Err(error) => {
                door.refused(&target, error);
                Err(Left::Refused(refusal(error)))
            }
        }
    }

    /// Waits until the client is gone. One that has sent something for its tunnel may have ended its side by that, and wants its answer.
    async fn gone(&self) {
        match self.io.peek(&mut [0]).await {
            Ok(0) if self.said.is_empty() => {}
            Ok(_) => std::future::pending().await,
            Err(_) => {}
        }
    }

    /// Moves bytes both ways until both ends have ended, each by itself.
    async fn join(
        &mut self,
        mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    ) -> Result<(), Left> {
        if !self.said.is_empty() {
            stream.write_all(&std::mem::take(&mut self.said)).await?;
        }
        copy_bidirectional_with_sizes(&mut self.io, &mut stream, PROXY_BUFFER_BYTES, PROXY_BUFFER_BYTES).await?;
        Ok(())
    }

    async fn associate<R: Reach>(&mut self, from: Target, door: &Arc<Door<R>>) -> Result<(), Left> {
        let refused = |error: ReachError| Left::Refused(request::reply(error.into(), None));
        let Some(tunnels) = &door.udp else {
            return Err(Left::Refused(request::reply(Reply::CommandNotSupported, None)));
        };
        let relay = Relay::open(&self.io, from, tunnels.clone()).await.map_err(refused)?;
        self.io.write_all(&request::reply(Reply::Succeeded, Some(relay.addr()))).await?;
        relay.run(&mut self.io, |target, error| door.refused(target, error)).await;
        Ok(())
    }

    /// Answers, ends, and reads on for a moment: an answer that meets unread bytes would be taken back by the kernel (RFC 9112, 9.6).
    async fn say_farewell(mut self, answer: &[u8]) {
        let until = Instant::now() + PROXY_FAREWELL_TIMEOUT;
        let farewell = async {
            self.io.write_all(answer).await?;
            self.io.shutdown().await?;
            let mut rest = (&mut self.io).take(PROXY_FAREWELL_BYTES);
            tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
        };
        // Whoever does not take its answer in time goes without.
        let _ = timeout_at(until, farewell).await;
    }
}
