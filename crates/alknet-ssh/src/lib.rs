//! The SSH server on any stream Alknet hands it.
