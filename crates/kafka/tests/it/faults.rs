//! Placeholder for faults.
