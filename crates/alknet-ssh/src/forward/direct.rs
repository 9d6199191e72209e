//! Connections that the client has the node make: `direct-tcpip` (RFC 4254, 7.2) and `direct-streamlocal@openssh.com`.

use russh::{
    Channel,
    server::{ChannelOpenHandle, Msg},
};

use super::{
    Home,
    asking::{Asking, Target, failure},
    tunnel::carry,
};
use crate::pressure::OpenChannel;

/// Connects, tells the client, and carries until both sides are done.
pub(crate) async fn open(
    target: Target,
    asking: Asking,
    channel: Channel<Msg>,
    reply: ChannelOpenHandle,
    home: Home,
    open: OpenChannel,
) {
    let Home { handle, around } = home;
    // Given up, the reply says that it was refused.
    let Some(reached) = around.life.run_until_cancelled(asking.reach(&target)).await else { return };
    match reached {
        Ok((socket, hold)) => {
            let id = channel.id();
            reply.accept().await;
            let opened = async {
                // Says nothing to the client, but what comes after it cannot overtake the acceptance
                // (docs/upstream/russh-overtaken-acceptance.md). It fails only when the connection is gone.
                let _ = handle.channel_success(id).await;
            };
            carry(channel, opened, socket, &around, hold.ended()).await;
        }
        Err(refusal) => reply.reject(failure(&refusal)).await,
    }
    drop(open);
}
