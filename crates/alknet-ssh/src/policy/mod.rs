//! What may be forwarded, by whom and where to; and the way there.
//!
//! [`judge`] is the policy as such and pure. Everything that a client names is put into one form by [`target`], [`faces`] and [`path`]
//! first; [`reach`] and [`listen`] go where the judged thing is, and nowhere else.

mod account;
mod direction;
mod explain;
mod faces;
mod forward_policy;
mod granted;
mod judge;
mod listen;
mod network;
mod path;
mod ports;
mod reach;
mod refusal;
mod request;
mod resolve;
mod rule;
mod socket_file;
mod target;

pub use direction::{Direction, InvalidDirection};
pub use explain::{Explained, Explanation, ForwardTarget, InvalidForwardTarget};
pub use forward_policy::ForwardPolicy;
pub(crate) use granted::{ForwardListener, ForwardSocket, Granted, Hold};
pub(crate) use refusal::{ForwardRefusal, Reason};
pub(crate) use request::Asker;
pub use rule::{ForwardRule, InvalidRule};
pub(crate) use target::read_all;

#[cfg(test)]
mod tests;
