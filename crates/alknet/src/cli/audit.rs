//! `alknet audit`.

use clap::Args;

use super::{Place, output};
use crate::{
    failure::Failure,
    node_client::NodeClient,
    operations::audit::{AuditPage, QueryAudit},
};

/// Who did what: denials, changes and logins, newest first
///
/// Examples:
///   alknet audit --since 24h --denied
///   alknet audit --peer alice --action peers/ --json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Audit {
    /// Only this peer
    #[arg(long, value_name = "NAME")]
    peer: Option<String>,
    /// Only operations whose name begins so
    #[arg(long, value_name = "PREFIX")]
    action: Option<String>,
    /// Only what happened in this time until now: 15min, 24h, 30d
    #[arg(long, value_name = "TIME", value_parser = output::parse_duration)]
    since: Option<u64>,
    /// Only what was refused
    #[arg(long)]
    denied: bool,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
}

impl Audit {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let node = NodeClient::local(place).await?;
        let input = QueryAudit {
            identity: self.peer,
            action_prefix: self.action,
            within_s: self.since,
            denied: self.denied,
            limit: self.limit,
            before_id: None,
        };
        let page: AuditPage = node.call("audit/query", &input).await?;
        if place.json {
            return output::json(&page.rows);
        }
        let rows: Vec<_> = page
            .rows
            .into_iter()
            .map(|row| {
                let who = row.identity.or(row.credential).unwrap_or_else(|| "-".to_owned());
                let what = row.resource.map_or(row.action.clone(), |resource| format!("{} {resource}", row.action));
                [output::utc(row.at), row.outcome, who, what, row.addr, row.detail.unwrap_or_default()]
            })
            .collect();
        output::table(["TIME", "OUTCOME", "WHO", "WHAT", "FROM", "WHY"], &rows)
    }
}
