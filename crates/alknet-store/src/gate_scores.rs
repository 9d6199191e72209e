//! What the gate remembers of addresses, prefixes and keys: core's [`GateJournal`] over the database.

use std::sync::Arc;

use alknet_core::{BoxFuture, GateJournal, GateJournalError, GateRecord};
use rusqlite::{Connection, Row, params};

use crate::{
    clock::{loaded, stored},
    error::StoreError,
    limits::MAX_GATE_ROWS,
    store::Store,
    writer::Touches,
};

/// The scores that outlive a restart.
#[derive(Clone)]
pub struct GateScores {
    store: Store,
}

impl GateScores {
    pub(crate) const fn new(store: Store) -> Self {
        Self { store }
    }
}

impl From<StoreError> for GateJournalError {
    fn from(error: StoreError) -> Self {
        Self(Arc::new(error))
    }
}

impl GateJournal for GateScores {
    fn load(&self) -> BoxFuture<'_, Result<Vec<GateRecord>, GateJournalError>> {
        Box::pin(async move {
            let rows: Result<_, StoreError> = self.store.readers().read(|sql| Ok(select(sql)?)).await;
            Ok(rows?)
        })
    }

    fn save(&self, kept: Vec<GateRecord>, forgotten: Vec<String>) -> BoxFuture<'_, Result<(), GateJournalError>> {
        let body = move |sql: &Connection| Ok::<_, StoreError>(replace(sql, &kept, &forgotten)?);
        Box::pin(async move { Ok(self.store.writer().write(Touches::Nothing, body).await?) })
    }
}

fn select(sql: &Connection) -> rusqlite::Result<Vec<GateRecord>> {
    let mut statement = sql.prepare_cached(
        "SELECT source, points, counted_at_ms, level, penalised_until_ms, history FROM gate_scores
         ORDER BY penalised_until_ms DESC LIMIT ?1",
    )?;
    statement.query_map([MAX_GATE_ROWS.cast_signed() as i64], record_of)?.collect()
}

fn record_of(row: &Row<'_>) -> rusqlite::Result<GateRecord> {
    Ok(GateRecord {
        source: row.get(0)?,
        points: loaded(row.get(1)?),
        counted_at_ms: loaded(row.get(2)?),
        level: row.get(3)?,
        penalised_until_ms: loaded(row.get(4)?),
        // What cannot be read is only what `why` would have told.
        history: serde_json::from_str(&row.get::<_, String>(5)?).unwrap_or_default(),
    })
}

/// Beyond the bound those go whose penalties ended first.
fn replace(sql: &Connection, kept: &[GateRecord], forgotten: &[String]) -> rusqlite::Result<()> {
    let mut delete = sql.prepare_cached("DELETE FROM gate_scores WHERE source = ?1")?;
    for source in forgotten {
        delete.execute([source])?;
    }
    let mut insert = sql.prepare_cached(
        "INSERT OR REPLACE INTO gate_scores (source, points, counted_at_ms, level, penalised_until_ms, history)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for record in kept {
        let history = serde_json::to_string(&record.history).unwrap_or_default();
        let (points, at, until) =
            (stored(record.points), stored(record.counted_at_ms), stored(record.penalised_until_ms));
        insert.execute(params![record.source, points, at, record.level, until, history])?;
    }
    sql.prepare_cached(
        "DELETE FROM gate_scores WHERE source IN
         (SELECT source FROM gate_scores ORDER BY penalised_until_ms DESC LIMIT -1 OFFSET ?1)",
    )?
    .execute([MAX_GATE_ROWS.cast_signed() as i64])?;
    Ok(())
}
