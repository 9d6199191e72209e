//! The caller's side: in process, or over a connection; with the same results.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use alknet_core::Connection;
use bytes::{Bytes, BytesMut};
use serde_json::Value;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

mod local;
pub use local::LocalClient;

use crate::{
    CallError, ErrorCode,
    client_driver::{self, Command},
    envelope::{PresentedCredential, RequestId, Requested, encode_requested},
    limits::{DEFAULT_CREDIT, MAX_CALLS_IN_FLIGHT},
};

/// How a call is made, beside what is called.
#[derive(Debug, Clone, Default)]
pub struct CallOptions {
    /// How long the caller waits; the operation's own timeout applies besides.
    pub deadline: Option<Duration>,
    /// A credential to present instead of the connection's own.
    pub token: Option<PresentedCredential>,
    /// Under which key a mutation is run at most once.
    pub idempotency_key: Option<String>,
    /// The call that caused this one: information.
    pub parent_id: Option<String>,
    /// The nodes that it came through.
    pub via: Vec<String>,
    /// On whose behalf it is made: information.
    pub origin: Option<String>,
}

/// How a subscription is made, beside what is subscribed to.
#[derive(Debug, Clone)]
pub struct SubscribeOptions {
    /// As for any call; the deadline bounds the whole subscription.
    pub call: CallOptions,
    /// How many items may be on their way before the first is taken.
    pub window: u32,
    /// The number of the item after which a resumable subscription goes on.
    pub after_seq: Option<u64>,
}

impl Default for SubscribeOptions {
    fn default() -> Self {
        Self { call: CallOptions::default(), window: DEFAULT_CREDIT, after_seq: None }
    }
}

/// Calls operations, wherever they are.
#[derive(Clone)]
pub enum Client {
    /// In this process.
    Local(LocalClient),
    /// Over a connection.
    Remote(CallClient),
}

impl Client {
    /// Calls `operation` (`service/operation`) and waits for its output. Dropping the future calls it off.
    pub async fn call(&self, operation: &str, input: Value, options: CallOptions) -> Result<Value, CallError> {
        match self {
            Self::Local(client) => client.call(operation, input, options).await,
            Self::Remote(client) => client.call(operation, input, options).await,
        }
    }
}

/// Calls operations over one stream of a connection. Clones share it; it ends with the last of them.
#[derive(Clone)]
pub struct CallClient(Arc<Shared>);

struct Shared {
    commands: mpsc::UnboundedSender<Command>,
    next: AtomicU64,
    slots: Arc<Semaphore>,
    closed: CancellationToken,
}

impl CallClient {
    /// Opens a stream on a connection that was made for `alknet/call`.
    ///
    /// # Errors
    /// `UNAVAILABLE` when the connection gives no stream.
    pub async fn connect(connection: Connection) -> Result<Self, CallError> {
        let stream = connection.open_stream().await.map_err(|error| CallError::unavailable(error.to_string()))?;
        // Never longer than twice the slots: each call sends itself and at most one abort.
        let (commands, receiver) = mpsc::unbounded_channel();
        let closed = CancellationToken::new();
        let ended = closed.clone().drop_guard();
        tokio::spawn(async move {
            let _ended = ended;
            client_driver::drive(connection, stream, receiver).await;
        });
        let slots = Arc::new(Semaphore::new(MAX_CALLS_IN_FLIGHT));
        Ok(Self(Arc::new(Shared { commands, next: AtomicU64::new(1), slots, closed })))
    }

    /// Waits until the connection is gone. Cancel safe.
    pub async fn closed(&self) {
        self.0.closed.cancelled().await;
    }

    /// Calls `operation` (`service/operation`) and waits for its output. Dropping the future calls it off at the callee.
    /// At most 256 calls are in flight; more wait for their turn here.
    ///
    /// # Errors
    /// What the callee answers; `TIMEOUT` when it does not in time; `UNAVAILABLE` when the connection goes.
    pub async fn call(&self, operation: &str, input: Value, options: CallOptions) -> Result<Value, CallError> {
        let deadline = options.deadline.and_then(|wait| Instant::now().checked_add(wait));
        let call = async {
            let slot = self.0.slots.clone().acquire_owned().await.map_err(|_| gone())?;
            self.begin(operation, input, &options, deadline, slot)?.await
        };
        match deadline {
            Some(deadline) => timeout_at(deadline, call)
                .await
                .unwrap_or_else(|_| Err(CallError::new(ErrorCode::Timeout, "no answer within the deadline"))),
            None => call.await,
        }
    }

    fn begin(
        &self,
        operation: &str,
        input: Value,
        options: &CallOptions,
        deadline: Option<Instant>,
        slot: OwnedSemaphorePermit,
    ) -> Result<impl Future<Output = Result<Value, CallError>> + use<>, CallError> {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let requested = Requested {
            id: request_id(number),
            operation_id: format!("/{operation}"),
            input,
            auth_token: options.token.clone(),
            deadline: deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())),
            parent_id: None,
            wants_idempotency: false,
        };
        let mut frame = BytesMut::new();
        encode_requested(&mut frame, &requested).map_err(|error| CallError::invalid_input("", error.to_string()))?;
        let (reply, answer) = oneshot::channel();
        self.send(Command::Call { number, frame: frame.freeze(), reply, slot })?;
        let open = AbortOnDrop { shared: self.0.clone(), number, answered: false };
        Ok(async move {
            let mut open = open;
            let outcome = answer.await;
            open.answered = true;
            outcome.unwrap_or_else(|_| Err(gone()))
        })
    }

    fn send(&self, command: Command) -> Result<(), CallError> {
        self.0.commands.send(command).map_err(|_| gone().retryable())
    }
}

/// The id under which this side's `number`th call travels.
pub(crate) fn request_id(number: u64) -> RequestId {
    number.to_string().parse().expect("because decimal digits are visible ASCII, at most 20 of them")
}

/// The connection went; whether the callee acted is not known.
pub(crate) fn gone() -> CallError {
    CallError::unavailable("the connection is gone")
}

struct AbortOnDrop {
    shared: Arc<Shared>,
    number: u64,
    answered: bool,
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if !self.answered {
            // If the driver is gone there is nothing left to call off.
            let _ = self.shared.commands.send(Command::Abort { number: self.number });
        }
    }
}

/// The frame of a call, ready to leave.
pub(crate) type EncodedFrame = Bytes;
