//! The SSH library's callbacks, wrapped once: each decides at once and hands the work to the channel's task.

use std::{collections::HashMap, net::SocketAddr, os::fd::OwnedFd, sync::Arc};

use alknet_core::{PeerAddr, SessionGuard};
use russh::{
    Channel, ChannelId, ChannelOpenFailure, Error, Sig,
    keys::Certificate,
    server::{Auth, ChannelOpenHandle, Handle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey},
};
use rustix::{process::Signal, termios::Winsize};
use tokio::{io::duplex, sync::oneshot, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    SshConfig, Subsystems,
    channel::{self, Surroundings, Work},
    environment::ClientEnv,
    forward::{self, AgentSocket, Asking, Home, Listeners, Target},
    greeting::as_sent,
    limits::{MAX_TERM_BYTES, SUBSYSTEM_BUFFER_BYTES},
    login::{Login, LoginGate, Right},
    pressure::{ChannelKind, OpenChannel, Pressure},
    process::{Launch, SignalTarget},
    pty::{Pty, TerminalRequest},
};

/// One client's connection.
pub(crate) struct ClientSession {
    config: Arc<SshConfig>,
    login: Login,
    addr: PeerAddr,
    local: Option<SocketAddr>,
    life: CancellationToken,
    stopping: CancellationToken,
    proven: Option<oneshot::Sender<SessionGuard>>,
    channels: HashMap<ChannelId, OpenedChannel>,
    tasks: TaskTracker,
    listeners: Listeners,
    pressure: Arc<Pressure>,
    subsystems: Arc<Subsystems>,
}

/// What is known of a channel here; the rest is its task's.
struct OpenedChannel {
    env: ClientEnv,
    pty: Option<Arc<Pty>>,
    slave: Option<OwnedFd>,
    /// Whether its processes may use the client's agent.
    agent: bool,
    start: Option<oneshot::Sender<Work>>,
    signals: SignalTarget,
    task: JoinHandle<()>,
}

/// What a connection is made of.
pub(crate) struct Parts {
    pub(crate) config: Arc<SshConfig>,
    pub(crate) gate: Arc<LoginGate>,
    pub(crate) addr: PeerAddr,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) life: CancellationToken,
    pub(crate) stopping: CancellationToken,
    /// Of the server's session channels, each of which sees its process to its end.
    pub(crate) tasks: TaskTracker,
    pub(crate) pressure: Arc<Pressure>,
    pub(crate) subsystems: Arc<Subsystems>,
}

impl ClientSession {
    /// Makes the session; the guard comes out of the receiver once a key is proven.
    pub(crate) fn new(parts: Parts) -> (Self, oneshot::Receiver<SessionGuard>) {
        let (proven, guard) = oneshot::channel();
        let Parts { config, gate, addr, local, life, stopping, tasks, pressure, subsystems } = parts;
        let session = Self {
            config,
            login: Login::new(gate, addr),
            addr,
            local,
            life,
            stopping,
            proven: Some(proven),
            channels: HashMap::new(),
            tasks,
            listeners: Listeners::default(),
            pressure,
            subsystems,
        };
        (session, guard)
    }

    /// Takes a place for another channel.
    fn enter(&mut self, kind: ChannelKind) -> Option<OpenChannel> {
        if self.stopping.is_cancelled() {
            return None;
        }
        let limits = &self.config.limits;
        let max = match kind {
            ChannelKind::Session => limits.max_channels,
            ChannelKind::Forward => limits.max_forwards,
        };
        self.pressure.open_channel(kind, max)
    }

    /// What a channel's task needs from here.
    fn surroundings(&self) -> Surroundings {
        let limits = &self.config.limits;
        Surroundings {
            life: self.life.clone(),
            stopping: self.stopping.clone(),
            pressure: self.pressure.clone(),
            stall_timeout: limits.stall_timeout,
            hangup_grace: limits.hangup_grace,
            max_forwards: limits.max_forwards,
        }
    }

    /// Connects the client to something, in a task of its own.
    async fn forward(&mut self, target: Target, channel: Channel<Msg>, reply: ChannelOpenHandle, handle: Handle) {
        let Some(open) = self.enter(ChannelKind::Forward) else {
            return reply.reject(ChannelOpenFailure::ResourceShortage).await;
        };
        // Nobody opens a channel before a key was proven.
        let Some(asking) = self.asking() else { return };
        tokio::spawn(forward::open(target, asking, channel, reply, self.home(handle), open));
    }

    fn asking(&self) -> Option<Asking> {
        self.login.asking(self.config.forward.clone())
    }

    /// Who asks for a listener, unless there are to be none any more.
    fn asking_for_more(&self) -> Option<Asking> {
        self.asking().filter(|_| !self.stopping.is_cancelled())
    }

    fn home(&self, handle: Handle) -> Home {
        Home { handle, around: self.surroundings() }
    }

    /// Opens the socket that leads to the client's agent, if it was asked for.
    fn open_agent(&self, id: ChannelId, session: &Session) -> Option<AgentSocket> {
        self.channels.get(&id).filter(|channel| channel.agent)?;
        AgentSocket::open(self.home(session.handle()))
            .inspect_err(|error| tracing::warn!(%error, "no agent for an ssh session"))
            .ok()
    }

    /// Starts a process on a channel; answers whether it was allowed to.
    fn start(&mut self, id: ChannelId, right: Right, command: Option<Vec<u8>>, session: &Session) -> bool {
        if self.channels.get(&id).is_none_or(|channel| channel.start.is_none()) {
            return false;
        }
        if command.as_ref().is_some_and(|line| line.contains(&0)) {
            return false;
        }
        let Some(permit) = self.login.authorize(right) else { return false };
        let agent = self.open_agent(id, session);
        let Some(channel) = self.channels.get_mut(&id) else { return false };
        let options = self.login.options();
        let (command, original_command) = match &options.command {
            Some(forced) => (Some(forced.clone()), command),
            None => (command, None),
        };
        let mut env = std::mem::take(&mut channel.env);
        env.prefer(&self.config.env_allow, &options.environment);
        let launch = Box::new(Launch {
            right,
            command,
            original_command,
            config: self.config.clone(),
            users: self.login.users(),
            env,
            addr: self.addr,
            local: self.local,
            terminal: channel.pty.clone().zip(channel.slave.take()),
            agent,
        });
        channel.start.take().is_some_and(|start| start.send(Work::Process { launch, permit }).is_ok())
    }

    /// Joins a channel to a subsystem; answers whether there is one that the client may have.
    fn start_subsystem(&mut self, id: ChannelId, name: &str, session: &Session) -> bool {
        let Some(channel) = self.channels.get_mut(&id).filter(|channel| channel.start.is_some()) else { return false };
        if self.login.options().command.is_some() {
            // What the key's line has run speaks the subsystem's protocol, or not.
            return self.start(id, Right::Exec, Some(name.as_bytes().to_vec()), session);
        }
        let Some(subsystem) = self.subsystems.get(name).cloned() else { return false };
        let Some((caller, permit)) = self.login.authorize_subsystem(name, subsystem.scope()) else { return false };
        let (near, far) = duplex(SUBSYSTEM_BUFFER_BYTES);
        // In the channel's task from its first call on: should it panic, nothing else is harmed.
        let serving = Box::pin(async move { subsystem.serve(caller, permit, far).await });
        channel.start.take().is_some_and(|start| start.send(Work::Subsystem { serving, near }).is_ok())
    }

    fn open_terminal(&mut self, id: ChannelId, request: &TerminalRequest<'_>) -> bool {
        if !self.login.options().pty {
            return false;
        }
        let wanted = self.channels.get_mut(&id).filter(|channel| channel.start.is_some() && channel.pty.is_none());
        let Some(channel) = wanted else { return false };
        let printable = request.term.bytes().all(|b| b.is_ascii_graphic());
        if !printable || request.term.len() > MAX_TERM_BYTES {
            return false;
        }
        match Pty::open(request) {
            Ok((pty, slave)) => {
                (channel.pty, channel.slave) = (Some(Arc::new(pty)), Some(slave));
                true
            }
            Err(error) => {
                tracing::warn!(%error, "no terminal for an ssh session");
                false
            }
        }
    }
}

impl ClientSession {
    /// Hands the session's entry to whoever serves the connection.
    fn begin(&mut self, guard: Option<SessionGuard>) -> Result<Auth, Error> {
        let Some(guard) = guard else { return Ok(Auth::reject()) };
        match self.proven.take().map(|proven| proven.send(guard)) {
            Some(Ok(())) => Ok(Auth::Accept),
            // Whoever serves the connection has given it up.
            _ => Err(Error::Disconnect),
        }
    }
}

fn answer(session: &mut Session, id: ChannelId, granted: bool) -> Result<(), Error> {
    if granted { session.channel_success(id) } else { session.channel_failure(id) }
}

fn size(columns: u32, rows: u32, width: u32, height: u32) -> Winsize {
    let short = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
    Winsize { ws_row: short(rows), ws_col: short(columns), ws_xpixel: short(width), ws_ypixel: short(height) }
}

fn signal_of(name: &Sig) -> Option<Signal> {
    Some(match name {
        Sig::ABRT => Signal::ABORT,
        Sig::ALRM => Signal::ALARM,
        Sig::FPE => Signal::FPE,
        Sig::HUP => Signal::HUP,
        Sig::ILL => Signal::ILL,
        Sig::INT => Signal::INT,
        Sig::KILL => Signal::KILL,
        Sig::PIPE => Signal::PIPE,
        Sig::QUIT => Signal::QUIT,
        Sig::SEGV => Signal::SEGV,
        Sig::TERM => Signal::TERM,
        Sig::USR1 => Signal::USR1,
        Sig::Custom(name) if name == "USR2" => Signal::USR2,
        Sig::Custom(_) => return None,
    })
}

impl Handler for ClientSession {
    type Error = Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, Error> {
        Ok(self.config.banner.as_deref().map(as_sent))
    }

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Error> {
        let accepted = self.login.would_accept(user, offer.public_key, offer.algorithm);
        Ok(if accepted { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Error> {
        let guard = self.login.prove(user, key.public_key, key.algorithm);
        self.begin(guard)
    }

    async fn auth_openssh_certificate(&mut self, user: &str, certificate: &Certificate) -> Result<Auth, Error> {
        let guard = self.login.prove_certified(user, certificate);
        self.begin(guard)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Error> {
        // The library never says that a channel is gone when this side closed it first.
        self.channels.retain(|_, channel| !channel.task.is_finished());
        let Some(open) = self.enter(ChannelKind::Session) else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        let (id, (start, work)) = (channel.id(), oneshot::channel());
        let signals = SignalTarget::default();
        let around = self.surroundings();
        reply.accept().await;
        let task = self.tasks.spawn(channel::serve(channel, session.handle(), work, signals.clone(), around, open));
        let (env, start) = (ClientEnv::default(), Some(start));
        self.channels.insert(id, OpenedChannel { env, pty: None, slave: None, agent: false, start, signals, task });
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _from: &str,
        _from_port: u32,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Error> {
        self.forward(Target::Tcp(host.to_owned(), port), channel, reply, session.handle()).await;
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Error> {
        self.forward(Target::Unix(path.to_owned()), channel, reply, session.handle()).await;
        Ok(())
    }

    async fn tcpip_forward(&mut self, host: &str, port: &mut u32, session: &mut Session) -> Result<bool, Error> {
        let Some(asking) = self.asking_for_more() else { return Ok(false) };
        let home = self.home(session.handle());
        let listening = self.listeners.listen_tcp(&asking, host, *port, home).await;
        Ok(listening.inspect(|opened| *port = *opened).is_ok())
    }

    async fn cancel_tcpip_forward(&mut self, host: &str, port: u32, _session: &mut Session) -> Result<bool, Error> {
        Ok(self.listeners.cancel_tcp(host, port).await)
    }

    async fn streamlocal_forward(&mut self, path: &str, session: &mut Session) -> Result<bool, Error> {
        let Some(asking) = self.asking_for_more() else { return Ok(false) };
        let home = self.home(session.handle());
        Ok(self.listeners.listen_unix(&asking, path, home).await.is_ok())
    }

    async fn cancel_streamlocal_forward(&mut self, path: &str, _session: &mut Session) -> Result<bool, Error> {
        Ok(self.listeners.cancel_unix(path).await)
    }

    async fn agent_request(&mut self, id: ChannelId, _session: &mut Session) -> Result<bool, Error> {
        let allowed = self.login.options().agent_forwarding;
        let channel = self.channels.get_mut(&id).filter(|channel| allowed && channel.start.is_some());
        Ok(channel.map(|channel| channel.agent = true).is_some())
    }

    fn adjust_window(&mut self, _id: ChannelId, _current: u32) -> u32 {
        self.pressure.window()
    }

    async fn channel_close(&mut self, id: ChannelId, _session: &mut Session) -> Result<(), Error> {
        self.channels.remove(&id);
        Ok(())
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        // A process that runs has its environment.
        let channel = self.channels.get_mut(&id).filter(|channel| channel.start.is_some());
        let taken = channel.is_some_and(|channel| channel.env.set(&self.config.env_allow, name, value));
        answer(session, id, taken)
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        modes: &[(russh::Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Error> {
        let request = TerminalRequest { term, size: size(columns, rows, width, height), modes };
        let opened = self.open_terminal(id, &request);
        answer(session, id, opened)
    }

    async fn window_change_request(
        &mut self,
        id: ChannelId,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        session: &mut Session,
    ) -> Result<(), Error> {
        let pty = self.channels.get(&id).and_then(|channel| channel.pty.as_ref());
        let resized = pty.is_some_and(|pty| pty.resize(size(columns, rows, width, height)).is_ok());
        answer(session, id, resized)
    }

    async fn exec_request(&mut self, id: ChannelId, command: &[u8], session: &mut Session) -> Result<(), Error> {
        let started = self.start(id, Right::Exec, Some(command.to_vec()), session);
        answer(session, id, started)
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Error> {
        let started = self.start(id, Right::Shell, None, session);
        answer(session, id, started)
    }

    async fn subsystem_request(&mut self, id: ChannelId, name: &str, session: &mut Session) -> Result<(), Error> {
        let started = self.start_subsystem(id, name, session);
        answer(session, id, started)
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        _single_connection: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), Error> {
        answer(session, id, false)
    }

    async fn signal(&mut self, id: ChannelId, name: Sig, session: &mut Session) -> Result<(), Error> {
        let target = self.channels.get(&id).zip(signal_of(&name));
        if let Some((channel, signal)) = target {
            channel.signals.send(signal);
        }
        answer(session, id, target.is_some())
    }
}
