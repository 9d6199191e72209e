//! Publishing and reading: in the order of ids, at least once, from any position that is still kept.

use std::collections::BTreeMap;

use alknet_core::{Permit, PermitError};
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::watch;

use super::{
    access::{TOPIC, actor},
    name::{ConsumerName, TopicName},
    outbox::{Batch, Line},
    payload::{self, BadPayload},
    topic::{PUBLISH, SUBSCRIBE, versions},
};
use crate::{
    clock::{loaded, stored},
    error::StoreError,
    grant::Grant,
    limits::{MAX_EVENT_KEY_BYTES, MAX_EVENT_PAGE, MAX_EVENTS_PER_PUBLISH, MAX_PAGE_BYTES, MAX_PUBLISH_BYTES},
    store::Store,
    writer::Touches,
};

/// The topics of a node and their events.
#[derive(Clone)]
pub struct Events {
    store: Store,
}

/// An event to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Where.
    pub topic: TopicName,
    /// Which of the topic's shapes it has.
    pub version: u32,
    /// What it is about, for those who keep only the latest of each.
    pub key: Option<String>,
    /// JSON text.
    pub payload: String,
}

/// An event as it was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its id; later ones of the node are higher.
    pub id: u64,
    /// Where.
    pub topic: TopicName,
    /// Which of the topic's shapes it has.
    pub version: u32,
    /// What it is about.
    pub key: Option<String>,
    /// JSON text.
    pub payload: String,
    /// When, in milliseconds since 1970.
    pub published_at_ms: u64,
    /// Who published it; `None`: the node itself.
    pub publisher: Option<String>,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Nobody declared the topic.
    #[error("nobody declared the topic `{0}`")]
    Undeclared(TopicName),
    /// The topic has other versions.
    #[error("the topic `{topic}` has no version {version}; it has {known:?}")]
    UnknownVersion {
        /// The topic.
        topic: TopicName,
        /// What was asked for.
        version: u32,
        /// What there is.
        known: Vec<u32>,
    },
    /// The topic is the node's own.
    #[error("only the node itself publishes on `{0}`")]
    Reserved(TopicName),
    /// Too much at a time.
    #[error("too much at a time: {MAX_EVENTS_PER_PUBLISH} events with {MAX_PUBLISH_BYTES} bytes together are the most")]
    TooMany,
    /// An event's key is too long.
    #[error("the key of event {0} is longer than {MAX_EVENT_KEY_BYTES} bytes")]
    KeyTooLong(usize),
    /// An event's payload is refused.
    #[error("the payload of event {index} is refused: {source}")]
    BadPayload {
        /// Which, counted from 0.
        index: usize,
        /// Why.
        source: BadPayload,
    },
    /// The permit does not cover it, or was revoked.
    #[error(transparent)]
    Permit(#[from] PermitError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for PublishError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Why there is nothing to read, or no position to keep.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Nobody declared the topic.
    #[error("nobody declared the topic `{0}`")]
    Undeclared(TopicName),
    /// What comes next after the position is no longer kept.
    #[error("the events of `{topic}` before {oldest} are gone; go on after {}", .oldest - 1)]
    Trimmed {
        /// The topic.
        topic: TopicName,
        /// Every event before this id is gone.
        oldest: u64,
    },
    /// The position is one that no event has yet: it is another database's, or from before a backup was restored.
    #[error("there is no event {position} yet; the newest is {newest}")]
    Ahead {
        /// What was asked for.
        position: u64,
        /// The newest id that was ever given.
        newest: u64,
    },
    /// A bound is reached.
    #[error("too many consumers of the topic `{topic}`: {most} are the most")]
    TooManyConsumers {
        /// The topic.
        topic: TopicName,
        /// The bound.
        most: usize,
    },
    /// Nobody of that name has read the topic.
    #[error("there is no consumer `{consumer}` of the topic `{topic}`")]
    NoSuchConsumer {
        /// The topic.
        topic: TopicName,
        /// The consumer.
        consumer: ConsumerName,
    },
    /// The permit does not cover it, or was revoked.
    #[error(transparent)]
    Permit(#[from] PermitError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Events {
    pub(crate) const fn new(store: Store) -> Self {
        Self { store }
    }
    pub(super) const fn store(&self) -> &Store {
        &self.store
    }

    /// Publishes all of them or none, in this order. Needs `events:publish`. Answers their ids once they are on disk.
    pub async fn publish(&self, permit: &Permit, events: Vec<NewEvent>) -> Result<Vec<u64>, PublishError> {
        check(&events)?;
        let mut publisher = None;
        for event in &events {
            publisher = Some(actor(permit, TOPIC, event.topic.as_str())?);
            if event.topic.is_nodes() {
                return Err(PublishError::Reserved(event.topic.clone()));
            }
        }
        let clock = self.store.clock().clone();
        self.store
            .mutate(permit, PUBLISH, Touches::Nothing, move |sql, _| {
                append(sql, &events, publisher.as_deref(), clock.now_ms())
            })
            .await
    }

    /// Events after a position (0: from the first), in the order of their ids. Needs `events:subscribe`.
    ///
    /// At most `limit` of them, [`MAX_EVENT_PAGE`] and [`MAX_PAGE_BYTES`] of payload. Only none means that there are no more yet.
    ///
    /// # Errors
    /// Says so when events after the position are no longer kept, and from where to go on.
    pub async fn read(
        &self,
        permit: &Permit,
        topic: &TopicName,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Event>, ReadError> {
        actor(permit, TOPIC, topic.as_str())?;
        let (grant, topic) = (Grant::of(permit, SUBSCRIBE)?, topic.clone());
        let read = move |sql: &Connection| {
            let transaction = sql.unchecked_transaction().map_err(ReadError::from)?;
            let events = page(&transaction, &topic, after, limit.min(MAX_EVENT_PAGE))?;
            grant.check()?;
            Ok(events)
        };
        self.store.readers().read(read).await
    }

    /// The id of a topic's newest event, kept or not; 0: none yet. Needs `events:subscribe`.
    pub async fn head(&self, permit: &Permit, topic: &TopicName) -> Result<u64, ReadError> {
        actor(permit, TOPIC, topic.as_str())?;
        let (grant, topic) = (Grant::of(permit, SUBSCRIBE)?, topic.clone());
        let read = move |sql: &Connection| {
            let standing = Standing::of(sql, &topic)?;
            grant.check()?;
            Ok(loaded(standing.head))
        };
        self.store.readers().read(read).await
    }

    /// The newest id that was committed, of any topic. It changes after the commit; it ends when the database is closed.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.store.listeners().events.clone()
    }
}

fn check(events: &[NewEvent]) -> Result<(), PublishError> {
    let bytes: usize = events.iter().map(|event| event.payload.len()).sum();
    if events.len() > MAX_EVENTS_PER_PUBLISH || bytes > MAX_PUBLISH_BYTES {
        return Err(PublishError::TooMany);
    }
    for (index, event) in events.iter().enumerate() {
        if event.key.as_ref().is_some_and(|key| key.len() > MAX_EVENT_KEY_BYTES) {
            return Err(PublishError::KeyTooLong(index));
        }
        payload::check(&event.payload).map_err(|source| PublishError::BadPayload { index, source })?;
    }
    Ok(())
}

/// Publishes an event of the node's own within a transaction: it is kept exactly if the transaction is. Answers its id.
pub(crate) fn append_in(sql: &Connection, event: NewEvent, now_ms: u64) -> Result<u64, PublishError> {
    let events = [event];
    check(&events)?;
    Ok(append(sql, &events, None, now_ms)?[0])
}

fn append(
    sql: &Connection,
    events: &[NewEvent],
    publisher: Option<&str>,
    now_ms: u64,
) -> Result<Vec<u64>, PublishError> {
    let mut batches: BTreeMap<&TopicName, (Batch, Vec<u32>)> = BTreeMap::new();
    let mut ids = Vec::with_capacity(events.len());
    for event in events {
        if !batches.contains_key(&event.topic) {
            batches.insert(&event.topic, open(sql, &event.topic)?);
        }
        let Some((batch, known)) = batches.get_mut(&event.topic) else { continue };
        if !known.contains(&event.version) {
            let (topic, version) = (event.topic.clone(), event.version);
            return Err(PublishError::UnknownVersion { topic, version, known: known.clone() });
        }
        let line = Line { version: event.version, key: event.key.as_deref(), payload: &event.payload };
        ids.push(batch.append(sql, &line, publisher, now_ms)?);
    }
    for (batch, _) in batches.into_values() {
        batch.finish(sql)?;
    }
    Ok(ids)
}

fn open(sql: &Connection, topic: &TopicName) -> Result<(Batch, Vec<u32>), PublishError> {
    let mut known = sql.prepare_cached("SELECT id FROM topics WHERE name = ?1")?;
    let id: Option<i64> = known.query_row([topic.as_str()], |row| row.get(0)).optional()?;
    let id = id.ok_or_else(|| PublishError::Undeclared(topic.clone()))?;
    Ok((Batch::new(id), versions(sql, id)?))
}

/// Where a topic's events begin and end.
pub(super) struct Standing {
    pub id: i64,
    pub head: i64,
    pub trimmed: i64,
}

impl Standing {
    pub fn of(sql: &Connection, topic: &TopicName) -> Result<Self, ReadError> {
        let mut known = sql.prepare_cached("SELECT id, head, trimmed FROM topics WHERE name = ?1")?;
        let found = known
            .query_row([topic.as_str()], |row| Ok(Self { id: row.get(0)?, head: row.get(1)?, trimmed: row.get(2)? }));
        found.optional()?.ok_or_else(|| ReadError::Undeclared(topic.clone()))
    }
}

/// Fails for a position that no event of any topic has reached.
pub(super) fn refuse_ahead(sql: &Connection, position: u64) -> Result<(), ReadError> {
    let newest = super::wake::Newest::read(sql)?.events();
    if position > newest {
        return Err(ReadError::Ahead { position, newest });
    }
    Ok(())
}

fn page(sql: &Connection, topic: &TopicName, after: u64, limit: usize) -> Result<Vec<Event>, ReadError> {
    let standing = Standing::of(sql, topic)?;
    if stored(after) < standing.trimmed {
        return Err(ReadError::Trimmed { topic: topic.clone(), oldest: loaded(standing.trimmed) + 1 });
    }
    refuse_ahead(sql, after)?;
    let mut statement = sql.prepare_cached(
        "SELECT id, version, key, payload, published_at_ms, publisher FROM events
         WHERE topic = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
    )?;
    let mut rows = statement.query(params![standing.id, stored(after), limit as i64])?;
    let (mut events, mut bytes) = (Vec::new(), 0);
    while bytes < MAX_PAGE_BYTES
        && let Some(row) = rows.next()?
    {
        let payload: String = row.get(3)?;
        bytes += payload.len();
        events.push(Event {
            id: loaded(row.get(0)?),
            topic: topic.clone(),
            version: row.get(1)?,
            key: row.get(2)?,
            payload,
            published_at_ms: loaded(row.get(4)?),
            publisher: row.get(5)?,
        });
    }
    Ok(events)
}
