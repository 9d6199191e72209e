//! Peers: the people and machines this node knows, each under a stable name, with its keys.

use alknet_core::{DialTarget, Fingerprint, HostPort, LOCAL_OWNER, NodeKey, OWNER_ROLE, PeerName, Permit, PermitError};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    clock::{Clock, stored},
    error::StoreError,
    events::outbox,
    grant::Grant,
    limits::{MAX_ADDRESSES_PER_PEER, MAX_AUTHORITIES_PER_PEER, MAX_KEYS_PER_PEER, MAX_PEERS},
    records::load_peer,
    roles::Roles,
    store::Store,
    writer::Touches,
};

const READ: &str = "peers:read";
const WRITE: &str = "peers:write";

/// The peers of a node.
#[derive(Clone)]
pub struct Peers {
    store: Store,
}

/// A peer as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRecord {
    /// Its stable name.
    pub name: PeerName,
    /// The name of its role.
    pub role: String,
    /// Its keys, in the order they were added; none belongs to another peer.
    pub keys: Vec<PeerKey>,
    /// The keys that sign SSH certificates for it, in the order they were added; others may trust them too.
    pub authorities: Vec<PeerKey>,
    /// Where to dial it, best first.
    pub addresses: Vec<HostPort>,
    /// When it was added, in seconds since 1970.
    pub created_at: u64,
}

/// A peer to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPeer {
    /// A name that no peer and no API key has.
    pub name: PeerName,
    /// The name of a role.
    pub role: String,
    /// Its keys. The first Ed25519 key without options is the one it must prove when it is dialled.
    pub keys: Vec<PeerKey>,
    /// The keys that sign SSH certificates for it.
    pub authorities: Vec<PeerKey>,
    /// Where to dial it, best first.
    pub addresses: Vec<HostPort>,
}

/// A key of a peer, or one that signs SSH certificates for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerKey {
    /// The key.
    pub fingerprint: Fingerprint,
    /// What SSH allows with it, as in an `authorized_keys` line. A key with options is one for SSH only.
    pub options: Option<String>,
}

impl From<Fingerprint> for PeerKey {
    fn from(fingerprint: Fingerprint) -> Self {
        Self { fingerprint, options: None }
    }
}

impl PeerRecord {
    /// The key of the node that this peer is: its first Ed25519 key that is not for SSH only.
    pub fn node_key(&self) -> Option<NodeKey> {
        self.keys.iter().filter(|key| key.options.is_none()).find_map(|key| key.fingerprint.node_key())
    }
}

/// Why the peers were not changed or shown.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// A peer or an API key has the name.
    #[error("the name `{0}` is taken")]
    NameTaken(PeerName),
    /// The name means the owner at the control socket.
    #[error("the name `{0}` is reserved")]
    Reserved(PeerName),
    /// A key belongs to one peer.
    #[error("the key {key} belongs to the peer `{peer}`")]
    KeyTaken {
        /// The key.
        key: Fingerprint,
        /// Who has it.
        peer: String,
    },
    /// The peer does not have the key.
    #[error("the peer `{peer}` has no key {key}")]
    NoSuchKey {
        /// The peer.
        peer: PeerName,
        /// The key.
        key: Fingerprint,
    },
    /// No role has that name.
    #[error("there is no role `{}`; there are {known}", .role.escape_debug())]
    UnknownRole {
        /// What was asked for.
        role: String,
        /// The names of all roles.
        known: String,
    },
    /// Its processes would run under the node's own user.
    #[error(
        "the role `{role}` starts processes, and under the node's own user these would have the owner's power: map `{peer}` to \
         another user in ssh.users first"
    )]
    NotMapped {
        /// The peer.
        peer: PeerName,
        /// The role.
        role: String,
    },
    /// No peer has that name.
    #[error("there is no peer `{0}`")]
    Unknown(PeerName),
    /// Owners are made, changed and removed by owners.
    #[error("only an owner may make, change or remove an owner (`{0}`)")]
    OwnersOnly(PeerName),
    /// A bound is reached.
    #[error("too many {what}: {most} are the most")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        most: usize,
    },
    /// The permit does not cover it, or was revoked.
    #[error(transparent)]
    Permit(#[from] PermitError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for PeerError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Peers {
    pub(crate) const fn new(store: Store) -> Self {
        Self { store }
    }

    /// Adds a peer. Needs `peers:write`, and an owner for another owner. Answers once it is on disk and in force.
    pub async fn add(&self, permit: &Permit, new: NewPeer) -> Result<PeerRecord, PeerError> {
        check_bounds(&new)?;
        let (directory, clock) = (self.store.directory(), self.store.clock().clone());
        self.store
            .mutate(permit, WRITE, Touches::Directory, move |sql, grant| {
                insert(sql, grant, new, &directory.roles(), &clock)
            })
            .await
    }

    /// Gives a peer more keys and authorities. One that it has already gets the options that are given now; where they are others, its
    /// sessions end. Needs `peers:write`.
    pub async fn add_keys(
        &self,
        permit: &Permit,
        name: &PeerName,
        keys: Vec<PeerKey>,
        authorities: Vec<PeerKey>,
    ) -> Result<PeerRecord, PeerError> {
        let (name, clock) = (name.clone(), self.store.clock().clone());
        self.store
            .mutate(permit, WRITE, Touches::Rights, move |sql, grant| {
                let before = changeable(sql, grant, &name)?;
                insert_keys(sql, &name, &before.keys, &keys)?;
                insert_authorities(sql, &name, &before.authorities, &authorities)?;
                let peer = changeable(sql, grant, &name)?;
                if peer != before {
                    tell(sql, "changed", &name, &clock)?;
                }
                Ok(peer)
            })
            .await
    }

    /// Takes keys or authorities from a peer and ends its sessions, for they may have begun with one of them. Needs `peers:write`.
    pub async fn remove_keys(
        &self,
        permit: &Permit,
        name: &PeerName,
        keys: Vec<Fingerprint>,
    ) -> Result<PeerRecord, PeerError> {
        let (name, clock) = (name.clone(), self.store.clock().clone());
        self.store
            .mutate(permit, WRITE, Touches::Rights, move |sql, grant| {
                let mut peer = changeable(sql, grant, &name)?;
                if !keys.is_empty() {
                    tell(sql, "changed", &name, &clock)?;
                }
                for key in keys {
                    let mut gone = 0;
                    for table in ["peer_keys", "peer_authorities"] {
                        let text = format!("DELETE FROM {table} WHERE peer = ?1 AND fingerprint = ?2");
                        gone += sql.prepare_cached(&text)?.execute(params![name.as_str(), key.as_str()])?;
                    }
                    if gone == 0 {
                        return Err(PeerError::NoSuchKey { peer: name, key });
                    }
                    peer.keys.retain(|kept| kept.fingerprint != key);
                    peer.authorities.retain(|kept| kept.fingerprint != key);
                }
                Ok(peer)
            })
            .await
    }

    /// Removes a peer and ends its sessions. Needs `peers:write`. Answers what it was.
    pub async fn remove(&self, permit: &Permit, name: &PeerName) -> Result<PeerRecord, PeerError> {
        let (name, clock) = (name.clone(), self.store.clock().clone());
        self.store
            .mutate(permit, WRITE, Touches::Rights, move |sql, grant| {
                let peer = changeable(sql, grant, &name)?;
                sql.prepare_cached("DELETE FROM identities WHERE name = ?1")?.execute([name.as_str()])?;
                tell(sql, "removed", &name, &clock)?;
                Ok(peer)
            })
            .await
    }

    /// All peers by name, from memory. Needs `peers:read`.
    pub fn list(&self, permit: &Permit) -> Result<Vec<PeerRecord>, PeerError> {
        permit.require(READ)?;
        Ok(self.store.directory().peers())
    }

    /// One peer, from memory. Needs `peers:read`.
    pub fn show(&self, permit: &Permit, name: &PeerName) -> Result<PeerRecord, PeerError> {
        permit.require(READ)?;
        self.store.directory().peer(name).ok_or_else(|| PeerError::Unknown(name.clone()))
    }

    /// Adds peers, all of them or none. Needs `peers:write`, and an owner for another owner.
    pub async fn add_all(&self, permit: &Permit, new: Vec<NewPeer>) -> Result<Vec<PeerRecord>, PeerError> {
        new.iter().try_for_each(check_bounds)?;
        let (directory, clock) = (self.store.directory(), self.store.clock().clone());
        self.store
            .mutate(permit, WRITE, Touches::Directory, move |sql, grant| {
                new.into_iter().map(|peer| insert(sql, grant, peer, &directory.roles(), &clock)).collect()
            })
            .await
    }

    /// As [`crate::Directory::dial_target`].
    pub fn dial_target(&self, name: &PeerName) -> Option<DialTarget> {
        self.store.directory().dial_target(name)
    }

    /// The role of a peer, from memory.
    pub fn role_of(&self, name: &PeerName) -> Option<String> {
        self.store.directory().peer(name).map(|peer| peer.role)
    }

    /// As [`crate::Directory::name_of`].
    pub fn name_of(&self, key: &Fingerprint) -> Option<PeerName> {
        self.store.directory().name_of(key)
    }
}

fn check_bounds(new: &NewPeer) -> Result<(), PeerError> {
    if new.name.as_str() == LOCAL_OWNER {
        return Err(PeerError::Reserved(new.name.clone()));
    }
    if new.addresses.len() > MAX_ADDRESSES_PER_PEER {
        return Err(PeerError::TooMany { what: "addresses for one peer", most: MAX_ADDRESSES_PER_PEER });
    }
    Ok(())
}

fn insert(
    sql: &Connection,
    grant: &Grant,
    new: NewPeer,
    roles: &Roles,
    clock: &Clock,
) -> Result<PeerRecord, PeerError> {
    let NewPeer { name, role, keys, authorities, addresses } = new;
    if roles.rights(&role).is_none() {
        let known = roles.names().collect::<Vec<_>>().join(", ");
        return Err(PeerError::UnknownRole { role, known });
    }
    if role == OWNER_ROLE && !grant.is_owner() {
        return Err(PeerError::OwnersOnly(name));
    }
    if !roles.suits(&role, name.as_str()) {
        return Err(PeerError::NotMapped { peer: name, role });
    }
    let peers: i64 = sql.prepare_cached("SELECT count(*) FROM peers")?.query_row([], |row| row.get(0))?;
    if usize::try_from(peers).is_ok_and(|peers| peers >= MAX_PEERS) {
        return Err(PeerError::TooMany { what: "peers", most: MAX_PEERS });
    }
    let created_at = clock.now();
    if !take_name(sql, &name, created_at)? {
        return Err(PeerError::NameTaken(name));
    }
    sql.prepare_cached("INSERT INTO peers (name, role) VALUES (?1, ?2)")?.execute([name.as_str(), &role])?;
    insert_keys(sql, &name, &[], &keys)?;
    insert_authorities(sql, &name, &[], &authorities)?;
    let mut statement =
        sql.prepare_cached("INSERT INTO peer_addresses (peer, position, address) VALUES (?1, ?2, ?3)")?;
    for (position, address) in addresses.iter().enumerate() {
        statement.execute(params![name.as_str(), position as i64, address.to_string()])?;
    }
    tell(sql, "added", &name, clock)?;
    load_peer(sql, &name)?.ok_or(PeerError::Unknown(name))
}

/// Publishes what happened to a peer, in the same transaction.
fn tell(sql: &Connection, change: &str, name: &PeerName, clock: &Clock) -> rusqlite::Result<()> {
    let payload = serde_json::json!({ "change": change, "name": name.as_str() }).to_string();
    outbox::publish_in(sql, &outbox::PEERS, name.as_str(), &payload, clock).map(|_| ())
}

/// Takes a name that nobody has; false when somebody has it.
pub(crate) fn take_name(sql: &Connection, name: &PeerName, created_at: u64) -> rusqlite::Result<bool> {
    let text = "INSERT INTO identities (name, created_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    Ok(sql.prepare_cached(text)?.execute(params![name.as_str(), stored(created_at)])? == 1)
}

/// The peer as it is within the transaction, if the caller may change it.
fn changeable(sql: &Connection, grant: &Grant, name: &PeerName) -> Result<PeerRecord, PeerError> {
    let peer = load_peer(sql, name)?.ok_or_else(|| PeerError::Unknown(name.clone()))?;
    if peer.role == OWNER_ROLE && !grant.is_owner() {
        return Err(PeerError::OwnersOnly(name.clone()));
    }
    Ok(peer)
}

/// Adds those keys that the peer does not have yet, and gives the others the options that stand with them now.
fn insert_keys(sql: &Connection, name: &PeerName, present: &[PeerKey], keys: &[PeerKey]) -> Result<(), PeerError> {
    let mut present: Vec<&Fingerprint> = present.iter().map(|key| &key.fingerprint).collect();
    let mut change = sql.prepare_cached("UPDATE peer_keys SET options = ?3 WHERE fingerprint = ?1 AND peer = ?2")?;
    let mut insert = sql.prepare_cached(
        "INSERT INTO peer_keys (fingerprint, peer, position, options)
         VALUES (?1, ?2, (SELECT coalesce(max(position), -1) + 1 FROM peer_keys WHERE peer = ?2), ?3)",
    )?;
    for PeerKey { fingerprint, options } in keys {
        let row = params![fingerprint.as_str(), name.as_str(), options];
        if present.contains(&fingerprint) {
            change.execute(row)?;
            continue;
        }
        if present.len() >= MAX_KEYS_PER_PEER {
            return Err(PeerError::TooMany { what: "keys for one peer", most: MAX_KEYS_PER_PEER });
        }
        if let Some(peer) = owner_of(sql, fingerprint)? {
            return Err(PeerError::KeyTaken { key: fingerprint.clone(), peer });
        }
        insert.execute(row)?;
        present.push(fingerprint);
    }
    Ok(())
}

/// The same for keys that sign certificates, which several peers may trust.
fn insert_authorities(
    sql: &Connection,
    name: &PeerName,
    present: &[PeerKey],
    keys: &[PeerKey],
) -> Result<(), PeerError> {
    let mut present: Vec<&Fingerprint> = present.iter().map(|key| &key.fingerprint).collect();
    let mut put = sql.prepare_cached(
        "INSERT INTO peer_authorities (fingerprint, peer, position, options)
         VALUES (?1, ?2, (SELECT coalesce(max(position), -1) + 1 FROM peer_authorities WHERE peer = ?2), ?3)
         ON CONFLICT (peer, fingerprint) DO UPDATE SET options = excluded.options",
    )?;
    for PeerKey { fingerprint, options } in keys {
        if !present.contains(&fingerprint) {
            if present.len() >= MAX_AUTHORITIES_PER_PEER {
                return Err(PeerError::TooMany { what: "authorities for one peer", most: MAX_AUTHORITIES_PER_PEER });
            }
            present.push(fingerprint);
        }
        put.execute(params![fingerprint.as_str(), name.as_str(), options.as_deref().unwrap_or_default()])?;
    }
    Ok(())
}

fn owner_of(sql: &Connection, key: &Fingerprint) -> rusqlite::Result<Option<String>> {
    let mut statement = sql.prepare_cached("SELECT peer FROM peer_keys WHERE fingerprint = ?1")?;
    statement.query_row([key.as_str()], |row| row.get(0)).optional()
}
