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

#[test]
fn fs_path() {
    // FS-12, FS-13, FS-16
    replay::replay("fs_path", feeds::fs_path);
}

#[test]
fn fs_xattrs() {
    // TREE-13
    replay::replay("fs_xattrs", feeds::fs_xattrs);
}

#[test]
fn fs_policy() {
    // TREE-61
    replay::replay("fs_policy", feeds::fs_policy);
}

#[test]
fn fs_outboard() {
    // BLOB-20, BLOB-21, BLOB-22
    replay::replay("fs_outboard", feeds::fs_outboard);
}
