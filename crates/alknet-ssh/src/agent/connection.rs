//! One client of the agent: a request is answered before the next is read.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::{
    sync::Mutex as TurnLock,
    time::{sleep, timeout},
};

use super::{
    bindings::{Bindings, Way},
    keyring::{Held, Keyring, LockError},
    question::{AskPermission, Client, question, shown},
    signed_data::SignedData,
    wire::{Reply, Request},
};
use crate::limits::PERMISSION_TIMEOUT;

/// What all connections of an agent share.
pub(super) struct Shared {
    pub(super) keyring: Mutex<Keyring>,
    pub(super) asker: Arc<dyn AskPermission>,
    /// One question at a time.
    pub(super) questions: TurnLock<()>,
    /// One guess at the passphrase at a time.
    pub(super) guesses: Arc<TurnLock<()>>,
}

impl Shared {
    pub(super) fn keyring(&self) -> MutexGuard<'_, Keyring> {
        self.keyring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of one connection.
pub(super) struct ClientConnection {
    shared: Arc<Shared>,
    client: Client,
    bindings: Bindings,
}

impl ClientConnection {
    pub(super) fn new(shared: Arc<Shared>, client: Client) -> Self {
        Self { shared, client, bindings: Bindings::default() }
    }

    /// Answers one message. Dropping the future withdraws a question that is being asked.
    pub(super) async fn answer(&mut self, message: &[u8]) -> Reply {
        let now = Instant::now();
        match Request::parse(message) {
            Ok(Request::List) => Reply::Keys(self.shared.keyring().list(now)),
            Ok(Request::Sign { key, data }) => self.sign(key, data).await,
            Ok(Request::Add) => self.refused("a key is offered: this agent holds the keys of its vault and no others"),
            Ok(Request::Remove { key }) => done(self.shared.keyring().remove(key, now)),
            Ok(Request::RemoveAll) => done(self.shared.keyring().remove_all()),
            Ok(Request::Lock { passphrase }) => {
                let outcome = self.shared.keyring().lock(passphrase);
                self.locked(outcome)
            }
            Ok(Request::Unlock { passphrase }) => {
                let turn = self.shared.guesses.clone().lock_owned().await;
                let outcome = self.shared.keyring().unlock(passphrase);
                if let Err(LockError::Wrong { delay }) = outcome {
                    // In a task of its own: who hangs up at once does not get around the wait.
                    let waiting = tokio::spawn(async move {
                        sleep(delay).await;
                        drop(turn);
                    });
                    let _it_only_waits = waiting.await;
                }
                self.locked(outcome)
            }
            Ok(Request::Bind(bind)) => match self.bindings.bind(&bind) {
                Ok(()) => Reply::Success,
                Err(error) => {
                    tracing::warn!(client = %self.client.name, pid = self.client.pid, %error, "ssh-agent: session not bound");
                    Reply::ExtensionFailure
                }
            },
            Ok(Request::UnknownExtension) => Reply::ExtensionFailure,
            Ok(Request::Unknown) => self.refused("a request of an unknown type"),
            Err(error) => self.refused(&error.to_string()),
        }
    }

    async fn sign(&self, blob: &[u8], data: &[u8]) -> Reply {
        let Some(key) = self.shared.keyring().find(blob, Instant::now()) else {
            return Reply::Failure;
        };
        let meaning = SignedData::of(data);
        if let Err(error) = meaning.suits(key.purpose, &key.blob) {
            return self.refused(&format!("{} signs not: {error}", key.comment));
        }
        let way = match &meaning {
            SignedData::Login { session, .. } => self.bindings.way(session),
            _ => self.bindings.way(&[]),
        };
        if matches!((&meaning, &way), (SignedData::Login { .. }, Way::OtherSession)) {
            return self.refused("a login in another session than the one its connection is bound to");
        }
        if key.confirm && !self.is_permitted(&key, &meaning, &way).await {
            return self.refused(&format!("{} signs not: nobody said yes", key.comment));
        }
        // Asking took time: the key may be gone, or locked.
        let signer = self.shared.keyring().signer(blob, Instant::now());
        let Some(signer) = signer else { return Reply::Failure };
        let what = match &meaning {
            SignedData::Login { user, .. } => format!("login as {}", shown(user)),
            SignedData::Statement { namespace } => format!("signature for {}", shown(namespace)),
            SignedData::Other(_) => "unknown".to_owned(),
        };
        tracing::info!(client = %self.client.name, pid = self.client.pid, key = %key.comment, %what, "ssh-agent: signed");
        Reply::Signature(signer.sign(key.purpose, data))
    }

    async fn is_permitted(&self, key: &Held, data: &SignedData<'_>, way: &Way<'_>) -> bool {
        let question = question(&key.comment, &key.fingerprint, &self.client, data, way);
        let asked = async {
            let _one_at_a_time = self.shared.questions.lock().await;
            timeout(PERMISSION_TIMEOUT, self.shared.asker.ask(question)).await.unwrap_or(false)
        };
        asked.await
    }

    fn locked(&self, outcome: Result<(), LockError>) -> Reply {
        outcome.map_or_else(|error| self.refused(&error.to_string()), |()| Reply::Success)
    }

    fn refused(&self, why: &str) -> Reply {
        tracing::warn!(client = %self.client.name, pid = self.client.pid, "ssh-agent: refused: {why}");
        Reply::Failure
    }
}

fn done(done: bool) -> Reply {
    if done { Reply::Success } else { Reply::Failure }
}
