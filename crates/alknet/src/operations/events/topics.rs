//! `events/declare`, `events/topics`: which topics there are, and what their events look like.

use std::time::Duration;

use alknet_call::{CallError, CompiledSchema, Nothing, Operation, RegisterError, RegistryBuilder};
use alknet_store::{NewTopic, Retention, Store, TopicRecord};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{on_topic, topic_name, undeclared};
use crate::operations::scoped;

/// Input of `events/declare`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeclareTopic {
    /// The topic: parts of a to z, 0 to 9, - and _ with dots between.
    pub topic: String,
    /// The version of the shape; a shape never changes under its version.
    pub version: u32,
    /// JSON Schema (draft 2020-12) of an event's payload.
    #[serde(default = "anything")]
    pub schema: Value,
    /// How long events are kept, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_s: Option<u64>,
    /// How many events are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_events: Option<u64>,
}

/// A topic.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Topic {
    /// Its name.
    pub topic: String,
    /// Who declared it; absent: the node itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The versions that may be published.
    pub versions: Vec<u32>,
    /// How many events are kept now.
    pub kept: u64,
    /// Events before this id are gone.
    pub oldest: u64,
    /// The id of the newest event; 0: there was none yet.
    pub newest: u64,
    /// How long events are kept, in seconds.
    pub max_age_s: u64,
    /// How many events are kept at most.
    pub max_events: u64,
}

/// Output of `events/topics`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Topics {
    /// The topics, by name.
    pub topics: Vec<Topic>,
}

/// Registers them.
pub fn register(registry: &mut RegistryBuilder, store: &Store) -> Result<(), RegisterError> {
    let declaring = store.clone();
    registry.register(
        Operation::mutation("events/declare")
            .title("Declare a topic")
            .description("A version of a topic with the shape of its events, and how long the topic keeps them. Again the same changes nothing.")
            .access(on_topic("events:declare", "declare"))
            .idempotent()
            .handler(move |context, input: DeclareTopic| {
                let store = declaring.clone();
                async move {
                    let new = new_topic(input)?;
                    store.events().declare(&context.permit, new).await.map_err(undeclared)?;
                    Ok(Nothing {})
                }
            }),
    )?;
    let store = store.clone();
    registry.register(
        Operation::query("events/topics").title("List the topics").access(scoped("events:subscribe")).handler(
            move |context, _: Nothing| {
                let store = store.clone();
                async move {
                    let topics = store.events().topics(&context.permit).await.map_err(undeclared)?;
                    Ok(Topics { topics: topics.into_iter().map(view).collect() })
                }
            },
        ),
    )?;
    Ok(())
}

fn new_topic(input: DeclareTopic) -> Result<NewTopic, CallError> {
    let name = topic_name(&input.topic)?;
    CompiledSchema::new(&input.schema).map_err(|error| CallError::invalid_input("/schema", error.to_string()))?;
    let usual = Retention::default();
    let retention = Retention {
        max_age: input.max_age_s.map_or(usual.max_age, Duration::from_secs),
        max_events: input.max_events.unwrap_or(usual.max_events),
    };
    Ok(NewTopic { name, version: input.version, schema: input.schema.to_string(), retention })
}

fn view(topic: TopicRecord) -> Topic {
    Topic {
        topic: topic.name.to_string(),
        owner: topic.owner,
        versions: topic.versions,
        kept: topic.kept,
        oldest: topic.oldest,
        newest: topic.head,
        max_age_s: topic.retention.max_age.as_secs(),
        max_events: topic.retention.max_events,
    }
}

fn anything() -> Value {
    json!({})
}
