//! `alknet forward`.

use std::{pin::pin, sync::Arc, time::Duration};

use alknet_ssh::{Backoff, ListenError, SshClient, Tunnel, TunnelError};
use clap::Args;
use serde::Serialize;
use tokio::{task::JoinSet, time::sleep};

use super::{Place, note, output, printable};
use crate::{
    failure::{Failure, Kind},
    forwards::{self, LocalForward, LocalSpec, RemoteForward, RemoteSpec},
    standard_streams::told_to_end,
    tunnels::{Reach, explain},
};

/// Between attempts to reach a node again.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Forward ports and unix sockets to or from a node, until told to end
///
/// Listens here (-L) or at the node (-R), in ssh's syntax; a path that contains / is a unix socket. Prints where it listens. A connection
/// that is lost is made again.
///
/// Examples:
///   alknet forward box -L 8080:localhost:80
///   alknet forward box -L 5432:/run/postgresql/.s.PGSQL.5432 -R 0:localhost:3000
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Forward {
    /// A peer name, node id, host:port or ticket
    node: String,
    /// Listen here: [BIND:]PORT:HOST:PORT; connections go to HOST:PORT from the node
    #[arg(short = 'L', value_name = "SPEC", required_unless_present = "remote")]
    local: Vec<LocalSpec>,
    /// Listen at the node: [BIND:]PORT:HOST:PORT; connections go to HOST:PORT from here
    #[arg(short = 'R', value_name = "SPEC")]
    remote: Vec<RemoteSpec>,
    #[command(flatten)]
    reach: Reach,
}

impl Forward {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let dialling = self.reach.dialling(place)?;
        // Here first: what fails without the node should fail before anybody is bothered.
        let local = listen(self.local).await?;
        let tunnel = Arc::new(self.reach.tunnel(place, &dialling, &self.node).await?);
        let forwards = Forwards { local, remote: self.remote, json: place.json, quiet: false };
        let outcome = tokio::select! {
            outcome = forwards.run(tunnel.clone()) => outcome.map(|never| match never {}),
            told = told_to_end() => Ok(told?),
        };
        tunnel.close().await;
        dialling.finish().await;
        outcome
    }
}

/// Begins to listen here.
pub async fn listen(specs: Vec<LocalSpec>) -> Result<Vec<LocalForward>, Failure> {
    let mut local = Vec::new();
    for spec in specs {
        local.push(LocalForward::listen(spec).await?);
    }
    Ok(local)
}

/// What a command forwards.
pub struct Forwards {
    /// Listeners here.
    pub local: Vec<LocalForward>,
    /// Listeners at the node.
    pub remote: Vec<RemoteSpec>,
    /// Whether to print JSON.
    pub json: bool,
    /// Whether to print nothing: standard output is something else's.
    pub quiet: bool,
}

/// A line of `--json`.
#[derive(Serialize)]
struct Listening {
    /// `local` or `remote`.
    side: &'static str,
    listen: String,
    to: String,
}

impl Forwards {
    /// Whether there is nothing to forward.
    pub fn is_empty(&self) -> bool {
        self.local.is_empty() && self.remote.is_empty()
    }

    /// Forwards until the node refuses for good; what it refuses after it was there once may come back.
    pub async fn run(mut self, tunnel: Arc<Tunnel>) -> Result<std::convert::Infallible, Failure> {
        let mut tasks = JoinSet::new();
        for forward in std::mem::take(&mut self.local) {
            let to = forward.to().to_string();
            self.say("local", &forward.listen, to, forward.chosen)?;
            tasks.spawn(forward.run(tunnel.clone()));
        }
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut connected_before = false;
        loop {
            match self.connected(&tunnel, &mut connected_before).await {
                Ok(reason) => {
                    backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
                    note(format!("the connection was lost ({}), it is made again", printable(&reason)));
                }
                Err(Stopped::Tunnel(error)) if connected_before && !error.is_final() => {
                    tracing::debug!(%error, "not connected yet");
                }
                Err(Stopped::Tunnel(error)) => return Err(explain(&error)),
                Err(Stopped::Listen(failure)) => return Err(failure),
            }
            sleep(backoff.pause()).await;
        }
    }

    /// Keeps a connection until it is lost; answers with why it was. Listeners that were there before, and that the node refuses now (it may
    /// not have noticed yet that the connection before is lost), are asked for again, beside everything else that the connection carries.
    async fn connected(&mut self, tunnel: &Tunnel, connected_before: &mut bool) -> Result<String, Stopped> {
        let client = tunnel.client().await.map_err(Stopped::Tunnel)?;
        let mut closed = pin!(client.closed());
        let mut listeners = JoinSet::new();
        let mut missing =
            self.listen(&client, (0..self.remote.len()).collect(), &mut listeners, *connected_before).await?;
        if *connected_before {
            note("connected again");
        }
        *connected_before = true;
        for (index, error) in missing.iter().filter(|(_, error)| *error == ListenError::Refused) {
            note(format!("-R {}: {error}; it is tried again", self.remote[*index].listen));
        }
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        while !missing.is_empty() {
            tokio::select! {
                reason = &mut closed => return Ok(reason),
                () = sleep(backoff.pause()) => {}
            }
            let wanted = missing.iter().map(|(index, _)| *index).collect();
            missing = self.listen(&client, wanted, &mut listeners, true).await?;
            if missing.is_empty() {
                note("the node listens again");
            }
        }
        // Only what is in use keeps a connection that another has taken the place of.
        drop(client);
        Ok(closed.await)
    }

    /// Has the node listen; answers with what it refuses, where that is not the end of everything.
    async fn listen(
        &mut self,
        client: &SshClient,
        wanted: Vec<usize>,
        listeners: &mut JoinSet<()>,
        listened_before: bool,
    ) -> Result<Vec<(usize, ListenError)>, Stopped> {
        let mut missing = Vec::new();
        for index in wanted {
            match RemoteForward::listen(client, &self.remote[index]).await {
                Ok(forward) => {
                    self.settle(index, &forward.listen, listened_before).map_err(Stopped::Listen)?;
                    listeners.spawn(forward.run());
                }
                Err(error) if listened_before => missing.push((index, error)),
                Err(error) => return Err(refused(error, &self.remote[index])),
            }
        }
        Ok(missing)
    }

    /// Says where the node listens, and keeps to the port that it chose.
    fn settle(&mut self, index: usize, listen: &forwards::Place, said_before: bool) -> Result<(), Failure> {
        let spec = &mut self.remote[index];
        let chosen = spec.listen != *listen;
        spec.listen = listen.clone();
        let to = spec.to.to_string();
        if said_before { Ok(()) } else { self.say("remote", listen, to, chosen) }
    }

    /// Says where somebody listens. Beside a command that is worth a word only where it was not asked for.
    fn say(&self, side: &'static str, listen: &forwards::Place, to: String, chosen: bool) -> Result<(), Failure> {
        let listen = listen.to_string();
        if self.quiet {
            if chosen {
                note(format!("listening on {listen}, to {to}"));
            }
            return Ok(());
        }
        if self.json {
            return output::line(serde_json::to_string(&Listening { side, listen, to })?);
        }
        let at = if side == "local" { "" } else { "the node " };
        output::line(format!("{at}listening on {listen}, to {to}"))
    }
}

/// Why there is no connection, or none that is of use.
enum Stopped {
    Tunnel(TunnelError),
    Listen(Failure),
}

fn refused(error: ListenError, spec: &RemoteSpec) -> Stopped {
    let kind = if error == ListenError::Refused { Kind::Denied } else { Kind::Unavailable };
    let failure = Failure::caused_by(kind, &error).while_doing(format_args!("-R {}", spec.listen));
    Stopped::Listen(failure)
}
