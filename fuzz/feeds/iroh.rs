//! Requests for `/iroh-bytes/4`, as a peer writes them: whatever it asks, it gets an answer or a code, and a stranger nothing.

use std::sync::OnceLock;

use alknet_core::Identity;
use tokio::runtime::Runtime;

use crate::fixture::{Answer, Door};

/// Length of the content that is there: two groups, and a byte.
const CONTENT_BYTES: usize = 2 * 16 * 1024 + 1;

/// A door behind which content lies, on a runtime of its own.
fn world() -> &'static (Runtime, Door) {
    static WORLD: OnceLock<(Runtime, Door)> = OnceLock::new();
    WORLD.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let door = runtime.block_on(async {
            let door = Door::new().await;
            door.put("large", &content()).await;
            door.put("small", b"the plan").await;
            door
        });
        (runtime, door)
    })
}

fn content() -> Vec<u8> {
    (0..CONTENT_BYTES).map(|at| (at % 251) as u8).collect()
}

pub fn iroh_request(data: &[u8]) {
    let (runtime, door) = world();
    runtime.block_on(async {
        let owner = door.dial(Some(Identity::owner("boss")));
        if let Answer::Whole(bytes) = owner.ask(data).await {
            // One piece after the other: a length, and what was asked of the content.
            assert!(bytes.len() <= data.len() * (CONTENT_BYTES + 1024), "{} bytes are too many", bytes.len());
        }
        drop(owner.connection);
        let ended = owner.served.await;
        assert!(ended.is_ok(), "the door fell: {ended:?}");
        let stranger = door.dial(None);
        assert!(matches!(stranger.ask(data).await, Answer::Reset(bytes, _) if bytes.is_empty()));
        drop(stranger.connection);
        let ended = stranger.served.await;
        assert!(ended.is_ok(), "the door fell: {ended:?}");
    });
}
