//! Forwarded connections: ports and unix sockets in both directions, and the client's agent.
//!
//! Whether something may be reached or listened on is asked of the policy; nothing here opens a socket without it.
#![allow(dead_code, reason = "used once the policy is there")]

mod tunnel;
