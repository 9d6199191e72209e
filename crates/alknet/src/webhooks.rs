//! What the hooks of the file system need of the world: who their makers are now, and a way to web servers.

use std::sync::Arc;

use alknet_call::{CapabilityError, CapabilitySource, CredentialSet};
use alknet_core::{Alpn, BoxFuture, Identity, NodeKey};
use alknet_fs::hooks::{Courier, Letter, PostError};
use alknet_http::{WebhookError, WebhookRequest, WebhookSecret, WebhookUrl, post_webhook};
use alknet_net::{AddressRange, WebDialError, dial_public_web, look_up_public_web};
use alknet_store::{Clock, Directory};

use crate::credentials::CredentialResolver;

const HTTP_1_1: Alpn = Alpn::from_static(b"http/1.1");
/// So many characters of the node's key tell what it posts from what others do.
const NODE_PREFIX: usize = 12;

/// Posts what hooks say. Private addresses are reached in the ranges that the configuration names, and in no others.
pub struct Webhooks {
    node: NodeKey,
    directory: Arc<Directory>,
    credentials: CredentialResolver,
    private: Vec<AddressRange>,
    clock: Clock,
}

impl Webhooks {
    /// Signs with these credentials.
    pub const fn new(
        node: NodeKey,
        directory: Arc<Directory>,
        credentials: CredentialResolver,
        private: Vec<AddressRange>,
        clock: Clock,
    ) -> Self {
        Self { node, directory, credentials, private, clock }
    }

    async fn secret(&self, name: Option<&str>) -> Result<Option<WebhookSecret>, PostError> {
        let Some(name) = name else { return Ok(None) };
        let set = self.credentials.resolve(name).await;
        let set = set.map_err(|error: CapabilityError| PostError::Later(error.to_string()))?;
        let (CredentialSet::ApiKey { key: text } | CredentialSet::Bearer { token: text }) = &*set else {
            let words = format!("the credential `{name}` is of the kind {}; api-key and bearer sign", set.kind());
            return Err(PostError::Later(words));
        };
        let secret = WebhookSecret::parse(text.expose());
        secret.map(Some).map_err(|error| PostError::Later(format!("the credential `{name}`: {error}")))
    }

    async fn send(&self, letter: &Letter) -> Result<(), PostError> {
        let url = url(&letter.url)?;
        let secret = self.secret(letter.credential.as_deref()).await?;
        let connection = dial_public_web(url.host(), &HTTP_1_1, &self.private).await.map_err(undialled)?;
        let stream = connection.open_stream().await.map_err(|error| PostError::Later(error.to_string()))?;
        let node = self.node.to_string();
        let id = format!("{}-{}", &node[..NODE_PREFIX.min(node.len())], letter.id);
        let request =
            WebhookRequest { id: &id, now: self.clock.now(), body: letter.body.clone(), secret: secret.as_ref() };
        post_webhook(stream, &url, &request).await.map_err(|error: WebhookError| match error.is_passing() {
            true => PostError::Later(error.to_string()),
            false => PostError::Never(error.to_string()),
        })
    }
}

impl Courier for Webhooks {
    fn identity(&self, name: &str) -> Option<Arc<Identity>> {
        self.directory.named(name)
    }

    fn check<'a>(&'a self, text: &'a str, credential: Option<&'a str>) -> BoxFuture<'a, Result<(), PostError>> {
        Box::pin(async move {
            let url = url(text)?;
            self.secret(credential).await?;
            look_up_public_web(url.host(), &self.private).await.map_err(undialled)
        })
    }

    fn post<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<(), PostError>> {
        Box::pin(self.send(letter))
    }
}

fn url(text: &str) -> Result<WebhookUrl, PostError> {
    text.parse().map_err(|error: alknet_http::InvalidWebhookUrl| PostError::Never(error.to_string()))
}

fn undialled(error: WebDialError) -> PostError {
    let words = error.to_string();
    PostError::Later(match error {
        WebDialError::NotPublic(_) => format!("{words}, and fs.private_hooks does not name it"),
        WebDialError::Platform(_) | WebDialError::Connect { .. } => words,
    })
}
