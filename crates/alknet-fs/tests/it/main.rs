//! The file system's rows and addresses as other crates use them; every test has a database of its own.
#![allow(clippy::unwrap_used, missing_docs)]

mod chain;
mod content_files;
mod content_over;
mod content_ranges;
mod content_spool;
mod content_steps;
mod corpus;
mod diff;
mod fixture;
mod follow;
mod log;
mod node;
mod random_tree;
mod rows;
mod tables;
mod tree_basics;
mod tree_branches;
mod tree_writer;
mod uploads;
mod vectors;
mod visibility;
mod watch;
