//! Contracts, the batch protocol and its pure decisions; no I/O.
