//! An ssh-agent over the vault's keys (draft-ietf-sshm-ssh-agent, OpenSSH's `PROTOCOL.agent`).
//!
//! The keys are there from the start: none can be added, and none ever leaves. Each key signs only what it is for, so that a program
//! that may use the agent, or a host that it is forwarded to, cannot have the node's identity sign anything but SSH logins.

mod bindings;
mod connection;
mod fields;
mod keyring;
mod question;
mod server;
mod signed_data;
mod wire;

pub use keyring::AgentKey;
pub use question::AskPermission;
pub use server::Agent;

/// Reads the messages in `bytes` as the server does, and what they ask to be signed.
pub(crate) fn read_all(mut bytes: &[u8]) {
    while let Some((announced, rest)) = bytes.split_first_chunk() {
        let Ok(length) = wire::frame_length(*announced) else { return };
        let Some((frame, rest)) = rest.split_at_checked(length) else { return };
        match wire::Request::parse(frame) {
            Ok(wire::Request::Sign { key, data }) => {
                let data = signed_data::SignedData::of(data);
                let _any_answer_will_do = data.suits(alknet_core::KeyPurpose::SshUser, key);
            }
            Ok(wire::Request::Bind(bind)) => _ = bindings::Bindings::default().bind(&bind),
            _ => {}
        }
        bytes = rest;
    }
}
