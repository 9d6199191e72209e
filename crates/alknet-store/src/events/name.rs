//! What topics, queues and consumers are called.

use std::{fmt, str::FromStr};

use crate::limits::MAX_EVENT_NAME_BYTES;

/// A text that is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is no name of a {what}: parts of a to z, 0 to 9, `-` and `_` with dots between, {MAX_EVENT_NAME_BYTES} bytes at most",
    .text.escape_debug()
)]
pub struct InvalidName {
    /// What should have been named.
    pub what: &'static str,
    /// The beginning of the text.
    pub text: String,
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                if is_name(text) { Ok(Self(text.to_owned())) } else { Err(invalid($what, text)) }
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

names! {
    /// The name of a topic. Those of the node itself begin with `node.`.
    TopicName, "topic";
    /// The name of a queue.
    QueueName, "queue";
    /// The name of a consumer: of a topic, or of a queue's jobs.
    ConsumerName, "consumer";
}

impl TopicName {
    /// Whether only the node itself publishes under this name.
    pub fn is_nodes(&self) -> bool {
        self.0 == "node" || self.0.starts_with("node.")
    }
}

fn is_name(text: &str) -> bool {
    let is_part = |part: &str| {
        part.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            && part.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
    };
    text.len() <= MAX_EVENT_NAME_BYTES && text.split('.').all(is_part)
}

fn invalid(what: &'static str, text: &str) -> InvalidName {
    InvalidName { what, text: text[..text.floor_char_boundary(MAX_EVENT_NAME_BYTES)].to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parts_with_dots_between() {
        // STORE-70
        for good in ["a", "node.peers", "orders.eu-1.v_2", "0", &"x".repeat(MAX_EVENT_NAME_BYTES)] {
            assert_eq!(good.parse::<TopicName>().unwrap().as_str(), good);
        }
        let long = "x".repeat(MAX_EVENT_NAME_BYTES + 1);
        for bad in ["", ".", "a.", ".a", "a..b", "A", "a b", "a/b", "a:b", "-a", "a.-b", "ä", "a\0", "a\n", "*", &long]
        {
            assert!(bad.parse::<QueueName>().is_err(), "{bad:?}");
        }
        let error = "é".repeat(200).parse::<ConsumerName>().unwrap_err();
        assert!(error.text.len() <= MAX_EVENT_NAME_BYTES && error.what == "consumer");
    }

    #[test]
    fn the_nodes_names_are_known() {
        let is_nodes = |text: &str| text.parse::<TopicName>().unwrap().is_nodes();
        assert!(is_nodes("node") && is_nodes("node.peers") && !is_nodes("nodes.peers") && !is_nodes("my.node"));
    }
}
