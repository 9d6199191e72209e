//! `alknet key`.

use clap::{Args, Subcommand};

use super::{Place, output};
use crate::{
    failure::Failure,
    node_client::NodeClient,
    operations::keys::{CreateKey, CreatedKey, KeyId, Keys, RevokedKey},
};

/// API keys: for programs that cannot sign
///
/// Whoever holds the key has its rights, so give each program its own, with a role that is no wider than it needs.
///
/// Examples:
///   alknet key create backup --role observer --expires 90d
///   alknet key revoke abcd2345
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Key {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Create a key; it is shown this once
    Create {
        /// The name under which its bearer is known
        name: String,
        /// What its bearer may do
        #[arg(long)]
        role: String,
        /// When it ends, from now: 90s, 15min, 24h, 30d [default: never]
        #[arg(long, value_name = "TIME", value_parser = output::parse_duration)]
        expires: Option<u64>,
    },
    /// List the keys, never their secrets
    List,
    /// Revoke a key; its live sessions end at once
    Revoke {
        /// The key's id: the eight characters after `alk_`
        id: String,
    },
}

impl Key {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let node = NodeClient::local(place).await?;
        match self.action {
            Action::Create { name, role, expires } => {
                let created: CreatedKey =
                    node.call("keys/create", &CreateKey { name, role, lifetime_s: expires }).await?;
                if place.json {
                    return output::json(&created);
                }
                output::note("This key is shown once. Use it as `Authorization: Bearer KEY`.");
                output::line(&created.key)
            }
            Action::List => {
                let Keys { keys } = node.call("keys/list", &serde_json::json!({})).await?;
                if place.json {
                    return output::json(&keys);
                }
                let time = |seconds: Option<u64>, none: &str| seconds.map_or(none.to_owned(), output::utc);
                let rows: Vec<_> = keys
                    .into_iter()
                    .map(|key| [key.id, key.name, key.role, time(key.expires_at, "never"), time(key.last_used_at, "-")])
                    .collect();
                output::table(["ID", "NAME", "ROLE", "EXPIRES", "LAST USED"], &rows)
            }
            Action::Revoke { id } => {
                let revoked: RevokedKey = node.call("keys/revoke", &KeyId { id }).await?;
                if place.json {
                    return output::json(&revoked);
                }
                output::line(format!("{} is revoked", revoked.id))
            }
        }
    }
}
