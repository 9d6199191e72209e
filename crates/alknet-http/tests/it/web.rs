//! What everybody sees, over every version of HTTP.

use alknet_http::{AllowedHosts, HttpConfig};
use http::{Request, StatusCode};

use crate::{
    client::{EVERY, Speaks, ask, get, tls},
    node::{Node, PATIENCE},
};

/// HTTP-01, HTTP-02.
#[tokio::test]
async fn healthz_says_ok_over_every_version() {
    let node = Node::start().await;
    for speaks in EVERY {
        let answer = get(node.addr(), speaks, "/healthz").await;
        assert_eq!(answer.status, StatusCode::OK, "{speaks:?}");
        assert_eq!(answer.body, r#"{"status":"ok"}"#);
        assert_eq!(answer.field("content-type"), "application/json");
        assert_eq!(answer.field("cache-control"), "no-store");
    }
}

/// HTTP-09.
#[tokio::test]
async fn the_front_page_says_what_this_is() {
    let node = Node::start().await;
    for speaks in EVERY {
        let answer = get(node.addr(), speaks, "/").await;
        assert_eq!(answer.status, StatusCode::OK, "{speaks:?}");
        assert_eq!(answer.field("content-type"), "text/html; charset=utf-8");
        assert!(answer.body.contains("<html lang=\"en\">") && answer.body.contains("Alknet node"));
        assert!(answer.body.contains("prefers-color-scheme:dark"));
        assert!(answer.field("content-security-policy").starts_with("default-src 'none'"));
    }
}

/// HTTP-10: a page for browsers, a problem for programs.
#[tokio::test]
async fn what_is_not_there_is_404() {
    let node = Node::start().await;
    for speaks in EVERY {
        let answer = get(node.addr(), speaks, "/nothing?x=y").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert_eq!(answer.field("content-type"), "application/problem+json");
        assert!(answer.body.contains("\"status\":404") && answer.body.contains("\"type\":\"about:blank\""));
        let browser = Request::get("/nothing").header("accept", "text/html,*/*;q=0.8");
        let answer = ask(node.addr(), speaks, browser).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert_eq!(answer.field("content-type"), "text/html; charset=utf-8");
        assert!(!answer.body.contains("Alknet") && !answer.body.contains("nothing?"));
    }
}

/// HTTP-10: HEAD is GET without its body; other methods are told what is allowed.
#[tokio::test]
async fn head_and_other_methods() {
    let node = Node::start().await;
    for speaks in EVERY {
        for path in ["/", "/healthz", "/nothing"] {
            let got = get(node.addr(), speaks, path).await;
            let head = ask(node.addr(), speaks, Request::head(path)).await;
            assert_eq!((head.status, head.body.as_str()), (got.status, ""), "{speaks:?} {path}");
            assert_eq!(head.field("content-length"), got.body.len().to_string(), "{speaks:?} {path}");
            assert_eq!(head.field("content-type"), got.field("content-type"));
        }
        for method in ["POST", "DELETE", "OPTIONS", "KITVERB"] {
            for path in ["/", "/healthz"] {
                let answer = ask(node.addr(), speaks, Request::builder().method(method).uri(path)).await;
                assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{speaks:?} {method} {path}");
                let mut allowed: Vec<_> = answer.field("allow").split(',').map(str::trim).collect();
                allowed.sort_unstable();
                assert_eq!(allowed, ["GET", "HEAD"]);
            }
        }
    }
}

/// HTTP-09: on good and on bad answers.
#[tokio::test]
async fn every_answer_has_the_same_guards() {
    let node = Node::start().await;
    for speaks in EVERY {
        let bearer = Request::get("/healthz").header("authorization", "Bearer nonsense");
        for answer in [
            get(node.addr(), speaks, "/").await,
            get(node.addr(), speaks, "/healthz").await,
            get(node.addr(), speaks, "/nothing").await,
            ask(node.addr(), speaks, Request::post("/")).await,
            ask(node.addr(), speaks, bearer).await,
        ] {
            assert_eq!(answer.field("x-content-type-options"), "nosniff", "{speaks:?} {}", answer.status);
            assert_eq!(answer.field("referrer-policy"), "no-referrer");
            assert!(answer.field("content-security-policy").contains("frame-ancestors 'none'"));
            assert!(!answer.field("date").is_empty());
            assert!(answer.head.get("server").is_none());
        }
    }
}

/// HTTP-15, through a real endpoint.
#[tokio::test]
async fn a_credential_that_does_not_hold_is_401_wherever_it_is_shown() {
    let node = Node::start().await;
    for speaks in EVERY {
        for path in ["/", "/healthz", "/nothing"] {
            let bearer = Request::get(path).header("authorization", "Bearer alk_aaaaaaaa_x");
            let answer = ask(node.addr(), speaks, bearer).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
            assert!(answer.field("www-authenticate").starts_with("Bearer"));
        }
    }
}

/// HTTP-04: from the next request on, without closing anything.
#[tokio::test]
async fn hosts_can_be_configured_while_it_runs() {
    let node = Node::start().await;
    assert_eq!(get(node.addr(), Speaks::H2, "/").await.status, StatusCode::OK);
    let hosts = AllowedHosts::only(["node.example".parse().unwrap()]);
    node.http.set_config(HttpConfig { hosts, ..HttpConfig::default() });
    for speaks in EVERY {
        assert_eq!(get(node.addr(), speaks, "/").await.status, StatusCode::MISDIRECTED_REQUEST, "{speaks:?}");
    }
    let named = Request::get("/").header("host", "NODE.example:4433");
    assert_eq!(ask(node.addr(), Speaks::H1, named).await.status, StatusCode::OK);
}

/// HTTP-08: an idle client does not hold the node up.
#[tokio::test]
async fn a_stopping_node_does_not_wait_for_idle_connections() {
    let node = Node::start().await;
    let io = hyper_util::rt::TokioIo::new(tls(node.addr(), &["h2"]).await);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, http) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    let client = tokio::spawn(http);
    let request = Request::get("https://localhost/healthz").body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), StatusCode::OK);
    let begun = tokio::time::Instant::now();
    node.endpoint.shutdown(PATIENCE).await;
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    tokio::time::timeout(PATIENCE, client).await.expect("the client's end").unwrap().unwrap();
}
