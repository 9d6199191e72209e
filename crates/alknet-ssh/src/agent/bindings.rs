//! The SSH sessions that a connection to the agent serves (`session-bind@openssh.com`).

use russh::keys::{
    Certificate, HashAlg, PublicKey,
    signature::Verifier,
    ssh_encoding::Decode,
    ssh_key::{Signature, public::KeyData},
};

use crate::limits::{MAX_BOUND_SESSIONS, MAX_SESSION_ID_BYTES};

/// A client's word that its connection to the agent is for an SSH session with a host, which the host signed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SessionBind<'a> {
    pub(super) host_key: &'a [u8],
    pub(super) session: &'a [u8],
    pub(super) signature: &'a [u8],
    /// The connection is handed on to that host, instead of being used to log in there.
    pub(super) forwarded: bool,
}

/// Why a connection is not bound to a session.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotBound {
    #[error("the connection is bound for logging in already")]
    ForLogin,
    #[error("the session is bound to another host")]
    OtherHost,
    #[error("a connection is bound to {MAX_BOUND_SESSIONS} sessions at most")]
    TooMany,
    #[error("the session identifier is empty or longer than {MAX_SESSION_ID_BYTES} bytes")]
    SessionId,
    #[error("the host key or its signature is of no known kind")]
    Unreadable,
    #[error("the host did not sign the session")]
    Unsigned,
}

/// What one connection is bound to, in the order of the hops.
#[derive(Default)]
pub(super) struct Bindings(Vec<Bound>);

struct Bound {
    session: Vec<u8>,
    /// As `SHA256:…`.
    host: String,
    forwarded: bool,
}

/// What the bindings say about a login.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way<'a> {
    /// Nothing: no binding names this session. Behind `through`, the last host that the agent was forwarded to.
    Unbound { through: Option<&'a str> },
    /// The login is to `host`, asked for from behind `through`.
    Bound { host: &'a str, through: Option<&'a str> },
    /// The connection is for logging in, and this is another session.
    OtherSession,
}

impl Bindings {
    /// Records one more session, as OpenSSH's agent does.
    pub(super) fn bind(&mut self, bind: &SessionBind<'_>) -> Result<(), NotBound> {
        if bind.session.is_empty() || bind.session.len() > MAX_SESSION_ID_BYTES {
            return Err(NotBound::SessionId);
        }
        let host = verified_host(bind)?;
        if let Some(known) = self.0.iter_mut().find(|bound| bound.session == bind.session) {
            if known.host != host {
                return Err(NotBound::OtherHost);
            }
            if known.forwarded == bind.forwarded {
                return Ok(());
            }
        }
        if self.0.iter().any(|bound| !bound.forwarded) {
            return Err(NotBound::ForLogin);
        }
        if self.0.len() >= MAX_BOUND_SESSIONS {
            return Err(NotBound::TooMany);
        }
        self.0.push(Bound { session: bind.session.to_owned(), host, forwarded: bind.forwarded });
        Ok(())
    }

    /// What is known of a login in `session`.
    pub(super) fn way(&self, session: &[u8]) -> Way<'_> {
        let through = self.0.iter().rev().find(|bound| bound.forwarded).map(|bound| bound.host.as_str());
        match self.0.last() {
            Some(last) if !last.forwarded && last.session == session => Way::Bound { host: &last.host, through },
            Some(last) if !last.forwarded => Way::OtherSession,
            _ => Way::Unbound { through },
        }
    }
}

/// The fingerprint of the host that signed the session.
fn verified_host(bind: &SessionBind<'_>) -> Result<String, NotBound> {
    let key = match PublicKey::from_bytes(bind.host_key) {
        Ok(key) => key,
        Err(_) => certified(bind.host_key).ok_or(NotBound::Unreadable)?,
    };
    let mut rest = bind.signature;
    let signature = Signature::decode(&mut rest).map_err(|_| NotBound::Unreadable)?;
    if !rest.is_empty() {
        return Err(NotBound::Unreadable);
    }
    key.key_data().verify(bind.session, &signature).map_err(|_| NotBound::Unsigned)?;
    Ok(key.fingerprint(HashAlg::Sha256).to_string())
}

/// The key of a host that showed a certificate.
fn certified(blob: &[u8]) -> Option<PublicKey> {
    let certificate = Certificate::from_bytes(blob).ok()?;
    let key: KeyData = certificate.public_key().clone();
    Some(PublicKey::new(key, ""))
}

#[cfg(test)]
mod tests;
