//! Everything that decides who somebody is, as it stands in the database.

use std::{collections::BTreeMap, str::FromStr};

use alknet_core::{Fingerprint, HostPort, PeerName, Scope, ScopeSet, TokenId};
use rusqlite::{Connection, OptionalExtension, Row, types::Type};

use crate::{
    api_keys::KeyRights,
    clock::loaded,
    peers::{PeerKey, PeerRecord},
};

/// Peers, API keys and denials. Read whole: there are few, and a whole cannot be half up to date.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub peers: BTreeMap<PeerName, PeerRecord>,
    pub api_keys: Vec<StoredApiKey>,
    pub denied_tokens: Vec<TokenId>,
    /// Tokens of the key that were issued before the time are denied.
    pub denied_before: Vec<(Fingerprint, u64)>,
}

#[derive(Debug, Clone)]
pub(crate) struct StoredApiKey {
    pub id: String,
    pub name: PeerName,
    pub sha256: [u8; 32],
    pub rights: KeyRights,
    pub created_at: u64,
    pub expires_at: Option<u64>,
    pub last_used_at: Option<u64>,
}

impl Records {
    pub fn load(sql: &Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            peers: load_peers(sql)?,
            api_keys: load_api_keys(sql)?,
            denied_tokens: load_each(sql, "SELECT id FROM token_denials", |row| parsed(row, 0))?,
            denied_before: load_each(sql, "SELECT key, issued_before FROM key_denials", |row| {
                Ok((parsed(row, 0)?, loaded(row.get(1)?)))
            })?,
        })
    }
}

const KEYS: &str = "SELECT peer, fingerprint, options FROM peer_keys";
const AUTHORITIES: &str = "SELECT peer, fingerprint, nullif(options, '') FROM peer_authorities";
const PEERS: &str = "SELECT name, role, created_at FROM peers JOIN identities USING (name)";

fn load_peers(sql: &Connection) -> rusqlite::Result<BTreeMap<PeerName, PeerRecord>> {
    let peers = load_each(sql, PEERS, peer_of)?;
    let mut peers: BTreeMap<_, _> = peers.into_iter().map(|peer| (peer.name.clone(), peer)).collect();
    // The schema's foreign keys say that the peer is there.
    for (name, key) in load_each(sql, &format!("{KEYS} ORDER BY peer, position"), owned_key_of)? {
        peers.entry(name).and_modify(|peer| peer.keys.push(key));
    }
    for (name, key) in load_each(sql, &format!("{AUTHORITIES} ORDER BY peer, position"), owned_key_of)? {
        peers.entry(name).and_modify(|peer| peer.authorities.push(key));
    }
    let addresses = load_each(sql, "SELECT peer, address FROM peer_addresses ORDER BY peer, position", |row| {
        Ok((parsed::<PeerName>(row, 0)?, parsed::<HostPort>(row, 1)?))
    })?;
    for (name, address) in addresses {
        peers.entry(name).and_modify(|peer| peer.addresses.push(address));
    }
    Ok(peers)
}

/// One peer, as it stands in the transaction.
pub(crate) fn load_peer(sql: &Connection, name: &PeerName) -> rusqlite::Result<Option<PeerRecord>> {
    let mut statement = sql.prepare_cached(&format!("{PEERS} WHERE name = ?1"))?;
    let Some(mut peer) = statement.query_row([name.as_str()], peer_of).optional()? else { return Ok(None) };
    let mut keys = sql.prepare_cached(&format!("{KEYS} WHERE peer = ?1 ORDER BY position"))?;
    peer.keys = keys.query_map([name.as_str()], key_of)?.collect::<Result<_, _>>()?;
    let mut authorities = sql.prepare_cached(&format!("{AUTHORITIES} WHERE peer = ?1 ORDER BY position"))?;
    peer.authorities = authorities.query_map([name.as_str()], key_of)?.collect::<Result<_, _>>()?;
    let mut addresses = sql.prepare_cached("SELECT address FROM peer_addresses WHERE peer = ?1 ORDER BY position")?;
    peer.addresses = addresses.query_map([name.as_str()], |row| parsed(row, 0))?.collect::<Result<_, _>>()?;
    Ok(Some(peer))
}

fn peer_of(row: &Row<'_>) -> rusqlite::Result<PeerRecord> {
    let (name, role, created_at) = (parsed(row, 0)?, row.get(1)?, loaded(row.get(2)?));
    Ok(PeerRecord { name, role, keys: Vec::new(), authorities: Vec::new(), addresses: Vec::new(), created_at })
}

fn key_of(row: &Row<'_>) -> rusqlite::Result<PeerKey> {
    Ok(PeerKey { fingerprint: parsed(row, 1)?, options: row.get(2)? })
}

fn owned_key_of(row: &Row<'_>) -> rusqlite::Result<(PeerName, PeerKey)> {
    Ok((parsed(row, 0)?, key_of(row)?))
}

pub(crate) fn load_api_keys(sql: &Connection) -> rusqlite::Result<Vec<StoredApiKey>> {
    let text = "SELECT id, name, sha256, role, scopes, created_at, expires_at, last_used_at
                FROM api_keys JOIN identities USING (name) ORDER BY name";
    load_each(sql, text, |row| {
        let role: Option<String> = row.get(3)?;
        let rights = match role {
            Some(role) => KeyRights::Role(role),
            None => KeyRights::Scopes(scopes_of(row, 4)?),
        };
        Ok(StoredApiKey {
            id: row.get(0)?,
            name: parsed(row, 1)?,
            sha256: row.get(2)?,
            rights,
            created_at: loaded(row.get(5)?),
            expires_at: row.get::<_, Option<i64>>(6)?.map(loaded),
            last_used_at: row.get::<_, Option<i64>>(7)?.map(loaded),
        })
    })
}

pub(crate) fn load_each<T>(
    sql: &Connection,
    text: &str,
    row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    sql.prepare_cached(text)?.query_map([], row)?.collect()
}

/// A column whose text is some value's text form.
pub(crate) fn parsed<T>(row: &Row<'_>, at: usize) -> rusqlite::Result<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text: String = row.get(at)?;
    text.parse().map_err(|error| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, Box::new(error)))
}

/// Scopes as one text.
pub(crate) fn scopes_text(scopes: &ScopeSet) -> String {
    scopes.iter().map(Scope::as_str).collect::<Vec<_>>().join(" ")
}

/// The way back.
pub(crate) fn scopes_of(row: &Row<'_>, at: usize) -> rusqlite::Result<ScopeSet> {
    let text: String = row.get(at)?;
    let scopes: Result<ScopeSet, _> = text.split_whitespace().map(str::parse::<Scope>).collect();
    scopes.map_err(|error| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, Box::new(error)))
}
