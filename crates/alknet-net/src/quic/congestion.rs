//! How much may be under way: by CUBIC on short paths, by BBR on long ones.
//!
//! On a long path a lost packet says little about how full the path is, and CUBIC (RFC 9438), which halves at each, crawls where a radio link
//! loses one in a hundred; BBR (draft-cardwell-iccrg-bbr-congestion-control) sends at the rate that gets through. On a short path recovery
//! takes no time, and BBR's probing costs more than it brings. Both see every event; the round trip says whose answer counts.

use std::{any::Any, sync::Arc, time::Instant};

use quinn::congestion::{BbrConfig, Controller, ControllerFactory, ControllerMetrics, CubicConfig};
use quinn_proto::RttEstimator;

use crate::limits::LONG_ROUND_TRIP;

/// Makes the controllers of a connection's paths.
#[derive(Debug, Default)]
pub(crate) struct ByRoundTrip {
    short: Arc<CubicConfig>,
    long: Arc<BbrConfig>,
}

impl ControllerFactory for ByRoundTrip {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let short = self.short.clone().build(now, current_mtu);
        let long = self.long.clone().build(now, current_mtu);
        Box::new(Both { short, long, is_long: false })
    }
}

/// The controllers of one path.
struct Both {
    short: Box<dyn Controller>,
    long: Box<dyn Controller>,
    is_long: bool,
}

impl Both {
    fn in_force(&self) -> &dyn Controller {
        if self.is_long { &*self.long } else { &*self.short }
    }
}

impl Controller for Both {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.short.on_sent(now, bytes, last_packet_number);
        self.long.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.is_long = rtt.min() >= LONG_ROUND_TRIP;
        self.short.on_ack(now, sent, bytes, app_limited, rtt);
        self.long.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest_packet_num_acked: Option<u64>) {
        self.short.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
        self.long.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent_congestion: bool, lost_bytes: u64) {
        self.short.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
        self.long.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.short.on_mtu_update(new_mtu);
        self.long.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.in_force().window()
    }

    fn metrics(&self) -> ControllerMetrics {
        self.in_force().metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self { short: self.short.clone_box(), long: self.long.clone_box(), is_long: self.is_long })
    }

    fn initial_window(&self) -> u64 {
        self.in_force().initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
