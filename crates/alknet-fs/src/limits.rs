//! Every bound of this crate, with its unit.

use std::time::Duration;

/// Longest name of a bucket, a branch or a snapshot, in bytes.
pub const MAX_NAME_BYTES: usize = 63;
/// Longest name of an entry, in bytes.
pub const MAX_ENTRY_NAME_BYTES: usize = 255;
/// Longest ending of a name that stays at its end when the name is marked, its dot included, in bytes.
pub const MAX_EXTENSION_BYTES: usize = 16;
/// Names in one path.
pub const MAX_PATH_NAMES: usize = 1024;
/// Longest path, in bytes.
pub const MAX_PATH_BYTES: usize = 262_144;
/// Longest text before `//` in an address, in bytes.
pub const MAX_ADDRESS_NODE_BYTES: usize = 1024;
/// Longest text after `@` in an address, in bytes.
pub const MAX_WHEN_BYTES: usize = 64;
/// Bytes of a hostile name that an error shows.
pub const MAX_SHOWN_BYTES: usize = 64;
/// Bytes that an error shows of a reason which quotes a hostile text.
pub const MAX_SHOWN_REASON_BYTES: usize = 200;

/// Branches that a branch reads through, itself included.
pub const MAX_CHAIN_LEVELS: usize = 64;
/// Branches that a branch reads through, itself included, before it is flattened in the background.
pub const MAX_UNFLATTENED_LEVELS: usize = 16;
/// Rows that one step of flattening looks at.
pub const FLATTENED_ROWS_AT_ONCE: usize = 512;
/// How long one call may take to flatten a branch; given again, it goes on where it was.
pub const FLATTEN_TIMEOUT: Duration = Duration::from_secs(3600);
/// How long what could not be flattened waits until it is tried again.
pub const FLATTEN_RETRY_INTERVAL: Duration = Duration::from_secs(600);
/// Rows that one look at a folder takes from a level at a time.
pub const PAGE_ROWS_AT_ONCE: usize = 256;
/// Branches and versions that one search looks at to find whether a hash exists for somebody; beyond it does not.
pub const MAX_VISIBILITY_STEPS: usize = 10_000;

/// How long an operation may take that goes through much.
pub const LONG_TIMEOUT: Duration = Duration::from_secs(3600);
/// As [`MAX_VISIBILITY_STEPS`], for all hashes that are asked for, or named by one commit, together.
pub const MAX_ASKED_STEPS: usize = 100_000;

/// Entries, branches, commits or differences in one answer.
pub const MAX_LISTED: u32 = 1000;
/// Bytes of the entries, commits, differences or conflicts in one answer, and of the changes in one item of `fs/watch`: with the
/// longest path and its escapes beyond it is still less than a frame of the call protocol.
pub const MAX_LISTED_BYTES: usize = 2 << 20;
/// Most bytes that `fs/read.inline` gives.
pub const MAX_INLINE_READ_BYTES: u64 = 256 * 1024;
/// Shortest content whose length can be asked about, in bytes: shorter content is hashed sooner than asked about.
pub const LEAST_ASKED_BYTES: u64 = 16 << 20;
/// Lengths that are asked about at once.
pub const MAX_SIZES_ASKED: u32 = 64;
/// Content of one length that is looked at when it is asked about; where more has it, what comes then is not looked for.
pub const MAX_OF_ONE_SIZE: usize = 16;
/// Hashes in one `fs/have`.
pub const MAX_HASHES_ASKED: u32 = 1000;
/// Entries in one `fs/write.many`.
pub const MAX_WRITTEN_AT_ONCE: u32 = 512;
/// Extended attributes of an entry.
pub const MAX_XATTRS: u32 = 256;

/// Bytes that are hashed, and can be proven, together; also the longest content that is kept in the database.
pub const GROUP_BYTES: u64 = 16_384;
/// Bytes that are copied, or read to be hashed, at a time.
pub const COPY_BUFFER_BYTES: usize = 1 << 20;
/// Parts of that size which are read and proven while somebody uses the one before them.
pub const CHUNKS_AHEAD: usize = 2;
/// Bytes of a spool that are written but not yet hashed, before writing waits.
pub const MAX_UNHASHED_BYTES: usize = 8 << 20;
/// Bytes of one open write that are hashed before others have their turn.
pub const HASHING_TURN_BYTES: u64 = 16 << 20;
/// Bytes of an outboard that are gathered before they are written.
pub const OUTBOARD_BUFFER_BYTES: usize = 256 << 10;
/// Threads that hash what is being written.
pub const MAX_HASHING_THREADS: usize = 8;
/// Ranges of one open write that are kept apart.
pub const MAX_EXTENTS: usize = 65_536;
/// Bytes that are written before the disk is asked to begin with them.
pub const WRITE_BEHIND_BYTES: u64 = 16 << 20;
/// Longest content, in bytes: what SQLite, POSIX and BLAKE3 all can count.
pub const MAX_CONTENT_BYTES: u64 = i64::MAX as u64;
/// Changes that one item of `fs/watch` tells; `fs/diff` says all.
pub const MAX_TOLD_CHANGES: usize = 256;
/// Rows of one commit that a watcher looks at, of names and of inodes each.
pub const MAX_TOLD_ROWS: usize = 4096;
/// Commits that a watcher reads at a time.
pub const WATCHED_COMMITS_AT_ONCE: usize = 64;

/// Folders above each other that history looks up through before it gives up on a path.
pub const MAX_FOLDER_STEPS: usize = 4096;
/// Differences that one page of a diff holds at most.
pub const MAX_DIFF_PAGE: usize = 50_000;
/// Inodes that may differ between two versions, from which on a second thread looks at half of them.
pub const LEAST_SHARED_INODES: usize = 1000;
/// Commits of a bucket that one page of a branch's log looks at.
pub const MAX_LOG_COMMITS: usize = 10_000;
/// Versions that the log of an entry goes back through.
pub const MAX_LOG_STEPS: usize = 100_000;

/// Symbolic links that one path may lead through, as on Linux.
pub const MAX_SYMLINK_HOPS: usize = 40;
/// Names that one path may lead through, those of symbolic links included.
pub const MAX_RESOLVE_STEPS: usize = 4096;
/// Longest target of a symbolic link, in bytes.
pub const MAX_TARGET_BYTES: usize = 4095;
/// Names that one file may have.
pub const MAX_LINKS: usize = 4096;
/// Rows of names and of inodes that one commit may write, together.
pub const MAX_COMMIT_ROWS: usize = 100_000;
/// Names that one commit may follow on the ways to what it changes.
pub const MAX_COMMIT_STEPS: usize = 100_000;
/// Entries that are removed or copied with their folder in one commit; with more, it takes several.
pub const ENTRIES_PER_STEP: usize = 1000;
/// Entries that one page of a folder holds at most.
pub const MAX_PAGE_ENTRIES: usize = 1000;
/// Longest key of an extended attribute, in bytes, as on Linux.
pub const MAX_XATTR_KEY_BYTES: usize = 255;
/// Bytes that the extended attributes of an entry are kept as, all together.
pub const MAX_XATTRS_BYTES: usize = 65_536;
/// Bytes of a bucket's policy as JSON.
pub const MAX_POLICY_BYTES: usize = 4096;
/// Buckets of a node.
pub const MAX_BUCKETS: u64 = 10_000;
/// Branches of a bucket, the hidden too.
pub const MAX_BRANCHES: u64 = 4096;
/// Snapshots of a bucket.
pub const MAX_SNAPSHOTS: u64 = 4096;
/// Longest input of `fs/write.many`, in bytes of JSON: a little under what a frame holds.
pub const MAX_WRITTEN_INPUT_BYTES: usize = 4_000_000;
/// Longest file, in bytes.
pub const MAX_FILE_BYTES: u64 = i64::MAX.unsigned_abs();

/// Uploads that can be resumed, of one sender.
pub const MAX_UPLOADS_PER_ACTOR: usize = 256;
/// How long a sender who comes back waits until a session of his upload that is being closed has ended.
pub const UPLOAD_HANDOVER_TIMEOUT: Duration = Duration::from_secs(10);
/// How often uploads are looked at whose senders stay away: so many times in their lifetime, and within these bounds.
pub const UPLOAD_LOOK_INTERVALS: (u32, Duration, Duration) = (8, Duration::from_millis(10), Duration::from_secs(600));
/// Uploads of absent senders that one look removes.
pub const FORSAKEN_AT_ONCE: usize = 256;
/// Longest file that becomes a version while it is open and nobody writes, in bytes: longer ones wait until they are closed or synced.
pub const MAX_IDLE_PUBLISH_BYTES: u64 = 64 << 20;
/// How long nobody writes to a file that is open before it becomes a version, if nothing else is set.
pub const DEFAULT_SHARED_IDLE: Duration = Duration::from_secs(5);
/// How long after a commit the rows of removed branches and buckets begin to go.
pub const REAP_DELAY: Duration = Duration::from_secs(1);
/// Names that are tried for content which is kept beside other content.
pub const MAX_NAMES_BESIDE: u32 = 100;
/// How long content stays that nothing refers to, if nothing else is set.
pub const DEFAULT_GC_GRACE: Duration = Duration::from_secs(600);
/// How long an upload that can be resumed waits for its sender, if nothing else is set.
pub const DEFAULT_UPLOAD_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Content that the collector marks, or whose rows it removes, in one change.
pub const COLLECTED_PER_CHANGE: usize = 256;
/// Content whose files the collector removes before it syncs their folders.
pub const COLLECTED_AT_ONCE: usize = 4096;
/// Shortest time between two collections.
pub const MIN_COLLECT_INTERVAL: Duration = Duration::from_millis(100);
/// Longest time between two collections.
pub const MAX_COLLECT_INTERVAL: Duration = Duration::from_secs(60);
/// Files whose rows are looked up in one read.
pub const FILES_LOOKED_UP_AT_ONCE: usize = 512;
/// Unknown content that one check names.
pub const MAX_UNKNOWN_SHOWN: usize = 1000;
/// Rows of a removed branch or bucket that one transaction takes away.
pub const REAPED_ROWS_AT_ONCE: usize = 256;
/// Folders on the way down of a walk that keep what they have read ahead.
pub const WALK_PAGES_KEPT: usize = 16;

/// Entries that one merge or one restore changes.
pub const MAX_MERGE_CHANGES: usize = 50_000;
/// Names that a merge gives and takes while it is planned: each entry is taken and given once, and makes room twice at most.
pub const MAX_MERGE_STEPS: usize = 4 * MAX_MERGE_CHANGES;
/// Names that a merge tries for what it puts beside something: for each entry the one that it should get, one more, and as many again.
pub const MAX_MERGE_NAMES_TRIED: usize = 4 * MAX_MERGE_CHANGES;
/// Times that a merge or restore is planned while others go on writing, before it is planned where nobody else writes.
pub const MERGE_PLANS_BESIDE_WRITERS: usize = 4;
/// Rows that may be looked at to plan a merge or restore where nobody else writes meanwhile; with more it is to be tried again.
pub const MAX_ROWS_PLANNED_IN_WRITER: usize = 2 * MAX_MERGE_CHANGES;
/// Entries that a restore goes through before it looks at what changed instead.
pub const MAX_RESTORE_WALKED: usize = 10_000;
/// Entries that a restore looks at at most.
pub const MAX_RESTORE_LOOKED: usize = 1_000_000;
/// Bytes of conflicts that the answer to a merge tells at most; `fs/conflicts` lists all that were kept.
pub const MAX_TOLD_CONFLICT_BYTES: usize = 1 << 20;
/// Rows of trees that one step of a check looks at.
pub const CHECKED_ROWS_AT_ONCE: usize = 1000;
/// Findings of a check that wait for whoever asked for it.
pub const FINDINGS_AHEAD: usize = 64;

/// How often a bucket forgets what it no longer keeps: so many times in its retention, and within these bounds.
pub const FORGET_INTERVALS: (u32, Duration, Duration) = (8, Duration::from_millis(100), Duration::from_secs(3600));
/// How often buckets are looked at for what they no longer keep, at least.
pub const FORGET_LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// Buckets whose policies are read at a time.
pub const BUCKETS_LOOKED_AT_ONCE: usize = 256;
/// Rows that one step of retention looks at.
pub const RETENTION_ROWS_AT_ONCE: usize = 1000;
/// Rows that one transaction of retention takes away.
pub const FORGOTTEN_ROWS_AT_ONCE: usize = 256;
/// Commits that one step of retention looks at.
pub const RETENTION_COMMITS_AT_ONCE: usize = 4096;
/// Changes that one event of `node.fs` tells; `fs/watch` and `fs/diff` say more.
pub const MAX_EVENT_CHANGES: usize = 16;
/// Bytes of the paths in one event of `node.fs`; with more, it tells of none.
pub const MAX_EVENT_PATH_BYTES: usize = 32 * 1024;

/// Hooks of a bucket.
pub const MAX_BUCKET_HOOKS: u64 = 32;
/// Hooks of a node.
pub const MAX_HOOKS: u64 = 1000;
/// Longest prefix or suffix of the paths that a hook is told of, in bytes.
pub const MAX_HOOK_FILTER_BYTES: usize = 4096;
/// Longest text that says what was changed, as a hook sends it, in bytes: what a job may carry.
pub const MAX_HOOK_BODY_BYTES: usize = 256 * 1024;
/// Webhooks that are sent to at a time.
pub const MAX_WEBHOOKS_AT_ONCE: usize = 64;
/// Webhooks of one bucket that are sent to at a time.
pub const MAX_BUCKET_WEBHOOKS_AT_ONCE: usize = 16;
/// How long a webhook is told one thing after the other before others have their turn.
pub const HOOK_TURN: Duration = Duration::from_secs(5);
/// Commits that do not concern a hook before it is written down that it came so far.
pub const MAX_UNNOTED_COMMITS: u64 = 64;
/// How long commits are gathered before hooks are looked at.
pub const HOOK_GATHER: Duration = Duration::from_millis(10);
/// How long nothing happens before it is written down how far hooks came that nothing concerned.
pub const HOOK_NOTE_DELAY: Duration = Duration::from_secs(10);
/// How long a failed hook rests: the first time, then twice as long each time, and at most.
pub const HOOK_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// Attempts after which a hook pauses: about a day.
pub const MAX_HOOK_ATTEMPTS: u32 = 36;
/// How long a webhook may take altogether.
pub const HOOK_POST_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest reason that is kept of a failed attempt, in bytes.
pub const MAX_HOOK_ERROR_BYTES: usize = 512;
/// Longest URL of a webhook, in bytes.
pub const MAX_HOOK_URL_BYTES: usize = 2048;
