//! `alknet calls`.

mod board;
mod screen;

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use alknet_call::{CallNumber, CallStatus, CallTree, CallView, SubscribeOptions, Subscription};
use clap::{Args, Subcommand};
use futures_util::StreamExt;
use serde_json::json;

use self::{board::Board, screen::Screen};
use super::{Place, output};
use crate::{
    failure::Failure,
    node_client::{NodeClient, explain},
    operations::calls::{
        CallStats, CallStep, CalledOff, Calls as Listed, Kept, KeptCalls, ListCalls, ListKept, NumberedCall, WatchCalls,
    },
};

/// The board is drawn at most so often.
const FRAME: Duration = Duration::from_millis(100);
/// The board is drawn at least so often while calls run: their times grow.
const IDLE_FRAME: Duration = Duration::from_secs(1);

/// The calls that run at this node, and those that ran lately
///
/// Each call has a number. Those that it made stand below it. What it was given and what it gave are not kept.
///
/// Examples:
///   alknet calls
///   alknet calls --watch
///   alknet calls --all --operation fs/ list
///   alknet calls show 17
///   alknet calls abort 17
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Calls {
    /// Show calls as they begin and end: a live tree in a terminal, otherwise one JSON object a line
    #[arg(long)]
    watch: bool,
    /// Also those that ended; with --watch they stay
    #[arg(long)]
    all: bool,
    /// Only those of this peer
    #[arg(long, value_name = "NAME")]
    peer: Option<String>,
    /// Only operations whose name begins so
    #[arg(long, value_name = "PREFIX")]
    operation: Option<String>,
    /// Only those that began in this time until now: 30s, 15min
    #[arg(long, value_name = "TIME", value_parser = output::parse_duration, conflicts_with = "watch")]
    since: Option<u64>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand)]
enum Action {
    /// List calls; what `alknet calls` alone does
    List,
    /// Show a call with everything below it
    Show {
        /// The call's number
        number: u64,
    },
    /// Call a call off, with everything below it
    Abort {
        /// The call's number
        number: u64,
    },
    /// Say what the calls of each operation came to since the node started
    Stats,
    /// Write a call down for good, with everything below it
    Keep {
        /// The call's number
        number: u64,
    },
    /// List what was kept, or show one of it
    Kept {
        /// The id that keeping it gave
        id: Option<u64>,
    },
}

impl Calls {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let node = NodeClient::running(place).await?;
        let numbered = |number| NumberedCall { number: CallNumber(number) };
        match &self.action {
            None | Some(Action::List) if self.watch => self.watch(place, &node).await,
            Some(_) if self.watch => Err(Failure::usage("--watch shows the list of calls only")),
            None | Some(Action::List) => self.list(place, &node).await,
            Some(Action::Show { number }) => show(place, &node.call("calls/show", &numbered(*number)).await?),
            Some(Action::Abort { number }) => {
                let CalledOff { called_off } = node.call("calls/abort", &numbered(*number)).await?;
                match called_off {
                    0 => output::line(format!("{number} had ended, and everything below it")),
                    1 => output::line("1 call was called off"),
                    more => output::line(format!("{more} calls were called off")),
                }
            }
            Some(Action::Stats) => stats(place, node.call("calls/stats", &json!({})).await?),
            Some(Action::Keep { number }) => {
                let kept: Kept = node.call("calls/keep", &numbered(*number)).await?;
                if place.json {
                    return output::json(&kept);
                }
                output::line(format!("kept; `alknet calls kept {}` shows it", kept.id))
            }
            Some(Action::Kept { id }) => kept(place, &node, *id).await,
        }
    }

    async fn list(&self, place: &Place, node: &NodeClient<'_>) -> Result<(), Failure> {
        let statuses = if self.all { Vec::new() } else { vec![CallStatus::Pending, CallStatus::Running] };
        let input = ListCalls {
            statuses,
            identity: self.peer.clone(),
            operation_prefix: self.operation.clone(),
            within_s: self.since,
            before: None,
            limit: self.limit,
        };
        let Listed { calls } = node.call("calls/list", &input).await?;
        if place.json {
            return output::json(&calls);
        }
        let rows: Vec<_> = calls.iter().map(row).collect();
        output::table(["CALL", "STATUS", "OPERATION", "WHO", "BEGAN", "TOOK", "IN", "OUT", "BELOW"], &rows)
    }

    async fn watch(&self, place: &Place, node: &NodeClient<'_>) -> Result<(), Failure> {
        let input = WatchCalls { identity: self.peer.clone(), operation_prefix: self.operation.clone() };
        let steps = node.subscribe("calls/watch", &input, SubscribeOptions::default()).await?;
        if place.json || !std::io::stdout().is_terminal() {
            return print(steps).await;
        }
        let mut board = Board::new(self.all);
        let mut screen = Screen::open()?;
        let outcome = draw(steps, &mut board, &mut screen).await;
        screen.close()?;
        outcome
    }
}

/// One JSON object a line, until the node or the person ends it.
async fn print(mut steps: Subscription) -> Result<(), Failure> {
    loop {
        tokio::select! {
            step = steps.next() => match step {
                Some(step) => output::line(serde_json::to_string(&read(step)?)?)?,
                None => return Ok(()),
            },
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

/// Draws the board whenever something happened, but not too often, until the node or the person ends it.
async fn draw(mut steps: Subscription, board: &mut Board, screen: &mut Screen) -> Result<(), Failure> {
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let (mut drawn, mut changed) = (Instant::now(), true);
    loop {
        let wait = if changed { FRAME } else { IDLE_FRAME };
        tokio::select! {
            biased;
            _ = &mut interrupted => return Ok(()),
            () = tokio::time::sleep_until((drawn + wait).into()) => {
                drawn = Instant::now();
                changed = false;
                let (columns, rows) = screen.size();
                screen.draw(&board.lines(drawn, columns, rows))?;
            }
            step = steps.next() => match step {
                Some(step) => {
                    board.take(read(step)?, Instant::now());
                    changed = true;
                }
                None => return Ok(()),
            },
        }
    }
}

fn read(step: Result<alknet_call::Item, alknet_call::CallError>) -> Result<CallStep, Failure> {
    let item = step.map_err(|error| explain("calls/watch", &error))?;
    Ok(serde_json::from_value(item.output)?)
}

fn row(call: &CallView) -> [String; 9] {
    let status = match &call.reason {
        Some(reason) => format!("{} ({reason})", call.status.name()),
        None => call.status.name().to_owned(),
    };
    [
        call.number.to_string(),
        status,
        call.operation.clone(),
        call.identity.clone().unwrap_or_else(|| "-".to_owned()),
        output::utc(call.began_ms / 1000),
        board::time(Duration::from_micros(call.took_us)),
        call.input_bytes.to_string(),
        call.output_bytes.to_string(),
        call.parent.map_or_else(String::new, |parent| parent.to_string()),
    ]
}

fn show(place: &Place, tree: &CallTree) -> Result<(), Failure> {
    if place.json {
        return output::json(tree);
    }
    print_tree(tree, 0)
}

/// As deep as calls nest.
fn print_tree(tree: &CallTree, depth: usize) -> Result<(), Failure> {
    output::line(board::line(&tree.call, depth, Duration::ZERO))?;
    tree.children.iter().try_for_each(|child| print_tree(child, depth + 1))
}

fn stats(place: &Place, stats: CallStats) -> Result<(), Failure> {
    if place.json {
        return output::json(&stats);
    }
    let rows: Vec<_> = stats
        .operations
        .into_iter()
        .map(|found| {
            let micros = |micros| board::time(Duration::from_micros(micros));
            [
                found.operation,
                found.begun.to_string(),
                found.in_flight.to_string(),
                found.failed.to_string(),
                found.aborted.to_string(),
                micros(found.p50_us),
                micros(found.p99_us),
                found.input_bytes.to_string(),
                found.output_bytes.to_string(),
            ]
        })
        .collect();
    output::table(["OPERATION", "CALLS", "RUNNING", "FAILED", "ABORTED", "P50", "P99", "IN", "OUT"], &rows)
}

async fn kept(place: &Place, node: &NodeClient<'_>, id: Option<u64>) -> Result<(), Failure> {
    let KeptCalls { kept } = node.call("calls/kept", &ListKept { id, before: None }).await?;
    if place.json {
        return output::json(&kept);
    }
    if let Some(tree) = kept.iter().find_map(|one| one.tree.as_ref()) {
        return show(place, tree);
    }
    let rows: Vec<_> = kept
        .into_iter()
        .map(|one| {
            let name = |name: Option<String>| name.unwrap_or_else(|| "-".to_owned());
            [one.id.to_string(), one.operation, name(one.identity), name(one.kept_by), output::utc(one.kept_at)]
        })
        .collect();
    output::table(["ID", "OPERATION", "WHO", "KEPT BY", "KEPT"], &rows)
}
