//! What every request passes before it is routed, and what every answer gets.

use std::sync::Arc;

use alknet_core::Caller;
use arc_swap::ArcSwap;
use axum::{body::Body, extract::State, middleware::Next, response::Response};
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Limited;

use crate::{
    HttpConfig,
    bearer::{BearerGate, Visitor},
    framing::TwoLengths,
    host,
    limits::MAX_BODY_BYTES,
    problem::problem,
};

/// What every request of a handler shares.
pub(crate) struct Shared {
    pub(crate) config: ArcSwap<HttpConfig>,
    pub(crate) bearer: BearerGate,
}

/// What a request's connection contributes; put into its extensions.
#[derive(Clone)]
pub(crate) struct Arrival {
    pub(crate) visitor: Arc<Visitor>,
    pub(crate) two_lengths: TwoLengths,
}

/// Refuses what is malformed, for another host, too large, or falsely authenticated; else the caller is known inside.
pub(crate) async fn enter(State(shared): State<Arc<Shared>>, request: Request<Body>, next: Next) -> Response {
    let mut response = match admit(&shared, request) {
        Ok(request) => next.run(request).await,
        Err(response) => *response,
    };
    let head = response.headers_mut();
    head.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    head.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn admit(shared: &Shared, request: Request<Body>) -> Result<Request<Body>, Box<Response>> {
    let (mut parts, body) = request.into_parts();
    let Some(arrival) = parts.extensions.remove::<Arrival>() else {
        return Err(Box::new(problem(StatusCode::INTERNAL_SERVER_ERROR, "The request came from nowhere.")));
    };
    if arrival.two_lengths.seen() && parts.headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(Box::new(problem(StatusCode::BAD_REQUEST, "The request states its length twice.")));
    }
    host::check(&parts, &shared.config.load().hosts).map_err(|error| Box::new(error.response()))?;
    let announced =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
        return Err(Box::new(problem(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large.")));
    }
    let caller: Caller =
        shared.bearer.caller(&arrival.visitor, &parts.headers).map_err(|error| Box::new(error.response()))?;
    parts.extensions.insert(caller);
    Ok(Request::from_parts(parts, Body::new(Limited::new(body, MAX_BODY_BYTES))))
}
