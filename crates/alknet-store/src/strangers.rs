//! What people nobody knows did, summed up per minute, network and action: they cannot fill the disk or push others out of the audit.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use alknet_core::{AuditEvent, AuditKind, AuditOutcome};

use crate::limits::MAX_STRANGER_SUMS;

const V4_NETWORK: u32 = 0xffff_ff00;
const V6_NETWORK: u128 = 0xffff_ffff_ffff << 80;
/// Stands for every network and action once too many are kept apart.
const ANY: &str = "*";

/// What one sum is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Sum {
    /// Minutes since 1970.
    pub minute: u64,
    pub network: String,
    pub kind: AuditKind,
    pub outcome: AuditOutcome,
    pub action: String,
}

impl Sum {
    pub fn of(event: &AuditEvent, at: u64) -> Self {
        let (kind, outcome) = (event.kind, event.outcome);
        Self { minute: at / 60, network: network_of(&event.addr), kind, outcome, action: event.action.clone() }
    }
}

/// The sums of the running minute. An entry stays, at zero, once it was written, so that a minute never has more rows than its bound.
#[derive(Default)]
pub(crate) struct Strangers {
    minute: u64,
    sums: HashMap<Sum, u64>,
}

impl Strangers {
    pub fn add(&mut self, mut sum: Sum, count: u64) {
        if sum.minute != self.minute {
            self.minute = sum.minute;
            self.sums.retain(|_, count| *count > 0);
        }
        if self.sums.len() >= MAX_STRANGER_SUMS && !self.sums.contains_key(&sum) {
            sum.network = ANY.to_owned();
            sum.action = ANY.to_owned();
        }
        let total = self.sums.entry(sum).or_default();
        *total = total.saturating_add(count);
    }
    pub fn is_waiting(&self) -> bool {
        self.sums.values().any(|count| *count > 0)
    }
    pub fn drain(&mut self) -> Vec<(Sum, u64)> {
        let waiting = self.sums.iter_mut().filter(|(_, count)| **count > 0);
        waiting.map(|(sum, count)| (sum.clone(), std::mem::take(count))).collect()
    }
}

/// The /24 or /48 that an address belongs to.
fn network_of(addr: &str) -> String {
    let Ok(addr) = addr.parse::<SocketAddr>() else { return "elsewhere".to_owned() };
    match addr.ip().to_canonical() {
        IpAddr::V4(ip) => format!("{}/24", Ipv4Addr::from(u32::from(ip) & V4_NETWORK)),
        IpAddr::V6(ip) => format!("{}/48", Ipv6Addr::from(u128::from(ip) & V6_NETWORK)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(minute: u64, action: &str) -> Sum {
        let (kind, outcome) = (AuditKind::Query, AuditOutcome::Denied);
        Sum { minute, network: "192.0.2.0/24".into(), kind, outcome, action: action.into() }
    }

    #[test]
    fn neighbours_share_a_network() {
        for (addr, network) in [
            ("192.0.2.77:5", "192.0.2.0/24"),
            ("[::ffff:192.0.2.78]:9", "192.0.2.0/24"),
            ("[2001:db8:1:2:3::4]:1", "2001:db8:1::/48"),
            ("local:17", "elsewhere"),
            ("", "elsewhere"),
        ] {
            assert_eq!(network_of(addr), network, "{addr}");
        }
    }

    #[test]
    fn a_minute_has_a_bounded_number_of_sums_and_loses_no_count() {
        // STORE-42
        let mut strangers = Strangers::default();
        let events = 10 * MAX_STRANGER_SUMS as u64;
        for number in 0..events {
            strangers.add(sum(7, &format!("a/{number}")), 1);
        }
        let written = strangers.drain();
        assert_eq!(written.len(), MAX_STRANGER_SUMS + 1);
        assert_eq!(written.iter().map(|(_, count)| count).sum::<u64>(), events);
        assert!(!strangers.is_waiting());
        strangers.add(sum(7, "another"), 1);
        assert_eq!(strangers.drain()[0].0.action, ANY, "what was written still counts in its minute");
        strangers.add(sum(8, "another"), 1);
        assert_eq!(strangers.drain(), [(sum(8, "another"), 1)]);
    }
}
