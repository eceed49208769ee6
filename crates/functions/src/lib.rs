//! Spark's scalar functions, casts and operators for DataFusion.
//!
//! [`register`] makes the [`Functions`] of a session; its builders answer typed expressions with
//! Spark's implicit casts in them. Functions whose answers in DataFusion or `datafusion-spark` are
//! Spark's are reused; the others are written here. What real Spark answers is kept as data under
//! `tests/oracle`, and the tests compare with it.
//!
//! This crate does not resolve names of columns, and knows nothing of aggregates, of windows and of
//! streaming.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod access;
mod batch_time;
mod error;
mod functions;
mod operators;
mod settings;
mod zone;

mod cast;
mod catalog;
mod coercion;
mod def;
mod interval;
mod special;

mod arithmetic;
mod building;
mod collection;
mod conditional;
mod datetime;
mod encoding;
mod format;
mod hash;
mod json;
mod math;
mod nested;
mod regexp;
mod rows;
mod string;

pub use batch_time::{bind_batch_time, bind_logical_batch_time, uses_batch_time};
pub use cast::{FallibleCast, OnFailure, spark_cast};
pub use catalog::{FunctionInfo, documentation};
pub use error::{find_spark_error, spark_error};
pub use functions::{Functions, register, store_assign};
pub use operators::{LikeKind, Op};
pub use settings::FunctionSettings;
pub use zone::Zone;
