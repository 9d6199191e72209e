//! What a client has the node listen on: ports (RFC 4254, 7.1) and unix sockets (OpenSSH's `PROTOCOL`, 2.4).

use std::{collections::HashMap, io};

use tokio::{task::JoinHandle, time::sleep};

use super::{
    Home,
    asking::Asking,
    incoming::{Arrival, bring},
    tunnel::Socket,
};
use crate::{
    limits::{ACCEPT_PAUSE, MAX_LISTENERS},
    login::Term,
    policy::{ForwardListener, ForwardRefusal, ForwardSocket, Granted, Hold, Reason},
    pressure::{ChannelKind, OpenChannel},
};

/// The listeners of one connection. They end with it.
#[derive(Default)]
pub(crate) struct Listeners(HashMap<Place, Listening>);

/// A place as the client names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Place {
    Tcp(String, u32),
    Unix(String),
}

/// Dropped, nothing listens there any more, from the next moment on.
struct Listening(JoinHandle<()>);

impl Listening {
    /// Answers when the place is free.
    async fn end(mut self) {
        self.0.abort();
        // That it was aborted is no news.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Listeners {
    /// Listens on a port; answers with its number, which the client may have left open.
    pub(crate) async fn listen_tcp(
        &mut self,
        asking: &Asking,
        host: &str,
        port: u32,
        home: Home,
    ) -> Result<u32, ForwardRefusal> {
        self.make_room()?;
        let Granted { what, hold } = asking.listen_tcp(host, port).await?;
        let port = u32::from(what.port());
        let task = tokio::spawn(accept(Door::Tcp(what, host.to_owned()), hold, asking.term, home));
        self.0.insert(Place::Tcp(host.to_owned(), port), Listening(task));
        Ok(port)
    }

    /// Listens at a path.
    pub(crate) async fn listen_unix(&mut self, asking: &Asking, path: &str, home: Home) -> Result<(), ForwardRefusal> {
        self.make_room()?;
        let Granted { what, hold } = asking.listen_unix(path).await?;
        let task = tokio::spawn(accept(Door::Unix(what, path.to_owned()), hold, asking.term, home));
        self.0.insert(Place::Unix(path.to_owned()), Listening(task));
        Ok(())
    }

    /// Stops listening on a port; answers whether that was listened on. Connections that came go on.
    pub(crate) async fn cancel_tcp(&mut self, host: &str, port: u32) -> bool {
        self.cancel(&Place::Tcp(host.to_owned(), port)).await
    }

    /// Stops listening at a path.
    pub(crate) async fn cancel_unix(&mut self, path: &str) -> bool {
        self.cancel(&Place::Unix(path.to_owned())).await
    }

    async fn cancel(&mut self, place: &Place) -> bool {
        let Some(listening) = self.0.remove(place) else { return false };
        listening.end().await;
        true
    }

    fn make_room(&mut self) -> Result<(), ForwardRefusal> {
        self.0.retain(|_, listening| !listening.0.is_finished());
        if self.0.len() < MAX_LISTENERS {
            return Ok(());
        }
        Err(ForwardRefusal::new(Reason::TooMany, format!("the connection listens in {MAX_LISTENERS} places")))
    }
}

impl Home {
    /// Places for a connection that came: on the SSH connection, and in its owner's account.
    fn admit(&self, listener: &Hold) -> Option<(OpenChannel, Hold)> {
        let open = self.around.pressure.open_channel(ChannelKind::Forward, self.around.max_forwards);
        let Some(open) = open else {
            tracing::debug!("a connection to a forwarded port was turned away: there are too many");
            return None;
        };
        match listener.connection() {
            Ok(hold) => Some((open, hold)),
            Err(error) => {
                tracing::debug!(%error, "a connection to a forwarded port was turned away");
                None
            }
        }
    }

    fn receive(&self, arrival: Arrival, socket: Socket, listener: &Hold) {
        let Some((open, hold)) = self.admit(listener) else { return };
        let home = self.clone();
        tokio::spawn(async move {
            bring(arrival, socket, home, hold.ended(), open).await;
            drop(hold);
        });
    }
}

/// A listener and how the client names it.
enum Door {
    Tcp(ForwardListener, String),
    Unix(ForwardSocket, String),
}

impl Door {
    async fn accept(&self) -> io::Result<(Arrival, Socket)> {
        Ok(match self {
            Self::Tcp(listener, host) => {
                let (socket, from) = listener.accept().await?;
                let (host, port) = (host.clone(), listener.port().into());
                (Arrival::Tcp { host, port, from }, Socket::Tcp(socket))
            }
            Self::Unix(socket, path) => (Arrival::Unix(path.clone()), Socket::Unix(socket.accept().await?)),
        })
    }
}

async fn accept(door: Door, hold: Hold, term: Term, home: Home) {
    loop {
        let accepted = tokio::select! {
            accepted = door.accept() => accepted,
            () = hold.ended().cancelled() => return,
            () = home.around.life.cancelled() => return,
            () = home.around.stopping.cancelled() => return,
        };
        if !term.holds() {
            return tracing::info!("a forwarded port was given up: {}", Term::ENDED);
        }
        match accepted {
            Ok((arrival, socket)) => home.receive(arrival, socket, &hold),
            // A connection that was gone at once, or a system without descriptors: neither ends the listener.
            Err(error) => {
                tracing::debug!(%error, "a forwarded port could not accept");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
