//! core's `Connection` is enough for HTTP/3: a foreign client on a real endpoint, h3 over [`crate::h3_link`].

use std::sync::{Arc, Mutex};

use alknet_core::{Connection, ProtocolHandler, ServeError};
use alknet_http::HttpConfig;
use bytes::{Buf, Bytes};
use h3::{error::Code, server::RequestStream};
use http::{Request, Response, StatusCode};
use tokio::time::timeout;

use crate::{
    client::tls_config,
    h3_link::{Bidi, Link},
    node::{H3, Node, PATIENCE, over_quic},
};

/// Bytes of the large answer: more than any window.
const LARGE: usize = 24 * 1024 * 1024;

/// Answers each request by its path; notes the codes with which requests were taken back.
#[derive(Default)]
struct H3Service {
    taken_back: Arc<Mutex<Vec<Code>>>,
}

impl ProtocolHandler for H3Service {
    async fn serve(&self, connection: Connection) -> Result<(), ServeError> {
        let mut http: h3::server::Connection<Link, Bytes> =
            h3::server::builder().build(Link::new(connection)).await.map_err(ServeError::internal)?;
        while let Ok(Some(resolver)) = http.accept().await {
            let taken_back = self.taken_back.clone();
            tokio::spawn(async move {
                let answered = async {
                    let (request, stream) = resolver.resolve_request().await?;
                    answer(&request, stream).await
                };
                if let Err(h3::error::StreamError::RemoteTerminate { code, .. }) = answered.await {
                    taken_back.lock().unwrap().push(code);
                }
            });
        }
        Ok(())
    }
}

async fn answer(
    request: &Request<()>,
    mut stream: RequestStream<Bidi<Bytes>, Bytes>,
) -> Result<(), h3::error::StreamError> {
    let mut received = 0;
    while let Some(data) = stream.recv_data().await? {
        received += data.remaining();
    }
    stream.send_response(Response::new(())).await?;
    let body = match request.uri().path() {
        "/large" => Bytes::from(vec![b'x'; LARGE]),
        path => Bytes::from(format!("{} {path} after {received} bytes", request.method())),
    };
    stream.send_data(body).await?;
    stream.finish().await
}

async fn connect(node: &Node) -> quinn::Connection {
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls_config(&["h3"])).unwrap();
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connecting = endpoint.connect_with(config, node.addr(), "localhost").unwrap();
    timeout(PATIENCE, connecting).await.expect("a handshake in time").unwrap()
}

/// Reads an answer to its end; its status, first bytes and length.
async fn read<S>(stream: &mut h3::client::RequestStream<S, Bytes>) -> (StatusCode, String, usize)
where
    S: h3::quic::RecvStream,
{
    let status = stream.recv_response().await.unwrap().status();
    let (mut text, mut length) = (String::new(), 0);
    while let Some(mut data) = stream.recv_data().await.unwrap() {
        let data = data.copy_to_bytes(data.remaining());
        length += data.len();
        if text.len() < 100 {
            text.push_str(std::str::from_utf8(&data[..data.len().min(100)]).unwrap());
        }
    }
    (status, text, length)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_client_gets_pages_over_http_3() {
    let service = Arc::new(H3Service::default());
    let node = Node::start_with(HttpConfig::default(), over_quic(H3, service.clone())).await;
    let client = h3_quinn::Connection::new(connect(&node).await);
    let (mut driver, mut sender) = h3::client::new(client).await.unwrap();
    let driven = tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
    let exchange = async {
        // GET, and a POST with a body.
        let mut get = sender.send_request(Request::get("https://localhost/page").body(()).unwrap()).await.unwrap();
        get.finish().await.unwrap();
        assert_eq!(read(&mut get).await, (StatusCode::OK, "GET /page after 0 bytes".into(), 23));
        let mut post = sender.send_request(Request::post("https://localhost/in").body(()).unwrap()).await.unwrap();
        post.send_data(Bytes::from(vec![b'y'; 300_000])).await.unwrap();
        post.finish().await.unwrap();
        assert_eq!(read(&mut post).await.1, "POST /in after 300000 bytes");

        // Backpressure: an answer beyond the windows, while another request goes on beside it.
        let mut large = sender.send_request(Request::get("https://localhost/large").body(()).unwrap()).await.unwrap();
        large.finish().await.unwrap();
        let mut beside = sender.send_request(Request::get("https://localhost/beside").body(()).unwrap()).await.unwrap();
        beside.finish().await.unwrap();
        assert_eq!(read(&mut beside).await.1, "GET /beside after 0 bytes");
        assert_eq!(read(&mut large).await.2, LARGE);

        // A request that is taken back: its code arrives.
        let mut gone = sender.send_request(Request::post("https://localhost/gone").body(()).unwrap()).await.unwrap();
        gone.stop_stream(Code::H3_REQUEST_CANCELLED);
        while service.taken_back.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(*service.taken_back.lock().unwrap(), [Code::H3_REQUEST_CANCELLED]);
    };
    timeout(PATIENCE, exchange).await.expect("all of it in time");
    drop(sender);
    timeout(PATIENCE, driven).await.expect("an end in time").unwrap();
}
