//! When batches run (Spark's `Trigger`).

use crate::error::{Error, Result};
use std::time::Duration;

/// When the next batch starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trigger {
    /// As soon as the batch before is done.
    #[default]
    AsFastAsPossible,
    /// At multiples of the interval since the Unix epoch; missed ticks are skipped.
    ProcessingTime(Duration),
    /// Everything that is there at the start, in as many batches as the limits ask for; then end.
    AvailableNow,
    /// One batch without limits; then end.
    Once,
}

impl Trigger {
    /// The start of the next batch in milliseconds since the epoch: `floor(now / d) * d + d`
    /// (Spark's `ProcessingTimeExecutor.nextBatchTime`).
    pub fn next_tick_ms(interval: Duration, now_ms: i64) -> i64 {
        let interval = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
        if interval == 0 {
            return now_ms;
        }
        (now_ms.div_euclid(interval) * interval).saturating_add(interval)
    }

    /// Parses the command line's words: `available-now`, `once`, or an interval such as
    /// `10 seconds`.
    ///
    /// # Errors
    /// `INTERVAL_INVALID` for anything else.
    pub fn parse(text: &str) -> Result<Trigger> {
        match text.trim().to_ascii_lowercase().replace('_', "-").as_str() {
            "available-now" | "availablenow" => Ok(Trigger::AvailableNow),
            "once" => Ok(Trigger::Once),
            other => match parse_interval(other) {
                Ok(interval) if interval.is_zero() => Ok(Trigger::AsFastAsPossible),
                Ok(interval) => Ok(Trigger::ProcessingTime(interval)),
                Err(error) => Err(error
                    .cure("Write `available-now`, `once`, or an interval such as `10 seconds`.")),
            },
        }
    }
}

/// Parses Spark's interval strings as triggers and delays use them: `10 seconds`, `15m`,
/// `1 minute 30 seconds`, `500 ms`; a bare number is milliseconds.
///
/// # Errors
/// `INTERVAL_INVALID` where the text is no interval, or a negative one.
pub fn parse_interval(text: &str) -> Result<Duration> {
    let invalid = || {
        Error::invalid("INTERVAL_INVALID", format!("`{text}` is not a time interval."))
            .cure("Write for example `10 seconds`, `500 ms` or `1 minute 30 seconds`.")
    };
    let lower = text.trim().to_ascii_lowercase();
    let body = lower.strip_prefix("interval").map_or(lower.as_str(), str::trim);
    if let Ok(ms) = body.parse::<u64>() {
        return Ok(Duration::from_millis(ms));
    }
    let mut total = Duration::ZERO;
    let mut rest = body;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
        let number: u64 = rest[..digits].parse().map_err(|_| invalid())?;
        let after = rest[digits..].trim_start();
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let unit_ms: u64 = match &after[..end] {
            "us" | "microsecond" | "microseconds" => {
                total = total.saturating_add(Duration::from_micros(number));
                0
            }
            "ms" | "millisecond" | "milliseconds" => 1,
            "s" | "sec" | "second" | "seconds" => 1_000,
            "m" | "min" | "minute" | "minutes" => 60_000,
            "h" | "hour" | "hours" => 3_600_000,
            "d" | "day" | "days" => 86_400_000,
            _ => return Err(invalid()),
        };
        let ms = number.checked_mul(unit_ms).ok_or_else(invalid)?;
        total = total.saturating_add(Duration::from_millis(ms));
        rest = after[end..].trim_start();
    }
    if body.is_empty() { Err(invalid()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_multiples_since_the_epoch() {
        let tick = |ms, now| Trigger::next_tick_ms(Duration::from_millis(ms), now);
        assert_eq!((tick(10, 25), tick(10, 30), tick(10, -5)), (30, 40, 0));
        assert_eq!(tick(0, 25), 25);
        assert_eq!(Trigger::next_tick_ms(Duration::MAX, 25), i64::MAX);
    }

    #[test]
    fn intervals_are_sparks() {
        for (text, micros) in [
            ("500", 500_000),
            ("7 us", 7),
            ("7 microseconds", 7),
            ("7ms", 7_000),
            ("7 Seconds", 7_000_000),
            ("2 sec", 2_000_000),
            ("15m", 900_000_000),
            ("1 hour", 3_600_000_000),
            ("1 d", 86_400_000_000),
            ("interval 1 minute 30 seconds", 90_000_000),
            ("1 minute 30 seconds 5 ms", 90_005_000),
        ] {
            assert_eq!(parse_interval(text).unwrap(), Duration::from_micros(micros), "{text}");
        }
        let overflow = format!("{} d", u64::MAX);
        for text in ["", "interval", "-1 s", "ten seconds", "1 fortnight", "1.5 s", &overflow] {
            assert_eq!(parse_interval(text).unwrap_err().code(), "INTERVAL_INVALID", "{text}");
        }
    }

    #[test]
    fn triggers_are_words_or_intervals() {
        let parse = |text| Trigger::parse(text).unwrap();
        for text in ["available-now", "AvailableNow", "AVAILABLE_NOW"] {
            assert_eq!(parse(text), Trigger::AvailableNow);
        }
        assert_eq!(parse(" once "), Trigger::Once);
        assert_eq!(parse("0 seconds"), Trigger::AsFastAsPossible);
        assert_eq!(parse("10 seconds"), Trigger::ProcessingTime(Duration::from_secs(10)));
        let error = Trigger::parse("twice").unwrap_err();
        assert!(error.cure_text().unwrap().contains("`available-now`"), "{error}");
    }
}
