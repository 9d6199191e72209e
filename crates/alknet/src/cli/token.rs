//! `alknet token`.

use clap::{Args, Subcommand};

use super::{Place, output};
use crate::{
    failure::Failure,
    node_client::NodeClient,
    operations::tokens::{CreateToken, CreatedToken, RevokeTokens, RevokedTokens, Tokens},
};

/// Auth tokens: short statements signed by this node's key
///
/// A token proves to one node, for a limited time, that its bearer speaks for this node's key. At this node itself it
/// stands for the owner; with --scope only those rights remain.
///
/// Examples:
///   alknet token create --scope peers:read --lifetime 15min
///   alknet token create --audience <node id>
///   alknet token revoke 0123456789abcdef0123456789abcdef
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Token {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Create a token
    Create {
        /// The node it is for: a node id or a peer's name [default: this node]
        #[arg(long, value_name = "NODE")]
        audience: Option<String>,
        /// Keep only this right; may be given more than once [default: all]
        #[arg(long = "scope", value_name = "SERVICE:ACTION")]
        scopes: Vec<String>,
        /// How long it lives: 90s, 15min, 24h
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = output::parse_duration)]
        lifetime: u64,
    },
    /// List the tokens that were created here and have not ended
    List,
    /// Revoke a token by its id, or every token that a key signed before a time
    Revoke {
        /// The token's id
        #[arg(required_unless_present = "key")]
        id: Option<String>,
        /// The key's fingerprint, `ed25519:<hex>`, or its node id
        #[arg(long, requires = "before", conflicts_with = "id")]
        key: Option<String>,
        /// Tokens issued before this time, in seconds since 1970
        #[arg(long, value_name = "SECONDS")]
        before: Option<u64>,
    },
}

impl Token {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let node = NodeClient::local_unlocked(place).await?;
        match self.action {
            Action::Create { audience, scopes, lifetime } => {
                let input = CreateToken { audience, scopes, lifetime_s: lifetime };
                let created: CreatedToken = node.call("tokens/create", &input).await?;
                if place.json { output::json(&created) } else { output::line(&created.token) }
            }
            Action::List => {
                let tokens: Tokens = node.call("tokens/list", &serde_json::json!({})).await?;
                if place.json {
                    return output::json(&tokens.tokens);
                }
                let rows: Vec<_> = tokens
                    .tokens
                    .into_iter()
                    .map(|token| {
                        let state = if token.revoked { "revoked" } else { "valid" };
                        let scopes = if token.scopes.is_empty() { "all".to_owned() } else { token.scopes.join(" ") };
                        [token.id, state.to_owned(), output::utc(token.expires_at), scopes]
                    })
                    .collect();
                output::table(["ID", "STATE", "EXPIRES", "SCOPES"], &rows)
            }
            Action::Revoke { id, key, before } => {
                let revoked: RevokedTokens = node.call("tokens/revoke", &RevokeTokens { id, key, before }).await?;
                if place.json {
                    return output::json(&revoked);
                }
                output::line(format!("{} is not accepted any more", revoked.revoked))
            }
        }
    }
}
