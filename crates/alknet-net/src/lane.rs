//! Threads that each serve whole connections.
//!
//! A connection whose tasks wake one another for every few packets is slower on several threads than on one: each turn may take place on
//! another processor, where nothing of the connection is cached (ADR 0014).

use std::{future::Future, io, sync::Arc, thread};

use tokio::runtime::{Builder, Handle};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::AbortOnDropHandle,
};

/// As many lanes as there are processors, one at least.
pub(crate) struct Lanes {
    first: Lane,
    others: Vec<Lane>,
}

/// One thread with a runtime of its own, which ends with this value.
struct Lane {
    runtime: Handle,
    /// Cloned into everything that runs here.
    load: Arc<()>,
    _running: DropGuard,
}

impl Lanes {
    /// Starts their threads.
    pub(crate) fn start() -> io::Result<Self> {
        Self::start_so_many(thread::available_parallelism().map_or(1, usize::from))
    }

    fn start_so_many(count: usize) -> io::Result<Self> {
        Ok(Self { first: Lane::start(0)?, others: (1..count).map(Lane::start).collect::<io::Result<_>>()? })
    }

    /// Runs what `make` makes on the lane that serves least, to its end; given up, it is dropped. All that it spawns stays there.
    pub(crate) async fn run<F>(&self, make: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let lane =
            self.others.iter().fold(&self.first, |least, lane| if lane.load() < least.load() { lane } else { least });
        let load = lane.load.clone();
        let running = lane.runtime.spawn(async move {
            let _load = load;
            make().await;
        });
        // A handler that panics was noticed by the router.
        let _ = AbortOnDropHandle::new(running).await;
    }
}

impl Lane {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (handle, end) = (runtime.handle().clone(), CancellationToken::new());
        let running = end.clone().drop_guard();
        thread::Builder::new().name(format!("lane-{number}")).spawn(move || {
            runtime.block_on(end.cancelled());
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, load: Arc::default(), _running: running })
    }

    /// How much it serves, for comparison.
    fn load(&self) -> usize {
        Arc::strong_count(&self.load)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_connection_stays_on_its_thread_and_the_next_takes_another() {
        let lanes = Arc::new(Lanes::start_so_many(2).unwrap());
        let (said, heard) = mpsc::channel();
        let (go, first_may_end) = tokio::sync::oneshot::channel::<()>();
        let (here, tell) = (lanes.clone(), said.clone());
        let first = tokio::spawn(async move {
            let first = move || async move {
                tell.send(thread::current().id()).unwrap();
                tokio::spawn(async move { tell.send(thread::current().id()).unwrap() }).await.unwrap();
                let _ = first_may_end.await;
            };
            here.run(first).await;
        });
        let mut ids = Vec::new();
        while ids.len() < 2 {
            ids.extend(heard.try_iter());
            tokio::task::yield_now().await;
        }
        assert_eq!(ids[0], ids[1]);
        lanes.run(move || async move { said.send(thread::current().id()).unwrap() }).await;
        assert_ne!(heard.try_iter().next(), Some(ids[0]));
        go.send(()).unwrap();
        first.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_given_up_ends() {
        let lanes = Lanes::start().unwrap();
        let (alive, ended) = tokio::sync::oneshot::channel::<()>();
        let forever = move || async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        };
        assert!(futures_util::FutureExt::now_or_never(lanes.run(forever)).is_none());
        assert!(ended.await.is_err());
    }
}
