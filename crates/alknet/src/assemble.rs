//! The whole node in one function: every store, handler and service is made here, once.

use std::sync::Arc;

use alknet_blobs::{BLOBS, BlobsHandler};
use alknet_call::{Authenticator, BYTES, ByteTickets, BytesHandler, CALL, CallHandler, Routes};
use alknet_core::{
    Alpn, Authorizer, Carriers, CredentialVerifier, IdentityProvider, Maintenance, PerStream, Router, Service, Sessions,
};
use alknet_fs::FileSystem;
use alknet_http::HttpHandler;
use alknet_net::{AbuseGate, CarrierPolicy, NetDialer, NodeCredentials};
use alknet_ssh::{ForwardPolicy, LiveSessions, SSH, SSH_ALIAS, SshServer, Subsystems, UDP, UdpService};
use alknet_store::{Clock, Store};

use crate::{
    clock::unix_seconds,
    control::NodeControl,
    credentials::CredentialResolver,
    data_folder::DataFolder,
    failure::{Failure, Kind},
    heads::Heads,
    identity::NodeIdentity,
    operations::{self, Foundation},
    settings,
    shared_config::SharedConfig,
    webhooks::Webhooks,
};

const H2: Alpn = Alpn::from_static(b"h2");
const HTTP_1_1: Alpn = Alpn::from_static(b"http/1.1");

/// A node that is put together and does not listen yet.
pub struct Node {
    /// The services.
    pub router: Router,
    /// The database: closed last.
    pub store: Store,
    /// Who is who.
    pub identities: Arc<dyn IdentityProvider>,
    /// What is alive.
    pub sessions: Sessions,
    /// The SSH server: its configuration can be changed.
    pub ssh: Arc<SshServer>,
    /// The web's handler: its configuration can be changed.
    pub http: Arc<HttpHandler>,
    /// The operations of workers: how one of several is chosen can be changed.
    pub routes: Arc<Routes>,
    /// To whom this node lends its operations.
    pub heads: Heads,
    /// What is accepted of a token: its bound can be changed.
    pub verifier: CredentialVerifier,
    /// Who misbehaves: exemptions can be changed.
    pub gate: AbuseGate,
    /// What may be forwarded: its rules can be changed.
    pub forward: Arc<ForwardPolicy>,
    /// The files: closed before the database.
    pub files: FileSystem,
}

/// Puts a node together.
pub async fn assemble(
    data: &DataFolder,
    identity: &NodeIdentity,
    config: &SharedConfig,
    control: &NodeControl,
) -> Result<Node, Failure> {
    let (node, clock) = (identity.node_key(), Clock::system());
    let current = config.current();

    // State: one database, answered from memory where it must be quick.
    let sessions = Sessions::default();
    let roles = current.config().roles()?;
    let store = Store::open(&data.database(), roles.clone(), sessions.clone())?;
    store.check_roles(&roles).map_err(|error| Failure::caused_by(Kind::Usage, &error))?;
    store.set_audit_rows(current.config().audit.rows());
    store.bind_node_key(&Maintenance::of("assemble"), node).await?;
    let identities: Arc<dyn IdentityProvider> = store.directory();
    let gate = settings::gate(current.config(), &store).await?;
    let authorizer = Authorizer::new(store.audit_log()).watched_by(Arc::new(gate.clone()));

    let forward = Arc::new(settings::forward(current.config(), data));
    let (tickets, ssh_sessions) = (ByteTickets::default(), LiveSessions::default());

    let heads = Heads::of(data)?;
    let files = settings::files(current.config(), data, &store, authorizer.clone(), tickets.clone()).await?;
    let credentials = CredentialResolver::new(identity.clone(), store.clone(), clock.clone());
    let private = current.config().fs.private_hooks.clone();
    let webhooks = Webhooks::new(node, store.directory(), credentials.clone(), private, clock.clone());
    files.files().keep_hooks(Arc::new(webhooks));

    // Capabilities: the one registry behind every door.
    let registry = operations::registry(&Foundation {
        node,
        identity: Some(identity.clone()),
        credentials: Some(credentials),
        store: store.clone(),
        authorizer: authorizer.clone(),
        sessions: sessions.clone(),
        ssh_sessions: ssh_sessions.clone(),
        config: config.clone(),
        tickets: tickets.clone(),
        data: data.clone(),
        heads: heads.clone(),
        gate: gate.clone(),
        forward: forward.clone(),
        control: Some(control.clone()),
        files: files.clone(),
        clock,
    })?;

    let verifier = CredentialVerifier::new(node, unix_seconds);
    verifier.set_max_lifetime(current.config().tokens.max_lifetime);

    // Doors: each a handler of one ALPN or two.
    let authenticator = Authenticator::new(identities.clone(), verifier.clone());
    let routes = registry.routes().clone();
    routes.set_balance(current.config().workers.balance);
    let dialer = NetDialer::new(NodeCredentials::new(Arc::new(identity.clone()))?, CarrierPolicy::Auto);
    heads.begin(Arc::new(dialer), registry.clone(), authenticator.clone(), identities.clone(), store.clone());
    let call = Arc::new(CallHandler::new(registry, authenticator.clone()));
    let bytes = BytesHandler::new(tickets, authenticator, sessions.clone());
    let bytes = Arc::new(PerStream(Arc::new(bytes)));
    let ssh_config = settings::ssh(current.config(), identity, data, forward.clone())?;
    let udp = UdpService::new(forward.clone(), identities.clone(), authorizer.clone(), sessions.clone());
    let (ssh_identities, subsystems) = (identities.clone(), Subsystems::default());
    let ssh =
        SshServer::new(ssh_config, ssh_identities, authorizer.clone(), sessions.clone(), ssh_sessions, subsystems);
    let blobs = BlobsHandler::new(files.files().clone(), identities.clone(), sessions.clone());
    let blobs = Arc::new(PerStream(Arc::new(blobs)));
    let http_config = settings::http(current.config())?;
    let http = HttpHandler::new(http_config, identities.clone(), authorizer, verifier.clone());

    // Services: what each door is called, whose face it shows, and on which carriers.
    let router = Router::builder(identities.clone())
        .service(CALL, Service::node().on_control_socket(), call)?
        .service(BYTES, Service::node().on_control_socket(), bytes)?
        .service(BLOBS, Service::node(), blobs)?
        .service(SSH, Service::node().with_login(), ssh.clone())?
        .alias(SSH_ALIAS, &SSH)?
        .service(UDP, Service::node(), Arc::new(udp))?
        .service(H2, Service::web(Carriers::Tcp), http.clone())?
        .service(HTTP_1_1, Service::web(Carriers::Tcp), http.clone())?
        .build();

    Ok(Node {
        router,
        store,
        identities,
        sessions,
        ssh,
        http,
        routes,
        heads,
        verifier,
        gate,
        forward,
        files: files.files().clone(),
    })
}
