//! The door: each stream becomes one SSH connection, watched until it ends.

use std::{future::Future, panic::resume_unwind, pin::pin, sync::Arc, time::Duration};

use alknet_core::{
    Alpn, Authorizer, Connection, IdentityProvider, KillSwitch, Offence, Peer, PerStream, ProtocolHandler, ServeError,
    SessionGuard, Sessions, Stream, StreamHandler,
};
use arc_swap::ArcSwap;
use russh::server;
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    HostCertificate, LiveSessions, SshConfig, Subsystems, algorithms,
    config::library_config,
    limits::ENDING_TIME,
    live::{Meter, Metered},
    login::LoginGate,
    pressure::Pressure,
    revocation::Revocations,
    session::{ClientSession, Parts},
    waiting_room::{Place, WaitingRoom},
    wire::Wire,
};

/// The service's name.
pub const SSH: Alpn = Alpn::from_static(b"alknet/ssh");
/// The name that other SSH tools use for the same thing.
pub const SSH_ALIAS: Alpn = Alpn::from_static(b"ssh");
/// Log targets whose lines quote what a peer sent, unescaped: whoever sets up logging switches them off.
pub const PEER_CONTROLLED_LOG_TARGETS: &[&str] = &["russh", "ssh_key", "ssh_encoding"];

/// How often a stopping connection looks whether it still has channels.
const STOP_TICK: Duration = Duration::from_millis(100);

/// Serves SSH-2 on every stream it is given.
pub struct SshServer(PerStream<Door>);

struct Door {
    setup: ArcSwap<Setup>,
    gate: Arc<LoginGate>,
    waiting: Arc<WaitingRoom>,
    live: LiveSessions,
    subsystems: Arc<Subsystems>,
    stopping: CancellationToken,
    /// Of session channels.
    tasks: TaskTracker,
}

/// What a connection is served by; connections keep the one they began with.
struct Setup {
    config: Arc<SshConfig>,
    library: Arc<server::Config>,
}

impl Setup {
    fn new(config: SshConfig) -> Self {
        Self { library: Arc::new(library_config(&config)), config: Arc::new(config) }
    }
}

impl SshServer {
    /// Makes the server of one node; its sessions are found in `live`.
    pub fn new(
        config: SshConfig,
        identities: Arc<dyn IdentityProvider>,
        authorizer: Authorizer,
        sessions: Sessions,
        live: LiveSessions,
        subsystems: Subsystems,
    ) -> Arc<Self> {
        let (system_user, users) = (config.system_user.clone(), ArcSwap::from_pointee(config.users.clone()));
        let waiting = WaitingRoom::new(config.limits.max_unauthenticated);
        let (revocations, now) = (Arc::new(Revocations::default()), config.clock);
        revocations.set_path(config.revoked_keys.clone());
        let gate = Arc::new(LoginGate { identities, authorizer, sessions, system_user, users, revocations, now });
        let setup = ArcSwap::from_pointee(Setup::new(config));
        let subsystems = Arc::new(subsystems);
        let (stopping, tasks) = (CancellationToken::new(), TaskTracker::new());
        let door = Door { setup, gate, waiting, live, subsystems, stopping, tasks };
        Arc::new(Self(PerStream(Arc::new(door))))
    }

    /// Serves new connections by another configuration; those that are there go on as they are, but sessions of whom another user is
    /// configured for now end. The number of clients that have not proven a key stays what it was, and so does the name of the system's user.
    pub fn set_config(&self, config: SshConfig) {
        self.0.0.gate.set_users(config.users.clone());
        self.0.0.gate.revocations.set_path(config.revoked_keys.clone());
        self.0.0.setup.store(Arc::new(Setup::new(config)));
    }
}

impl SshServer {
    /// Shows new clients this certificate of the host key.
    pub fn set_host_certificate(&self, certificate: HostCertificate) {
        // Whatever else is configured meanwhile stays.
        self.0.0.setup.rcu(|setup| {
            Setup::new(SshConfig { host_certificate: Some(certificate.clone()), ..SshConfig::clone(&setup.config) })
        });
    }

    /// Waits until the processes of all sessions are gone, for at most [`ENDING_TIME`]. For a server that is stopping and whose connections were
    /// dropped: a process that takes no hint is killed a moment later, by a task that must not end first.
    pub async fn ended(&self) {
        let tasks = &self.0.0.tasks;
        tasks.close();
        if timeout(ENDING_TIME, tasks.wait()).await.is_err() {
            tracing::warn!(left = tasks.len(), "processes of ssh sessions are left behind");
        }
    }

    /// For fuzzing only.
    pub(crate) fn speak_in_clear(&self) {
        let config = self.0.0.setup.load().config.clone();
        let library = server::Config { preferred: algorithms::none(), ..library_config(&config) };
        self.0.0.setup.store(Arc::new(Setup { config, library: Arc::new(library) }));
    }
}

impl ProtocolHandler for SshServer {
    async fn serve(&self, connection: Connection) -> Result<(), ServeError> {
        self.0.serve(connection).await
    }
    /// Refuses new connections and channels; connections without a channel end, the others go on until they are done or dropped.
    async fn shutdown(&self) {
        self.0.0.stopping.cancel();
    }
}

impl StreamHandler for Door {
    async fn serve_stream(&self, peer: &Arc<Peer>, stream: Stream) -> Result<(), ServeError> {
        if self.stopping.is_cancelled() {
            return Ok(());
        }
        let setup = self.setup.load_full();
        let place = self.waiting.enter();
        // Whatever ends this future ends everything that hangs on the connection.
        let life = CancellationToken::new();
        let _ends = life.clone().drop_guard();
        let pressure = Arc::new(Pressure::default());
        let (session, proven) = ClientSession::new(Parts {
            config: setup.config.clone(),
            gate: self.gate.clone(),
            addr: peer.addr,
            local: peer.local,
            life: life.clone(),
            stopping: self.stopping.clone(),
            tasks: self.tasks.clone(),
            pressure: pressure.clone(),
            subsystems: self.subsystems.clone(),
        });
        let meter = Arc::new(Meter::default());
        let wire = Metered::new(Wire::new(stream, life.clone(), pressure.clone()), meter.clone());
        let wire = KillSwitch::new(wire, &life);
        let serving = async {
            let running = server::run_stream(setup.library.clone(), wire, session).await?;
            running.await
        };
        let mut serving = pin!(serving);
        let grace = setup.config.limits.login_grace;
        let Some(guard) = until_proven(serving.as_mut(), proven, &place, grace).await? else { return Ok(()) };
        drop(place);
        let _entered = self.live.enter(&guard, pressure.clone(), meter);
        tokio::select! {
            ended = serving => quietly(ended),
            () = life.cancelled() => Ok(()),
            () = guard.token().cancelled() => {
                tracing::info!(addr = %peer.addr, "ssh session ended: its rights were taken away, or it was told to end");
                Ok(())
            }
            () = self.stopped(&pressure) => Ok(()),
        }
    }

    async fn shutdown(&self) {
        self.stopping.cancel();
    }
}

impl Door {
    /// Waits until the node is stopping and the connection has no channel.
    async fn stopped(&self, pressure: &Pressure) {
        self.stopping.cancelled().await;
        while pressure.channels() > 0 {
            sleep(STOP_TICK).await;
        }
    }
}

/// Lets a stranger try; `None` when its time or its place is gone, or the connection has ended.
async fn until_proven(
    serving: impl Future<Output = Result<(), russh::Error>>,
    proven: oneshot::Receiver<SessionGuard>,
    place: &Place,
    grace: Duration,
) -> Result<Option<SessionGuard>, ServeError> {
    tokio::select! {
        biased;
        Ok(guard) = proven => Ok(Some(guard)),
        ended = serving => quietly(ended).map(|()| None),
        () = sleep(grace) => {
            Err(ServeError::offence(Offence::NoAuthentication, "no key was proven in time"))
        }
        () = place.displaced() => Err(ServeError::MadeRoom("displaced by a newer client before a key was proven")),
    }
}

/// Whose fault the end of a connection was. None of the library's words about the peer are passed on: they quote it.
fn quietly(ended: Result<(), russh::Error>) -> Result<(), ServeError> {
    match ended {
        Ok(()) | Err(russh::Error::Disconnect | russh::Error::HUP) => Ok(()),
        Err(russh::Error::IO(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(()),
        Err(russh::Error::IO(error)) => Err(error.into()),
        // The library serves in a task of its own. Its panic is this one's: it costs the connection, and is counted.
        Err(russh::Error::Join(_)) => resume_unwind(Box::new("an SSH session panicked")),
        Err(russh::Error::InactivityTimeout | russh::Error::KeepaliveTimeout) => {
            Err(ServeError::Lost("silent for too long".into()))
        }
        // An old client, and nothing to hold against anybody.
        Err(russh::Error::NoCommonAlgo { .. }) => Err(ServeError::Lost("no algorithm in common".into())),
        Err(_) => Err(ServeError::misbehaved("broke the SSH protocol")),
    }
}

#[cfg(test)]
mod tests;
