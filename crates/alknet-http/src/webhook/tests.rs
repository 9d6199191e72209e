use std::io::ErrorKind;

use alknet_testkit::http_server::read_request;
use tokio::io::{AsyncWriteExt, duplex};

use super::*;

const URL: &str = "https://hooks.example:8443/in?key=7";

/// What comes of posting to a server that answers so, and the request that it saw.
async fn posted(reply: &str, endless: bool) -> (Result<(), WebhookError>, (String, String), u64) {
    let (ours, mut theirs) = duplex(1024);
    let reply = reply.to_owned();
    let server = tokio::spawn(async move {
        let request = read_request(&mut theirs).await;
        let mut sent = 0;
        // The client may have had enough before everything was written.
        let mut outcome = theirs.write_all(reply.as_bytes()).await;
        while endless && outcome.is_ok() {
            outcome = theirs.write_all(&[b'x'; 1024]).await;
            sent += 1024;
        }
        assert!(outcome.is_ok() || outcome.unwrap_err().kind() == ErrorKind::BrokenPipe);
        (request, sent)
    });
    let secret = WebhookSecret::parse("sixteen letters!").unwrap();
    let what = WebhookRequest { id: "9-17", now: 1_800_000_000, body: r#"{"a":1}"#.into(), secret: Some(&secret) };
    let outcome = post_webhook(ours, &URL.parse().unwrap(), &what).await;
    let (request, sent) = server.await.unwrap();
    (outcome, request, sent)
}

#[tokio::test]
async fn a_request_says_what_it_is_and_who_signed_it() {
    // FS-75
    let (outcome, (head, body), _) = posted("HTTP/1.1 204 No Content\r\n\r\n", false).await;
    assert!(outcome.is_ok());
    assert_eq!(body, r#"{"a":1}"#);
    assert!(head.starts_with("POST /in?key=7 HTTP/1.1\r\n"), "{head}");
    let signed = WebhookSecret::parse("sixteen letters!").unwrap().sign("9-17", 1_800_000_000, body.as_bytes());
    for line in [
        "host: hooks.example:8443",
        "content-type: application/json",
        "webhook-id: 9-17",
        "webhook-timestamp: 1800000000",
        &format!("webhook-signature: {signed}"),
    ] {
        assert!(head.lines().any(|found| found == line), "{line} is not in {head}");
    }
}

#[tokio::test]
async fn success_alone_is_success() {
    // FS-78
    let of = |line: &str| format!("HTTP/1.1 {line}\r\nContent-Length: 2\r\n\r\nno");
    for line in ["200 OK", "201 Created", "202 Accepted", "299 Whatever"] {
        assert!(posted(&of(line), false).await.0.is_ok(), "{line}");
    }
    let redirect = "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n";
    let (outcome, ..) = posted(redirect, false).await;
    assert!(matches!(&outcome, Err(error @ WebhookError::Redirect(_)) if error.is_passing()), "{outcome:?}");
    for line in ["400 Bad Request", "404 Not Found", "429 Too Many Requests", "500 Oh no", "503 Later", "999 What"] {
        let (outcome, ..) = posted(&of(line), false).await;
        assert!(matches!(&outcome, Err(error @ WebhookError::Status(_)) if error.is_passing()), "{line}: {outcome:?}");
    }
    let (outcome, ..) = posted(&of("410 Gone"), false).await;
    assert!(matches!(&outcome, Err(error @ WebhookError::Gone) if !error.is_passing()), "{outcome:?}");
    for nonsense in ["", "SSH-2.0-x\r\n", "HTTP/1.1\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n"] {
        let (outcome, ..) = posted(nonsense, false).await;
        assert!(matches!(&outcome, Err(error @ WebhookError::Io(_)) if error.is_passing()), "{nonsense}: {outcome:?}");
    }
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    // FS-78
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n";
    let (outcome, _, sent) = posted(head, true).await;
    assert!(outcome.is_ok(), "what counts was said at its beginning");
    assert!(sent <= 2 * MAX_WEBHOOK_ANSWER_BYTES as u64, "{sent} bytes were read");
    let endless_head = "HTTP/1.1 200 OK\r\nX: ";
    let (outcome, _, sent) = posted(endless_head, true).await;
    assert!(matches!(outcome, Err(WebhookError::Io(_))), "{outcome:?}");
    assert!(sent <= 4 * MAX_WEBHOOK_HEAD_BYTES as u64, "{sent} bytes were read");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_or_little_is_given_up() {
    // FS-78
    let what = WebhookRequest { id: "1-1", now: 0, body: "{}".into(), secret: None };
    let (ours, _theirs) = duplex(1024);
    let outcome = post_webhook(ours, &URL.parse().unwrap(), &what).await;
    assert!(matches!(outcome, Err(WebhookError::Timeout)), "{outcome:?}");
    let (ours, mut theirs) = duplex(1024);
    tokio::spawn(async move {
        read_request(&mut theirs).await;
        theirs.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").await.unwrap();
        std::future::pending::<()>().await;
    });
    let outcome = post_webhook(ours, &URL.parse().unwrap(), &what).await;
    assert!(outcome.is_ok(), "the status counts: {outcome:?}");
    assert!(request(&URL.parse().unwrap(), &what).unwrap().headers().get("webhook-signature").is_none());
}
