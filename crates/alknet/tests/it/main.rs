//! The program as its users meet it: the real binary, on its own data folder, on a port that the system chose.
#![allow(clippy::unwrap_used, missing_docs)]

mod acknowledged;
mod agent;
mod backup;
mod calls;
mod configuration;
mod credentials;
mod events;
mod faults;
mod in_process;
mod iroh_blobs;
mod iroh_client;
mod life_cycle;
mod roaming;
mod roles;
mod socks;
mod spellings;
mod ssh_client;
mod ssh_forward;
mod ssh_sessions;
mod subscribe;
mod system_users;
mod tokens;
mod transcripts;

mod call_frames;
mod folder;
mod fs_trial;
mod running;
