//! Auth tokens: a statement signed by a peer's Ed25519 key, good at one node for a while (`docs/spec/auth.md`).

use std::{fmt, str::FromStr, time::Duration};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};

use crate::{
    InvalidNodeKey, NodeKey, Scope, ScopeSet,
    limits::{DEFAULT_TOKEN_LIFETIME, MAX_TOKEN_TEXT_BYTES, TOKEN_CLOCK_SKEW},
};

const VERSION: u8 = 1;
const DOMAIN: &[u8] = b"alknet-auth-token-v1\0";
const FIXED_BYTES: usize = 1 + 32 + 32 + 16 + 8 + 4 + 2;
const SIGNATURE_BYTES: usize = 64;

/// The random name of a token, for revoking it; 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId(pub [u8; 16]);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenId({self})")
    }
}

impl FromStr for TokenId {
    type Err = TokenError;
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let bytes =
            HEXLOWER.decode(text.as_bytes()).map_err(|_| TokenError::Malformed("its id is not 32 hex digits"))?;
        bytes.try_into().map(Self).map_err(|_| TokenError::Malformed("its id is not 32 hex digits"))
    }
}

/// Why a token is not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    /// Not a token at all.
    #[error("malformed token: {0}")]
    Malformed(&'static str),
    /// Its key is unusable.
    #[error("malformed token: {0}")]
    Key(#[from] InvalidNodeKey),
    /// Signed by somebody else, or changed since.
    #[error("the token's signature does not verify")]
    Signature,
    /// Made for another node.
    #[error("the token is for another node")]
    Audience,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come: one of the two clocks is wrong.
    #[error("the token is from the future; check both clocks")]
    NotYetValid,
    /// It would live longer than this node allows.
    #[error("the token lives longer than the {} s allowed here", .0.as_secs())]
    TooLong(Duration),
}

/// What a verifying node allows.
#[derive(Debug, Clone, Copy)]
pub struct TokenBounds {
    /// Longest life of a token.
    pub max_lifetime: Duration,
    /// Clock difference that is forgiven.
    pub skew: Duration,
}

impl Default for TokenBounds {
    fn default() -> Self {
        Self { max_lifetime: DEFAULT_TOKEN_LIFETIME, skew: TOKEN_CLOCK_SKEW }
    }
}

/// A token that parsed. It proves nothing until [`Self::verify`].
#[derive(Clone, PartialEq, Eq)]
pub struct AuthToken {
    key: NodeKey,
    audience: NodeKey,
    id: TokenId,
    issued: u64,
    lifetime: u32,
    scopes: Option<ScopeSet>,
    signed: Vec<u8>,
    signature: [u8; SIGNATURE_BYTES],
}

impl AuthToken {
    /// Makes a token: `issued` in seconds since 1970, `lifetime` in seconds, empty `scopes` for all that the key may.
    /// `sign` signs with the key's secret.
    pub fn issue(
        key: NodeKey,
        audience: NodeKey,
        id: TokenId,
        issued: u64,
        lifetime: u32,
        scopes: &ScopeSet,
        sign: impl FnOnce(&[u8]) -> [u8; 64],
    ) -> Result<Self, TokenError> {
        let text = scopes.iter().map(Scope::as_str).collect::<Vec<_>>().join(" ");
        let count = u16::try_from(text.len()).map_err(|_| TokenError::Malformed("too many scopes"))?;
        let mut signed = DOMAIN.to_vec();
        signed.push(VERSION);
        signed.extend_from_slice(key.as_bytes());
        signed.extend_from_slice(audience.as_bytes());
        signed.extend_from_slice(&id.0);
        signed.extend_from_slice(&issued.to_be_bytes());
        signed.extend_from_slice(&lifetime.to_be_bytes());
        signed.extend_from_slice(&count.to_be_bytes());
        signed.extend_from_slice(text.as_bytes());
        let signature = sign(&signed);
        let scopes = (!scopes.is_empty()).then(|| scopes.clone());
        let token = Self { key, audience, id, issued, lifetime, scopes, signed, signature };
        if token.to_string().len() > MAX_TOKEN_TEXT_BYTES {
            return Err(TokenError::Malformed("too many scopes"));
        }
        Ok(token)
    }

    /// Checks signature, audience and dates against `now` (seconds since 1970).
    pub fn verify(self, audience: &NodeKey, now: u64, bounds: &TokenBounds) -> Result<VerifiedToken, TokenError> {
        if !self.key.verifies(&self.signed, &self.signature) {
            return Err(TokenError::Signature);
        }
        if self.audience != *audience {
            return Err(TokenError::Audience);
        }
        if u64::from(self.lifetime) > bounds.max_lifetime.as_secs() {
            return Err(TokenError::TooLong(bounds.max_lifetime));
        }
        let skew = bounds.skew.as_secs();
        if self.issued > now.saturating_add(skew) {
            return Err(TokenError::NotYetValid);
        }
        let expires = self.issued.saturating_add(self.lifetime.into());
        if expires.saturating_add(skew) <= now {
            return Err(TokenError::Expired);
        }
        let Self { key, id, issued, scopes, .. } = self;
        Ok(VerifiedToken { key, id, issued, expires, scopes })
    }

    fn decode(bytes: &[u8]) -> Result<Self, TokenError> {
        let short = TokenError::Malformed("it is truncated");
        let (body, signature) = bytes.split_last_chunk::<SIGNATURE_BYTES>().ok_or(short)?;
        if body.len() < FIXED_BYTES {
            return Err(TokenError::Malformed("it is truncated"));
        }
        let (fixed, scopes) = body.split_at(FIXED_BYTES);
        if fixed[0] != VERSION {
            return Err(TokenError::Malformed("its version is unknown"));
        }
        let field = |at: usize, to: usize| &fixed[at..to];
        let count = u16::from_be_bytes(array(field(93, 95)));
        if usize::from(count) != scopes.len() {
            return Err(TokenError::Malformed("its scopes are longer or shorter than announced"));
        }
        Ok(Self {
            key: NodeKey::from_bytes(array(field(1, 33)))?,
            audience: NodeKey::from_bytes(array(field(33, 65)))?,
            id: TokenId(array(field(65, 81))),
            issued: u64::from_be_bytes(array(field(81, 89))),
            lifetime: u32::from_be_bytes(array(field(89, 93))),
            scopes: parse_scopes(scopes)?,
            signed: [DOMAIN, body].concat(),
            signature: *signature,
        })
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("because each field above is cut to its array's length")
}

/// Sorted, distinct, joined by one space; nothing at all means "everything the key may".
fn parse_scopes(bytes: &[u8]) -> Result<Option<ScopeSet>, TokenError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| TokenError::Malformed("its scopes are not UTF-8"))?;
    let scopes = text.split(' ').map(str::parse::<Scope>).collect::<Result<Vec<_>, _>>();
    let scopes = scopes.map_err(|_| TokenError::Malformed("one of its scopes is not a scope"))?;
    if !scopes.is_sorted_by(|a, b| a < b) {
        return Err(TokenError::Malformed("its scopes are not sorted and distinct"));
    }
    Ok(Some(scopes.into_iter().collect()))
}

impl FromStr for AuthToken {
    type Err = TokenError;
    fn from_str(text: &str) -> Result<Self, TokenError> {
        if text.len() > MAX_TOKEN_TEXT_BYTES {
            return Err(TokenError::Malformed("it is too long"));
        }
        let bytes =
            BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| TokenError::Malformed("it is not base64url"))?;
        Self::decode(&bytes)
    }
}

impl fmt::Display for AuthToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.signed[DOMAIN.len()..], &self.signature].concat();
        f.write_str(&BASE64URL_NOPAD.encode(&bytes))
    }
}

impl fmt::Debug for AuthToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthToken({} by {})", self.id, self.key)
    }
}

/// A token whose signature, audience and dates held when it was checked.
#[derive(Debug, Clone)]
pub struct VerifiedToken {
    key: NodeKey,
    id: TokenId,
    issued: u64,
    expires: u64,
    scopes: Option<ScopeSet>,
}

impl VerifiedToken {
    /// The key that signed it.
    pub const fn key(&self) -> NodeKey {
        self.key
    }
    /// Its name.
    pub const fn id(&self) -> TokenId {
        self.id
    }
    /// When it was made, in seconds since 1970.
    pub const fn issued(&self) -> u64 {
        self.issued
    }
    /// When it ends, in seconds since 1970.
    pub const fn expires(&self) -> u64 {
        self.expires
    }
    /// The scopes that it keeps of its key's, or `None` for all of them.
    pub const fn scopes(&self) -> Option<&ScopeSet> {
        self.scopes.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn node(seed: u8) -> (SigningKey, NodeKey) {
        let secret = SigningKey::from_bytes(&[seed; 32]);
        let key = NodeKey::from_bytes(secret.verifying_key().to_bytes()).unwrap();
        (secret, key)
    }

    fn issue(issued: u64, lifetime: u32, scopes: &[&str]) -> AuthToken {
        let (secret, key) = node(1);
        let scopes = scopes.iter().map(|s| s.parse().unwrap()).collect();
        AuthToken::issue(key, node(2).1, TokenId([9; 16]), issued, lifetime, &scopes, |m| secret.sign(m).to_bytes())
            .unwrap()
    }

    fn verify(token: AuthToken, now: u64) -> Result<VerifiedToken, TokenError> {
        token.verify(&node(2).1, now, &TokenBounds::default())
    }

    #[test]
    fn a_token_round_trips_with_its_scopes() {
        let token = issue(NOW, 600, &["fs:read", "fs:list"]);
        let again: AuthToken = token.to_string().parse().unwrap();
        assert_eq!(again, token);
        let verified = verify(again, NOW).unwrap();
        assert_eq!((verified.key(), verified.expires()), (node(1).1, NOW + 600));
        let scopes = verified.scopes().unwrap();
        assert!(scopes.allows(&"fs:read".parse().unwrap()) && !scopes.allows(&"fs:write".parse().unwrap()));
        assert!(verify(issue(NOW, 600, &[]), NOW).unwrap().scopes().is_none());
    }

    #[test]
    fn dates_and_audience_are_checked() {
        // AUTH-07
        assert_eq!(verify(issue(NOW, 600, &[]), NOW + 659).map(|_| ()), Ok(()));
        assert_eq!(verify(issue(NOW, 600, &[]), NOW + 660).unwrap_err(), TokenError::Expired);
        assert_eq!(verify(issue(NOW, 600, &[]), NOW - 60).map(|_| ()), Ok(()));
        assert_eq!(verify(issue(NOW, 600, &[]), NOW - 61).unwrap_err(), TokenError::NotYetValid);
        assert_eq!(verify(issue(NOW, 600, &[]), 0).unwrap_err(), TokenError::NotYetValid, "a clock at 1970");
        assert_eq!(
            verify(issue(u64::MAX, u32::MAX, &[]), NOW).unwrap_err(),
            TokenError::TooLong(DEFAULT_TOKEN_LIFETIME)
        );
        assert_eq!(verify(issue(NOW, 86_401, &[]), NOW).unwrap_err(), TokenError::TooLong(DEFAULT_TOKEN_LIFETIME));
        let elsewhere = issue(NOW, 600, &[]).verify(&node(3).1, NOW, &TokenBounds::default());
        assert_eq!(elsewhere.unwrap_err(), TokenError::Audience);
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        // AUTH-07
        let good = BASE64URL_NOPAD.decode(issue(NOW, 600, &["fs:read"]).to_string().as_bytes()).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let outcome = AuthToken::decode(&bad).and_then(|token| verify(token, NOW));
            assert!(outcome.is_err(), "byte {at}");
        }
    }

    #[test]
    fn truncated_lying_and_multi_byte_tokens_are_refused() {
        // AUTH-06
        let good = issue(NOW, 600, &["fs:read"]).to_string();
        for end in 0..good.len() {
            assert!(good[..end].parse::<AuthToken>().is_err(), "cut at {end}");
        }
        for bad in ["ä", "AAAA====", "日本", &format!("{good}AAAA"), &"A".repeat(MAX_TOKEN_TEXT_BYTES + 1)] {
            assert!(bad.parse::<AuthToken>().is_err(), "{bad}");
        }
    }

    #[test]
    fn scopes_are_canonical_or_refused() {
        // AUTH-06
        for bad in ["fs:read fs:list", "fs:read fs:read", "fs:read ", " fs:read", "fs:list  fs:read", "fs"] {
            assert!(matches!(parse_scopes(bad.as_bytes()), Err(TokenError::Malformed(_))), "{bad:?}");
        }
        assert!(matches!(parse_scopes(&[0xff]), Err(TokenError::Malformed(_))));
    }
}
