//! The Delta table log: open, probe, commit, conflict rules, schema rules, data files, checkpoints.
