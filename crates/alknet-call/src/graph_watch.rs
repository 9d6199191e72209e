//! Changes of the call graph as they happen, for whoever watches.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::broadcast::{self, error::RecvError};

use crate::{
    graph_node::CallNode,
    graph_view::{CallStatus, CallView},
    limits::MAX_UNSEEN_CHANGES,
};

/// A call's step.
#[derive(Debug, Clone)]
pub struct CallChange {
    node: Arc<CallNode>,
    /// What the step led to.
    pub status: CallStatus,
}

impl CallChange {
    /// The call as it was after the step.
    pub fn view(&self) -> CallView {
        CallView { status: self.status, ..CallView::of(&self.node) }
    }
    /// The call.
    pub const fn node(&self) -> &Arc<CallNode> {
        &self.node
    }
}

/// What a watcher sees.
#[derive(Debug, Clone)]
pub enum Watched {
    /// A call took a step.
    Changed(CallChange),
    /// So many changes came faster than the watcher took them, and are gone for it.
    Missed(u64),
}

/// Hands changes to the watchers; costs one look at a counter while there are none.
pub(crate) struct Watchers {
    count: Arc<AtomicUsize>,
    changes: broadcast::Sender<CallChange>,
}

impl Default for Watchers {
    fn default() -> Self {
        Self { count: Arc::default(), changes: broadcast::Sender::new(MAX_UNSEEN_CHANGES) }
    }
}

impl Watchers {
    pub(crate) fn announce(&self, node: &Arc<CallNode>, status: CallStatus) {
        if self.count.load(Ordering::Relaxed) > 0 {
            // Without a receiver it is for nobody.
            let _ = self.changes.send(CallChange { node: node.clone(), status });
        }
    }

    pub(crate) fn watch(&self) -> CallWatch {
        let receiver = self.changes.subscribe();
        self.count.fetch_add(1, Ordering::Relaxed);
        CallWatch { receiver, count: self.count.clone() }
    }
}

/// Watches the call graph until it is dropped.
pub struct CallWatch {
    receiver: broadcast::Receiver<CallChange>,
    count: Arc<AtomicUsize>,
}

impl CallWatch {
    /// Waits for the next change; `None` once the graph is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<Watched> {
        match self.receiver.recv().await {
            Ok(change) => Some(Watched::Changed(change)),
            Err(RecvError::Lagged(missed)) => Some(Watched::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Drop for CallWatch {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}
