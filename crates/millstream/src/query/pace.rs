//! When the loop looks for the next batch (Spark's `TriggerExecutor`).

use super::handle::Shared;
use millstream_core::env::SharedEnv;
use millstream_core::trigger::Trigger;
use std::time::Duration;

/// Pause between two looks for data when nothing was there (`spark.sql.streaming.pollingDelay`).
const POLLING_DELAY: Duration = Duration::from_millis(10);

/// Longest pause between looks at a source that stays idle and cannot wake us.
const IDLE_DELAY_MAX: Duration = Duration::from_millis(100);

/// Keeps the time of one query.
pub(crate) struct Pacer {
    trigger: Trigger,
    env: SharedEnv,
    next_tick_ms: Option<i64>,
    idle_looks: u32,
}

impl Pacer {
    pub(crate) fn new(trigger: Trigger, env: SharedEnv) -> Self {
        Pacer { trigger, env, next_tick_ms: None, idle_looks: 0 }
    }

    /// Waits for the next trigger. The first comes at once; ticks that passed during a long batch
    /// are skipped, never queued. Returns early when the query is asked to stop.
    pub(crate) async fn wait(&mut self, shared: &Shared) {
        let delay = match self.trigger {
            Trigger::ProcessingTime(interval) => {
                let now_ms = self.env.now_ms();
                // A clock that was set back must not hold the query up until it is as late again.
                let longest_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
                let until_tick_ms = |tick: i64| tick.saturating_sub(now_ms).clamp(0, longest_ms);
                let wait_ms = self.next_tick_ms.map_or(0, until_tick_ms);
                self.next_tick_ms =
                    Some(Trigger::next_tick_ms(interval, now_ms.saturating_add(wait_ms)));
                Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0))
            }
            _ if self.idle_looks == 0 => Duration::ZERO,
            _ => IDLE_DELAY_MAX.min(POLLING_DELAY * self.idle_looks.min(10)),
        };
        if delay.is_zero() {
            return;
        }
        if matches!(self.trigger, Trigger::ProcessingTime(_)) {
            shared.set_status("Waiting for next trigger", false, false);
        } else {
            shared.set_status("Waiting for data to arrive", false, false);
        }
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = shared.drain.cancelled() => {}
        }
    }

    /// Notes whether the last look found data.
    pub(crate) fn looked(&mut self, found: bool) {
        self.idle_looks = if found { 0 } else { self.idle_looks.saturating_add(1) };
    }

    /// Whether a query of this trigger ends when nothing is left to do.
    pub(crate) fn ends_when_idle(&self) -> bool {
        matches!(self.trigger, Trigger::AvailableNow | Trigger::Once)
    }
}
