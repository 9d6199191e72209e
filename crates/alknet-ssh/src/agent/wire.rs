//! Messages of the agent protocol: bytes to typed requests, typed replies to bytes. No IO.

use std::io;

use super::{
    bindings::SessionBind,
    fields::{Fields, Malformed, put_string},
};
use crate::limits::MAX_AGENT_FRAME_BYTES;

/// The bytes before a message: its length.
const LENGTH_BYTES: usize = 4;
/// The one kind of signature, and of key.
const ED25519: &[u8] = b"ssh-ed25519";

mod number {
    pub(super) const FAILURE: u8 = 5;
    pub(super) const SUCCESS: u8 = 6;
    pub(super) const REQUEST_IDENTITIES: u8 = 11;
    pub(super) const IDENTITIES_ANSWER: u8 = 12;
    pub(super) const SIGN_REQUEST: u8 = 13;
    pub(super) const SIGN_RESPONSE: u8 = 14;
    pub(super) const ADD_IDENTITY: u8 = 17;
    pub(super) const REMOVE_IDENTITY: u8 = 18;
    pub(super) const REMOVE_ALL_IDENTITIES: u8 = 19;
    pub(super) const ADD_SMARTCARD_KEY: u8 = 20;
    pub(super) const LOCK: u8 = 22;
    pub(super) const UNLOCK: u8 = 23;
    pub(super) const ADD_ID_CONSTRAINED: u8 = 25;
    pub(super) const ADD_SMARTCARD_KEY_CONSTRAINED: u8 = 26;
    pub(super) const EXTENSION: u8 = 27;
    pub(super) const EXTENSION_FAILURE: u8 = 28;
}

/// Why a connection to the agent cannot go on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {0} bytes is announced; 1 to {MAX_AGENT_FRAME_BYTES} are read")]
pub(super) struct BadLength(u32);

impl From<BadLength> for io::Error {
    fn from(error: BadLength) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// How long the message behind these bytes is.
pub(super) fn frame_length(announced: [u8; LENGTH_BYTES]) -> Result<usize, BadLength> {
    let announced = u32::from_be_bytes(announced);
    match usize::try_from(announced) {
        Ok(length) if (1..=MAX_AGENT_FRAME_BYTES).contains(&length) => Ok(length),
        _ => Err(BadLength(announced)),
    }
}

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request<'a> {
    List,
    Sign {
        key: &'a [u8],
        data: &'a [u8],
    },
    /// Any of the ways to hand the agent a key. What is in it is not looked at.
    Add,
    Remove {
        key: &'a [u8],
    },
    RemoveAll,
    Lock {
        passphrase: &'a [u8],
    },
    Unlock {
        passphrase: &'a [u8],
    },
    Bind(SessionBind<'a>),
    UnknownExtension,
    Unknown,
}

impl<'a> Request<'a> {
    pub(super) fn parse(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::of(message);
        let request = match fields.byte()? {
            number::REQUEST_IDENTITIES => Self::List,
            number::SIGN_REQUEST => {
                let (key, data) = (fields.string()?, fields.string()?);
                // The flags choose among RSA's hashes.
                fields.number()?;
                Self::Sign { key, data }
            }
            number::REMOVE_IDENTITY => Self::Remove { key: fields.string()? },
            number::REMOVE_ALL_IDENTITIES => Self::RemoveAll,
            number::LOCK => Self::Lock { passphrase: fields.string()? },
            number::UNLOCK => Self::Unlock { passphrase: fields.string()? },
            number::EXTENSION => return Self::parse_extension(fields),
            number::ADD_IDENTITY
            | number::ADD_ID_CONSTRAINED
            | number::ADD_SMARTCARD_KEY
            | number::ADD_SMARTCARD_KEY_CONSTRAINED => return Ok(Self::Add),
            _ => return Ok(Self::Unknown),
        };
        fields.end().map(|()| request)
    }

    fn parse_extension(mut fields: Fields<'a>) -> Result<Self, Malformed> {
        if fields.string()? != b"session-bind@openssh.com" {
            return Ok(Self::UnknownExtension);
        }
        let bind = SessionBind {
            host_key: fields.string()?,
            session: fields.string()?,
            signature: fields.string()?,
            forwarded: fields.boolean()?,
        };
        fields.end().map(|()| Self::Bind(bind))
    }
}

/// What a client is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Failure,
    ExtensionFailure,
    Success,
    /// The key blobs and comments.
    Keys(Vec<(Vec<u8>, String)>),
    /// An Ed25519 signature.
    Signature([u8; 64]),
}

impl Reply {
    /// The whole message, its length before it.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut message = Vec::new();
        match self {
            Self::Failure => message.push(number::FAILURE),
            Self::ExtensionFailure => message.push(number::EXTENSION_FAILURE),
            Self::Success => message.push(number::SUCCESS),
            Self::Keys(keys) => {
                message.push(number::IDENTITIES_ANSWER);
                let count = u32::try_from(keys.len()).expect("because there is a key for each purpose at most");
                message.extend_from_slice(&count.to_be_bytes());
                for (key, comment) in keys {
                    put_string(&mut message, key);
                    put_string(&mut message, comment.as_bytes());
                }
            }
            Self::Signature(signature) => {
                message.push(number::SIGN_RESPONSE);
                put_string(&mut message, &pair(ED25519, signature));
            }
        }
        let mut framed = Vec::with_capacity(LENGTH_BYTES + message.len());
        put_string(&mut framed, &message);
        framed
    }
}

/// The blob of an Ed25519 public key (RFC 8709, 4).
pub(super) fn key_blob(key: &[u8; 32]) -> Vec<u8> {
    pair(ED25519, key)
}

fn pair(first: &[u8], second: &[u8]) -> Vec<u8> {
    let mut blob = Vec::with_capacity(2 * LENGTH_BYTES + first.len() + second.len());
    put_string(&mut blob, first);
    put_string(&mut blob, second);
    blob
}

#[cfg(test)]
mod tests;
