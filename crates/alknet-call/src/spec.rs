//! What is known about an operation before it is called.

use std::time::Duration;

use alknet_core::{AccessRule, Effect};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::limits::{DEFAULT_OPERATION_TIMEOUT, MAX_NAME_SEGMENT_BYTES};

/// What an operation does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OperationKind {
    /// It reads.
    Query,
    /// It changes something.
    Mutation,
}

impl From<OperationKind> for Effect {
    fn from(kind: OperationKind) -> Self {
        match kind {
            OperationKind::Query => Self::Query,
            OperationKind::Mutation => Self::Mutation,
        }
    }
}

/// Where an operation can be called from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// From every door.
    External,
    /// From other operations only: for every door it does not exist.
    Internal,
}

/// Which way the byte stream of a ticket goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ByteDirection {
    /// The caller sends the bytes.
    Input,
    /// The caller gets the bytes.
    Output,
}

/// An error that an operation declares besides the protocol's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DeclaredError {
    /// Its code, `[A-Z][A-Z0-9_]{0,63}`.
    pub code: &'static str,
    /// When it happens.
    pub description: &'static str,
}

/// An input with the output that it gives.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct OperationExample {
    /// What is given.
    pub input: Value,
    /// What comes back.
    pub output: Value,
}

/// An operation as `services/schema` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct OperationSpec {
    /// `service/operation`.
    pub name: String,
    /// A few words for a person.
    pub title: String,
    /// What it does, for a person.
    pub description: String,
    /// The version of its input and output, from 1.
    pub version: u32,
    /// Whether it changes anything.
    pub kind: OperationKind,
    /// Where it can be called from.
    pub visibility: Visibility,
    /// JSON Schema (draft 2020-12) of what it takes.
    pub input: Value,
    /// JSON Schema (draft 2020-12) of what it gives.
    pub output: Value,
    /// The errors it declares.
    pub errors: Vec<DeclaredError>,
    /// Who may.
    #[schemars(with = "Value")]
    pub access: AccessRule,
    /// Whether doing it twice is the same as once.
    pub idempotent: bool,
    /// Whether there is something better.
    pub deprecated: bool,
    /// Words to find it by.
    pub tags: Vec<&'static str>,
    /// How it is used.
    pub examples: Vec<OperationExample>,
    /// How long it may run, in milliseconds.
    #[serde(rename = "timeout_ms", serialize_with = "millis")]
    #[schemars(with = "u64")]
    pub timeout: Duration,
    /// Longest input, in bytes of compact JSON; `null` where only the frame bounds it.
    pub max_input_bytes: Option<usize>,
    /// Which way bytes go beside input and output, if any do; the output is then a ticket.
    pub bytes: Option<ByteDirection>,
}

impl OperationSpec {
    /// A specification with nothing said yet; schemas that take anything.
    pub(crate) fn new(name: String, kind: OperationKind) -> Self {
        Self {
            name,
            title: String::new(),
            description: String::new(),
            version: 1,
            kind,
            visibility: Visibility::External,
            input: Value::Bool(true),
            output: Value::Bool(true),
            errors: Vec::new(),
            access: AccessRule::default(),
            idempotent: kind == OperationKind::Query,
            deprecated: false,
            tags: Vec::new(),
            examples: Vec::new(),
            timeout: DEFAULT_OPERATION_TIMEOUT,
            max_input_bytes: None,
            bytes: None,
        }
    }
}

fn millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// Whether `name` is `service/operation`, each `[a-z0-9][a-z0-9.-]{0,63}`.
pub fn is_operation_name(name: &str) -> bool {
    name.split_once('/').is_some_and(|(service, operation)| is_segment(service) && is_segment(operation))
}

fn is_segment(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= MAX_NAME_SEGMENT_BYTES
        && text.bytes().next().is_some_and(plain)
        && text.bytes().all(|b| plain(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    // CALL-10
    #[test]
    fn names_have_two_segments_of_a_narrow_alphabet() {
        for good in ["fs/read", "fs/branch.create", "a/0", "node-1/x-y.z"] {
            assert!(is_operation_name(good), "{good}");
        }
        let long = format!("a/{}", "b".repeat(65));
        for bad in ["", "/", "fs", "fs/", "/fs/read", "a/b/c", "Fs/read", "fs/re_ad", "fs/.read", "fs/ä", &long] {
            assert!(!is_operation_name(bad), "{bad}");
        }
    }
}
