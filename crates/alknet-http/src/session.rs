//! One connection: which HTTP it speaks, how long it lives, and how it ends.

use std::{convert::Infallible, sync::Arc, time::Duration};

use alknet_core::{Connection, Offence, ServeError};
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

/// How long a connection may take for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) head: Duration,
    pub(crate) idle: Duration,
    pub(crate) age: Duration,
    pub(crate) finish: Duration,
    pub(crate) close: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            head: HEAD_TIMEOUT,
            idle: IDLE_TIMEOUT,
            age: MAX_CONNECTION_AGE,
            finish: FINISH_TIMEOUT,
            close: CLOSE_TIMEOUT,
        }
    }
}

/// Serves a connection until it ends, is idle or old, or the node stops.
pub(crate) async fn serve(
    connection: &Connection,
    router: Router,
    pace: &Pace,
    stopping: &CancellationToken,
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
        run(http, &activity, pace, stopping).await
    } else {
        let http = http1(pace).serve_connection(TokioIo::new(Watched::new(stream, two_lengths)), service);
        run(http, &activity, pace, stopping).await
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

fn http1(pace: &Pace) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(pace.head)
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
async fn run<C>(http: C, activity: &Activity, pace: &Pace, stopping: &CancellationToken) -> Result<(), ServeError>
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let mut http = std::pin::pin!(http);
    tokio::select! {
        ended = http.as_mut() => return how(ended),
        () = stopping.cancelled() => {}
        () = activity.none_for(pace.idle) => {}
        () = sleep(pace.age) => {}
    }
    http.as_mut().graceful_shutdown();
    tokio::select! {
        ended = http => how(ended),
        () = patience(activity, pace) => Ok(()),
    }
}

/// How long an ending connection is waited for.
async fn patience(activity: &Activity, pace: &Pace) {
    let _ = timeout(pace.finish, activity.none()).await;
    sleep(pace.close).await;
}

/// By whose fault a connection ended. hyper's texts quote nothing that the peer sent.
fn how(ended: Result<(), hyper::Error>) -> Result<(), ServeError> {
    match ended {
        Ok(()) => Ok(()),
        // An idle HTTP/1.1 connection ends so too.
        Err(error) if error.is_timeout() => Ok(()),
        Err(error) if error.is_parse() => Err(ServeError::offence(Offence::BadFrame, error)),
        Err(error) => Err(ServeError::Lost(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use alknet_core::{Alpn, Carrier, Stream};
    use alknet_testkit::{identities::stranger, memory};
    use axum::routing::get;
    use http_body_util::{BodyExt, Empty};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::Semaphore,
        task::JoinHandle,
    };

    use super::*;

    const SOON: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(60);
    const PATIENCE: Duration = Duration::from_secs(8);
    const UNHURRIED: Pace = Pace { head: LONG, idle: LONG, age: LONG, finish: LONG, close: LONG };

    /// A served connection in memory, whose one route waits for `gate`.
    struct World {
        gate: Arc<Semaphore>,
        stopping: CancellationToken,
        served: JoinHandle<Result<(), ServeError>>,
        client: Stream,
        _ends: [Connection; 2],
    }

    impl World {
        async fn new(alpn: &'static [u8], pace: Pace) -> Self {
            let alpn = Alpn::from_static(alpn);
            let (near, far) = memory::pair_over(&alpn, stranger(), stranger(), Carrier::Tls);
            let (gate, stopping) = (Arc::new(Semaphore::new(0)), CancellationToken::new());
            let waiting = gate.clone();
            let answer = move || async move { waiting.acquire().await.map(|_| "answer").unwrap_or("gone") };
            let router = Router::new().route("/", get(answer));
            let (until, ours) = (stopping.clone(), far.clone());
            let served = tokio::spawn(async move { serve(&far, router, &pace, &until).await });
            let client = near.open_stream().await.unwrap();
            Self { gate, stopping, served, client, _ends: [near, ours] }
        }
    }

    async fn ends(served: JoinHandle<Result<(), ServeError>>) -> Result<(), ServeError> {
        timeout(PATIENCE, served).await.expect("an end in time").unwrap()
    }

    async fn rest(client: &mut Stream) -> String {
        let mut text = String::new();
        // A connection that is cut off ends with an error.
        let _ = timeout(PATIENCE, client.read_to_string(&mut text)).await.expect("an end in time");
        text
    }

    /// HTTP-05: however slowly the head comes, one byte at a time too.
    #[tokio::test]
    async fn a_slow_head_ends_the_connection() {
        for sent in ["", "G", "GET / HTTP/1.1\r\nHost: x\r\nX: "] {
            let mut world = World::new(b"http/1.1", Pace { head: SOON, ..UNHURRIED }).await;
            world.client.write_all(sent.as_bytes()).await.unwrap();
            let _ = ends(world.served).await;
            assert!(!rest(&mut world.client).await.contains("200"), "{sent}");
        }
    }

    /// HTTP-07: a client that never begins, on either version.
    #[tokio::test]
    async fn an_idle_connection_is_ended() {
        for alpn in [&b"h2"[..], b"http/1.1"] {
            let world = World::new(alpn, Pace { idle: SOON, close: SOON, ..UNHURRIED }).await;
            let _ = ends(world.served).await;
        }
    }

    /// HTTP-07: a request that takes longer than the idle timeout is not cut off; one that takes for ever is.
    #[tokio::test]
    async fn a_busy_connection_is_not_idle_and_ends_with_its_age() {
        let mut world = World::new(b"http/1.1", Pace { idle: SOON, ..UNHURRIED }).await;
        world.client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert!(timeout(SOON * 4, &mut world.served).await.is_err());
        world.gate.add_permits(1);
        assert!(rest(&mut world.client).await.ends_with("answer"));
        ends(world.served).await.unwrap();

        let pace = Pace { age: SOON, finish: SOON, close: SOON, ..UNHURRIED };
        let mut world = World::new(b"http/1.1", pace).await;
        world.client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        ends(world.served).await.unwrap();
        assert_eq!(world.gate.available_permits(), 0);
    }

    /// HTTP-08.
    #[tokio::test]
    async fn a_stopping_node_finishes_what_was_begun_over_http_1() {
        let mut world = World::new(b"http/1.1", UNHURRIED).await;
        world.client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert!(timeout(SOON, &mut world.served).await.is_err());
        world.stopping.cancel();
        assert!(timeout(SOON, &mut world.served).await.is_err());
        world.gate.add_permits(1);
        let answer = rest(&mut world.client).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
        assert!(answer.ends_with("answer"), "{answer}");
        ends(world.served).await.unwrap();
    }

    /// HTTP-08: GOAWAY; the open request is answered, a new one is not taken.
    #[tokio::test]
    async fn a_stopping_node_finishes_what_was_begun_over_http_2() {
        let world = World::new(b"h2", UNHURRIED).await;
        let io = TokioIo::new(world.client);
        let (mut sender, http) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        let driven = tokio::spawn(http);
        let request = || Request::get("https://x/").body(Empty::<bytes::Bytes>::new()).unwrap();
        let begun = sender.send_request(request());
        tokio::pin!(begun);
        assert!(timeout(SOON, &mut begun).await.is_err());
        world.stopping.cancel();
        // Until the farewell arrives a request may still slip in.
        let refused = async { while !matches!(timeout(SOON, sender.send_request(request())).await, Ok(Err(_))) {} };
        timeout(PATIENCE, refused).await.expect("GOAWAY in time");
        world.gate.add_permits(1);
        let answer = begun.await.unwrap().into_body().collect().await.unwrap().to_bytes();
        assert_eq!(answer, "answer");
        ends(world.served).await.unwrap();
        let _ = driven.await;
    }
}
