//! What may be published: topics, each with versions of its events' shape.

use std::time::Duration;

use alknet_core::{Maintenance, Permit, PermitError};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    access::{TOPIC, actor, reaches},
    name::TopicName,
    stream::Events,
};
use crate::{
    clock::{loaded, stored},
    error::StoreError,
    grant::Grant,
    limits::{
        DEFAULT_MAX_EVENT_AGE, DEFAULT_MAX_EVENTS, MAX_EVENT_AGE, MAX_EVENTS_PER_TOPIC, MAX_SCHEMA_BYTES, MAX_TOPICS,
        MAX_VERSIONS_PER_TOPIC,
    },
    records::{load_each, parsed},
    writer::Touches,
};

const DECLARE: &str = "events:declare";
pub(super) const PUBLISH: &str = "events:publish";
pub(super) const SUBSCRIBE: &str = "events:subscribe";

/// How long events are kept. The oldest go first, whether or not somebody has read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Older ones go.
    pub max_age: Duration,
    /// More than so many are not kept.
    pub max_events: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { max_age: DEFAULT_MAX_EVENT_AGE, max_events: DEFAULT_MAX_EVENTS }
    }
}

impl Retention {
    pub(super) fn max_age_ms(&self) -> i64 {
        i64::try_from(self.max_age.as_millis()).unwrap_or(i64::MAX)
    }
}

/// A version of a topic to declare, and how long the topic keeps its events from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: TopicName,
    /// The version of the shape.
    pub version: u32,
    /// The shape: a JSON schema as text. What is published is held to it by whoever publishes, not by the store.
    pub schema: String,
    /// For the topic as a whole.
    pub retention: Retention,
}

/// A shape that events of a topic may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection {
    /// Its version.
    pub version: u32,
    /// A JSON schema, as text.
    pub schema: String,
    /// When it was declared, in seconds since 1970.
    pub declared_at: u64,
}

/// A topic as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicRecord {
    /// Its name.
    pub name: TopicName,
    /// Who declared it first; `None`: the node itself.
    pub owner: Option<String>,
    /// How long it keeps events.
    pub retention: Retention,
    /// The versions that may be published.
    pub versions: Vec<u32>,
    /// How many events are there.
    pub kept: u64,
    /// The id of the newest event that was ever published; 0: none.
    pub head: u64,
    /// Every event before this id is gone.
    pub oldest: u64,
}

/// Why a topic was not declared or shown.
#[derive(Debug, thiserror::Error)]
pub enum DeclareError {
    /// Names that begin with `node.` are the node's own, and it declares no others.
    #[error("the topic `{0}` cannot be declared here: the node's own topics, and no others, begin with `node.`")]
    Reserved(TopicName),
    /// A version means one shape for ever.
    #[error("version {version} of the topic `{topic}` has another schema; declare a new version")]
    SchemaChanged {
        /// The topic.
        topic: TopicName,
        /// The version.
        version: u32,
    },
    /// Nobody declared it.
    #[error("nobody declared version {version} of the topic `{topic}`")]
    Unknown {
        /// The topic.
        topic: TopicName,
        /// The version.
        version: u32,
    },
    /// The schema is no JSON object, or too long.
    #[error("the schema is not a JSON object of at most {MAX_SCHEMA_BYTES} bytes")]
    BadSchema,
    /// Nothing would be kept, or too much.
    #[error("a topic keeps 1 to {MAX_EVENTS_PER_TOPIC} events, for 1 s to {} days", MAX_EVENT_AGE.as_secs() / 86_400)]
    BadRetention,
    /// A bound is reached.
    #[error("too many {what}: {most} are the most")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        most: usize,
    },
    /// The permit does not cover it, or was revoked.
    #[error(transparent)]
    Permit(#[from] PermitError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for DeclareError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Events {
    /// Declares a version of a topic, and sets the topic's retention. The same again changes nothing. Needs `events:declare`.
    pub async fn declare(&self, permit: &Permit, new: NewTopic) -> Result<(), DeclareError> {
        let owner = actor(permit, TOPIC, new.name.as_str())?;
        check(&new, false)?;
        let now = self.store().clock().now();
        self.store().mutate(permit, DECLARE, Touches::Nothing, move |sql, _| write(sql, &new, Some(&owner), now)).await
    }

    /// As [`Self::declare`], for topics of the node itself, on which only it publishes.
    pub async fn declare_own(&self, task: &Maintenance, new: NewTopic) -> Result<(), DeclareError> {
        tracing::debug!(task = task.task(), topic = %new.name, version = new.version, "declaring a topic of the node");
        check(&new, true)?;
        let now = self.store().clock().now();
        self.store().writer().write(Touches::Nothing, move |sql| write(sql, &new, None, now)).await
    }

    /// All topics by name, or the one that the permit is for. Needs `events:subscribe`.
    pub async fn topics(&self, permit: &Permit) -> Result<Vec<TopicRecord>, DeclareError> {
        let grant = Grant::of(permit, SUBSCRIBE)?;
        let read = move |sql: &Connection| -> Result<_, DeclareError> {
            let transaction = sql.unchecked_transaction()?;
            let topics = load(&transaction)?;
            grant.check()?;
            Ok(topics)
        };
        let mut topics = self.store().readers().read(read).await?;
        topics.retain(|topic| reaches(permit, TOPIC, topic.name.as_str()));
        Ok(topics)
    }

    /// The shape of a topic's events in one version. Needs `events:publish` or `events:subscribe`.
    pub async fn projection(
        &self,
        permit: &Permit,
        topic: &TopicName,
        version: u32,
    ) -> Result<Projection, DeclareError> {
        actor(permit, TOPIC, topic.as_str())?;
        let grant = Grant::of(permit, PUBLISH).or_else(|_| Grant::of(permit, SUBSCRIBE))?;
        let topic = topic.clone();
        let read = move |sql: &Connection| {
            let found = projection(sql, &topic, version)?;
            grant.check()?;
            found.ok_or(DeclareError::Unknown { topic, version })
        };
        self.store().readers().read(read).await
    }
}

fn check(new: &NewTopic, by_node: bool) -> Result<(), DeclareError> {
    if new.name.is_nodes() != by_node {
        return Err(DeclareError::Reserved(new.name.clone()));
    }
    let is_object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&new.schema).is_ok();
    if new.schema.len() > MAX_SCHEMA_BYTES || !is_object {
        return Err(DeclareError::BadSchema);
    }
    let Retention { max_age, max_events } = new.retention;
    let kept = (1..=MAX_EVENTS_PER_TOPIC).contains(&max_events);
    if !kept || max_age < Duration::from_secs(1) || max_age > MAX_EVENT_AGE {
        return Err(DeclareError::BadRetention);
    }
    Ok(())
}

fn write(sql: &Connection, new: &NewTopic, owner: Option<&str>, now: u64) -> Result<(), DeclareError> {
    let topic = open_or_make(sql, new, owner)?;
    let mut known = sql.prepare_cached("SELECT schema FROM projections WHERE topic = ?1 AND version = ?2")?;
    let schema: Option<String> = known.query_row(params![topic, new.version], |row| row.get(0)).optional()?;
    match schema {
        Some(schema) if schema == new.schema => return Ok(()),
        Some(_) => return Err(DeclareError::SchemaChanged { topic: new.name.clone(), version: new.version }),
        None => {}
    }
    let count = "SELECT count(*) FROM projections WHERE topic = ?1";
    bound(sql.query_row(count, [topic], |row| row.get(0))?, "versions of a topic", MAX_VERSIONS_PER_TOPIC)?;
    sql.prepare_cached("INSERT INTO projections (topic, version, schema, declared_at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![topic, new.version, new.schema, stored(now)])?;
    Ok(())
}

fn open_or_make(sql: &Connection, new: &NewTopic, owner: Option<&str>) -> Result<i64, DeclareError> {
    let (max_age, max_events) = (new.retention.max_age_ms(), stored(new.retention.max_events));
    let mut keep =
        sql.prepare_cached("UPDATE topics SET max_age_ms = ?2, max_events = ?3 WHERE name = ?1 RETURNING id")?;
    let known = keep.query_row(params![new.name.as_str(), max_age, max_events], |row| row.get(0));
    match known.optional()? {
        Some(id) => Ok(id),
        None => {
            bound(sql.query_row("SELECT count(*) FROM topics", [], |row| row.get(0))?, "topics", MAX_TOPICS)?;
            sql.prepare_cached("INSERT INTO topics (name, owner, max_age_ms, max_events) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![new.name.as_str(), owner, max_age, max_events])?;
            Ok(sql.last_insert_rowid())
        }
    }
}

fn bound(count: i64, what: &'static str, most: usize) -> Result<(), DeclareError> {
    if usize::try_from(count).is_ok_and(|count| count >= most) {
        return Err(DeclareError::TooMany { what, most });
    }
    Ok(())
}

fn load(sql: &Connection) -> rusqlite::Result<Vec<TopicRecord>> {
    let text = "SELECT id, name, owner, max_age_ms, max_events, kept, head, trimmed FROM topics ORDER BY name";
    let topics = load_each(sql, text, |row| {
        let max_age = Duration::from_millis(loaded(row.get(3)?));
        let record = TopicRecord {
            name: parsed(row, 1)?,
            owner: row.get(2)?,
            retention: Retention { max_age, max_events: loaded(row.get(4)?) },
            versions: Vec::new(),
            kept: loaded(row.get(5)?),
            head: loaded(row.get(6)?),
            oldest: loaded(row.get(7)?) + 1,
        };
        Ok((row.get(0)?, record))
    })?;
    topics.into_iter().map(|(id, topic)| Ok(TopicRecord { versions: versions(sql, id)?, ..topic })).collect()
}

/// The versions of a topic that were declared.
pub(super) fn versions(sql: &Connection, topic: i64) -> rusqlite::Result<Vec<u32>> {
    let mut statement = sql.prepare_cached("SELECT version FROM projections WHERE topic = ?1 ORDER BY version")?;
    statement.query_map([topic], |row| row.get(0))?.collect()
}

fn projection(sql: &Connection, topic: &TopicName, version: u32) -> rusqlite::Result<Option<Projection>> {
    let mut statement = sql.prepare_cached(
        "SELECT version, schema, declared_at FROM projections
         WHERE topic = (SELECT id FROM topics WHERE name = ?1) AND version = ?2",
    )?;
    let found = statement.query_row(params![topic.as_str(), version], |row| {
        Ok(Projection { version: row.get(0)?, schema: row.get(1)?, declared_at: loaded(row.get(2)?) })
    });
    found.optional()
}
