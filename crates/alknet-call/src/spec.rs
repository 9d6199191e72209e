//! What is known about an operation before it is called.

use std::time::Duration;

use alknet_core::{AccessRule, Effect};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::limits::{DEFAULT_OPERATION_TIMEOUT, MAX_NAME_SEGMENT_BYTES};

/// What an operation does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OperationKind {
    /// It reads.
    Query,
    /// It changes something.
    Mutation,
    /// It reads, and gives items until it ends.
    Subscription,
}

impl OperationKind {
    /// The word for it in specifications and lists.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Mutation => "mutation",
            Self::Subscription => "subscription",
        }
    }
}

impl From<OperationKind> for Effect {
    fn from(kind: OperationKind) -> Self {
        match kind {
            OperationKind::Query | OperationKind::Subscription => Self::Query,
            OperationKind::Mutation => Self::Mutation,
        }
    }
}

/// Where an operation can be called from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// From every door.
    #[default]
    External,
    /// From other operations only: for every door it does not exist.
    Internal,
}

/// Which way the byte stream of a ticket goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ByteDirection {
    /// The caller sends the bytes.
    Input,
    /// The caller gets the bytes.
    Output,
}

/// An error that an operation declares besides the protocol's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeclaredError {
    /// Its code, `[A-Z][A-Z0-9_]{0,63}`.
    pub code: String,
    /// When it happens.
    #[serde(default)]
    pub description: String,
}

/// An input with the output that it gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OperationExample {
    /// What is given.
    pub input: Value,
    /// What comes back.
    pub output: Value,
}

/// An operation as `services/schema` shows it. What a specification that is read leaves out reads as if nothing was said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OperationSpec {
    /// `service/operation`.
    pub name: String,
    /// A few words for a person.
    #[serde(default)]
    pub title: String,
    /// What it does, for a person.
    #[serde(default)]
    pub description: String,
    /// The version of its input and output, from 1.
    #[serde(default = "first")]
    pub version: u32,
    /// Whether it changes anything.
    pub kind: OperationKind,
    /// Where it can be called from.
    #[serde(default)]
    pub visibility: Visibility,
    /// JSON Schema (draft 2020-12) of what it takes.
    #[serde(default = "anything")]
    pub input: Value,
    /// JSON Schema (draft 2020-12) of what it gives, or of each item.
    #[serde(default = "anything")]
    pub output: Value,
    /// The errors it declares.
    #[serde(default)]
    pub errors: Vec<DeclaredError>,
    /// Who may.
    #[serde(default)]
    #[schemars(with = "Value")]
    pub access: AccessRule,
    /// Whether doing it twice is the same as once.
    #[serde(default)]
    pub idempotent: bool,
    /// Whether its items are numbered, so that a subscriber can go on after the last that it had.
    #[serde(default)]
    pub resumable: bool,
    /// Whether there is something better.
    #[serde(default)]
    pub deprecated: bool,
    /// Words to find it by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// How it is used.
    #[serde(default)]
    pub examples: Vec<OperationExample>,
    /// How long it may run, in milliseconds. Of a subscription: how long the next item may take; `null` where nothing bounds that.
    #[serde(default, rename = "timeout_ms", serialize_with = "millis", deserialize_with = "from_millis")]
    #[schemars(with = "Option<u64>")]
    pub timeout: Option<Duration>,
    /// Longest input, in bytes of compact JSON; `null` where only the frame bounds it.
    #[serde(default)]
    pub max_input_bytes: Option<usize>,
    /// Which way bytes go beside input and output, if any do; the output is then a ticket.
    #[serde(default)]
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
            input: anything(),
            output: anything(),
            errors: Vec::new(),
            access: AccessRule::default(),
            idempotent: kind != OperationKind::Mutation,
            deprecated: false,
            resumable: false,
            tags: Vec::new(),
            examples: Vec::new(),
            timeout: (kind != OperationKind::Subscription).then_some(DEFAULT_OPERATION_TIMEOUT),
            max_input_bytes: None,
            bytes: None,
        }
    }
}

const fn first() -> u32 {
    1
}

const fn anything() -> Value {
    Value::Bool(true)
}

fn millis<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)).serialize(serializer)
}

fn from_millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_millis))
}

/// Whether `name` is `service/operation`, each `[a-z0-9][a-z0-9.-]{0,63}`.
pub fn is_operation_name(name: &str) -> bool {
    name.split_once('/').is_some_and(|(service, operation)| is_segment(service) && is_segment(operation))
}

pub(crate) fn is_segment(text: &str) -> bool {
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
