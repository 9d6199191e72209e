//! From the bytes of a frame to its meaning.

use std::{borrow::Cow, collections::HashSet, fmt, marker::PhantomData, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Value;

use super::{
    Envelope, EnvelopeError, Hello, HelloLimits, InvalidRequestId, PresentedCredential, RequestId, Requested, Wants,
    hello::VERSION,
};
use crate::{
    CallError, ErrorCode,
    limits::{MAX_BATCH_REQUESTS, MAX_HELLO_FEATURES, MAX_VIA},
    scan::{JsonDefect, scan_json},
};

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
            "call.responded" => {
                Ok(Self::Responded { id, output: payload.output.unwrap_or_default(), seq: payload.seq })
            }
            "call.completed" => Ok(Self::Completed { id }),
            "call.aborted" => Ok(Self::Aborted { id }),
            "call.credit" => {
                payload.items.map(|items| Self::Credit { id, items: saturated(items) }).ok_or(EnvelopeError::Shape)
            }
            "call.error" => payload.error().map(|error| Self::Error { id, error }),
            "call.batch" => payload.batch().map(|requests| Self::Batch { id, requests }),
            "call.hello" => payload.hello().map(|hello| Self::Hello { id, hello }),
            _ => Err(EnvelopeError::Type),
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

/// The first elements of an array, and whether there were more, which are read and dropped.
struct AtMost<T, const MOST: usize> {
    first: Vec<T>,
    more: bool,
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for AtMost<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T, const MOST: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Elements<T, MOST> {
            type Value = AtMost<T, MOST>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<AtMost<T, MOST>, A::Error> {
                let mut first = Vec::new();
                while first.len() < MOST {
                    match elements.next_element()? {
                        Some(element) => first.push(element),
                        None => return Ok(AtMost { first, more: false }),
                    }
                }
                let mut more = false;
                while elements.next_element::<IgnoredAny>()?.is_some() {
                    more = true;
                }
                Ok(AtMost { first, more })
            }
        }
        deserializer.deserialize_seq(Elements(PhantomData))
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

/// One more than are allowed, so that too many are seen.
const VIA_KEPT: usize = MAX_VIA + 1;

/// The members of all payloads, and of a batch's requests; a member of another type's payload is read and dropped.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawPayload {
    /// Of a batch's request only.
    #[serde(deserialize_with = "present")]
    id: Option<Value>,
    #[serde(deserialize_with = "present")]
    operation_id: Option<String>,
    #[serde(deserialize_with = "present")]
    input: Option<Value>,
    #[serde(deserialize_with = "present")]
    wants: Option<String>,
    #[serde(deserialize_with = "present")]
    auth_token: Option<String>,
    #[serde(deserialize_with = "present")]
    deadline_ms: Option<u64>,
    #[serde(deserialize_with = "present")]
    idempotency_key: Option<String>,
    #[serde(deserialize_with = "present")]
    credit: Option<u64>,
    #[serde(deserialize_with = "present")]
    after_seq: Option<u64>,
    #[serde(deserialize_with = "present")]
    parent_id: Option<String>,
    #[serde(deserialize_with = "present")]
    traceparent: Option<String>,
    #[serde(deserialize_with = "present")]
    via: Option<AtMost<String, VIA_KEPT>>,
    #[serde(deserialize_with = "present")]
    origin: Option<String>,
    #[serde(deserialize_with = "present")]
    requests: Option<AtMost<Object<RawPayload>, MAX_BATCH_REQUESTS>>,
    #[serde(deserialize_with = "present")]
    output: Option<Value>,
    #[serde(deserialize_with = "present")]
    seq: Option<u64>,
    #[serde(deserialize_with = "present")]
    items: Option<u64>,
    #[serde(deserialize_with = "present")]
    code: Option<String>,
    #[serde(deserialize_with = "present")]
    message: Option<String>,
    #[serde(deserialize_with = "present")]
    retryable: Option<bool>,
    #[serde(deserialize_with = "present")]
    details: Option<Value>,
    #[serde(deserialize_with = "present")]
    retry_after_ms: Option<u64>,
    #[serde(deserialize_with = "present")]
    version: Option<u64>,
    #[serde(deserialize_with = "present")]
    node_id: Option<String>,
    #[serde(deserialize_with = "present")]
    features: Option<AtMost<String, MAX_HELLO_FEATURES>>,
    #[serde(deserialize_with = "present")]
    limits: Option<Object<HelloLimits>>,
}

/// Tells a member that is `null` from one that is absent.
pub(crate) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl RawPayload {
    fn requested(self, id: RequestId) -> Result<Requested, EnvelopeError> {
        Ok(Requested {
            id,
            operation_id: self.operation_id.ok_or(EnvelopeError::Shape)?,
            input: self.input.unwrap_or_else(|| Value::Object(serde_json::Map::new())),
            wants: self.wants.map(|wants| wants_of(&wants)).transpose()?,
            auth_token: self.auth_token.map(PresentedCredential),
            deadline: self.deadline_ms.map(Duration::from_millis),
            idempotency_key: self.idempotency_key,
            credit: self.credit.map(saturated),
            after_seq: self.after_seq,
            parent_id: self.parent_id.and_then(|text| text.parse().ok()),
            traceparent: self.traceparent.and_then(|text| text.parse().ok()),
            via: self.via.map(|via| via.first).unwrap_or_default(),
            origin: self.origin,
        })
    }

    fn batch(self) -> Result<Vec<Requested>, EnvelopeError> {
        let requests = self.requests.ok_or(EnvelopeError::Shape)?;
        if requests.first.is_empty() || requests.more {
            return Err(EnvelopeError::BatchSize);
        }
        let requests: Vec<_> =
            requests.first.into_iter().map(|Object(request)| request.batched()).collect::<Result<_, _>>()?;
        let different: HashSet<_> = requests.iter().map(|request| &request.id).collect();
        if different.len() == requests.len() { Ok(requests) } else { Err(EnvelopeError::BatchTwice) }
    }

    fn batched(mut self) -> Result<Requested, EnvelopeError> {
        let id = self.id.take().ok_or(EnvelopeError::Shape)?;
        let id = id.as_str().ok_or(EnvelopeError::Shape)?.parse().map_err(|InvalidRequestId| EnvelopeError::Id)?;
        self.requested(id)
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

    fn hello(self) -> Result<Hello, EnvelopeError> {
        match self.version {
            None => return Err(EnvelopeError::Shape),
            Some(VERSION) => {}
            Some(_) => return Err(EnvelopeError::Version),
        }
        let named = self.features.map(|features| features.first).unwrap_or_default();
        let mut features: Vec<_> = named.iter().filter_map(|name| Hello::known_feature(name)).collect();
        features.dedup();
        Ok(Hello { node_id: self.node_id, features, limits: self.limits.unwrap_or_default().0 })
    }
}

fn wants_of(text: &str) -> Result<Wants, EnvelopeError> {
    match text {
        "output" => Ok(Wants::Output),
        "items" => Ok(Wants::Items),
        _ => Err(EnvelopeError::Shape),
    }
}

fn saturated(items: u64) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}

/// Reads an error's members from an object (the payload of `call.error`, or an upload's answer).
pub(crate) fn decode_error(payload: Value) -> Result<CallError, EnvelopeError> {
    let Object(payload): Object<RawPayload> = Object::deserialize(payload).map_err(|_| EnvelopeError::Shape)?;
    payload.error()
}
