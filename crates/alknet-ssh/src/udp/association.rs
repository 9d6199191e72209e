//! One association at the node: a client's datagrams to where the policy lets them go, and the answers back.

use std::{io, net::SocketAddr, pin::pin, sync::Arc};

use alknet_core::{Connection, SendStream, ServeError};
use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    io::AsyncWriteExt,
    sync::mpsc,
    time::{Instant, interval, timeout},
};

use super::{
    allowance::Allowance,
    clearance::{Asker, Cleared},
    destinations::{Correspondents, Destinations, Verdict},
    frame::{Frame, encode_datagram, encode_frame},
    frame_stream::{FrameReader, ReadError},
    sockets::Sockets,
    stream_queue::{StreamQueue, Waiting, stream_queue},
};
use crate::{
    limits::{
        MAX_UDP_DATAGRAM_BYTES, UDP_ASSOCIATION_IDLE, UDP_DATAGRAMS_BURST, UDP_DATAGRAMS_PER_SECOND,
        UDP_FAREWELL_TIMEOUT, UDP_IDLE_TICK,
    },
    socks::{ReachError, Target},
};

/// What an association is made of.
pub(super) struct Parts {
    pub(super) asker: Asker,
    pub(super) connection: Connection,
    pub(super) number: u32,
    /// The carrier's datagrams for it.
    pub(super) incoming: mpsc::Receiver<(Target, Bytes)>,
}

/// Waits for the client's request on a new stream.
pub(super) async fn asked(reader: &mut FrameReader) -> Result<(), ServeError> {
    match reader.next().await {
        Ok(Some(Frame::Open)) => Ok(()),
        Ok(_) => Err(ServeError::misbehaved("a stream that does not begin with a request for an association")),
        Err(error) => Err(error.into()),
    }
}

/// Answers the request with a refusal, for which the client has [`UDP_FAREWELL_TIMEOUT`].
pub(super) async fn refuse(mut send: SendStream, why: ReachError) -> io::Result<()> {
    let refusal = async {
        send.write_all(&encode_frame(&Frame::Refused(why))).await?;
        send.shutdown().await
    };
    timeout(UDP_FAREWELL_TIMEOUT, refusal).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Serves an association until its client ends it, or nothing moved for [`UDP_ASSOCIATION_IDLE`].
pub(super) async fn serve(parts: Parts, reader: FrameReader, send: SendStream) -> Result<(), ServeError> {
    let (answers, outgoing) = stream_queue();
    answers.push(encode_frame(&Frame::Opened));
    let mut writing = pin!(write(send, outgoing));
    let relay = Relay::new(parts, answers);
    tokio::select! {
        ended = relay.run(reader) => ended?,
        broken = &mut writing => return Ok(broken?),
    }
    Ok(timeout(UDP_FAREWELL_TIMEOUT, writing).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?)
}

/// Writes what is queued, and a clean end when nobody queues any more.
async fn write(mut send: SendStream, mut outgoing: Waiting) -> io::Result<()> {
    while let Some(frame) = outgoing.next().await {
        send.write_all(&frame).await?;
        if outgoing.is_empty() {
            send.flush().await?;
        }
    }
    send.shutdown().await
}

struct Relay {
    parts: Parts,
    answers: StreamQueue,
    sockets: Sockets,
    destinations: Destinations<Cleared>,
    correspondents: Correspondents<Cleared>,
    allowance: Allowance,
    moved: Instant,
}

impl Relay {
    fn new(parts: Parts, answers: StreamQueue) -> Self {
        let now = Instant::now();
        Self {
            parts,
            answers,
            sockets: Sockets::default(),
            destinations: Destinations::new(now),
            correspondents: Correspondents::new(),
            allowance: Allowance::new(UDP_DATAGRAMS_PER_SECOND, UDP_DATAGRAMS_BURST, now),
            moved: now,
        }
    }

    async fn run(mut self, mut reader: FrameReader) -> Result<(), ServeError> {
        let asker = self.parts.asker.clone();
        let ask = |target: Target| async {
            let verdict = asker.ask(&target).await;
            (target, verdict)
        };
        let mut judgements = FuturesUnordered::new();
        let mut received = vec![0; MAX_UDP_DATAGRAM_BYTES];
        let mut tick = interval(UDP_IDLE_TICK);
        loop {
            let offered = tokio::select! {
                frame = reader.next() => match frame {
                    Ok(Some(Frame::Datagram(target, payload))) => Some((target, payload)),
                    Ok(None) => return Ok(()),
                    Ok(Some(_)) => return Err(ServeError::misbehaved("a frame that is not a client's to send")),
                    Err(error) => return Err(error.into()),
                },
                offered = self.parts.incoming.recv() => offered,
                Some((target, verdict)) = judgements.next() => {
                    self.settle(&target, verdict);
                    None
                }
                got = self.sockets.recv(&mut received) => {
                    // An error is one of an earlier datagram.
                    if let Ok((length, from)) = got {
                        self.inwards(&received[..length], from);
                    }
                    None
                }
                _ = tick.tick() => {
                    if self.moved.elapsed() >= UDP_ASSOCIATION_IDLE {
                        return Ok(());
                    }
                    self.prune();
                    None
                }
            };
            if let Some((target, payload)) = offered
                && self.outwards(&target, &payload)
            {
                judgements.push(ask(target));
            }
        }
    }

    /// Sends a client's datagram if that is allowed; answers whether the policy is to be asked.
    fn outwards(&mut self, target: &Target, payload: &Bytes) -> bool {
        let now = Instant::now();
        if !self.allowance.take(now) {
            return false;
        }
        self.moved = now;
        let step = self.destinations.offer(target, payload, now);
        if let Some(cleared) = step.send {
            deliver(&mut self.sockets, &mut self.correspondents, cleared, payload, now);
        }
        step.ask
    }

    fn settle(&mut self, target: &Target, verdict: Verdict<Cleared>) {
        let now = Instant::now();
        // What the client knows already is not told again.
        if let Err(why) = &verdict
            && self.destinations.refusal(target) != Some(*why)
        {
            self.answers.push(encode_frame(&Frame::NotSent(*why, target.clone())));
        }
        for payload in self.destinations.settle(target, verdict, now) {
            if let Some(cleared) = self.destinations.offer(target, &payload, now).send {
                deliver(&mut self.sockets, &mut self.correspondents, cleared, &payload, now);
            }
        }
    }

    /// Gives back what is not used any more, or no longer allowed.
    fn prune(&mut self) {
        let now = Instant::now();
        self.destinations.prune(now);
        self.correspondents.prune(now);
    }

    /// Hands an answer to the client: as a datagram of the carrier where that takes it, else on the stream, where it is lost if the client
    /// does not keep up.
    fn inwards(&mut self, payload: &[u8], from: SocketAddr) {
        let now = Instant::now();
        if !self.correspondents.admits(from, now) {
            return;
        }
        self.moved = now;
        let (from, number) = (Target::from(from), self.parts.number);
        if self.parts.connection.send_datagram(encode_datagram(number, &from, payload)).is_err() {
            self.answers.push(encode_frame(&Frame::Datagram(from, Bytes::copy_from_slice(payload))));
        }
    }
}

/// Sends to the first of the checked addresses that there is a way to.
fn deliver(
    sockets: &mut Sockets,
    heard: &mut Correspondents<Cleared>,
    cleared: &Arc<Cleared>,
    payload: &[u8],
    now: Instant,
) {
    for addr in &cleared.what {
        if sockets.send(payload, *addr).is_ok() {
            return heard.sent(*addr, cleared, now);
        }
    }
}

impl From<ReadError> for ServeError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Frame(_) | ReadError::Cut => Self::misbehaved(error),
            ReadError::Stream(error) => error.into(),
        }
    }
}
