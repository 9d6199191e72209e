//! Which host a request is for (RFC 9110, 7.2), and whether this node answers for it.

use axum::response::Response;
use http::{StatusCode, Version, header, request, uri::Authority};

use crate::{
    config::{AllowedHosts, HostName},
    problem::problem,
};

/// Why a request's host is not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum HostError {
    #[error("The request names no host.")]
    Missing,
    #[error("The request names two hosts.")]
    Contradiction,
    #[error("The request's host is malformed.")]
    Malformed,
    #[error("This node does not answer for that host.")]
    Foreign,
}

impl HostError {
    pub(crate) fn response(&self) -> Response {
        let status = match self {
            Self::Foreign => StatusCode::MISDIRECTED_REQUEST,
            _ => StatusCode::BAD_REQUEST,
        };
        problem(status, &self.to_string())
    }
}

/// Checks the host of a request.
pub(crate) fn check(request: &request::Parts, allowed: &AllowedHosts) -> Result<(), HostError> {
    let host = host_of(request)?;
    if allowed.allow(&host) { Ok(()) } else { Err(HostError::Foreign) }
}

/// The host from the target (`:authority` in HTTP/2, absolute form in HTTP/1.1) and the `Host` field, which must agree.
fn host_of(request: &request::Parts) -> Result<HostName, HostError> {
    let mut fields = request.headers.get_all(header::HOST).iter();
    let (field, second) = (fields.next(), fields.next());
    if second.is_some() {
        return Err(HostError::Contradiction);
    }
    let field: Option<Authority> = match field {
        Some(value) => Some(Authority::try_from(value.as_bytes()).map_err(|_| HostError::Malformed)?),
        None => None,
    };
    let named = match (request.uri.authority(), &field) {
        (None, None) => return Err(HostError::Missing),
        // HTTP/1.1 demands the field beside an absolute target too.
        (Some(_), None) if request.version < Version::HTTP_2 => return Err(HostError::Missing),
        (Some(target), Some(field)) if !target.as_str().eq_ignore_ascii_case(field.as_str()) => {
            return Err(HostError::Contradiction);
        }
        (Some(target), _) => target,
        (None, Some(field)) => field,
    };
    HostName::of(named).map_err(|_| HostError::Malformed)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn verdict(version: Version, uri: &str, hosts: &[&str]) -> Result<(), HostError> {
        let mut request = Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        check(&parts, &AllowedHosts::only(["a.example".parse().unwrap(), "[::1]".parse().unwrap()]))
    }

    /// HTTP-03, HTTP-04.
    #[test]
    fn one_host_that_is_served_here() {
        use HostError::{Contradiction, Foreign, Malformed, Missing};
        let (one, two) = (Version::HTTP_11, Version::HTTP_2);
        type Row<'a> = (Version, &'a str, &'a [&'a str], Result<(), HostError>);
        let table: &[Row<'_>] = &[
            (one, "/", &["A.example"], Ok(())),
            (one, "/", &["a.example:4433"], Ok(())),
            (one, "/", &["a.example."], Ok(())),
            (one, "/", &["[::1]:4433"], Ok(())),
            (one, "/", &["b.example"], Err(Foreign)),
            (one, "/", &["a.example.b.example"], Err(Foreign)),
            (one, "/", &[], Err(Missing)),
            (one, "/", &["a.example", "a.example"], Err(Contradiction)),
            (one, "/", &["a.example, b.example"], Err(Malformed)),
            (one, "/", &[""], Err(Malformed)),
            (one, "/", &["b.example@a.example"], Err(Malformed)),
            (one, "/", &["a.example/x"], Err(Malformed)),
            (one, "http://a.example/", &["a.example"], Ok(())),
            (one, "http://a.example/", &["b.example"], Err(Contradiction)),
            (one, "http://a.example/", &[], Err(Missing)),
            (two, "https://a.example/", &[], Ok(())),
            (two, "https://a.example/", &["a.example"], Ok(())),
            (two, "https://a.example/", &["b.example"], Err(Contradiction)),
            (two, "/", &[], Err(Missing)),
        ];
        for (version, uri, hosts, wanted) in table {
            assert_eq!(verdict(*version, uri, hosts), *wanted, "{version:?} {uri} {hosts:?}");
        }
    }
}
