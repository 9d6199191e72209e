//! What this side asks of the peer on one stream.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::DropGuard;

use super::SessionError;
use crate::{
    CallError, ErrorCode, Item,
    client::StreamShared,
    envelope::{Hello, RequestId, encode_aborted, encode_credit},
    frame_stream::FrameStream,
    limits::MAX_UNANSWERED_BYTES,
};

/// What clients ask of the session.
pub(crate) enum Command {
    /// Send requests, hand their answers back.
    Ask(Asked),
    /// Call one off.
    Abort {
        /// Its number.
        number: u64,
    },
    /// Let more items come.
    Credit {
        /// The subscription's number.
        number: u64,
        /// How many more.
        items: u32,
    },
}

/// One frame with one request, or with those of a batch.
pub(crate) struct Asked {
    pub(crate) frame: Bytes,
    pub(crate) first: AskedCall,
    pub(crate) rest: Vec<AskedCall>,
}

/// A request that is to leave.
pub(crate) struct AskedCall {
    pub(crate) number: u64,
    pub(crate) reply: Reply,
    /// Its place among the calls in flight.
    pub(crate) slot: OwnedSemaphorePermit,
    /// Its part of the frame, in bytes.
    pub(crate) bytes: usize,
    /// How many items may come at first.
    pub(crate) credit: u32,
}

/// Where an answer goes.
pub(crate) enum Reply {
    Output(oneshot::Sender<Result<Value, CallError>>),
    Items(mpsc::UnboundedSender<Event>),
    /// Whoever asked was answered already, and the call is called off.
    Nobody,
}

/// What a subscriber learns.
pub(crate) enum Event {
    Item(Item),
    Completed,
    Failed(CallError),
}

/// A call without its terminal frame. Kept after an abort too: the callee still ends it once.
struct Waiting {
    reply: Reply,
    _slot: OwnedSemaphorePermit,
    /// What of it counts as unanswered, in bytes: its request until its first frame.
    unanswered_bytes: usize,
    /// How many items may still come.
    credit: u32,
    /// What is to be said about it as soon as there is room.
    owed: Owed,
}

#[derive(Default)]
struct Owed {
    credit: u32,
    abort: bool,
    /// Whether the call is in the list of those about which something is to be said.
    listed: bool,
}

/// The caller's half of a stream.
pub(crate) struct Outgoing {
    /// First, so that whoever learns that its call is gone finds the client closed.
    _closed: DropGuard,
    commands: mpsc::UnboundedReceiver<Command>,
    shared: Arc<StreamShared>,
    /// Requests that wait for room, in their order.
    held: VecDeque<Asked>,
    /// By number: when the stream goes, those who wait learn it in the order in which they asked.
    waiting: BTreeMap<u64, Waiting>,
    unanswered_bytes: usize,
    /// Calls about which something is to be said.
    owing: Vec<u64>,
    clients_gone: bool,
}

impl Outgoing {
    pub(crate) fn new(commands: mpsc::UnboundedReceiver<Command>, shared: Arc<StreamShared>) -> Self {
        let _closed = shared.closed.clone().drop_guard();
        Self {
            _closed,
            commands,
            shared,
            held: VecDeque::new(),
            waiting: BTreeMap::new(),
            unanswered_bytes: 0,
            owing: Vec::new(),
            clients_gone: false,
        }
    }

    /// Whether nobody can ask any more.
    pub(super) const fn clients_gone(&self) -> bool {
        self.clients_gone
    }
    /// Whether nothing is waited for.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.held.is_empty()
    }
    /// Keeps what the peer said of itself.
    pub(super) fn heard(&self, hello: Hello) {
        // Only the first frame of a stream can be a hello.
        let _ = self.shared.hello.set(hello);
    }

    /// Takes what clients ask, sends what there is room for.
    pub(super) fn poll_commands(&mut self, cx: &mut Context<'_>, frames: &mut FrameStream) -> bool {
        let mut progress = false;
        while !self.clients_gone {
            match self.commands.poll_recv(cx) {
                Poll::Ready(Some(Command::Ask(asked))) => self.held.push_back(asked),
                Poll::Ready(Some(Command::Abort { number })) => self.abort(number),
                Poll::Ready(Some(Command::Credit { number, items })) => self.grant(number, items),
                Poll::Ready(None) => self.clients_gone = true,
                Poll::Pending => break,
            }
            progress = true;
            self.send(frames);
        }
        self.send(frames);
        progress
    }

    /// Sends what waits, as long as the peer reads and not too much is unanswered.
    fn send(&mut self, frames: &mut FrameStream) {
        while !frames.is_congested()
            && let Some(number) = self.owing.pop()
        {
            self.say_owed(number, frames);
        }
        while !frames.is_congested()
            && let Some(next) = self.held.front()
            && (self.unanswered_bytes == 0 || self.unanswered_bytes + next.bytes() <= MAX_UNANSWERED_BYTES)
        {
            let Some(asked) = self.held.pop_front() else { break };
            // Given up before it was sent: then it never is.
            if !asked.is_given_up() {
                frames.leaving().extend_from_slice(&asked.frame);
                self.wait_for(asked);
            }
        }
    }

    fn wait_for(&mut self, asked: Asked) {
        for call in std::iter::once(asked.first).chain(asked.rest) {
            let given_up = call.is_given_up();
            let AskedCall { number, reply, slot, bytes, credit } = call;
            self.unanswered_bytes += bytes;
            let waiting = Waiting { reply, _slot: slot, unanswered_bytes: bytes, credit, owed: Owed::default() };
            self.waiting.insert(number, waiting);
            if given_up {
                self.abort(number);
            }
        }
    }

    fn abort(&mut self, number: u64) {
        self.owe(number, |owed| owed.abort = true);
    }

    fn grant(&mut self, number: u64, items: u32) {
        self.owe(number, |owed| owed.credit = owed.credit.saturating_add(items));
    }

    fn owe(&mut self, number: u64, what: impl FnOnce(&mut Owed)) {
        // Of a call that has ended, or was never sent, there is nothing to say.
        let Some(waiting) = self.waiting.get_mut(&number) else { return };
        what(&mut waiting.owed);
        if !std::mem::replace(&mut waiting.owed.listed, true) {
            self.owing.push(number);
        }
    }

    fn say_owed(&mut self, number: u64, frames: &mut FrameStream) {
        let Some(waiting) = self.waiting.get_mut(&number) else { return };
        let (owed, id) = (std::mem::take(&mut waiting.owed), self.shared.request_id(number));
        if owed.abort {
            encode_aborted(frames.leaving(), &id);
        } else if owed.credit > 0 {
            waiting.credit = waiting.credit.saturating_add(owed.credit);
            encode_credit(frames.leaving(), &id, owed.credit);
        }
    }

    /// The call that a frame of the peer is about; `None` where it has had its terminal frame.
    fn asked(&mut self, id: &RequestId) -> Result<Option<(u64, &mut Waiting)>, SessionError> {
        let number = self.shared.number_of(id).ok_or(SessionError::Unasked)?;
        let Some(waiting) = self.waiting.get_mut(&number) else { return Ok(None) };
        self.unanswered_bytes -= std::mem::take(&mut waiting.unanswered_bytes);
        Ok(Some((number, waiting)))
    }

    pub(super) fn responded(
        &mut self,
        id: &RequestId,
        output: Value,
        seq: Option<u64>,
        frames: &mut FrameStream,
    ) -> Result<(), SessionError> {
        let Some((number, waiting)) = self.asked(id)? else { return Ok(()) };
        if seq.is_none() {
            self.finish(number, |reply| reply.output(output));
            return Ok(());
        }
        waiting.credit = waiting.credit.checked_sub(1).ok_or(SessionError::BeyondCredit)?;
        match &waiting.reply {
            // Whoever subscribed may have stopped listening; the abort is then on its way.
            Reply::Items(events) => drop(events.send(Event::Item(Item { output, seq }))),
            Reply::Output(_) => {
                std::mem::replace(&mut waiting.reply, Reply::Nobody).fail(wrong_kind());
                self.abort(number);
                self.send(frames);
            }
            Reply::Nobody => {}
        }
        Ok(())
    }

    pub(super) fn completed(&mut self, id: &RequestId) -> Result<(), SessionError> {
        if let Some((number, _)) = self.asked(id)? {
            self.finish(number, Reply::complete);
        }
        Ok(())
    }

    pub(super) fn failed(&mut self, id: &RequestId, error: CallError) -> Result<(), SessionError> {
        if let Some((number, _)) = self.asked(id)? {
            self.finish(number, |reply| reply.fail(error));
        }
        Ok(())
    }

    fn finish(&mut self, number: u64, tell: impl FnOnce(Reply)) {
        if let Some(waiting) = self.waiting.remove(&number) {
            tell(waiting.reply);
        }
    }

    /// The peer answers nothing any more: everybody who waits learns it by being let go.
    pub(super) fn give_up(&mut self) {
        self.shared.closed.cancel();
        self.commands.close();
        self.held.clear();
        self.waiting.clear();
        self.unanswered_bytes = 0;
    }
}

impl Asked {
    fn calls(&self) -> impl Iterator<Item = &AskedCall> {
        std::iter::once(&self.first).chain(&self.rest)
    }
    fn bytes(&self) -> usize {
        self.calls().map(|call| call.bytes).sum()
    }
    fn is_given_up(&self) -> bool {
        self.calls().all(AskedCall::is_given_up)
    }
}

impl AskedCall {
    fn is_given_up(&self) -> bool {
        match &self.reply {
            Reply::Output(reply) => reply.is_closed(),
            Reply::Items(events) => events.is_closed(),
            Reply::Nobody => true,
        }
    }
}

impl Reply {
    // Whoever asked may have stopped waiting: then nobody is told.
    fn output(self, output: Value) {
        match self {
            Self::Output(reply) => drop(reply.send(Ok(output))),
            Self::Items(events) => drop(events.send(Event::Failed(wrong_kind()))),
            Self::Nobody => {}
        }
    }
    fn complete(self) {
        match self {
            Self::Items(events) => drop(events.send(Event::Completed)),
            other => other.fail(wrong_kind()),
        }
    }
    fn fail(self, error: CallError) {
        match self {
            Self::Output(reply) => drop(reply.send(Err(error))),
            Self::Items(events) => drop(events.send(Event::Failed(error))),
            Self::Nobody => {}
        }
    }
}

fn wrong_kind() -> CallError {
    CallError::new(ErrorCode::InvalidOperationType, "the operation is of another kind")
}
