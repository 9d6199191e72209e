//! The one crypto provider: ring, with X25519MLKEM768 preferred.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, ring};

use super::kx::X25519MLKEM768;

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let mut provider = ring::default_provider();
    // X25519 stays second: clients without ML-KEM (iroh's among them) need it.
    provider.kx_groups.insert(0, X25519MLKEM768);
    Arc::new(provider)
});

/// The provider that every TLS and QUIC configuration of this program uses.
///
/// The binary may also install it as the process default (`CryptoProvider::install_default`), for libraries that look
/// it up.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::NamedGroup;

    #[test]
    fn prefers_the_hybrid_and_keeps_rings_groups() {
        let names: Vec<_> = provider().kx_groups.iter().map(|group| group.name()).collect();
        let expected = [NamedGroup::X25519MLKEM768, NamedGroup::X25519, NamedGroup::secp256r1, NamedGroup::secp384r1];
        assert_eq!(names, expected);
    }
}
