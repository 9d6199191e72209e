//! The JSON encoding of a sealed blob.

use serde::{Deserialize, Serialize};

use super::{BlobError, SealedBlob, VERSION};
use crate::cipher::ALGORITHM;
use crate::limits::MAX_SEALED_JSON_BYTES;
use crate::strict_json;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    v: u8,
    alg: String,
    key: String,
    #[serde(with = "strict_json::base64url")]
    salt: [u8; 32],
    #[serde(with = "strict_json::base64url")]
    nonce: [u8; 12],
    #[serde(with = "strict_json::base64url")]
    data: Vec<u8>,
    #[serde(with = "strict_json::base64url")]
    context: Vec<u8>,
}

impl SealedBlob {
    /// The blob as one JSON object on one line.
    pub fn to_json(&self) -> String {
        let members = Members {
            v: VERSION,
            alg: ALGORITHM.to_owned(),
            key: self.key.to_string(),
            salt: self.salt,
            nonce: self.nonce,
            data: self.data.clone(),
            context: self.context.clone(),
        };
        serde_json::to_string(&members).expect("because strings and a number have a JSON form")
    }

    /// Parses the JSON encoding.
    ///
    /// # Errors
    /// [`BlobError`] for anything but an object with exactly the known members.
    pub fn from_json(text: &[u8]) -> Result<Self, BlobError> {
        let members: Members = strict_json::parse(text, MAX_SEALED_JSON_BYTES)?;
        if members.alg != ALGORITHM {
            return Err(BlobError::Algorithm);
        }
        Self {
            key: members.key.parse().map_err(|_| BlobError::Key)?,
            salt: members.salt,
            nonce: members.nonce,
            context: members.context,
            data: members.data,
        }
        .in_bounds()
    }
}
