//! Which path means what.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::State,
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderValue, Method, Request, StatusCode, header};

use crate::{
    config::Decoy,
    door::{self, Shared},
    folder, pages, problem,
};

/// Everything that is served, behind the door.
pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    let routes =
        Router::new().route("/healthz", get(healthz)).method_not_allowed_fallback(not_that_way).fallback(elsewhere);
    behind_the_door(routes, shared)
}

fn behind_the_door(routes: Router<Arc<Shared>>, shared: &Arc<Shared>) -> Router {
    routes.layer(middleware::from_fn_with_state(shared.clone(), door::enter)).with_state(shared.clone())
}

/// Says that the node serves; nothing else about it.
async fn healthz() -> Response {
    let head = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::CONTENT_SECURITY_POLICY, problem::NOTHING),
    ];
    (head, r#"{"status":"ok"}"#).into_response()
}

async fn not_that_way() -> Response {
    problem::method_not_allowed()
}

/// `/` and everything that has no route.
async fn elsewhere(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let config = shared.config.load_full();
    match &config.decoy {
        Decoy::None if request.uri().path() == "/" => front(request.method()),
        Decoy::None | Decoy::NotFound => problem::not_found(request.headers()),
        Decoy::Folder(folder) => folder::serve(folder, request).await,
        Decoy::Redirect(url) => (StatusCode::FOUND, [(header::LOCATION, url.location())]).into_response(),
    }
}

fn front(method: &Method) -> Response {
    match *method {
        Method::GET | Method::HEAD => pages::front(),
        _ => problem::method_not_allowed(),
    }
}

#[cfg(test)]
mod tests {
    use alknet_core::{
        ApiKey, AuditOutcome, AuthToken, Authorizer, Caller, Credential, CredentialVerifier, Identity,
        IdentityProvider, KeyPurpose, KeySigner, Peer, ResourceGrants, ScopeSet, TokenBounds, TokenId,
    };
    use alknet_testkit::identities::{KeptAudit, TestIdentities, TestKeys, peer_with_key, stranger};
    use arc_swap::ArcSwap;
    use axum::Extension;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::{
        HttpConfig,
        bearer::{BearerGate, Visitor},
        door::Arrival,
        framing::TwoLengths,
        limits::MAX_BODY_BYTES,
    };

    const NOW: u64 = 1_800_000_000;

    fn node() -> alknet_core::NodeKey {
        TestKeys::new(1).public_key(KeyPurpose::Node)
    }

    /// A token of the key made from `seed`, for `audience`.
    fn token(seed: u8, audience: alknet_core::NodeKey, issued: u64) -> AuthToken {
        let keys = TestKeys::new(seed);
        let sign = |message: &[u8]| keys.sign(KeyPurpose::Node, message);
        let key = keys.public_key(KeyPurpose::Node);
        AuthToken::issue(key, audience, TokenId([seed; 16]), issued, 600, &ScopeSet::default(), sign).unwrap()
    }

    fn identity(name: &str) -> Identity {
        Identity::new(name, ScopeSet::default(), ResourceGrants::default())
    }

    /// A router with a route that tells who asks, and one that tells how long the body is.
    struct World {
        router: Router,
        audit: Arc<KeptAudit>,
        key: ApiKey,
    }

    impl World {
        fn new() -> Self {
            let (identities, audit) = (Arc::new(TestIdentities::default()), Arc::new(KeptAudit::default()));
            let key = ApiKey::from_random(&[5; 37]);
            identities.know(&Credential::ApiKey(key.digest()), identity("key-holder"));
            identities.know(&Credential::NodeKey(TestKeys::new(9).public_key(KeyPurpose::Node)), identity("nine"));
            let known = token(9, node(), NOW).verify(&node(), NOW, &TokenBounds::default()).unwrap();
            identities.know(&Credential::AuthToken(known), identity("nine-by-token"));
            let bearer = BearerGate {
                identities: identities as Arc<dyn IdentityProvider>,
                authorizer: Authorizer::new(audit.clone()),
                verifier: CredentialVerifier::new(node(), || NOW),
            };
            let shared = Arc::new(Shared { config: ArcSwap::from_pointee(HttpConfig::default()), bearer });
            let who = |Extension(caller): Extension<Caller>| async move {
                format!(
                    "{:?} {:?}",
                    caller.id(),
                    caller.credential.as_deref().map(|label| label.split(':').next().map(str::to_owned))
                )
            };
            let length = |body: axum::body::Bytes| async move { body.len().to_string() };
            let routes = Router::new().route("/who", get(who)).route("/length", axum::routing::put(length));
            Self { router: behind_the_door(routes, &shared), audit, key }
        }

        async fn send(
            &self,
            peer: Peer,
            request: http::request::Builder,
            body: Body,
        ) -> (StatusCode, http::HeaderMap, String) {
            let visitor = Arc::new(Visitor::new(Arc::new(peer)));
            let arrival = Arrival { visitor, two_lengths: TwoLengths::default() };
            let request = request.header(header::HOST, "x").extension(arrival).body(body).unwrap();
            let (head, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
        }

        async fn ask(&self, peer: Peer, authorization: &[&str]) -> (StatusCode, http::HeaderMap, String) {
            let mut request = Request::get("/who");
            for value in authorization {
                request = request.header(header::AUTHORIZATION, *value);
            }
            self.send(peer, request, Body::empty()).await
        }
    }

    /// HTTP-13, HTTP-14.
    #[tokio::test]
    async fn a_bearer_is_who_the_credential_says() {
        let world = World::new();
        let key = format!("Bearer {}", world.key.reveal());
        let lower = format!("bearer  {}", world.key.reveal());
        let nine = format!("Bearer {}", token(9, node(), NOW));
        for (peer, authorization, wanted) in [
            (stranger(), &[][..], "None None"),
            (peer_with_key(9), &[], "Some(\"nine\") Some(Some(\"ed25519\"))"),
            (peer_with_key(8), &[], "None Some(Some(\"ed25519\"))"),
            (stranger(), &[key.as_str()], "Some(\"key-holder\") Some(Some(\"apikey\"))"),
            (peer_with_key(9), &[&lower], "Some(\"key-holder\") Some(Some(\"apikey\"))"),
            (stranger(), &[&nine], "Some(\"nine-by-token\") Some(Some(\"token\"))"),
        ] {
            let (status, _, body) = world.ask(peer, authorization).await;
            assert_eq!((status, body.as_str()), (StatusCode::OK, wanted), "{authorization:?}");
        }
        assert!(world.audit.events().iter().all(|event| event.outcome == AuditOutcome::Allowed));
        assert_eq!(world.audit.events().len(), 3, "the connection's own key is not audited here");
    }

    /// HTTP-15: also for a client whose connection proved a known key.
    #[tokio::test]
    async fn a_presented_credential_that_does_not_hold_is_401_and_never_ignored() {
        let world = World::new();
        let key = world.key.reveal();
        let bad = [
            "Bearer".to_owned(),
            "Bearer ".to_owned(),
            "Basic bmluZTpwYXNz".to_owned(),
            format!("Token {key}"),
            key.to_owned(),
            format!("Bearer {key} {key}"),
            format!("Bearer {}", &key[..50]),
            format!("Bearer {}", ApiKey::from_random(&[6; 37]).reveal()),
            format!("Bearer {}", token(9, TestKeys::new(2).public_key(KeyPurpose::Node), NOW)),
            format!("Bearer {}", token(9, node(), NOW - 3600)),
            format!("Bearer {}", token(9, node(), NOW + 3600)),
            format!("Bearer {}", token(8, node(), NOW)),
            format!("Bearer {}", &token(9, node(), NOW).to_string()[1..]),
            format!("Bearer {}", "A".repeat(5000)),
            "Bearer \u{e4}\u{e4}".to_owned(),
        ];
        for (count, authorization) in bad.iter().enumerate() {
            for peer in [stranger(), peer_with_key(9)] {
                let (status, head, body) = world.ask(peer, &[authorization]).await;
                assert_eq!(status, StatusCode::UNAUTHORIZED, "{authorization}");
                assert_eq!(head[header::WWW_AUTHENTICATE], "Bearer error=\"invalid_token\"");
                assert_eq!(head[header::CONTENT_TYPE], "application/problem+json");
                assert!(!body.contains(&key[12..30]), "{body}");
            }
            let events = world.audit.events();
            assert_eq!(events.len(), 2 * (count + 1));
            assert!(events.iter().all(|event| event.outcome == AuditOutcome::Denied && event.action == "http/bearer"));
        }
        let good = format!("Bearer {key}");
        let (status, ..) = world.ask(stranger(), &[&good, &good]).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "two fields");
    }

    /// HTTP-06: a body is refused by what it announces, and by what it brings.
    #[tokio::test]
    async fn a_body_is_bounded() {
        let world = World::new();
        let put = |length: usize| world.send(stranger(), Request::put("/length"), Body::from(vec![b'a'; length]));
        assert_eq!(put(MAX_BODY_BYTES).await.2, MAX_BODY_BYTES.to_string());
        assert_eq!(put(MAX_BODY_BYTES + 1).await.0, StatusCode::PAYLOAD_TOO_LARGE);
        let announced = Request::put("/length").header(header::CONTENT_LENGTH, "18446744073709551615");
        assert_eq!(world.send(stranger(), announced, Body::empty()).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    }
}
