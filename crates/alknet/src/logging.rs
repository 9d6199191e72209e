//! Where logs go: standard error, as text or JSON, with a level that a reload changes.

use std::io::IsTerminal;

use alknet_ssh::PEER_CONTROLLED_LOG_TARGETS;
use tracing_subscriber::{EnvFilter, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt};

use crate::config::{LogConfig, LogFormat};

/// Changes what is logged while the program runs.
#[derive(Clone)]
pub struct LogLevel(reload::Handle<EnvFilter, Registry>);

impl LogLevel {
    /// Takes over another level.
    pub fn set(&self, config: &LogConfig) {
        let _gone_at_exit = self.0.reload(filter(config));
    }
}

/// Starts to log. Called once, by a command that serves.
pub fn start(config: &LogConfig) -> LogLevel {
    let (filter, handle) = reload::Layer::new(filter(config));
    let registry = tracing_subscriber::registry().with(filter);
    let output = fmt::layer().with_writer(std::io::stderr);
    match config.format {
        LogFormat::Json => registry.with(output.json().flatten_event(true)).init(),
        LogFormat::Text => registry.with(output.with_ansi(std::io::stderr().is_terminal())).init(),
    }
    LogLevel(handle)
}

/// The configured level, less what dependencies would quote from peers.
fn filter(config: &LogConfig) -> EnvFilter {
    let silenced = PEER_CONTROLLED_LOG_TARGETS.iter().map(|target| format!("{target}=off"));
    let level = EnvFilter::builder().parse_lossy(config.level());
    silenced.fold(level, |filter, directive| match directive.parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    })
}
