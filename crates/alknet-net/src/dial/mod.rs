//! Dialling nodes: pinned keys, both carriers in a race, and a memory of what does not get through.

mod attempt;
mod memory;
mod public;
mod race;
mod roaming;
mod web;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use alknet_core::{Alpn, BoxFuture, Carrier, Connection, DialError, DialTarget, Dialer, HostPort};
use arc_swap::ArcSwap;
use futures_util::StreamExt;
use futures_util::future::{self, Either};
use futures_util::stream::FuturesUnordered;
use tokio::time::{sleep, timeout};

use attempt::{AttemptError, Goal, over_quic, over_tcp};
use memory::CarrierMemory;
pub use memory::LostCarrier;
use race::{Finish, race};
use roaming::Hearing;
pub use web::{WebDialError, dial_public_web, dial_web, look_up_public_web};

use crate::limits::{
    ADDRESS_STAGGER, ATTEMPT_TIMEOUT, FAREWELL_TIMEOUT, MAX_DIALLED_ADDRESSES, QUIC_HEAD_START, RESOLVE_TIMEOUT,
    TCP_HEAD_START,
};
use crate::quic::Patience;
use crate::socket::{UdpBufferWarning, bind_udp};
use crate::tls::NodeCredentials;

/// Which carriers a dialler uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CarrierPolicy {
    /// Both; QUIC goes first, unless the kernel grants it less than 1 MiB of UDP buffers.
    #[default]
    Auto,
    /// Both; QUIC goes first.
    PreferQuic,
    /// QUIC only.
    QuicOnly,
    /// TLS over TCP only.
    TcpOnly,
}

/// Dials other nodes with this node's key.
pub struct NetDialer {
    node: ArcSwap<NodeCredentials>,
    policy: CarrierPolicy,
    memory: CarrierMemory,
    quic: Mutex<Option<QuicSocket>>,
    patience: Patience,
}

/// The one UDP socket that every QUIC connection of a dialler shares.
#[derive(Clone)]
struct QuicSocket {
    endpoint: quinn::Endpoint,
    small_buffers: bool,
    hearing: Arc<Hearing>,
}

impl NetDialer {
    /// Presents `node`'s key to whom it dials.
    pub fn new(node: NodeCredentials, policy: CarrierPolicy) -> Self {
        let node = ArcSwap::from_pointee(node);
        Self { node, policy, memory: CarrierMemory::default(), quic: Mutex::new(None), patience: Patience::Usual }
    }

    /// Waits longer for peers that have become silent.
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// Presents another key from now on.
    pub fn set_node_credentials(&self, node: NodeCredentials) {
        self.node.store(Arc::new(node));
    }

    /// What did not get through lately, and why.
    pub fn lost_carriers(&self) -> Vec<LostCarrier> {
        self.memory.report(Instant::now())
    }

    /// Takes over what an earlier process's [`Self::lost_carriers`] said. Hints only: they choose who goes first.
    pub fn remember(&self, lost: impl IntoIterator<Item = LostCarrier>) {
        let now = Instant::now();
        lost.into_iter().for_each(|lost| self.memory.recall(lost, now));
    }

    /// Waits a moment, so that the farewells of closed QUIC connections are sent. A program that ends without it leaves its
    /// peers waiting for their idle timeout; so does, rarely, a farewell that gets lost.
    pub async fn finish(&self) {
        let socket = self.quic.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(socket) = socket {
            let _ = timeout(FAREWELL_TIMEOUT, socket.endpoint.wait_idle()).await;
        }
    }

    fn quic_socket(&self) -> Result<QuicSocket, AttemptError> {
        let mut socket = self.quic.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(socket) = &*socket {
            return Ok(socket.clone());
        }
        let made = make_quic_socket().map_err(|error| AttemptError::Failed(format!("no UDP socket: {error}")))?;
        Ok(socket.insert(made).clone())
    }

    /// The carriers in the order of preference, and how long the first goes alone.
    fn plan(&self, way: (IpAddr, SocketAddr)) -> (Carrier, Option<Carrier>, Duration) {
        let tcp_first = (Carrier::Tls, Some(Carrier::Quic), TCP_HEAD_START);
        match self.policy {
            CarrierPolicy::QuicOnly => (Carrier::Quic, None, Duration::ZERO),
            CarrierPolicy::TcpOnly => (Carrier::Tls, None, Duration::ZERO),
            _ if self.memory.loser(way, Instant::now()) == Some(Carrier::Quic) => tcp_first,
            CarrierPolicy::Auto if self.quic_socket().map_or(true, |socket| socket.small_buffers) => tcp_first,
            CarrierPolicy::Auto | CarrierPolicy::PreferQuic => (Carrier::Quic, Some(Carrier::Tls), QUIC_HEAD_START),
        }
    }

    async fn attempt(&self, carrier: Carrier, goal: &Goal) -> Result<Connection, AttemptError> {
        let node = self.node.load_full();
        let attempt = async {
            match carrier {
                Carrier::Quic => over_quic(self.quic_socket()?, goal, &node, self.patience).await,
                _ => over_tcp(goal, &node).await,
            }
        };
        let silent = || Err(AttemptError::Failed("no answer".to_owned()));
        timeout(ATTEMPT_TIMEOUT, attempt).await.unwrap_or_else(|_| silent())
    }

    /// Races the carriers to one address, and remembers what came of it.
    async fn dial_one(&self, goal: Goal) -> Result<Connection, AttemptError> {
        let way = (local_address_towards(goal.addr), goal.addr);
        let (first, second, head_start) = self.plan(way);
        let Some(second) = second else {
            return self.attempt(first, &goal).await.map_err(|error| named(first, error));
        };
        // Where nobody is pinned, another carrier could only tell the same.
        let is_final = |error: &AttemptError| goal.key.is_none() && matches!(error, AttemptError::Key(_));
        let started = Instant::now();
        let finish = race(self.attempt(first, &goal), self.attempt(second, &goal), head_start, is_final).await;
        match finish {
            Finish::Leader(connection) => {
                self.memory.won(way, first);
                Ok(connection)
            }
            Finish::Follower(connection, why) => {
                let silent = || format!("no answer for {} ms", started.elapsed().as_millis());
                let reason = why.map_or_else(silent, |error| error.to_string());
                tracing::debug!(addr = %goal.addr, carrier = first.name(), %reason, "the other carrier got through");
                self.memory.won(way, second);
                self.memory.lost(way, first, reason, Instant::now());
                Ok(connection)
            }
            Finish::Final(error) => Err(error),
            Finish::Neither(one, other) => Err(joined(named(first, one), named(second, other))),
        }
    }

    /// Tries the addresses one after the other, not waiting long for a silent one.
    async fn dial_all(&self, goals: Vec<Goal>) -> Result<Connection, DialError> {
        let mut goals = goals.into_iter();
        let mut running = FuturesUnordered::new();
        let mut failures = Vec::new();
        loop {
            let next = goals.next();
            let has_next = next.is_some();
            if let Some(goal) = next {
                running.push(async { (goal.clone(), self.dial_one(goal).await) });
            }
            let stagger = async { if has_next { sleep(ADDRESS_STAGGER).await } else { future::pending().await } };
            match future::select(running.next(), Box::pin(stagger)).await {
                Either::Left((Some((_, Ok(connection))), _)) => return Ok(connection),
                Either::Left((Some((goal, Err(error))), _)) => failures.push((goal, error)),
                Either::Left((None, _)) => return Err(worst(failures)),
                Either::Right(_) => {}
            }
        }
    }
}

impl Dialer for NetDialer {
    fn dial<'a>(&'a self, target: &'a DialTarget, alpn: &'a Alpn) -> BoxFuture<'a, Result<Connection, DialError>> {
        Box::pin(async move {
            if target.addresses.is_empty() {
                return Err(DialError::NoAddress);
            }
            let mut goals = Vec::new();
            let mut unresolved = Vec::new();
            for host in &target.addresses {
                match resolve(host).await {
                    Ok(addrs) => goals.extend(addrs.into_iter().map(|addr| Goal {
                        host: host.clone(),
                        addr,
                        alpn: alpn.clone(),
                        key: target.key,
                    })),
                    Err(error) => unresolved.push(error),
                }
            }
            goals.truncate(MAX_DIALLED_ADDRESSES);
            if goals.is_empty() {
                return Err(DialError::Unreachable(unresolved.join("; ")));
            }
            self.dial_all(goals).await
        })
    }
}

async fn resolve(host: &HostPort) -> Result<Vec<SocketAddr>, String> {
    match timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((host.host(), host.port()))).await {
        Ok(Ok(addrs)) => Ok(addrs.collect()),
        Ok(Err(error)) => Err(format!("{host}: {error}")),
        Err(_) => Err(format!("{host}: the name server does not answer")),
    }
}

/// A UDP socket on a port of the system's choice, for both families where the machine has both.
fn any_udp() -> std::io::Result<(UdpSocket, Option<UdpBufferWarning>)> {
    let any = |ip: IpAddr| SocketAddr::new(ip, 0);
    bind_udp(any(Ipv6Addr::UNSPECIFIED.into())).or_else(|_| bind_udp(any(Ipv4Addr::UNSPECIFIED.into())))
}

fn make_quic_socket() -> std::io::Result<QuicSocket> {
    let (udp, warning) = any_udp()?;
    let endpoint = quinn::Endpoint::new(quinn::EndpointConfig::default(), None, udp, Arc::new(quinn::TokioRuntime))?;
    let small_buffers = warning.is_some_and(|warning| warning.is_severe());
    Ok(QuicSocket { endpoint, small_buffers, hearing: Arc::new(Hearing::new(Instant::now())) })
}

/// The address that the kernel would send from: it names the network. Connecting a UDP socket sends nothing.
fn local_address_towards(remote: SocketAddr) -> IpAddr {
    let unspecified: IpAddr =
        if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let local = || {
        let socket = UdpSocket::bind((unspecified, 0))?;
        socket.connect(remote)?;
        socket.local_addr()
    };
    local().map_or(unspecified, |addr| addr.ip())
}

fn named(carrier: Carrier, error: AttemptError) -> AttemptError {
    match error {
        AttemptError::Failed(cause) => AttemptError::Failed(format!("{}: {cause}", carrier.name())),
        other => other,
    }
}

/// Joins two carriers' failures: a wrong key is worth more than a missing service, and that more than silence.
fn joined(one: AttemptError, other: AttemptError) -> AttemptError {
    match (one, other) {
        (AttemptError::Key(seen), _) | (_, AttemptError::Key(seen)) => AttemptError::Key(seen),
        (AttemptError::Failed(a), AttemptError::Failed(b)) => AttemptError::Failed(format!("{a}; {b}")),
        _ => AttemptError::NotOffered,
    }
}

/// The failure that says most, of all addresses.
fn worst(failures: Vec<(Goal, AttemptError)>) -> DialError {
    let key = failures.iter().find_map(|(goal, error)| match error {
        AttemptError::Key(seen) => Some((goal, *seen)),
        _ => None,
    });
    if let Some((goal, seen)) = key {
        let address = goal.host.clone();
        return match goal.key {
            Some(pinned) => DialError::WrongKey { address, seen, pinned },
            None => DialError::UnknownKey { address, seen },
        };
    }
    if let Some((goal, _)) = failures.iter().find(|(_, error)| *error == AttemptError::NotOffered) {
        return DialError::NotOffered { address: goal.host.clone(), alpn: goal.alpn.clone() };
    }
    let causes: Vec<_> = failures.iter().map(|(goal, error)| format!("{} ({error})", goal.addr)).collect();
    DialError::Unreachable(causes.join("; "))
}
