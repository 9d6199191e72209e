//! `alknet up`.

use std::ffi::OsString;

use alknet_core::HostPort;
use clap::Args;

use super::{
    Place,
    identity::open_or_make,
    init::must_have_no_node,
    output,
    serve::{configure, ready},
};
use crate::{
    detached,
    failure::{Failure, Kind},
    identity::NodeIdentity,
    logging,
    serving::RunningNode,
};

/// Bring this node up: make an identity on the first run, serve, and print what to paste
///
/// Examples:
///   alknet up
///   alknet up --detach --listen '[::]:4433'
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Up {
    /// Where to listen, on TCP and UDP alike [default: the configuration's, which is [::]:4433]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Return when the node serves; it goes on in the background (`alknet stop` ends it)
    #[arg(long)]
    detach: bool,
    /// On the first run, protect the keystore with a key file instead of a passphrase
    #[arg(long)]
    key_file: bool,
}

impl Up {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        place.data.create()?;
        let (flags, loaded) = configure(place, self.listen.as_deref())?;
        let lock = place.data.lock().map_err(|error| {
            Failure::caused_by(Kind::Failed, &error)
                .hint("`alknet status` shows the running node, `alknet stop` ends it")
        })?;
        let first = !NodeIdentity::exists(&place.data);
        if self.detach {
            place.passphrase.keep();
        }
        must_have_no_node(place).await?;
        let identity = open_or_make(place, self.key_file)?;
        if self.detach {
            drop(lock);
            return self.detach(place, &identity, first).await;
        }
        let log = logging::start(&loaded.config().log);
        let node = RunningNode::start(&place.data, lock, &identity, place.sources(flags)?, loaded, log).await?;
        if place.json {
            output::line(ready(&identity, &node))?;
        } else {
            output::note(paste(&identity, node.port(), &node.ticket().to_string(), first));
        }
        node.run().await
    }

    /// Starts `alknet serve` in the background and waits until it serves.
    async fn detach(&self, place: &Place, identity: &NodeIdentity, first: bool) -> Result<(), Failure> {
        let mut words: Vec<OsString> = vec!["serve".into(), "--detached".into()];
        if let Some(listen) = &self.listen {
            words.extend(["--listen".into(), listen.into()]);
        }
        let answer = detached::start(place, "the node", &words, &place.data.log())?;
        if place.json {
            return output::json(&answer);
        }
        let node = crate::node_client::NodeClient::running(place).await?;
        let status: crate::operations::node::NodeStatus = node.call("node/status", &serde_json::json!({})).await?;
        let port = answer["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or_default();
        output::note(paste(identity, port, &status.ticket, first));
        output::note(format!("It serves as process {}; its log is {}.", status.pid, place.data.log().display()));
        Ok(())
    }
}

/// What to paste into which client.
fn paste(identity: &NodeIdentity, port: u16, ticket: &str, first: bool) -> String {
    let host = ticket_host(ticket);
    let node = identity.node_key();
    let mut text = format!("\nThis node is {node}, on port {port} (TCP and UDP).\n\n");
    if first {
        text += "  let yourself in      alknet peer add me --key ~/.ssh/id_ed25519.pub --role owner\n";
    }
    text += &format!(
        "  log in               ssh -p {port} me@{host}\n\
         \x20 fetch a page         curl -k https://{host}:{port}/healthz\n\
         \x20 call an operation    alknet call node/identify '{{}}'\n\
         \x20 ssh with no options  alknet ssh-config --install && ssh node\n\
         \x20 from another node    alknet peer add box --ticket {ticket}\n\
         \x20                      alknet call @box services/list\n"
    );
    text
}

fn ticket_host(ticket: &str) -> String {
    let parsed = ticket.parse::<alknet_core::Ticket>().ok();
    let first = parsed.as_ref().and_then(|ticket| ticket.addresses().first()).map(HostPort::host);
    match first {
        Some(host) if host.contains(':') => format!("[{host}]"),
        Some(host) => host.to_owned(),
        None => "localhost".to_owned(),
    }
}
