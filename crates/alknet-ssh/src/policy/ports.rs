//! Sets of ports, as rules write them.

use std::{fmt, str::FromStr};

use crate::limits::MAX_PORT_RANGES;

/// Any port, or those that are written out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ports {
    Any,
    Only(Vec<(u16, u16)>),
}

/// A text that is no set of ports.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidPorts {
    /// An item is wrong.
    #[error("`{}` is no port: write 443, 8000-8100, 443,8000-8100 or *", .0.escape_debug())]
    Item(String),
    /// There are too many.
    #[error("more than {MAX_PORT_RANGES} ports and ranges")]
    TooMany,
}

impl Ports {
    /// Whether the port is in.
    pub(crate) fn has(&self, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Only(_) => self.names(port),
        }
    }
    /// Whether the port is in because it was written out.
    pub(crate) fn names(&self, port: u16) -> bool {
        matches!(self, Self::Only(ranges) if ranges.iter().any(|(first, last)| (*first..=*last).contains(&port)))
    }
}

fn number(text: &str) -> Option<u16> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn range(text: &str) -> Result<(u16, u16), InvalidPorts> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => Err(InvalidPorts::Item(text.to_owned())),
    }
}

impl FromStr for Ports {
    type Err = InvalidPorts;
    fn from_str(text: &str) -> Result<Self, InvalidPorts> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if text.split(',').count() > MAX_PORT_RANGES {
            return Err(InvalidPorts::TooMany);
        }
        text.split(',').map(range).collect::<Result<_, _>>().map(Self::Only)
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Only(ranges) = self else { return f.write_str("*") };
        for (at, (first, last)) in ranges.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            if first == last { write!(f, "{comma}{first}") } else { write!(f, "{comma}{first}-{last}") }?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_single_or_ranges_or_any() {
        let ports: Ports = "443,8000-8100".parse().unwrap();
        for (port, inside) in [(443, true), (8000, true), (8100, true), (444, false), (7999, false), (8101, false)] {
            assert_eq!((ports.has(port), ports.names(port)), (inside, inside), "{port}");
        }
        assert!(Ports::Any.has(1) && !Ports::Any.names(1), "a star names no port");
        for text in ["*", "0", "443,8000-8100", "1-65535"] {
            assert_eq!(text.parse::<Ports>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for bad in ["", ",", "80,", "65536", "-1", "1-", "9-8", "+80", "http", "80 ", "*,80", "0x50", "８０"] {
            assert!(matches!(bad.parse::<Ports>(), Err(InvalidPorts::Item(_))), "{bad}");
        }
        let many = vec!["1"; MAX_PORT_RANGES + 1].join(",");
        assert_eq!(many.parse::<Ports>(), Err(InvalidPorts::TooMany));
    }
}
