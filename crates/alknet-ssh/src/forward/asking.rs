//! Who asks for a forward, and what for.

use std::sync::Arc;

use alknet_core::{Authorizer, Caller};
use russh::ChannelOpenFailure;

use super::tunnel::Socket;
use crate::{
    key_options::KeyOptions,
    policy::{ForwardListener, ForwardPolicy, ForwardRefusal, ForwardSocket, Granted, Hold, Reason},
};

/// What a client wants to be connected to.
pub(crate) enum Target {
    /// A host as the client wrote it, and a port.
    Tcp(String, u32),
    /// A unix socket's path.
    Unix(String),
}

/// One client, as the policy is asked on its behalf.
#[derive(Clone)]
pub(crate) struct Asking {
    pub(crate) policy: Arc<ForwardPolicy>,
    pub(crate) authorizer: Authorizer,
    pub(crate) caller: Caller,
    pub(crate) options: KeyOptions,
}

impl Asking {
    /// Connects to the target, if the policy lets the client.
    pub(super) async fn reach(&self, target: &Target) -> Result<(Socket, Hold), ForwardRefusal> {
        let Self { policy, authorizer, caller, options } = self;
        match target {
            Target::Tcp(host, port) => {
                let reaching = policy.reach_tcp(caller, authorizer, options, host, *port);
                reaching.await.map(|Granted { what, hold }| (Socket::Tcp(what), hold))
            }
            Target::Unix(path) => {
                let reaching = policy.reach_unix(caller, authorizer, options, path);
                reaching.await.map(|Granted { what, hold }| (Socket::Unix(what), hold))
            }
        }
    }

    /// Listens on a port, if the policy lets the client.
    pub(super) async fn listen_tcp(&self, host: &str, port: u32) -> Result<Granted<ForwardListener>, ForwardRefusal> {
        self.policy.listen_tcp(&self.caller, &self.authorizer, &self.options, host, port).await
    }

    /// Listens at a path, if the policy lets the client.
    pub(super) async fn listen_unix(&self, path: &str) -> Result<Granted<ForwardSocket>, ForwardRefusal> {
        self.policy.listen_unix(&self.caller, &self.authorizer, &self.options, path).await
    }
}

/// What the client is told (RFC 4254, 5.1): a reason by number, and words that say no more than it may know.
pub(super) fn failure(refusal: &ForwardRefusal) -> ChannelOpenFailure {
    let like = match refusal.reason() {
        Reason::Prohibited => ChannelOpenFailure::AdministrativelyProhibited,
        Reason::TooMany => ChannelOpenFailure::ResourceShortage,
        Reason::NameNotFound | Reason::ConnectionRefused | Reason::Unreachable | Reason::TimedOut | Reason::Failed => {
            ChannelOpenFailure::ConnectFailed
        }
    };
    ChannelOpenFailure::Other { code: like.code(), reason: refusal.to_string() }
}
