//! A node that serves: from the lock on its data folder to the last flush.

use std::{io, sync::Arc, time::Duration};

use alknet_core::{Maintenance, Ticket};
use alknet_net::{Endpoint, EndpointConfig, NodeCredentials};
use alknet_ssh::{Recordings, SSH};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    assemble::{Node, assemble},
    config::{Change, Loaded, Sources, diff},
    control::{NodeControl, Reloaded, Serving},
    data_folder::{DataFolder, Lock},
    failure::{Failure, Kind},
    identity::NodeIdentity,
    logging::LogLevel,
    settings,
    shared_config::SharedConfig,
};

/// How often rows that nobody needs any more are thrown away.
const JANITOR_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// A node that listens.
pub struct RunningNode {
    node: Node,
    endpoint: Endpoint,
    config: SharedConfig,
    control: NodeControl,
    reloads: mpsc::Receiver<oneshot::Sender<Reloaded>>,
    data: DataFolder,
    identity: NodeIdentity,
    log: LogLevel,
    ticket: Ticket,
    signals: Signals,
    /// Writes penalties down as they come.
    saver: JoinHandle<()>,
    _lock: Lock,
}

/// The signals that a node acts on.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes them over; until then the system's default ends the process.
    fn take() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

impl RunningNode {
    /// Starts to listen; the caller has taken the folder's lock and opened the identity.
    pub async fn start(
        data: &DataFolder,
        lock: Lock,
        identity: &NodeIdentity,
        sources: Sources,
        loaded: Loaded,
        log: LogLevel,
    ) -> Result<Self, Failure> {
        let listen = loaded.config().node.listen.resolve().map_err(|error| {
            Failure::caused_by(Kind::Usage, &error)
                .while_doing(format_args!("cannot listen on {}", loaded.config().node.listen))
        })?;
        // Before anybody is told that the node serves: who hears of it may send one at once.
        let signals = Signals::take()?;
        let certificate = settings::web_certificate(loaded.config(), data)?;
        let config = SharedConfig::new(sources, loaded);
        let (control, reloads) = NodeControl::new();
        let node = assemble(data, identity, &config, &control).await?;
        let current = config.current();
        let endpoint_config = EndpointConfig {
            listen,
            plain_ssh: current.config().gate.plain_ssh.then_some(SSH),
            public_url: current.config().gate.public_url.clone(),
            gate: node.gate.clone(),
        };
        let credentials = NodeCredentials::new(Arc::new(identity.clone()))?;
        let (router, identities, sessions) = (node.router.clone(), node.identities.clone(), node.sessions.clone());
        let endpoint = Endpoint::bind(endpoint_config, router, identities, sessions, &credentials, certificate).await?;
        node.forward.set_own_port(endpoint.local_addr().port());
        endpoint.listen_locally(&data.control_socket())?;
        let saver = tokio::spawn(node.gate.clone().keep_saving());
        let ticket =
            Ticket::new(identity.node_key(), settings::own_addresses(config.current().config(), endpoint.local_addr()));
        control.set_serving(Serving {
            listens: endpoint.listens().to_vec(),
            router: node.router.clone(),
            udp_warning: endpoint.udp_warning().map(|warning| warning.to_string()),
        });
        control.set_ticket(&ticket);
        let data = data.clone();
        Ok(Self {
            node,
            endpoint,
            config,
            control,
            reloads,
            data,
            identity: identity.clone(),
            log,
            ticket,
            signals,
            saver,
            _lock: lock,
        })
    }

    /// The port that was chosen.
    pub fn port(&self) -> u16 {
        self.endpoint.local_addr().port()
    }

    /// What another node pastes.
    pub const fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// Serves until a signal or an operation says to stop; then stops in order.
    pub async fn run(mut self) -> Result<(), Failure> {
        let mut janitor = tokio::time::interval(JANITOR_INTERVAL);
        loop {
            tokio::select! {
                Some(()) = self.signals.interrupt.recv() => break,
                Some(()) = self.signals.terminate.recv() => break,
                () = self.control.stopped() => break,
                Some(()) = self.signals.hangup.recv() => self.reload_and_log(),
                Some(answer) = self.reloads.recv() => {
                    let _caller_left = answer.send(self.reload());
                }
                _ = janitor.tick() => self.tidy_up().await,
            }
        }
        self.stop().await;
        Ok(())
    }

    /// Stops: nothing new, handlers told, drained, closed, sessions' processes ended, files closed, flushed. A second Ctrl-C skips the waiting.
    async fn stop(mut self) {
        let drain = self.config.current().config().node.drain_timeout;
        tracing::info!(drain_s = drain.as_secs_f32(), "stopping");
        tokio::select! {
            () = self.endpoint.shutdown(drain) => {}
            Some(()) = self.signals.interrupt.recv() => self.endpoint.shutdown(Duration::ZERO).await,
        }
        self.node.ssh.ended().await;
        self.node.heads.stop().await;
        self.saver.abort();
        if let Err(error) = self.node.gate.save().await {
            tracing::warn!(%error, "the last penalties are forgotten");
        }
        self.node.files.close().await;
        self.node.store.close();
        let _already_gone = std::fs::remove_file(self.data.control_socket());
        tracing::info!("stopped");
    }

    async fn tidy_up(&self) {
        let names = settings::host_names(self.config.current().config(), &self.identity);
        match self.identity.ssh_host_certificate(&names) {
            Ok(certificate) => self.node.ssh.set_host_certificate(certificate),
            Err(error) => tracing::error!(%error, "the certificate of the SSH host key was not renewed"),
        }
        let (task, store) = (Maintenance::of("janitor"), &self.node.store);
        self.node.gate.tidy();
        let done = [
            store.audit().prune(&task).await.err().map(|error| error.to_string()),
            store.tokens().prune(&task).await.err().map(|error| error.to_string()),
            store.outcomes().prune(&task).await.err().map(|error| error.to_string()),
            store.events().prune(&task).await.err().map(|error| error.to_string()),
            store.queues().prune(&task).await.err().map(|error| error.to_string()),
        ];
        let (recordings, limits) =
            (Recordings::at(self.data.recordings()), self.config.current().config().ssh.recording_limits());
        let pruned = tokio::task::spawn_blocking(move || recordings.prune(&task, &limits)).await;
        if let Ok(Err(error)) = pruned {
            tracing::warn!(%error, "old recordings were not thrown away");
        }
        for error in done.into_iter().flatten() {
            tracing::warn!(%error, "old rows were not thrown away");
        }
    }

    fn reload_and_log(&self) {
        match self.reload() {
            Ok(changes) if changes.is_empty() => tracing::info!("reload: nothing changed"),
            Ok(changes) => {
                for change in changes {
                    tracing::info!("reload: {change}");
                }
            }
            Err(problem) => tracing::error!(%problem, "reload refused; the old configuration stays in force"),
        }
    }

    /// Reads the configuration again, checks all of it, and only then puts it in force.
    fn reload(&self) -> Reloaded {
        let loaded = self.config.read().map_err(|error| error.to_string())?;
        let changes: Vec<Change> = diff(&self.config.current(), &loaded);
        let roles = loaded.config().roles().map_err(|error| error.to_string())?;
        self.node.store.check_roles(&roles).map_err(|error| error.to_string())?;
        let forward = self.node.forward.clone();
        let ssh = settings::ssh(loaded.config(), &self.identity, &self.data, forward)
            .map_err(|failure| failure.to_string())?;
        let http = settings::http(loaded.config()).map_err(|failure| failure.to_string())?;
        let certificate =
            settings::web_certificate(loaded.config(), &self.data).map_err(|failure| failure.to_string())?;
        self.node.store.set_roles(roles);
        self.node.store.set_audit_rows(loaded.config().audit.rows());
        self.node.forward.set_rules(loaded.config().ssh.forward.clone());
        self.node.ssh.set_config(ssh);
        self.node.http.set_config(http);
        self.node.gate.set_exempt(loaded.config().gate.exempt.clone());
        self.node.routes.set_balance(loaded.config().workers.balance);
        self.node.verifier.set_max_lifetime(loaded.config().tokens.max_lifetime);
        self.endpoint.set_web_certificate(certificate);
        self.log.set(&loaded.config().log);
        let reachable = settings::own_addresses(loaded.config(), self.endpoint.local_addr());
        self.control.set_ticket(&Ticket::new(self.ticket.key(), reachable));
        self.config.swap(loaded);
        Ok(changes)
    }
}
