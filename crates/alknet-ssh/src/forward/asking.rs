//! Who asks for a forward, and what for.

use std::{fmt, sync::Arc};

use alknet_core::{Authorizer, Caller};
use russh::ChannelOpenFailure;

use super::tunnel::Socket;
use crate::{
    key_options::KeyOptions,
    login::Term,
    policy::{Asker, Direction, ForwardListener, ForwardPolicy, ForwardRefusal, ForwardSocket, Granted, Hold, Reason},
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
    pub(crate) term: Term,
}

impl Asking {
    /// Connects to the target, if the policy lets the client.
    pub(super) async fn reach(&self, target: &Target) -> Result<(Socket, Hold), ForwardRefusal> {
        let Self { policy, authorizer, caller, options, .. } = self;
        match target {
            Target::Tcp(host, port) => {
                self.in_term(Direction::Local, format_args!("{host}:{port}"))?;
                let reaching = policy.reach_tcp(caller, authorizer, options, host, *port);
                reaching.await.map(|Granted { what, hold }| (Socket::Tcp(what), hold))
            }
            Target::Unix(path) => {
                self.in_term(Direction::Socket, format_args!("{path}"))?;
                let reaching = policy.reach_unix(caller, authorizer, options, path);
                reaching.await.map(|Granted { what, hold }| (Socket::Unix(what), hold))
            }
        }
    }

    /// Listens on a port, if the policy lets the client.
    pub(super) async fn listen_tcp(&self, host: &str, port: u32) -> Result<Granted<ForwardListener>, ForwardRefusal> {
        self.in_term(Direction::Remote, format_args!("{host}:{port}"))?;
        self.policy.listen_tcp(&self.caller, &self.authorizer, &self.options, host, port).await
    }

    /// Listens at a path, if the policy lets the client.
    pub(super) async fn listen_unix(&self, path: &str) -> Result<Granted<ForwardSocket>, ForwardRefusal> {
        self.in_term(Direction::Remote, format_args!("{path}"))?;
        self.policy.listen_unix(&self.caller, &self.authorizer, &self.options, path).await
    }

    /// Whether the key or certificate still holds that the client logged in with.
    fn in_term(&self, direction: Direction, asked: fmt::Arguments<'_>) -> Result<(), ForwardRefusal> {
        if self.term.holds() {
            return Ok(());
        }
        let asker = Asker { caller: &self.caller, authorizer: &self.authorizer, options: &self.options };
        Err(self.policy.refuse(asker, direction, asked, Term::ENDED))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_go_by_their_numbers() {
        // FWD-06
        for (reason, code, words) in [
            (Reason::Prohibited, 1, "administratively prohibited"),
            (Reason::NameNotFound, 2, "no such host"),
            (Reason::TimedOut, 2, "timed out"),
            (Reason::TooMany, 4, "too many forwards"),
        ] {
            let refusal = ForwardRefusal::new(reason, "for the log alone");
            let ChannelOpenFailure::Other { code: sent, reason } = failure(&refusal) else { panic!("{refusal}") };
            assert_eq!((sent, reason.as_str()), (code, words));
        }
    }
}
