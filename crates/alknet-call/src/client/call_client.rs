//! Calls over one stream of a connection.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use alknet_core::{Caller, Connection};
use bytes::BytesMut;
use futures_util::future::join_all;
use serde_json::Value;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{BatchedCall, CallOptions, SubscribeOptions, Subscription, subscription::Remote};
use crate::{
    CallError, ErrorCode, Hello, Registry,
    authenticate::{Authenticator, Callers, ConnectionCallers},
    envelope::{RequestId, Requested, Wants, encode_batch, encode_requested},
    limits::{DEFAULT_CREDIT, MAX_BATCH_REQUESTS, MAX_CALLS_IN_FLIGHT},
    session::{Asked, AskedCall, CallConnection, Command, Outgoing, Reply, Session},
};

/// The id of a batch, which nobody answers.
const BATCH_ID: &str = "batch";

/// Calls operations over one stream of a connection. Clones share it; it ends with the last of them that is not weak.
#[derive(Clone)]
pub struct CallClient {
    shared: Arc<StreamShared>,
    commands: Commands,
}

/// What the clients of a stream and its session share.
pub(crate) struct StreamShared {
    /// Before each number in an id: the stream's own, so that ids are unique on the connection.
    prefix: String,
    next: AtomicU64,
    slots: Arc<Semaphore>,
    pub(crate) hello: OnceLock<Hello>,
    pub(crate) closed: CancellationToken,
}

#[derive(Clone)]
enum Commands {
    Strong(mpsc::UnboundedSender<Command>),
    Weak(mpsc::WeakUnboundedSender<Command>),
}

impl Commands {
    fn send(&self, command: Command) -> Result<(), CallError> {
        let sent = match self {
            Self::Strong(commands) => commands.send(command).ok(),
            Self::Weak(commands) => commands.upgrade().and_then(|commands| commands.send(command).ok()),
        };
        // Nothing was sent to the peer.
        sent.ok_or_else(|| gone().retryable())
    }
}

impl CallClient {
    /// Opens a stream on a connection that was made for `alknet/call`. What the peer asks on it is refused.
    ///
    /// # Errors
    /// `UNAVAILABLE` when the connection gives no stream.
    pub async fn connect(connection: Connection) -> Result<Self, CallError> {
        Self::open(connection, CallConnection::offering_nothing()).await
    }

    /// The same, and offers the operations of `registry` to the peer, who calls them as `peer`.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_offering(
        connection: Connection,
        registry: Arc<Registry>,
        peer: Caller,
    ) -> Result<Self, CallError> {
        let offering = CallConnection::offering(registry, Callers::Fixed(peer), CancellationToken::new());
        Self::open(connection, offering.with_chosen_peer()).await
    }

    /// The same; who the peer is, and what it may, is looked up for each of its calls by what its connection proves.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_serving(
        connection: Connection,
        registry: Arc<Registry>,
        authenticator: Authenticator,
    ) -> Result<Self, CallError> {
        let callers = Callers::Proven(ConnectionCallers::new(authenticator, connection.peer().clone()));
        let offering = CallConnection::offering(registry, callers, CancellationToken::new());
        Self::open(connection, offering.with_chosen_peer()).await
    }

    async fn open(connection: Connection, shared: CallConnection) -> Result<Self, CallError> {
        let stream = connection.open_stream().await.map_err(|error| CallError::unavailable(error.to_string()))?;
        let (client, outgoing) = Self::on_stream(stream.send.id());
        let session = Session::opened(Arc::new(shared), stream, &client, outgoing);
        tokio::spawn(async move {
            tokio::select! {
                biased;
                outcome = session.serve() => if let Err(error) = outcome {
                    tracing::debug!(peer = %connection.peer().addr, %error, "call stream ended");
                },
                // A carrier need not tell its streams.
                reason = connection.closed() => {
                    tracing::debug!(peer = %connection.peer().addr, %reason, "call connection closed");
                }
            }
        });
        Ok(client)
    }

    /// A client, and the half of a session that does what it asks.
    pub(crate) fn on_stream(stream: u64) -> (Self, Outgoing) {
        // Never long: at most 256 calls have a place, and each has at most one abort and few grants on the way.
        let (sender, receiver) = mpsc::unbounded_channel();
        let shared = Arc::new(StreamShared {
            prefix: format!("{stream}."),
            next: AtomicU64::new(1),
            slots: Arc::new(Semaphore::new(MAX_CALLS_IN_FLIGHT)),
            hello: OnceLock::new(),
            closed: CancellationToken::new(),
        });
        let client = Self { shared: shared.clone(), commands: Commands::Strong(sender) };
        (client, Outgoing::new(receiver, shared))
    }

    /// The same client, which does not keep the stream from ending.
    #[must_use]
    pub fn downgrade(&self) -> Self {
        let commands = match &self.commands {
            Commands::Strong(commands) => Commands::Weak(commands.downgrade()),
            weak @ Commands::Weak(_) => weak.clone(),
        };
        Self { shared: self.shared.clone(), commands }
    }

    /// Waits until the stream is gone. Cancel safe.
    pub async fn closed(&self) {
        self.shared.closed.cancelled().await;
    }

    /// Whether the stream is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.is_cancelled()
    }

    /// What the peer said of itself, once it has. Nothing of it is proven.
    pub fn hello(&self) -> Option<&Hello> {
        self.shared.hello.get()
    }

    /// Calls `operation` (`service/operation`) and waits for its output. Dropping the future calls it off at the callee.
    /// At most 256 calls are in flight; more wait for their turn here, and so do requests while 4 MiB are unanswered.
    ///
    /// # Errors
    /// What the callee answers; `TIMEOUT` when it does not in time; `UNAVAILABLE` when the connection goes (`retryable` where
    /// the request was not sent); `INVALID_OPERATION_TYPE` for a subscription.
    pub async fn call(&self, operation: &str, input: Value, options: CallOptions) -> Result<Value, CallError> {
        let deadline = options.deadline();
        within(deadline, async {
            let slot = self.slots(1).await?;
            let (number, id) = self.next_id();
            let frame = encoded(&options.request(id, operation, input, deadline))?;
            let (reply, answer) = oneshot::channel();
            let first = AskedCall::new(number, Reply::Output(reply), slot, frame.len());
            self.ask(frame, first, Vec::new())?;
            OpenRequest::of(self, number).answered(answer).await
        })
        .await
    }

    /// Subscribes to `operation` (`service/operation`). Dropping the subscription calls it off at the callee. Its window is how
    /// many items may be on their way; what the callee refuses comes as the only item.
    ///
    /// # Errors
    /// `UNAVAILABLE` when the connection is gone, `TIMEOUT` when there is no turn in time, `INVALID_INPUT` for what fits no frame.
    pub async fn subscribe(
        &self,
        operation: &str,
        input: Value,
        options: SubscribeOptions,
    ) -> Result<Subscription, CallError> {
        let SubscribeOptions { call, window, after_seq } = options;
        let (deadline, window) = (call.deadline(), window.max(1));
        let slot = within(deadline, self.slots(1)).await?;
        let (number, id) = self.next_id();
        let requested = Requested {
            wants: Some(Wants::Items),
            credit: Some(window),
            after_seq,
            ..call.request(id, operation, input, deadline)
        };
        let (frame, (events, happened)) = (encoded(&requested)?, mpsc::unbounded_channel());
        let first = AskedCall { credit: window, ..AskedCall::new(number, Reply::Items(events), slot, frame.len()) };
        self.ask(frame, first, Vec::new())?;
        let open = OpenRequest::of(self, number);
        Ok(Subscription::remote(Remote::new(happened, open, window, deadline)))
    }

    /// Makes several calls at once, up to 64 in a frame; their results in the same order. Dropping the future calls off what
    /// has no result yet.
    pub async fn batch(&self, calls: Vec<BatchedCall>) -> Vec<Result<Value, CallError>> {
        let mut results = Vec::with_capacity(calls.len());
        let mut calls = calls.into_iter().peekable();
        while calls.peek().is_some() {
            let some: Vec<_> = calls.by_ref().take(MAX_BATCH_REQUESTS).collect();
            results.extend(self.batch_of_one_frame(some).await);
        }
        results
    }

    async fn batch_of_one_frame(&self, calls: Vec<BatchedCall>) -> Vec<Result<Value, CallError>> {
        let count = u32::try_from(calls.len()).unwrap_or(u32::MAX);
        let deadlines: Vec<_> = calls.iter().map(|(_, _, options)| options.deadline()).collect();
        let latest = deadlines.iter().copied().collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().max());
        let slots = match within(latest, self.slots(count)).await {
            Ok(slots) => slots,
            Err(error) => return vec![Err(error); deadlines.len()],
        };
        let request = |((operation, input, options), deadline): (BatchedCall, &Option<Instant>)| {
            let (number, id) = self.next_id();
            (number, options.request(id, &operation, input, *deadline))
        };
        let (numbers, requests): (Vec<_>, Vec<_>) = calls.into_iter().zip(&deadlines).map(request).unzip();
        let asked = self.ask_all(&numbers, &requests, slots).into_iter().zip(deadlines);
        let answers = asked.map(|(asked, deadline)| async move {
            let (open, answer) = asked?;
            within(deadline, open.answered(answer)).await
        });
        join_all(answers).await
    }

    /// Sends requests in one frame, or each in its own where they do not fit one.
    fn ask_all(
        &self,
        numbers: &[u64],
        requests: &[Requested],
        mut slots: OwnedSemaphorePermit,
    ) -> Vec<Result<(OpenRequest, Answered), CallError>> {
        let (mut frame, mut calls, mut opened) = (BytesMut::new(), Vec::new(), Vec::new());
        let id = BATCH_ID.parse().expect("because five letters are an id");
        let fits = encode_batch(&mut frame, &id, requests).is_ok();
        for (&number, requested) in numbers.iter().zip(requests) {
            let Some(slot) = slots.split(1) else { break };
            let (reply, answer) = oneshot::channel();
            let call = |bytes| AskedCall::new(number, Reply::Output(reply), slot, bytes);
            let sent = if fits {
                calls.push(call(requested.weight()));
                Ok(())
            } else {
                encoded(requested).and_then(|frame| {
                    let bytes = frame.len();
                    self.ask(frame, call(bytes), Vec::new())
                })
            };
            opened.push(sent.map(|()| (OpenRequest::of(self, number), answer)));
        }
        let mut calls = calls.into_iter();
        if let Some(first) = calls.next() {
            // If the session is gone, each learns it when its reply is dropped.
            let _ = self.ask(frame, first, calls.collect());
        }
        opened
    }

    fn ask(&self, frame: BytesMut, first: AskedCall, rest: Vec<AskedCall>) -> Result<(), CallError> {
        self.commands.send(Command::Ask(Asked { frame: frame.freeze(), first, rest }))
    }

    async fn slots(&self, count: u32) -> Result<OwnedSemaphorePermit, CallError> {
        self.shared.slots.clone().acquire_many_owned(count).await.map_err(|_| gone())
    }

    fn next_id(&self) -> (u64, RequestId) {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        (number, self.shared.request_id(number))
    }
}

/// Where an answer arrives.
type Answered = oneshot::Receiver<Result<Value, CallError>>;

impl StreamShared {
    /// The id under which this side's `number`th call on the stream travels.
    pub(crate) fn request_id(&self, number: u64) -> RequestId {
        let text = format!("{}{number}", self.prefix);
        text.parse().expect("because digits and a point are visible ASCII, at most 41 of them")
    }

    /// The number of an id under which something was asked.
    pub(crate) fn number_of(&self, id: &RequestId) -> Option<u64> {
        let digits = id.as_str().strip_prefix(&self.prefix)?;
        let number = digits.parse().ok().filter(|_| !digits.starts_with(['0', '+']))?;
        (number < self.next.load(Ordering::Relaxed)).then_some(number)
    }
}

impl AskedCall {
    const fn new(number: u64, reply: Reply, slot: OwnedSemaphorePermit, bytes: usize) -> Self {
        Self { number, reply, slot, bytes, credit: DEFAULT_CREDIT }
    }
}

fn encoded(requested: &Requested) -> Result<BytesMut, CallError> {
    let mut frame = BytesMut::new();
    match encode_requested(&mut frame, requested) {
        Ok(()) => Ok(frame),
        Err(error) => Err(CallError::invalid_input("", error.to_string())),
    }
}

async fn within<T>(
    deadline: Option<Instant>,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    match deadline {
        Some(deadline) => timeout_at(deadline, call)
            .await
            .unwrap_or_else(|_| Err(CallError::new(ErrorCode::Timeout, "no answer within the deadline"))),
        None => call.await,
    }
}

/// The stream went; whether the callee acted is not known.
pub(crate) fn gone() -> CallError {
    CallError::unavailable("the connection is gone")
}

/// A request that was asked; dropping it before its end calls it off.
pub(super) struct OpenRequest {
    commands: Commands,
    number: u64,
    answered: bool,
}

impl OpenRequest {
    fn of(client: &CallClient, number: u64) -> Self {
        Self { commands: client.commands.clone(), number, answered: false }
    }

    /// Its end has come.
    pub(super) const fn is_answered(&mut self) {
        self.answered = true;
    }

    /// Lets more items come.
    pub(super) fn grant(&self, items: u32) {
        // If the session is gone nothing comes.
        let _ = self.commands.send(Command::Credit { number: self.number, items });
    }

    async fn answered(mut self, answer: Answered) -> Result<Value, CallError> {
        let outcome = answer.await;
        self.answered = true;
        outcome.unwrap_or_else(|_| Err(gone()))
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        if !self.answered {
            // If the session is gone there is nothing left to call off.
            let _ = self.commands.send(Command::Abort { number: self.number });
        }
    }
}
