//! SOCKS5 in bytes (RFC 1928): what a client says before its own bytes begin, and what it is answered.

use std::net::{Ipv4Addr, SocketAddr};

use super::{
    reach::ReachError,
    target::{InvalidTarget, Target},
};

/// The version that is spoken.
pub const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const CONNECT: u8 = 1;
const BIND: u8 = 2;
const UDP_ASSOCIATE: u8 = 3;

/// The answer to a greeting: no authentication.
pub const WELCOME: [u8; 2] = [VERSION, NO_AUTHENTICATION];
/// The answer to a greeting that offers no way in that there is.
pub const NO_ACCEPTABLE_METHOD: [u8; 2] = [VERSION, 0xff];
/// The answer to SOCKS4 and SOCKS4a: request rejected.
pub const SOCKS4_REFUSED: [u8; 8] = [0, 91, 0, 0, 0, 0, 0, 0];

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A connection to there.
    Connect(Target),
    /// A relay for datagrams, sent from there; mostly written as zeroes, for not known yet.
    UdpAssociate(Target),
}

/// Why a client is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Another version than 5.
    #[error("SOCKS version {0} is not spoken here; use SOCKS5")]
    Version(u8),
    /// The greeting does not offer to do without authentication.
    #[error("the client insists on authentication, and there is none")]
    NoAcceptableMethod,
    /// A byte that must be zero is not.
    #[error("the reserved byte is {0}, not 0")]
    Reserved(u8),
    /// BIND.
    #[error("BIND is not supported")]
    Bind,
    /// A command that RFC 1928 does not have.
    #[error("command {0} is not supported")]
    Command(u8),
    /// No address.
    #[error(transparent)]
    Target(#[from] InvalidTarget),
}

/// What stands in a reply (RFC 1928, 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// It is done.
    Succeeded = 0,
    /// It failed, for no reason that has a number.
    GeneralFailure = 1,
    /// The rules say no.
    NotAllowed = 2,
    /// No way to the host, or no such host.
    HostUnreachable = 4,
    /// The host refused.
    ConnectionRefused = 5,
    /// Nobody answered in time.
    TtlExpired = 6,
    /// Not such a command.
    CommandNotSupported = 7,
    /// Not such an address.
    AddressTypeNotSupported = 8,
}

/// Reads a greeting: its length once it is whole and offers a way in that there is.
pub fn parse_greeting(bytes: &[u8]) -> Result<Option<usize>, RequestError> {
    check_version(bytes)?;
    let Some(&count) = bytes.get(1) else { return Ok(None) };
    let end = 2 + usize::from(count);
    match bytes.get(2..end) {
        Some(methods) if methods.contains(&NO_AUTHENTICATION) => Ok(Some(end)),
        Some(_) => Err(RequestError::NoAcceptableMethod),
        None => Ok(None),
    }
}

/// Reads a request: with its length, or `None` where more bytes are needed.
pub fn parse_request(bytes: &[u8]) -> Result<Option<(Request, usize)>, RequestError> {
    check_version(bytes)?;
    let command = match bytes.get(1) {
        None => return Ok(None),
        Some(&CONNECT) => Request::Connect,
        Some(&UDP_ASSOCIATE) => Request::UdpAssociate,
        Some(&BIND) => return Err(RequestError::Bind),
        Some(&other) => return Err(RequestError::Command(other)),
    };
    match bytes.get(2) {
        None => return Ok(None),
        Some(0) => {}
        Some(&other) => return Err(RequestError::Reserved(other)),
    }
    let parsed = Target::parse(&bytes[3..])?;
    Ok(parsed.map(|(target, length)| (command(target), 3 + length)))
}

fn check_version(bytes: &[u8]) -> Result<(), RequestError> {
    match bytes.first() {
        None | Some(&VERSION) => Ok(()),
        Some(&other) => Err(RequestError::Version(other)),
    }
}

/// Writes a reply. `bound` is where the client may send datagrams; a tunnel's own end means nothing to it and is written as zeroes.
pub fn reply(what: Reply, bound: Option<SocketAddr>) -> Vec<u8> {
    let mut out = vec![VERSION, what as u8, 0];
    Target::from(bound.unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into())).write(&mut out);
    out
}

impl RequestError {
    /// What the client is answered.
    pub fn reply(self) -> Vec<u8> {
        let code = match self {
            Self::Version(4) => return SOCKS4_REFUSED.to_vec(),
            Self::Version(_) => return Vec::new(),
            Self::NoAcceptableMethod => return NO_ACCEPTABLE_METHOD.to_vec(),
            Self::Bind | Self::Command(_) => Reply::CommandNotSupported,
            Self::Target(InvalidTarget::Kind(_)) => Reply::AddressTypeNotSupported,
            Self::Reserved(_) | Self::Target(InvalidTarget::Name) => Reply::GeneralFailure,
        };
        reply(code, None)
    }
}

impl From<ReachError> for Reply {
    fn from(error: ReachError) -> Self {
        match error {
            ReachError::Denied => Self::NotAllowed,
            ReachError::Refused => Self::ConnectionRefused,
            ReachError::Unreachable => Self::HostUnreachable,
            ReachError::TimedOut => Self::TtlExpired,
            ReachError::Full | ReachError::NoTunnel => Self::GeneralFailure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK_80: &[u8] = b"\x05\x01\x00\x01\x7f\0\0\x01\0\x50";

    #[test]
    fn a_greeting_must_offer_to_do_without_authentication() {
        // SOCKS-03
        for (bytes, end) in [(&b"\x05\x01\0"[..], 3), (b"\x05\x03\x02\x01\0rest", 5)] {
            assert_eq!(parse_greeting(bytes), Ok(Some(end)));
            for cut in 0..end {
                assert_eq!(parse_greeting(&bytes[..cut]), Ok(None));
            }
        }
        let user_and_password = parse_greeting(b"\x05\x01\x02").unwrap_err();
        assert_eq!(user_and_password.reply(), [5, 0xff]);
        assert_eq!(parse_greeting(b"\x05\0"), Err(RequestError::NoAcceptableMethod));
    }

    #[test]
    fn requests_are_read_to_their_end_and_no_further() {
        // SOCKS-04
        let (request, length) = parse_request(&[LOOPBACK_80, b"GET /"].concat()).unwrap().unwrap();
        assert_eq!(request, Request::Connect("127.0.0.1:80".parse::<SocketAddr>().unwrap().into()));
        assert_eq!(length, LOOPBACK_80.len());
        for cut in 0..LOOPBACK_80.len() {
            assert_eq!(parse_request(&LOOPBACK_80[..cut]), Ok(None));
        }
        let associate = parse_request(b"\x05\x03\0\x01\0\0\0\0\0\0").unwrap().unwrap().0;
        assert!(matches!(associate, Request::UdpAssociate(target) if target.port == 0));
    }

    #[test]
    fn what_is_not_served_is_refused_by_its_number() {
        // SOCKS-04 SOCKS-06
        let table: [(&[u8], RequestError, u8); 5] = [
            (b"\x05\x02", RequestError::Bind, 7),
            (b"\x05\x04", RequestError::Command(4), 7),
            (b"\x05\0", RequestError::Command(0), 7),
            (b"\x05\x01\x01", RequestError::Reserved(1), 1),
            (b"\x05\x01\0\x02", RequestError::Target(InvalidTarget::Kind(2)), 8),
        ];
        for (bytes, error, code) in table {
            assert_eq!(parse_request(bytes), Err(error));
            assert_eq!(error.reply(), [5, code, 0, 1, 0, 0, 0, 0, 0, 0], "{error}");
        }
        assert_eq!(parse_greeting(b"\x04").unwrap_err().reply(), SOCKS4_REFUSED);
        assert_eq!(parse_request(b"\x04").unwrap_err(), RequestError::Version(4));
        assert!(parse_greeting(b"\x06").unwrap_err().reply().is_empty());
    }

    #[test]
    fn a_reply_names_the_relay_for_datagrams() {
        let bound = reply(Reply::Succeeded, Some("[::1]:7".parse().unwrap()));
        assert_eq!((&bound[..4], bound.len()), (&[5, 0, 0, 4][..], 4 + 16 + 2));
    }
}
