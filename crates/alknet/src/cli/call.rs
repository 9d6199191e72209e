//! `alknet call`.

use std::{
    io::{self, Read},
    time::Duration,
};

use clap::Args;
use serde_json::Value;

use super::{Place, output};
use crate::{
    failure::{Failure, Kind},
    node_client::{NodeClient, Trust},
};

/// Largest input read from standard input, in bytes: the largest frame.
const MAX_INPUT_BYTES: u64 = 4 * 1024 * 1024;

/// Call an operation of this node or of another
///
/// Examples:
///   alknet call node/identify '{}'
///   alknet call @box services/list
///   echo '{"name":"alice"}' | alknet call peers/show -
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Call {
    /// [@NODE] SERVICE/OPERATION [JSON]: the node is a peer name, node id, host:port or ticket; JSON may be - for standard input
    #[arg(required = true, num_args = 1..=3, value_names = ["[@NODE] SERVICE/OPERATION [JSON]"])]
    words: Vec<String>,
    /// Give up after this time
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = output::parse_duration)]
    timeout: u64,
    /// Take the key that answers, and remember it as a peer
    #[arg(long)]
    trust_on_first_use: bool,
}

impl Call {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let Asked { node, operation, input } = Asked::read("call", &self.words)?;
        let client = NodeClient::reach(place, node, Trust::from_flag(self.trust_on_first_use)).await?;
        let outcome = client.call_within::<Value>(operation, &input, Duration::from_secs(self.timeout)).await;
        client.finish().await;
        let answer = outcome.map_err(|failure| match (failure.kind(), node) {
            (Kind::NotFound, None) => failure.hint("`alknet services` lists what you may call"),
            (Kind::NotFound, Some(node)) => {
                failure.hint(format_args!("`alknet services {node}` lists what you may call there"))
            }
            _ => failure,
        })?;
        output::json(&answer)
    }
}

/// What the words of a command ask for.
pub(super) struct Asked<'a> {
    /// `@NODE`, where one is named.
    pub(super) node: Option<&'a str>,
    /// The operation.
    pub(super) operation: &'a str,
    /// Its input.
    pub(super) input: Value,
}

impl<'a> Asked<'a> {
    /// Reads `[@NODE] SERVICE/OPERATION [JSON]`.
    pub(super) fn read(verb: &str, words: &'a [String]) -> Result<Self, Failure> {
        let (node, rest) = match words.split_first() {
            Some((first, rest)) if first.starts_with('@') => (Some(first.as_str()), rest),
            _ => (None, words),
        };
        let (operation, input) = match rest {
            [operation] => (operation, "{}".to_owned()),
            [operation, input] if input == "-" => (operation, read_input()?),
            [operation, input] => (operation, input.clone()),
            _ => return Err(Failure::usage(format!("write: alknet {verb} [@NODE] SERVICE/OPERATION [JSON]"))),
        };
        let input = serde_json::from_str(&input).map_err(|error| {
            Failure::usage(format!("the input is no JSON: {error}"))
                .hint("quote it for the shell: '{\"name\":\"alice\"}'")
        })?;
        Ok(Self { node, operation, input })
    }
}

fn read_input() -> Result<String, Failure> {
    let mut text = String::new();
    io::stdin().take(MAX_INPUT_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_INPUT_BYTES {
        return Err(Failure::usage(format!("the input is larger than {MAX_INPUT_BYTES} bytes")));
    }
    Ok(text)
}
