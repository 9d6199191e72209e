//! The keystore's JSON.

use serde::{Deserialize, Serialize};

use super::{Argon2Params, Derivation, Keystore, KeystoreError};
use crate::cipher::ALGORITHM;
use crate::limits::MAX_KEYSTORE_BYTES;
use crate::path::Epoch;
use crate::strict_json::{self, Object};

const KIND: &str = "alknet-keystore";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    kind: String,
    v: u8,
    alg: String,
    epoch: u32,
    #[serde(with = "strict_json::base64url")]
    node: [u8; 32],
    kdf: Object<Kdf>,
    #[serde(with = "strict_json::base64url")]
    salt: [u8; 32],
    #[serde(with = "strict_json::base64url")]
    nonce: [u8; 12],
    #[serde(with = "strict_json::base64url")]
    data: Vec<u8>,
    #[serde(with = "strict_json::base64url")]
    sum: [u8; 8],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kdf {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_kib: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    passes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lanes: Option<u32>,
}

impl From<Derivation> for Kdf {
    fn from(derivation: Derivation) -> Self {
        let params = match derivation {
            Derivation::Argon2id(params) => Some(params),
            Derivation::KeyFile => None,
        };
        Self {
            name: derivation.name().to_owned(),
            memory_kib: params.map(Argon2Params::memory_kib),
            passes: params.map(Argon2Params::passes),
            lanes: params.map(Argon2Params::lanes),
        }
    }
}

impl TryFrom<Kdf> for Derivation {
    type Error = KeystoreError;

    fn try_from(kdf: Kdf) -> Result<Self, KeystoreError> {
        match (kdf.name.as_str(), kdf.memory_kib, kdf.passes, kdf.lanes) {
            ("argon2id", Some(memory_kib), Some(passes), Some(lanes)) => {
                Ok(Self::Argon2id(Argon2Params::new(memory_kib, passes, lanes)?))
            }
            ("key-file", None, None, None) => Ok(Self::KeyFile),
            _ => Err(KeystoreError::Derivation),
        }
    }
}

impl Keystore {
    /// The content of the keystore file: one JSON object and a line feed.
    pub fn to_json(&self) -> String {
        let members = Members {
            kind: KIND.to_owned(),
            v: 1,
            alg: ALGORITHM.to_owned(),
            epoch: self.epoch.number(),
            node: self.node,
            kdf: Object(self.derivation.into()),
            salt: self.salt,
            nonce: self.nonce,
            data: self.data.clone(),
            sum: self.sum(),
        };
        let mut text = serde_json::to_string_pretty(&members).expect("because strings and numbers have a JSON form");
        text.push('\n');
        text
    }

    /// Parses the content of a keystore file and checks everything that needs no secret. Stretches nothing.
    ///
    /// # Errors
    /// [`KeystoreError`].
    pub fn parse(content: &[u8]) -> Result<Self, KeystoreError> {
        let members: Members = strict_json::parse(content, MAX_KEYSTORE_BYTES)?;
        if members.kind != KIND {
            return Err(KeystoreError::Kind);
        }
        if members.alg != ALGORITHM {
            return Err(KeystoreError::Algorithm);
        }
        Self {
            epoch: Epoch::new(members.epoch)?,
            node: members.node,
            derivation: members.kdf.0.try_into()?,
            salt: members.salt,
            nonce: members.nonce,
            data: members.data,
        }
        .checked(members.sum)
    }
}
