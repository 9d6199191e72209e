use std::time::Duration;

use alknet_core::{Maintenance, PermitError};
use alknet_store::{
    NewJob, QueueError, QueueStats, Retried,
    limits::{MAX_DEAD_LETTER_AGE, MAX_JOB_ERROR_BYTES},
};

use crate::{
    events_fixture::{Board, NOW_MS, board, consumer, job, payloads, permit_for, permit_of, queue, somebody},
    fixture::{eventually, owner, permit},
};

const MINUTE: Duration = Duration::from_secs(60);

async fn stats(board: &Board) -> QueueStats {
    board.queues().queue_stats(&owner("queues:read"), &queue("mail")).await.unwrap()
}

async fn dead(board: &Board) -> Vec<alknet_store::DeadJob> {
    board.queues().dead(&owner("queues:read"), &queue("mail"), 0, 100).await.unwrap()
}

async fn put(board: &Board, new: NewJob) -> u64 {
    board.queues().enqueue(&owner("queues:produce"), new).await.unwrap()
}

fn lost<T: std::fmt::Debug>(outcome: Result<T, QueueError>) -> bool {
    matches!(outcome, Err(QueueError::ClaimLost { .. }))
}

#[tokio::test]
async fn a_job_is_claimed_once_and_ends_when_it_is_done() {
    // STORE-80
    let mut board = board();
    let id = board.enqueue("mail", "1").await;
    board.enqueue("mail", "2").await;
    board.reopen("");
    let first = board.claim("mail", 1).await;
    let second = board.claim("mail", 10).await;
    assert_eq!((payloads(&first), payloads(&second)), (vec!["1"], vec!["2"]), "in the order in which they came");
    assert_eq!(board.claim("mail", 10).await, []);
    let job = &first[0];
    assert_eq!((job.claim.job, job.claim.attempt, job.max_attempts, job.producer.as_str()), (id, 1, 3, "me"));
    assert_eq!((job.enqueued_at_ms, job.deadline_ms), (NOW_MS, NOW_MS + 60_000));
    assert_eq!(stats(&board).await.claimed, 2);
    let permit = owner("queues:consume");
    board.queues().ack(&permit, &job.claim).await.unwrap();
    assert!(lost(board.queues().ack(&permit, &job.claim).await), "what ended cannot end again");
    board.pass(2 * MINUTE);
    assert_eq!(payloads(&board.claim("mail", 10).await), ["2"], "the other comes back, the one that was done does not");
}

#[tokio::test]
async fn higher_priorities_go_first_and_delayed_jobs_when_they_are_due() {
    // STORE-80
    let board = board();
    for (payload, priority, delay) in [("1", 0, 0), ("2", 5, 0), ("3", 9, 250), ("4", 5, 0), ("5", 0, 100)] {
        put(&board, NewJob { priority, delay: Duration::from_millis(delay), ..job("mail", payload) }).await;
    }
    let counted = stats(&board).await;
    assert_eq!((counted.waiting, counted.delayed, counted.next_due_at_ms), (3, 2, Some(NOW_MS + 100)));
    assert_eq!(payloads(&board.claim("mail", 2).await), ["2", "4"]);
    board.pass(Duration::from_millis(249));
    assert_eq!(payloads(&board.claim("mail", 10).await), ["1", "5"], "not yet");
    board.pass(Duration::from_millis(1));
    assert_eq!(payloads(&board.claim("mail", 10).await), ["3"]);
}

#[tokio::test]
async fn a_job_whose_consumer_died_comes_back_and_has_one_attempt_less() {
    // STORE-81
    let board = board();
    put(&board, NewJob { max_attempts: 2, ..job("mail", "1") }).await;
    let first = board.claim("mail", 1).await;
    board.pass(MINUTE - Duration::from_millis(1));
    assert_eq!(board.claim("mail", 1).await, []);
    assert_eq!(stats(&board).await.next_due_at_ms, Some(NOW_MS + 60_000));
    board.pass(Duration::from_millis(1));
    let second = board.claim("mail", 1).await;
    assert_eq!((first[0].claim.attempt, second[0].claim.attempt), (1, 2));
    board.pass(MINUTE);
    assert_eq!(board.claim("mail", 1).await, [], "twice was the most");
    let letters = dead(&board).await;
    assert_eq!((letters[0].job, letters[0].attempts, letters[0].payload.as_str()), (first[0].claim.job, 2, "1"));
    assert!(letters[0].error.contains("ran out") && letters[0].died_at_ms == NOW_MS + 120_000);
    let counted = stats(&board).await;
    assert_eq!((counted.waiting, counted.claimed, counted.dead), (0, 0, 1));
}

#[tokio::test]
async fn only_who_holds_the_claim_ends_the_job() {
    // STORE-82
    let board = board();
    board.enqueue("mail", "1").await;
    let (permit, queues) = (owner("queues:consume"), board.queues());
    let stale = board.claim("mail", 1).await.remove(0).claim;
    board.pass(MINUTE);
    let held = board.claim("mail", 1).await.remove(0).claim;
    assert!(lost(queues.ack(&permit, &stale).await), "also for a worker of the same name");
    assert!(lost(queues.extend(&permit, &stale, MINUTE).await));
    assert!(lost(queues.retry(&permit, &stale, MINUTE, "late").await));
    assert!(lost(queues.fail(&permit, &stale, "late").await));
    let error = queues.ack(&permit, &stale).await.unwrap_err().to_string();
    assert!(error.contains("claimed again") && error.contains("attempt 1"), "{error}");
    let bob = permit_of("bob", "queues:consume");
    assert!(lost(queues.ack(&bob, &held).await), "another identity");
    let elsewhere = alknet_store::Claim { queue: queue("other"), ..held.clone() };
    assert!(lost(queues.ack(&permit, &elsewhere).await));
    queues.ack(&permit, &held).await.unwrap();
    assert_eq!(stats(&board).await.dead, 0);
}

#[tokio::test]
async fn a_claim_is_held_as_long_as_it_is_extended_and_until_somebody_else_has_it() {
    // STORE-82
    let board = board();
    board.enqueue("mail", "1").await;
    let (permit, queues) = (owner("queues:consume"), board.queues());
    let claim = board.claim("mail", 1).await.remove(0).claim;
    for minute in 1..=3 {
        board.pass(MINUTE - Duration::from_millis(1));
        let deadline = queues.extend(&permit, &claim, MINUTE).await.unwrap();
        assert_eq!(deadline, NOW_MS + minute * 59_999 + 60_000);
        assert_eq!(board.claim("mail", 1).await, []);
    }
    board.pass(10 * MINUTE);
    queues.ack(&permit, &claim).await.expect("nobody took it meanwhile: the work was not in vain");
}

#[tokio::test]
async fn a_job_that_is_given_back_is_due_later_and_dead_after_its_last_attempt() {
    // STORE-83
    let board = board();
    put(&board, NewJob { max_attempts: 2, ..job("mail", "1") }).await;
    let (permit, queues) = (owner("queues:consume"), board.queues());
    let first = board.claim("mail", 1).await.remove(0);
    assert_eq!(first.error, None);
    let again = queues.retry(&permit, &first.claim, Duration::from_millis(1500), "no route").await.unwrap();
    assert_eq!(again, Retried::Again { due_at_ms: NOW_MS + 1500 });
    assert!(lost(queues.ack(&permit, &first.claim).await), "it was given back");
    board.pass(Duration::from_millis(1499));
    assert_eq!(board.claim("mail", 1).await, []);
    board.pass(Duration::from_millis(1));
    let second = board.claim("mail", 1).await.remove(0);
    assert_eq!((second.claim.attempt, second.error.as_deref()), (2, Some("no route")));
    let over = queues.retry(&permit, &second.claim, Duration::ZERO, &"é".repeat(MAX_JOB_ERROR_BYTES)).await.unwrap();
    assert_eq!(over, Retried::Dead);
    let letters = dead(&board).await;
    assert_eq!((letters.len(), letters[0].attempts), (1, 2));
    assert_eq!(letters[0].error, "é".repeat(MAX_JOB_ERROR_BYTES / 2));
}

#[tokio::test]
async fn dead_letters_can_be_looked_at_and_made_jobs_again() {
    // STORE-83
    let mut board = board();
    let (permit, queues) = (owner("queues:consume"), board.queues());
    for payload in ["1", "2"] {
        put(&board, NewJob { priority: 3, expires: Some(MINUTE), ..job("mail", payload) }).await;
        let claim = board.claim("mail", 1).await.remove(0).claim;
        queues.fail(&permit, &claim, "no such address").await.unwrap();
    }
    board.reopen("");
    let (queues, letters) = (board.queues(), dead(&board).await);
    let shown: Vec<_> =
        letters.iter().map(|dead| (dead.payload.as_str(), dead.error.as_str(), dead.attempts)).collect();
    assert_eq!(shown, [("1", "no such address", 1), ("2", "no such address", 1)]);
    let after = queues.dead(&owner("queues:read"), &queue("mail"), letters[0].id, 100).await.unwrap();
    assert_eq!(after, letters[1..]);
    board.pass(2 * MINUTE);
    let mut heard = queues.watch();
    heard.mark_unchanged();
    let id = queues.requeue_dead(&permit, &queue("mail"), letters[0].id).await.unwrap();
    heard.changed().await.unwrap();
    assert_eq!(*heard.borrow(), id);
    let again = board.claim("mail", 10).await;
    assert_eq!((payloads(&again), again[0].claim.attempt, again[0].priority), (vec!["1"], 1, 3));
    assert_eq!(again[0].producer, "me");
    let twice = queues.requeue_dead(&permit, &queue("mail"), letters[0].id).await.unwrap_err();
    assert!(matches!(twice, QueueError::NoSuchDeadLetter(id) if id == letters[0].id));
    let elsewhere = queues.requeue_dead(&permit, &queue("other"), letters[1].id).await;
    assert!(matches!(elsewhere, Err(QueueError::Unknown(_))));
    assert_eq!(dead(&board).await, letters[1..]);
}

#[tokio::test]
async fn expired_jobs_are_given_up_by_the_next_claim_or_the_janitor() {
    // STORE-84
    let board = board();
    let soon = |payload| NewJob { expires: Some(MINUTE), ..job("mail", payload) };
    put(&board, soon("1")).await;
    put(&board, soon("2")).await;
    put(&board, NewJob { expires: Some(3 * MINUTE), max_attempts: 1, ..job("mail", "3") }).await;
    board.enqueue("mail", "4").await;
    let permit = owner("queues:consume");
    let held = board.claim("mail", 1).await.remove(0);
    board.queues().extend(&permit, &held.claim, 2 * MINUTE).await.unwrap();
    board.pass(MINUTE);
    assert_eq!(payloads(&board.claim("mail", 10).await), ["3", "4"]);
    assert_eq!(dead(&board).await.iter().map(|dead| dead.payload.as_str()).collect::<Vec<_>>(), ["2"]);
    // Nobody claims any more: the one whose consumer died while it expired, and the one on its last attempt.
    board.pass(2 * MINUTE);
    let pruned = board.queues().prune(&Maintenance::of("test")).await.unwrap();
    assert_eq!((pruned.given_up, pruned.dead_letters, pruned.queues), (2, 0, 0));
    let letters = dead(&board).await;
    let mut payloads: Vec<_> = letters.iter().map(|dead| dead.payload.as_str()).collect();
    payloads.sort_unstable();
    assert_eq!(payloads, ["1", "2", "3"]);
    assert_eq!(stats(&board).await.waiting, 1, "the one without an end stays");
}

#[tokio::test]
async fn old_dead_letters_and_empty_queues_go() {
    // STORE-83
    let board = board();
    let (permit, queues, task) = (owner("queues:consume"), board.queues(), Maintenance::of("test"));
    for _ in 0..2 {
        board.enqueue("mail", "1").await;
        let claim = board.claim("mail", 1).await.remove(0).claim;
        queues.fail(&permit, &claim, "no").await.unwrap();
        board.pass(MINUTE);
    }
    board.pass(MAX_DEAD_LETTER_AGE - MINUTE);
    assert_eq!(queues.prune(&task).await.unwrap().dead_letters, 1);
    assert_eq!((dead(&board).await.len(), stats(&board).await.dead), (1, 1));
    board.pass(MINUTE);
    let pruned = queues.prune(&task).await.unwrap();
    assert_eq!((pruned.dead_letters, pruned.queues), (1, 1));
    let gone = queues.queue_stats(&owner("queues:read"), &queue("mail")).await;
    assert!(matches!(gone, Err(QueueError::Unknown(_))));
    assert_eq!(board.claim("mail", 1).await, [], "who claims from it just finds it empty");
}

#[tokio::test]
async fn each_function_wants_its_own_scope_and_queue() {
    // STORE-78
    let board = board();
    board.enqueue("mail", "1").await;
    let (queues, mail, worker) = (board.queues(), queue("mail"), consumer("worker"));
    let needs = |error: QueueError| match error {
        QueueError::Permit(PermitError::NotCovered { needed, .. }) => needed,
        other => panic!("{other}"),
    };
    let wrong = owner("fs:read");
    assert_eq!(needs(queues.enqueue(&wrong, job("mail", "1")).await.unwrap_err()), "queues:produce");
    assert_eq!(needs(queues.claim(&wrong, &mail, &worker, 1, MINUTE).await.unwrap_err()), "queues:consume");
    assert_eq!(needs(queues.requeue_dead(&wrong, &mail, 1).await.unwrap_err()), "queues:consume");
    assert_eq!(needs(queues.queue_stats(&wrong, &mail).await.unwrap_err()), "queues:read");
    assert_eq!(needs(queues.dead(&wrong, &mail, 0, 1).await.unwrap_err()), "queues:read");
    let claim = board.claim("mail", 1).await.remove(0).claim;
    assert_eq!(needs(queues.ack(&wrong, &claim).await.unwrap_err()), "queues:consume");
    let other = |scope| permit_for(scope, "queue", "other");
    assert_eq!(needs(queues.enqueue(&other("queues:produce"), job("mail", "1")).await.unwrap_err()), "queue:mail");
    assert_eq!(
        needs(queues.claim(&other("queues:consume"), &mail, &worker, 1, MINUTE).await.unwrap_err()),
        "queue:mail"
    );
    assert_eq!(needs(queues.ack(&other("queues:consume"), &claim).await.unwrap_err()), "queue:mail");
    assert_eq!(needs(queues.dead(&other("queues:read"), &mail, 0, 1).await.unwrap_err()), "queue:mail");
    queues.ack(&permit_for("queues:consume", "queue", "mail"), &claim).await.unwrap();
}

#[tokio::test]
async fn revoked_rights_end_at_once() {
    // STORE-78
    let board = board();
    board.enqueue("mail", "1").await;
    let (alice, rights) = somebody("alice", "queues:consume");
    let consume = permit(alice, "queues:consume");
    let (queues, mail, worker) = (board.queues(), queue("mail"), consumer("worker"));
    let claim = queues.claim(&consume, &mail, &worker, 1, MINUTE).await.unwrap().remove(0).claim;
    rights.fetch_add(1, std::sync::atomic::Ordering::Release);
    let error = queues.ack(&consume, &claim).await.unwrap_err();
    assert!(matches!(error, QueueError::Permit(PermitError::Revoked)), "{error}");
    assert!(queues.claim(&consume, &mail, &worker, 1, MINUTE).await.is_err());
    board.pass(MINUTE);
    assert_eq!(payloads(&board.claim("mail", 1).await), ["1"], "another takes it over");
}

#[tokio::test]
async fn many_workers_share_the_jobs_and_none_is_done_twice() {
    // STORE-80
    let board = board();
    for number in 0..40 {
        board.enqueue("mail", &number.to_string()).await;
    }
    let workers: Vec<_> = (0..8)
        .map(|number| {
            let queues = board.queues();
            tokio::spawn(async move {
                let (permit, worker) = (permit_of("bob", "queues:consume"), consumer(&format!("worker-{number}")));
                let mut done = Vec::new();
                loop {
                    let jobs = queues.claim(&permit, &queue("mail"), &worker, 3, MINUTE).await.unwrap();
                    if jobs.is_empty() {
                        return done;
                    }
                    for job in jobs {
                        queues.ack(&permit, &job.claim).await.unwrap();
                        done.push(job.payload);
                    }
                }
            })
        })
        .collect();
    let mut done = Vec::new();
    for worker in workers {
        eventually(async || worker.is_finished()).await;
        done.extend(worker.await.unwrap());
    }
    done.sort_by_key(|payload| payload.parse::<u32>().unwrap());
    assert_eq!(done, (0..40).map(|number| number.to_string()).collect::<Vec<_>>());
    let counted = stats(&board).await;
    assert_eq!((counted.waiting, counted.claimed, counted.dead), (0, 0, 0));
}
