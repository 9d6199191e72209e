//! Where tokens are renewed.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
};

use alknet_core::HostPort;
use http::{HeaderValue, Uri};

use crate::limits::MAX_TOKEN_ENDPOINT_BYTES;

/// A provider's token endpoint: an `https` URL, or an `http` one on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenEndpoint {
    address: EndpointAddress,
    authority: HeaderValue,
    path: Uri,
}

/// How an endpoint is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointAddress {
    /// Over TLS, by a name that the platform's authorities vouch for.
    Tls(HostPort),
    /// In the clear, on this machine.
    Loopback(SocketAddr),
}

/// Why a text is no token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTokenEndpoint {
    /// No URL, or one with what an endpoint has not.
    #[error(
        "a token endpoint is an https URL without user name and fragment, in at most {MAX_TOKEN_ENDPOINT_BYTES} visible characters"
    )]
    Malformed,
    /// The tokens could be read on the way.
    #[error("a token endpoint over plain http must be on this machine: 127.0.0.1, [::1] or localhost")]
    InTheClear,
}

impl TokenEndpoint {
    /// How it is reached.
    pub const fn address(&self) -> &EndpointAddress {
        &self.address
    }

    pub(crate) const fn authority(&self) -> &HeaderValue {
        &self.authority
    }

    pub(crate) const fn path(&self) -> &Uri {
        &self.path
    }
}

impl FromStr for TokenEndpoint {
    type Err = InvalidTokenEndpoint;
    fn from_str(text: &str) -> Result<Self, InvalidTokenEndpoint> {
        let malformed = InvalidTokenEndpoint::Malformed;
        let visible = text.len() <= MAX_TOKEN_ENDPOINT_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic());
        // A fragment is not allowed (RFC 6749, 3.2) and would be dropped in silence.
        if !visible || text.contains('#') {
            return Err(malformed);
        }
        let uri: Uri = text.parse().map_err(|_| malformed)?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or(malformed)?;
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let address = match uri.scheme_str() {
            Some("https") => {
                let address = HostPort::new(host, authority.port_u16().unwrap_or(443)).map_err(|_| malformed)?;
                EndpointAddress::Tls(address)
            }
            Some("http") => {
                let ip = loopback(host).ok_or(InvalidTokenEndpoint::InTheClear)?;
                EndpointAddress::Loopback(SocketAddr::new(ip, authority.port_u16().unwrap_or(80)))
            }
            _ => return Err(malformed),
        };
        let path = uri.path_and_query().ok_or(malformed)?.as_str().parse().map_err(|_| malformed)?;
        let authority = HeaderValue::from_str(authority.as_str()).map_err(|_| malformed)?;
        Ok(Self { address, authority, path })
    }
}

/// `localhost` is not asked of a resolver: it could be elsewhere.
fn loopback(host: &str) -> Option<IpAddr> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some(Ipv4Addr::LOCALHOST.into());
    }
    host.parse::<IpAddr>().ok().filter(IpAddr::is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_reached_over_tls_or_on_this_machine() {
        // STORE-62
        let tls = |host, port| EndpointAddress::Tls(HostPort::new(host, port).unwrap());
        let here = |text: &str| EndpointAddress::Loopback(text.parse().unwrap());
        let cases = [
            ("https://id.example/oauth/token?tenant=1", tls("id.example", 443), "/oauth/token?tenant=1"),
            ("https://id.example:8443", tls("id.example", 8443), "/"),
            ("https://[2001:db8::1]/t", tls("2001:db8::1", 443), "/t"),
            ("http://localhost:8080/t", here("127.0.0.1:8080"), "/t"),
            ("http://127.0.0.2/t", here("127.0.0.2:80"), "/t"),
            ("http://[::1]:9/t", here("[::1]:9"), "/t"),
        ];
        for (text, address, path) in cases {
            let endpoint: TokenEndpoint = text.parse().unwrap();
            assert_eq!((endpoint.address(), endpoint.path().to_string().as_str()), (&address, path), "{text}");
        }
    }

    #[test]
    fn an_endpoint_elsewhere_in_the_clear_is_refused() {
        // STORE-62
        for text in ["http://id.example/t", "http://10.0.0.1/t", "http://localhost.id.example/t", "http://0.0.0.0/t"] {
            assert_eq!(text.parse::<TokenEndpoint>(), Err(InvalidTokenEndpoint::InTheClear), "{text}");
        }
        let long = format!("https://id.example/{}", "a".repeat(MAX_TOKEN_ENDPOINT_BYTES));
        let bad = [
            "",
            "id.example/t",
            "/t",
            "ftp://id.example/t",
            "https:///t",
            "https://me@id.example/t",
            "https://id.example/t#here",
            "https://id.example/a b",
            "https://id.example/t\r\nX: y",
            &long,
        ];
        for text in bad {
            assert_eq!(text.parse::<TokenEndpoint>(), Err(InvalidTokenEndpoint::Malformed), "{text}");
        }
    }
}
