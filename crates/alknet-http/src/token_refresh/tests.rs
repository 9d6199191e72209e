use alknet_testkit::http_server::{answer, read_request};
use tokio::io::{AsyncWriteExt, duplex};

use super::*;

const CANARY: &str = "canary&token=7";
const GOOD: &str = r#"{"access_token":"new","token_type":"Bearer","expires_in":3600,"refresh_token":"next"}"#;

const GRANT: RefreshGrant<'_> =
    RefreshGrant { client_id: "my node", client_secret: None, refresh_token: CANARY, scope: None };

/// What a refresh gets from a provider that answers so, and the request that the provider saw.
async fn refreshed(grant: &RefreshGrant<'_>, reply: String) -> (Result<RenewedTokens, RefreshError>, (String, String)) {
    let (ours, mut theirs) = duplex(1024);
    let provider = tokio::spawn(async move {
        let request = read_request(&mut theirs).await;
        // The client may have had enough before everything was written.
        let _ = theirs.write_all(reply.as_bytes()).await;
        request
    });
    let endpoint = "https://id.example:8443/token?a=b".parse().unwrap();
    (refresh_tokens(ours, &endpoint, grant).await, provider.await.unwrap())
}

#[tokio::test]
async fn a_public_client_names_itself_in_the_form() {
    // STORE-62
    let (renewed, (head, body)) = refreshed(&GRANT, answer("200 OK", "", GOOD)).await;
    let renewed = renewed.unwrap();
    assert_eq!((renewed.access_token.as_str(), renewed.expires_in), ("new", Some(Duration::from_secs(3600))));
    assert_eq!(renewed.refresh_token.unwrap().as_str(), "next");
    assert!(head.starts_with("POST /token?a=b HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("host: id.example:8443") && !head.to_lowercase().contains("authorization"), "{head}");
    assert_eq!(body, "grant_type=refresh_token&refresh_token=canary%26token%3D7&client_id=my+node");
}

#[tokio::test]
async fn a_client_with_a_secret_shows_it_as_basic() {
    // STORE-62
    let grant = RefreshGrant { client_secret: Some("s:ä"), scope: Some("mail read"), ..GRANT };
    let (renewed, (head, body)) = refreshed(&grant, answer("200 OK", "", GOOD)).await;
    assert!(renewed.is_ok());
    let expected = format!("authorization: Basic {}", BASE64.encode(b"my+node:s%3A%C3%A4"));
    assert!(head.contains(&expected), "{head}");
    assert_eq!(body, "grant_type=refresh_token&refresh_token=canary%26token%3D7&scope=mail+read");
}

#[tokio::test]
async fn what_a_provider_says_is_understood() {
    let least = r#"{"access_token":"new","token_type":"bearer"}"#;
    let (renewed, _) = refreshed(&GRANT, answer("200 OK", "", least)).await;
    let renewed = renewed.unwrap();
    assert!(renewed.refresh_token.is_none() && renewed.expires_in.is_none());
    let text = r#"{"access_token":"new","token_type":"Bearer","expires_in":"60","refresh_token":null}"#;
    let (renewed, _) = refreshed(&GRANT, answer("200 OK", "", text)).await;
    assert_eq!(renewed.unwrap().expires_in, Some(Duration::from_secs(60)));
    let chunked =
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{GOOD}\r\n0\r\n\r\n", GOOD.len());
    assert!(refreshed(&GRANT, chunked).await.0.is_ok());
    let until_the_end = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{GOOD}");
    assert!(refreshed(&GRANT, until_the_end).await.0.is_ok());
}

#[tokio::test]
async fn a_refusal_is_told_from_trouble_that_passes() {
    // STORE-63
    let refused = r#"{"error":"invalid_grant","error_description":"canary&token=7 was used"}"#;
    let (error, _) = refreshed(&GRANT, answer("400 Bad Request", "", refused)).await;
    let error = error.unwrap_err();
    assert!(matches!(error, RefreshError::Refused { error: "invalid_grant" }) && !error.is_passing(), "{error}");
    for status in ["500 Oh", "503 No", "429 Later"] {
        assert!(refreshed(&GRANT, answer(status, "", "")).await.0.unwrap_err().is_passing(), "{status}");
    }
    let (ours, theirs) = duplex(64);
    drop(theirs);
    let gone = refresh_tokens(ours, &"https://id.example/".parse().unwrap(), &GRANT).await.unwrap_err();
    assert!(matches!(gone, RefreshError::Io(_)) && gone.is_passing(), "{gone}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    // STORE-62
    for status in ["301 Moved", "302 Found", "307 Elsewhere", "308 Elsewhere"] {
        let (error, _) = refreshed(&GRANT, answer(status, "Location: https://elsewhere.example/\r\n", "")).await;
        assert!(matches!(error, Err(RefreshError::Status(_))), "{status}");
    }
}

#[tokio::test]
async fn what_a_hostile_provider_sends_is_refused_and_not_repeated() {
    // STORE-62
    let with = |member: &str| format!(r#"{{"token_type":"Bearer",{member}}}"#);
    let long = with(&format!(r#""access_token":"{}""#, "a".repeat(MAX_TOKEN_BYTES + 1)));
    let bodies = [
        String::new(),
        "[]".to_owned(),
        "canary&token=7".to_owned(),
        r#"{"access_token":"x"}"#.to_owned(),
        r#"{"access_token":"x","token_type":"mac"}"#.to_owned(),
        with(r#""access_token":"""#),
        with(r#""access_token":7"#),
        with(r#""access_token":"a\r\nb""#),
        with(r#""access_token":"ä""#),
        with(r#""access_token":"x","expires_in":-1"#),
        with(r#""access_token":"x","expires_in":1e99"#),
        with(r#""access_token":"x","refresh_token":"\n""#),
        long,
        "[".repeat(10_000),
    ];
    for body in bodies {
        let (error, _) = refreshed(&GRANT, answer("200 OK", "", &body)).await;
        let error = error.unwrap_err();
        assert!(matches!(error, RefreshError::Malformed(_)), "{body}: {error:?}");
        assert!(!format!("{error:?} {error}").contains("canary"));
    }
    let echo = r#"{"error":"canary&token=7"}"#;
    for reply in [answer("400 canary&token=7", "", echo), answer("404 canary", "X: canary\r\n", "canary")] {
        let error = refreshed(&GRANT, reply).await.0.unwrap_err();
        assert!(!format!("{error:?} {error}").contains("canary"), "{error:?}");
    }
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    // STORE-62
    let announced = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", u64::MAX / 2);
    let reply = announced + &" ".repeat(2 * MAX_TOKEN_ANSWER_BYTES);
    let (error, _) = refreshed(&GRANT, reply).await;
    assert!(matches!(error, Err(RefreshError::Malformed("it is too large"))), "{error:?}");
    let head = "HTTP/1.1 200 OK\r\nX: ".to_owned() + &"a".repeat(2 * MAX_TOKEN_HEAD_BYTES);
    assert!(refreshed(&GRANT, head).await.0.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_silent_provider_is_not_waited_for_for_ever() {
    // STORE-62
    let (ours, mut theirs) = duplex(1024);
    let silent = tokio::spawn(async move {
        read_request(&mut theirs).await;
        theirs.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        std::future::pending::<()>().await;
    });
    let endpoint = "https://id.example/".parse().unwrap();
    let error = refresh_tokens(ours, &endpoint, &GRANT).await.unwrap_err();
    assert!(matches!(error, RefreshError::Timeout) && error.is_passing(), "{error}");
    silent.abort();
}
