//! Posting to a webhook: one request, signed, over a stream that somebody else dialled; of the answer only the status counts.

mod signature;
mod url;

use std::{io, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

pub use signature::{BadWebhookSecret, WebhookSecret};
pub use url::{InvalidWebhookUrl, WebhookUrl};

use crate::limits::{MAX_WEBHOOK_ANSWER_BYTES, MAX_WEBHOOK_HEAD_BYTES, WEBHOOK_ANSWER_TIMEOUT, WEBHOOK_DRAIN_TIMEOUT};

/// What is posted.
pub struct WebhookRequest<'a> {
    /// The same whenever this is posted: visible ASCII without a dot.
    pub id: &'a str,
    /// When it is posted, in seconds since 1970.
    pub now: u64,
    /// JSON text.
    pub body: Bytes,
    /// What signs it.
    pub secret: Option<&'a WebhookSecret>,
}

/// Why nothing was posted, or whether that was taken is not known. No text of these holds anything that the server chose.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[source] io::Error),
    /// Nothing came in time.
    #[error("the server did not answer within {} s", WEBHOOK_ANSWER_TIMEOUT.as_secs())]
    Timeout,
    /// It does not want to be told any more.
    #[error("the server says that it is gone for good: HTTP {}", StatusCode::GONE.as_u16())]
    Gone,
    /// It points elsewhere, where nobody goes: whoever made the hook says where it leads.
    #[error("the server redirects (HTTP {}), which is not followed", .0.as_u16())]
    Redirect(StatusCode),
    /// Any other status that is no success.
    #[error("the server answers with HTTP {}", .0.as_u16())]
    Status(StatusCode),
    /// It cannot be written as a request.
    #[error("it cannot be written as a request")]
    Unsendable,
}

impl WebhookError {
    /// Whether the same request may succeed later.
    pub const fn is_passing(&self) -> bool {
        !matches!(self, Self::Gone | Self::Unsendable)
    }
}

/// Posts to `url` over `io`, which was dialled to its address. It was taken if the status is one of success.
pub async fn post_webhook(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    url: &WebhookUrl,
    what: &WebhookRequest<'_>,
) -> Result<(), WebhookError> {
    let request = request(url, what)?;
    timeout(WEBHOOK_ANSWER_TIMEOUT, exchange(io, request)).await.unwrap_or(Err(WebhookError::Timeout))
}

async fn exchange(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(), WebhookError> {
    let failed = |error: hyper::Error| WebhookError::Io(io::Error::other(error));
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(MAX_WEBHOOK_HEAD_BYTES).handshake(TokioIo::new(io)).await.map_err(failed)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        drain(response.into_body(), WEBHOOK_DRAIN_TIMEOUT).await;
        understand(status)
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // The connection ends first when the server closes it; what it sent is then still to be read.
        _ = connection => answer.await,
    }
}

/// Lets a server end its answer, as long as it is short. Nobody reads it.
async fn drain(body: Incoming, within: Duration) {
    let mut body = Limited::new(body, MAX_WEBHOOK_ANSWER_BYTES);
    let _ = timeout(within, async { while let Some(Ok(_)) = body.frame().await {} }).await;
}

fn understand(status: StatusCode) -> Result<(), WebhookError> {
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::GONE => Err(WebhookError::Gone),
        status if status.is_redirection() => Err(WebhookError::Redirect(status)),
        status => Err(WebhookError::Status(status)),
    }
}

/// The headers are those of the Standard Webhooks specification, version 1.0.0, which libraries of many languages verify.
fn request(url: &WebhookUrl, what: &WebhookRequest<'_>) -> Result<Request<Full<Bytes>>, WebhookError> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(url.path())
        .header(header::HOST, url.authority())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("alknet/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .header("webhook-id", what.id)
        .header("webhook-timestamp", what.now);
    if let Some(secret) = what.secret {
        let signature = secret.sign(what.id, what.now, &what.body);
        let signature = HeaderValue::from_str(&signature).map_err(|_| WebhookError::Unsendable)?;
        request = request.header("webhook-signature", signature);
    }
    request.body(Full::new(what.body.clone())).map_err(|_| WebhookError::Unsendable)
}

#[cfg(test)]
mod tests;
