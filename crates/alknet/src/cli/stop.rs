//! `alknet stop`.

use std::time::{Duration, Instant};

use clap::Args;

use super::{Place, output};
use crate::{
    failure::{Failure, Kind},
    node_client::NodeClient,
    operations::node::Stopping,
};

/// How long a node may take beyond its drain time: one that is still there then is stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// Stop the running node: it finishes what it serves, for its drain time, and ends
#[derive(Args)]
pub struct Stop {}

impl Stop {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let node = NodeClient::running(place).await?;
        let stopping: Stopping = node.call("node/stop", &serde_json::json!({})).await?;
        let give_up = Instant::now() + Duration::from_millis(stopping.drain_ms) + PATIENCE;
        while place.data.is_serving() || place.data.lock_is_held()? {
            if Instant::now() > give_up {
                return Err(Failure::new(Kind::Unavailable, "the node is still draining"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        output::note("stopped");
        Ok(())
    }
}
