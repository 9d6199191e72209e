//! core's texts: whatever they accept, they print as something that reads back the same.

use alknet_core::{ApiKey, AuthToken, NodeKey, Ticket, TokenBounds};

/// The base point of the curve: some node.
fn node() -> NodeKey {
    let mut bytes = [0x66; 32];
    bytes[0] = 0x58;
    NodeKey::from_bytes(bytes).expect("because the base point is a key")
}

pub fn auth_token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(token) = text.parse::<AuthToken>() {
        assert_eq!(token.to_string(), text, "there is one text");
        let verified = token.verify(&node(), 1_800_000_000, &TokenBounds::default());
        assert!(verified.is_err(), "nobody has signed this");
    }
}

pub fn api_key(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(key) = text.parse::<ApiKey>() {
        assert_eq!(key.reveal(), text);
        assert!(text.contains(key.digest().id()));
        assert!(!format!("{key:?}").contains(&text[13..]), "its secret is not shown");
    }
}

pub fn node_ticket(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(ticket) = text.parse::<Ticket>() {
        let again: Ticket = ticket.to_string().parse().expect("a printed ticket reads back");
        assert_eq!((again.key(), again.addresses()), (ticket.key(), ticket.addresses()));
    }
}
