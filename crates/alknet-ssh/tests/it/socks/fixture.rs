//! A proxy that reaches out from this machine, and what it is asked for.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use alknet_ssh::{Proxy, Reach, ReachError, Target, TargetHost, UdpTunnels};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Connects from here, unless it is told to fail, and keeps what it was asked for.
#[derive(Clone, Default)]
pub struct Here {
    pub asked: Arc<Mutex<Vec<Target>>>,
    pub fails: Option<ReachError>,
    /// Waits for ever instead, and cancels this when it is told to give up.
    pub waits: Option<CancellationToken>,
}

impl Reach for Here {
    type Stream = TcpStream;
    async fn reach(&self, target: &Target, _origin: SocketAddr) -> Result<TcpStream, ReachError> {
        self.asked.lock().unwrap().push(target.clone());
        if let Some(error) = self.fails {
            return Err(error);
        }
        if let Some(given_up) = &self.waits {
            let _guard = given_up.clone().drop_guard();
            return std::future::pending().await;
        }
        let host = target.host.to_string();
        TcpStream::connect((host.as_str(), target.port)).await.map_err(|_| ReachError::Refused)
    }
}

/// A proxy on a port of its own, until it is dropped.
pub struct Running {
    pub addr: SocketAddr,
    pub here: Here,
    pub refused: Arc<Mutex<Vec<(Target, ReachError)>>>,
    _tasks: JoinSet<()>,
}

impl Running {
    pub async fn start() -> Self {
        Self::with(Here::default(), None).await
    }

    pub async fn failing(error: ReachError) -> Self {
        Self::with(Here { fails: Some(error), ..Here::default() }, None).await
    }

    pub async fn with(here: Here, udp: Option<UdpTunnels>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, refused) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<_>>>::default());
        let told = refused.clone();
        let tell = Box::new(move |target: &Target, error| told.lock().unwrap().push((target.clone(), error)));
        let proxy = Proxy::new(here.clone(), udp, tell);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { proxy.serve(&listener).await });
        Self { addr, here, refused, _tasks: tasks }
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// Says something, and takes everything that is answered until the proxy hangs up.
    pub async fn exchange(&self, said: &[u8]) -> Vec<u8> {
        let mut io = self.connect().await;
        io.write_all(said).await.unwrap();
        rest_of(&mut io).await
    }
}

/// Everything until the other end hangs up.
pub async fn rest_of(io: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    timeout(PATIENCE, io.read_to_end(&mut rest)).await.expect("an end").unwrap();
    rest
}

pub async fn read_exactly<const N: usize>(io: &mut TcpStream) -> [u8; N] {
    let mut bytes = [0; N];
    timeout(PATIENCE, io.read_exact(&mut bytes)).await.expect("an answer").unwrap();
    bytes
}

/// Greeting and CONNECT in SOCKS5.
pub fn connect_request(to: &Target) -> Vec<u8> {
    request(1, to)
}

pub fn request(command: u8, to: &Target) -> Vec<u8> {
    let mut bytes = vec![5, 1, 0, 5, command, 0];
    to.write(&mut bytes);
    bytes
}

pub fn name(host: &str, port: u16) -> Target {
    Target { host: TargetHost::name(host.as_bytes()).unwrap(), port }
}

/// Answers each connection with everything that it says, once that has ended.
pub async fn echo_at_the_end(tasks: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tasks.spawn(async move {
        loop {
            let (mut io, _) = listener.accept().await.unwrap();
            let said = rest_of(&mut io).await;
            io.write_all(&said).await.unwrap();
        }
    });
    addr
}
