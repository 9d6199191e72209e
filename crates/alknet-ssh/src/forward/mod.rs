//! Forwarded connections: ports and unix sockets in both directions, and the client's agent.
//!
//! Whether something may be reached or listened on is asked of the policy; nothing here opens a socket without it, but the one that a
//! session's processes find the client's agent at.

use russh::server::Handle;

use crate::channel::Surroundings;

mod agent;
mod asking;
mod direct;
mod incoming;
mod listeners;
mod tunnel;

pub(crate) use agent::AgentSocket;
pub(crate) use asking::{Asking, Target};
pub(crate) use direct::open;
pub(crate) use listeners::Listeners;

/// What the tasks of a forward need from its connection.
#[derive(Clone)]
pub(crate) struct Home {
    pub(crate) handle: Handle,
    pub(crate) around: Surroundings,
}
