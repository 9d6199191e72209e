//! What a side says of itself.

use serde::{Deserialize, Serialize};

use crate::limits::{MAX_BATCH_REQUESTS, MAX_CALLS_IN_FLIGHT, MAX_FRAME_BYTES};

/// The version of the protocol that this is.
pub(crate) const VERSION: u64 = 1;
/// What this version can, beside plain calls.
const FEATURES: [&str; 5] = ["batch", "credit", "both-directions", "idempotency", "resume"];

/// A `call.hello`: what a side says of itself in its first frame. Nothing of it is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The node that it says it is.
    pub node_id: Option<String>,
    /// What it can; of those that this version does not know nothing is kept.
    pub features: Vec<&'static str>,
    /// What it takes.
    pub limits: HelloLimits,
}

/// The bounds of a side, as it says them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HelloLimits {
    /// Longest frame, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_frame_bytes: Option<u64>,
    /// Calls in progress for one connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_calls_in_flight: Option<u64>,
    /// Requests of one batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_batch: Option<u64>,
}

impl Hello {
    /// What this side says, but for its name.
    pub(crate) fn of_this_version() -> Self {
        let limits = HelloLimits {
            max_frame_bytes: Some(MAX_FRAME_BYTES as u64),
            max_calls_in_flight: Some(MAX_CALLS_IN_FLIGHT as u64),
            max_batch: Some(MAX_BATCH_REQUESTS as u64),
        };
        Self { node_id: None, features: FEATURES.to_vec(), limits }
    }

    /// The feature of this version that is called so.
    pub(crate) fn known_feature(name: &str) -> Option<&'static str> {
        FEATURES.into_iter().find(|feature| *feature == name)
    }
}
