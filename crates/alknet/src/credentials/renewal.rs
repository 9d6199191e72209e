//! Renewing tokens at their provider: once for everybody who asks at the same time, and on disk before anybody uses them.

use std::{sync::Arc, time::Duration};

use alknet_call::{CapabilityError, CredentialSet, OidcTokens, Secret};
use alknet_core::{Alpn, BoxFuture};
use alknet_http::{EndpointAddress, RefreshError, RefreshGrant, RenewedTokens, TokenEndpoint, refresh_tokens};
use futures_util::{FutureExt, future::Shared};
use tokio::{net::TcpStream, time::timeout};

use super::{Inner, Opened, TASK, end_of, sealing};

/// Tokens are renewed so long before they end.
const RENEWED_BEFORE_END: Duration = Duration::from_secs(60);
/// How long tokens are taken to be good when their provider does not say.
const ASSUMED_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// A renewal that somebody overtook is looked at again so often.
const ROUNDS: usize = 3;
/// How long dialling and answering may take together.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(30);

const HTTP_1_1: Alpn = Alpn::from_static(b"http/1.1");

/// A renewal that is under way: everybody waits for the same one, and it goes on when they stop waiting.
pub type Renewal = Shared<BoxFuture<'static, Result<Arc<CredentialSet>, CapabilityError>>>;

/// What is to be done before a set can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// It is good for a little longer, and can be renewed.
    Soon,
    /// It is over, and can be renewed.
    Now,
    /// It is over, and only its owner can give another.
    Given,
}

/// What a set needs at a time, in seconds since 1970.
pub fn need(set: &CredentialSet, now: u64) -> Need {
    let CredentialSet::Oidc(tokens) = set else { return Need::Nothing };
    let over = tokens.access_token.is_none() || tokens.expires_at.is_some_and(|end| end <= now);
    let ahead = now.saturating_add(RENEWED_BEFORE_END.as_secs());
    match (over, tokens.refresh_token.is_some()) {
        (true, true) => Need::Now,
        (true, false) => Need::Given,
        (false, true) if tokens.expires_at.is_some_and(|end| end <= ahead) => Need::Soon,
        (false, _) => Need::Nothing,
    }
}

/// Takes the renewal out of the list when it is over, however it ends.
struct Listed {
    inner: Arc<Inner>,
    name: String,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.inner.state().renewals.remove(&self.name);
    }
}

impl Inner {
    /// Waits for the renewal that is under way, or begins one.
    pub(super) fn renewed(self: &Arc<Self>, name: &str) -> Renewal {
        let mut state = self.state();
        if let Some(renewal) = state.renewals.get(name) {
            return renewal.clone();
        }
        let (listed, changes) = (Listed { inner: self.clone(), name: name.to_owned() }, state.changes);
        // A task of its own: a provider that gave new tokens has ended the old ones, whether or not the caller still waits.
        let task = tokio::spawn(async move {
            let Listed { inner, name } = &listed;
            let outcome = inner.renew(name).await;
            let ends_at = outcome.as_ref().ok().and_then(end_of);
            let outcome = outcome.map(|opened| opened.set);
            inner.keep(name, outcome.clone(), ends_at, changes);
            outcome
        });
        let lost = unavailable(name, "its renewal was interrupted");
        let renewal: Renewal = async move { task.await.unwrap_or(Err(lost)) }.boxed().shared();
        state.renewals.insert(name.to_owned(), renewal.clone());
        renewal
    }

    async fn renew(&self, name: &str) -> Result<Opened, CapabilityError> {
        for _ in 0..ROUNDS {
            let opened = self.open(name).await?;
            let CredentialSet::Oidc(tokens) = &*opened.set else { return Ok(opened) };
            let asked_at = self.clock.now();
            let need = need(&opened.set, asked_at);
            match need {
                Need::Nothing => return Ok(opened),
                Need::Given => return Err(CapabilityError::Expired(name.to_owned())),
                Need::Soon | Need::Now => {}
            }
            let renewed = match ask(name, tokens).await {
                // A provider that is away for a moment does not matter while the tokens are still good.
                Err(CapabilityError::Unavailable { why, .. }) if need == Need::Soon => {
                    tracing::warn!(credential = name, why, "tokens that end soon were not renewed; it is tried again");
                    return Ok(opened);
                }
                answer => answer?,
            };
            let set = CredentialSet::Oidc(joined(tokens, renewed, asked_at));
            let sealed = sealing::seal(&self.identity, name, &set).map_err(|error| unavailable(name, error))?;
            let kept = self.store.credentials().renew(&TASK, &opened.record, sealed).await;
            if kept.map_err(|error| unavailable(name, error))? {
                tracing::info!(credential = name, "tokens were renewed");
                return Ok(Opened { set: Arc::new(set), ..opened });
            }
            // Its owner gave another meanwhile.
        }
        Err(unavailable(name, "it changes all the time"))
    }
}

fn unavailable(name: &str, why: impl ToString) -> CapabilityError {
    CapabilityError::Unavailable { name: name.to_owned(), why: why.to_string() }
}

async fn ask(name: &str, tokens: &OidcTokens) -> Result<RenewedTokens, CapabilityError> {
    let endpoint: TokenEndpoint = tokens
        .token_endpoint
        .parse()
        .map_err(|error: alknet_http::InvalidTokenEndpoint| unusable(name, error.to_string()))?;
    let refresh_token = tokens.refresh_token.as_ref().ok_or_else(|| CapabilityError::Expired(name.to_owned()))?;
    let grant = RefreshGrant {
        client_id: &tokens.client_id,
        client_secret: tokens.client_secret.as_ref().map(Secret::expose),
        refresh_token: refresh_token.expose(),
        scope: tokens.scope.as_deref(),
    };
    let answer = timeout(RENEWAL_TIMEOUT, exchange(name, &endpoint, &grant)).await;
    answer.unwrap_or_else(|_| Err(unavailable(name, "its provider does not answer")))
}

fn unusable(name: &str, why: String) -> CapabilityError {
    CapabilityError::Unusable { name: name.to_owned(), why }
}

async fn exchange(
    name: &str,
    endpoint: &TokenEndpoint,
    grant: &RefreshGrant<'_>,
) -> Result<RenewedTokens, CapabilityError> {
    let renewed = match endpoint.address() {
        EndpointAddress::Tls(address) => {
            let connection = alknet_net::dial_web(address, &HTTP_1_1).await;
            let connection = connection.map_err(|error| unavailable(name, error))?;
            let stream = connection.open_stream().await.map_err(|error| unavailable(name, error))?;
            refresh_tokens(stream, endpoint, grant).await
        }
        EndpointAddress::Loopback(address) => {
            let stream = TcpStream::connect(address).await.map_err(|error| unavailable(name, error))?;
            refresh_tokens(stream, endpoint, grant).await
        }
    };
    renewed.map_err(|error: RefreshError| match error.is_passing() {
        true => unavailable(name, error),
        false => CapabilityError::Refused { name: name.to_owned(), why: error.to_string() },
    })
}

/// The set with new tokens in it; the provider need not give another refresh token.
fn joined(old: &OidcTokens, renewed: RenewedTokens, asked_at: u64) -> OidcTokens {
    let copy = |secret: &Option<Secret>| secret.as_ref().map(|secret| Secret::from(secret.expose().to_owned()));
    let lifetime = renewed.expires_in.unwrap_or(ASSUMED_LIFETIME);
    OidcTokens {
        token_endpoint: old.token_endpoint.clone(),
        client_id: old.client_id.clone(),
        client_secret: copy(&old.client_secret),
        refresh_token: renewed.refresh_token.map(Secret::from).or_else(|| copy(&old.refresh_token)),
        access_token: Some(Secret::from(renewed.access_token)),
        expires_at: Some(asked_at.saturating_add(lifetime.as_secs())),
        scope: old.scope.clone(),
    }
}
