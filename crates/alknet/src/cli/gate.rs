//! `alknet gate`.

use clap::{Args, Subcommand};

use super::{Place, output};
use crate::{
    failure::Failure,
    node_client::NodeClient,
    operations::gate::{AskGate, Forgive, Forgiven, GateAnswer, GateList, ListGate, SourceView},
};

/// Who misbehaves at the node's port, and what it costs them
///
/// Failed logins, broken protocols and floods give points to an address (an IPv6 /64, and its /48) and to the key that was
/// shown, if any. One point goes each minute. At 20 points comes a penalty of a minute; the next ones are longer, up to a
/// day. A penalised address has two unfinished handshakes at a time. Nobody is locked out: whoever proves a known key is
/// served, from wherever.
///
/// Examples:
///   alknet gate list
///   alknet gate why 203.0.113.7
///   alknet gate forgive 2001:db8:1:2::/64
///   alknet gate forgive --all
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Gate {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List the addresses, prefixes and keys that have points or penalties
    List {
        /// Only those who are penalised now
        #[arg(long)]
        penalised: bool,
    },
    /// Explain how an address or key stands: points, penalties, and what it did last
    Why {
        /// An address (with or without a port), an IPv6 /64 or /48, a fingerprint, or a node id
        #[arg(value_name = "ADDR|KEY")]
        source: String,
    },
    /// Forget what an address or key did, or what everybody did
    Forgive {
        /// An address (with or without a port), an IPv6 /64 or /48, a fingerprint, or a node id
        #[arg(value_name = "ADDR|KEY", required_unless_present = "all")]
        source: Option<String>,
        /// Everybody
        #[arg(long, conflicts_with = "source")]
        all: bool,
    },
}

impl Gate {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let node = NodeClient::local(place).await?;
        match self.action {
            Action::List { penalised } => {
                let GateList { sources } = node.call("gate/list", &ListGate { penalised }).await?;
                if place.json { output::json(&sources) } else { table(sources) }
            }
            Action::Why { source } => {
                let answer: GateAnswer = node.call("gate/why", &AskGate { source }).await?;
                if place.json { output::json(&answer) } else { explain(&answer) }
            }
            Action::Forgive { source, all } => {
                let Forgiven { forgiven } = node.call("gate/forgive", &Forgive { source, all }).await?;
                if place.json {
                    return output::json(&forgiven);
                }
                match forgiven.as_slice() {
                    [] => output::line("there was nothing to forgive"),
                    some => output::line(format!("forgiven: {}", some.join(", "))),
                }
            }
        }
    }
}

fn table(sources: Vec<SourceView>) -> Result<(), Failure> {
    let row = |source: SourceView| {
        let penalty = source.penalised_for_s.map_or_else(|| "-".to_owned(), |left| output::duration(left * 1000));
        let last = source.offences.last();
        let (at, what) = last.map(|last| (output::utc(last.at), format!("{} on {}", last.offence, last.door))).unzip();
        let points = format!("{} of {}", tenths(source.points), source.penalty_at);
        [source.source, penalty, points, source.level.to_string(), at.unwrap_or_default(), what.unwrap_or_default()]
    };
    let rows: Vec<_> = sources.into_iter().map(row).collect();
    output::table(["SOURCE", "PENALISED FOR", "POINTS", "PENALTIES", "LAST SEEN", "WITH"], &rows)
}

fn explain(answer: &GateAnswer) -> Result<(), Failure> {
    if answer.exempt {
        output::line("exempt: gate.exempt covers it, so nothing counts")?;
    }
    for source in &answer.sources {
        output::line(verdict(source))?;
        for past in &source.offences {
            output::line(format!("  {}  {} on {}", output::utc(past.at), past.offence, output::printable(&past.door)))?;
        }
    }
    if answer.unfinished > 0 {
        output::line(format!("unfinished handshakes now: {}", answer.unfinished))?;
    }
    Ok(())
}

fn verdict(source: &SourceView) -> String {
    let name = &source.source;
    let nth = match source.level {
        0 => String::new(),
        1 => "; 1 penalty counts for the length of the next".to_owned(),
        level => format!("; {level} penalties count for the length of the next"),
    };
    match source.penalised_for_s {
        Some(left) => {
            let left = output::duration(left * 1000);
            format!(
                "{name} is penalised for {left} more: two unfinished handshakes at a time, until a key is proven{nth}"
            )
        }
        None if source.points == 0.0 => format!("{name} has no points{nth}"),
        None => format!("{name} has {} of {} points{nth}", tenths(source.points), source.penalty_at),
    }
}

/// Points with at most one decimal: never more than there are.
fn tenths(points: f64) -> f64 {
    (points * 10.0).floor() / 10.0
}
