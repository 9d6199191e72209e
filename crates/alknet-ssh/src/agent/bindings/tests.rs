use russh::keys::{PrivateKey, signature::Signer, ssh_encoding::Encode, ssh_key::private::Ed25519Keypair};

use super::*;

struct Host(PrivateKey);

impl Host {
    fn new(seed: u8) -> Self {
        Self(PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32])))
    }
    fn key(&self) -> Vec<u8> {
        self.0.public_key().to_bytes().unwrap()
    }
    fn signs(&self, session: &[u8]) -> Vec<u8> {
        let signature: Signature = self.0.try_sign(session).unwrap();
        let mut blob = Vec::new();
        signature.encode(&mut blob).unwrap();
        blob
    }
    fn fingerprint(&self) -> String {
        self.0.public_key().fingerprint(HashAlg::Sha256).to_string()
    }
    fn bind(&self, bindings: &mut Bindings, session: &[u8], forwarded: bool) -> Result<(), NotBound> {
        let (host_key, signature) = (self.key(), self.signs(session));
        bindings.bind(&SessionBind { host_key: &host_key, session, signature: &signature, forwarded })
    }
}

/// AGENT-30, AGENT-31.
#[test]
fn hops_are_bound_in_order_and_a_login_only_to_the_last() {
    let (hop, target) = (Host::new(1), Host::new(2));
    let mut bindings = Bindings::default();
    assert_eq!(bindings.way(b"any"), Way::Unbound { through: None });
    hop.bind(&mut bindings, b"first", true).unwrap();
    assert_eq!(bindings.way(b"any"), Way::Unbound { through: Some(&hop.fingerprint()) });
    target.bind(&mut bindings, b"second", false).unwrap();
    let way = Way::Bound { host: &target.fingerprint(), through: Some(&hop.fingerprint()) };
    assert_eq!(bindings.way(b"second"), way);
    assert_eq!(bindings.way(b"first"), Way::OtherSession);
    assert_eq!(target.bind(&mut bindings, b"second", false), Ok(()), "saying it again changes nothing");
    assert_eq!(hop.bind(&mut bindings, b"second", false), Err(NotBound::OtherHost));
    assert_eq!(target.bind(&mut bindings, b"third", false), Err(NotBound::ForLogin));
    assert_eq!(target.bind(&mut bindings, b"second", true), Err(NotBound::ForLogin));
}

/// AGENT-30.
#[test]
fn a_binding_that_its_host_did_not_sign_is_refused() {
    let (host, other) = (Host::new(1), Host::new(2));
    let (key, signature) = (host.key(), host.signs(b"session"));
    let bind = |host_key: &[u8], session: &[u8], signature: &[u8]| {
        Bindings::default().bind(&SessionBind { host_key, session, signature, forwarded: false })
    };
    assert_eq!(bind(&key, b"session", &signature), Ok(()));
    assert_eq!(bind(&key, b"another", &signature), Err(NotBound::Unsigned));
    assert_eq!(bind(&other.key(), b"session", &signature), Err(NotBound::Unsigned));
    assert_eq!(bind(b"no key", b"session", &signature), Err(NotBound::Unreadable));
    assert_eq!(bind(&key, b"session", b"no signature"), Err(NotBound::Unreadable));
    assert_eq!(bind(&key, b"session", &[signature.as_slice(), b"x"].concat()), Err(NotBound::Unreadable));
    assert_eq!(bind(&key, b"", &signature), Err(NotBound::SessionId));
    assert_eq!(bind(&key, &[1; MAX_SESSION_ID_BYTES + 1], &signature), Err(NotBound::SessionId));
}

/// AGENT-32.
#[test]
fn hops_are_bounded() {
    let mut bindings = Bindings::default();
    for hop in 0..MAX_BOUND_SESSIONS {
        Host::new(3).bind(&mut bindings, &hop.to_be_bytes(), true).unwrap();
    }
    assert_eq!(Host::new(3).bind(&mut bindings, b"one more", true), Err(NotBound::TooMany));
}
