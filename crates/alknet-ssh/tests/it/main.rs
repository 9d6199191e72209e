//! The server against the stock OpenSSH client, and our own client against the server.
#![allow(clippy::unwrap_used, missing_docs)]

mod agent;
mod authorized_keys;
mod certificates;
mod client;
mod corpus;
mod exec;
mod flow;
mod forward;
mod forward_flow;
mod greeting;
mod hostile;
mod key_options;
mod live;
mod login;
mod node;
mod recording;
mod revocation;
mod revoked;
mod socks;
mod subsystem;
mod targets;
mod tcp_link;
mod terminal;
mod tunnel;
mod users;
