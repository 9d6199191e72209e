//! Scores outlive a restart: who is penalised, or was, is written into a journal.

use std::sync::Arc;

use alknet_core::{GateJournal, GateJournalError};
use tokio::time::sleep;

use super::{gate::AbuseGate, score::Score, source::Source};
use crate::limits::{GATE_SAVE_DELAY, MAX_GATE_SAVE_DELAY};

impl AbuseGate {
    /// Takes over what a journal remembers, and remembers there from now on. Another journal than the first is not taken.
    ///
    /// # Errors
    /// When it cannot be read; the gate works without it.
    pub async fn remember_in(&self, journal: Arc<dyn GateJournal>) -> Result<(), GateJournalError> {
        let records = journal.load().await?;
        let now = self.now();
        let mut state = self.state();
        for record in records {
            // What is no source of ours was written by nobody.
            let Ok(source) = record.source.parse::<Source>() else { continue };
            let threshold = state.books.of(&source).threshold();
            state.books.restore(source, Score::recorded(record, threshold), now);
        }
        drop(state);
        let _already_set = self.inner().journal.set(journal);
        Ok(())
    }

    /// Writes what changed.
    ///
    /// # Errors
    /// When it cannot be written; it is tried again the next time.
    pub async fn save(&self) -> Result<(), GateJournalError> {
        let Some(journal) = self.inner().journal.get() else { return Ok(()) };
        let _in_order = self.inner().saving.lock().await;
        let now = self.now();
        let (mut kept, mut forgotten, mut tried) = (Vec::new(), Vec::new(), Vec::new());
        {
            let mut state = self.state();
            for source in state.books.take_unsaved() {
                let score = state.books.of(&source).score(&source).filter(|score| score.outlives(now));
                match score {
                    Some(score) => kept.push(score.record(source.to_string())),
                    None => forgotten.push(source.to_string()),
                }
                tried.push(source);
            }
        }
        if tried.is_empty() {
            return Ok(());
        }
        journal.save(kept, forgotten).await.inspect_err(|_| self.state().books.save_again(tried))
    }

    /// Writes whatever changes, a little later, for as long as it runs; where that fails, again and again and ever more seldom.
    pub async fn keep_saving(self) {
        let mut delay = GATE_SAVE_DELAY;
        loop {
            self.inner().changed.notified().await;
            sleep(delay).await;
            let Err(error) = self.save().await else {
                delay = GATE_SAVE_DELAY;
                continue;
            };
            tracing::warn!(%error, "penalties may be forgotten by the next start");
            delay = (delay * 2).min(MAX_GATE_SAVE_DELAY);
            self.inner().changed.notify_one();
        }
    }

    /// Throws away what time took back.
    pub fn tidy(&self) {
        let now = self.now();
        let mut state = self.state();
        state.books.tidy(now);
        self.unlock(state);
    }
}
