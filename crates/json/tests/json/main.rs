//! Tests of the decoder through its public interface.

mod differential;
mod oracle;
mod support;
