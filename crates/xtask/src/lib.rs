//! Project checks that run as ordinary tests, and the documents that are generated from the code.
//!
//! `cargo test -p xtask` fails where the sources, the crates' dependencies or the documents have
//! drifted from the rules; `cargo run -p xtask -- generate` writes the generated documents anew.

pub mod direction;
pub mod documents;
pub mod errors;
pub mod rust_source;
pub mod tidy;
pub mod workspace;
