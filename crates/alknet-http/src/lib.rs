//! HTTP/1.1 and HTTP/2 on the web face: health, a front page, or a decoy in its place.
//!
//! [`HttpHandler`] serves the ALPNs `h2` and `http/1.1` over core's connections; who asks is known from a bearer token
//! or API key. [`refresh_tokens`] is the client of a provider that renews tokens, [`post_webhook`] that of a server that is told of
//! something.
//!
//! Not here: TLS, sockets, certificates (the endpoint's), tokens and keys (core's).
//!
//! ```
//! use alknet_http::{AllowedHosts, Decoy, HttpConfig};
//! let config = HttpConfig { decoy: Decoy::NotFound, hosts: AllowedHosts::only(["node.example".parse()?]) };
//! assert!(config.hosts.allows("NODE.example"));
//! # Ok::<(), alknet_http::InvalidHost>(())
//! ```

mod activity;
mod bearer;
mod config;
mod door;
mod folder;
mod framing;
mod handler;
mod host;
pub mod limits;
mod pages;
mod problem;
mod routes;
mod session;
mod token_refresh;
mod webhook;

pub use config::{
    AllowedHosts, Decoy, DecoyFolder, HostName, HttpConfig, InvalidFolder, InvalidHost, InvalidRedirect, RedirectUrl,
};
pub use handler::HttpHandler;
pub use token_refresh::{
    EndpointAddress, InvalidTokenEndpoint, RefreshError, RefreshGrant, RenewedTokens, TokenEndpoint, refresh_tokens,
};
pub use webhook::{
    BadWebhookSecret, InvalidWebhookUrl, WebhookError, WebhookRequest, WebhookSecret, WebhookUrl, post_webhook,
};
