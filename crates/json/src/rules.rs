//! What texts mean for the types of a schema. Both parsers ask here, so that they agree.

use crate::datetime;
use crate::options::FromJsonOptions;

impl FromJsonOptions {
    /// A text as TIMESTAMP.
    pub(crate) fn timestamp_of(&self, text: &str) -> Option<i64> {
        let found = match &self.timestamp {
            Some(pattern) => pattern.read(text).and_then(|p| p.instant(&self.zone)),
            None => datetime::timestamp(text, &self.zone),
        };
        if found.is_some() || !self.fallback.unwrap_or(self.timestamp.is_none()) {
            return found;
        }
        datetime::timestamp(&without_gmt(text), &self.zone)
    }

    /// A text as TIMESTAMP_NTZ.
    pub(crate) fn timestamp_ntz_of(&self, text: &str) -> Option<i64> {
        match &self.timestamp_ntz {
            Some(pattern) => {
                pattern.read(text).filter(|p| !p.has_zone()).and_then(|p| p.local_us())
            }
            None => datetime::timestamp_ntz(text),
        }
    }

    /// A text as DATE.
    pub(crate) fn date_of(&self, text: &str) -> Option<i32> {
        let found = match &self.date {
            Some(pattern) => pattern.read(text).and_then(|p| i32::try_from(p.date()?).ok()),
            None => datetime::date(text),
        };
        if found.is_some() || !self.fallback.unwrap_or(self.date.is_none()) {
            return found;
        }
        datetime::date(&without_gmt(text)).or_else(|| datetime::date_of_day_number(text))
    }
}

/// A text as a number that JSON has no numbers for.
pub(crate) fn non_numeric(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "+INF" | "+Infinity" | "Infinity" => Some(f64::INFINITY),
        "-INF" | "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// A text as DECIMAL; commas are ignored wherever they stand.
pub(crate) fn decimal_of(text: &str, precision: u8, scale: i8) -> Option<i128> {
    if text.contains(',') {
        crate::number::decimal(&text.replace(',', ""), precision, scale)
    } else {
        crate::number::decimal(text, precision, scale)
    }
}

/// Java once printed offsets as `GMT+01:00`, and Spark still reads them.
fn without_gmt(text: &str) -> String {
    text.replace("GMT", "")
}
