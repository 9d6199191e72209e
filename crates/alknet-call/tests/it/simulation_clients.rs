//! Clients of a simulated world: what they ask for by chance, and what they must be answered.

use std::time::Duration;

use alknet_call::{CallClient, CallError, CallOptions, ErrorCode, ReconnectingClient, SubscribeOptions, Subscription};
use alknet_core::Carrier;
use alknet_testkit::simulation::Chance;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    simulation_operations::SHORT,
    simulation_world::{World, client_name},
};

/// What one client does before it has done enough.
const ACTIONS: u64 = 30;
/// What one client does at a time.
const AT_ONCE: usize = 6;
/// Whatever is asked for has an end before this.
const NEVER: Duration = Duration::from_secs(900);
/// How often a mutation with a key is asked for again.
const REPETITIONS: u64 = 6;
/// How exact timers are.
const TICK: Duration = Duration::from_millis(2);

/// How a client reaches the head.
#[derive(Clone)]
pub enum Reach {
    /// Over the connection that it made last.
    Plain(CallClient),
    /// Over whichever connection there is.
    Reconnecting(ReconnectingClient),
}

impl Reach {
    async fn call(&self, operation: &str, input: Value, options: CallOptions) -> Result<Value, CallError> {
        match self {
            Self::Plain(client) => client.call(operation, input, options).await,
            Self::Reconnecting(client) => client.call(operation, input, options).await,
        }
    }

    async fn subscribe(&self, operation: &str, input: Value, window: u32) -> Result<Subscription, CallError> {
        let options = SubscribeOptions { window, ..SubscribeOptions::default() };
        match self {
            Self::Plain(client) => client.subscribe(operation, input, options).await,
            Self::Reconnecting(client) => client.subscribe(operation, input, options).await,
        }
    }
}

/// One client until it has done enough; its connection stays until what is given back is dropped.
pub async fn client(world: World, seed: u8) -> Option<Reach> {
    let chance = world.chance.fork();
    let carrier = if seed.is_multiple_of(2) { Carrier::Quic } else { Carrier::Tls };
    let mut actions = JoinSet::new();
    let mut reach = None;
    for number in 0..ACTIONS {
        sleep(chance.time(Duration::ZERO..=Duration::from_millis(1500))).await;
        while actions.len() >= AT_ONCE {
            actions.join_next().await;
        }
        let present = match reach.take().filter(|reach| !is_closed(reach)) {
            Some(present) => present,
            None if seed % 5 < 2 => reconnecting(&world, seed, carrier),
            None => match world.client(seed, carrier).await {
                Ok(client) => Reach::Plain(client),
                Err(_) => continue,
            },
        };
        reach = Some(present.clone());
        let name = format!("{} {number}", client_name(seed));
        let place = *chance.of(&PLACES);
        let actor = Actor { world: world.clone(), chance: chance.fork(), reach: present, name, place };
        actions.spawn(async move {
            if timeout(NEVER, actor.act()).await.is_err() {
                actor.world.ledger.defect(format!("{} has no end", actor.name));
            }
        });
    }
    while actions.join_next().await.is_some() {}
    world.ledger.note(format!("{} is done", client_name(seed)));
    reach
}

fn is_closed(reach: &Reach) -> bool {
    matches!(reach, Reach::Plain(client) if client.is_closed())
}

fn reconnecting(world: &World, seed: u8, carrier: Carrier) -> Reach {
    let (world, backoff) = (world.clone(), world.backoff());
    let dial = move || {
        let world = world.clone();
        async move { world.client(seed, carrier).await }
    };
    Reach::Reconnecting(ReconnectingClient::with_backoff(dial, backoff))
}

/// Where something is asked for: at the head, at one worker, or at any.
const PLACES: [&str; 8] = ["", "", "", "", "worker-1/", "worker-2/", "worker-3/", "any/"];

/// One thing that a client does.
struct Actor {
    world: World,
    chance: Chance,
    reach: Reach,
    name: String,
    place: &'static str,
}

impl Actor {
    async fn act(&self) {
        match self.chance.below(12) {
            0..=1 => self.echo().await,
            2..=3 => self.work("sim/slow", Duration::MAX).await,
            4 => self.work("sim/short", SHORT).await,
            5 => self.failure().await,
            6 => self.give_up().await,
            7 => self.once().await,
            8 => self.read_items("sim/count").await,
            9 => self.tree().await,
            10 => self.continuing().await,
            _ => self.read_items("sim/log").await,
        }
    }

    /// Calls an operation at the actor's place.
    async fn call(&self, operation: &str, input: Value, options: CallOptions) -> Result<Value, CallError> {
        self.reach.call(&format!("{}{operation}", self.place), input, options).await
    }

    fn defect(&self, what: &str) {
        self.world.ledger.defect(format!("{}: {what}", self.name));
    }

    fn note(&self, operation: &str, outcome: &Result<Value, CallError>) {
        let words = match outcome {
            Ok(output) => output.to_string(),
            Err(error) => error.code.to_string(),
        };
        self.world.ledger.note(format!("{}: {}{operation} gives {words}", self.name, self.place));
    }

    fn ms(&self, most: u64) -> u64 {
        self.chance.below(most)
    }

    async fn echo(&self) {
        let n = self.chance.below(1 << 40);
        let outcome = self.call("sim/echo", json!({"n": n}), CallOptions::default()).await;
        self.note("echo", &outcome);
        self.expect(&outcome, &json!(n), &[]);
    }

    /// A call that takes a while, with a deadline or without; the operation has its own, `allowed`.
    async fn work(&self, operation: &str, allowed: Duration) {
        let (n, ms) = (self.chance.below(1 << 40), self.ms(1500));
        let deadline = self.chance.per_mille(600).then(|| Duration::from_millis(1 + self.ms(1500)));
        let began = Instant::now();
        let options = CallOptions { deadline, ..CallOptions::default() };
        let outcome = self.call(operation, json!({"n": n, "ms": ms}), options).await;
        let took = began.elapsed();
        self.note(operation, &outcome);
        self.expect(&outcome, &json!(n), &[ErrorCode::Timeout]);
        if let Some(deadline) = deadline
            && took > deadline + TICK
        {
            self.defect(&format!("took {took:?} with a deadline of {deadline:?}"));
        }
        let late = outcome.is_err_and(|error| error.code == ErrorCode::Timeout);
        if late && took + TICK < deadline.unwrap_or(allowed).min(allowed) {
            self.defect(&format!("TIMEOUT after {took:?}, which is too early"));
        }
    }

    async fn failure(&self) {
        let n = self.chance.below(3);
        let outcome = self.call("sim/fails", json!({"n": n, "ms": self.ms(300)}), CallOptions::default()).await;
        self.note("fails", &outcome);
        let expected = if n == 0 { "BROKEN" } else { "INTERNAL" };
        match &outcome {
            Err(error) if error.code.to_string() == expected || self.is_excused(error) => {}
            other => self.defect(&format!("a failure of kind {n} gave {other:?}")),
        }
    }

    /// Calls that call others; sometimes nobody waits for them any more.
    async fn tree(&self) {
        let (depth, width) = (self.chance.below(4), 1 + self.chance.below(3));
        let input = json!({"depth": depth, "width": width, "ms": self.ms(800)});
        let patience = if self.chance.per_mille(300) { Duration::from_millis(self.ms(600)) } else { NEVER * 2 };
        let call = self.call("sim/tree", input, CallOptions::default());
        if let Ok(outcome) = timeout(patience, call).await {
            self.note("tree", &outcome);
            self.expect(&outcome, &json!(width.pow(depth as u32)), &[]);
        }
    }

    async fn continuing(&self) {
        let n = self.chance.below(1 << 40);
        let input = json!({"n": n, "ms": self.ms(2000)});
        let outcome = self.call("sim/continues", input, CallOptions::default()).await;
        self.note("continues", &outcome);
        self.expect(&outcome, &json!(n), &[]);
    }

    /// A call whose caller stops waiting after a while.
    async fn give_up(&self) {
        let patience = Duration::from_millis(self.ms(1200));
        let n = self.chance.below(1 << 40);
        let call = self.call("sim/slow", json!({"n": n, "ms": self.ms(3000)}), CallOptions::default());
        match timeout(patience, call).await {
            Ok(outcome) => self.expect(&outcome, &json!(n), &[]),
            Err(_) => self.world.ledger.note(format!("{}: gives up", self.name)),
        }
    }

    /// A mutation with a key, asked for again, sometimes at the same time, until its outcome is known.
    async fn once(&self) {
        if self.place == "any/" {
            // Each worker remembers for itself.
            return;
        }
        let key = self.name.replace(' ', "-");
        let input = json!({"key": key, "ms": self.ms(800)});
        let options = CallOptions { idempotency_key: Some(key.clone()), ..CallOptions::default() };
        for _ in 0..REPETITIONS {
            let ask = || self.call("sim/once", input.clone(), options.clone());
            let outcome = if self.chance.per_mille(300) {
                let (one, other) = tokio::join!(biased; ask(), ask());
                if let (Ok(one), Ok(other)) = (&one, &other)
                    && one != other
                {
                    self.defect("two callers under one key got different outcomes");
                }
                one
            } else if self.chance.per_mille(200) {
                // Called off; whether it was run is found out by the next.
                match timeout(Duration::from_millis(self.ms(900)), ask()).await {
                    Ok(outcome) => outcome,
                    Err(_) => continue,
                }
            } else {
                ask().await
            };
            self.note("once", &outcome);
            self.expect(&outcome, &json!(key), &[ErrorCode::Aborted]);
            match outcome {
                Ok(_) if !self.world.ledger.was_run(&key) => self.defect("an outcome of what was not run"),
                Err(error) if error.code == ErrorCode::Unavailable => sleep(self.chance.time(TICK..=TICK * 1000)).await,
                _ => return,
            }
        }
    }

    /// A subscription with a small window; its reader pauses, stops for a long time, or leaves.
    async fn read_items(&self, operation: &str) {
        // Sometimes the next item is far away.
        let far = self.chance.per_mille(100);
        let (items, gap_ms) = (self.chance.below(60), if far { 100_000 } else { self.ms(40) });
        let longest = if far { Duration::from_millis(self.ms(3000)) } else { NEVER };
        let window = 1 + self.chance.below(8) as u32;
        let patience = self.chance.below(80);
        let subscribed = self
            .reach
            .subscribe(&format!("{}{operation}", self.place), json!({"items": items, "gap_ms": gap_ms}), window)
            .await;
        let mut subscription = match subscribed {
            Ok(subscription) => subscription,
            Err(error) => return self.expect(&Err(error), &Value::Null, &[]),
        };
        let first = if operation == "sim/log" { 1 } else { 0 };
        let mut taken = 0;
        loop {
            if self.chance.per_mille(30) {
                sleep(self.chance.time(Duration::ZERO..=Duration::from_secs(40))).await;
            }
            if taken > patience {
                return self.world.ledger.note(format!("{}: leaves after {taken} items", self.name));
            }
            let Ok(next) = timeout(longest, subscription.next()).await else {
                return self.world.ledger.note(format!("{}: does not wait for an item", self.name));
            };
            match next {
                Some(Ok(item)) if item.output == json!(first + taken) && item.seq == Some(taken + 1) => taken += 1,
                Some(Ok(item)) => return self.defect(&format!("item {taken} of {operation} is {item:?}")),
                Some(Err(error)) => {
                    self.world.ledger.note(format!("{}: {operation} ends with {}", self.name, error.code));
                    if subscription.next().await.is_some() {
                        self.defect("an item after an error");
                    }
                    return self.expect(&Err(error), &Value::Null, &[]);
                }
                None if taken == items => return self.world.ledger.note(format!("{}: {items} items", self.name)),
                None => return self.defect(&format!("{operation} completed after {taken} of {items} items")),
            }
        }
    }

    /// The output must be this one, or the error excused or one of these.
    fn expect(&self, outcome: &Result<Value, CallError>, output: &Value, codes: &[ErrorCode]) {
        match outcome {
            Ok(given) if given == output => {}
            Err(error) if self.is_excused(error) || codes.contains(&error.code) => {}
            other => self.defect(&format!("{other:?} where {output} was to come")),
        }
    }

    /// A connection that goes, a node that stops, a worker that is not there, and rulers do no wrong.
    fn is_excused(&self, error: &CallError) -> bool {
        let ruled = [ErrorCode::Aborted, ErrorCode::Unauthenticated].contains(&error.code);
        // A head that just began has not heard of its workers yet.
        let unheard = error.code == ErrorCode::NotFound && !self.place.is_empty();
        error.code == ErrorCode::Unavailable || unheard || ruled && self.world.ruled
    }
}
