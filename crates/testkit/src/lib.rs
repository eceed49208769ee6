//! Dev-only: real broker harness, ledger oracle, conformance suites.
