//! Request and reply over Debian's nats-server: whoever asks and whoever answers are two connections to it that speak its
//! text protocol.

mod server;
mod wire;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use tokio::{runtime::Runtime, sync::oneshot};

use self::{server::Process, wire::Link};
use crate::load::Callee;

const SUBJECT: &str = "bench.next";

/// What both send: the same JSON as in a call.
#[derive(Serialize, Deserialize)]
struct Number {
    n: u64,
}

/// A server, and one that answers through it on threads of its own.
pub struct NatsServer {
    process: Process,
    inboxes: AtomicU64,
    /// It answers as long as this lives.
    _responder: Runtime,
}

impl NatsServer {
    pub fn start() -> Self {
        let process = Process::start();
        let responder = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        responder.block_on(answer(&process));
        Self { process, inboxes: AtomicU64::new(0), _responder: responder }
    }

    pub async fn connect(&self) -> NatsClient {
        let inbox = format!("_INBOX.{}.", self.inboxes.fetch_add(1, Ordering::Relaxed));
        let waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<u64>>>> = Arc::default();
        let (asked, prefix) = (waiting.clone(), inbox.len());
        let hand_out = move |_: &Link, message: wire::Message<'_>| {
            let number: Number = serde_json::from_slice(message.payload).unwrap();
            let waiting = asked.lock().unwrap().remove(&message.subject[prefix..].parse().unwrap());
            waiting.unwrap().send(number.n).unwrap();
        };
        let link = Link::subscribe(self.process.address(), &format!("{inbox}*"), hand_out).await;
        NatsClient(Arc::new(Asking { link, inbox, waiting, next: AtomicU64::new(0) }))
    }
}

async fn answer(process: &Process) {
    let next = |link: &Link, message: wire::Message<'_>| {
        let number: Number = serde_json::from_slice(message.payload).unwrap();
        let answer = serde_json::to_vec(&Number { n: number.n + 1 }).unwrap();
        link.publish(message.reply.unwrap(), None, &answer);
    };
    Link::subscribe(process.address(), SUBJECT, next).await;
}

/// One connection.
#[derive(Clone)]
pub struct NatsClient(Arc<Asking>);

struct Asking {
    link: Link,
    inbox: String,
    waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<u64>>>>,
    next: AtomicU64,
}

impl Callee for NatsClient {
    async fn next(&self, n: u64) -> u64 {
        let asking = &self.0;
        let number = asking.next.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        asking.waiting.lock().unwrap().insert(number, reply);
        let inbox = format!("{}{number}", asking.inbox);
        asking.link.publish(SUBJECT, Some(&inbox), &serde_json::to_vec(&Number { n }).unwrap());
        answer.await.unwrap()
    }
}
