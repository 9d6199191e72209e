//! One connection: which HTTP it speaks, how long it lives, and how it ends.

use std::{convert::Infallible, sync::Arc};

use alknet_core::{Connection, ServeError};
use axum::{Router, body::Body, response::Response};
use http::Request;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{
    activity::Activity,
    bearer::Visitor,
    door::Arrival,
    framing::{TwoLengths, Watched},
    limits::{
        CLOSE_TIMEOUT, CONNECTION_WINDOW_BYTES, FINISH_TIMEOUT, HEAD_TIMEOUT, IDLE_TIMEOUT, MAX_CONCURRENT_STREAMS,
        MAX_CONNECTION_AGE, MAX_FRAME_BYTES, MAX_HEAD_BYTES, MAX_HEADER_FIELDS, MAX_PENDING_RESETS, PING_INTERVAL,
        PING_TIMEOUT, READ_BUFFER_BYTES, SEND_BUFFER_BYTES, STREAM_WINDOW_BYTES,
    },
};

/// The one ALPN that is not HTTP/1.1.
const H2: &[u8] = b"h2";

/// Serves a connection until it ends, is idle or old, or the node stops.
pub(crate) async fn serve(
    connection: &Connection,
    router: Router,
    stopping: CancellationToken,
) -> Result<(), ServeError> {
    let Some(stream) = connection.accept_stream().await? else { return Ok(()) };
    let activity = Activity::new();
    let two_lengths = TwoLengths::default();
    let visitor = Arc::new(Visitor::new(connection.peer().clone()));
    let arrival = Arrival { visitor, two_lengths: two_lengths.clone() };
    let service = service_fn({
        let activity = activity.clone();
        move |request| answer(router.clone(), arrival.clone(), activity.clone(), request)
    });
    if connection.alpn().as_bytes() == H2 {
        let http = http2().serve_connection(TokioIo::new(stream), service);
        run(http, &activity, &stopping).await
    } else {
        let http = http1().serve_connection(TokioIo::new(Watched::new(stream, two_lengths)), service);
        run(http, &activity, &stopping).await
    }
}

async fn answer(
    router: Router,
    arrival: Arrival,
    activity: Activity,
    mut request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let busy = activity.begin();
    request.extensions_mut().insert(arrival);
    let response = router.oneshot(request.map(Body::new)).await?;
    Ok(response.map(|body| busy.until_sent(body)))
}

fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADER_FIELDS)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(READ_BUFFER_BYTES);
    builder
}

fn http2() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES as u32)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// Drives a connection. Its end by idleness, age or a stopping node is announced (`Connection: close`, GOAWAY), and what
/// was begun is finished.
async fn run<C>(http: C, activity: &Activity, stopping: &CancellationToken) -> Result<(), ServeError>
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let mut http = std::pin::pin!(http);
    tokio::select! {
        ended = http.as_mut() => return how(ended),
        () = stopping.cancelled() => {}
        () = activity.none_for(IDLE_TIMEOUT) => {}
        () = sleep(MAX_CONNECTION_AGE) => {}
    }
    http.as_mut().graceful_shutdown();
    tokio::select! {
        ended = http => how(ended),
        () = patience(activity) => Ok(()),
    }
}

/// How long an ending connection is waited for.
async fn patience(activity: &Activity) {
    let _ = timeout(FINISH_TIMEOUT, activity.none()).await;
    sleep(CLOSE_TIMEOUT).await;
}

/// By whose fault a connection ended. hyper's texts quote nothing that the peer sent.
fn how(ended: Result<(), hyper::Error>) -> Result<(), ServeError> {
    match ended {
        Ok(()) => Ok(()),
        // An idle HTTP/1.1 connection ends so too.
        Err(error) if error.is_timeout() => Ok(()),
        Err(error) if error.is_parse() => Err(ServeError::misbehaved(error)),
        Err(error) => Err(ServeError::Lost(error.into())),
    }
}
