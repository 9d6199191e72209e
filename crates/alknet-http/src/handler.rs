//! The handler for `h2` and `http/1.1`.

use std::sync::Arc;

use alknet_core::{Authorizer, Connection, CredentialVerifier, IdentityProvider, ProtocolHandler, ServeError};
use arc_swap::ArcSwap;
use axum::Router;
use tokio_util::sync::CancellationToken;

use crate::{HttpConfig, bearer::BearerGate, door::Shared, routes, session, session::Pace};

/// Serves HTTP/2 on connections made for `h2`, and HTTP/1.1 on all others.
pub struct HttpHandler {
    shared: Arc<Shared>,
    router: Router,
    stopping: CancellationToken,
}

impl HttpHandler {
    /// Makes a handler that asks `identities` who bears a token or key, audits through `authorizer`, and
    /// takes what `verifier` proves.
    pub fn new(
        config: HttpConfig,
        identities: Arc<dyn IdentityProvider>,
        authorizer: Authorizer,
        verifier: CredentialVerifier,
    ) -> Arc<Self> {
        let bearer = BearerGate { identities, authorizer, verifier };
        let shared = Arc::new(Shared { config: ArcSwap::from_pointee(config), bearer });
        let router = routes::router(&shared);
        Arc::new(Self { shared, router, stopping: CancellationToken::new() })
    }

    /// Changes how requests are answered from now on; no connection is closed.
    pub fn set_config(&self, config: HttpConfig) {
        self.shared.config.store(Arc::new(config));
    }
}

impl ProtocolHandler for HttpHandler {
    async fn serve(&self, connection: Connection) -> Result<(), ServeError> {
        session::serve(&connection, self.router.clone(), &Pace::default(), &self.stopping).await
    }

    async fn shutdown(&self) {
        self.stopping.cancel();
    }
}
