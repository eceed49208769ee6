//! The session settings that change what functions answer.

use chrono_tz::Tz;
use datafusion::common::Result;

use crate::error::spark_error;
use crate::zone::Zone;

/// What a session decides about functions and casts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FunctionSettings {
    /// `spark.sql.ansi.enabled`: errors instead of NULL and wrap-around.
    pub ansi: bool,
    /// `spark.sql.session.timeZone`: a region id or an offset such as `+05:30`.
    pub time_zone: String,
}

impl Default for FunctionSettings {
    fn default() -> Self {
        FunctionSettings { ansi: true, time_zone: "UTC".to_owned() }
    }
}

impl FunctionSettings {
    /// The parsed session time zone.
    ///
    /// # Errors
    /// `INVALID_CONF_VALUE.TIME_ZONE` when the id is unknown.
    pub fn zone(&self) -> Result<Zone> {
        if self.time_zone == "UTC" {
            return Ok(Zone::Region(Tz::UTC));
        }
        Zone::parse(&self.time_zone).ok_or_else(|| {
            spark_error(
                "INVALID_CONF_VALUE.TIME_ZONE",
                format!(
                    "The value '{}' in the config \"spark.sql.session.timeZone\" is invalid. \
                     Cannot resolve the given timezone.",
                    self.time_zone
                ),
            )
        })
    }
}
