//! Forgets in the background, bucket by bucket, what their policies no longer keep.

use std::{collections::BTreeMap, time::Duration};

use alknet_core::Maintenance;
use alknet_store::StoreError;
use rusqlite::Connection;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::History;
use crate::{
    limits::{BUCKETS_LOOKED_AT_ONCE, FORGET_INTERVALS, FORGET_LOOK_INTERVAL},
    name::BucketName,
    rows::bucket,
    tree::Policy,
};

impl History {
    /// Forgets what is older than the retention of each bucket, again and again. What fails is tried again in its turn.
    pub(crate) async fn keep_forgetting(self, stop: CancellationToken) {
        let task = Maintenance::of("fs-retention");
        let forgetting = async {
            let mut passes = BTreeMap::new();
            loop {
                sleep(self.round(&task, &mut passes).await).await;
            }
        };
        tokio::select! { () = forgetting => {}, () = stop.cancelled() => {} }
    }

    /// Looks at each bucket whose turn it is. Answers how long there is nothing to do.
    async fn round(&self, task: &Maintenance, passes: &mut BTreeMap<BucketName, Instant>) -> Duration {
        let kept_for = match self.0.tables().read(retentions).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "what buckets no longer keep could not be looked for; it is tried again");
                return FORGET_LOOK_INTERVAL;
            }
        };
        passes.retain(|name, _| kept_for.contains_key(name));
        let mut rest = FORGET_LOOK_INTERVAL;
        for (name, span) in kept_for {
            let (times, least, most) = FORGET_INTERVALS;
            let interval = (span / times).clamp(least, most);
            let waits = passes.get(&name).map_or(Duration::ZERO, |last| interval.saturating_sub(last.elapsed()));
            if !waits.is_zero() {
                rest = rest.min(waits);
                continue;
            }
            match self.forget(task, &name).await {
                Ok(0) => {}
                Ok(rows) => tracing::debug!(bucket = %name, rows, "forgot what is no longer kept"),
                Err(error) => {
                    tracing::warn!(bucket = %name, %error, "old versions could not be forgotten; it is tried again")
                }
            }
            passes.insert(name, Instant::now());
            rest = rest.min(interval);
        }
        rest
    }
}

/// The buckets that do not keep everything, and for how long each does.
fn retentions(sql: &Connection) -> Result<BTreeMap<BucketName, Duration>, StoreError> {
    let (mut found, mut after) = (BTreeMap::new(), None);
    loop {
        let page = bucket::page(sql, after.as_ref(), BUCKETS_LOOKED_AT_ONCE)?;
        let is_last = page.len() < BUCKETS_LOOKED_AT_ONCE;
        after = page.last().map(|row| row.name.clone());
        let span = |policy: &str| Policy::parse(policy).ok()?.retention.map(|retention| retention.span());
        found.extend(page.into_iter().filter_map(|row| Some((row.name, span(&row.terms.policy)?))));
        if is_last {
            return Ok(found);
        }
    }
}
