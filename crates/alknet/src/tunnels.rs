//! SSH connections to other nodes from the command line: who logs in, over what, and what a failure means.

use std::env;

use alknet_core::{DialError, KeyPurpose, KeySigner};
use alknet_net::CarrierPolicy;
use alknet_ssh::{ClientLogin, ConnectError, OpenError, SSH, Tunnel, TunnelError};
use clap::{Args, ValueEnum};

use crate::{
    cli::Place,
    dialling::{self, Ask, Dialling},
    failure::{Failure, Kind},
    node_client::{Trust, dial, resolve},
};

/// The user name that every node takes: the key decides who it is.
const USER: &str = "alknet";

/// How a node is reached.
#[derive(Args, Debug, Clone)]
pub struct Reach {
    /// Use only this carrier
    #[arg(long, value_enum, default_value_t = CarrierChoice::Auto)]
    carrier: CarrierChoice,
    /// Take the key that answers, and remember it as a peer
    #[arg(long)]
    trust_on_first_use: bool,
}

/// Which carrier to use.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum CarrierChoice {
    /// Whichever gets through first
    Auto,
    /// TLS over TCP
    Tcp,
    /// QUIC
    Quic,
}

impl From<CarrierChoice> for CarrierPolicy {
    fn from(choice: CarrierChoice) -> Self {
        match choice {
            CarrierChoice::Auto => Self::Auto,
            CarrierChoice::Tcp => Self::TcpOnly,
            CarrierChoice::Quic => Self::QuicOnly,
        }
    }
}

impl Reach {
    /// Dials on behalf of a command.
    pub fn dialling<'a>(&self, place: &'a Place) -> Result<Dialling<'a>, Failure> {
        Dialling::patient(place, Ask::May, self.carrier.into())
    }

    /// Reaches the node that a text names, `[USER@]NODE`; nobody is logged in yet.
    pub async fn tunnel(&self, place: &Place, dialling: &Dialling<'_>, node: &str) -> Result<Tunnel, Failure> {
        let (user, node) = node.rsplit_once('@').unwrap_or((USER, node));
        let connection = dial(place, dialling, node, &SSH, Trust::from_flag(self.trust_on_first_use)).await?;
        let mut target = resolve(place, node).await?;
        // The key that answered was the pinned one.
        target.key = connection.peer().key;
        Ok(Tunnel::new(dialling.dialer(), target, login(dialling, user)).with_carrier(connection))
    }
}

/// Logs in with this node's key, then with its owner's, then with those of the agent.
fn login(dialling: &Dialling<'_>, user: &str) -> ClientLogin {
    let mut login = ClientLogin::new(user);
    if let Some(identity) = dialling.identity() {
        let signer: std::sync::Arc<dyn KeySigner> = std::sync::Arc::new(identity.clone());
        login = login.with_keys(signer, &[KeyPurpose::Node, KeyPurpose::SshUser]);
    }
    match env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty()) {
        Some(socket) => login.with_agent(socket),
        None => login,
    }
}

/// What the failure of a tunnel means to the person who wanted it.
pub fn explain(error: &TunnelError) -> Failure {
    let kind = match error {
        TunnelError::Dial(error) => dialling::kind_of(error),
        TunnelError::Connect(error) => match **error {
            ConnectError::Refused { .. } => Kind::Denied,
            _ => Kind::Unavailable,
        },
        TunnelError::Open(OpenError::Prohibited) => Kind::Denied,
        TunnelError::Open(_) | TunnelError::Stream(_) => Kind::Unavailable,
    };
    let failure = Failure::caused_by(kind, error);
    match error {
        TunnelError::Connect(error) if matches!(**error, ConnectError::Refused { .. }) => failure
            .hint("let this node in there: `alknet peer add NAME --ticket TICKET --role ROLE`, with the ticket that `alknet status` prints here")
            .hint("or load a key that the node knows into the ssh-agent"),
        TunnelError::Open(OpenError::Prohibited) => {
            failure.hint("at the node, `alknet policy test --as PEER --to HOST:PORT` says which rule forbids it")
        }
        TunnelError::Dial(error) if matches!(**error, DialError::Unreachable(_)) => {
            failure.hint("`alknet doctor NODE` tries each carrier and says why")
        }
        _ => failure,
    }
}
