//! Open files. A write is a session: its bytes are in the spool, and become a version when it is closed, or never.
//!
//! Nothing of a session is in the database before that (docs/adr/0017-keep-write-sessions-in-memory.md). The rules are in
//! `docs/spec/fs-sessions.md`.

mod begin;
mod close;
mod conflict;
mod draft;
mod handles;
mod how;
mod opened;
mod quota;
mod read;
mod shared_file;
mod uploads;
mod write;

pub(crate) use begin::{begin, open_to_read};
pub use close::{Closed, Kept};
pub use handles::{Handle, Handles, Look, Pin};
pub use how::{Create, OpenWrite, Start};
pub(crate) use quota::Allowances;
pub use read::ReadHandle;
pub use shared_file::SharedFile;
pub(crate) use shared_file::{OpenFiles, open_shared};
pub use uploads::Announced;
pub(crate) use uploads::{Uploads, keep_forsaking, resume};
pub use write::WriteSession;
