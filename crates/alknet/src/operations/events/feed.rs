//! What feeds `events/subscribe`: pages of events while there are any, then the next commit.

use std::{collections::VecDeque, sync::Arc};

use alknet_call::{CallError, Item, OperationContext};
use alknet_store::{Event, Store, TopicName};
use futures_util::stream::{Stream, try_unfold};
use tokio::sync::watch;

use super::{
    item,
    positions::consumer_name,
    topic_name, undeclared, unread,
    views::{EventView, From, Subscribe},
};

/// Events read from the database at a time.
const PAGE: usize = 256;

/// A subscription's place in its topic.
struct Feed {
    store: Store,
    context: Arc<OperationContext>,
    topic: TopicName,
    key: Option<String>,
    /// The id of the last event that was read.
    at: u64,
    read: VecDeque<Event>,
    commits: watch::Receiver<u64>,
}

/// Opens a subscription at the position that was asked for.
pub async fn open(
    store: Store,
    context: Arc<OperationContext>,
    input: Subscribe,
) -> Result<impl Stream<Item = Result<Item<EventView>, CallError>> + Send + 'static, CallError> {
    let topic = topic_name(&input.topic)?;
    // Before the first read: what is committed after it wakes us.
    let commits = store.events().watch();
    let at = begin(&store, &context, &topic, &input).await?;
    let feed = Feed { store, context, topic, key: input.key, at, read: VecDeque::new(), commits };
    Ok(try_unfold(feed, |mut feed| async move {
        let next = feed.next().await?;
        Ok(match next {
            Some(event) => Some((item(event)?, feed)),
            None => None,
        })
    }))
}

async fn begin(
    store: &Store,
    context: &OperationContext,
    topic: &TopicName,
    input: &Subscribe,
) -> Result<u64, CallError> {
    let (events, permit) = (store.events(), &context.permit);
    if let Some(after) = context.after_seq {
        return Ok(after);
    }
    if let Some(consumer) = &input.consumer {
        let known = events.position(permit, &consumer_name(consumer)?, topic).await.map_err(unread)?;
        if known > 0 {
            return Ok(known);
        }
    }
    match input.from {
        From::Newest => events.head(permit, topic).await.map_err(unread),
        From::Oldest => {
            let topics = events.topics(permit).await.map_err(undeclared)?;
            Ok(topics.iter().find(|found| found.name == *topic).map_or(0, |found| found.oldest.saturating_sub(1)))
        }
    }
}

impl Feed {
    /// The next event; waits until there is one. `None` when the database is closed.
    async fn next(&mut self) -> Result<Option<Event>, CallError> {
        loop {
            while let Some(event) = self.read.pop_front() {
                if self.key.is_none() || self.key == event.key {
                    return Ok(Some(event));
                }
            }
            self.commits.mark_unchanged();
            let page = self.store.events().read(&self.context.permit, &self.topic, self.at, PAGE).await;
            self.read = page.map_err(unread)?.into();
            match self.read.back() {
                Some(last) => self.at = last.id,
                None if self.commits.changed().await.is_err() => return Ok(None),
                None => {}
            }
        }
    }
}
