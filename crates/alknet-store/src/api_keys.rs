//! API keys: for programs that have no key pair. Only a digest is stored; each is an identity of its own.

use alknet_core::{ApiKey, LOCAL_OWNER, OWNER_ROLE, PeerName, Permit, PermitError, ScopeSet};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    clock::{Clock, stored},
    error::StoreError,
    grant::Grant,
    limits::MAX_API_KEYS,
    peers::take_name,
    records::{StoredApiKey, load_api_keys, scopes_text},
    roles::{RoleError, Roles, refuse_owners_scopes},
    store::Store,
    writer::Touches,
};

const READ: &str = "keys:read";
const WRITE: &str = "keys:write";

/// The API keys of a node.
#[derive(Clone)]
pub struct ApiKeys {
    store: Store,
}

/// What an API key may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRights {
    /// What this role may.
    Role(String),
    /// These kinds of action, and no named resources.
    Scopes(ScopeSet),
}

/// An API key to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApiKey {
    /// A name that no peer and no API key has: the identity it acts as.
    pub name: PeerName,
    /// What it may do.
    pub rights: KeyRights,
    /// When it ends, in seconds since 1970; never if absent.
    pub expires_at: Option<u64>,
}

/// An API key as it is kept: without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyRecord {
    /// The eight characters that name it.
    pub id: String,
    /// The identity it acts as.
    pub name: PeerName,
    /// What it may do.
    pub rights: KeyRights,
    /// When it was made, in seconds since 1970.
    pub created_at: u64,
    /// When it ends, in seconds since 1970; never if absent.
    pub expires_at: Option<u64>,
    /// When it was last used, to the minute, in seconds since 1970.
    pub last_used_at: Option<u64>,
}

/// Why the API keys were not changed or shown.
#[derive(Debug, thiserror::Error)]
pub enum ApiKeyError {
    /// A peer or an API key has the name.
    #[error("the name `{0}` is taken")]
    NameTaken(PeerName),
    /// The name means the owner at the control socket.
    #[error("the name `{0}` is reserved")]
    Reserved(PeerName),
    /// No role has that name.
    #[error("there is no role `{}`; there are {known}", .role.escape_debug())]
    UnknownRole {
        /// What was asked for.
        role: String,
        /// The names of all roles.
        known: String,
    },
    /// Its scopes are an owner's.
    #[error(transparent)]
    Scopes(#[from] RoleError),
    /// It would have rights that its maker lacks.
    #[error("nobody hands out rights without holding them: {0}")]
    Beyond(String),
    /// It would be over before it began.
    #[error("its end is in the past; this node's clock says {now} s since 1970")]
    Expired {
        /// The present.
        now: u64,
    },
    /// No API key has that id.
    #[error("there is no API key `{}`", .0.escape_debug())]
    Unknown(String),
    /// A bound is reached.
    #[error("too many API keys: {MAX_API_KEYS} are the most")]
    TooMany,
    /// The operating system gave no random bytes.
    #[error("the operating system gives no random bytes")]
    NoRandomness,
    /// The permit does not cover it, or was revoked.
    #[error(transparent)]
    Permit(#[from] PermitError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for ApiKeyError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<StoredApiKey> for ApiKeyRecord {
    fn from(key: StoredApiKey) -> Self {
        let StoredApiKey { id, name, rights, created_at, expires_at, last_used_at, .. } = key;
        Self { id, name, rights, created_at, expires_at, last_used_at }
    }
}

impl ApiKeys {
    pub(crate) const fn new(store: Store) -> Self {
        Self { store }
    }

    /// Makes an API key; the answer is the only time its secret is seen. Needs `keys:write`, and the rights that the key gets.
    pub async fn create(&self, permit: &Permit, new: NewApiKey) -> Result<(ApiKey, ApiKeyRecord), ApiKeyError> {
        if new.name.as_str() == LOCAL_OWNER {
            return Err(ApiKeyError::Reserved(new.name));
        }
        let mut random = [0; 37];
        getrandom::fill(&mut random).map_err(|_| ApiKeyError::NoRandomness)?;
        let key = ApiKey::from_random(&random);
        let digest = key.digest();
        let (directory, clock) = (self.store.directory(), self.store.clock().clone());
        let record = self
            .store
            .mutate(permit, WRITE, Touches::Directory, move |sql, grant| {
                check_rights(grant, &new, &directory.roles())?;
                insert(sql, new, digest.id(), digest.sha256(), &clock)
            })
            .await?;
        Ok((key, record))
    }

    /// All API keys by name. Needs `keys:read`.
    pub async fn list(&self, permit: &Permit) -> Result<Vec<ApiKeyRecord>, ApiKeyError> {
        let grant = Grant::of(permit, READ)?;
        self.store
            .readers()
            .read(move |sql| {
                let keys = load_api_keys(sql)?;
                grant.check()?;
                Ok(keys.into_iter().map(ApiKeyRecord::from).collect())
            })
            .await
    }

    /// Ends an API key, and what is being done with it. Needs `keys:write`. Answers the name it had.
    pub async fn revoke(&self, permit: &Permit, id: &str) -> Result<String, ApiKeyError> {
        let id = id.to_owned();
        self.store
            .mutate(permit, WRITE, Touches::Rights, move |sql, _| {
                let name: Option<String> = sql
                    .prepare_cached("SELECT name FROM api_keys WHERE id = ?1")?
                    .query_row([&id], |row| row.get(0))
                    .optional()?;
                let name = name.ok_or_else(|| ApiKeyError::Unknown(id.chars().take(64).collect()))?;
                sql.prepare_cached("DELETE FROM identities WHERE name = ?1")?.execute([&name])?;
                Ok(name)
            })
            .await
    }
}

fn check_rights(grant: &Grant, new: &NewApiKey, roles: &Roles) -> Result<(), ApiKeyError> {
    match &new.rights {
        KeyRights::Role(role) if roles.rights(role).is_none() => {
            let known = roles.names().collect::<Vec<_>>().join(", ");
            Err(ApiKeyError::UnknownRole { role: role.clone(), known })
        }
        KeyRights::Role(role) if role == OWNER_ROLE && !grant.is_owner() => Err(ApiKeyError::Beyond(role.clone())),
        KeyRights::Role(_) => Ok(()),
        KeyRights::Scopes(scopes) => {
            refuse_owners_scopes(new.name.as_str(), scopes)?;
            match scopes.iter().find(|scope| !grant.holds(scope)) {
                Some(scope) => Err(ApiKeyError::Beyond(scope.to_string())),
                None => Ok(()),
            }
        }
    }
}

fn insert(
    sql: &Connection,
    new: NewApiKey,
    id: &str,
    sha256: &[u8; 32],
    clock: &Clock,
) -> Result<ApiKeyRecord, ApiKeyError> {
    let NewApiKey { name, rights, expires_at } = new;
    let created_at = clock.now();
    if expires_at.is_some_and(|end| end <= created_at) {
        return Err(ApiKeyError::Expired { now: created_at });
    }
    let keys: i64 = sql.prepare_cached("SELECT count(*) FROM api_keys")?.query_row([], |row| row.get(0))?;
    if usize::try_from(keys).is_ok_and(|keys| keys >= MAX_API_KEYS) {
        return Err(ApiKeyError::TooMany);
    }
    if !take_name(sql, &name, created_at)? {
        return Err(ApiKeyError::NameTaken(name));
    }
    let (role, scopes) = match &rights {
        KeyRights::Role(role) => (Some(role), None),
        KeyRights::Scopes(scopes) => (None, Some(scopes_text(scopes))),
    };
    sql.prepare_cached(
        "INSERT INTO api_keys (id, name, sha256, role, scopes, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![id, name.as_str(), sha256, role, scopes, expires_at.map(stored)])?;
    Ok(ApiKeyRecord { id: id.to_owned(), name, rights, created_at, expires_at, last_used_at: None })
}
