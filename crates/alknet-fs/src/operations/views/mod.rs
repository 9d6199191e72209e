//! The inputs and outputs of the operations.

mod branches;
mod buckets;
mod bytes;
mod entries;
mod history;
mod hooks;
mod upkeep;
mod watching;

pub use branches::{
    BranchMode, BranchView, Branches, CreateBranch, CreateSnapshot, FlattenedBranch, ListBranches, ListSnapshots,
    OneBranch, RemoveSnapshot, SnapshotView, Snapshots,
};
pub use buckets::{
    BucketView, Buckets, ConflictPolicy, CreateBucket, DurabilityName, ListBuckets, NamePolicy, OneBucket, PolicyView,
    RemoveBucket, SetBucket,
};
pub use bytes::{
    Expect, Have, HaveOutput, InlineContent, NewEntry, ReadFile, ReadInline, ResumeUpload, WriteFile, WriteMany,
    WriteOne, Written,
};
pub use entries::{
    AttributesView, Committed, CommittedSteps, CopyEntry, Entries, EntryKind, EntryView, LinkEntry, LinkTo, ListFolder,
    MakeFolder, MoveEntry, MoveHow, RemoveEntry, SetAttributes, Source, StatEntry, StatView, Xattr,
};
pub use history::{
    ConflictAbout, ConflictSide, ConflictView, Conflicts, DiffEntry, DiffInput, DiffKind, DiffOutput, DiffSide,
    KeepSide, ListConflicts, LogEntry, LogInput, LogOutput, MergeInput, MergeOutput, MergeStrategy, RestoreInput,
    SettleConflict, VersionView,
};
pub use hooks::{CreateHook, HookState, HookTo, HookView, HookedCommit, Hooks, ListHooks, OneHook, WebhookTo};
pub use upkeep::{
    BranchUsage, CheckFiles, CheckItem, CheckSummary, CollectGarbage, Collected, Finding, FindingKind, UsageInput,
    UsageView,
};
pub use watching::{WatchInput, WatchedChange, WatchedCommit};
