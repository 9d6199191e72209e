use std::time::Duration;

use alknet_fs::{FileSystemConfig, Right};

use crate::world::{World, noise};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_removed_bucket_held_goes_in_the_background() {
    // SESS-60
    let soon = |folder| FileSystemConfig { gc_grace: Duration::from_millis(100), ..FileSystemConfig::new(folder) };
    let world = World::new().await.restart_with(soon).await;
    world.bucket("other", alknet_fs::Terms::default()).await;
    for number in 0..4 {
        world.put(&format!("proj/{number}"), noise(number, 40_000)).await.unwrap();
    }
    world.put("other/0", noise(0, 40_000)).await.unwrap();
    assert_eq!(world.blobs().len(), 8);
    let admin = world.permit(Right::Admin, "proj", None);
    world.fs.tree().remove_bucket(&admin, &"proj".parse().unwrap(), true).await.unwrap();
    world.until("only what is referred to is left", |world| world.blobs().len() == 2).await;
    assert_eq!(world.get("other/0").await.unwrap(), noise(0, 40_000));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_no_row_names_are_gone_after_a_start() {
    // SESS-60
    let world = World::new().await;
    world.put("proj/a", noise(1, 40_000)).await.unwrap();
    std::mem::forget(world.fs.content().store(noise(2, 40_000).into()).await.unwrap());
    assert_eq!(world.blobs().len(), 4);
    let world = world.restart().await;
    world.until("only what a row names is left", |world| world.blobs().len() == 2).await;
    assert_eq!(world.get("proj/a").await.unwrap(), noise(1, 40_000));
    world.end().await;
}
