//! The settings of a session: Spark's keys that are honoured, those that change nothing here, and
//! those that would change results and are therefore refused.

use millstream_core::options::{OptionSpec, did_you_mean};
use millstream_core::{Error, Result};
use millstream_functions::FunctionSettings;
use std::path::PathBuf;

/// What the session's settings decide.
#[derive(Debug, Clone, PartialEq)]
pub struct Conf {
    /// `spark.sql.session.timeZone`
    pub time_zone: String,
    /// `spark.sql.ansi.enabled`
    pub ansi: bool,
    /// `spark.sql.columnNameOfCorruptRecord`
    pub corrupt_column: String,
    /// `spark.sql.shuffle.partitions`
    pub shuffle_partitions: u32,
    /// `spark.sql.streaming.minBatchesToRetain`
    pub batches_to_retain: u64,
    /// `spark.sql.streaming.checkpointLocation`
    pub checkpoint_root: Option<PathBuf>,
    /// `millstream.parallelism`: tasks of one batch that run side by side.
    pub parallelism: usize,
}

impl Default for Conf {
    fn default() -> Self {
        Conf {
            time_zone: "UTC".to_owned(),
            ansi: true,
            corrupt_column: "_corrupt_record".to_owned(),
            shuffle_partitions: 200,
            batches_to_retain: 100,
            checkpoint_root: None,
            parallelism: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// Settings that are honoured.
pub const SETTINGS: &[OptionSpec] = &[
    spec("spark.sql.session.timeZone", "UTC", "Zone of timestamps without one, and of printing."),
    spec("spark.sql.ansi.enabled", "true", "Errors instead of NULL for overflow and bad casts."),
    spec("spark.sql.caseSensitive", "false", "Only `false`: names are compared without case."),
    spec(
        "spark.sql.columnNameOfCorruptRecord",
        "_corrupt_record",
        "Name of the column that `from_json` fills with malformed records.",
    ),
    spec(
        "spark.sql.shuffle.partitions",
        "200",
        "Recorded in the checkpoint, as Spark does; there is no shuffle.",
    ),
    spec(
        "spark.sql.streaming.minBatchesToRetain",
        "100",
        "How many completed batches the checkpoint remembers.",
    ),
    spec(
        "spark.sql.streaming.checkpointLocation",
        "",
        "Directory for checkpoints of queries that name none.",
    ),
    spec("millstream.parallelism", "number of cores", "Tasks of one batch that run side by side."),
];

const fn spec(name: &'static str, default: &'static str, meaning: &'static str) -> OptionSpec {
    OptionSpec { name, scope: "session", default, meaning, secret: false }
}

/// Settings whose other values would change results; only these values are possible.
const FIXED: &[(&str, &str)] = &[
    ("spark.sql.caseSensitive", "false"),
    ("spark.sql.storeAssignmentPolicy", "ANSI"),
    ("spark.sql.legacy.timeParserPolicy", "CORRECTED"),
    ("spark.sql.timestampType", "TIMESTAMP_LTZ"),
    ("spark.sql.mapKeyDedupPolicy", "EXCEPTION"),
    ("spark.sql.json.enablePartialResults", "true"),
    ("spark.sql.parser.quotedRegexColumnNames", "false"),
    ("spark.sql.parser.escapedStringLiterals", "false"),
    ("spark.sql.ansi.doubleQuotedIdentifiers", "false"),
    ("spark.sql.streaming.unsupportedOperationCheck", "true"),
    ("spark.sql.streaming.multipleWatermarkPolicy", "min"),
    ("spark.databricks.delta.schema.autoMerge.enabled", "false"),
];

/// What became of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is in force.
    Honoured,
    /// It changes nothing here; the sentence says so.
    Ignored(String),
}

impl Conf {
    /// Puts `name = value` into force.
    ///
    /// # Errors
    /// `INVALID_CONF_VALUE`, `CONF_UNSUPPORTED` for values that would change results,
    /// `CONF_UNKNOWN` for names that are near to a known one and therefore slips.
    pub fn set(&mut self, name: &str, value: &str) -> Result<Outcome> {
        let value = value.trim().trim_matches(['\'', '"']);
        let fixed = FIXED.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        if let Some((name, only)) = fixed {
            return if only.eq_ignore_ascii_case(value) {
                Ok(Outcome::Honoured)
            } else {
                Err(Error::invalid(
                    "CONF_UNSUPPORTED",
                    format!("`{name}` can only be `{only}` here; `{value}` would change results."),
                ))
            };
        }
        match name.to_ascii_lowercase().as_str() {
            "spark.sql.session.timezone" => self.set_zone(value)?,
            "spark.sql.ansi.enabled" => self.ansi = boolean(name, value)?,
            "spark.sql.columnnameofcorruptrecord" => self.corrupt_column = value.to_owned(),
            "spark.sql.shuffle.partitions" => {
                self.shuffle_partitions = positive(name, value)?;
            }
            "spark.sql.streaming.minbatchestoretain" => {
                self.batches_to_retain = u64::from(positive(name, value)?);
            }
            "spark.sql.streaming.checkpointlocation" => {
                let path = value.strip_prefix("file://").unwrap_or(value);
                self.checkpoint_root = Some(PathBuf::from(path));
            }
            "millstream.parallelism" => {
                self.parallelism = usize::try_from(positive(name, value)?).unwrap_or(1);
            }
            lower if lower.starts_with("spark.") || lower.starts_with("millstream.") => {
                return unknown(name);
            }
            // A name of the user's own: a variable.
            _ => {}
        }
        Ok(Outcome::Honoured)
    }

    /// The value in force of an honoured setting.
    pub fn get(&self, name: &str) -> Option<String> {
        Some(match name.to_ascii_lowercase().as_str() {
            "spark.sql.session.timezone" => self.time_zone.clone(),
            "spark.sql.ansi.enabled" => self.ansi.to_string(),
            "spark.sql.casesensitive" => "false".to_owned(),
            "spark.sql.columnnameofcorruptrecord" => self.corrupt_column.clone(),
            "spark.sql.shuffle.partitions" => self.shuffle_partitions.to_string(),
            "spark.sql.streaming.minbatchestoretain" => self.batches_to_retain.to_string(),
            "spark.sql.streaming.checkpointlocation" => {
                self.checkpoint_root.as_ref()?.display().to_string()
            }
            "millstream.parallelism" => self.parallelism.to_string(),
            _ => return None,
        })
    }

    /// The part of the settings that functions follow.
    pub(crate) fn function_settings(&self) -> FunctionSettings {
        FunctionSettings { ansi: self.ansi, time_zone: self.time_zone.clone() }
    }

    fn set_zone(&mut self, value: &str) -> Result<()> {
        let settings = FunctionSettings { ansi: self.ansi, time_zone: value.to_owned() };
        settings.zone().map_err(crate::plan::error::from_datafusion)?;
        value.clone_into(&mut self.time_zone);
        Ok(())
    }
}

fn unknown(name: &str) -> Result<Outcome> {
    let known = SETTINGS.iter().map(|s| s.name).chain(FIXED.iter().map(|(n, _)| *n));
    let near = did_you_mean(name, known).filter(|near| {
        // Settings of Spark share long prefixes: only real slips count.
        near.len().abs_diff(name.len()) <= 2 && distance_of_last_parts(near, name) <= 3
    });
    if let Some(near) = near {
        return Err(Error::invalid("CONF_UNKNOWN", format!("There is no setting `{name}`."))
            .cure(format!("Did you mean `{near}`?")));
    }
    if !name.contains('.') {
        // A variable of the file, for `${name}`.
        return Ok(Outcome::Honoured);
    }
    Ok(Outcome::Ignored(format!("The setting `{name}` has no effect here.")))
}

fn distance_of_last_parts(a: &str, b: &str) -> usize {
    let differing = a.to_lowercase();
    let other = b.to_lowercase();
    let common = differing.chars().zip(other.chars()).take_while(|(x, y)| x == y).count();
    let tail = differing.chars().rev().zip(other.chars().rev()).take_while(|(x, y)| x == y).count();
    differing.len().max(other.len()).saturating_sub(common + tail)
}

fn invalid(name: &str, value: &str, needs: &str) -> Error {
    Error::invalid(
        "INVALID_CONF_VALUE",
        format!("The value '{value}' in the config \"{name}\" is invalid: it needs {needs}."),
    )
}

fn boolean(name: &str, value: &str) -> Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(invalid(name, value, "`true` or `false`")),
    }
}

fn positive(name: &str, value: &str) -> Result<u32> {
    let number = value.parse::<u32>().ok().filter(|n| *n > 0);
    number.ok_or_else(|| invalid(name, value, "a positive whole number"))
}
