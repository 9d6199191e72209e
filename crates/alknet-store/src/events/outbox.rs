//! Appends events within the transaction that they tell of.

use rusqlite::{Connection, OptionalExtension, params};

use crate::clock::{Clock, loaded, stored};

/// A topic of the node itself, declared when the database is opened.
pub(crate) struct OwnTopic {
    name: &'static str,
    version: u32,
    schema: &'static str,
}

/// Peers that were added, changed or removed: their names, neither keys nor addresses.
pub(crate) const PEERS: OwnTopic = OwnTopic {
    name: "node.peers",
    version: 1,
    schema: r#"{"type":"object","additionalProperties":false,"required":["change","name"],"properties":{"change":{"enum":["added","changed","removed"]},"name":{"type":"string"}}}"#,
};

const OWN: &[&OwnTopic] = &[&PEERS];

/// Declares the node's own topics where they are missing.
pub(crate) fn declare_own(sql: &Connection, clock: &Clock) -> rusqlite::Result<()> {
    let retention = super::topic::Retention::default();
    for topic in OWN {
        sql.execute(
            "INSERT INTO topics (name, max_age_ms, max_events) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            params![topic.name, retention.max_age_ms(), stored(retention.max_events)],
        )?;
        sql.execute(
            "INSERT INTO projections (topic, version, schema, declared_at)
             SELECT id, ?2, ?3, ?4 FROM topics WHERE name = ?1 ON CONFLICT DO NOTHING",
            params![topic.name, topic.version, topic.schema, stored(clock.now())],
        )?;
    }
    Ok(())
}

/// Appends one event of the node's own to a transaction: it is kept exactly if the transaction is. Answers its id.
pub(crate) fn publish_in(
    sql: &Connection,
    topic: &OwnTopic,
    key: &str,
    payload: &str,
    clock: &Clock,
) -> rusqlite::Result<u64> {
    let mut known = sql.prepare_cached("SELECT id FROM topics WHERE name = ?1")?;
    let id = known.query_row([topic.name], |row| row.get(0))?;
    let mut batch = Batch::new(id);
    let line = Line { version: topic.version, key: Some(key), payload };
    let event = batch.append(sql, &line, None, clock.now_ms())?;
    batch.finish(sql)?;
    Ok(event)
}

/// What is appended.
pub(super) struct Line<'a> {
    pub version: u32,
    pub key: Option<&'a str>,
    pub payload: &'a str,
}

/// Events for one topic in one transaction.
pub(super) struct Batch {
    topic: i64,
    added: i64,
    head: i64,
}

impl Batch {
    pub const fn new(topic: i64) -> Self {
        Self { topic, added: 0, head: 0 }
    }

    pub fn append(
        &mut self,
        sql: &Connection,
        line: &Line<'_>,
        publisher: Option<&str>,
        now_ms: u64,
    ) -> rusqlite::Result<u64> {
        let mut insert = sql.prepare_cached(
            "INSERT INTO events (topic, version, key, payload, published_at_ms, publisher) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let values = params![self.topic, line.version, line.key, line.payload, stored(now_ms), publisher];
        self.head = insert.insert(values)?;
        self.added += 1;
        Ok(loaded(self.head))
    }

    /// Counts what was added. Where that is more than the topic keeps, the oldest go, at most twice as many as came.
    pub fn finish(self, sql: &Connection) -> rusqlite::Result<()> {
        let mut count = sql.prepare_cached(
            "UPDATE topics SET kept = kept + ?2, head = ?3 WHERE id = ?1 RETURNING kept - max_events",
        )?;
        let excess: i64 = count.query_row(params![self.topic, self.added, self.head], |row| row.get(0))?;
        trim_oldest(sql, self.topic, excess.min(2 * self.added))?;
        Ok(())
    }
}

/// Takes so many of the oldest events away. Answers how many went.
pub(super) fn trim_oldest(sql: &Connection, topic: i64, count: i64) -> rusqlite::Result<usize> {
    if count <= 0 {
        return Ok(0);
    }
    let mut last = sql.prepare_cached("SELECT id FROM events WHERE topic = ?1 ORDER BY id LIMIT 1 OFFSET ?2")?;
    let last: Option<i64> = last.query_row([topic, count - 1], |row| row.get(0)).optional()?;
    last.map_or(Ok(0), |last| trim_until(sql, topic, last))
}

/// Takes a topic's events up to this id away. Answers how many went.
pub(super) fn trim_until(sql: &Connection, topic: i64, last: i64) -> rusqlite::Result<usize> {
    let gone = sql.prepare_cached("DELETE FROM events WHERE topic = ?1 AND id <= ?2")?.execute([topic, last])?;
    let count = i64::try_from(gone).unwrap_or(i64::MAX);
    sql.prepare_cached("UPDATE topics SET kept = kept - ?2, trimmed = max(trimmed, ?3) WHERE id = ?1")?
        .execute([topic, count, last])?;
    Ok(gone)
}
