//! Turns of hooks: who has the next one, what ends one, and what is told of what somebody may no longer see.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use alknet_core::{Identity, ResourceGrants, ScopeSet};
use alknet_fs::{
    Right, failpoints,
    limits::HOOK_TURN,
    rows::{branch::Mode, hook::Target},
};
use tokio::sync::{Semaphore, mpsc};

use crate::{
    hooks::{Fake, URL, hook, jobs, numbers, until, wanted, web},
    world::{World, address},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_servers_of_one_bucket_take_turns_with_the_others() {
    // FS-73
    let (world, fake) = (World::new().await, Fake::new());
    let (slow, last) = (|number: u32| format!("https://slow.example/{number:02}"), "https://last.example/");
    for number in 0..16 {
        hook(&world, "main", wanted(&format!("h{number:02}"), web(&slow(number)))).await;
    }
    hook(&world, "main", wanted("last", web(last))).await;
    hook(&world, "main", wanted("queue", Target::Queue("changes".into()))).await;
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    fake.replies(Box::new(move |letter| {
        let (gate, is_slow) = (held.clone(), letter.url.starts_with("https://slow"));
        Box::pin(async move {
            if is_slow {
                gate.acquire().await.unwrap().forget();
            }
            Ok(())
        })
    }));
    world.fs.keep_hooks(fake.clone());
    world.put("proj/a", "1").await.unwrap();
    world.until("all places are taken", |_| (0..16).all(|number| fake.seqs(&slow(number)) == [2])).await;
    world.put("proj/a", "2").await.unwrap();
    world.until("hooks are looked at again", |world| jobs(&world.folder, "changes").len() == 2).await;
    assert!(fake.to(last).is_empty(), "a bucket has so many places");
    gate.add_permits(1);
    // Whose server answered is behind again, and made before the last one: it waits for its turn all the same.
    world.until("who waited for longest was told", |_| fake.seqs(last) == [2, 3]).await;
    world.end().await;
}

#[tokio::test]
async fn a_slow_servers_turn_ends_after_a_while() {
    // FS-73
    let (world, fake) = (World::new().await, Fake::new());
    hook(&world, "main", wanted("web", web(URL))).await;
    for text in ["1", "2", "3"] {
        world.put("proj/a", text).await.unwrap();
    }
    let (posted, mut heard) = mpsc::unbounded_channel();
    fake.replies(Box::new(move |letter| {
        posted.send(letter.id.clone()).unwrap();
        Box::pin(async {
            tokio::time::sleep(HOOK_TURN).await;
            Ok(())
        })
    }));
    let turns = Arc::new(AtomicUsize::new(0));
    let armed = failpoints::arm({
        let turns = turns.clone();
        move |step| {
            turns.fetch_add(usize::from(step == "hook.looked"), Ordering::Relaxed);
        }
    });
    tokio::time::pause();
    world.fs.keep_hooks(fake.clone());
    for _ in 0..3 {
        heard.recv().await.unwrap();
    }
    tokio::time::resume();
    assert_eq!(turns.load(Ordering::Relaxed), 3, "one for each letter");
    assert_eq!(fake.seqs(URL), [2, 3, 4]);
    drop(armed);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_over_which_the_node_fails_rests_and_holds_up_nobody() {
    // FS-73, FS-74
    let (world, fake) = (World::new().await, Fake::new());
    fake.replies(Box::new(|letter| {
        let fails = letter.url == URL;
        Box::pin(async move { if fails { panic!("a mistake of the node's own") } else { Ok(()) } })
    }));
    hook(&world, "main", wanted("a-other", web("https://other.example/"))).await;
    hook(&world, "main", wanted("b-fails", web(URL))).await;
    world.fs.keep_hooks(fake.clone());
    world.put("proj/a", "1").await.unwrap();
    let failed = until(&world, "its failure is noted", |hook| hook.row.attempts == 1).await;
    assert_eq!(failed.row.error.as_deref(), Some("the node failed over it, and its log says how"));
    assert!(failed.row.next_ms.is_some(), "it is tried again");
    world.until("the other was told", |_| fake.seqs("https://other.example/") == [2]).await;
    world.end().await;
}

fn reader(places: &[&str]) -> Identity {
    let mut resources = ResourceGrants::default();
    for place in places {
        resources.grant(format!("bucket:proj/{place}").parse().unwrap(), "fs:read");
    }
    resources.grant("queue:changes".parse().unwrap(), "produce");
    let scopes: ScopeSet = ["fs:read", "queues:produce"].iter().map(|scope| scope.parse().unwrap()).collect();
    Identity::new("ann", scopes, resources)
}

/// With a branch `pub` that follows `main`, on both of which there was a change since.
async fn followed(target: Target) -> World {
    let world = World::new().await;
    let at = address("proj");
    let view = world.fs.tree().view(&world.permit_at(Right::Read, &at), &at).await.unwrap();
    let permit = world.permit(Right::Branch, "proj", Some("pub"));
    world.fs.tree().create_branch(&permit, &"pub".parse().unwrap(), &view, Mode::Follow).await.unwrap();
    hook(&world, "pub", wanted("of-pub", target)).await;
    for at in ["proj/a", "proj/b", "proj:pub/c"] {
        world.put(at, at).await.unwrap();
    }
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_its_maker_may_no_longer_see_is_not_sent() {
    // FS-76
    let (world, fake) = (followed(web(URL)).await, Fake::new());
    fake.may("ann", Some(reader(&["pub", "main"])));
    fake.answers({
        let fake = Arc::downgrade(&fake);
        move |_| {
            fake.upgrade().unwrap().may("ann", Some(reader(&["pub"])));
            Ok(())
        }
    });
    world.fs.keep_hooks(fake.clone());
    until(&world, "it was told of all", |hook| hook.row.hook.after == hook.head).await;
    assert_eq!(fake.seqs(URL), [2, 4], "the right to the parent ended with the first letter");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_its_maker_may_no_longer_see_becomes_no_job() {
    // FS-76
    let (world, fake) = (followed(Target::Queue("changes".into())).await, Fake::new());
    fake.may("ann", Some(reader(&["pub", "main"])));
    let looked = Arc::new(Mutex::new(0));
    let armed = failpoints::arm({
        let (fake, looked) = (fake.clone(), looked.clone());
        move |step| {
            if step == "hook.looked" {
                *looked.lock().unwrap() += 1;
                fake.may("ann", Some(reader(&["pub"])));
            }
        }
    });
    world.fs.keep_hooks(fake.clone());
    until(&world, "it was told of all", |hook| hook.row.hook.after == hook.head).await;
    assert_eq!((numbers(&jobs(&world.folder, "changes")), *looked.lock().unwrap()), (vec![4], 2));
    drop(armed);
    world.end().await;
}
