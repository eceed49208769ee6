//! The Delta crate through its public surface: tables are written, raced for, broken and read
//! back, by this crate and by an independent reader.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod checkpoints;
mod commits;
mod faults;
mod files;
mod independent;
mod opening;
mod preparing;
mod races;
mod support;
