//! The configuration in force, which a reload swaps.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config::{ConfigError, Loaded, Sources, load};

/// A handle on the configuration in force and on where it was read from.
#[derive(Clone)]
pub struct SharedConfig {
    sources: Arc<Sources>,
    current: Arc<ArcSwap<Loaded>>,
}

impl SharedConfig {
    /// Starts with what was read from `sources`.
    pub fn new(sources: Sources, loaded: Loaded) -> Self {
        Self { sources: Arc::new(sources), current: Arc::new(ArcSwap::from_pointee(loaded)) }
    }
    /// The configuration in force.
    pub fn current(&self) -> Arc<Loaded> {
        self.current.load_full()
    }
    /// Reads the sources again, changing nothing.
    pub fn read(&self) -> Result<Loaded, ConfigError> {
        load(&self.sources)
    }
    /// Puts another configuration in force.
    pub fn swap(&self, loaded: Loaded) {
        self.current.store(Arc::new(loaded));
    }
}
