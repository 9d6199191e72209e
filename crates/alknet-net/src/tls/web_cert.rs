//! The web face's certificate: PEM files, or a self-signed one for development. A certificate from an ACME order will
//! be a third way to make a [`WebCertificate`].

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::identity_leaf::never_expire;
use super::provider::provider;
use crate::limits::MAX_PEM_BYTES;

/// A certificate chain and its private key, checked to belong together.
#[derive(Clone)]
pub struct WebCertificate(Arc<CertifiedKey>);

/// Why a web certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WebCertificateError {
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is too large to be what it should be.
    #[error("{} is larger than {MAX_PEM_BYTES} bytes: this is no certificate or key", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A file does not hold what it should.
    #[error("{} holds no usable {what}: {cause}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// What the parser said.
        cause: String,
    },
    /// Certificate and key do not fit.
    #[error("the key in {} cannot serve the certificate in {}: {cause}", key.display(), chain.display())]
    Mismatch {
        /// The file of the certificate chain.
        chain: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Why not.
        cause: rustls::Error,
    },
    /// A self-signed certificate could not be made.
    #[error("cannot make a self-signed certificate")]
    Generate(#[from] rcgen::Error),
}

/// A freshly made certificate, in the form in which its owner keeps it.
pub struct SelfSignedPem {
    /// The certificate.
    pub certificate: String,
    /// The private key (PKCS#8). Secret: keep the file at mode 0600.
    pub key: Zeroizing<String>,
}

impl WebCertificate {
    /// Reads a certificate chain (leaf first) and its private key from PEM files.
    ///
    /// # Errors
    /// Each names the file at fault.
    pub fn from_pem_files(chain: &Path, key: &Path) -> Result<Self, WebCertificateError> {
        let chain_pem = read_bounded(chain)?;
        let key_pem = read_bounded(key)?;
        Self::from_pem((chain, &chain_pem), (key, &key_pem))
    }

    fn from_pem(chain: (&Path, &[u8]), key: (&Path, &[u8])) -> Result<Self, WebCertificateError> {
        let malformed = |path: &Path, what, cause: &dyn fmt::Display| WebCertificateError::Malformed {
            path: path.to_owned(),
            what,
            cause: cause.to_string(),
        };
        let certificates = CertificateDer::pem_slice_iter(chain.1)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| malformed(chain.0, "certificate", &error))?;
        if certificates.is_empty() {
            return Err(malformed(chain.0, "certificate", &"no CERTIFICATE section"));
        }
        let private = PrivateKeyDer::from_pem_slice(key.1).map_err(|error| malformed(key.0, "private key", &error))?;
        CertifiedKey::from_der(certificates, private, &provider())
            .map(|certified| Self(Arc::new(certified)))
            .map_err(|cause| WebCertificateError::Mismatch { chain: chain.0.to_owned(), key: key.0.to_owned(), cause })
    }

    /// The leaf certificate, DER.
    pub fn leaf(&self) -> Option<&CertificateDer<'static>> {
        self.0.cert.first()
    }
}

impl fmt::Debug for WebCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebCertificate({} in chain)", self.0.cert.len())
    }
}

/// Makes a self-signed ECDSA P-256 certificate (browsers take no Ed25519) for `names`: DNS names and IP addresses.
///
/// For development: no client trusts it by itself. It never expires, because nobody would renew it.
///
/// # Errors
/// When a name cannot stand in a certificate, or the system has no randomness.
pub fn generate_self_signed(names: &[String]) -> Result<SelfSignedPem, WebCertificateError> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut params = rcgen::CertificateParams::new(names)?;
    never_expire(&mut params);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "alknet development certificate");
    let certificate = params.self_signed(&key)?;
    Ok(SelfSignedPem { certificate: certificate.pem(), key: Zeroizing::new(key.serialize_pem()) })
}

fn read_bounded(path: &Path) -> Result<Zeroizing<Vec<u8>>, WebCertificateError> {
    let fault = |source| WebCertificateError::Read { path: path.to_owned(), source };
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path).map_err(fault)?.take(MAX_PEM_BYTES + 1).read_to_end(&mut bytes).map_err(fault)?;
    if bytes.len() as u64 > MAX_PEM_BYTES {
        return Err(WebCertificateError::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

/// Serves the web certificate of the moment. One lives as long as the listener, so a swap keeps the session cache.
#[derive(Debug)]
pub(crate) struct WebResolver(ArcSwap<CertifiedKey>);

impl WebResolver {
    pub(crate) fn new(certificate: WebCertificate) -> Self {
        Self(ArcSwap::new(certificate.0))
    }

    /// Handshakes from now on see `certificate`.
    pub(crate) fn set(&self, certificate: WebCertificate) {
        self.0.store(certificate.0);
    }
}

impl ResolvesServerCert for WebResolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_generated_certificate_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let made = generate_self_signed(&["localhost".into(), "127.0.0.1".into()]).unwrap();
        let chain = write(dir.path(), "web.pem", &made.certificate);
        let key = write(dir.path(), "web.key", &made.key);
        let read = WebCertificate::from_pem_files(&chain, &key).unwrap();
        assert_eq!(read.0.key.algorithm(), rustls::SignatureAlgorithm::ECDSA);
        // Chain and key may share one file.
        let both = write(dir.path(), "both.pem", &format!("{}{}", made.certificate, *made.key));
        WebCertificate::from_pem_files(&both, &both).unwrap();
    }

    #[test]
    fn each_error_names_the_file_at_fault() {
        let dir = tempfile::tempdir().unwrap();
        let made = generate_self_signed(&["localhost".into()]).unwrap();
        let other = generate_self_signed(&["localhost".into()]).unwrap();
        let chain = write(dir.path(), "chain.pem", &made.certificate);
        let key = write(dir.path(), "key.pem", &made.key);
        let foreign = write(dir.path(), "foreign.pem", &other.key);
        let empty = write(dir.path(), "empty.pem", "");
        let garbage =
            write(dir.path(), "garbage.pem", "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n");
        let not_der =
            write(dir.path(), "not_der.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        let huge = write(dir.path(), "huge.pem", &"a".repeat(MAX_PEM_BYTES as usize + 1));
        let absent = dir.path().join("absent.pem");
        for (chain, key, at_fault) in [
            (&absent, &key, "absent.pem"),
            (&chain, &absent, "absent.pem"),
            (&empty, &key, "empty.pem"),
            (&chain, &empty, "empty.pem"),
            (&garbage, &key, "garbage.pem"),
            (&not_der, &key, "not_der.pem"),
            (&huge, &key, "huge.pem"),
            (&chain, &foreign, "foreign.pem"),
            (&chain, &chain, "chain.pem"),
        ] {
            let error = WebCertificate::from_pem_files(chain, key).unwrap_err().to_string();
            assert!(error.contains(at_fault), "{at_fault}: {error}");
        }
    }
}
