//! Every bound of the configuration, with its unit.

use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Largest configuration file, in bytes.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Longest name of a role, in bytes.
pub const MAX_ROLE_NAME_BYTES: usize = 64;
/// Longest name of an environment variable in `ssh.env_allow`, in bytes.
pub const MAX_ENV_NAME_BYTES: usize = 128;
/// Most problems that one error shows; the rest is counted.
pub const MAX_SHOWN_PROBLEMS: usize = 30;
/// Longest stretch of a foreign text that is quoted in a problem, in bytes.
pub const MAX_QUOTED_BYTES: usize = 96;
/// Longest time that a stopping node may wait.
pub const MAX_DRAIN: Duration = MINUTE.saturating_mul(60);
/// Shortest and longest time to log in over SSH.
pub const LOGIN_GRACE: (Duration, Duration) = (Duration::from_secs(1), MINUTE.saturating_mul(10));
/// Shortest and longest age at which a recording may go.
pub const RECORD_AGE: (Duration, Duration) = (MINUTE.saturating_mul(60), DAY.saturating_mul(3650));
/// Largest banner, in bytes.
pub const MAX_BANNER_BYTES: u64 = 16 * 1024;
/// Shortest and longest setting for the life of an auth token.
pub const TOKEN_LIFETIME: (Duration, Duration) = (Duration::from_secs(1), DAY.saturating_mul(365));
/// Ranges of addresses that can be exempt from the gate's scores.
pub const MAX_EXEMPT_RANGES: usize = 1024;
/// Ranges of private addresses that webhooks can be sent to.
pub const MAX_HOOK_RANGES: usize = 64;
/// Shortest and longest time that content stays which nothing refers to.
pub const GC_GRACE: (Duration, Duration) = (Duration::from_secs(1), DAY.saturating_mul(365));
/// Shortest and longest time that an upload waits to be gone on with.
pub const UPLOAD_LIFETIME: (Duration, Duration) = (MINUTE, DAY.saturating_mul(30));
