//! What is told of changes: to whoever watches a branch, on the topic `node.fs`, and to the hooks of a bucket.

mod filter;
mod paths;
mod projection;
mod topic;
mod watch;

pub use filter::PathFilter;
pub use projection::{Reach, Told, ToldChange, Way, tell};
pub use topic::Publishing;
pub use watch::{Heard, WatchError, Watcher};
pub(crate) use watch::{page, position};
