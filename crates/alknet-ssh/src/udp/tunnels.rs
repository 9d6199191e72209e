//! The dialling end: associations at a node, over connections made when they are needed.

use std::sync::Arc;

use alknet_core::{Alpn, Connection, DialTarget, Dialer, Stream};
use bytes::Bytes;
use tokio::{
    io::AsyncWriteExt,
    sync::{Mutex, mpsc},
    task::JoinSet,
    time::timeout,
};

use super::{
    demux::{Demux, Entry, number_of},
    frame::{Frame, encode_datagram, encode_frame},
    frame_stream::FrameReader,
    stream_queue::{StreamQueue, stream_queue},
};
use crate::{
    limits::{UDP_OPEN_TIMEOUT, UDP_QUEUE_DATAGRAMS},
    socks::{ReachError, Target},
};

/// The service's name.
pub const UDP: Alpn = Alpn::from_static(b"alknet/udp");

/// Makes associations at one node. Clones share its connections.
#[derive(Clone)]
pub struct UdpTunnels(Arc<Inner>);

struct Inner {
    dialer: Arc<dyn Dialer>,
    node: DialTarget,
    /// The connection that the next association tries first.
    line: Mutex<Option<Arc<Line>>>,
}

/// A connection with associations on it; closed when the last of them and the tunnels have let go.
struct Line {
    connection: Connection,
    demux: Arc<Demux>,
    _reading: JoinSet<()>,
}

impl Line {
    fn new(connection: Connection) -> Self {
        let demux = Arc::new(Demux::default());
        let mut reading = JoinSet::new();
        let (taking, from) = (demux.clone(), connection.clone());
        reading.spawn(async move {
            let error = taking.run(&from).await;
            tracing::debug!(%error, "the node sent a bad datagram");
            from.close(0, b"");
        });
        Self { connection, demux, _reading: reading }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.connection.close(0, b"");
    }
}

impl UdpTunnels {
    /// Dials `node` with `dialer`.
    pub fn new(dialer: Arc<dyn Dialer>, node: DialTarget) -> Self {
        Self(Arc::new(Inner { dialer, node, line: Mutex::default() }))
    }

    /// Makes an association.
    pub(crate) async fn open(&self) -> Result<Association, ReachError> {
        timeout(UDP_OPEN_TIMEOUT, async {
            let (line, stream) = self.stream().await?;
            Association::over(line, stream).await
        })
        .await
        .unwrap_or(Err(ReachError::NoTunnel))
    }

    /// A stream for an association: on the connection that there is, or on another where it has no more.
    async fn stream(&self) -> Result<(Arc<Line>, Stream), ReachError> {
        let mut shared = self.0.line.lock().await;
        if let Some(line) = &*shared
            && let Ok(stream) = line.connection.open_stream().await
        {
            return Ok((line.clone(), stream));
        }
        let unreachable = |error: &dyn std::fmt::Display| {
            tracing::debug!(%error, "no connection for datagrams");
            ReachError::NoTunnel
        };
        let connection = self.0.dialer.dial(&self.0.node, &UDP).await.map_err(|error| unreachable(&error))?;
        let line = shared.insert(Arc::new(Line::new(connection)));
        let stream = line.connection.open_stream().await.map_err(|error| unreachable(&error))?;
        Ok((line.clone(), stream))
    }
}

/// What an association brings.
pub(crate) enum UdpEvent {
    /// A datagram from there.
    Datagram(Target, Bytes),
    /// Datagrams to there are not sent.
    NotSent(ReachError, Target),
}

/// A way for datagrams through the node, with a port of its own there.
pub(crate) struct Association {
    line: Arc<Line>,
    number: u32,
    to_stream: StreamQueue,
    from_stream: mpsc::Receiver<UdpEvent>,
    from_carrier: mpsc::Receiver<(Target, Bytes)>,
    _entry: Entry,
    _tasks: JoinSet<()>,
}

impl Association {
    /// Asks the node for it.
    async fn over(line: Arc<Line>, stream: Stream) -> Result<Self, ReachError> {
        let Stream { mut send, recv } = stream;
        let number = number_of(&send);
        let (intake, from_carrier) = mpsc::channel(UDP_QUEUE_DATAGRAMS);
        let entry = line.demux.enter(number, intake);
        let lost = |_| ReachError::NoTunnel;
        send.write_all(&encode_frame(&Frame::Open)).await.map_err(lost)?;
        send.flush().await.map_err(lost)?;
        let mut reader = FrameReader::new(recv);
        match reader.next().await {
            Ok(Some(Frame::Opened)) => {}
            Ok(Some(Frame::Refused(why))) => return Err(why),
            Ok(_) | Err(_) => return Err(ReachError::NoTunnel),
        }
        let (to_stream, mut outgoing) = stream_queue();
        let (events, from_stream) = mpsc::channel(UDP_QUEUE_DATAGRAMS);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Some(frame) = outgoing.next().await {
                if send.write_all(&frame).await.is_err() || send.flush().await.is_err() {
                    return;
                }
            }
        });
        tasks.spawn(async move {
            loop {
                let event = match reader.next().await {
                    Ok(Some(Frame::Datagram(from, payload))) => UdpEvent::Datagram(from, payload),
                    Ok(Some(Frame::NotSent(why, target))) => UdpEvent::NotSent(why, target),
                    Ok(Some(Frame::Open | Frame::Opened | Frame::Refused(_)) | None) => return,
                    Err(error) => return tracing::debug!(%error, "an association's stream broke"),
                };
                if events.send(event).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self { line, number, to_stream, from_stream, from_carrier, _entry: entry, _tasks: tasks })
    }

    /// Sends a datagram: as a datagram of the carrier where that takes it, else on the stream. It is lost where the stream's queue is
    /// full.
    pub(crate) fn send(&self, target: &Target, payload: &[u8]) {
        if self.line.connection.send_datagram(encode_datagram(self.number, target, payload)).is_ok() {
            return;
        }
        self.to_stream.push(encode_frame(&Frame::Datagram(target.clone(), Bytes::copy_from_slice(payload))));
    }

    /// What comes next; `None` when the association is over. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<UdpEvent> {
        tokio::select! {
            event = self.from_stream.recv() => event,
            Some((from, payload)) = self.from_carrier.recv() => Some(UdpEvent::Datagram(from, payload)),
        }
    }
}
