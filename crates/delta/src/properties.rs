//! Table properties: which are honoured, and their values.

use millstream_core::{Error, Result};
use std::collections::BTreeMap;

/// Properties that may be set on a table created here.
const ACCEPTED: &[&str] = &[
    "delta.appendOnly",
    "delta.autoOptimize.autoCompact",
    "delta.autoOptimize.optimizeWrite",
    "delta.checkpointInterval",
    "delta.dataSkippingNumIndexedCols",
    "delta.dataSkippingStatsColumns",
    "delta.deletedFileRetentionDuration",
    "delta.enableChangeDataFeed",
    "delta.enableExpiredLogCleanup",
    "delta.isolationLevel",
    "delta.logRetentionDuration",
    "delta.setTransactionRetentionDuration",
    "delta.targetFileSize",
    "delta.tuneFileSizesForRewrites",
];

/// Shortest accepted life of `txn` actions; below it a query that pauses would write twice.
const TXN_RETENTION_MIN_MS: i64 = 7 * DAY_MS;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Leaf columns with statistics, unless a property says otherwise.
const INDEXED_COLUMNS: usize = 32;

/// Checks the properties of a table to be created and gives them their canonical spelling.
///
/// # Errors
/// `DELTA_UNKNOWN_CONFIGURATION`, `DELTA_INVALID_PROPERTY`, `DELTA_UNSUPPORTED_FEATURE`.
pub(crate) fn accept(properties: &[(String, String)]) -> Result<BTreeMap<String, String>> {
    let mut accepted = BTreeMap::new();
    for (key, value) in properties {
        if !key.to_ascii_lowercase().starts_with("delta.") {
            accepted.insert(key.clone(), value.clone());
            continue;
        }
        let Some(known) = ACCEPTED.iter().find(|known| known.eq_ignore_ascii_case(key)) else {
            return Err(refused(key));
        };
        check_value(known, value)?;
        accepted.insert((*known).to_owned(), value.trim().to_owned());
    }
    check_transaction_retention(&accepted)?;
    Ok(accepted)
}

fn refused(key: &str) -> Error {
    let lower = key.to_ascii_lowercase();
    let features = ["enable", "columnmapping", "constraints", "feature.", "checkpointpolicy"];
    if features.iter().any(|feature| lower.contains(feature)) {
        return crate::features::unsupported(&format!("property {key}"));
    }
    Error::invalid(
        "DELTA_UNKNOWN_CONFIGURATION",
        format!("Unknown configuration was specified: {key}"),
    )
    .cure("Remove the property or correct its name.")
}

fn check_value(key: &str, value: &str) -> Result<()> {
    let value = value.trim();
    let good = match key {
        "delta.checkpointInterval" => value.parse::<u64>().is_ok_and(|n| n > 0),
        "delta.dataSkippingNumIndexedCols" => value.parse::<i64>().is_ok_and(|n| n >= -1),
        "delta.logRetentionDuration"
        | "delta.deletedFileRetentionDuration"
        | "delta.setTransactionRetentionDuration" => interval_ms(value).is_some(),
        "delta.appendOnly" | "delta.enableChangeDataFeed" | "delta.enableExpiredLogCleanup" => {
            value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false")
        }
        "delta.isolationLevel" => {
            ["Serializable", "WriteSerializable"].iter().any(|l| l.eq_ignore_ascii_case(value))
        }
        _ => true,
    };
    if good {
        return Ok(());
    }
    Err(Error::invalid(
        "DELTA_INVALID_PROPERTY",
        format!("The table property {key} cannot have the value `{value}`."),
    )
    .cure("Durations are written as `interval 30 days`, flags as true or false."))
}

/// Refuses a table whose `txn` actions expire too soon.
///
/// # Errors
/// `DELTA_UNSUPPORTED_TRANSACTION_RETENTION`.
pub(crate) fn check_transaction_retention(properties: &BTreeMap<String, String>) -> Result<()> {
    let Some(text) = properties.get("delta.setTransactionRetentionDuration") else {
        return Ok(());
    };
    if interval_ms(text).is_some_and(|ms| ms >= TXN_RETENTION_MIN_MS) {
        return Ok(());
    }
    Err(Error::invalid(
        "DELTA_UNSUPPORTED_TRANSACTION_RETENTION",
        format!(
            "delta.setTransactionRetentionDuration is `{text}`: a query that pauses longer would \
             write its last batch twice."
        ),
    )
    .cure("Unset the property, or set it to `interval 7 days` or more."))
}

/// `delta.checkpointInterval`, if it is set to something usable.
pub(crate) fn checkpoint_interval(properties: &BTreeMap<String, String>) -> Option<u64> {
    properties.get("delta.checkpointInterval")?.trim().parse().ok().filter(|n| *n > 0)
}

/// How many leaf columns get statistics; `None` for all.
pub(crate) fn indexed_columns(properties: &BTreeMap<String, String>) -> Option<usize> {
    match properties.get("delta.dataSkippingNumIndexedCols").map(|v| v.trim().parse::<i64>()) {
        Some(Ok(-1)) => None,
        Some(Ok(n)) => Some(usize::try_from(n).unwrap_or(INDEXED_COLUMNS)),
        Some(Err(_)) | None => Some(INDEXED_COLUMNS),
    }
}

/// The columns named by `delta.dataSkippingStatsColumns`, which goes before the number.
pub(crate) fn stats_columns(properties: &BTreeMap<String, String>) -> Option<Vec<String>> {
    let text = properties.get("delta.dataSkippingStatsColumns")?;
    Some(text.split(',').map(|name| name.trim().replace('`', "")).collect())
}

/// Whether a flag is set to true.
pub(crate) fn flag(properties: &BTreeMap<String, String>, key: &str, default: bool) -> bool {
    properties.get(key).map_or(default, |value| value.trim().eq_ignore_ascii_case("true"))
}

/// A duration property in milliseconds, or `default_days`.
pub(crate) fn duration_ms(
    properties: &BTreeMap<String, String>,
    key: &str,
    default_days: i64,
) -> i64 {
    properties.get(key).and_then(|text| interval_ms(text)).unwrap_or(default_days * DAY_MS)
}

/// `interval 1 week 2 days`; months and years have no fixed length and are not accepted.
fn interval_ms(text: &str) -> Option<i64> {
    let lower = text.trim().to_ascii_lowercase();
    let words: Vec<&str> =
        lower.strip_prefix("interval").unwrap_or(&lower).split_whitespace().collect();
    if words.is_empty() {
        return None;
    }
    let mut total: i64 = 0;
    for pair in words.chunks(2) {
        let [number, unit] = pair else { return None };
        let number: i64 = number.trim_matches('\'').parse().ok().filter(|n| *n >= 0)?;
        let unit_ms = match unit.trim_matches('\'').trim_end_matches('s') {
            "week" => 7 * DAY_MS,
            "day" => DAY_MS,
            "hour" => 3_600_000,
            "minute" => 60_000,
            "second" => 1000,
            "millisecond" => 1,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit_ms)?)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: &str, value: &str) -> Result<BTreeMap<String, String>> {
        accept(&[(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn intervals_are_read() {
        assert_eq!(interval_ms("interval 30 days"), Some(30 * DAY_MS));
        assert_eq!(interval_ms("INTERVAL 1 WEEK 2 hours"), Some(7 * DAY_MS + 7_200_000));
        assert_eq!(interval_ms("5 seconds"), Some(5000));
        assert_eq!(interval_ms("interval '3' minutes 4 milliseconds"), Some(180_004));
        assert_eq!(interval_ms("interval 0 days"), Some(0));
        for bad in ["", "interval", "30", "interval 1 month", "interval -1 days", "days 3"] {
            assert_eq!(interval_ms(bad), None, "{bad}");
        }
        let endless = format!("interval {} weeks", i64::MAX);
        assert_eq!(interval_ms(&endless), None);
    }

    #[test]
    fn properties_of_a_table_are_read_or_have_their_defaults() {
        let of = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let unset = BTreeMap::new();

        let key = "delta.checkpointInterval";
        assert_eq!(checkpoint_interval(&of(key, " 7 ")), Some(7));
        assert_eq!(checkpoint_interval(&of(key, "1")), Some(1));
        for unusable in ["0", "-1", "often"] {
            assert_eq!(checkpoint_interval(&of(key, unusable)), None, "{unusable}");
        }

        let key = "delta.dataSkippingNumIndexedCols";
        for (value, columns) in
            [("-1", None), ("0", Some(0)), ("3", Some(3)), ("-2", Some(32)), ("many", Some(32))]
        {
            assert_eq!(indexed_columns(&of(key, value)), columns, "{value}");
        }
        assert_eq!(indexed_columns(&unset), Some(32));

        let columns = stats_columns(&of("delta.dataSkippingStatsColumns", "a, `b.c`"));
        assert_eq!(columns, Some(vec!["a".to_owned(), "b.c".to_owned()]));
        assert_eq!(stats_columns(&unset), None);

        for (value, is_set) in [(" TRUE ", true), ("false", false), ("yes", false)] {
            assert_eq!(flag(&of("a", value), "a", !is_set), is_set, "{value}");
        }
        assert!(flag(&unset, "a", true) && !flag(&unset, "a", false));

        assert_eq!(duration_ms(&of("a", "interval 2 days"), "a", 30), 2 * DAY_MS);
        assert_eq!(duration_ms(&of("a", "for ever"), "a", 30), 2_592_000_000);
        assert_eq!(duration_ms(&unset, "a", 7), 604_800_000);
    }

    #[test]
    fn a_query_may_pause_for_seven_days() {
        let key = "delta.setTransactionRetentionDuration";
        for good in ["interval 7 days", "interval 8 days"] {
            assert!(set(key, good).is_ok(), "{good}");
        }
        for bad in ["interval 6 days", "interval 604799999 milliseconds"] {
            let error = set(key, bad).unwrap_err();
            assert_eq!(error.code(), "DELTA_UNSUPPORTED_TRANSACTION_RETENTION", "{bad}");
        }
    }

    #[test]
    fn values_are_checked() {
        for (key, good, bad) in [
            ("delta.checkpointInterval", "1", "ten"),
            ("delta.dataSkippingNumIndexedCols", "-1", "-2"),
            ("delta.dataSkippingNumIndexedCols", "0", "all"),
            ("delta.deletedFileRetentionDuration", "interval 1 week", "1 year"),
            ("delta.appendOnly", "TRUE", "yes"),
            ("delta.enableChangeDataFeed", "false", "no"),
            ("delta.enableExpiredLogCleanup", "true", "1"),
            ("delta.isolationLevel", "serializable", "None"),
            ("delta.isolationLevel", "WriteSerializable", "Snapshot"),
        ] {
            assert!(set(key, good).is_ok(), "{key} {good}");
            assert_eq!(set(key, bad).unwrap_err().code(), "DELTA_INVALID_PROPERTY", "{key} {bad}");
        }
        assert!(set("delta.targetFileSize", "whatever").is_ok());
    }

    #[test]
    fn properties_are_accepted_by_name() {
        let accepted = set("DELTA.appendonly", "true").unwrap();
        assert_eq!(accepted.get("delta.appendOnly").map(String::as_str), Some("true"));
        assert!(set("owner", "me").is_ok());
        for (key, value, code) in [
            ("delta.columnMapping.mode", "name", "DELTA_UNSUPPORTED_FEATURE"),
            ("delta.enableRowTracking", "true", "DELTA_UNSUPPORTED_FEATURE"),
            ("delta.chekpointInterval", "5", "DELTA_UNKNOWN_CONFIGURATION"),
            ("delta.checkpointInterval", "0", "DELTA_INVALID_PROPERTY"),
            ("delta.logRetentionDuration", "forever", "DELTA_INVALID_PROPERTY"),
            (
                "delta.setTransactionRetentionDuration",
                "interval 1 hour",
                "DELTA_UNSUPPORTED_TRANSACTION_RETENTION",
            ),
        ] {
            assert_eq!(set(key, value).unwrap_err().code(), code, "{key}");
        }
    }
}
