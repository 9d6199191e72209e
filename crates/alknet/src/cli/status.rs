//! `alknet status`.

use clap::Args;

use super::{Place, output};
use crate::{failure::Failure, node_client::NodeClient, operations::node::NodeStatus};

/// What the running node does: its id, where it listens, what it serves
#[derive(Args)]
pub struct Status {}

impl Status {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let node = NodeClient::running(place).await?;
        let status: NodeStatus = node.call("node/status", &serde_json::json!({})).await?;
        if place.json {
            return output::json(&status);
        }
        output::line(format!("node id    {}", status.node_id))?;
        output::line(format!("version    {}", status.version))?;
        output::line(format!("up         {}", output::duration(status.uptime_ms)))?;
        for listen in &status.listen {
            output::line(format!("listen     {} {}", listen.carrier, listen.addr))?;
        }
        output::line(format!("services   {}", status.services.join(" ")))?;
        output::line(format!("sessions   {}", status.sessions))
    }
}
