//! Frames that wait for an association's stream, bounded in number and in bytes.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::limits::{UDP_QUEUE_BYTES, UDP_QUEUE_DATAGRAMS};

/// The end that frames are put into.
pub(super) struct StreamQueue {
    frames: mpsc::Sender<(Bytes, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
}

/// The end that frames are written from.
pub(super) struct Waiting(mpsc::Receiver<(Bytes, OwnedSemaphorePermit)>);

/// An empty queue.
pub(super) fn stream_queue() -> (StreamQueue, Waiting) {
    let (frames, waiting) = mpsc::channel(UDP_QUEUE_DATAGRAMS);
    (StreamQueue { frames, room: Arc::new(Semaphore::new(UDP_QUEUE_BYTES)) }, Waiting(waiting))
}

impl StreamQueue {
    /// Puts a frame behind the others; where there is no room it is lost, as datagrams are.
    pub(super) fn push(&self, frame: Bytes) {
        let bytes = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        if let Ok(room) = self.room.clone().try_acquire_many_owned(bytes) {
            let _lost_if_full = self.frames.try_send((frame, room));
        }
    }
}

impl Waiting {
    /// The next frame; `None` when nobody puts any in any more. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        self.0.recv().await.map(|(frame, _room)| frame)
    }
    /// Whether none waits at the moment.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_waits_is_bounded_in_number_and_in_bytes() {
        // SOCKS-19
        for (size, fits) in [(1, UDP_QUEUE_DATAGRAMS), (60_000, UDP_QUEUE_BYTES / 60_000)] {
            let (queue, mut waiting) = stream_queue();
            (0..2 * UDP_QUEUE_DATAGRAMS).for_each(|_| queue.push(vec![0; size].into()));
            for _ in 0..fits {
                assert_eq!(waiting.next().await.map(|frame| frame.len()), Some(size));
            }
            assert!(waiting.is_empty());
            queue.push(vec![0; size].into());
            assert!(waiting.next().await.is_some(), "what was taken has made room");
        }
    }
}
