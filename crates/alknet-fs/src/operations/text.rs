//! How names, hashes, numbers and bytes of the file system are written in JSON.

use std::{borrow::Cow, fmt, str::FromStr};

use data_encoding::BASE64;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    access::Place,
    hash::ContentHash,
    ids::Seq,
    name::{BadName, BranchName, BucketName, HookName, SnapshotName},
    path::{BadPath, Escaped, FsPath},
    time::{format_rfc3339, parse_rfc3339},
};

macro_rules! texts {
    ($($type:ty, $name:literal, $pattern:literal;)*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(D::Error::custom)
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    )*};
}

texts! {
    BucketName, "BucketName", "^[a-z0-9][a-z0-9._-]{0,62}$";
    BranchName, "BranchName", "^[a-z0-9][a-z0-9._-]{0,62}$";
    SnapshotName, "SnapshotName", "^[a-z][a-z0-9._-]{0,62}$";
    HookName, "HookName", "^[a-z0-9][a-z0-9._-]{0,62}$";
    BranchRef, "BranchRef", "^[a-z0-9][a-z0-9._-]{0,62}/[a-z0-9][a-z0-9._-]{0,62}$";
    ContentHash, "ContentHash", "^[0-9a-f]{64}$";
    InodeNumber, "InodeNumber", "^[0-9]{1,19}$";
    Timestamp, "Timestamp", "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$";
}

/// A branch with its bucket, as inputs and grants name it: `bucket/branch`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BranchRef {
    /// The bucket.
    pub bucket: BucketName,
    /// The branch.
    pub branch: BranchName,
}

impl BranchRef {
    /// What rights are asked over.
    pub const fn place(&self) -> Place<'_> {
        Place { bucket: &self.bucket, branch: Some(&self.branch) }
    }
}

impl FromStr for BranchRef {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let (bucket, branch) = text.split_once('/').unwrap_or((text, ""));
        Ok(Self { bucket: bucket.parse()?, branch: branch.parse()? })
    }
}

impl fmt::Display for BranchRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bucket, self.branch)
    }
}

/// The number of an inode as POSIX shows it: a text, since JSON's numbers end at 53 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InodeNumber(pub u64);

impl FromStr for InodeNumber {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for InodeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A point in time, in nanoseconds since 1970; written by RFC 3339 with as many digits as it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

/// A text that is no point in time between the years 1677 and 2262.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write a time as 2026-01-31T12:00:00Z, between the years 1677 and 2262")]
pub struct BadTimestamp;

impl FromStr for Timestamp {
    type Err = BadTimestamp;
    fn from_str(text: &str) -> Result<Self, BadTimestamp> {
        parse_rfc3339(text).map(Self).ok_or(BadTimestamp)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_rfc3339(self.0))
    }
}

impl Serialize for Seq {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(self.get())
    }
}

impl<'de> Deserialize<'de> for Seq {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(from)?;
        Self::new(number).ok_or_else(|| D::Error::custom("a commit's number is at most 2^63 - 1"))
    }
}

impl JsonSchema for Seq {
    fn schema_name() -> Cow<'static, str> {
        "Seq".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 0, "maximum": i64::MAX })
    }
}

/// Bytes that are mostly text, as names are: a JSON string where they are UTF-8, else `{"base64": "…"}`. Both are read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Octets(pub Vec<u8>);

impl Octets {
    /// The bytes read as a path.
    pub fn path(&self) -> Result<FsPath, BadPath> {
        FsPath::parse(&self.0)
    }
}

impl From<&FsPath> for Octets {
    fn from(path: &FsPath) -> Self {
        Self(path.to_bytes())
    }
}

impl From<&[u8]> for Octets {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl From<&str> for Octets {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

/// For people; bytes that are no text are escaped.
impl fmt::Display for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.0).fmt(f)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Bytes(Wrapped),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    base64: Base64,
}

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => to.serialize_str(text),
            Err(_) => Wrapped { base64: Base64(self.0.clone()) }.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Written::deserialize(from)? {
            Written::Text(text) => Ok(Self(text.into_bytes())),
            Written::Bytes(Wrapped { base64 }) => Ok(Self(base64.0)),
        }
    }
}

impl JsonSchema for Octets {
    fn schema_name() -> Cow<'static, str> {
        "Octets".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Bytes that are mostly text: a string where they are UTF-8, else an object with their base64.",
            "anyOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "properties": { "base64": { "type": "string" } },
                    "required": ["base64"],
                    "additionalProperties": false
                }
            ]
        })
    }
}

/// Bytes of any sort, as base64 (RFC 4648, section 4, with padding).
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Base64(pub Vec<u8>);

/// Content is not for logs: only its length is shown.
impl fmt::Debug for Base64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Base64({} bytes)", self.0.len())
    }
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        BASE64.decode(text.as_bytes()).map(Self).map_err(|_| D::Error::custom("this is no base64 with padding"))
    }
}

impl JsonSchema for Base64 {
    fn schema_name() -> Cow<'static, str> {
        "Base64".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "contentEncoding": "base64" })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json, to_value};

    use super::*;

    #[test]
    fn bytes_are_text_where_they_are_utf_8_and_come_back_as_they_were() {
        // FS-30
        for (bytes, written) in [
            (b"a b".as_slice(), json!("a b")),
            ("ä\0".as_bytes(), json!("ä\0")),
            (b"", json!("")),
            (b"\xff/a", json!({ "base64": "/y9h" })),
        ] {
            let octets = Octets::from(bytes);
            assert_eq!(to_value(&octets).unwrap(), written);
            assert_eq!(from_value::<Octets>(written).unwrap(), octets);
        }
        assert_eq!(from_value::<Octets>(json!({ "base64": "YQ==" })).unwrap(), Octets::from("a"));
        for bad in [
            json!(1),
            json!({}),
            json!({ "base64": "%" }),
            json!({ "base64": "YQ" }),
            json!({ "base64": "YQ==", "a": 1 }),
        ] {
            assert!(from_value::<Octets>(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_beyond_53_bits_and_times_are_texts() {
        // FS-30
        assert_eq!(to_value(InodeNumber(u64::MAX >> 1)).unwrap(), json!("9223372036854775807"));
        assert_eq!(from_value::<InodeNumber>(json!("7")).unwrap(), InodeNumber(7));
        let time = Timestamp(1_795_341_600_123_456_789);
        assert_eq!(to_value(time).unwrap(), json!("2026-11-22T10:00:00.123456789Z"));
        assert_eq!(from_value::<Timestamp>(json!("2026-11-22T11:00:00.123456789+01:00")).unwrap(), time);
        assert!(from_value::<Timestamp>(json!("yesterday")).is_err());
        assert_eq!(to_value(Seq::new(3).unwrap()).unwrap(), json!(3));
        assert!(from_value::<Seq>(json!(u64::MAX)).is_err());
        assert!(from_value::<Seq>(json!("3")).is_err());
    }

    #[test]
    fn a_branch_is_named_with_its_bucket() {
        // FS-30
        let branch: BranchRef = from_value(json!("proj/main")).unwrap();
        assert_eq!((branch.bucket.as_str(), branch.branch.as_str()), ("proj", "main"));
        assert_eq!(to_value(&branch).unwrap(), json!("proj/main"));
        assert_eq!(branch.place().resource().to_string(), "bucket:proj/main");
        for bad in ["proj", "proj/", "/main", "proj/main/x", "proj/..", "Proj/main"] {
            assert!(from_value::<BranchRef>(Value::from(bad)).is_err(), "{bad}");
        }
    }
}
