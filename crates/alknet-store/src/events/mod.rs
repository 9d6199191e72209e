//! Events and queues, in the same database and the same transactions as everything else.
//!
//! A domain says what changed by appending to the [`outbox`] within its own transaction: either both are kept or neither.
//! [`Events`] publishes and reads what was declared, [`Queues`] hands jobs to whoever claims them.

mod access;
mod claim;
mod consumer;
mod dead;
mod name;
pub(crate) mod outbox;
mod payload;
pub(crate) mod queue;
mod retention;
mod settle;
pub(crate) mod stream;
mod topic;
pub(crate) mod wake;

pub use claim::{Claim, Job};
pub use consumer::ConsumerRecord;
pub use dead::DeadJob;
pub use name::{ConsumerName, InvalidName, QueueName, TopicName};
pub use payload::BadPayload;
pub use queue::{NewJob, QueueError, QueueStats, Queues};
pub use retention::{PrunedEvents, PrunedJobs};
pub use settle::Retried;
pub use stream::{Event, Events, NewEvent, PublishError, ReadError};
pub use topic::{DeclareError, NewTopic, Projection, Retention, TopicRecord};

#[cfg(test)]
mod tests;
