//! Tests of the decoder through its public interface.

mod differential;
mod functions;
mod oracle;
mod support;
