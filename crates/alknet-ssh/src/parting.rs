//! How a channel ends: the client closes first where that is possible, because of a channel that this side closes first the SSH library
//! keeps a part for as long as the connection lasts (docs/upstream/russh-closed-channel-leak.md).

use russh::{ChannelId, ChannelMsg, ChannelWriteHalf};
use tokio::time::timeout;

use crate::{
    inbox::{Drain, Drained},
    limits::{PARTING, PATIENT_AFTER_CHANNELS_LEFT},
    pressure::Pressure,
};

/// Closes a channel that the other side has not closed. Its queue must be gone: the library's loop, which takes the message, may be waiting
/// for room in it.
pub(crate) async fn close_first<S>(channel: &ChannelWriteHalf<S>, pressure: &Pressure)
where
    S: From<(ChannelId, ChannelMsg)> + Send + Sync + 'static,
{
    pressure.leave_behind();
    // This fails only when the connection is gone, and then nobody waits for it.
    let _ = channel.close().await;
}

/// Ends a channel on which both sides have said all. Once many channels were left behind the other side gets time to close first: clients
/// with many channels do that at once, and those that wait for this side have few.
pub(crate) async fn part<S>(channel: &ChannelWriteHalf<S>, mut drain: Drain, pressure: &Pressure)
where
    S: From<(ChannelId, ChannelMsg)> + Send + Sync + 'static,
{
    let patient = pressure.left_behind() >= PATIENT_AFTER_CHANNELS_LEFT;
    if patient && timeout(PARTING, drain.run()).await == Ok(Drained::Closed) {
        return;
    }
    drop(drain);
    close_first(channel, pressure).await;
}
