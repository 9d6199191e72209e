//! Subsystems: what else than processes a session channel can be joined to (RFC 4254, 6.5).

use std::{collections::BTreeMap, io, sync::Arc};

use alknet_core::{BoxFuture, Caller, Permit, Scope};
use tokio::io::DuplexStream;

use crate::limits::MAX_SUBSYSTEM_NAME_BYTES;

/// Something that speaks a protocol of its own on a session channel, in this process, under the rights of whoever opened it.
pub trait Subsystem: Send + Sync + 'static {
    /// What somebody must hold to open it. It is audited as `ssh/NAME`.
    fn scope(&self) -> Scope;

    /// Serves one channel. When it is done the client is told that it succeeded or not. It is dropped when the channel or the connection
    /// ends, and when the rights of its caller are taken away.
    fn serve(&self, caller: Caller, permit: Permit, stream: DuplexStream) -> Served;
}

/// A channel that is being served.
pub type Served = BoxFuture<'static, io::Result<()>>;

/// The subsystems of a server, by the names that clients ask for.
#[derive(Clone, Default)]
pub struct Subsystems(BTreeMap<String, Arc<dyn Subsystem>>);

/// Why a subsystem was not added.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SubsystemError {
    /// Nobody could ask for it, or it could not be audited.
    #[error("`{}` cannot name a subsystem: write 1 to {MAX_SUBSYSTEM_NAME_BYTES} of a-z 0-9 -", .0.escape_debug())]
    Name(String),
    /// There is one of that name.
    #[error("there is a subsystem `{0}` already")]
    Taken(String),
}

impl Subsystems {
    /// Adds one under a name.
    pub fn with(mut self, name: &str, subsystem: Arc<dyn Subsystem>) -> Result<Self, SubsystemError> {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if name.is_empty() || name.len() > MAX_SUBSYSTEM_NAME_BYTES || !name.bytes().all(good) {
            return Err(SubsystemError::Name(name.chars().take(MAX_SUBSYSTEM_NAME_BYTES).collect()));
        }
        if self.0.contains_key(name) {
            return Err(SubsystemError::Taken(name.to_owned()));
        }
        self.0.insert(name.to_owned(), subsystem);
        Ok(self)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<dyn Subsystem>> {
        self.0.get(name)
    }
}
