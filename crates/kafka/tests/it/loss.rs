//! Placeholder for loss.
