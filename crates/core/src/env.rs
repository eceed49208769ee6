//! The one door to clock and ids, so that the simulator can stand behind it.

use std::sync::Arc;
use uuid::Uuid;

/// Where time and identifiers come from.
pub trait Env: Send + Sync {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;
    /// A fresh version-4 UUID.
    fn uuid(&self) -> Uuid;
}

/// The machine's own clock and randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEnv;

#[allow(clippy::disallowed_methods)]
impl Env for SystemEnv {
    fn now_ms(&self) -> i64 {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
    }

    fn uuid(&self) -> Uuid {
        Uuid::new_v4()
    }
}

/// A shared [`Env`].
pub type SharedEnv = Arc<dyn Env>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_clock_is_of_this_age_and_its_ids_are_fresh() {
        let year_2026_ms = 1_767_225_600_000;
        assert!(SystemEnv.now_ms() > year_2026_ms);
        let (one, two) = (SystemEnv.uuid(), SystemEnv.uuid());
        assert_ne!(one, two);
        assert_eq!(one.get_version_num(), 4);
    }
}
