//! `alknet worker`.

use clap::{Args, Subcommand};

use super::{Place, output};
use crate::{
    failure::Failure,
    node_client::NodeClient,
    operations::workers::{HeadName, Joined, Left, Workers},
};

/// Lend this node's operations to another node, its head, or see who lends theirs
///
/// The head is a peer here, and its role here says what it may call: nothing else is offered to it. At the head this
/// node needs the role `worker`. Whoever holds `remote:NAME` there calls this node's operations as NAME/SERVICE/OPERATION
/// or, if several nodes have them, any/SERVICE/OPERATION.
///
/// Examples:
///   alknet worker join @box
///   alknet worker list --json
///   alknet services @box --tree
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Worker {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Lend operations to a head, now and after every start
    Join {
        /// The head: @ and the name of a peer that was added with its ticket
        #[arg(value_name = "@HEAD")]
        head: String,
    },
    /// Lend a head nothing any more
    Leave {
        /// The head: @ and its name
        #[arg(value_name = "@HEAD")]
        head: String,
    },
    /// List the heads of this node, and its workers
    List,
}

impl Worker {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let node = NodeClient::local(place).await?;
        match self.action {
            Action::Join { head } => {
                let joined: Joined = node.call("workers/join", &head_name(&head)).await?;
                if place.json {
                    return output::json(&joined);
                }
                output::line(format!("{} is a head of this node", joined.head))?;
                if !joined.dialled {
                    output::note("it is dialled when this node serves: `alknet up`");
                }
                Ok(())
            }
            Action::Leave { head } => {
                let left: Left = node.call("workers/leave", &head_name(&head)).await?;
                if place.json {
                    return output::json(&left);
                }
                output::line(format!("{} is no head of this node any more", left.head))
            }
            Action::List => {
                let listed: Workers = node.call("workers/list", &serde_json::json!({})).await?;
                if place.json {
                    return output::json(&listed);
                }
                let heads = listed.heads.into_iter().map(|head| {
                    let state = head.refusal.unwrap_or_else(|| head.state.as_str().to_owned());
                    ["head".to_owned(), head.name, state, head.operations.to_string(), "-".to_owned()]
                });
                let workers = listed.workers.into_iter().map(|worker| {
                    let state = match (worker.connected, worker.ailing) {
                        (false, _) => "gone",
                        (true, true) => "ailing",
                        (true, false) => "connected",
                    };
                    let (operations, calls) = (worker.operations.to_string(), worker.in_flight.to_string());
                    ["worker".to_owned(), worker.name, state.to_owned(), operations, calls]
                });
                let rows: Vec<_> = heads.chain(workers).collect();
                output::table(["IS", "NAME", "STATE", "OPERATIONS", "CALLS"], &rows)
            }
        }
    }
}

fn head_name(head: &str) -> HeadName {
    HeadName { head: head.strip_prefix('@').unwrap_or(head).to_owned() }
}
