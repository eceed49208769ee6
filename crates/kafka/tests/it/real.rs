//! Placeholder for real.
