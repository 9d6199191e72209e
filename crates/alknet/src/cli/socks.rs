//! `alknet socks`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use alknet_ssh::{Proxy, ReachError, Target, Tunnel, UdpTunnels};
use clap::Args;
use serde::Serialize;
use tokio::net::TcpListener;

use super::{Place, note, output};
use crate::{
    failure::{Failure, Kind},
    standard_streams::told_to_end,
    tunnels::{Reach, explain},
};

/// How often it is said, at most, that there is no connection to the node.
const SAY_LOST_EVERY: Duration = Duration::from_secs(10);

/// Serve SOCKS5 and HTTP CONNECT here, with connections that leave from a node, until told to end
///
/// Names are resolved at the node, and its forward policy decides. Datagrams (UDP ASSOCIATE) travel too. A connection to the node that is
/// lost is made again. Whoever can connect to the port acts with your rights at the node: on loopback that is everybody on this machine.
///
/// Examples:
///   alknet socks box
///   curl -x socks5h://127.0.0.1:1080 https://example.org/
///   alknet socks box --listen 0 --json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Socks {
    /// A peer name, node id, host:port or ticket; USER@ in front asks for a user name
    node: String,
    /// Where to listen: [ADDRESS:]PORT; port 0 is any free one
    #[arg(long, default_value = "127.0.0.1:1080", value_name = "ADDRESS", value_parser = parse_listen)]
    listen: SocketAddr,
    /// Listen on an address that other machines can connect to
    #[arg(long)]
    expose: bool,
    #[command(flatten)]
    reach: Reach,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Serving {
    listen: String,
    socks5: String,
    http: String,
}

impl Socks {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let listener = self.listen().await?;
        let dialling = self.reach.dialling(place)?;
        let tunnel = Arc::new(self.reach.tunnel(place, &dialling, &self.node).await?);
        let outcome = tokio::select! {
            outcome = serve(&listener, &tunnel, UdpTunnels::new(dialling.dialer(), tunnel.target().clone()), place) => outcome,
            told = told_to_end() => Ok(told?),
        };
        tunnel.close().await;
        dialling.finish().await;
        outcome
    }

    async fn listen(&self) -> Result<TcpListener, Failure> {
        if !self.listen.ip().is_loopback() && !self.expose {
            return Err(Failure::usage(format!("{} is not a loopback address", self.listen.ip()))
                .hint("whoever can connect there acts with your rights at the node; if that is meant: --expose"));
        }
        let bound = TcpListener::bind(self.listen).await;
        bound.map_err(|error| {
            Failure::caused_by(Kind::Unavailable, &error)
                .while_doing(format_args!("listening on {}", self.listen))
                .hint("another port: --listen PORT, or --listen 0 for any free one")
        })
    }
}

/// Logs in, says what to paste, and serves for ever.
async fn serve(listener: &TcpListener, tunnel: &Arc<Tunnel>, udp: UdpTunnels, place: &Place) -> Result<(), Failure> {
    // What fails now will not get better by itself; what is lost later is made again when it is needed.
    tunnel.client().await.map_err(|error| explain(&error))?;
    let addr = listener.local_addr()?;
    let serving =
        Serving { listen: addr.to_string(), socks5: format!("socks5h://{addr}"), http: format!("http://{addr}") };
    if place.json {
        output::line(serde_json::to_string(&serving)?)?;
    } else {
        output::line(format!("SOCKS5 and HTTP CONNECT on {addr}"))?;
        note(paste(&serving));
    }
    Proxy::new(tunnel.clone(), Some(udp), Box::new(teller())).serve(listener).await;
    Ok(())
}

/// What to paste into which client.
fn paste(serving: &Serving) -> String {
    let Serving { listen, socks5, http } = serving;
    format!(
        "\n  fetch a page       curl -x {socks5} https://example.org/\n\
         \x20 a whole shell      export ALL_PROXY={socks5}\n\
         \x20 http proxies only  export HTTPS_PROXY={http}\n\
         \x20 ssh                ssh -o ProxyCommand='nc -X 5 -x {listen} %h %p' HOST\n"
    )
}

/// Says what the node does not let through, and now and then that there is no node.
fn teller() -> impl Fn(&Target, ReachError) + Send + Sync {
    let said_lost: Mutex<Option<Instant>> = Mutex::default();
    move |target, error| match error {
        ReachError::Denied | ReachError::Full => note(format!("{target}: {error}")),
        ReachError::NoTunnel => {
            let mut said = said_lost.lock().unwrap_or_else(PoisonError::into_inner);
            if said.is_none_or(|at| at.elapsed() >= SAY_LOST_EVERY) {
                *said = Some(Instant::now());
                note(error.to_string());
            }
        }
        // Its client has been told, and it is no affair of the proxy's.
        ReachError::Refused | ReachError::Unreachable | ReachError::TimedOut => {}
    }
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    match (text.parse(), text.parse()) {
        (Ok(addr), _) => Ok(addr),
        (_, Ok(port)) => Ok((Ipv4Addr::LOCALHOST, port).into()),
        _ => Err("write PORT, 127.0.0.1:PORT or [::1]:PORT".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_to_listen_on_may_be_a_port_alone() {
        for (text, addr) in [("1080", "127.0.0.1:1080"), ("0", "127.0.0.1:0"), ("[::1]:7", "[::1]:7")] {
            assert_eq!(parse_listen(text).unwrap().to_string(), addr);
        }
        for bad in ["", "localhost:1", "1.2.3.4", "65536", "-1"] {
            assert!(parse_listen(bad).is_err(), "{bad}");
        }
    }
}
