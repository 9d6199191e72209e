//! OpenSSH's formats.

use alknet_ssh::{fuzzing, parse_authorized_keys, parse_public_key};

pub fn authorized_keys(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(keys) = parse_authorized_keys(text) {
        assert!(keys.len() <= text.lines().count());
        for line in text.lines().filter(|line| !line.trim().is_empty() && !line.trim().starts_with('#')) {
            let key = parse_public_key(line).expect("because the whole text was accepted");
            assert!(keys.contains(&key));
            assert!(!key.comment.chars().any(char::is_control));
        }
    }
}

pub fn key_options(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        fuzzing::key_options(text);
    }
}

pub fn krl(data: &[u8]) {
    fuzzing::krl(data);
}

pub fn agent_frame(data: &[u8]) {
    fuzzing::agent_frame(data);
}

/// Hosts as clients write them, and rules.
pub fn forward_target(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        fuzzing::forward_target(text);
    }
}
