//! Keys that are not accepted any more, from a file that is watched: read when it has changed, at each login and every few seconds.

use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use russh::keys::{Certificate, HashAlg, PublicKey};
use sha1::{Digest, Sha1};
use tokio::{runtime::Handle, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    krl::{AskedKey, BadRevocationList, RevocationList},
    limits::{MAX_KEY_LINE_BYTES, MAX_REVOCATION_FILE_BYTES, REVOCATION_TICK},
};

/// What was proven at a login, as a revocation list is asked about it.
#[derive(Debug, Clone)]
pub(crate) struct Proof {
    key: AskedKey,
    certificate: Option<CertificateProof>,
}

#[derive(Debug, Clone)]
struct CertificateProof {
    authority: AskedKey,
    serial: u64,
    key_id: String,
}

impl Proof {
    pub(crate) fn of_key(key: &PublicKey) -> Option<Self> {
        Some(Self { key: asked(key)?, certificate: None })
    }
    pub(crate) fn of_certificate(certificate: &Certificate) -> Option<Self> {
        let authority = asked(&certificate.signature_key().clone().into())?;
        let (serial, key_id) = (certificate.serial(), certificate.key_id().to_owned());
        let key = asked(&certificate.public_key().clone().into())?;
        Some(Self { key, certificate: Some(CertificateProof { authority, serial, key_id }) })
    }
    fn is_in(&self, list: &RevocationList) -> bool {
        list.has_key(&self.key)
            || self.certificate.as_ref().is_some_and(|CertificateProof { authority, serial, key_id }| {
                list.has_key(authority) || list.has_certificate(authority, *serial, key_id)
            })
    }
}

fn asked(key: &PublicKey) -> Option<AskedKey> {
    let blob = key.to_bytes().ok()?;
    let sha256 = key.fingerprint(HashAlg::Sha256).as_bytes().try_into().ok()?;
    Some(AskedKey { sha1: Sha1::digest(&blob).into(), sha256, blob })
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
enum UnusableFile {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("it is no ordinary file")]
    NotAFile,
    #[error("it has more than {MAX_REVOCATION_FILE_BYTES} bytes")]
    TooLarge,
    #[error(transparent)]
    List(#[from] BadRevocationList),
    #[error("line {0} of it is no public key")]
    Line(usize),
}

/// The file as it was when it was read last: which, how long, and changed when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

#[derive(Default)]
struct State {
    path: Option<PathBuf>,
    seen: Option<Seen>,
    /// `None` while there is a path whose file cannot be used: then every key is refused.
    list: Option<Arc<RevocationList>>,
    live: Vec<(u64, Proof, CancellationToken)>,
}

/// The revocation list in force, and the sessions that it may end.
#[derive(Default)]
pub(crate) struct Revocations {
    state: Mutex<State>,
    next: AtomicU64,
    watched: OnceLock<()>,
}

impl Revocations {
    /// Takes the list from `path`, or none; reads it now, and ends the sessions of keys that are in it.
    pub(crate) fn set_path(&self, path: Option<PathBuf>) {
        let mut state = self.state();
        (state.path, state.seen, state.list) = (path, None, None);
        state.refresh(true);
        state.end_revoked();
    }

    /// Whether this may log in now.
    pub(crate) fn allow(&self, proof: &Proof) -> bool {
        let mut state = self.state();
        if state.refresh(false) {
            state.end_revoked();
        }
        state.allow(proof)
    }

    /// Enters a session, which ends once what it was begun with is revoked. Call it within the runtime.
    pub(crate) fn enter(self: &Arc<Self>, proof: Proof, token: CancellationToken) -> Watched {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        if !state.allow(&proof) {
            token.cancel();
        }
        state.live.push((id, proof, token));
        drop(state);
        self.watched.get_or_init(|| {
            Handle::current().spawn(watch(Arc::downgrade(self)));
        });
        Watched { revocations: self.clone(), id }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each part is replaced in one step, whoever panicked while holding it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's entry.
pub(crate) struct Watched {
    revocations: Arc<Revocations>,
    id: u64,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.revocations.state().live.retain(|(id, ..)| *id != self.id);
    }
}

/// Looks at the file every few seconds, as long as the server is there.
async fn watch(revocations: Weak<Revocations>) {
    loop {
        sleep(REVOCATION_TICK).await;
        let Some(revocations) = revocations.upgrade() else { return };
        let mut state = revocations.state();
        if state.refresh(false) {
            state.end_revoked();
        }
    }
}

impl State {
    fn allow(&self, proof: &Proof) -> bool {
        match (&self.path, &self.list) {
            (None, _) => true,
            (Some(_), Some(list)) => !proof.is_in(list),
            (Some(_), None) => false,
        }
    }

    /// Reads the file if it is not the one that was read last, or in any case; answers whether it was.
    fn refresh(&mut self, anyway: bool) -> bool {
        let Some(path) = &self.path else { return false };
        let seen = fs::metadata(path).ok().map(|facts| Seen::of(&facts));
        let is_same =
            seen.is_some() && seen == self.seen || seen.is_none() && self.seen.is_none() && self.list.is_none();
        if is_same && !anyway {
            return false;
        }
        match read(path) {
            Ok((list, seen)) => {
                tracing::info!(path = %path.display(), "the list of revoked keys was read");
                (self.list, self.seen) = (Some(Arc::new(list)), Some(seen));
            }
            Err(error) => {
                let path = path.display();
                tracing::error!(%path, %error, "the list of revoked keys cannot be used: NOBODY LOGS IN BY A KEY until it can");
                (self.list, self.seen) = (None, seen);
            }
        }
        true
    }

    /// Ends the sessions of what is revoked now. A file that cannot be read revokes nothing that is there.
    fn end_revoked(&self) {
        let Some(list) = self.list.as_ref().filter(|_| self.path.is_some()) else { return };
        for (_, _, token) in self.live.iter().filter(|(_, proof, _)| proof.is_in(list)) {
            token.cancel();
        }
    }
}

impl Seen {
    fn of(facts: &fs::Metadata) -> Self {
        Self {
            device: facts.dev(),
            inode: facts.ino(),
            bytes: facts.size(),
            modified: (facts.mtime(), facts.mtime_nsec()),
            changed: (facts.ctime(), facts.ctime_nsec()),
        }
    }
}

fn read(path: &Path) -> Result<(RevocationList, Seen), UnusableFile> {
    // Looked at before it is opened: opening a pipe would wait.
    if !fs::metadata(path)?.is_file() {
        return Err(UnusableFile::NotAFile);
    }
    let file = File::open(path)?;
    let seen = Seen::of(&file.metadata()?);
    let mut bytes = Vec::new();
    file.take(MAX_REVOCATION_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_REVOCATION_FILE_BYTES {
        return Err(UnusableFile::TooLarge);
    }
    Ok((parse(&bytes)?, seen))
}

/// A list in OpenSSH's binary format, or a text of public keys (sshd_config(5), RevokedKeys).
fn parse(bytes: &[u8]) -> Result<RevocationList, UnusableFile> {
    if RevocationList::is_one(bytes) {
        return Ok(RevocationList::parse(bytes)?);
    }
    let mut list = RevocationList::default();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        // DSA keys are never accepted.
        if !line.is_empty() && !line.starts_with(b"#") && !line.starts_with(b"ssh-dss ") {
            list.revoke_key(blob_of(line).ok_or(UnusableFile::Line(index + 1))?);
        }
    }
    Ok(list)
}

/// The wire form of the key of a line: its type, base64, and whatever follows. A certificate stands for its key.
fn blob_of(line: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(line).ok().filter(|text| text.len() <= MAX_KEY_LINE_BYTES)?;
    let mut words = text.split_ascii_whitespace();
    let line = format!("{} {}", words.next()?, words.next()?);
    if let Ok(certificate) = Certificate::from_openssh(&line) {
        return PublicKey::from(certificate.public_key().clone()).to_bytes().ok();
    }
    PublicKey::from_openssh(&line).ok()?.to_bytes().ok()
}

#[cfg(test)]
mod tests;
