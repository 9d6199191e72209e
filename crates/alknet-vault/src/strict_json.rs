//! JSON that is an object of known members and nothing else.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};

use crate::limits::MAX_REASON_CHARS;

/// Why a text is not the JSON that was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Longer than any valid text.
    #[error("longer than {0} bytes")]
    TooLong(usize),
    /// The member `v` names a version that is not known.
    #[error("version {0} is not known")]
    UnknownVersion(u64),
    /// Not JSON, or a member is unknown, missing, doubled or of the wrong type; says where.
    #[error("{0}")]
    Malformed(String),
}

/// Parses an object whose member `v` is 1.
///
/// `T` must be a struct with `deny_unknown_fields`; doubled members and arrays in its place are errors too.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8], max_bytes: usize) -> Result<T, JsonError> {
    if bytes.len() > max_bytes {
        return Err(JsonError::TooLong(max_bytes));
    }
    match serde_json::from_slice::<Object<Versioned>>(bytes).map_err(|error| malformed(&error))?.0.v {
        1 => Ok(serde_json::from_slice::<Object<T>>(bytes).map_err(|error| malformed(&error))?.0),
        other => Err(JsonError::UnknownVersion(other)),
    }
}

/// The one member that every version has.
#[derive(serde::Deserialize)]
struct Versioned {
    v: u64,
}

/// A parser's message may repeat what it read: escaped and bounded here.
fn malformed(error: &serde_json::Error) -> JsonError {
    JsonError::Malformed(error.to_string().escape_debug().take(MAX_REASON_CHARS).collect())
}

/// Accepts a JSON object only; serde's derived code would take an array for a struct as well.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members)).map(Object)
    }
}

/// Bytes as base64url without padding (RFC 4648 section 5), for `#[serde(with)]`.
pub(crate) mod base64url {
    use data_encoding::BASE64URL_NOPAD;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(crate) fn serialize<S: Serializer>(bytes: &impl AsRef<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64URL_NOPAD.encode(bytes.as_ref()))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: TryFrom<Vec<u8>>>(deserializer: D) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| Error::custom("not unpadded base64url"))?;
        T::try_from(bytes).map_err(|_| Error::custom("base64url of the wrong length"))
    }
}
