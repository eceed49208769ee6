//! One module for each command.

pub mod broker;
pub mod check;
pub mod checkpoint;
pub mod pipeline;
pub mod rebuild;
pub mod refresh;
pub mod report;
pub mod run;
pub mod sql;
pub mod verify;
pub mod witnesses;
