//! The topic `node.fs`: each commit as an event, kept exactly if the commit is.

use alknet_store::{DeclareError, NewEvent, NewTopic, Noted, PublishError, Retention, Store, TopicName};
use serde_json::json;

use super::{
    filter::PathFilter,
    projection::{Reach, Told, ToldChange, Way, tell},
};
use crate::{
    error::{Errno, FsError},
    limits::{MAX_EVENT_CHANGES, MAX_EVENT_PATH_BYTES},
    operations::{Octets, Timestamp},
    sight::Sight,
    tree::{Commit, Witness},
};

const NAME: &str = "node.fs";
const VERSION: u32 = 1;
const SCHEMA: &str = include_str!("node_fs_v1.json");
const TASK: alknet_core::Maintenance = alknet_core::Maintenance::of("fs-events");
const REACH: Reach = Reach { rows: 4 * MAX_EVENT_CHANGES, changes: MAX_EVENT_CHANGES };

/// Publishes each commit of a bucket that wants it, in the commit's own transaction.
pub struct Publishing(TopicName);

impl Publishing {
    /// Declares the topic where it is not yet.
    ///
    /// # Errors
    /// Fails with the database.
    pub async fn declare(store: &Store) -> Result<Self, DeclareError> {
        let name: TopicName = NAME.parse().expect("because it is a topic's name");
        let topic = NewTopic {
            name: name.clone(),
            version: VERSION,
            schema: SCHEMA.to_owned(),
            retention: Retention::default(),
        };
        store.events().declare_own(&TASK, topic).await?;
        Ok(Self(name))
    }
}

impl Witness for Publishing {
    fn committed(&self, commit: &Commit<'_>, noted: &mut Noted<'_>) -> Result<(), FsError> {
        if !commit.policy.events {
            return Ok(());
        }
        let mut told =
            tell(commit.sql, (commit.branch.id, &Sight::default()), commit.row, &PathFilter::default(), REACH)?;
        let bytes = |change: &ToldChange| change.path.len() + change.from.as_ref().map_or(0, Vec::len);
        if told.changes.iter().map(bytes).sum::<usize>() > MAX_EVENT_PATH_BYTES {
            told = Told { changes: Vec::new(), more: true };
        }
        let place = format!("{}/{}", commit.bucket.name, commit.branch.name);
        let changes: Vec<_> = told.changes.into_iter().map(shown).collect();
        let payload = json!({
            "bucket": commit.bucket.name, "branch": commit.branch.name, "seq": commit.row.seq,
            "time": Timestamp(commit.row.time_ns), "actor": commit.row.actor, "op": commit.row.op,
            "changes": changes, "more": told.more,
        });
        let event = NewEvent {
            topic: self.0.clone(),
            version: VERSION,
            key: Some(place.clone()),
            payload: payload.to_string(),
        };
        noted.event(event).map(|_| ()).map_err(|error| match error {
            PublishError::Permit(error) => error.into(),
            PublishError::Store(error) => error.into(),
            other => {
                tracing::error!(error = %other, "a commit could not be published");
                FsError::At { errno: Errno::Io, what: "cannot publish a change of", path: place }
            }
        })
    }
}

fn shown(change: ToldChange) -> serde_json::Value {
    let ways: Vec<_> = change.ways.iter().map(|way| word(*way)).collect();
    let mut shown = json!({ "path": Octets(change.path), "changes": ways });
    if let Some(from) = change.from {
        shown["from"] = json!(Octets(from));
    }
    shown
}

const fn word(way: Way) -> &'static str {
    match way {
        Way::Added => "added",
        Way::Removed => "removed",
        Way::Renamed => "renamed",
        Way::Content => "content",
        Way::Attributes => "attributes",
    }
}
