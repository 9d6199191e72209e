//! `alknet events`.

use std::io::{self, Read};

use alknet_call::{ErrorCode, SubscribeOptions};
use clap::{Args, Subcommand};
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::{Place, output};
use crate::{
    failure::{Failure, Kind},
    node_client::{NodeClient, Trust, explain},
    operations::events::{
        Consumers, DeclareTopic, EventView, From, NamedConsumer, NewEventView, Position, Publish, Published,
        SavePosition, Subscribe, Topics,
    },
};

/// Largest set of events, or schema, that is read from standard input or a file, in bytes.
const MAX_INPUT_BYTES: u64 = 4 * 1024 * 1024;
/// A consumer's position is saved after so many events, and whenever there are no more.
const SAVE_EVERY: u64 = 100;

/// Events: what happened, kept and told in order
///
/// A topic is declared once, with the shape (a JSON schema) of its events. What is published is on disk before it is
/// acknowledged, and reaches every subscriber at least once. A consumer's position is kept under its name.
///
/// Examples:
///   alknet events tail node.peers --from oldest
///   alknet events declare orders --schema order.json
///   alknet events publish orders '{"order":7}' '{"order":8}'
///   alknet events tail orders --consumer billing
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Events {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show a topic's events as they come; one JSON object a line with --json
    Tail(Tail),
    /// Publish events: all of them or none
    Publish {
        /// The topic
        topic: String,
        /// What happened, as JSON; - reads one JSON value a line from standard input
        #[arg(required = true, value_name = "JSON")]
        payloads: Vec<String>,
        /// What the events are about
        #[arg(long)]
        key: Option<String>,
        /// The version of the topic's shape
        #[arg(long, default_value_t = 1)]
        version: u32,
    },
    /// Declare a topic, or one more version of its shape
    Declare {
        /// The topic
        topic: String,
        /// The version of the shape
        #[arg(long, default_value_t = 1)]
        version: u32,
        /// A file with the JSON schema of an event; - for standard input [default: anything]
        #[arg(long, value_name = "FILE")]
        schema: Option<String>,
        /// How long events are kept: 12h, 30d [default: 7d]
        #[arg(long, value_name = "TIME", value_parser = output::parse_duration)]
        keep: Option<u64>,
        /// How many events are kept
        #[arg(long, value_name = "N")]
        keep_events: Option<u64>,
    },
    /// List the topics
    Topics,
    /// List who follows a topic under a name, and how far they have come
    Consumers {
        /// The topic
        topic: String,
    },
    /// Forget a consumer's position
    Forget {
        /// The topic
        topic: String,
        /// The consumer
        consumer: String,
    },
}

/// `alknet events tail`.
#[derive(Args)]
struct Tail {
    /// The topic
    topic: String,
    /// Whose events: @ and a peer name, node id, host:port or ticket [default: this node]
    #[arg(long, value_name = "@NODE")]
    node: Option<String>,
    /// Go on where this consumer was, and keep its position
    #[arg(long, value_name = "NAME")]
    consumer: Option<String>,
    /// Begin with the newest or the oldest event, where there is no position yet
    #[arg(long, value_name = "WHERE", default_value = "newest", value_parser = parse_from)]
    from: From,
    /// Begin after the event with this id
    #[arg(long, value_name = "ID", conflicts_with = "consumer")]
    after: Option<u64>,
    /// Only events with this key
    #[arg(long)]
    key: Option<String>,
    /// End after so many events
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

fn parse_from(text: &str) -> Result<From, String> {
    match text {
        "newest" => Ok(From::Newest),
        "oldest" => Ok(From::Oldest),
        _ => Err("write newest or oldest".to_owned()),
    }
}

impl Events {
    /// Runs the command.
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        match self.action {
            Action::Tail(tail) => tail.run(place).await,
            Action::Publish { topic, payloads, key, version } => {
                let events = read_payloads(&payloads)?;
                let events = events.into_iter().map(|payload| NewEventView { key: key.clone(), payload }).collect();
                let node = NodeClient::local(place).await?;
                let published: Published = node.call("events/publish", &Publish { topic, version, events }).await?;
                if place.json {
                    return output::json(&published);
                }
                published.ids.iter().try_for_each(|id| output::line(id.to_string()))
            }
            Action::Declare { topic, version, schema, keep, keep_events } => {
                let schema = schema.map_or(Ok(json!({})), |file| read_schema(&file))?;
                let input = DeclareTopic { topic, version, schema, max_age_s: keep, max_events: keep_events };
                let node = NodeClient::local(place).await?;
                let _declared: Value = node.call("events/declare", &input).await?;
                output::line(format!("{} {} is declared", input.topic, input.version))
            }
            Action::Topics => topics(place).await,
            Action::Consumers { topic } => consumers(place, &topic).await,
            Action::Forget { topic, consumer } => {
                let node = NodeClient::local(place).await?;
                let input = NamedConsumer { topic, consumer };
                let _forgotten: Value = node.call("events/forget-consumer", &input).await?;
                output::line(format!("the position of {} is forgotten", input.consumer))
            }
        }
    }
}

async fn topics(place: &Place) -> Result<(), Failure> {
    let node = NodeClient::local(place).await?;
    let Topics { topics } = node.call("events/topics", &json!({})).await?;
    if place.json {
        return output::json(&topics);
    }
    let rows: Vec<_> = topics
        .into_iter()
        .map(|topic| {
            let versions: Vec<_> = topic.versions.iter().map(ToString::to_string).collect();
            let owner = topic.owner.unwrap_or_else(|| "the node".to_owned());
            let kept = output::duration(topic.max_age_s.saturating_mul(1_000));
            [topic.topic, versions.join(" "), topic.kept.to_string(), kept, owner]
        })
        .collect();
    output::table(["TOPIC", "VERSIONS", "EVENTS", "KEPT FOR", "OWNER"], &rows)
}

async fn consumers(place: &Place, topic: &str) -> Result<(), Failure> {
    let node = NodeClient::local(place).await?;
    let Consumers { consumers } = node.call("events/consumers", &json!({ "topic": topic })).await?;
    if place.json {
        return output::json(&consumers);
    }
    let rows: Vec<_> = consumers
        .into_iter()
        .map(|found| [found.consumer, found.identity, found.position.to_string(), output::utc(found.saved_at)])
        .collect();
    output::table(["CONSUMER", "WHOSE", "POSITION", "SAVED"], &rows)
}

impl Tail {
    async fn run(self, place: &Place) -> Result<(), Failure> {
        let node = NodeClient::reach(place, self.node.as_deref(), Trust::Pinned).await?;
        let outcome = tokio::select! {
            outcome = self.follow(place, &node) => outcome,
            _ = tokio::signal::ctrl_c() => Ok(()),
        };
        node.finish().await;
        outcome
    }

    async fn follow(&self, place: &Place, node: &NodeClient<'_>) -> Result<(), Failure> {
        let input = Subscribe {
            topic: self.topic.clone(),
            consumer: self.consumer.clone(),
            from: self.from,
            key: self.key.clone(),
        };
        let options = SubscribeOptions { after_seq: self.after, ..SubscribeOptions::default() };
        let mut events = node.subscribe("events/subscribe", &input, options).await?;
        let (mut shown, mut last, mut saved) = (0, 0, 0);
        while self.count.is_none_or(|count| shown < count) {
            let next = match futures_util::FutureExt::now_or_never(events.next()) {
                Some(next) => next,
                None => {
                    // Nothing waits: what was shown is done with.
                    saved = self.save(node, last, saved).await?;
                    events.next().await
                }
            };
            let Some(item) = next else { break };
            let item = item.map_err(|error| trimmed(explain("events/subscribe", &error), &error))?;
            let event: EventView = serde_json::from_value(item.output)?;
            last = event.id;
            shown += 1;
            show(place, event)?;
            if shown % SAVE_EVERY == 0 {
                saved = self.save(node, last, saved).await?;
            }
        }
        self.save(node, last, saved).await.map(|_| ())
    }

    /// Keeps the consumer's position; answers with it.
    async fn save(&self, node: &NodeClient<'_>, last: u64, saved: u64) -> Result<u64, Failure> {
        match &self.consumer {
            Some(consumer) if last > saved => {
                let (topic, consumer) = (self.topic.clone(), consumer.clone());
                let input = SavePosition { topic, consumer, id: last, rewind: false };
                let position: Position = node.call("events/save-position", &input).await?;
                Ok(position.id)
            }
            _ => Ok(saved),
        }
    }
}

fn trimmed(failure: Failure, error: &alknet_call::CallError) -> Failure {
    match (&error.code, error.details.as_ref().and_then(|details| details["oldest"].as_u64())) {
        (ErrorCode::Declared(code), Some(oldest)) if code == "TRIMMED" => {
            failure.hint(format_args!("to take what is left: --after {}", oldest.saturating_sub(1)))
        }
        _ => failure,
    }
}

fn show(place: &Place, event: EventView) -> Result<(), Failure> {
    if place.json {
        return output::line(serde_json::to_string(&event)?);
    }
    let who = event.publisher.unwrap_or_else(|| "the node".to_owned());
    let about = event.key.map(|key| format!(" {}", output::printable(&key))).unwrap_or_default();
    let at = output::utc(event.published_at_ms / 1_000);
    output::line(format!("{} {at} {}{about} {}", event.id, output::printable(&who), event.payload))
}

fn read_payloads(texts: &[String]) -> Result<Vec<Value>, Failure> {
    let parse = |text: &str| {
        serde_json::from_str(text).map_err(|error| {
            Failure::usage(format!("an event is no JSON: {error}")).hint("quote it for the shell: '{\"order\":7}'")
        })
    };
    match texts {
        [dash] if dash == "-" => {
            read_bounded(io::stdin())?.lines().filter(|l| !l.trim().is_empty()).map(parse).collect()
        }
        texts => texts.iter().map(|text| parse(text)).collect(),
    }
}

fn read_schema(file: &str) -> Result<Value, Failure> {
    let text = if file == "-" {
        read_bounded(io::stdin())?
    } else {
        let opened = std::fs::File::open(file).map_err(|error| {
            Failure::caused_by(Kind::NotFound, &error).while_doing(format_args!("cannot read {file}"))
        })?;
        read_bounded(opened)?
    };
    serde_json::from_str(&text).map_err(|error| Failure::usage(format!("the schema is no JSON: {error}")))
}

fn read_bounded(source: impl Read) -> Result<String, Failure> {
    let mut text = String::new();
    source.take(MAX_INPUT_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_INPUT_BYTES {
        return Err(Failure::usage(format!("the input is larger than {MAX_INPUT_BYTES} bytes")));
    }
    Ok(text)
}
