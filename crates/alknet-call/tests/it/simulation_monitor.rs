//! Reads every frame that passes the virtual network, and holds both sides to the rules of the protocol.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use alknet_call::{FrameDecoder, limits};
use alknet_testkit::virtual_network::{Passage, Tap, Towards};
use serde_json::Value;

use super::simulation_ledger::Ledger;

/// Watches the streams of a world.
pub struct Monitor {
    ledger: Ledger,
    streams: Mutex<BTreeMap<(u64, u64), Watched>>,
}

/// Both directions of a stream; each has its own calls.
#[derive(Default)]
struct Watched {
    up: Direction,
    down: Direction,
}

/// What one side of a stream sent, and the calls that it asked.
#[derive(Default)]
struct Direction {
    decoder: Option<FrameDecoder>,
    frames: u64,
    calls: BTreeMap<String, Asked>,
}

#[derive(Default)]
struct Asked {
    operation: String,
    ended: bool,
    aborted: bool,
    credit: u64,
    items: u64,
    last_seq: Option<u64>,
}

impl Asked {
    fn is_subscription(&self) -> bool {
        let name = self.operation.rsplit('/').next().unwrap_or_default();
        ["count", "log", "offer", "watch"].contains(&name)
    }
}

impl Monitor {
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger, streams: Mutex::default() }
    }

    fn frame(&self, watched: &mut Watched, towards: Towards, place: &str, frame: &Value) {
        let (own, other) = match towards {
            Towards::Far => (&mut watched.up, &mut watched.down),
            Towards::Near => (&mut watched.down, &mut watched.up),
        };
        let text = |member: &str| frame[member].as_str().unwrap_or_default();
        let (kind, id, payload) = (text("type"), text("id"), &frame["payload"]);
        own.frames += 1;
        let defect = |words: &str| self.ledger.defect(format!("{place} {kind} {id}: {words}"));
        match kind {
            "call.hello" if own.frames > 1 => defect("is not the first frame"),
            "call.hello" => {}
            "call.requested" => ask(own, id, payload, &defect),
            "call.batch" => {
                for request in payload["requests"].as_array().into_iter().flatten() {
                    ask(own, request["id"].as_str().unwrap_or_default(), request, &defect);
                }
            }
            "call.aborted" => {
                if let Some(asked) = own.calls.get_mut(id) {
                    asked.aborted = true;
                }
            }
            "call.credit" => {
                if let Some(asked) = own.calls.get_mut(id) {
                    asked.credit += payload["items"].as_u64().unwrap_or_default();
                }
            }
            "call.responded" | "call.completed" | "call.error" => match other.calls.get_mut(id) {
                None => defect("answers what was not asked"),
                Some(asked) if asked.ended => defect("comes after the terminal frame"),
                Some(asked) => answer(asked, kind, payload, &defect),
            },
            _ => defect("is of no known type"),
        }
    }
}

fn ask(own: &mut Direction, id: &str, payload: &Value, defect: &impl Fn(&str)) {
    if own.calls.get(id).is_some_and(|asked| !asked.ended) {
        defect("is open already");
    }
    let operation = payload["operationId"].as_str().unwrap_or_default().to_owned();
    let credit = payload["credit"].as_u64().unwrap_or(u64::from(limits::DEFAULT_CREDIT));
    own.calls.insert(id.to_owned(), Asked { operation, credit, ..Asked::default() });
}

/// CALL-14, CALL-41, CALL-42, CALL-44 as the caller sees them.
fn answer(asked: &mut Asked, kind: &str, payload: &Value, defect: &impl Fn(&str)) {
    match kind {
        "call.responded" if asked.is_subscription() => {
            asked.items += 1;
            if asked.items > asked.credit {
                defect("is more than there is credit for");
            }
            let seq = payload["seq"].as_u64();
            if seq.is_none() || asked.last_seq >= seq {
                defect("is not numbered after the item before it");
            }
            asked.last_seq = seq;
        }
        "call.completed" if !asked.is_subscription() => defect("ends what is no subscription"),
        _ => asked.ended = true,
    }
}

impl Tap for Monitor {
    fn carried(&self, passage: Passage, bytes: &[u8]) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = streams.entry((passage.line, passage.stream)).or_default();
        let place = format!("line {} stream {} {:?}", passage.line, passage.stream, passage.towards);
        let direction = match passage.towards {
            Towards::Far => &mut watched.up,
            Towards::Near => &mut watched.down,
        };
        let decoder = direction.decoder.get_or_insert_with(|| FrameDecoder::new(limits::MAX_FRAME_BYTES));
        decoder.buffer().extend_from_slice(bytes);
        let mut frames = Vec::new();
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return self.ledger.defect(format!("{place}: {error}")),
            }
        }
        for frame in frames {
            match serde_json::from_slice(&frame) {
                Ok(frame) => self.frame(watched, passage.towards, &place, &frame),
                Err(error) => self.ledger.defect(format!("{place}: a frame that is not JSON: {error}")),
            }
        }
    }
}
