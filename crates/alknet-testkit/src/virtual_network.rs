//! Hosts whose connections run through a relay that delays, chops, stalls and cuts what they send, as a seed says.
//!
//! A connection is two connections in memory with the relay in between. What is lost on a reliable byte stream is the connection: both
//! sides learn of a cut, each after a time of its own, and until then what they write goes nowhere.

use std::{
    collections::HashMap,
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use alknet_core::{Alpn, Carrier, CloseReason, Connection, Peer, RecvStream, SendStream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{memory, simulation::Chance};

/// Connections that may wait to be accepted at a host.
const BACKLOG: usize = 64;
/// How long what was sent before a connection was closed may take to arrive.
const LINGER: Duration = Duration::from_secs(5);

/// How the network treats what is sent.
#[derive(Debug, Clone)]
pub struct Weather {
    /// How long each chunk takes.
    pub delay: RangeInclusive<Duration>,
    /// Most bytes that travel in one chunk.
    pub max_chunk_bytes: usize,
    /// How many chunks in a thousand are held up.
    pub stalls_per_mille: u64,
    /// For how long.
    pub stall: RangeInclusive<Duration>,
    /// When each side learns of a cut.
    pub notice: RangeInclusive<Duration>,
}

impl Default for Weather {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            delay: ms(0)..=ms(40),
            max_chunk_bytes: 2000,
            stalls_per_mille: 5,
            stall: ms(500)..=ms(12_000),
            notice: ms(0)..=ms(3000),
        }
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("nobody answers at {0}")]
pub struct Unreachable(pub String);

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Towards {
    /// To whoever dialled.
    Near,
    /// To whoever was dialled.
    Far,
}

/// Where bytes were carried.
#[derive(Debug, Clone, Copy)]
pub struct Passage {
    /// The connection's number on the network.
    pub line: u64,
    /// The stream's number on the connection.
    pub stream: u64,
    /// Which way.
    pub towards: Towards,
}

/// Sees everything that the network carries, when it leaves its sender.
pub trait Tap: Send + Sync {
    /// These bytes left, the next ones of their direction.
    fn carried(&self, passage: Passage, bytes: &[u8]);
}

/// A network of named hosts. Clones are handles on the same network.
#[derive(Clone)]
pub struct VirtualNetwork(Arc<Inner>);

struct Inner {
    chance: Chance,
    weather: Weather,
    tap: Option<Arc<dyn Tap>>,
    next_line: AtomicU64,
    places: Mutex<Places>,
    relays: TaskTracker,
}

#[derive(Default)]
struct Places {
    listening: HashMap<String, mpsc::Sender<Connection>>,
    /// Every connection that was made and whose relay may still run.
    lines: Vec<Line>,
}

struct Line {
    ends: [String; 2],
    cut: CancellationToken,
    over: CancellationToken,
}

/// Somebody who dials: where from, what its connection proves, and over what.
#[derive(Clone)]
pub struct Dialling {
    /// The name of the host that dials.
    pub from: String,
    /// How the other side sees it.
    pub own: Peer,
    /// The name of the host that is dialled.
    pub to: String,
    /// How this side sees that host.
    pub other: Peer,
    /// What for.
    pub alpn: Alpn,
    /// Over what.
    pub carrier: Carrier,
}

impl VirtualNetwork {
    /// An empty network.
    pub fn new(chance: Chance, weather: Weather) -> Self {
        Self::build(chance, weather, None)
    }

    /// The same, with somebody who sees everything.
    pub fn tapped(chance: Chance, weather: Weather, tap: Arc<dyn Tap>) -> Self {
        Self::build(chance, weather, Some(tap))
    }

    fn build(chance: Chance, weather: Weather, tap: Option<Arc<dyn Tap>>) -> Self {
        let (next_line, places, relays) = (AtomicU64::new(0), Mutex::default(), TaskTracker::new());
        Self(Arc::new(Inner { chance, weather, tap, next_line, places, relays }))
    }

    /// Begins to listen as `host`; who did before no longer does. Dropping the receiver ends it.
    pub fn listen(&self, host: &str) -> mpsc::Receiver<Connection> {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        self.0.places().listening.insert(host.to_owned(), sender);
        receiver
    }

    /// Connects two hosts, after the time that this takes.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn dial(&self, who: Dialling) -> Result<Connection, Unreachable> {
        sleep(self.0.chance.time(self.0.weather.delay.clone())).await;
        let listening = self.0.places().listening.get(&who.to).cloned();
        let listening = listening.ok_or_else(|| Unreachable(who.to.clone()))?;
        let (near, near_relay) = memory::pair_over(&who.alpn, who.own.clone(), who.other.clone(), who.carrier);
        let (far_relay, far) = memory::pair_over(&who.alpn, who.own, who.other, who.carrier);
        listening.try_send(far).map_err(|_| Unreachable(who.to.clone()))?;
        let (cut, over) = (CancellationToken::new(), CancellationToken::new());
        let mut places = self.0.places();
        places.lines.retain(|line| !line.over.is_cancelled());
        places.lines.push(Line { ends: [who.from, who.to], cut: cut.clone(), over: over.clone() });
        drop(places);
        let line = self.0.next_line.fetch_add(1, Ordering::Relaxed);
        let relay = Relay {
            network: self.0.clone(),
            line,
            next_stream: AtomicU64::new(0),
            cut,
            gone: CancellationToken::new(),
            streams: TaskTracker::new(),
        };
        self.0.relays.spawn(async move {
            let _over = over.drop_guard();
            relay.run(near_relay, far_relay).await;
        });
        Ok(near)
    }

    /// Cuts every connection between two hosts; answers how many.
    pub fn cut(&self, one: &str, other: &str) -> usize {
        self.cut_where(|ends| ends.iter().any(|end| end == one) && ends.iter().any(|end| end == other))
    }

    /// Ends listening: nobody reaches the host any more, its connections stay.
    pub fn withdraw(&self, host: &str) {
        self.0.places().listening.remove(host);
    }

    /// Takes a host off the network: nobody reaches it any more, and its connections are cut. It comes back by listening again.
    pub fn crash(&self, host: &str) -> usize {
        self.withdraw(host);
        self.cut_where(|ends| ends.iter().any(|end| end == host))
    }

    fn cut_where(&self, wanted: impl Fn(&[String; 2]) -> bool) -> usize {
        let places = self.0.places();
        let hit = places.lines.iter().filter(|line| !line.over.is_cancelled() && wanted(&line.ends));
        hit.map(|line| line.cut.cancel()).count()
    }

    /// How many connections are being relayed.
    pub fn lines(&self) -> usize {
        self.0.relays.len()
    }
}

impl Inner {
    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the next chunk is under way.
    fn passage(&self) -> Duration {
        let delay = self.chance.time(self.weather.delay.clone());
        if self.chance.per_mille(self.weather.stalls_per_mille) {
            return delay + self.chance.time(self.weather.stall.clone());
        }
        delay
    }
}

struct Relay {
    network: Arc<Inner>,
    line: u64,
    next_stream: AtomicU64,
    cut: CancellationToken,
    /// Cancelled once both sides were told that it is over.
    gone: CancellationToken,
    /// The directions of streams that are being carried.
    streams: TaskTracker,
}

impl Relay {
    /// Carries streams until one side closes or the connection is cut.
    async fn run(self, near: Connection, far: Connection) {
        let ended = tokio::select! {
            biased;
            () = self.cut.cancelled() => None,
            reason = near.closed() => Some((reason, far.clone())),
            reason = far.closed() => Some((reason, near.clone())),
            never = self.carry(&near, &far) => match never {},
        };
        match ended {
            None => self.tell_of_cut(&near, &far).await,
            Some((reason, other)) => {
                // What was sent before the farewell comes before it.
                self.streams.close();
                let _late = timeout(LINGER, self.streams.wait()).await;
                sleep(self.network.passage()).await;
                let (code, words) = match reason {
                    CloseReason::Peer { code, reason } => (code, reason),
                    _ => (0, String::new()),
                };
                other.close(code, words.as_bytes());
            }
        }
        self.gone.cancel();
        self.streams.close();
        self.streams.wait().await;
    }

    async fn tell_of_cut(&self, near: &Connection, far: &Connection) {
        let notice = || self.network.chance.time(self.network.weather.notice.clone());
        let (first, second) = (notice(), notice());
        let tell = async |side: &Connection, after: Duration| {
            sleep(after).await;
            side.close(1, b"cut");
        };
        tokio::join!(biased; tell(near, first), tell(far, second));
    }

    async fn carry(&self, near: &Connection, far: &Connection) -> std::convert::Infallible {
        tokio::join!(biased; self.open(near, far, Towards::Far), self.open(far, near, Towards::Near));
        // No more streams; those there are go on.
        std::future::pending().await
    }

    /// Opens at `to` each stream that is opened at `from`.
    async fn open(&self, from: &Connection, to: &Connection, towards: Towards) {
        while let Ok(Some(here)) = from.accept_stream().await {
            let Ok(there) = to.open_stream().await else { break };
            let stream = self.next_stream.fetch_add(1, Ordering::Relaxed);
            let back = if towards == Towards::Far { Towards::Near } else { Towards::Far };
            let passage = |towards| Passage { line: self.line, stream, towards };
            self.streams.spawn(self.direction(passage(towards), here.recv, there.send));
            self.streams.spawn(self.direction(passage(back), there.recv, here.send));
        }
    }

    fn direction(&self, passage: Passage, from: RecvStream, to: SendStream) -> impl Future<Output = ()> + use<> {
        let (network, cut, gone) = (self.network.clone(), self.cut.clone(), self.gone.clone());
        async move {
            tokio::select! {
                biased;
                () = gone.cancelled() => {}
                () = carry(&network, passage, &cut, from, to) => {}
            }
        }
    }
}

/// Carries one direction of a stream, chunk by chunk. After a cut it holds both ends without moving anything.
async fn carry(network: &Inner, passage: Passage, cut: &CancellationToken, mut from: RecvStream, mut to: SendStream) {
    let mut chunk = vec![0; network.weather.max_chunk_bytes];
    loop {
        let most = 1 + network.chance.below(chunk.len() as u64) as usize;
        let goes_on = tokio::select! {
            biased;
            () = cut.cancelled() => std::future::pending().await,
            goes_on = carry_chunk(network, passage, &mut from, &mut to, &mut chunk[..most]) => goes_on,
        };
        if !goes_on {
            return;
        }
    }
}

/// Answers whether there may be more.
async fn carry_chunk(
    network: &Inner,
    passage: Passage,
    from: &mut RecvStream,
    to: &mut SendStream,
    chunk: &mut [u8],
) -> bool {
    let read = tokio::select! {
        biased;
        stopped = to.stopped() => {
            from.stop(stopped.unwrap_or(0));
            return false;
        }
        read = from.read(chunk) => read,
    };
    if let (Some(tap), Ok(bytes)) = (&network.tap, &read) {
        tap.carried(passage, &chunk[..*bytes]);
    }
    sleep(network.passage()).await;
    match read {
        Ok(0) => {
            // Delivered, refused, or its reader is gone: nothing is left to carry.
            let _ = to.shutdown().await;
            to.stopped().await;
            false
        }
        Ok(bytes) => {
            let written = to.write_all(&chunk[..bytes]).await;
            if written.is_err() {
                from.stop(0);
            }
            written.is_ok()
        }
        Err(_) => {
            to.reset(0);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        identities::{stranger, test_alpn},
        simulation::in_virtual_time,
    };

    fn dialling(carrier: Carrier) -> Dialling {
        let (from, to) = ("a".to_owned(), "b".to_owned());
        Dialling { from, own: stranger(), to, other: stranger(), alpn: test_alpn(), carrier }
    }

    async fn connected(network: &VirtualNetwork, carrier: Carrier) -> (Connection, Connection) {
        let mut listening = network.listen("b");
        let near = network.dial(dialling(carrier)).await.unwrap();
        (near, listening.recv().await.unwrap())
    }

    #[test]
    fn bytes_arrive_whole_in_order_and_late() {
        for carrier in [Carrier::Quic, Carrier::Tls] {
            in_virtual_time(async {
                let network = VirtualNetwork::new(Chance::new(3), Weather::default());
                let (near, far) = connected(&network, carrier).await;
                let begin = tokio::time::Instant::now();
                let sent: Vec<u8> = (0..100_000_u32).map(|byte| byte as u8).collect();
                let mut here = near.open_stream().await.unwrap();
                let mut there = far.accept_stream().await.unwrap().unwrap();
                let mut heard = Vec::new();
                let send = async {
                    here.write_all(&sent).await.unwrap();
                    here.shutdown().await.unwrap();
                };
                tokio::join!(send, async { there.read_to_end(&mut heard).await.unwrap() });
                assert_eq!(heard, sent);
                assert!(begin.elapsed() > Duration::from_millis(100));
                there.write_all(b"back").await.unwrap();
                there.shutdown().await.unwrap();
                heard.clear();
                here.read_to_end(&mut heard).await.unwrap();
                assert_eq!(heard, b"back");
                drop((here, near));
                far.closed().await;
                while network.lines() > 0 {
                    sleep(Duration::from_millis(100)).await;
                }
            });
        }
    }

    #[test]
    fn both_sides_learn_of_a_cut() {
        in_virtual_time(async {
            let network = VirtualNetwork::new(Chance::new(4), Weather::default());
            let (near, far) = connected(&network, Carrier::Quic).await;
            let mut here = near.open_stream().await.unwrap();
            assert_eq!((network.cut("b", "c"), network.cut("b", "a")), (0, 1));
            tokio::join!(near.closed(), far.closed());
            assert!(here.read_u8().await.is_err());
            assert_eq!(network.crash("b"), 0);
            let refused = network.dial(dialling(Carrier::Quic)).await;
            assert_eq!(refused.err(), Some(Unreachable("b".into())));
        });
    }
}
