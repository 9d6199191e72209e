//! `alknet serve`.

use clap::Args;
use serde_json::json;

use super::{Place, output};
use crate::{config::Loaded, failure::Failure, identity::NodeIdentity, logging, serving::RunningNode};

/// Serve in the foreground, for service managers: the identity must be there already
///
/// SIGTERM and Ctrl-C drain and end; SIGHUP takes over a changed configuration.
#[derive(Args)]
pub struct Serve {
    /// Where to listen, on TCP and UDP alike [default: the configuration's]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Leave the terminal, and say on standard output when it serves
    #[arg(long, hide = true)]
    detached: bool,
}

impl Serve {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        if self.detached {
            rustix::process::setsid()?;
        }
        let (flags, loaded) = configure(place, self.listen.as_deref())?;
        // Before the lock, which needs a folder to lie in.
        NodeIdentity::keystore(&place.data)?;
        let lock = place.data.lock()?;
        let identity = NodeIdentity::open(&place.data, &place.passphrase)?;
        let log = logging::start(&loaded.config().log);
        let node = RunningNode::start(&place.data, lock, &identity, place.sources(flags)?, loaded, log).await?;
        if self.detached || place.json {
            output::line(ready(&identity, &node))?;
        } else {
            tracing::info!(node = %identity.node_key(), port = node.port(), "serving");
        }
        node.run().await
    }
}

/// The configuration with the flags of `serve` and `up` on top.
pub fn configure(place: &Place, listen: Option<&str>) -> Result<(Vec<(String, toml::Value)>, Loaded), Failure> {
    let flags: Vec<_> =
        listen.map(|listen| ("node.listen".to_owned(), toml::Value::from(listen))).into_iter().collect();
    let loaded = place.config(flags.clone())?;
    Ok((flags, loaded))
}

/// What a node says, in one line, when it serves.
pub fn ready(identity: &NodeIdentity, node: &RunningNode) -> String {
    json!({ "node_id": identity.node_key().to_string(), "port": node.port() }).to_string()
}
