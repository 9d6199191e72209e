//! Operations, their registry and the alknet/call protocol.
