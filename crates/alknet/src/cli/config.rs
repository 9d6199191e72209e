//! `alknet config`.

use clap::{Args, Subcommand};

use super::{Place, output};
use crate::{
    failure::Failure,
    node_client::NodeClient,
    operations::config::{ChangedSetting, Changes, Settings},
};

/// The configuration: what is in force, where it comes from, whether a changed file is good
///
/// Examples:
///   alknet config show --origin
///   alknet config check && alknet config reload
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show every setting
    Show {
        /// Show where each comes from
        #[arg(long)]
        origin: bool,
    },
    /// Check the files, and say what a reload would change
    Check,
    /// Let the running node take over the changed files, as SIGHUP does
    Reload,
}

impl Config {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        match self.action {
            Action::Show { origin } => {
                let settings = settings(place).await?;
                if place.json {
                    return output::json(&settings.settings);
                }
                settings.settings.into_iter().try_for_each(|setting| {
                    let comment = if origin { format!("  # {}", setting.origin) } else { String::new() };
                    output::line(format!("{} = {}{comment}", setting.key, setting.value))
                })
            }
            Action::Check => {
                // The files are read here too, so that all their problems are listed whether or not a node runs.
                place.config(Vec::new())?;
                if !place.data.is_serving() {
                    if place.data.keystore().exists() && place.data.database().exists() {
                        // Peers whose roles the files would change for the worse are known to the database only.
                        let folder = NodeClient::local(place).await?;
                        let _none: Changes = folder.call("config/check", &serde_json::json!({})).await?;
                    }
                    return report(place, &Changes { changes: Vec::new() }, "the configuration is good; no node runs");
                }
                let node = NodeClient::running(place).await?;
                let changes: Changes = node.call("config/check", &serde_json::json!({})).await?;
                report(place, &changes, "the configuration is good and in force")
            }
            Action::Reload => {
                let node = NodeClient::running(place).await?;
                let changes: Changes = node.call("config/reload", &serde_json::json!({})).await?;
                report(place, &changes, "nothing changed")
            }
        }
    }
}

/// The running node's settings, else those that a node would start with.
async fn settings(place: &Place) -> Result<Settings, Failure> {
    if place.data.is_serving() {
        let node = NodeClient::running(place).await?;
        return node.call("config/show", &serde_json::json!({})).await;
    }
    Ok(Settings { settings: crate::operations::config::settings(&place.config(Vec::new())?) })
}

fn report(place: &Place, changes: &Changes, nothing: &str) -> Result<(), Failure> {
    if place.json {
        return output::json(&changes.changes);
    }
    if changes.changes.is_empty() {
        return output::line(nothing);
    }
    let shown = |value: &str| if value.is_empty() { "nothing".to_owned() } else { value.to_owned() };
    let print = |change: &ChangedSetting| {
        let when = if change.needs_restart { " (after a restart)" } else { "" };
        output::line(format!("{}: {} becomes {}{when}", change.key, shown(&change.old), shown(&change.new)))
    };
    changes.changes.iter().try_for_each(print)
}
