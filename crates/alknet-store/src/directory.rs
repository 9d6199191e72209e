//! Who a proven credential belongs to, from memory. Whoever changes rights swaps the whole, then ends what hung on the old ones.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use alknet_core::{
    ApiKeyDigest, Credential, DialTarget, Fingerprint, Identity, IdentityProvider, LOCAL_OWNER, OWNER_ROLE, PeerName,
    Sessions, SshGrant, Standing, TokenId, VerifiedToken,
};
use arc_swap::ArcSwap;

use crate::{
    api_keys::KeyRights,
    clock::Clock,
    ledger::Ledger,
    limits::LAST_USED_INTERVAL,
    peers::{PeerKey, PeerRecord},
    records::{Records, StoredApiKey},
    roles::{Rights, Role, Roles},
};

/// The answer to "who is that?". Never waits for the disk.
pub struct Directory {
    now: ArcSwap<Snapshot>,
    local_owner: Arc<Identity>,
    /// Held while the snapshot is replaced, so that no replacement overtakes another.
    source: Mutex<Source>,
    tokens: Mutex<LiveTokens>,
    sessions: Sessions,
    clock: Clock,
    ledger: Arc<Ledger>,
}

#[derive(Clone)]
struct Source {
    records: Arc<Records>,
    roles: Arc<Roles>,
    /// The node's own key: whoever has it has the keystore, and is the owner.
    own_key: Option<Fingerprint>,
}

/// Everything at one moment; never changed.
struct Snapshot {
    records: Arc<Records>,
    roles: Arc<Roles>,
    peers: HashMap<PeerName, Arc<Holder>>,
    own: Option<Arc<Holder>>,
    by_key: HashMap<Fingerprint, KeyEntry>,
    /// By the keys that sign SSH certificates: for whom.
    by_authority: HashMap<Fingerprint, Vec<KeyEntry>>,
    api_keys: HashMap<String, ApiKeyEntry>,
    denied_tokens: HashSet<TokenId>,
    denied_before: HashMap<Fingerprint, u64>,
}

/// Somebody, with the counter that ends the rights. Kept from snapshot to snapshot while nothing is taken away.
struct Holder {
    name: PeerName,
    rights: Rights,
    standing: Arc<AtomicU64>,
    identity: Arc<Identity>,
}

/// A key, and what SSH allows with it.
struct KeyEntry {
    holder: Arc<Holder>,
    options: Option<Arc<str>>,
}

#[derive(Clone)]
struct ApiKeyEntry {
    holder: Arc<Holder>,
    sha256: [u8; 32],
    expires_at: Option<u64>,
    /// When the last use was last handed to the ledger; 0 for never.
    noted_at: Arc<AtomicU64>,
}

/// Each token in use has a counter of its own, so that denying it ends what was begun with it and nothing else.
#[derive(Default)]
struct LiveTokens {
    standings: HashMap<TokenId, LiveToken>,
    prune_at: usize,
}

struct LiveToken {
    key: Fingerprint,
    issued: u64,
    peer: PeerName,
    standing: Arc<AtomicU64>,
}

/// What ended with a replacement.
#[derive(Default)]
struct Ended {
    identities: Vec<PeerName>,
    credentials: Vec<String>,
}

impl Directory {
    pub(crate) fn new(records: Records, roles: Roles, sessions: Sessions, clock: Clock, ledger: Arc<Ledger>) -> Self {
        let (records, roles) = (Arc::new(records), Arc::new(roles));
        let source = Source { records, roles, own_key: None };
        let now = ArcSwap::from_pointee(Snapshot::build(&source, None));
        let source = Mutex::new(source);
        let local_owner = Arc::new(Identity::owner(LOCAL_OWNER));
        Self { now, local_owner, source, tokens: Mutex::default(), sessions, clock, ledger }
    }

    /// The name of the peer that a key belongs to.
    pub fn name_of(&self, key: &Fingerprint) -> Option<PeerName> {
        self.now.load().by_key.get(key).map(|entry| entry.holder.name.clone())
    }

    /// Who acts under a name: a peer, an API key that has not ended, or the owner at the control socket.
    pub fn named(&self, name: &str) -> Option<Arc<Identity>> {
        if name == LOCAL_OWNER {
            return Some(self.local_owner.clone());
        }
        let (snapshot, now) = (self.now.load(), self.clock.now());
        let peer = name.parse().ok().and_then(|name: PeerName| snapshot.peers.get(&name));
        let key = || {
            let mut keys = snapshot.api_keys.values();
            let key = keys.find(|key| key.holder.name.as_str() == name && key.expires_at.is_none_or(|end| end > now));
            key.map(|key| &key.holder)
        };
        peer.or_else(key).map(|holder| holder.identity.clone())
    }

    /// Where a peer is reached, and the key it must prove: the first Ed25519 key without options that it was added with.
    pub fn dial_target(&self, name: &PeerName) -> Option<DialTarget> {
        let now = self.now.load();
        let peer = now.records.peers.get(name)?;
        Some(DialTarget { key: peer.node_key(), addresses: peer.addresses.clone() })
    }

    pub(crate) fn peer(&self, name: &PeerName) -> Option<PeerRecord> {
        self.now.load().records.peers.get(name).cloned()
    }
    pub(crate) fn peers(&self) -> Vec<PeerRecord> {
        self.now.load().records.peers.values().cloned().collect()
    }
    pub(crate) fn roles(&self) -> Arc<Roles> {
        self.now.load().roles.clone()
    }

    /// Takes over what was committed.
    pub(crate) fn replace(&self, records: Records) {
        let mut source = self.source();
        source.records = Arc::new(records);
        self.swap(&source);
    }

    /// Takes over other roles.
    pub(crate) fn set_roles(&self, roles: Roles) {
        let mut source = self.source();
        source.roles = Arc::new(roles);
        self.swap(&source);
    }

    /// Makes the bearer of the node's own key its owner: for tokens that the node signs, and for dialling itself.
    pub(crate) fn set_own_key(&self, key: Fingerprint) {
        let mut source = self.source();
        source.own_key = Some(key);
        self.swap(&source);
    }

    fn source(&self) -> MutexGuard<'_, Source> {
        // Each half is replaced in one step, so it is whole whoever panicked while holding it.
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn tokens(&self) -> MutexGuard<'_, LiveTokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// First nobody gets the old rights any more, then those who have them lose them, then what they do ends.
    fn swap(&self, source: &Source) {
        let before = self.now.load_full();
        let after = Arc::new(Snapshot::build(source, Some(&before)));
        self.now.store(after.clone());
        let mut ended = after.end_what_changed_since(&before);
        self.tokens().end(&after, &mut ended);
        for name in &ended.identities {
            self.sessions.cancel_identity(name.as_str());
        }
        for credential in &ended.credentials {
            self.sessions.cancel_credential(credential);
        }
    }

    fn of_token(&self, token: &VerifiedToken) -> Option<Arc<Identity>> {
        let key = Fingerprint::from(token.key());
        // The lock is taken before the snapshot: a denial that comes later finds this token among the live ones.
        let mut tokens = self.tokens();
        let now = self.now.load();
        let holder = now.holder_of(&key)?;
        if now.denies(token.id(), &key, token.issued()) {
            return None;
        }
        let standing = tokens.standing(token, key, &holder.name);
        let identity = Identity::clone(&holder.identity).with_standing(Standing::at_present(&standing));
        Some(Arc::new(match token.scopes() {
            Some(scopes) => identity.limited_to(scopes.clone()),
            None => identity,
        }))
    }

    fn of_api_key(&self, digest: &ApiKeyDigest) -> Option<Arc<Identity>> {
        let snapshot = self.now.load();
        let entry = snapshot.api_keys.get(digest.id())?;
        let now = self.clock.now();
        if !digest.matches(&entry.sha256) || entry.expires_at.is_some_and(|end| end <= now) {
            return None;
        }
        let noted = entry.noted_at.load(Ordering::Relaxed);
        let is_due = now.abs_diff(noted) >= LAST_USED_INTERVAL.as_secs();
        if is_due && entry.noted_at.compare_exchange(noted, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.ledger.used(digest.id(), now);
        }
        Some(entry.holder.identity.clone())
    }
}

impl IdentityProvider for Directory {
    fn identify(&self, credential: &Credential) -> Option<Arc<Identity>> {
        let of_key = |key: &Fingerprint| self.now.load().holder_of(key).map(|holder| holder.identity.clone());
        match credential {
            Credential::NodeKey(key) => of_key(&Fingerprint::from(*key)),
            Credential::SshKey(key) => of_key(key),
            Credential::AuthToken(token) => self.of_token(token),
            Credential::ApiKey(digest) => self.of_api_key(digest),
            Credential::LocalOwner => Some(self.local_owner.clone()),
            _ => None,
        }
    }
    fn ssh_key(&self, key: &Fingerprint) -> Option<SshGrant> {
        self.now.load().by_key.get(key).map(KeyEntry::grant)
    }
    fn ssh_authority(&self, key: &Fingerprint) -> Vec<SshGrant> {
        self.now.load().by_authority.get(key).into_iter().flatten().map(KeyEntry::grant).collect()
    }
    fn has_ssh_authorities(&self) -> bool {
        !self.now.load().by_authority.is_empty()
    }
}

impl KeyEntry {
    fn new(holder: &Arc<Holder>, key: &PeerKey) -> Self {
        Self { holder: holder.clone(), options: key.options.as_deref().map(Into::into) }
    }
    fn grant(&self) -> SshGrant {
        let options = self.options.clone().unwrap_or_else(|| "".into());
        SshGrant { identity: self.holder.identity.clone(), options }
    }
}

impl Snapshot {
    fn build(source: &Source, before: Option<&Self>) -> Self {
        let Source { records, roles, own_key } = source.clone();
        let mut new = Self {
            peers: HashMap::new(),
            own: None,
            by_key: HashMap::new(),
            by_authority: HashMap::new(),
            api_keys: HashMap::new(),
            denied_tokens: records.denied_tokens.iter().copied().collect(),
            denied_before: records.denied_before.iter().cloned().collect(),
            records: records.clone(),
            roles,
        };
        for peer in records.peers.values() {
            let old = before.and_then(|before| before.unreduced(peer));
            let holder = Holder::keep_or_make(old, &peer.name, new.known(&peer.role), new.rights(&peer.role));
            new.by_key.extend(peer.keys.iter().map(|key| (key.fingerprint.clone(), KeyEntry::new(&holder, key))));
            for key in &peer.authorities {
                new.by_authority.entry(key.fingerprint.clone()).or_default().push(KeyEntry::new(&holder, key));
            }
            new.peers.insert(peer.name.clone(), holder);
        }
        if let (Some(key), Ok(name)) = (own_key, LOCAL_OWNER.parse()) {
            let old = before.and_then(|before| before.own.as_ref());
            let holder = Holder::keep_or_make(old, &name, Some(OWNER_ROLE), Rights::Owner);
            new.by_key.insert(key, KeyEntry { holder: holder.clone(), options: None });
            new.own = Some(holder);
        }
        for key in &records.api_keys {
            let old = before.and_then(|before| before.api_keys.get(&key.id));
            let role = match &key.rights {
                KeyRights::Role(role) => new.known(role),
                KeyRights::Scopes(_) => None,
            };
            let entry = ApiKeyEntry::make(old, key, role, new.rights_of(&key.rights));
            new.api_keys.insert(key.id.clone(), entry);
        }
        new
    }

    /// Whose a key is on every door: not one for SSH only.
    fn holder_of(&self, key: &Fingerprint) -> Option<&Arc<Holder>> {
        self.by_key.get(key).filter(|entry| entry.options.is_none()).map(|entry| &entry.holder)
    }

    /// The holder of a peer from which no key was taken away since, and of whose keys none has other options.
    fn unreduced(&self, peer: &PeerRecord) -> Option<&Arc<Holder>> {
        let old = self.records.peers.get(&peer.name)?;
        let unreduced = old.created_at == peer.created_at
            && old.keys.iter().all(|key| peer.keys.contains(key))
            && old.authorities.iter().all(|key| peer.authorities.contains(key));
        if unreduced { self.peers.get(&peer.name) } else { None }
    }

    /// The role's name, if it is configured.
    fn known<'a>(&self, role: &'a str) -> Option<&'a str> {
        self.roles.rights(role).map(|_| role)
    }

    fn rights(&self, role: &str) -> Rights {
        self.roles.rights(role).unwrap_or_else(|| {
            tracing::warn!(role, "this role is not configured: whoever has it may do nothing");
            Rights::nothing()
        })
    }

    fn rights_of(&self, rights: &KeyRights) -> Rights {
        match rights {
            KeyRights::Role(role) => self.rights(role),
            KeyRights::Scopes(scopes) => Rights::Some(Role { scopes: scopes.clone(), ..Role::default() }),
        }
    }

    fn denies(&self, token: TokenId, key: &Fingerprint, issued: u64) -> bool {
        self.denied_tokens.contains(&token) || self.denied_before.get(key).is_some_and(|before| issued < *before)
    }

    /// Ends the standing of every holder of `before` that did not live on.
    fn end_what_changed_since(&self, before: &Self) -> Ended {
        let mut ended = Ended::default();
        for (name, old) in &before.peers {
            if !self.peers.get(name).is_some_and(|new| Arc::ptr_eq(new, old)) {
                ended.end(old);
            }
        }
        for (id, old) in &before.api_keys {
            if !self.api_keys.get(id).is_some_and(|new| Arc::ptr_eq(&new.holder, &old.holder)) {
                ended.end(&old.holder);
            }
        }
        ended
    }
}

impl Ended {
    fn end(&mut self, holder: &Holder) {
        holder.standing.fetch_add(1, Ordering::AcqRel);
        self.identities.push(holder.name.clone());
    }
}

impl Holder {
    fn keep_or_make(old: Option<&Arc<Self>>, name: &PeerName, role: Option<&str>, rights: Rights) -> Arc<Self> {
        match old {
            Some(old) if old.rights == rights && old.identity.role() == role => old.clone(),
            _ => {
                let standing = Arc::new(AtomicU64::new(0));
                let mut identity = match &rights {
                    Rights::Owner => Identity::owner(name.as_str()),
                    Rights::Some(role) => Identity::new(name.as_str(), role.scopes.clone(), role.resources.clone()),
                };
                if let Some(role) = role {
                    identity = identity.with_role(role);
                }
                let identity = Arc::new(identity.with_standing(Standing::at_present(&standing)));
                Arc::new(Self { name: name.clone(), rights, standing, identity })
            }
        }
    }
}

impl ApiKeyEntry {
    fn make(old: Option<&Self>, key: &StoredApiKey, role: Option<&str>, rights: Rights) -> Self {
        let noted = key.last_used_at.unwrap_or(0);
        Self {
            holder: Holder::keep_or_make(old.map(|old| &old.holder), &key.name, role, rights),
            sha256: key.sha256,
            expires_at: key.expires_at,
            noted_at: old.map_or_else(|| Arc::new(AtomicU64::new(noted)), |old| old.noted_at.clone()),
        }
    }
}

impl LiveTokens {
    /// Below so many there is no need to look for those that nobody uses any more.
    const PRUNE_FROM: usize = 64;

    /// The counter of a token; the same one while anything begun with the token lives.
    fn standing(&mut self, token: &VerifiedToken, key: Fingerprint, peer: &PeerName) -> Arc<AtomicU64> {
        if self.standings.len() >= self.prune_at.max(Self::PRUNE_FROM) {
            self.standings.retain(|_, live| Arc::strong_count(&live.standing) > 1);
            self.prune_at = 2 * self.standings.len();
        }
        let live = self.standings.entry(token.id()).or_insert_with(|| LiveToken {
            key,
            issued: token.issued(),
            peer: peer.clone(),
            standing: Arc::default(),
        });
        live.standing.clone()
    }

    /// Ends the tokens that are denied now, and those of identities that ended.
    fn end(&mut self, now: &Snapshot, ended: &mut Ended) {
        self.standings.retain(|id, live| {
            let denied = now.denies(*id, &live.key, live.issued);
            if denied {
                ended.credentials.push(format!("token:{id}"));
            }
            let over = denied || ended.identities.contains(&live.peer);
            if over {
                live.standing.fetch_add(1, Ordering::AcqRel);
            }
            !over
        });
    }
}
