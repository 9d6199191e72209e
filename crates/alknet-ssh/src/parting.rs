//! How a channel ends: the client closes first where that is possible, because of a channel that this side closes first the SSH library
//! keeps a part for as long as the connection lasts (docs/upstream/russh-closed-channel-leak.md).

use std::time::Duration;

use russh::{ChannelId, ChannelMsg, ChannelWriteHalf};
use tokio::time::timeout;

use crate::{
    inbox::{Drain, Drained},
    pressure::Pressure,
};

/// Closes a channel that the other side has not closed.
pub(crate) async fn close_first<S>(channel: &ChannelWriteHalf<S>, pressure: &Pressure)
where
    S: From<(ChannelId, ChannelMsg)> + Send + Sync + 'static,
{
    pressure.leave_behind();
    // This fails only when the connection is gone, and then nobody waits for it.
    let _ = channel.close().await;
}

/// Gives the other side time to close a channel on which all has been said, and closes it otherwise.
pub(crate) async fn part<S>(channel: &ChannelWriteHalf<S>, drain: &mut Drain, patience: Duration, pressure: &Pressure)
where
    S: From<(ChannelId, ChannelMsg)> + Send + Sync + 'static,
{
    if timeout(patience, drain.run()).await != Ok(Drained::Closed) {
        close_first(channel, pressure).await;
    }
}
