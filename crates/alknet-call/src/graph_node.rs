//! One call in the graph.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence},
    },
    time::Duration,
};

use alknet_core::Identity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    ending::{Ending, EndingCell},
    graph_stats::OperationTally,
};

/// A call's number at this node: growing, and not used again while the node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct CallNumber(pub u64);

impl fmt::Display for CallNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is known of a call when it was let through.
#[derive(Debug)]
pub struct NewCall {
    /// The operation, from [`crate::CallGraph::operation`]: asked for once and kept, not for each call.
    pub operation: Arc<OperationTally>,
    /// Under whose rights it runs; `None` for the anonymous.
    pub identity: Option<Arc<Identity>>,
    /// The request's id; empty for a call that has none.
    pub request_id: String,
    /// Who asked, as a head says: information.
    pub origin: Option<String>,
    /// Size of the input, in bytes of JSON; zero where there was none.
    pub input_bytes: u64,
}

/// Whether a composed call ends with its caller (CALL-49).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bond {
    /// It is called off with its caller.
    Within,
    /// It outlives its caller.
    Continuing,
}

/// A call: what it is, what called it, and how it stands.
#[derive(Debug)]
pub struct CallNode {
    number: CallNumber,
    parent: Option<Arc<CallNode>>,
    bond: Bond,
    depth: u32,
    operation: Arc<OperationTally>,
    identity: Option<Arc<Identity>>,
    request_id: String,
    origin: Option<String>,
    input_bytes: u64,
    began: Instant,
    ending: EndingCell,
    running: AtomicBool,
    /// Nanoseconds from beginning to end, at least one; zero until it ended.
    took_ns: AtomicU64,
    output_bytes: AtomicU64,
    /// Composed calls of this one that did not end yet.
    below: AtomicU32,
    cancel: OnceLock<CancellationToken>,
}

impl CallNode {
    pub(crate) fn new(number: CallNumber, parent: Option<(Arc<Self>, Bond)>, call: NewCall) -> Self {
        let (parent, bond) = match parent {
            Some((parent, bond)) => (Some(parent), bond),
            None => (None, Bond::Within),
        };
        Self {
            number,
            depth: parent.as_ref().map_or(0, |parent| parent.depth + 1),
            parent,
            bond,
            operation: call.operation,
            identity: call.identity,
            request_id: call.request_id,
            origin: call.origin,
            input_bytes: call.input_bytes,
            began: Instant::now(),
            ending: EndingCell::default(),
            running: AtomicBool::new(false),
            took_ns: AtomicU64::new(0),
            output_bytes: AtomicU64::new(0),
            below: AtomicU32::new(0),
            cancel: OnceLock::new(),
        }
    }

    /// Its number.
    pub const fn number(&self) -> CallNumber {
        self.number
    }
    /// The call that it was composed by.
    pub const fn parent(&self) -> Option<&Arc<Self>> {
        self.parent.as_ref()
    }
    /// How many calls stand above it.
    pub const fn depth(&self) -> u32 {
        self.depth
    }
    /// How many composed calls of this one run.
    pub fn running_below(&self) -> u32 {
        self.below.load(Ordering::Relaxed)
    }
    /// The operation's name.
    pub fn operation(&self) -> &Arc<str> {
        self.operation.name()
    }
    /// Under whose rights it runs.
    pub const fn identity(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref()
    }
    /// The request's id; empty where it has none.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }
    /// Who asked, as a head says.
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }
    /// When it began.
    pub const fn began(&self) -> Instant {
        self.began
    }
    /// Size of its input, in bytes.
    pub const fn input_bytes(&self) -> u64 {
        self.input_bytes
    }
    /// Size of its output, in bytes, once it ended.
    pub fn output_bytes(&self) -> u64 {
        self.output_bytes.load(Ordering::Relaxed)
    }
    /// What decides how it ends. Who decides something else than the work's own outcome uses [`Self::call_off`].
    pub const fn ending(&self) -> &EndingCell {
        &self.ending
    }
    /// Whether it was begun and its work not yet.
    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }
    /// How long it took, once it ended.
    pub fn took(&self) -> Option<Duration> {
        let took = self.took_ns.load(Ordering::Acquire);
        (took > 0).then(|| Duration::from_nanos(took))
    }

    /// Ends the call so, and with it everything below that is not continuing: [`Self::cancel_token`] is cancelled. What runs the
    /// call sees that, drops the work and answers what was decided.
    ///
    /// # Errors
    /// The ending that was decided before; it stands.
    pub fn call_off(&self, ending: Ending) -> Result<(), Ending> {
        self.ending.decide(ending)?;
        // Decided, then looked for a token; whoever makes one does it the other way round. One of the two sees the other.
        fence(Ordering::SeqCst);
        if let Some(token) = self.cancel.get() {
            token.cancel();
        }
        Ok(())
    }

    /// Cancelled once the call's ending is decided, whatever it is, or that of one that it ends with. Made when first asked for; a
    /// call that never waits never makes one.
    pub fn cancel_token(&self) -> &CancellationToken {
        let token = self.cancel.get_or_init(|| match (&self.parent, self.bond) {
            (Some(parent), Bond::Within) => parent.cancel_token().child_token(),
            _ => CancellationToken::new(),
        });
        fence(Ordering::SeqCst);
        if self.is_over() {
            token.cancel();
        }
        token
    }

    /// Whether its ending is decided, or that of a call that it ends with.
    pub fn is_over(&self) -> bool {
        let parent = self.parent.as_ref().filter(|_| self.bond == Bond::Within);
        self.ending.decided().is_some() || parent.is_some_and(|parent| parent.is_over())
    }

    /// Whether `ancestor` stands anywhere above it.
    pub(crate) fn is_below(&self, ancestor: CallNumber) -> bool {
        let mut above = self.parent.as_ref();
        while let Some(node) = above {
            if node.number == ancestor {
                return true;
            }
            above = node.parent.as_ref();
        }
        false
    }

    pub(crate) const fn tally(&self) -> &Arc<OperationTally> {
        &self.operation
    }
    pub(crate) fn set_running(&self) {
        self.running.store(true, Ordering::Relaxed);
    }
    /// Takes one of the places for calls below this one, of which there are `most`.
    pub(crate) fn take_place_below(&self, most: u32) -> bool {
        let grown = |below: u32| (below < most).then_some(below + 1);
        self.below.fetch_update(Ordering::AcqRel, Ordering::Relaxed, grown).is_ok()
    }
    /// Notes the end. The ending that stands is `wanted` unless another was decided before.
    pub(crate) fn set_ended(&self, wanted: Ending, output_bytes: u64) -> (Ending, Duration) {
        let ending = self.call_off(wanted).err().unwrap_or(wanted);
        let took = self.began.elapsed();
        self.output_bytes.store(output_bytes, Ordering::Relaxed);
        self.took_ns.store(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1), Ordering::Release);
        if let Some(parent) = &self.parent {
            parent.below.fetch_sub(1, Ordering::AcqRel);
        }
        (ending, took)
    }
}
