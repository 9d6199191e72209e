//! The parsers of this crate that have no public face, for `fuzz/` and nobody else.

/// Messages to the ssh-agent.
pub fn agent_frame(bytes: &[u8]) {
    crate::agent::read_all(bytes);
}
