//! The self-signed X.509 leaf around the node's Ed25519 key, for clients without raw public keys (RFC 7250).
//!
//! Serial and dates are fixed and Ed25519 is deterministic, so a node key has exactly one leaf: any client can pin its
//! SubjectPublicKeyInfo, or the whole certificate.

use rcgen::{CertificateParams, DistinguishedName, DnType, SerialNumber, date_time_ymd};
use rustls::pki_types::CertificateDer;

use super::node_credentials::NodeSigner;

/// The leaf of the key that `signer` signs for.
///
/// # Errors
/// When the signer fails.
pub(super) fn identity_leaf(signer: &NodeSigner) -> Result<CertificateDer<'static>, rcgen::Error> {
    let mut params = CertificateParams::default();
    never_expire(&mut params);
    params.serial_number = Some(SerialNumber::from(vec![1]));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "alknet node");
    Ok(params.self_signed(signer)?.into())
}

/// Makes a certificate valid from 1970 (a node's clock may stand there) to the last day of 9999, which RFC 5280,
/// 4.1.2.5 reserves for certificates that do not expire.
pub(super) fn never_expire(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(1970, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31);
}

#[cfg(test)]
mod tests {
    use super::super::node_credentials::tests::signer;
    use super::super::peer_verifier::spki_of;
    use super::*;
    use data_encoding::HEXLOWER;

    // NET-10
    #[test]
    fn a_key_has_one_leaf_for_ever() {
        let leaf = identity_leaf(&signer([7; 32])).unwrap();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/ok/identity_leaf_seed_07.hex");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, HEXLOWER.encode(&leaf) + "\n").unwrap();
        }
        assert_eq!(HEXLOWER.encode(&leaf), std::fs::read_to_string(path).unwrap().trim());
        assert_eq!(leaf, identity_leaf(&signer([7; 32])).unwrap());
        assert_ne!(leaf, identity_leaf(&signer([8; 32])).unwrap());
    }

    #[test]
    fn the_leaf_is_around_the_node_key() {
        let signer = signer([7; 32]);
        let leaf = identity_leaf(&signer).unwrap();
        let spki = spki_of(&signer.key());
        assert!(leaf.windows(spki.len()).any(|window| window == spki));
    }
}
