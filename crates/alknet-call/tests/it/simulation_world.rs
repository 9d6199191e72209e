//! The hosts of a simulated world: they start, serve, stop and crash.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use alknet_call::{
    Authenticator, Backoff, CALL, CallClient, CallError, CallFilter, CallHandler, CallStatus, HeadState,
    OFFER_OPERATION, OFFER_SCOPE, Operation, ReconnectingClient, Registry, stay,
};
use alknet_core::{
    Authorizer, Begun, BoxFuture, CallJournal, Caller, Carrier, Connection, CredentialVerifier, Identity, JournalError,
    OutcomeKey, PeerAddr, ProtocolHandler, ResourceGrants, Sessions, Standing,
};
use alknet_testkit::{
    identities::{KeptAudit, TestIdentities, peer_with_key},
    simulation::Chance,
    virtual_network::{Dialling, VirtualNetwork, Weather},
};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use super::{
    node::{NOW, credential, key},
    simulation_ledger::Ledger,
    simulation_monitor::Monitor,
    simulation_operations::operations,
};

/// The head's name and the seed of its keys.
pub const HEAD: (&str, u8) = ("head", 1);
/// The workers' names and the seeds of their keys.
pub const WORKERS: [(&str, u8); 3] = [("worker-1", 11), ("worker-2", 12), ("worker-3", 13)];
/// The clients' first seed.
pub const FIRST_CLIENT: u8 = 21;
/// How many clients there are.
pub const CLIENTS: u8 = 5;
/// A host that stops has ended everything after this time.
const STOPPED: Duration = Duration::from_secs(120);

/// A name for the client of a seed.
pub fn client_name(seed: u8) -> String {
    format!("client-{seed}")
}

/// What the hosts of a world share. Clones are the same world.
#[derive(Clone)]
pub struct World {
    pub ledger: Ledger,
    pub network: VirtualNetwork,
    pub chance: Chance,
    /// Whether somebody calls things off and takes rights away in this world.
    pub ruled: bool,
    identities: Arc<TestIdentities>,
    /// Counts how often the rights of anybody were taken away.
    revoked: Arc<AtomicU64>,
    journal: Arc<Disk>,
}

impl World {
    pub fn new(seed: u64, verbose: bool) -> Self {
        let (chance, ledger) = (Chance::new(seed), Ledger::new(verbose));
        let monitor = Arc::new(Monitor::new(ledger.clone()));
        let network = VirtualNetwork::tapped(chance.fork(), Weather::default(), monitor);
        let journal = Arc::new(Disk { chance: chance.fork(), kept: Mutex::default() });
        let (identities, revoked, ruled) = (Arc::default(), Arc::default(), chance.per_mille(300));
        let world = Self { ledger, network, chance, ruled, identities, revoked, journal };
        (FIRST_CLIENT..FIRST_CLIENT + CLIENTS).for_each(|seed| world.know_client(seed));
        for (name, seed) in WORKERS {
            world.identities.know(&credential(seed), holder(name, &[OFFER_SCOPE]));
        }
        world
    }

    fn know_client(&self, seed: u8) {
        let standing = Standing::at_present(&self.revoked);
        let identity = holder(&client_name(seed), &["sim:run", "remote:*"]).with_standing(standing);
        self.identities.know(&credential(seed), identity);
    }

    /// Takes the rights of a client away at a host, as a store does, and gives them back after a while.
    pub async fn revoke_client(&self, seed: u8, host: &Host) {
        let name = client_name(seed);
        self.identities.forget(&credential(seed));
        // Everybody's rights are looked up anew; one's are gone.
        self.revoked.fetch_add(1, Ordering::AcqRel);
        let ended = host.sessions.cancel_identity(&name);
        self.ledger.note(format!("{name} loses its rights, and {ended} calls with them"));
        (FIRST_CLIENT..FIRST_CLIENT + CLIENTS).filter(|other| *other != seed).for_each(|other| self.know_client(other));
        sleep(self.chance.time(Duration::ZERO..=Duration::from_secs(2))).await;
        self.know_client(seed);
    }

    /// Starts a host with these operations.
    pub fn start(&self, (name, seed): (&'static str, u8), operations: Vec<Operation>) -> Host {
        let sessions = Sessions::default();
        let mut builder = Registry::builder(Authorizer::new(Arc::new(KeptAudit::default())), sessions.clone());
        builder.journal(self.journal.clone()).node(key(seed));
        for operation in operations {
            builder.register(operation).unwrap();
        }
        let registry = builder.build().unwrap();
        self.ledger.registry(name, &registry);
        let verifier = CredentialVerifier::new(key(seed), || NOW);
        let authenticator = Authenticator::new(self.identities.clone(), verifier);
        let handler = Arc::new(CallHandler::new(registry.clone(), authenticator));
        let serving = tokio::spawn(serve(self.network.listen(name), handler.clone()));
        self.ledger.note(format!("{name} starts"));
        Host { world: self.clone(), name, registry, handler, sessions, serving, staying: None }
    }

    /// Starts a worker, which stays with the head.
    pub fn start_worker(&self, (name, seed): (&'static str, u8)) -> Host {
        let mut host = self.start((name, seed), operations(&self.ledger));
        let head = Caller {
            identity: Some(Arc::new(holder(HEAD.0, &["sim:run"]))),
            credential: Some(key(HEAD.1).to_string()),
            addr: PeerAddr::LocalOwner { pid: 1 },
        };
        let (world, registry, caller) = (self.clone(), host.registry.clone(), head.clone());
        let dial = move || {
            let (world, registry, caller) = (world.clone(), registry.clone(), caller.clone());
            async move {
                let carrier = if seed.is_multiple_of(2) { Carrier::Quic } else { Carrier::Tls };
                let connection = world.dial_head(name.to_owned(), seed, carrier).await?;
                CallClient::connect_offering(connection, registry, caller).await
            }
        };
        let client = ReconnectingClient::with_backoff(dial, self.backoff());
        let state = watch::Sender::new(HeadState::default());
        let stays = stay(client, host.registry.clone(), move || head.clone(), state);
        host.staying = Some(tokio::spawn(stays));
        host
    }

    /// Waits between tries that the seed decides.
    pub fn backoff(&self) -> Backoff {
        Backoff::seeded(self.chance.below(u64::MAX))
    }

    /// Connects to the head.
    async fn dial_head(&self, from: String, seed: u8, carrier: Carrier) -> Result<Connection, CallError> {
        let dialling = Dialling {
            from,
            own: peer_with_key(seed),
            to: HEAD.0.to_owned(),
            other: peer_with_key(HEAD.1),
            alpn: CALL.clone(),
            carrier,
        };
        self.network.dial(dialling).await.map_err(|error| CallError::unavailable(error.to_string()).retryable())
    }

    /// A client of the head over a connection of its own.
    pub async fn client(&self, seed: u8, carrier: Carrier) -> Result<CallClient, CallError> {
        CallClient::connect(self.dial_head(client_name(seed), seed, carrier).await?).await
    }
}

fn holder(name: &str, scopes: &[&str]) -> Identity {
    Identity::new(name, scopes.iter().map(|scope| scope.parse().unwrap()).collect(), ResourceGrants::default())
}

async fn serve(mut listening: mpsc::Receiver<Connection>, handler: Arc<CallHandler>) {
    let mut connections = JoinSet::new();
    let mut open = true;
    while open || !connections.is_empty() {
        tokio::select! {
            biased;
            accepted = listening.recv(), if open => match accepted {
                Some(connection) => {
                    let handler = handler.clone();
                    connections.spawn(async move { handler.serve(connection).await });
                }
                None => open = false,
            },
            Some(_ended) = connections.join_next() => {}
        }
    }
}

/// A host that runs.
pub struct Host {
    world: World,
    name: &'static str,
    registry: Arc<Registry>,
    handler: Arc<CallHandler>,
    sessions: Sessions,
    serving: JoinHandle<()>,
    /// A worker stays with its head.
    staying: Option<JoinHandle<()>>,
}

impl Host {
    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Everything of it is gone at once.
    pub async fn crash(self) {
        let cut = self.world.network.crash(self.name);
        self.world.ledger.note(format!("{} crashes; {cut} connections are cut", self.name));
        for task in [self.staying, Some(self.serving)].into_iter().flatten() {
            task.abort();
            let _ = task.await;
        }
    }

    /// Ends as a node does: nothing new is begun, what runs is finished.
    pub async fn stop(self) {
        self.world.ledger.note(format!("{} stops", self.name));
        self.handler.shutdown().await;
        self.world.network.withdraw(self.name);
        if tokio::time::timeout(STOPPED, self.serving).await.is_err() {
            self.world.ledger.defect(format!("{} does not come to an end after it was stopped", self.name));
        }
        self.world.network.crash(self.name);
    }

    /// Notes what it still holds although nobody uses it; while workers are there, but for their offers.
    pub fn inspect(&self, workers_are_there: bool) {
        let defect = |words: String| self.world.ledger.defect(format!("{} {words}", self.name));
        let graph = self.registry.graph();
        let live = CallFilter { statuses: vec![CallStatus::Pending, CallStatus::Running], ..CallFilter::default() };
        let mut calls = graph.list(&live, usize::MAX);
        calls.retain(|call| !(workers_are_there && call.operation == OFFER_OPERATION));
        if let Some(call) = calls.first() {
            defect(format!("has {} calls that do not end, as {call:?}", calls.len()));
        }
        let allowed = if workers_are_there { WORKERS.len() } else { 0 };
        let sessions = self.sessions.list();
        if sessions.len() > allowed {
            defect(format!("keeps sessions: {sessions:?}"));
        }
        let counted: u64 = graph.stats().iter().map(|stats| stats.in_flight).sum();
        if counted > allowed as u64 {
            defect(format!("counts {counted} calls in flight"));
        }
        let workers = self.registry.routes().workers();
        if let Some(worker) = workers.iter().find(|worker| worker.in_flight > 0) {
            defect(format!("thinks that a worker is busy: {worker:?}"));
        }
        if !workers_are_there && let Some(worker) = workers.iter().find(|worker| worker.connected) {
            defect(format!("thinks that a worker is there: {worker:?}"));
        }
    }

    /// Whether so many workers are there.
    pub fn has_workers(&self, count: usize) -> bool {
        self.registry.routes().workers().iter().filter(|worker| worker.connected).count() == count
    }

    /// Calls off a call that runs, if there is one.
    pub fn abort_some(&self) {
        let live = vec![CallStatus::Pending, CallStatus::Running];
        let graph = self.registry.graph();
        let mut calls = graph.list(&CallFilter { statuses: live, ..CallFilter::default() }, usize::MAX);
        calls.retain(|call| call.operation != OFFER_OPERATION);
        if let Some(call) = (!calls.is_empty()).then(|| self.world.chance.of(&calls)) {
            let called_off = graph.abort(call.number).unwrap_or_default();
            self.world.ledger.note(format!("{} is called off, and {called_off} calls in all", call.operation));
        }
    }
}

/// What is written here outlives crashes. Writing takes time.
struct Disk {
    chance: Chance,
    kept: Mutex<HashMap<OutcomeKey, Entry>>,
}

struct Entry {
    digest: [u8; 32],
    outcome: Option<String>,
}

impl Disk {
    fn kept(&self) -> MutexGuard<'_, HashMap<OutcomeKey, Entry>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// A while before the write, and another before it is known.
    async fn while_(&self) {
        sleep(self.chance.time(Duration::ZERO..=Duration::from_millis(8))).await;
    }
}

impl CallJournal for Disk {
    fn begin(&self, key: OutcomeKey, digest: [u8; 32]) -> BoxFuture<'_, Result<Begun, JournalError>> {
        Box::pin(async move {
            self.while_().await;
            let begun = match self.kept().get(&key) {
                None => Begun::Fresh,
                Some(entry) if entry.digest != digest => Begun::OtherInput,
                Some(Entry { outcome: Some(outcome), .. }) => Begun::Ended(outcome.clone()),
                Some(_) => Begun::Unknown,
            };
            if begun == Begun::Fresh {
                self.kept().insert(key, Entry { digest, outcome: None });
            }
            self.while_().await;
            Ok(begun)
        })
    }

    fn end(&self, key: OutcomeKey, outcome: String) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async move {
            self.while_().await;
            match self.kept().get_mut(&key) {
                Some(entry) => entry.outcome = Some(outcome),
                None => return Err(JournalError::NotBegun),
            }
            self.while_().await;
            Ok(())
        })
    }

    fn forget(&self, key: OutcomeKey) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async move {
            self.while_().await;
            self.kept().remove(&key);
            Ok(())
        })
    }
}
