//! What `events/*` takes and gives.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most events of one page of `events/list`.
pub const MAX_PAGE: u32 = 1_000;

/// Input of `events/publish`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// The topic.
    pub topic: String,
    /// The version of the topic's shape that the events have.
    #[serde(default = "first")]
    pub version: u32,
    /// The events.
    #[schemars(length(min = 1, max = 1_000))]
    pub events: Vec<NewEventView>,
}

/// One event to publish.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEventView {
    /// What it is about, for those who keep only the latest of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What happened, in the topic's shape.
    pub payload: Value,
}

/// Output of `events/publish`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Published {
    /// The events' ids, in their order.
    pub ids: Vec<u64>,
}

/// Input of `events/list`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListEvents {
    /// The topic.
    pub topic: String,
    /// Only events after this id.
    #[serde(default)]
    pub after: u64,
    /// At most so many.
    #[serde(default = "page")]
    #[schemars(range(min = 1, max = MAX_PAGE))]
    pub limit: u32,
}

/// Output of `events/list`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct EventPage {
    /// The events, oldest first.
    pub events: Vec<EventView>,
}

/// Where a subscription begins that has no position yet.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// With what is published from now on.
    #[default]
    Newest,
    /// With the oldest event that is kept.
    Oldest,
}

/// Input of `events/subscribe`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subscribe {
    /// The topic.
    pub topic: String,
    /// A name under which the caller's position is kept: it goes on from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer: Option<String>,
    /// Where to begin without a position.
    #[serde(default)]
    pub from: From,
    /// Only events with this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// An event.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct EventView {
    /// Its id; later ones have higher ids.
    pub id: u64,
    /// The topic.
    pub topic: String,
    /// The version of the topic's shape that it has.
    pub version: u32,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What happened.
    pub payload: Value,
    /// When it was published, in milliseconds since 1970.
    pub published_at_ms: u64,
    /// Who published it; absent: the node itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<String>,
}

const fn first() -> u32 {
    1
}

const fn page() -> u32 {
    100
}
