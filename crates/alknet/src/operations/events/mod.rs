//! `events/*`: what happened, told to whoever may know, at least once and in order.
//!
//! What leaves a service is declared: a topic, a version and a JSON schema. Everything published is held to it here.

mod feed;
mod positions;
mod topics;
mod views;

pub use positions::{Consumers, NamedConsumer, Position, SavePosition};
pub use topics::{DeclareTopic, Topics};
pub use views::{EventPage, EventView, From, ListEvents, NewEventView, Publish, Published, Subscribe};

use alknet_call::{CallError, CompiledSchema, ErrorCode, Item, Operation, RegisterError, RegistryBuilder};
use alknet_core::{AccessRule, Permit, ResourceDemand};
use alknet_store::{DeclareError, Event, NewEvent, PublishError, ReadError, Store, TopicName};
use serde_json::{Value, json};

use super::{Foundation, not_stored};

/// The error code of a position whose events are gone.
const TRIMMED: &str = "TRIMMED";
/// The error code of a topic or version that nobody declared.
pub const UNDECLARED: &str = "UNDECLARED";

/// Registers `events/*`.
pub fn register(registry: &mut RegistryBuilder, foundation: &Foundation) -> Result<(), RegisterError> {
    topics::register(registry, &foundation.store)?;
    positions::register(registry, &foundation.store)?;
    register_publish(registry, &foundation.store)?;
    register_list(registry, &foundation.store)?;
    register_subscribe(registry, &foundation.store)
}

fn register_publish(registry: &mut RegistryBuilder, store: &Store) -> Result<(), RegisterError> {
    let store = store.clone();
    registry.register(
        Operation::mutation("events/publish")
            .title("Publish events")
            .description(
                "All of them or none. The ids come back once they are on disk; subscribers get each at least once.",
            )
            .access(on_topic("events:publish", "publish"))
            .error(UNDECLARED, "Nobody declared the topic, or not in this version.")
            .handler(move |context, input: Publish| {
                let store = store.clone();
                async move { publish(&store, &context.permit, input).await }
            }),
    )?;
    Ok(())
}

fn register_list(registry: &mut RegistryBuilder, store: &Store) -> Result<(), RegisterError> {
    let store = store.clone();
    registry.register(
        Operation::query("events/list")
            .title("Read a page of events")
            .description("Events after an id, in their order. An empty page means that there are no more yet.")
            .access(on_topic("events:subscribe", "subscribe"))
            .error(TRIMMED, "Events after the position are no longer kept; details.oldest is the oldest that is.")
            .error(UNDECLARED, "Nobody declared the topic.")
            .handler(move |context, input: ListEvents| {
                let store = store.clone();
                async move {
                    let topic = topic_name(&input.topic)?;
                    let limit = usize::try_from(input.limit).unwrap_or(usize::MAX);
                    let events = store.events().read(&context.permit, &topic, input.after, limit).await;
                    let events = events.map_err(unread)?.into_iter().map(view).collect::<Result<_, _>>()?;
                    Ok(EventPage { events })
                }
            }),
    )?;
    Ok(())
}

fn register_subscribe(registry: &mut RegistryBuilder, store: &Store) -> Result<(), RegisterError> {
    let store = store.clone();
    registry.register(
        Operation::subscription("events/subscribe")
            .title("Follow a topic")
            .description(
                "Events in their order, at least once; seq is the event's id. It begins after the position of `consumer`, \
                 or at the newest or oldest event. A consumer says how far it has come with `events/save-position`.",
            )
            .access(on_topic("events:subscribe", "subscribe"))
            .error(TRIMMED, "Events after the position are no longer kept; details.oldest is the oldest that is.")
            .error(UNDECLARED, "Nobody declared the topic.")
            .resumable()
            .items(move |context, input: Subscribe| {
                let store = store.clone();
                async move { feed::open(store, context, input).await }
            }),
    )?;
    Ok(())
}

async fn publish(store: &Store, permit: &Permit, input: Publish) -> Result<Published, CallError> {
    let topic = topic_name(&input.topic)?;
    let projection = store.events().projection(permit, &topic, input.version).await.map_err(undeclared)?;
    let schema: Value = serde_json::from_str(&projection.schema).map_err(CallError::internal)?;
    let schema = CompiledSchema::new(&schema).map_err(CallError::internal)?;
    let mut events = Vec::with_capacity(input.events.len());
    for (index, event) in input.events.into_iter().enumerate() {
        schema.check(&event.payload).map_err(|error| within(&format!("/events/{index}/payload"), &error))?;
        let payload = event.payload.to_string();
        events.push(NewEvent { topic: topic.clone(), version: input.version, key: event.key, payload });
    }
    let ids = store.events().publish(permit, events).await.map_err(unpublished)?;
    Ok(Published { ids })
}

/// One scope, and a grant on the topic that the input names.
fn on_topic(scope: &str, action: &str) -> AccessRule {
    super::scoped(scope).on(ResourceDemand {
        kind: "topic".to_owned(),
        id_pointer: "/topic".to_owned(),
        action: action.to_owned(),
    })
}

fn topic_name(text: &str) -> Result<TopicName, CallError> {
    text.parse().map_err(|error: alknet_store::InvalidName| CallError::invalid_input("/topic", error.to_string()))
}

fn view(event: Event) -> Result<EventView, CallError> {
    Ok(EventView {
        id: event.id,
        topic: event.topic.to_string(),
        version: event.version,
        key: event.key,
        payload: serde_json::from_str(&event.payload).map_err(CallError::internal)?,
        published_at_ms: event.published_at_ms,
        publisher: event.publisher,
    })
}

fn item(event: Event) -> Result<Item<EventView>, CallError> {
    let seq = Some(event.id);
    Ok(Item { output: view(event)?, seq })
}

/// Moves an `INVALID_INPUT` to where in the operation's input the checked part stood.
fn within(place: &str, error: &CallError) -> CallError {
    let inner = error.details.as_ref().and_then(|details| details["pointer"].as_str()).unwrap_or_default();
    CallError::invalid_input(&format!("{place}{inner}"), error.message.clone())
}

fn unpublished(error: PublishError) -> CallError {
    match error {
        PublishError::Undeclared(_) | PublishError::UnknownVersion { .. } => {
            CallError::declared(UNDECLARED, error.to_string())
        }
        PublishError::Reserved(_) => CallError::new(ErrorCode::Forbidden, error.to_string()),
        PublishError::TooMany => CallError::invalid_input("/events", error.to_string()),
        PublishError::KeyTooLong(index) => CallError::invalid_input(&format!("/events/{index}/key"), error.to_string()),
        PublishError::BadPayload { index, .. } => {
            CallError::invalid_input(&format!("/events/{index}/payload"), error.to_string())
        }
        PublishError::Permit(error) => error.into(),
        PublishError::Store(error) => not_stored(&error),
    }
}

fn unread(error: ReadError) -> CallError {
    match error {
        ReadError::Undeclared(_) => CallError::declared(UNDECLARED, error.to_string()),
        ReadError::Trimmed { oldest, .. } => {
            CallError::declared(TRIMMED, error.to_string()).with_details(json!({ "oldest": oldest }))
        }
        ReadError::Ahead { .. } => CallError::invalid_input("/after", error.to_string()),
        ReadError::TooManyConsumers { .. } => CallError::overloaded(error.to_string()),
        ReadError::NoSuchConsumer { .. } => CallError::not_found(error.to_string()),
        ReadError::Permit(error) => error.into(),
        ReadError::Store(error) => not_stored(&error),
    }
}

fn undeclared(error: DeclareError) -> CallError {
    match error {
        DeclareError::Reserved(_) => CallError::new(ErrorCode::Forbidden, error.to_string()),
        DeclareError::SchemaChanged { .. } => CallError::invalid_input("/schema", error.to_string()),
        DeclareError::Unknown { .. } => CallError::declared(UNDECLARED, error.to_string()),
        DeclareError::BadSchema => CallError::invalid_input("/schema", error.to_string()),
        DeclareError::BadRetention => CallError::invalid_input("", error.to_string()),
        DeclareError::TooMany { .. } => CallError::overloaded(error.to_string()),
        DeclareError::Permit(error) => error.into(),
        DeclareError::Store(error) => not_stored(&error),
    }
}
