//! `events/consumers`, `events/save-position`, `events/forget-consumer`: how far each consumer has come.

use alknet_call::{CallError, Nothing, Operation, RegisterError, RegistryBuilder};
use alknet_store::{ConsumerName, InvalidName, Store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{UNDECLARED, on_topic, topic_name, unread};

/// Input of `events/save-position`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SavePosition {
    /// The topic.
    pub topic: String,
    /// The caller's consumer.
    pub consumer: String,
    /// The id of the last event that it is done with.
    pub id: u64,
    /// Whether it may go back, to have events again.
    #[serde(default)]
    pub rewind: bool,
}

/// Output of `events/save-position`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Position {
    /// The id that is kept now.
    pub id: u64,
}

/// Input of `events/consumers`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfTopic {
    /// The topic.
    pub topic: String,
}

/// Input of `events/forget-consumer`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedConsumer {
    /// The topic.
    pub topic: String,
    /// The caller's consumer.
    pub consumer: String,
}

/// A consumer.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Consumer {
    /// Whose it is.
    pub identity: String,
    /// Its name.
    pub consumer: String,
    /// The id of the last event that it is done with.
    pub position: u64,
    /// When it said so, in seconds since 1970.
    pub saved_at: u64,
}

/// Output of `events/consumers`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Consumers {
    /// The consumers of the topic.
    pub consumers: Vec<Consumer>,
}

/// Registers them.
pub fn register(registry: &mut RegistryBuilder, store: &Store) -> Result<(), RegisterError> {
    let saving = store.clone();
    registry.register(
        Operation::mutation("events/save-position")
            .title("Say how far a consumer has come")
            .description("Its subscriptions go on after that event, also after a restart. It never goes back unless rewind is set.")
            .access(on_topic("events:subscribe", "subscribe"))
            .error(UNDECLARED, "Nobody declared the topic.")
            .idempotent()
            .handler(move |context, input: SavePosition| {
                let store = saving.clone();
                async move {
                    let (topic, consumer) = (topic_name(&input.topic)?, consumer_name(&input.consumer)?);
                    let events = store.events();
                    let saved = if input.rewind {
                        events.rewind(&context.permit, &consumer, &topic, input.id).await
                    } else {
                        events.save_position(&context.permit, &consumer, &topic, input.id).await
                    };
                    Ok(Position { id: saved.map_err(unread)? })
                }
            }),
    )?;
    let forgetting = store.clone();
    registry.register(
        Operation::mutation("events/forget-consumer")
            .title("Forget a consumer's position")
            .access(on_topic("events:subscribe", "subscribe"))
            .error(UNDECLARED, "Nobody declared the topic.")
            .handler(move |context, input: NamedConsumer| {
                let store = forgetting.clone();
                async move {
                    let (topic, consumer) = (topic_name(&input.topic)?, consumer_name(&input.consumer)?);
                    store.events().forget(&context.permit, &consumer, &topic).await.map_err(unread)?;
                    Ok(Nothing {})
                }
            }),
    )?;
    let store = store.clone();
    registry.register(
        Operation::query("events/consumers")
            .title("List the consumers of a topic")
            .access(on_topic("events:subscribe", "subscribe"))
            .error(UNDECLARED, "Nobody declared the topic.")
            .handler(move |context, input: OfTopic| {
                let store = store.clone();
                async move {
                    let topic = topic_name(&input.topic)?;
                    let found = store.events().consumers(&context.permit, &topic).await.map_err(unread)?;
                    let consumers = found.into_iter().map(|found| Consumer {
                        identity: found.identity,
                        consumer: found.consumer.to_string(),
                        position: found.position,
                        saved_at: found.saved_at,
                    });
                    Ok(Consumers { consumers: consumers.collect() })
                }
            }),
    )?;
    Ok(())
}

/// Reads the name of a consumer.
pub fn consumer_name(text: &str) -> Result<ConsumerName, CallError> {
    text.parse().map_err(|error: InvalidName| CallError::invalid_input("/consumer", error.to_string()))
}
