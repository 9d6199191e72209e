//! One forwarded connection: a channel on one side, a socket on the other.

use futures_util::future::{FusedFuture, FutureExt};
use russh::{Channel, ChannelId, ChannelMsg};
use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    channel::Surroundings,
    inbox::{Drained, inbox},
    limits::FORWARD_LINGER,
    parting::{close_first, part},
    relay::{Input, Output, Sent, feed, send_output},
};

/// The end of a forwarded connection that is not the channel.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn halves(self) -> (Output, Input) {
        match self {
            Self::Tcp(socket) => {
                let (read, write) = socket.into_split();
                (Output::Tcp(read), Input::Tcp(write))
            }
            Self::Unix(socket) => {
                let (read, write) = socket.into_split();
                (Output::Unix(read), Input::Unix(write))
            }
        }
    }
}

/// What ended a tunnel.
enum Ended {
    /// Both directions, or the socket is broken: it can be neither read nor written any more.
    Through,
    /// The channel.
    Channel(Drained),
    /// The SSH connection.
    Life,
    /// The permission.
    Permission,
}

/// Carries bytes both ways until both directions have ended, or `revoked` is cancelled. Either direction may end before the other. Nothing
/// is sent before `opened` is done.
pub(crate) async fn carry<S>(
    channel: Channel<S>,
    opened: impl Future<Output = ()>,
    socket: Socket,
    around: &Surroundings,
    revoked: &CancellationToken,
) where
    S: From<(ChannelId, ChannelMsg)> + Send + Sync + 'static,
{
    let (queue, writer) = channel.split();
    let (mut drain, input) = inbox(queue, around.pressure.clone(), around.stall_timeout);
    // The client may send already, and the library's loop waits for the channel's queue.
    let early = tokio::select! {
        () = opened => None,
        why = drain.run() => Some(Ended::Channel(why)),
        () = around.life.cancelled() => Some(Ended::Life),
    };
    let (mut from, to) = socket.halves();
    let mut outward = Box::pin(feed(input, to).fuse());
    let ended = match early {
        Some(ended) => ended,
        None => {
            let inward = async {
                let sent = send_output(&mut from, &writer, None, &around.pressure).await;
                // Fails only when the connection is gone.
                let _ = writer.eof().await;
                if sent == Sent::All { Ok(()) } else { Err(()) }
            };
            let both = async {
                // However it ended: what is broken and what has come to its end are closed alike.
                let _ = futures_util::future::try_join(inward, outward.as_mut().map(Ok)).await;
            };
            tokio::select! {
                () = both => Ended::Through,
                why = drain.run() => Ended::Channel(why),
                () = around.life.cancelled() => Ended::Life,
                () = revoked.cancelled() => Ended::Permission,
            }
        }
    };
    match ended {
        Ended::Through => {
            // Whatever still comes is not wanted any more.
            drop(outward);
            part(&writer, drain, &around.pressure).await;
        }
        Ended::Channel(Drained::Closed) => {
            drop((drain, from));
            if !outward.is_terminated() {
                let lingering = timeout(FORWARD_LINGER, revoked.run_until_cancelled(outward));
                let _ = around.life.run_until_cancelled(lingering).await;
            }
        }
        Ended::Channel(Drained::Stalled) => {
            tracing::info!("a forwarded connection was closed: its target took nothing while others waited");
            // The library's loop may be waiting on the queue.
            drop(drain);
            close_first(&writer, &around.pressure).await;
        }
        Ended::Permission => {
            drop(drain);
            close_first(&writer, &around.pressure).await;
        }
        Ended::Life => {}
    }
}

#[cfg(test)]
mod tests;
