//! Connecting for a client: every address that a name has is judged, and what is connected to is what was judged.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use alknet_core::{Authorizer, Caller};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    net::{TcpStream, UnixStream},
    time::sleep,
};

use super::{
    account::Place,
    direction::Direction,
    forward_policy::{ForwardPolicy, subject},
    granted::Granted,
    judge::Wanted,
    path,
    refusal::{ForwardRefusal, Reason},
    request::{Asker, Request},
    socket_file::SocketFile,
    target::{self, Host, usual},
};
use crate::{
    key_options::KeyOptions,
    limits::{CONNECT_STAGGER, MAX_CONNECT_TRIES},
};

impl ForwardPolicy {
    /// Connects to a host and a port for a client's `-L`, `-W` or `-D`. Small writes are sent at once.
    pub(crate) async fn reach_tcp(
        &self,
        caller: &Caller,
        authorizer: &Authorizer,
        options: &KeyOptions,
        host: &str,
        port: u32,
    ) -> Result<Granted<TcpStream>, ForwardRefusal> {
        let asker = Asker { caller, authorizer, options };
        let request = Request::new(self, asker, Direction::Local, format_args!("{host}:{port}"));
        let place = request.enter(false)?;
        let addresses = self.addresses(&request, &place, Direction::Local, host, port).await?;
        let permit = request.permit()?;
        let stream = request.in_time(connect(addresses)).await?;
        Ok(request.grant(stream, permit, place))
    }

    /// The addresses that datagrams of a client's SOCKS users may go to, under the name that they gave.
    pub(crate) async fn reach_udp(
        &self,
        caller: &Caller,
        authorizer: &Authorizer,
        options: &KeyOptions,
        host: &str,
        port: u32,
    ) -> Result<Granted<Vec<SocketAddr>>, ForwardRefusal> {
        let asker = Asker { caller, authorizer, options };
        let request = Request::new(self, asker, Direction::Dynamic, format_args!("{host}:{port}"));
        let place = request.enter(false)?;
        let addresses = self.addresses(&request, &place, Direction::Dynamic, host, port).await?;
        let permit = request.permit()?;
        Ok(request.grant(addresses, permit, place))
    }

    /// Connects to a Unix socket for a client.
    pub(crate) async fn reach_unix(
        &self,
        caller: &Caller,
        authorizer: &Authorizer,
        options: &KeyOptions,
        path: &str,
    ) -> Result<Granted<UnixStream>, ForwardRefusal> {
        let asker = Asker { caller, authorizer, options };
        let request = Request::new(self, asker, Direction::Socket, format_args!("{path}"));
        let place = request.enter(false)?;
        if !options.may_open_sockets() {
            return Err(request.prohibited("the key's options"));
        }
        let path = path::asked(path).map_err(|invalid| request.prohibited(invalid))?;
        let file = request.in_time(SocketFile::find(path)).await?;
        let wanted = Wanted::Socket { direction: Direction::Socket, path: file.path().to_owned() };
        request.judge_all(&place, &[wanted])?;
        let permit = request.permit()?;
        let stream = request.in_time(async { Ok(file.connect().await?) }).await?;
        Ok(request.grant(stream, permit, place))
    }

    /// The addresses of a host, all of which are allowed.
    async fn addresses(
        &self,
        request: &Request<'_>,
        place: &Place,
        direction: Direction,
        asked: &str,
        port: u32,
    ) -> Result<Vec<SocketAddr>, ForwardRefusal> {
        let port = target::port(port).map_err(|invalid| request.prohibited(invalid))?;
        let host: Host = asked.parse().map_err(|invalid| request.prohibited(invalid))?;
        let options = request.options();
        if !options.may_open(asked, port) && !options.may_open(&host.to_string(), port) {
            return Err(request.prohibited("the key's options"));
        }
        let (name, found) = match host {
            Host::Address(address) => (None, vec![SocketAddr::new(address, port)]),
            Host::Name(name) => {
                let who = request.who()?;
                // Who may not reach it whatever its addresses are is not told whether it has any.
                if !self.rules().may_allow(subject(who), direction, &name, port) {
                    return Err(request.prohibited("no rule allows it"));
                }
                let found = self.resolver.addresses(&name, self.accounts.resolving(who)).await;
                (Some(Arc::from(name)), found.inspect_err(|refusal| request.failed(refusal))?)
            }
        };
        let addresses: Vec<SocketAddr> = found.into_iter().map(|address| at(address, port)).collect();
        let wanted = |address: IpAddr| Wanted::Reach { direction, name: name.clone(), address, port };
        let wanted: Vec<Wanted> = addresses.iter().map(|address| wanted(address.ip())).collect();
        request.judge_all(place, &wanted)?;
        Ok(addresses)
    }
}

/// The address in its usual form, with the interface that it was found with.
pub(super) fn at(mut address: SocketAddr, port: u16) -> SocketAddr {
    let ip = usual(address.ip());
    if ip != address.ip() {
        return SocketAddr::new(ip, port);
    }
    address.set_port(port);
    address
}

/// Connects to the first address that answers; one more is tried whenever the others fail or take long (RFC 8305, 5).
async fn connect(addresses: Vec<SocketAddr>) -> Result<TcpStream, ForwardRefusal> {
    let mut left = addresses.into_iter().take(MAX_CONNECT_TRIES);
    let mut tries: FuturesUnordered<_> = left.next().into_iter().map(connect_to).collect();
    let mut refusal = ForwardRefusal::new(Reason::NameNotFound, "there is no address");
    loop {
        tokio::select! {
            done = tries.next() => match done {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => refusal = error.into(),
                None => return Err(refusal),
            },
            () = sleep(CONNECT_STAGGER), if left.len() > 0 => {}
        }
        tries.extend(left.next().map(connect_to));
    }
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    check(stream.local_addr()?, stream.peer_addr()?, address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Whether a connection goes to the judged address, and to somebody.
pub(super) fn check(local: SocketAddr, peer: SocketAddr, judged: SocketAddr) -> io::Result<()> {
    if peer.ip().to_canonical() != judged.ip() || peer.port() != judged.port() {
        return Err(io::Error::other("connected to another address than was judged"));
    }
    // A free port that is connected to from itself: nobody listens there.
    if local == peer {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(())
}
