//! Renewing tokens at their provider (RFC 6749, section 6): one request, one bounded answer, over a stream that somebody else dialled.

mod endpoint;

use std::{borrow::Cow, fmt, fmt::Write as _, io, time::Duration};

use bytes::Bytes;
use data_encoding::BASE64;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use zeroize::Zeroizing;

pub use endpoint::{EndpointAddress, InvalidTokenEndpoint, TokenEndpoint};

use crate::limits::{MAX_TOKEN_ANSWER_BYTES, MAX_TOKEN_BYTES, MAX_TOKEN_HEAD_BYTES, TOKEN_ANSWER_TIMEOUT};

/// What is asked for: the members of a refresh request.
pub struct RefreshGrant<'a> {
    /// Who asks.
    pub client_id: &'a str,
    /// And its password, shown as HTTP Basic (RFC 6749, 2.3.1); a public client names itself in the form.
    pub client_secret: Option<&'a str>,
    /// The token that renews.
    pub refresh_token: &'a str,
    /// What is asked for, if not the same as at first.
    pub scope: Option<&'a str>,
}

/// What the provider gave.
pub struct RenewedTokens {
    /// What is shown to services from now on.
    pub access_token: Zeroizing<String>,
    /// What renews from now on; the one that was sent, if absent.
    pub refresh_token: Option<Zeroizing<String>>,
    /// How long the access token is good, counted from now; unknown if absent.
    pub expires_in: Option<Duration>,
}

impl fmt::Debug for RenewedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RenewedTokens")
    }
}

/// Why nothing was renewed. No text of these holds anything that the provider chose.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The connection failed.
    #[error("the connection to the provider failed: {0}")]
    Io(#[source] io::Error),
    /// Nothing came in time.
    #[error("the provider did not answer within {} s", TOKEN_ANSWER_TIMEOUT.as_secs())]
    Timeout,
    /// The provider is there and has trouble of its own.
    #[error("the provider has trouble: HTTP {0}")]
    Trouble(StatusCode),
    /// It said no, with an error of RFC 6749, 5.2.
    #[error("the provider refused: {error}")]
    Refused {
        /// The error.
        error: &'static str,
    },
    /// Any other status; a redirect among them, which is never followed.
    #[error("the provider answered with HTTP {0} instead of tokens")]
    Status(StatusCode),
    /// What it sent are no tokens.
    #[error("the provider's answer cannot be used: {0}")]
    Malformed(&'static str),
}

impl RefreshError {
    /// Whether the same request may succeed later.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Timeout | Self::Trouble(_))
    }
}

/// Sends one refresh request over `io`, which was dialled to the endpoint's address, and reads the answer.
pub async fn refresh_tokens(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    endpoint: &TokenEndpoint,
    grant: &RefreshGrant<'_>,
) -> Result<RenewedTokens, RefreshError> {
    let request = request(endpoint, grant)?;
    timeout(TOKEN_ANSWER_TIMEOUT, exchange(io, request)).await.unwrap_or(Err(RefreshError::Timeout))
}

async fn exchange(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Result<RenewedTokens, RefreshError> {
    let failed = |error: hyper::Error| RefreshError::Io(io::Error::other(error));
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(MAX_TOKEN_HEAD_BYTES).handshake(TokioIo::new(io)).await.map_err(failed)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let body = read(response.into_body()).await?;
        understand(status, &body)
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // The connection ends first when the provider closes it; what it sent is then still to be read.
        _ = connection => answer.await,
    }
}

async fn read(body: Incoming) -> Result<Zeroizing<Vec<u8>>, RefreshError> {
    let mut body = Limited::new(body, MAX_TOKEN_ANSWER_BYTES);
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_TOKEN_ANSWER_BYTES));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| match error.downcast::<http_body_util::LengthLimitError>() {
            Ok(_) => RefreshError::Malformed("it is too large"),
            Err(error) => RefreshError::Io(io::Error::other(error)),
        })?;
        if let Some(data) = frame.data_ref() {
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes)
}

fn request(endpoint: &TokenEndpoint, grant: &RefreshGrant<'_>) -> Result<Request<Full<Bytes>>, RefreshError> {
    let form = form(grant);
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(endpoint.path())
        .header(header::HOST, endpoint.authority())
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close");
    if let Some(secret) = grant.client_secret {
        request = request.header(header::AUTHORIZATION, basic(grant.client_id, secret)?);
    }
    let body = Full::new(Bytes::from_owner(form));
    request.body(body).map_err(|_| RefreshError::Malformed("the endpoint or the client's name cannot be sent"))
}

/// The form of RFC 6749, section 6. Its buffer is made large enough at once, so that growing leaves no copies behind.
fn form(grant: &RefreshGrant<'_>) -> Zeroizing<Vec<u8>> {
    let public = grant.client_secret.is_none().then_some(("client_id", grant.client_id));
    let members = [
        Some(("grant_type", "refresh_token")),
        Some(("refresh_token", grant.refresh_token)),
        grant.scope.map(|scope| ("scope", scope)),
        public,
    ];
    let room = members.iter().flatten().map(|(name, value)| name.len() + 3 * value.len() + 2).sum();
    let mut text = Zeroizing::new(String::with_capacity(room));
    for (name, value) in members.into_iter().flatten() {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        encode(value, &mut text);
    }
    Zeroizing::new(std::mem::take(&mut *text).into_bytes())
}

/// Form encoding (WHATWG URL, "application/x-www-form-urlencoded").
fn encode(value: &str, to: &mut String) {
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => to.push(char::from(byte)),
            b' ' => to.push('+'),
            // Writing to a string does not fail.
            other => drop(write!(to, "%{other:02X}")),
        }
    }
}

fn basic(id: &str, secret: &str) -> Result<HeaderValue, RefreshError> {
    let mut pair = Zeroizing::new(String::with_capacity(3 * (id.len() + secret.len()) + 1));
    encode(id, &mut pair);
    pair.push(':');
    encode(secret, &mut pair);
    let value = Zeroizing::new(format!("Basic {}", BASE64.encode(pair.as_bytes())));
    let value = HeaderValue::from_str(&value);
    let mut value = value.map_err(|_| RefreshError::Malformed("the client's secret cannot be sent"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn understand(status: StatusCode, body: &[u8]) -> Result<RenewedTokens, RefreshError> {
    let members = || match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Some(members),
        _ => None,
    };
    if status == StatusCode::OK {
        return tokens(members().ok_or(RefreshError::Malformed("it is no JSON object"))?);
    }
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(RefreshError::Trouble(status));
    }
    let said = members().and_then(|members| known_error(members.get("error")?.as_str()?));
    Err(said.map_or(RefreshError::Status(status), |error| RefreshError::Refused { error }))
}

/// An error of RFC 6749, 5.2. Others are not repeated: a provider could put anything there, the token that it was sent too.
fn known_error(text: &str) -> Option<&'static str> {
    const KNOWN: [&str; 6] = [
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    ];
    KNOWN.into_iter().find(|known| *known == text)
}

fn tokens(mut members: Map<String, Value>) -> Result<RenewedTokens, RefreshError> {
    let mut text = |name: &str| match members.remove(name) {
        Some(Value::String(text)) => Some(Zeroizing::new(text)),
        _ => None,
    };
    let access_token = usable(text("access_token"))?.ok_or(RefreshError::Malformed("it has no access_token"))?;
    let refresh_token = usable(text("refresh_token"))?;
    if !text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
        return Err(RefreshError::Malformed("its token_type is not Bearer"));
    }
    let expires_in = match members.get("expires_in") {
        None | Some(Value::Null) => None,
        // Some providers write the number as a text.
        Some(Value::String(text)) => Some(Cow::Borrowed(text.as_str())),
        Some(other) => Some(Cow::Owned(other.to_string())),
    };
    let expires_in = expires_in.map(|text| text.parse().map(Duration::from_secs)).transpose();
    let expires_in = expires_in.map_err(|_| RefreshError::Malformed("its expires_in is no number of seconds"))?;
    Ok(RenewedTokens { access_token, refresh_token, expires_in })
}

/// A token is visible ASCII (RFC 6749, A.12 and A.17), of bounded length.
fn usable(token: Option<Zeroizing<String>>) -> Result<Option<Zeroizing<String>>, RefreshError> {
    let bad = |token: &Zeroizing<String>| {
        token.is_empty() || token.len() > MAX_TOKEN_BYTES || !token.bytes().all(|byte| (0x20..0x7f).contains(&byte))
    };
    match token {
        Some(token) if bad(&token) => Err(RefreshError::Malformed("a token is empty, too long or not visible ASCII")),
        token => Ok(token),
    }
}

#[cfg(test)]
mod tests;
