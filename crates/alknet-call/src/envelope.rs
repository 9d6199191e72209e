//! Envelopes: what one frame says (`docs/spec/call.md`, 3). Pure: no IO, no clock.

use std::{borrow::Cow, fmt, marker::PhantomData, str::FromStr, time::Duration};

use bytes::BytesMut;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Value;

use crate::{
    CallError, ErrorCode,
    limits::MAX_REQUEST_ID_BYTES,
    scan::{JsonDefect, scan_json},
    wire::{EncodeError, encode_frame},
};

/// The id of a request: 1 to 64 visible ASCII characters, unique among what its caller has open on the connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(String);

/// A text that is no request id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an id has 1 to {MAX_REQUEST_ID_BYTES} visible ASCII characters")]
pub struct InvalidRequestId;

impl RequestId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RequestId {
    type Err = InvalidRequestId;
    fn from_str(text: &str) -> Result<Self, InvalidRequestId> {
        let good = (1..=MAX_REQUEST_ID_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if good { Ok(Self(text.to_owned())) } else { Err(InvalidRequestId) }
    }
}

/// A credential as a caller presents it. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PresentedCredential(String);

impl PresentedCredential {
    /// Takes an auth token or an API key.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
    /// The text itself, to verify or to send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PresentedCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresentedCredential(…)")
    }
}

/// A request for a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Requested {
    /// Its id.
    pub id: RequestId,
    /// The operation as it travels: `/service/operation`.
    pub operation_id: String,
    /// What the operation is given.
    pub input: Value,
    /// A credential that goes before the connection's.
    pub auth_token: Option<PresentedCredential>,
    /// How long the caller still waits.
    pub deadline: Option<Duration>,
    /// The caller's request that caused this one: information.
    pub parent_id: Option<RequestId>,
    /// Whether it asks for what this version does not do.
    pub wants_idempotency: bool,
}

/// One frame's meaning.
#[derive(Debug, Clone, PartialEq)]
pub enum Envelope {
    /// `call.requested`: the caller asks.
    Requested(Box<Requested>),
    /// `call.responded`: the callee answers.
    Responded {
        /// The request's id.
        id: RequestId,
        /// What the operation gave.
        output: Value,
    },
    /// `call.aborted`: the caller calls it off.
    Aborted {
        /// The request's id.
        id: RequestId,
    },
    /// `call.error`: the callee says that it failed.
    Error {
        /// The request's id.
        id: RequestId,
        /// How.
        error: CallError,
    },
    /// A type that the protocol names and this version does not do.
    Unsupported {
        /// The envelope's id.
        id: RequestId,
        /// The type.
        kind: &'static str,
    },
}

/// Types that are named but not done.
const UNSUPPORTED: [&str; 4] = ["call.batch", "call.completed", "call.hello", "call.credit"];

/// Why a frame is no envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Its bytes are not UTF-8.
    #[error("a frame is not UTF-8")]
    NotUtf8,
    /// Its JSON is refused.
    #[error("a frame is refused: {0}")]
    Json(#[from] JsonDefect),
    /// It is JSON of another shape.
    #[error("a frame is no envelope")]
    Shape,
    /// Its id is none.
    #[error("an envelope's id is none")]
    Id,
    /// Its type is unknown.
    #[error("an envelope's type is unknown")]
    Type,
}

impl Envelope {
    /// Reads a frame's content.
    pub fn decode(frame: &[u8]) -> Result<Self, EnvelopeError> {
        let text = std::str::from_utf8(frame).map_err(|_| EnvelopeError::NotUtf8)?;
        scan_json(text)?;
        let Object(raw): Object<RawEnvelope<'_>> = serde_json::from_str(text).map_err(|error| {
            if error.is_data() { EnvelopeError::Shape } else { EnvelopeError::Json(JsonDefect::Malformed) }
        })?;
        let id: RequestId = raw.id.parse().map_err(|InvalidRequestId| EnvelopeError::Id)?;
        let Object(payload) = raw.payload;
        match &*raw.kind {
            "call.requested" => payload.requested(id).map(Box::new).map(Self::Requested),
            "call.responded" => Ok(Self::Responded { id, output: payload.output.unwrap_or_default() }),
            "call.aborted" => Ok(Self::Aborted { id }),
            "call.error" => payload.error().map(|error| Self::Error { id, error }),
            other => match UNSUPPORTED.iter().find(|kind| **kind == other) {
                Some(kind) => Ok(Self::Unsupported { id, kind }),
                None => Err(EnvelopeError::Type),
            },
        }
    }
}

/// Only a JSON object; derived structs would take an array as well.
struct Object<T>(T);

impl<T: Default> Default for Object<T> {
    fn default() -> Self {
        Self(T::default())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Object)
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

#[derive(Deserialize)]
struct RawEnvelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(default)]
    payload: Object<RawPayload>,
}

/// The members of all payloads; a member of another type's payload is read and dropped.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPayload {
    operation_id: Option<String>,
    #[serde(default, deserialize_with = "present")]
    input: Option<Value>,
    auth_token: Option<String>,
    deadline_ms: Option<u64>,
    parent_id: Option<String>,
    idempotency_key: Option<String>,
    #[serde(default, deserialize_with = "present")]
    output: Option<Value>,
    code: Option<String>,
    message: Option<String>,
    retryable: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    details: Option<Value>,
    retry_after_ms: Option<u64>,
}

/// Tells a member that is `null` from one that is absent.
pub(crate) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl RawPayload {
    fn requested(self, id: RequestId) -> Result<Requested, EnvelopeError> {
        Ok(Requested {
            id,
            operation_id: self.operation_id.ok_or(EnvelopeError::Shape)?,
            input: self.input.unwrap_or_else(|| Value::Object(serde_json::Map::new())),
            auth_token: self.auth_token.map(PresentedCredential),
            deadline: self.deadline_ms.map(Duration::from_millis),
            parent_id: self.parent_id.and_then(|text| text.parse().ok()),
            wants_idempotency: self.idempotency_key.is_some(),
        })
    }

    fn error(self) -> Result<CallError, EnvelopeError> {
        let code = self.code.ok_or(EnvelopeError::Shape)?;
        Ok(CallError {
            retryable: self.retryable.unwrap_or(false),
            details: self.details,
            retry_after: self.retry_after_ms.map(Duration::from_millis),
            ..CallError::new(ErrorCode::from_wire(&code), self.message.unwrap_or_default())
        })
    }
}

#[derive(Serialize)]
struct Frame<'a, P> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    payload: P,
}

fn append(out: &mut BytesMut, kind: &'static str, id: &RequestId, payload: impl Serialize) -> Result<(), EncodeError> {
    encode_frame(&Frame { kind, id: id.as_str(), payload }, out)
}

/// Appends a `call.requested` frame.
pub(crate) fn encode_requested(out: &mut BytesMut, requested: &Requested) -> Result<(), EncodeError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload<'a> {
        operation_id: &'a str,
        input: &'a Value,
        #[serde(skip_serializing_if = "Option::is_none")]
        auth_token: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        deadline_ms: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        parent_id: Option<&'a str>,
    }
    let payload = Payload {
        operation_id: &requested.operation_id,
        input: &requested.input,
        auth_token: requested.auth_token.as_ref().map(PresentedCredential::reveal),
        deadline_ms: requested.deadline.map(whole_millis),
        parent_id: requested.parent_id.as_ref().map(RequestId::as_str),
    };
    append(out, "call.requested", &requested.id, payload)
}

/// Appends a `call.aborted` frame.
pub(crate) fn encode_aborted(out: &mut BytesMut, id: &RequestId) -> Result<(), EncodeError> {
    append(out, "call.aborted", id, Value::Object(serde_json::Map::new()))
}

/// Appends a `call.responded` frame.
pub(crate) fn encode_responded(out: &mut BytesMut, id: &RequestId, output: &Value) -> Result<(), EncodeError> {
    #[derive(Serialize)]
    struct Payload<'a> {
        output: &'a Value,
    }
    append(out, "call.responded", id, Payload { output })
}

/// Appends a `call.error` frame.
pub(crate) fn encode_error(out: &mut BytesMut, id: &RequestId, error: &CallError) -> Result<(), EncodeError> {
    append(out, "call.error", id, ErrorPayload::from(error))
}

/// An error as it travels.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrorPayload<'a> {
    code: &'a str,
    message: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl<'a> From<&'a CallError> for ErrorPayload<'a> {
    fn from(error: &'a CallError) -> Self {
        Self {
            code: error.code.as_str(),
            message: &error.message,
            retryable: error.retryable,
            details: error.details.as_ref(),
            retry_after_ms: error.retry_after.map(whole_millis),
        }
    }
}

/// Reads an error's members from an object (the payload of `call.error`, or an upload's answer).
pub(crate) fn decode_error(payload: Value) -> Result<CallError, EnvelopeError> {
    let Object(payload): Object<RawPayload> = Object::deserialize(payload).map_err(|_| EnvelopeError::Shape)?;
    payload.error()
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn decode(value: &Value) -> Result<Envelope, EnvelopeError> {
        Envelope::decode(value.to_string().as_bytes())
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same() {
        let requested = Requested {
            id: "7".parse().unwrap(),
            operation_id: "/a/b".into(),
            input: json!({"x": [1, null]}),
            auth_token: Some(PresentedCredential::new("t")),
            deadline: Some(Duration::from_millis(5)),
            parent_id: Some("p".parse().unwrap()),
            wants_idempotency: false,
        };
        let mut out = BytesMut::new();
        encode_requested(&mut out, &requested).unwrap();
        assert_eq!(Envelope::decode(&out[4..]), Ok(Envelope::Requested(Box::new(requested))));
        let id: RequestId = "8".parse().unwrap();
        let error = CallError { retry_after: Some(Duration::from_secs(2)), ..CallError::invalid_input("/x", "no") };
        let mut out = BytesMut::new();
        encode_error(&mut out, &id, &error).unwrap();
        assert_eq!(Envelope::decode(&out[4..]), Ok(Envelope::Error { id: id.clone(), error }));
        let mut out = BytesMut::new();
        encode_aborted(&mut out, &id).unwrap();
        assert_eq!(Envelope::decode(&out[4..]), Ok(Envelope::Aborted { id: id.clone() }));
        let mut out = BytesMut::new();
        encode_responded(&mut out, &id, &Value::Null).unwrap();
        assert_eq!(Envelope::decode(&out[4..]), Ok(Envelope::Responded { id, output: Value::Null }));
    }

    // CALL-05
    #[test]
    fn ids_are_visible_ascii_and_bounded() {
        assert!("a".repeat(64).parse::<RequestId>().is_ok());
        for bad in ["", " ", "a b", "ä", "a\n", "\u{7f}", &"a".repeat(65)] {
            assert_eq!(bad.parse::<RequestId>(), Err(InvalidRequestId), "{bad:?}");
        }
    }

    // CALL-09: members that are not named here are ignored; an absent input is an empty object.
    #[test]
    fn unknown_members_are_ignored_and_a_missing_input_is_empty() {
        let envelope = decode(&json!({
            "type": "call.requested", "id": "1", "future": [1], "payload": {"operationId": "/a/b", "future": {}}
        }));
        let Ok(Envelope::Requested(requested)) = envelope else { panic!("{envelope:?}") };
        assert_eq!(requested.input, json!({}));
        let null = json!({"type": "call.requested", "id": "1", "payload": {"operationId": "/a/b", "input": null}});
        let Ok(Envelope::Requested(requested)) = decode(&null) else { panic!() };
        assert_eq!(requested.input, Value::Null);
    }

    #[test]
    fn a_presented_credential_is_not_shown() {
        let envelope = decode(&json!({
            "type": "call.requested", "id": "1", "payload": {"operationId": "/a/b", "authToken": "hunter2"}
        }));
        assert!(!format!("{envelope:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Envelope::decode(&bytes);
        }

        #[test]
        fn any_mutation_is_safe(at in 0..120_usize, byte in any::<u8>()) {
            let mut bytes = br#"{"type":"call.requested","id":"1","payload":{"operationId":"/a/b","input":{"a":[1,2,{"b":"c"}]},"deadlineMs":9}}"#.to_vec();
            if let Some(slot) = bytes.get_mut(at) {
                *slot = byte;
            }
            let _ = Envelope::decode(&bytes);
        }
    }
}
