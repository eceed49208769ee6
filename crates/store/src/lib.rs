//! Durable create-once files, locks and listings under checkpoints and table logs.
