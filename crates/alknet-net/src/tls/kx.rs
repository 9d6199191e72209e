//! X25519MLKEM768, the hybrid post-quantum key exchange of draft-ietf-tls-ecdhe-mlkem, for rustls on ring.
//!
//! ring has no ML-KEM, and the hybrid inside rustls is tied to another provider; this joins ring's X25519 with the
//! `ml-kem` crate. On the wire the ML-KEM-768 part (FIPS 203) comes first, in both shares and in the secret.

use ml_kem::kem::{Decapsulate, KeyExport};
use ml_kem::{DecapsulationKey, EncapsulationKey, MlKem768, TryKeyInit};
use rustls::crypto::ring::kx_group::X25519;
use rustls::crypto::{ActiveKeyExchange, CompletedKeyExchange, SharedSecret, SupportedKxGroup};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, PeerMisbehaved, ProtocolVersion};
use zeroize::{Zeroize, Zeroizing};

/// Bytes of an ML-KEM-768 encapsulation key, the first part of the client's share.
const ENCAPSULATION_KEY_BYTES: usize = 1184;
/// Bytes of an ML-KEM-768 ciphertext, the first part of the server's share.
const CIPHERTEXT_BYTES: usize = 1088;
/// Bytes of an X25519 public key, the second part of both shares.
const X25519_BYTES: usize = 32;
/// Bytes of an ML-KEM decapsulation seed (`d` and `z` of FIPS 203).
const SEED_BYTES: usize = 64;
/// Bytes of randomness that an encapsulation takes (`m` of FIPS 203), and of the secret that it yields.
const SECRET_BYTES: usize = 32;

const INVALID_KEY_SHARE: Error = Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare);

/// The key exchange group X25519MLKEM768 (0x11ec), for TLS 1.3 only.
pub(crate) static X25519MLKEM768: &dyn SupportedKxGroup = &HybridGroup;

#[derive(Debug)]
struct HybridGroup;

impl SupportedKxGroup for HybridGroup {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let x25519 = X25519.start()?;
        let ml_kem = DecapsulationKey::<MlKem768>::from_seed((*random::<SEED_BYTES>()?).into());
        let mut share = Vec::with_capacity(ENCAPSULATION_KEY_BYTES + X25519_BYTES);
        share.extend_from_slice(&ml_kem.encapsulation_key().to_bytes());
        share.extend_from_slice(x25519.pub_key());
        Ok(Box::new(ActiveHybrid { ml_kem, x25519, share }))
    }

    fn start_and_complete(&self, client_share: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let (encapsulation_key, x25519_share) = split(client_share, ENCAPSULATION_KEY_BYTES)?;
        let x25519 = X25519.start_and_complete(x25519_share)?;
        let (mut share, ml_kem_secret) = encapsulate(encapsulation_key, &*random::<SECRET_BYTES>()?)?;
        share.extend_from_slice(&x25519.pub_key);
        Ok(CompletedKeyExchange {
            group: self.name(),
            pub_key: share,
            secret: join_secrets(&ml_kem_secret, x25519.secret.secret_bytes()),
        })
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_3
    }
}

/// The client's side between its hello and the server's answer.
struct ActiveHybrid {
    ml_kem: DecapsulationKey<MlKem768>,
    x25519: Box<dyn ActiveKeyExchange>,
    share: Vec<u8>,
}

impl ActiveKeyExchange for ActiveHybrid {
    fn complete(self: Box<Self>, server_share: &[u8]) -> Result<SharedSecret, Error> {
        let (ciphertext, x25519_share) = split(server_share, CIPHERTEXT_BYTES)?;
        let x25519 = self.x25519.complete(x25519_share)?;
        let ml_kem_secret = decapsulate(&self.ml_kem, ciphertext)?;
        Ok(join_secrets(&ml_kem_secret, x25519.secret_bytes()))
    }

    /// Lets rustls offer the X25519 half on its own too, so that a server without ML-KEM needs no second hello.
    fn hybrid_component(&self) -> Option<(NamedGroup, &[u8])> {
        Some((self.x25519.group(), self.x25519.pub_key()))
    }

    fn complete_hybrid_component(self: Box<Self>, server_share: &[u8]) -> Result<SharedSecret, Error> {
        self.x25519.complete(server_share)
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }
}

/// Splits a share into its ML-KEM part, which has `ml_kem_bytes`, and its X25519 part.
fn split(share: &[u8], ml_kem_bytes: usize) -> Result<(&[u8], &[u8]), Error> {
    if share.len() != ml_kem_bytes + X25519_BYTES {
        return Err(INVALID_KEY_SHARE);
    }
    Ok(share.split_at(ml_kem_bytes))
}

/// Encapsulates to `encapsulation_key` with the randomness `m`: the ciphertext and the secret.
///
/// # Errors
/// `InvalidKeyShare` for a wrong length, or a coefficient that is not reduced (the modulus check of FIPS 203, 7.2).
fn encapsulate(
    encapsulation_key: &[u8],
    m: &[u8; SECRET_BYTES],
) -> Result<(Vec<u8>, Zeroizing<[u8; SECRET_BYTES]>), Error> {
    let key = EncapsulationKey::<MlKem768>::new_from_slice(encapsulation_key).map_err(|_| INVALID_KEY_SHARE)?;
    // The deterministic form, because the other one panics when the system has no randomness.
    let (ciphertext, mut shared) = key.encapsulate_deterministic(&(*m).into());
    let secret = Zeroizing::new(shared.into());
    shared.as_mut_slice().zeroize();
    Ok((ciphertext.to_vec(), secret))
}

/// Opens `ciphertext`: the secret, or (implicit rejection, FIPS 203, 6.3) a random-looking one for a forged ciphertext.
///
/// # Errors
/// `InvalidKeyShare` for a wrong length.
fn decapsulate(key: &DecapsulationKey<MlKem768>, ciphertext: &[u8]) -> Result<Zeroizing<[u8; SECRET_BYTES]>, Error> {
    let mut shared = key.decapsulate_slice(ciphertext).map_err(|_| INVALID_KEY_SHARE)?;
    let secret = Zeroizing::new(shared.into());
    shared.as_mut_slice().zeroize();
    Ok(secret)
}

fn join_secrets(ml_kem: &[u8; SECRET_BYTES], x25519: &[u8]) -> SharedSecret {
    let mut joined = Vec::with_capacity(ml_kem.len() + x25519.len());
    joined.extend_from_slice(ml_kem);
    joined.extend_from_slice(x25519);
    SharedSecret::from(joined)
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, Error> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|_| Error::FailedToGetRandomBytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    fn vectors(text: &str) -> Vec<serde_json::Value> {
        serde_json::from_str::<serde_json::Value>(text).unwrap()["tests"].as_array().unwrap().clone()
    }

    fn hex(vector: &serde_json::Value, member: &str) -> Vec<u8> {
        HEXLOWER.decode(vector[member].as_str().unwrap().as_bytes()).unwrap()
    }

    fn seed(vector: &serde_json::Value) -> DecapsulationKey<MlKem768> {
        let seed: [u8; SEED_BYTES] = hex(vector, "seed").try_into().unwrap();
        DecapsulationKey::<MlKem768>::from_seed(seed.into())
    }

    fn group() -> &'static dyn SupportedKxGroup {
        X25519MLKEM768
    }

    #[test]
    fn both_sides_get_the_same_secret_of_64_bytes() {
        let client = group().start().unwrap();
        assert_eq!(client.pub_key().len(), 1184 + 32);
        let server = group().start_and_complete(client.pub_key()).unwrap();
        assert_eq!(server.pub_key.len(), 1088 + 32);
        let secret = client.complete(&server.pub_key).unwrap();
        assert_eq!(secret.secret_bytes().len(), 64);
        assert_eq!(secret.secret_bytes(), server.secret.secret_bytes());
    }

    #[test]
    fn the_x25519_half_stands_alone_for_a_server_without_ml_kem() {
        let client = group().start().unwrap();
        let (name, share) = client.hybrid_component().unwrap();
        assert_eq!(name, NamedGroup::X25519);
        let server = X25519.start_and_complete(share).unwrap();
        let secret = client.complete_hybrid_component(&server.pub_key).unwrap();
        assert_eq!(secret.secret_bytes(), server.secret.secret_bytes());
    }

    // NET-08
    #[test]
    fn a_share_of_a_wrong_length_is_an_invalid_key_share() {
        for length in [0, 1, 32, 1183, 1184, 1184 + 31, 1184 + 33, 65_535] {
            let error = group().start_and_complete(&vec![0; length]).err();
            assert_eq!(error, Some(INVALID_KEY_SHARE), "client share of {length} bytes");
        }
        for length in [0, 1, 32, 1087, 1088, 1088 + 31, 1088 + 33, 1184 + 32] {
            let error = group().start().unwrap().complete(&vec![0; length]).err();
            assert_eq!(error, Some(INVALID_KEY_SHARE), "server share of {length} bytes");
        }
    }

    // NET-08
    #[test]
    fn an_unreduced_coefficient_is_an_invalid_key_share() {
        let mut share = group().start().unwrap().pub_key().to_vec();
        share[0] = 0xff;
        share[1] |= 0x0f;
        assert_eq!(group().start_and_complete(&share).err(), Some(INVALID_KEY_SHARE));
    }

    #[test]
    fn a_low_order_x25519_point_is_refused() {
        let mut share = group().start().unwrap().pub_key().to_vec();
        share[ENCAPSULATION_KEY_BYTES..].fill(0);
        assert!(group().start_and_complete(&share).is_err());
    }

    #[test]
    fn is_for_tls_13_only() {
        assert!(group().usable_for_version(ProtocolVersion::TLSv1_3));
        assert!(!group().usable_for_version(ProtocolVersion::TLSv1_2));
    }

    #[test]
    fn wycheproof_decapsulation() {
        let all = vectors(include_str!("../../tests/vectors/ok/mlkem768_decapsulate.json"));
        assert!(all.len() >= 5);
        for vector in all {
            let key = seed(&vector);
            assert_eq!(key.encapsulation_key().to_bytes().to_vec(), hex(&vector, "ek"), "{}", vector["tcId"]);
            let secret = decapsulate(&key, &hex(&vector, "c")).unwrap();
            assert_eq!(secret.to_vec(), hex(&vector, "K"), "{}", vector["tcId"]);
        }
    }

    #[test]
    fn wycheproof_encapsulation() {
        let all = vectors(include_str!("../../tests/vectors/ok/mlkem768_encapsulate.json"));
        assert!(all.len() >= 3);
        for vector in all {
            let m: [u8; SECRET_BYTES] = hex(&vector, "m").try_into().unwrap();
            let (ciphertext, secret) = encapsulate(&hex(&vector, "ek"), &m).unwrap();
            assert_eq!(ciphertext, hex(&vector, "c"), "{}", vector["tcId"]);
            assert_eq!(secret.to_vec(), hex(&vector, "K"), "{}", vector["tcId"]);
        }
    }

    #[test]
    fn wycheproof_modulus_overflow_and_wrong_key_lengths() {
        for text in [
            include_str!("../../tests/vectors/bad/mlkem768_key_not_reduced.json"),
            include_str!("../../tests/vectors/bad/mlkem768_key_of_wrong_length.json"),
        ] {
            for vector in vectors(text) {
                let error = encapsulate(&hex(&vector, "ek"), &[0x42; 32]).err();
                assert_eq!(error, Some(INVALID_KEY_SHARE), "{}", vector["tcId"]);
            }
        }
    }

    #[test]
    fn wycheproof_wrong_ciphertext_lengths() {
        for vector in vectors(include_str!("../../tests/vectors/bad/mlkem768_ciphertext_of_wrong_length.json")) {
            let error = decapsulate(&seed(&vector), &hex(&vector, "c")).err();
            assert_eq!(error, Some(INVALID_KEY_SHARE), "{}", vector["tcId"]);
        }
    }
}
