//! Feeds a target's whole corpus to it, without a fuzzer.

use std::time::{Duration, Instant};

/// Far more than any entry takes, even in a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

#[allow(clippy::print_stdout, reason = "captured by the test runner, shown when a test fails")]
pub fn replay(target: &str, feed: fn(&[u8])) {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus");
    let mut entries: Vec<_> =
        std::fs::read_dir(format!("{corpus}/{target}")).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    assert!(!entries.is_empty(), "{target} has no corpus");
    for entry in entries {
        let data = std::fs::read(&entry).unwrap();
        let begun = Instant::now();
        // A panic is told by the test's name and this line.
        println!("{}", entry.display());
        feed(&data);
        assert!(begun.elapsed() < PATIENCE, "{} took {:?}", entry.display(), begun.elapsed());
    }
}
