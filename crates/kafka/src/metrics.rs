//! Counts of one source.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counts since a source was made. Names say the unit.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct KafkaMetrics {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The counts while they move.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> KafkaMetrics {
                KafkaMetrics { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Fetch requests answered.
    fetches,
    /// Bytes of record batches received, as stored.
    fetched_bytes,
    /// Record batches decoded.
    batches,
    /// Records handed out.
    records,
    /// Requests that had to be repeated.
    retries,
    /// Milliseconds that brokers asked us to wait.
    throttled_ms,
    /// Times that an offset was out of range (Spark's `offsetOutOfRange`).
    offset_out_of_range,
    /// Times that data loss was found and stepped over (Spark's `dataLoss`).
    data_loss,
}

pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}
