//! Pauses between attempts: growing, jittered, and over at a deadline.

use millstream_core::{Error, ErrorKind, Result};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use std::time::Duration;
use tokio::time::Instant;

/// Attempts at one question until a deadline.
#[derive(Debug)]
pub(crate) struct Retry {
    deadline: Instant,
    next: Duration,
    most: Duration,
    attempts: u32,
}

impl Retry {
    /// Attempts for `total`, with pauses that double from `first` to `most`.
    pub(crate) fn new(total: Duration, (first, most): (Duration, Duration)) -> Self {
        Retry { deadline: Instant::now() + total, next: first, most, attempts: 0 }
    }

    /// Waits before the next attempt after `error`, or gives the error back: at once where
    /// repeating cannot help, else when the deadline would pass.
    pub(crate) async fn pause(&mut self, error: Error) -> Result<()> {
        if error.kind() != ErrorKind::Unavailable || error.code() == "KAFKA_BROKER_REFUSED" {
            return Err(error);
        }
        self.attempts += 1;
        let pause = self.next.mul_f64(SmallRng::from_os_rng().random_range(0.8..1.2));
        if Instant::now() + pause >= self.deadline {
            return Err(error.cure(format!(
                "It was tried {} times; check that the brokers run and that this machine can \
                 reach the addresses they advertise.",
                self.attempts
            )));
        }
        // The first failure and then ever rarer ones, so that a long outage is seen but not spelt.
        if self.attempts.is_power_of_two() {
            tracing::warn!(attempt = self.attempts, %error, "Kafka does not answer; trying again");
        }
        tokio::time::sleep(pause).await;
        self.next = (self.next * 2).min(self.most).max(Duration::from_millis(1));
        Ok(())
    }
}
