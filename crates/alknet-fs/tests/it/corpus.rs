//! The corpora of the fuzz targets, replayed: no panic, bounded time.

#[path = "../../../../fuzz/feeds/fs.rs"]
mod feeds;
#[path = "../../../../fuzz/feeds/replay.rs"]
mod replay;

#[test]
fn fs_address() {
    // FS-14, FS-16
    replay::replay("fs_address", feeds::fs_address);
}
