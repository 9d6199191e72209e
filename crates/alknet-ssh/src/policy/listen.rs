//! Listening for a client.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use alknet_core::{Authorizer, Caller};
use rustix::net::sockopt::set_ipv6_v6only;
use tokio::net::{TcpListener, TcpSocket};

use super::{
    direction::Direction,
    forward_policy::ForwardPolicy,
    granted::{ForwardListener, ForwardSocket, Granted},
    judge::{Basis, Wanted},
    path,
    refusal::ForwardRefusal,
    request::{Asker, Request},
    socket_file::SocketPlace,
    target::{Host, InvalidTarget},
};
use crate::{key_options::KeyOptions, limits::LISTEN_BACKLOG};

/// The name of this machine's loopback addresses.
const LOCALHOST: &str = "localhost";

impl ForwardPolicy {
    /// Listens on a port for a client's `-R`: on loopback, unless a rule names another address. Port 0 takes a free one.
    pub(crate) async fn listen_tcp(
        &self,
        caller: &Caller,
        authorizer: &Authorizer,
        options: &KeyOptions,
        bind_host: &str,
        port: u32,
    ) -> Result<Granted<ForwardListener>, ForwardRefusal> {
        let asker = Asker { caller, authorizer, options };
        let request = Request::new(self, asker, Direction::Remote, format_args!("{bind_host}:{port}"));
        let place = request.enter(true)?;
        let port = u16::try_from(port).map_err(|_| request.prohibited(InvalidTarget::Port))?;
        if !options.may_listen(bind_host, port) {
            return Err(request.prohibited("the key's options"));
        }
        let mut refused = Basis::NoRule;
        for addresses in places(bind_host).map_err(|invalid| request.prohibited(invalid))? {
            let mut wanted: Vec<Wanted> = addresses.into_iter().map(|address| listening(address, port)).collect();
            // Written down before they are judged, so that rules which change meanwhile find them.
            place.uses(wanted.clone());
            let verdict = |wanted: &Wanted| request.judge(wanted);
            let verdicts = wanted.iter().map(verdict).collect::<Result<Vec<_>, _>>()?;
            if let Some(no) = verdicts.iter().find(|verdict| !verdict.allowed) {
                refused = no.basis;
            }
            let mut verdicts = verdicts.into_iter();
            wanted.retain(|_| verdicts.next().is_some_and(|verdict| verdict.allowed));
            if wanted.is_empty() {
                continue;
            }
            place.uses(wanted.clone());
            let permit = request.permit()?;
            let listener = request.in_time(async { Ok(listen_on(&wanted)?) }).await?;
            return Ok(request.grant(listener, permit, place));
        }
        Err(request.prohibited(refused))
    }

    /// Listens at a Unix socket for a client; only the node's own user may connect to it.
    pub(crate) async fn listen_unix(
        &self,
        caller: &Caller,
        authorizer: &Authorizer,
        options: &KeyOptions,
        path: &str,
    ) -> Result<Granted<ForwardSocket>, ForwardRefusal> {
        let asker = Asker { caller, authorizer, options };
        let request = Request::new(self, asker, Direction::Remote, format_args!("{path}"));
        let place = request.enter(true)?;
        if !options.may_listen_on_sockets() {
            return Err(request.prohibited("the key's options"));
        }
        let path = path::asked(path).map_err(|invalid| request.prohibited(invalid))?;
        let socket = request.in_time(SocketPlace::find(path)).await?;
        let wanted = Wanted::Socket { direction: Direction::Remote, path: socket.path().to_owned() };
        request.judge_all(&place, &[wanted])?;
        let permit = request.permit()?;
        let (listener, file) = request.in_time(async { Ok(socket.listen().await?) }).await?;
        Ok(request.grant(ForwardSocket::new(listener, file), permit, place))
    }
}

/// The addresses that are meant (RFC 4254, 7.1), in sets of which the first that has one allowed is taken: whoever asks for every address
/// gets loopback where no rule names more, as with sshd(8).
pub(super) fn places(bind_host: &str) -> Result<Vec<Vec<IpAddr>>, InvalidTarget> {
    let loopback = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let (any_v4, any_v6) = (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into());
    Ok(match bind_host.trim_matches(['[', ']']) {
        "" | "*" => vec![vec![any_v4, any_v6], loopback],
        "0.0.0.0" => vec![vec![any_v4], vec![loopback[0]]],
        "::" => vec![vec![any_v6], vec![loopback[1]]],
        _ => match bind_host.parse()? {
            Host::Address(address) => vec![vec![address]],
            Host::Name(name) if name == LOCALHOST => vec![loopback],
            Host::Name(_) => return Err(InvalidTarget::NoAddress),
        },
    })
}

/// What listening on an address asks of the rules.
pub(super) fn listening(address: IpAddr, port: u16) -> Wanted {
    let name = address.is_loopback().then(|| Arc::from(LOCALHOST));
    Wanted::Listen { name, address, port }
}

/// Listens on one address, and with the same port on another if that is free.
fn listen_on(wanted: &[Wanted]) -> io::Result<ForwardListener> {
    let mut addresses = wanted.iter().filter_map(|wanted| match wanted {
        Wanted::Listen { address, port, .. } => Some(SocketAddr::new(*address, *port)),
        Wanted::Reach { .. } | Wanted::Socket { .. } => None,
    });
    let first = bind(addresses.next().ok_or(io::ErrorKind::AddrNotAvailable)?)?;
    let port = first.local_addr()?.port();
    let second = addresses.find_map(|address| bind(SocketAddr::new(address.ip(), port)).ok());
    ForwardListener::new(first, second)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if address.is_ipv6() {
        set_ipv6_v6only(&socket, true)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(LISTEN_BACKLOG.unsigned_abs())
}
