//! How many requests a connection has, so that an idle one can be ended and a busy one is not.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::watch;

/// The requests of one connection that are not yet answered to the last byte.
#[derive(Clone)]
pub(crate) struct Activity(watch::Sender<usize>);

impl Activity {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Counts a request until the guard goes.
    pub(crate) fn begin(&self) -> Busy {
        self.0.send_modify(|open| *open += 1);
        Busy(self.clone())
    }

    /// Waits until there is no request.
    pub(crate) async fn none(&self) {
        let mut open = self.0.subscribe();
        // Fails only without a sender, and `self` is one.
        let _ = open.wait_for(|open| *open == 0).await;
    }

    /// Waits until there was no request for `quiet`.
    pub(crate) async fn none_for(&self, quiet: Duration) {
        let mut open = self.0.subscribe();
        loop {
            self.none().await;
            open.mark_unchanged();
            if *open.borrow() == 0 && tokio::time::timeout(quiet, open.changed()).await.is_err() {
                return;
            }
        }
    }
}

/// A request that is being answered.
pub(crate) struct Busy(Activity);

impl Busy {
    /// Ties the guard to the answer's body.
    pub(crate) fn until_sent(self, body: Body) -> Body {
        if hyper::body::Body::is_end_stream(&body) {
            return body;
        }
        Body::new(Sending { body, _busy: self })
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.send_modify(|open| *open -= 1);
    }
}

struct Sending {
    body: Body,
    _busy: Busy,
}

impl hyper::body::Body for Sending {
    type Data = Bytes;
    type Error = axum::Error;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    const QUIET: Duration = Duration::from_millis(40);

    #[tokio::test]
    async fn a_connection_is_idle_only_after_its_last_answer_was_sent() {
        let activity = Activity::new();
        let body = activity.begin().until_sent(Body::from("answer"));
        let idle = activity.none_for(QUIET);
        tokio::pin!(idle);
        assert!(timeout(QUIET * 3, &mut idle).await.is_err(), "an answer is still being sent");
        drop(body);
        let begun = Instant::now();
        assert!(timeout(QUIET / 2, &mut idle).await.is_err());
        drop(activity.begin());
        idle.await;
        assert!(begun.elapsed() >= QUIET * 3 / 2, "the second request starts the wait anew");
    }
}
