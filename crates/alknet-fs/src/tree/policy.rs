//! How a bucket behaves, as its owner sets it: JSON, and nothing in it that is not understood.

use std::{fmt, time::Duration};

use alknet_store::Durability;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::{
    folding::Names,
    limits::{MAX_POLICY_BYTES, MAX_SHOWN_REASON_BYTES},
    path::Escaped,
};

/// How a bucket behaves. What is left out is as it is by default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// What an acknowledged change has outlived, where the change itself does not say.
    #[serde(with = "durability")]
    pub durability: Durability,
    /// What becomes of the later one of two writers.
    pub conflict: OnConflict,
    /// How long versions are kept that no branch, snapshot or open file needs; `None`: for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// Which names are one and the same.
    pub names: Names,
    /// Whether changes are published as events.
    pub events: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            durability: Durability::Strict,
            conflict: OnConflict::Lww,
            retention: None,
            names: Names::Bytes,
            events: true,
        }
    }
}

/// What a bucket does with the later one of two writers that began from the same version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnConflict {
    /// Its content becomes the newest version, above the other's.
    #[default]
    Lww,
    /// It is refused, and nothing of it is kept.
    Fail,
    /// Its content becomes a file of its own beside the other's.
    KeepBoth,
}

/// How long versions are kept: a number and one of `s m h d w`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Retention(u64);

/// A text that is no policy.
#[derive(Debug, thiserror::Error)]
pub enum BadPolicy {
    /// More bytes than any needs.
    #[error("a policy has at most {MAX_POLICY_BYTES} bytes")]
    TooLong,
    /// It is not understood.
    #[error("this is no policy of a bucket: {}", shown(.0))]
    Malformed(#[from] serde_json::Error),
    /// A span that is none.
    #[error("how long versions are kept is a number and one of s, m, h, d and w, such as 30d")]
    Retention,
}

/// The reason quotes the text, which may be anything.
fn shown(error: &serde_json::Error) -> String {
    let mut said = Escaped(error.to_string().as_bytes()).to_string();
    said.truncate(said.floor_char_boundary(MAX_SHOWN_REASON_BYTES));
    said
}

impl Policy {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, BadPolicy> {
        if text.len() > MAX_POLICY_BYTES {
            return Err(BadPolicy::TooLong);
        }
        if !text.trim_start().starts_with('{') {
            // A list would be read as the members in their order.
            return Err(serde_json::Error::custom("it is no object").into());
        }
        Ok(serde_json::from_str(text)?)
    }
    /// The policy as it is kept.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("because a policy has words and numbers only")
    }
}

/// Seconds in each unit, the largest first.
const UNITS: [(char, u64); 5] = [('w', 604_800), ('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

impl Retention {
    /// So many whole seconds, as many as the clock can count.
    pub fn new(span: Duration) -> Self {
        Self(span.as_secs().min(i64::MAX.unsigned_abs() / 1_000_000_000))
    }
    /// The time that is so long before another, in nanoseconds since 1970.
    pub(crate) fn before(self, now_ns: i64) -> i64 {
        let span = i64::try_from(self.0).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
        now_ns.saturating_sub(span)
    }
    /// Reads one, as in `30d`.
    pub fn parse(text: &str) -> Result<Self, BadPolicy> {
        let unit = |unit: char| UNITS.iter().find(|(name, _)| *name == unit).map(|(_, seconds)| *seconds);
        let last = text.chars().next_back().ok_or(BadPolicy::Retention)?;
        let number = &text[..text.len() - last.len_utf8()];
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let number = number.parse::<u64>().ok().filter(|_| is_number);
        let seconds = number.zip(unit(last)).and_then(|(number, unit)| number.checked_mul(unit));
        seconds.map(|seconds| Self::new(Duration::from_secs(seconds))).ok_or(BadPolicy::Retention)
    }
    /// How long.
    pub const fn span(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.iter().find(|(_, seconds)| self.0 > 0 && self.0.is_multiple_of(*seconds));
        let (unit, seconds) = whole.copied().unwrap_or(('s', 1));
        write!(f, "{}{unit}", self.0 / seconds)
    }
}

impl Serialize for Retention {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Retention {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

/// Durability by its words.
mod durability {
    use alknet_store::Durability;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Word {
        Strict,
        Group,
        Lazy,
    }

    pub fn serialize<S: Serializer>(durability: &Durability, serializer: S) -> Result<S::Ok, S::Error> {
        let word = match durability {
            Durability::Strict => Word::Strict,
            Durability::Group => Word::Group,
            Durability::Lazy => Word::Lazy,
        };
        word.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Durability, D::Error> {
        Ok(match Word::deserialize(deserializer)? {
            Word::Strict => Durability::Strict,
            Word::Group => Durability::Group,
            Word::Lazy => Durability::Lazy,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_says_what_is_understood_and_nothing_else() {
        // TREE-61
        assert_eq!(Policy::parse("{}").unwrap(), Policy::default());
        let text = r#"{"durability":"lazy","conflict":"keep-both","retention":"2w","names":"bytes","events":false}"#;
        let policy = Policy::parse(text).unwrap();
        assert_eq!((policy.durability, policy.conflict), (Durability::Lazy, OnConflict::KeepBoth));
        assert_eq!(policy.retention.unwrap().span(), Duration::from_secs(14 * 86_400));
        assert_eq!(policy.to_json(), text);
        let bad = [
            "",
            "[]",
            "null",
            r#"{"durabilty":"lazy"}"#,
            r#"{"durability":"Lazy"}"#,
            r#"{"names":"nfd"}"#,
            r#"{"events":1}"#,
            r#"{"retention":30}"#,
            r#"{"events":true,"events":false}"#,
        ];
        for text in bad {
            assert!(matches!(Policy::parse(text), Err(BadPolicy::Malformed(_))), "{text}");
        }
        for unknown in ["x", "\u{7f}", "é"] {
            let quoted = Policy::parse(&format!(r#"{{"\u0007{}":1}}"#, unknown.repeat(1000))).unwrap_err().to_string();
            assert!(quoted.len() < 300 && !quoted.contains(char::is_control), "{quoted}");
        }
        assert!(matches!(Policy::parse(&" ".repeat(MAX_POLICY_BYTES + 1)), Err(BadPolicy::TooLong)));
    }

    #[test]
    fn how_long_versions_are_kept_reads_back_as_it_is_written() {
        // TREE-61
        let table = [("0s", "0s"), ("90s", "90s"), ("60m", "1h"), ("30d", "30d"), ("14d", "2w"), ("36h", "36h")];
        for (text, shown) in table {
            let read = Retention::parse(text).unwrap();
            assert_eq!(read.to_string(), shown);
            assert_eq!(Retention::parse(shown).unwrap(), read);
        }
        for bad in ["", "d", "30", "30 d", "+3d", "-3d", "3é", "30y", "99999999999999999999d", "9999999999999999999w"]
        {
            assert!(Retention::parse(bad).is_err(), "{bad}");
        }
        assert!(Retention::parse("99999999999w").unwrap().span().as_nanos() <= i64::MAX as u128);
    }
}
