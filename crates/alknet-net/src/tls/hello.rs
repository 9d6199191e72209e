//! What a ClientHello says that decides how it is answered.

use rustls::server::{Acceptor, CertificateType, ClientHello};

use crate::limits::MAX_CLIENT_HELLO_BYTES;

/// The type byte of a ClientHello (RFC 8446, 4).
const CLIENT_HELLO: u8 = 1;
/// Bytes before the body of a handshake message: type and length.
const HEADER_BYTES: usize = 4;

/// The parts of a ClientHello that choose a face. All of it is hostile input.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct HelloView {
    /// The offered ALPNs in the client's order; `None` when it has no such extension.
    pub(crate) alpns: Option<Vec<Vec<u8>>>,
    /// Whether the client takes a raw public key from the server (RFC 7250).
    pub(crate) takes_raw_server_key: bool,
    /// Whether the client can show a raw public key of its own (RFC 7250).
    pub(crate) has_raw_client_key: bool,
}

impl HelloView {
    /// Copies what matters out of rustls' view.
    pub(crate) fn of(hello: &ClientHello<'_>) -> Self {
        let raw = |types: Option<&[CertificateType]>| {
            types.is_some_and(|types| types.contains(&CertificateType::RawPublicKey))
        };
        Self {
            alpns: hello.alpn().map(|names| names.map(<[u8]>::to_vec).collect()),
            takes_raw_server_key: raw(hello.server_cert_types()),
            has_raw_client_key: raw(hello.client_cert_types()),
        }
    }
}

/// How far the first handshake bytes of a client have got.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HelloProgress {
    /// The hello is not complete yet.
    NeedMore,
    /// The hello is complete and well formed.
    Complete(HelloView),
}

/// Why handshake bytes are no ClientHello, with the TLS alert that says so.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum HelloError {
    /// Another message came first.
    #[error("the first handshake message has type {0}, not 1 (client hello)")]
    NotAHello(u8),
    /// It announces, or already has, more bytes than the bound.
    #[error("the client hello has {0} bytes, more than {MAX_CLIENT_HELLO_BYTES}")]
    TooLong(usize),
    /// rustls refused to parse it.
    #[error("malformed client hello: {cause}")]
    Malformed {
        /// The alert that rustls would send.
        alert: u8,
        /// What rustls says.
        cause: String,
    },
}

impl HelloError {
    /// The TLS alert (RFC 8446, 6) to answer with.
    pub(crate) fn alert(&self) -> u8 {
        match self {
            Self::NotAHello(_) => 10, // unexpected_message
            Self::TooLong(_) => 50,   // decode_error
            Self::Malformed { alert, .. } => *alert,
        }
    }
}

/// Parses the handshake bytes that a QUIC client has sent so far (no record layer). Pure; never reads an announced
/// length as a reason to allocate.
///
/// # Errors
/// As soon as the bytes cannot become an acceptable ClientHello any more.
pub(crate) fn parse_hello(bytes: &[u8]) -> Result<HelloProgress, HelloError> {
    let Some(&[kind, a, b, c]) = bytes.first_chunk::<HEADER_BYTES>() else {
        return match bytes.first() {
            Some(&kind) if kind != CLIENT_HELLO => Err(HelloError::NotAHello(kind)),
            _ => Ok(HelloProgress::NeedMore),
        };
    };
    if kind != CLIENT_HELLO {
        return Err(HelloError::NotAHello(kind));
    }
    let announced = HEADER_BYTES + u32::from_be_bytes([0, a, b, c]) as usize;
    if announced.max(bytes.len()) > MAX_CLIENT_HELLO_BYTES {
        return Err(HelloError::TooLong(announced.max(bytes.len())));
    }
    match bytes.get(..announced) {
        Some(hello) => parse_complete(hello).map(HelloProgress::Complete),
        None => Ok(HelloProgress::NeedMore),
    }
}

/// Lets rustls parse one whole hello, wrapped as the single TLS record that it would be on TCP.
fn parse_complete(hello: &[u8]) -> Result<HelloView, HelloError> {
    let length = u16::try_from(hello.len()).map_err(|_| HelloError::TooLong(hello.len()))?;
    let mut record = Vec::with_capacity(5 + hello.len());
    record.extend_from_slice(&[0x16, 3, 1]);
    record.extend_from_slice(&length.to_be_bytes());
    record.extend_from_slice(hello);
    let mut acceptor = Acceptor::default();
    let mut unread = &record[..];
    while !unread.is_empty() {
        // A full buffer is an error from here on; accept() below then says what is wrong with it.
        if !matches!(acceptor.read_tls(&mut unread), Ok(read) if read > 0) {
            break;
        }
    }
    match acceptor.accept() {
        Ok(Some(accepted)) => Ok(HelloView::of(&accepted.client_hello())),
        Ok(None) => Err(malformed(50, "it ends early")),
        Err((error, mut alert)) => {
            // A record with one alert: type, version, length, level, description.
            let mut sent = Vec::new();
            let description = alert.write_all(&mut sent).ok().and_then(|()| sent.get(6).copied());
            Err(malformed(description.unwrap_or(50), &error.to_string()))
        }
    }
}

fn malformed(alert: u8, cause: &str) -> HelloError {
    HelloError::Malformed { alert, cause: cause.to_owned() }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use super::*;
    use proptest::prelude::*;
    use rustls::pki_types::ServerName;

    /// The handshake bytes of a real rustls client that offers `alpns`, with its X25519MLKEM768 share.
    pub(crate) fn client_hello(alpns: &[&[u8]]) -> Vec<u8> {
        let mut config = rustls::ClientConfig::builder_with_provider(crate::tls::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = alpns.iter().map(|alpn| alpn.to_vec()).collect();
        let name = ServerName::try_from("node.test").unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut records = Vec::new();
        client.write_tls(&mut records).unwrap();
        assert_eq!(records[0], 0x16);
        records.split_off(5)
    }

    #[test]
    fn a_real_hello_is_read_whole_and_only_whole() {
        let hello = client_hello(&[b"alknet/call", b"h3"]);
        for cut in 0..hello.len() {
            assert_eq!(parse_hello(&hello[..cut]), Ok(HelloProgress::NeedMore), "cut at {cut}");
        }
        let Ok(HelloProgress::Complete(view)) = parse_hello(&hello) else { panic!("whole") };
        assert_eq!(view.alpns, Some(vec![b"alknet/call".to_vec(), b"h3".to_vec()]));
        assert!(!view.takes_raw_server_key && !view.has_raw_client_key);
    }

    #[test]
    fn no_alpn_is_not_an_empty_list() {
        let Ok(HelloProgress::Complete(view)) = parse_hello(&client_hello(&[])) else { panic!("whole") };
        assert_eq!(view.alpns, None);
    }

    #[test]
    fn another_message_is_refused_at_its_first_byte() {
        assert_eq!(parse_hello(&[2]), Err(HelloError::NotAHello(2)));
        assert_eq!(parse_hello(&[0x16, 3, 1, 0, 5]), Err(HelloError::NotAHello(0x16)));
        assert_eq!(HelloError::NotAHello(2).alert(), 10);
    }

    // NET-14
    #[test]
    fn an_announced_length_beyond_the_bound_is_refused_at_once() {
        assert_eq!(parse_hello(&[1, 0xff, 0xff, 0xff]), Err(HelloError::TooLong(0x0100_0003)));
        assert_eq!(parse_hello(&[1, 0, 0x3f, 0xfc]), Ok(HelloProgress::NeedMore));
        assert!(matches!(parse_hello(&[1, 0, 0x3f, 0xfd]), Err(HelloError::TooLong(_))));
    }

    #[test]
    fn lying_inner_lengths_are_errors_with_an_alert() {
        let hello = client_hello(&[b"h3"]);
        let session_id_length = HEADER_BYTES + 2 + 32;
        for lie in [33, 0x80, 0xff] {
            let mut bytes = hello.clone();
            bytes[session_id_length] = lie;
            let error = parse_hello(&bytes).unwrap_err();
            assert!(matches!(error, HelloError::Malformed { .. }), "{error}");
            assert!(error.alert() > 0);
        }
        // The announced length is short by one: the extensions no longer fit their own length.
        let mut short = hello.clone();
        let length = u16::try_from(hello.len() - HEADER_BYTES - 1).unwrap();
        short[2..4].copy_from_slice(&length.to_be_bytes());
        assert!(matches!(parse_hello(&short), Err(HelloError::Malformed { .. })));
        // Long by one: it waits for the byte, then the surplus is an error.
        let mut long = hello.clone();
        let length = u16::try_from(hello.len() - HEADER_BYTES + 1).unwrap();
        long[2..4].copy_from_slice(&length.to_be_bytes());
        assert_eq!(parse_hello(&long), Ok(HelloProgress::NeedMore));
        long.push(0);
        assert!(matches!(parse_hello(&long), Err(HelloError::Malformed { .. })));
    }

    #[test]
    fn bad_vectors_are_errors() {
        let vectors: &[(&str, &[u8])] = &[
            ("empty_body", &[1, 0, 0, 0]),
            ("zeroes", &[1, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]),
            ("hello_inside_a_hello", &[1, 0, 0, 8, 1, 0, 0, 4, 1, 0, 0, 0]),
            ("garbage", b"\x01\x00\x00\x10GET / HTTP/1.1\r\n"),
        ];
        for (name, bytes) in vectors {
            assert!(matches!(parse_hello(bytes), Err(HelloError::Malformed { .. })), "{name}");
        }
    }

    proptest! {
        // NET-14
        #[test]
        fn any_bytes_are_answered_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = parse_hello(&bytes);
            let mut framed = vec![1, 0, (bytes.len() >> 8) as u8, bytes.len() as u8];
            framed.extend_from_slice(&bytes);
            prop_assert!(!matches!(parse_hello(&framed), Ok(HelloProgress::NeedMore)));
        }

        #[test]
        fn one_wrong_byte_in_a_real_hello_never_panics(at in 4usize..1500, value in any::<u8>()) {
            let mut hello = client_hello(&[b"alknet/call"]);
            let at = at % hello.len();
            hello[at] = value;
            let _ = parse_hello(&hello);
        }
    }
}
