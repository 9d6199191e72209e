//! How far consumers have come. Each identity has its own: nobody moves another's.

use alknet_core::Permit;
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    access::{TOPIC, actor},
    name::{ConsumerName, TopicName},
    stream::{Events, ReadError, Standing, refuse_ahead},
    topic::SUBSCRIBE,
};
use crate::{
    clock::{loaded, stored},
    grant::Grant,
    limits::{MAX_CONSUMERS_PER_IDENTITY, MAX_CONSUMERS_PER_TOPIC},
    records::parsed,
    writer::Touches,
};

/// A consumer of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerRecord {
    /// Whose it is.
    pub identity: String,
    /// Its name.
    pub consumer: ConsumerName,
    /// The id of the last event it is done with.
    pub position: u64,
    /// When it said so, in seconds since 1970.
    pub saved_at: u64,
}

/// Which way a position may move.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Move {
    Forward,
    Anywhere,
}

impl Events {
    /// The id of the last event that the caller's consumer is done with; 0: none yet. Needs `events:subscribe`.
    pub async fn position(
        &self,
        permit: &Permit,
        consumer: &ConsumerName,
        topic: &TopicName,
    ) -> Result<u64, ReadError> {
        let who = actor(permit, TOPIC, topic.as_str())?;
        let grant = Grant::of(permit, SUBSCRIBE)?;
        let (consumer, topic) = (consumer.clone(), topic.clone());
        let read = move |sql: &Connection| {
            let standing = Standing::of(sql, &topic)?;
            let mut statement = sql.prepare_cached(
                "SELECT event FROM event_positions WHERE topic = ?1 AND identity = ?2 AND consumer = ?3",
            )?;
            let saved =
                statement.query_row(params![standing.id, who, consumer.as_str()], |row| row.get(0)).optional()?;
            grant.check()?;
            Ok(saved.map_or(0, loaded))
        };
        self.store().readers().read(read).await
    }

    /// Notes that the caller's consumer is done with everything up to this event. Never goes back. Needs `events:subscribe`.
    /// Answers the position that is now kept.
    pub async fn save_position(
        &self,
        permit: &Permit,
        consumer: &ConsumerName,
        topic: &TopicName,
        event: u64,
    ) -> Result<u64, ReadError> {
        self.go_to(permit, consumer, topic, event, Move::Forward).await
    }

    /// As [`Self::save_position`], also back, to have events again. Needs `events:subscribe`.
    pub async fn rewind(
        &self,
        permit: &Permit,
        consumer: &ConsumerName,
        topic: &TopicName,
        event: u64,
    ) -> Result<u64, ReadError> {
        self.go_to(permit, consumer, topic, event, Move::Anywhere).await
    }

    async fn go_to(
        &self,
        permit: &Permit,
        consumer: &ConsumerName,
        topic: &TopicName,
        event: u64,
        direction: Move,
    ) -> Result<u64, ReadError> {
        let who = actor(permit, TOPIC, topic.as_str())?;
        let (consumer, topic, now) = (consumer.clone(), topic.clone(), self.store().clock().now());
        self.store()
            .mutate(permit, SUBSCRIBE, Touches::Nothing, move |sql, _| {
                refuse_ahead(sql, event)?;
                let standing = Standing::of(sql, &topic)?;
                refuse_more(sql, &topic, standing.id, &who, &consumer)?;
                write(sql, standing.id, &who, &consumer, event, now, direction).map_err(ReadError::from)
            })
            .await
    }

    /// Forgets the caller's consumer. Needs `events:subscribe`.
    pub async fn forget(&self, permit: &Permit, consumer: &ConsumerName, topic: &TopicName) -> Result<(), ReadError> {
        let who = actor(permit, TOPIC, topic.as_str())?;
        let (consumer, topic) = (consumer.clone(), topic.clone());
        self.store()
            .mutate(permit, SUBSCRIBE, Touches::Nothing, move |sql, _| {
                let standing = Standing::of(sql, &topic)?;
                let text = "DELETE FROM event_positions WHERE topic = ?1 AND identity = ?2 AND consumer = ?3";
                let gone = sql.prepare_cached(text)?.execute(params![standing.id, who, consumer.as_str()])?;
                if gone == 0 { Err(ReadError::NoSuchConsumer { topic, consumer }) } else { Ok(()) }
            })
            .await
    }

    /// All consumers of a topic, by identity and name. Needs `events:subscribe`.
    pub async fn consumers(&self, permit: &Permit, topic: &TopicName) -> Result<Vec<ConsumerRecord>, ReadError> {
        actor(permit, TOPIC, topic.as_str())?;
        let (grant, topic) = (Grant::of(permit, SUBSCRIBE)?, topic.clone());
        let read = move |sql: &Connection| {
            let standing = Standing::of(sql, &topic)?;
            let consumers = load(sql, standing.id)?;
            grant.check()?;
            Ok(consumers)
        };
        self.store().readers().read(read).await
    }
}

/// The bounds hold for those who are new.
fn refuse_more(
    sql: &Connection,
    topic: &TopicName,
    id: i64,
    who: &str,
    consumer: &ConsumerName,
) -> Result<(), ReadError> {
    let text = "SELECT 1 FROM event_positions WHERE topic = ?1 AND identity = ?2 AND consumer = ?3";
    if sql.prepare_cached(text)?.exists(params![id, who, consumer.as_str()])? {
        return Ok(());
    }
    let text = "SELECT count(*), coalesce(sum(identity = ?2), 0) FROM event_positions WHERE topic = ?1";
    let (all, own): (u32, u32) =
        sql.prepare_cached(text)?.query_row(params![id, who], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (count, most) in [(own, MAX_CONSUMERS_PER_IDENTITY), (all, MAX_CONSUMERS_PER_TOPIC)] {
        if count as usize >= most {
            return Err(ReadError::TooManyConsumers { topic: topic.clone(), most });
        }
    }
    Ok(())
}

fn write(
    sql: &Connection,
    topic: i64,
    who: &str,
    consumer: &ConsumerName,
    event: u64,
    now: u64,
    direction: Move,
) -> rusqlite::Result<u64> {
    let mut upsert = sql.prepare_cached(
        "INSERT INTO event_positions (topic, identity, consumer, event, saved_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET event = iif(?6, excluded.event, max(event, excluded.event)), saved_at = excluded.saved_at
         RETURNING event",
    )?;
    let back = direction == Move::Anywhere;
    let values = params![topic, who, consumer.as_str(), stored(event), stored(now), back];
    upsert.query_row(values, |row| row.get(0)).map(loaded)
}

fn load(sql: &Connection, topic: i64) -> rusqlite::Result<Vec<ConsumerRecord>> {
    let mut statement = sql.prepare_cached(
        "SELECT identity, consumer, event, saved_at FROM event_positions WHERE topic = ?1 ORDER BY identity, consumer",
    )?;
    let rows = statement.query_map([topic], |row| {
        Ok(ConsumerRecord {
            identity: row.get(0)?,
            consumer: parsed(row, 1)?,
            position: loaded(row.get(2)?),
            saved_at: loaded(row.get(3)?),
        })
    })?;
    rows.collect()
}
