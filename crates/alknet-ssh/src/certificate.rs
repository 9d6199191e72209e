//! Whom a user certificate makes known, and for what (PROTOCOL.certkeys). The SSH library has verified its signature and the possession of its
//! key; all else is decided here.

use alknet_core::{Credential, Fingerprint, PeerAddr, SshCertificateId, SshGrant};
use russh::keys::{Certificate, PublicKey};

use crate::{
    address_list::AddressList,
    fingerprint::{fingerprint, signs_acceptably},
    key_options::KeyOptions,
    line_options::LineOptions,
};

/// Why a certificate lets nobody in. For the log and the audit: the peer hears of none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CertificateRefusal {
    #[error("the certificate is for a host")]
    ForHost,
    #[error("the certified key is not acceptable")]
    Key,
    #[error("the key of the certificate's authority, or its signature, is not acceptable")]
    AuthorityKey,
    #[error("nobody trusts the certificate's authority")]
    Authority,
    #[error("the certificate is not valid yet")]
    TooEarly,
    #[error("the certificate has expired")]
    Expired,
    #[error("the certificate names nobody, which would be everybody")]
    NoPrincipals,
    #[error("the certificate is for somebody else")]
    Principals,
    #[error("the certificate is for several peers: log in under the name of one")]
    Ambiguous,
    #[error("the certificate has a critical option that is not known, or cannot be read")]
    CriticalOption,
    #[error("the certificate is not for this address")]
    Address,
    #[error("the options of the authority do not allow it")]
    Options,
    #[error("the certificate and the options of its authority force different commands")]
    Commands,
    #[error("the certificate, its key or its authority is revoked")]
    Revoked,
}

/// What a certificate gives.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) grant: SshGrant,
    pub(crate) credential: Credential,
    pub(crate) uses: KeyOptions,
    /// When it ends, in seconds since 1970.
    pub(crate) until: Option<u64>,
}

/// Where and when somebody logs in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub(crate) user: &'a str,
    pub(crate) addr: PeerAddr,
    /// In seconds since 1970.
    pub(crate) now: u64,
}

/// The key that signed a certificate, if it may sign any.
pub(crate) fn authority(certificate: &Certificate) -> Result<Fingerprint, CertificateRefusal> {
    let key = PublicKey::from(certificate.signature_key().clone());
    let signed_well = signs_acceptably(&certificate.signature().algorithm());
    fingerprint(&key).ok().filter(|_| signed_well).ok_or(CertificateRefusal::AuthorityKey)
}

/// Decides about a certificate, given everybody who trusts its authority.
pub(crate) fn admit(
    certificate: &Certificate,
    trusting: Vec<SshGrant>,
    attempt: Attempt<'_>,
) -> Result<Admitted, CertificateRefusal> {
    if !certificate.cert_type().is_user() {
        return Err(CertificateRefusal::ForHost);
    }
    let authority = authority(certificate)?;
    let key = fingerprint(&PublicKey::from(certificate.public_key().clone())).map_err(|_| CertificateRefusal::Key)?;
    check_dates(certificate, attempt.now)?;
    let (grant, options) = holder(certificate.valid_principals(), trusting, attempt.user)?;
    if !options.allow(attempt.addr, attempt.now) {
        return Err(CertificateRefusal::Options);
    }
    let LineOptions { uses, expires, .. } = options;
    let uses = narrowed(uses, certificate, attempt.addr)?;
    let ends = Some(certificate.valid_before()).filter(|end| *end != u64::MAX);
    let until = ends.into_iter().chain(expires).min();
    let (key_id, serial) = (certificate.key_id().to_owned(), certificate.serial());
    let credential = Credential::SshCertificate(SshCertificateId { key_id, serial, key, authority });
    Ok(Admitted { grant, credential, uses, until })
}

/// `valid after <= now < valid before`; the library leaves out bounds that it cannot represent.
fn check_dates(certificate: &Certificate, now: u64) -> Result<(), CertificateRefusal> {
    if now < certificate.valid_after() {
        return Err(CertificateRefusal::TooEarly);
    }
    if now >= certificate.valid_before() { Err(CertificateRefusal::Expired) } else { Ok(()) }
}

/// Which of those who trust the authority the certificate is for.
fn holder(
    principals: &[String],
    trusting: Vec<SshGrant>,
    user: &str,
) -> Result<(SshGrant, LineOptions), CertificateRefusal> {
    if trusting.is_empty() {
        return Err(CertificateRefusal::Authority);
    }
    if principals.is_empty() {
        return Err(CertificateRefusal::NoPrincipals);
    }
    let alone = trusting.len() == 1;
    let named = |name: &str| principals.iter().any(|principal| principal == name);
    let mut fitting = Vec::new();
    for grant in trusting {
        // Refused when it was added: what cannot be read now was written by another version.
        let options = LineOptions::parse(&authority_line(&grant.options)).map_err(|_| CertificateRefusal::Options)?;
        let fits = match &options.principals {
            Some(list) => list.iter().any(|name| named(name)),
            None => named(grant.identity.id()) || alone && named(user),
        };
        if fits {
            fitting.push((grant, options));
        }
    }
    if fitting.len() > 1 {
        fitting.retain(|(grant, _)| grant.identity.id() == user);
        return fitting.pop().ok_or(CertificateRefusal::Ambiguous);
    }
    fitting.pop().ok_or(CertificateRefusal::Principals)
}

/// The options as they stood in the line.
fn authority_line(options: &str) -> String {
    if options.is_empty() { "cert-authority".to_owned() } else { format!("cert-authority,{options}") }
}

/// What both the authority's line and the certificate allow.
fn narrowed(mut uses: KeyOptions, certificate: &Certificate, addr: PeerAddr) -> Result<KeyOptions, CertificateRefusal> {
    for (name, value) in certificate.critical_options().iter() {
        match name.as_str() {
            "force-command" => match uses.command.replace(value.clone().into_bytes()) {
                Some(other) if other != value.as_bytes() => return Err(CertificateRefusal::Commands),
                _ => {}
            },
            "source-address" => {
                let list = AddressList::networks(value).map_err(|_| CertificateRefusal::CriticalOption)?;
                let PeerAddr::Ip(addr) = addr else { return Err(CertificateRefusal::Address) };
                if !list.lets_in(addr.ip()) {
                    return Err(CertificateRefusal::Address);
                }
            }
            _ => return Err(CertificateRefusal::CriticalOption),
        }
    }
    let permits = |name: &str| certificate.extensions().contains_key(name);
    uses.pty &= permits("permit-pty");
    uses.agent_forwarding &= permits("permit-agent-forwarding");
    uses.port_forwarding &= permits("permit-port-forwarding");
    Ok(uses)
}

#[cfg(test)]
mod tests;
