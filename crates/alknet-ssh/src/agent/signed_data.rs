//! What somebody wants signed, and which key signs it.

use alknet_core::KeyPurpose;
use russh::keys::{Certificate, ssh_key::public::KeyData};

use super::fields::{Fields, Malformed};

/// Number of a request to log in (RFC 4252, 5).
const USERAUTH_REQUEST: u8 = 50;
/// How every message begins that one of Alknet's own protocols has signed.
const OWN_PROTOCOLS: &[u8] = b"alknet-";
/// How a signature on a file or a git object begins (OpenSSH's `PROTOCOL.sshsig`).
const SSHSIG: &[u8] = b"SSHSIG";

/// The meaning of a message that is to be signed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SignedData<'a> {
    /// A login to an SSH server (RFC 4252, 7).
    Login {
        session: &'a [u8],
        user: &'a [u8],
        /// The public key, or the certificate, that the login names.
        key: &'a [u8],
    },
    /// A signature on a file, a commit or a tag.
    Statement {
        /// What it is for: `git`, `file`, or anything else.
        namespace: &'a [u8],
    },
    /// Nothing that the agent knows.
    Other(&'a [u8]),
}

/// Why a key does not sign.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unsuitable {
    #[error("it is a login with another key")]
    OtherKey,
    #[error("the node's key signs logins to SSH servers and nothing else here")]
    NodeKey,
    #[error("the git key signs no logins")]
    GitKey,
    #[error("it is a message of Alknet's own protocols")]
    OwnProtocol,
}

impl<'a> SignedData<'a> {
    pub(super) fn of(data: &'a [u8]) -> Self {
        login(data).or_else(|_| statement(data)).unwrap_or(Self::Other(data))
    }

    /// Whether the key for `purpose`, whose blob is `key`, is for this.
    pub(super) fn suits(&self, purpose: KeyPurpose, key: &[u8]) -> Result<(), Unsuitable> {
        match (self, purpose) {
            (Self::Login { key: named, .. }, _) if !is_of(named, key) => Err(Unsuitable::OtherKey),
            (Self::Other(data), _) if data.starts_with(OWN_PROTOCOLS) => Err(Unsuitable::OwnProtocol),
            (_, KeyPurpose::SshAuthority) => Err(Unsuitable::OtherKey),
            (Self::Login { .. }, KeyPurpose::Git) => Err(Unsuitable::GitKey),
            (Self::Statement { .. } | Self::Other(_), KeyPurpose::Node) => Err(Unsuitable::NodeKey),
            (Self::Login { .. }, KeyPurpose::Node | KeyPurpose::SshUser)
            | (Self::Statement { .. } | Self::Other(_), KeyPurpose::SshUser | KeyPurpose::Git) => Ok(()),
        }
    }
}

/// `publickey`, or OpenSSH's `publickey-hostbound-v00@openssh.com` with the host's key at the end.
fn login(data: &[u8]) -> Result<SignedData<'_>, Malformed> {
    let mut fields = Fields::of(data);
    let session = fields.string()?;
    if fields.byte()? != USERAUTH_REQUEST {
        return Err(Malformed);
    }
    let user = fields.string()?;
    let (service, method, signed) = (fields.string()?, fields.string()?, fields.boolean()?);
    let (_algorithm, key) = (fields.string()?, fields.string()?);
    match method {
        b"publickey" => {}
        b"publickey-hostbound-v00@openssh.com" => _ = fields.string()?,
        _ => return Err(Malformed),
    }
    fields.end()?;
    if session.is_empty() || service != b"ssh-connection" || !signed {
        return Err(Malformed);
    }
    Ok(SignedData::Login { session, user, key })
}

fn statement(data: &[u8]) -> Result<SignedData<'_>, Malformed> {
    let mut fields = Fields::of(data.strip_prefix(SSHSIG).ok_or(Malformed)?);
    let (namespace, _reserved, _hash_name, _hash) =
        (fields.string()?, fields.string()?, fields.string()?, fields.string()?);
    fields.end()?;
    if namespace.is_empty() { Err(Malformed) } else { Ok(SignedData::Statement { namespace }) }
}

/// Whether what a login names is this key, or a certificate for it.
fn is_of(named: &[u8], key: &[u8]) -> bool {
    let certified = || match Certificate::from_bytes(named).ok()?.public_key() {
        KeyData::Ed25519(certified) => Some(super::wire::key_blob(&certified.0)),
        _ => None,
    };
    named == key || certified().is_some_and(|certified| certified == key)
}

#[cfg(test)]
mod tests;
