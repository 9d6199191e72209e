//! Two attempts at one thing, the first with a head start.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{self, Either};
use tokio::time::sleep;

/// How a race ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finish<T, E> {
    /// The first got through.
    Leader(T),
    /// The second got through; why the first did not, or `None` if it had still not answered.
    Follower(T, Option<E>),
    /// The first failed in a way that the second cannot better.
    Final(E),
    /// Neither got through.
    Neither(E, E),
}

/// Runs `leader`; after `head_start`, or at once when it fails, runs `follower` beside it. The first success wins, the
/// other attempt is dropped.
pub(super) async fn race<T, E>(
    leader: impl Future<Output = Result<T, E>>,
    follower: impl Future<Output = Result<T, E>>,
    head_start: Duration,
    is_final: impl Fn(&E) -> bool,
) -> Finish<T, E> {
    let (mut leader, follower) = (pin!(leader), pin!(follower));
    match future::select(leader.as_mut(), pin!(sleep(head_start))).await {
        Either::Left((Ok(won), _)) => return Finish::Leader(won),
        Either::Left((Err(error), _)) if is_final(&error) => return Finish::Final(error),
        Either::Left((Err(error), _)) => return last_chance(error, follower).await,
        Either::Right(_) => {}
    }
    match future::select(leader, follower).await {
        Either::Left((Ok(won), _)) => Finish::Leader(won),
        Either::Left((Err(error), _)) if is_final(&error) => Finish::Final(error),
        Either::Left((Err(error), follower)) => last_chance(error, follower).await,
        Either::Right((Ok(won), _)) => Finish::Follower(won, None),
        Either::Right((Err(error), leader)) => match leader.await {
            Ok(won) => Finish::Leader(won),
            Err(first) => Finish::Neither(first, error),
        },
    }
}

async fn last_chance<T, E>(lost: E, follower: impl Future<Output = Result<T, E>>) -> Finish<T, E> {
    match follower.await {
        Ok(won) => Finish::Follower(won, Some(lost)),
        Err(error) => Finish::Neither(lost, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    const SHORT: Duration = Duration::from_millis(5);
    const LONG: Duration = Duration::from_secs(60);

    async fn after<T>(delay: Duration, value: T) -> T {
        sleep(delay).await;
        value
    }

    fn never_final(_: &&str) -> bool {
        false
    }

    #[tokio::test]
    async fn the_leader_wins_without_the_follower() {
        let follower = async { panic!("must not start") };
        let finish = race(ready(Ok::<_, &str>(1)), follower, LONG, never_final).await;
        assert_eq!(finish, Finish::Leader(1));
    }

    #[tokio::test]
    async fn a_failed_leader_starts_the_follower_at_once() {
        let finish = race(ready(Err("refused")), ready(Ok(2)), LONG, never_final).await;
        assert_eq!(finish, Finish::Follower(2, Some("refused")));
        let finish = race(ready(Err::<(), _>("a")), ready(Err("b")), LONG, never_final).await;
        assert_eq!(finish, Finish::Neither("a", "b"));
    }

    #[tokio::test]
    async fn a_silent_leader_loses_after_its_head_start() {
        let finish = race(pending(), ready(Ok::<_, &str>(2)), SHORT, never_final).await;
        assert_eq!(finish, Finish::Follower(2, None));
    }

    #[tokio::test]
    async fn a_late_leader_can_still_win_or_fail() {
        let finish = race(after(SHORT * 4, Ok(1)), ready(Err("b")), SHORT, never_final).await;
        assert_eq!(finish, Finish::Leader(1));
        let finish = race(after(SHORT * 4, Ok::<_, &str>(1)), pending(), SHORT, never_final).await;
        assert_eq!(finish, Finish::Leader(1));
        let finish = race(after(SHORT * 4, Err("a")), after(SHORT * 16, Ok(2)), SHORT, never_final).await;
        assert_eq!(finish, Finish::Follower(2, Some("a")));
        let finish = race(after(SHORT * 4, Err::<(), _>("a")), ready(Err("b")), SHORT, never_final).await;
        assert_eq!(finish, Finish::Neither("a", "b"));
    }

    #[tokio::test]
    async fn a_final_failure_ends_it() {
        let finish = race(ready(Err::<(), _>("key")), async { panic!("must not start") }, LONG, |_| true).await;
        assert_eq!(finish, Finish::Final("key"));
        let finish = race(after(SHORT * 4, Err::<(), _>("key")), pending(), SHORT, |_| true).await;
        assert_eq!(finish, Finish::Final("key"));
    }
}
