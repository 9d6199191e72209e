//! Where a webhook is posted to.

use std::str::FromStr;

use alknet_core::HostPort;
use http::{HeaderValue, Uri};

use crate::{EndpointAddress, TokenEndpoint, limits::MAX_TOKEN_ENDPOINT_BYTES};

/// An `https` URL without user name and fragment. Its path and query may be a secret between its maker and the server.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl {
    host: HostPort,
    /// The grammar is that of a token endpoint.
    endpoint: TokenEndpoint,
}

/// A text that is no such URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a webhook is an https URL without user name and fragment, in at most {MAX_TOKEN_ENDPOINT_BYTES} visible characters"
)]
pub struct InvalidWebhookUrl;

impl WebhookUrl {
    /// The server: what may be shown of it.
    pub const fn host(&self) -> &HostPort {
        &self.host
    }
    pub(super) const fn authority(&self) -> &HeaderValue {
        self.endpoint.authority()
    }
    pub(super) const fn path(&self) -> &Uri {
        self.endpoint.path()
    }
}

impl FromStr for WebhookUrl {
    type Err = InvalidWebhookUrl;
    fn from_str(text: &str) -> Result<Self, InvalidWebhookUrl> {
        let endpoint: TokenEndpoint = text.parse().map_err(|_| InvalidWebhookUrl)?;
        match endpoint.address().clone() {
            EndpointAddress::Tls(host) => Ok(Self { host, endpoint }),
            EndpointAddress::Loopback(_) => Err(InvalidWebhookUrl),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_reached_over_tls_only() {
        // FS-78
        let url: WebhookUrl = "https://hooks.example:8443/a?b=c".parse().unwrap();
        assert_eq!(
            (url.host().to_string().as_str(), url.path().to_string().as_str()),
            ("hooks.example:8443", "/a?b=c")
        );
        for bad in [
            "http://hooks.example/",
            "http://127.0.0.1/",
            "http://localhost:8080/",
            "https://me@hooks.example/",
            "https://me:secret@hooks.example/",
            "https://hooks.example/#x",
            "https://hooks.example/a b",
            "https://hooks.example/\r\nX: y",
            "ftp://hooks.example/",
            "hooks.example",
            "",
        ] {
            assert_eq!(bad.parse::<WebhookUrl>().err(), Some(InvalidWebhookUrl), "{bad}");
        }
    }
}
