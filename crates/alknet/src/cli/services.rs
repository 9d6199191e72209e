//! `alknet services`.

use clap::Args;
use serde_json::{Value, json};

use super::{Place, output};
use crate::{
    failure::Failure,
    node_client::{NodeClient, Trust},
};

/// The operations that you may call at a node
///
/// Examples:
///   alknet services
///   alknet services @box
///   alknet services --schema peers/add
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Services {
    /// Which node: @ and a peer name, node id, host:port or ticket [default: this one]
    #[arg(value_name = "@NODE")]
    node: Option<String>,
    /// Show the whole specification of this operation
    #[arg(long, value_name = "SERVICE/OPERATION")]
    schema: Option<String>,
    /// Take the key that answers, and remember it as a peer
    #[arg(long)]
    trust_on_first_use: bool,
}

impl Services {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let node = NodeClient::reach(place, self.node.as_deref(), Trust::from_flag(self.trust_on_first_use)).await?;
        let outcome = self.show(place, &node).await;
        node.finish().await;
        outcome
    }

    async fn show(&self, place: &Place, node: &NodeClient<'_>) -> Result<(), Failure> {
        if let Some(name) = &self.schema {
            let schema: Value = node.call("services/schema", &json!({ "names": [name] })).await?;
            return output::json(&schema);
        }
        let mut rows = Vec::new();
        let mut all = Vec::new();
        let mut cursor = None;
        loop {
            let input = cursor.map_or(json!({}), |cursor: Value| json!({ "cursor": cursor }));
            let page: Value = node.call("services/list", &input).await?;
            for operation in page["operations"].as_array().into_iter().flatten() {
                let text = |key: &str| operation[key].as_str().unwrap_or_default().to_owned();
                rows.push([text("name"), text("kind"), text("title")]);
                all.push(operation.clone());
            }
            match page.get("cursor").filter(|cursor| !cursor.is_null()) {
                Some(next) => cursor = Some(next.clone()),
                None => break,
            }
        }
        if place.json { output::json(&all) } else { output::table(["OPERATION", "KIND", "TITLE"], &rows) }
    }
}
