//! `alknet services`.

use alknet_call::{ListInput, ListOutput, ListedOperation, SchemaInput};
use clap::Args;
use serde_json::Value;

use super::{Place, output, service_tree::ServiceTree};
use crate::{
    failure::{Failure, Kind},
    node_client::{NodeClient, Trust},
};

/// Most pages of operations that are read: another machine says whether there is one more.
const MAX_PAGES: usize = 100;

/// The operations that you may call at a node
///
/// Examples:
///   alknet services
///   alknet services @box
///   alknet services --schema peers/add
///   alknet services --tree
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Services {
    /// Which node: @ and a peer name, node id, host:port or ticket [default: this one]
    #[arg(value_name = "@NODE")]
    node: Option<String>,
    /// Show the whole specification of this operation
    #[arg(long, value_name = "SERVICE/OPERATION")]
    schema: Option<String>,
    /// Show them as a tree: nodes, services, operations
    #[arg(long, conflicts_with = "schema")]
    tree: bool,
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
            let asked = SchemaInput { names: vec![name.trim_start_matches('/').to_owned()] };
            let answer: Value = node.call("services/schema", &asked).await?;
            return match answer.pointer("/operations/0") {
                Some(specification) => output::json(specification),
                None => Err(Failure::new(Kind::NotFound, format!("there is no operation {}", output::printable(name)))
                    .hint("without --schema this command lists what you may call")),
            };
        }
        let operations = all(node).await?;
        if self.tree {
            let tree = ServiceTree::of(&operations);
            return if place.json { output::json(&tree) } else { tree.lines().iter().try_for_each(output::line) };
        }
        if place.json {
            return output::json(&operations);
        }
        let rows: Vec<_> =
            operations.into_iter().map(|operation| [operation.name, operation.kind, operation.title]).collect();
        output::table(["OPERATION", "KIND", "TITLE"], &rows)
    }
}

/// Every page of the list.
async fn all(node: &NodeClient<'_>) -> Result<Vec<ListedOperation>, Failure> {
    let mut operations = Vec::new();
    let mut cursor = None;
    for _ in 0..MAX_PAGES {
        let page: ListOutput = node.call("services/list", &ListInput { cursor, limit: None }).await?;
        operations.extend(page.operations);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(operations);
        }
    }
    Err(Failure::failed(format!("the list of that node does not end after {MAX_PAGES} pages")))
}
