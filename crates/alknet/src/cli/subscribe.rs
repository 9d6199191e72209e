//! `alknet subscribe`.

use std::io::{self, Write};

use alknet_call::{Item, SubscribeOptions};
use clap::Args;
use futures_util::StreamExt;
use serde_json::json;

use super::{Place, call::Asked};
use crate::{
    failure::Failure,
    node_client::{NodeClient, Trust, explain_subscription},
};

/// Follow an operation that gives items until it ends: one line of JSON for each
///
/// With --json each line is {"seq", "output"}. Ctrl-C ends it.
///
/// Examples:
///   alknet subscribe calls/watch
///   alknet subscribe --count 10 @box events/subscribe '{"topic":"builds"}'
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Subscribe {
    /// [@NODE] SERVICE/OPERATION [JSON]: the node is a peer name, node id, host:port or ticket; JSON may be - for standard input
    #[arg(required = true, num_args = 1..=3, value_names = ["[@NODE] SERVICE/OPERATION [JSON]"])]
    words: Vec<String>,
    /// Go on after the item of this number, where the operation is resumable
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
    /// End after so many items
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Take the key that answers, and remember it as a peer
    #[arg(long)]
    trust_on_first_use: bool,
}

impl Subscribe {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let asked = Asked::read("subscribe", &self.words)?;
        let client = NodeClient::reach(place, asked.node, Trust::from_flag(self.trust_on_first_use)).await?;
        let outcome = tokio::select! {
            outcome = self.follow(place, &client, &asked) => outcome,
            _ = tokio::signal::ctrl_c() => Ok(()),
        };
        client.finish().await;
        outcome
    }

    async fn follow(&self, place: &Place, client: &NodeClient<'_>, asked: &Asked<'_>) -> Result<(), Failure> {
        let options = SubscribeOptions { after_seq: self.after, ..SubscribeOptions::default() };
        let mut items = client.subscribe(asked.operation, &asked.input, options).await?;
        let mut shown = 0;
        while self.count.is_none_or(|count| shown < count)
            && let Some(item) = items.next().await
        {
            let item = item.map_err(|error| explain_subscription(asked.operation.trim_start_matches('/'), &error))?;
            if show(place, &item)? == Reader::Gone {
                break;
            }
            shown += 1;
        }
        Ok(())
    }
}

/// Whether anybody still reads what is printed.
#[derive(PartialEq, Eq)]
enum Reader {
    There,
    Gone,
}

fn show(place: &Place, item: &Item) -> Result<Reader, Failure> {
    let text = if place.json {
        serde_json::to_string(&json!({ "seq": item.seq, "output": item.output }))?
    } else {
        serde_json::to_string(&item.output)?
    };
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error.into()),
    }
}
