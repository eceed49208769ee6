//! What this crate can read and write of the Delta protocol. Everything else is refused by the
//! feature's own name, before anything is written.

use crate::log::actions::{Metadata, Protocol};
use crate::properties;
use millstream_core::{Error, Result};
use millstream_types::{DataType, StructField, StructType};

/// Feature of `TIMESTAMP_NTZ` columns, the only one here that readers must know.
pub(crate) const TIMESTAMP_NTZ: &str = "timestampNtz";
/// Feature of the change data feed, which appends need nothing for.
pub(crate) const CHANGE_DATA_FEED: &str = "changeDataFeed";

/// Reader features a reader can cope with as long as the table does not use them.
const READABLE: &[&str] =
    &[TIMESTAMP_NTZ, "deletionVectors", "vacuumProtocolCheck", "v2Checkpoint", "columnMapping"];

/// Writer features an append can cope with; uses that need more are found by [`check_usage`].
const WRITABLE: &[&str] = &[
    "appendOnly",
    "invariants",
    "checkConstraints",
    CHANGE_DATA_FEED,
    "generatedColumns",
    "identityColumns",
    "columnMapping",
    "deletionVectors",
    "allowColumnDefaults",
    "vacuumProtocolCheck",
    "v2Checkpoint",
    TIMESTAMP_NTZ,
];

/// The protocol of a table that this crate creates.
pub(crate) fn protocol_for(schema: &StructType, change_data_feed: bool) -> Protocol {
    let mut writer = vec!["appendOnly".to_owned(), "invariants".to_owned()];
    if change_data_feed {
        writer.push(CHANGE_DATA_FEED.to_owned());
    }
    let ntz = uses_timestamp_ntz(schema);
    if ntz {
        writer.push(TIMESTAMP_NTZ.to_owned());
    }
    Protocol {
        min_reader_version: if ntz { 3 } else { 1 },
        min_writer_version: 7,
        reader_features: ntz.then(|| vec![TIMESTAMP_NTZ.to_owned()]),
        writer_features: Some(writer),
    }
}

/// Whether a column at any depth is `TIMESTAMP_NTZ`.
pub(crate) fn uses_timestamp_ntz(schema: &StructType) -> bool {
    any_type(schema, &|t| matches!(t, DataType::TimestampNtz))
}

/// Whether `found` holds for a type at any depth.
pub(crate) fn any_type(schema: &StructType, found: &dyn Fn(&DataType) -> bool) -> bool {
    schema.fields.iter().any(|field| any_in(&field.data_type, found))
}

fn any_in(data_type: &DataType, found: &dyn Fn(&DataType) -> bool) -> bool {
    found(data_type)
        || match data_type {
            DataType::Struct(inner) => any_type(inner, found),
            DataType::Array { element, .. } => any_in(element, found),
            DataType::Map { key, value, .. } => any_in(key, found) || any_in(value, found),
            _ => false,
        }
}

/// Refuses a table that cannot be read.
///
/// # Errors
/// `DELTA_UNSUPPORTED_FEATURE`, naming the feature.
pub(crate) fn check_readable(protocol: &Protocol, metadata: &Metadata) -> Result<()> {
    if protocol.min_reader_version > 3 {
        return Err(unsupported(&format!("reader version {}", protocol.min_reader_version)));
    }
    for feature in protocol.reader_features.iter().flatten() {
        if !READABLE.contains(&feature.as_str()) {
            return Err(unsupported(feature));
        }
    }
    check_column_mapping(metadata)
}

/// Refuses a table that must not be appended to by this crate.
///
/// # Errors
/// `DELTA_UNSUPPORTED_FEATURE`, naming the feature;
/// `DELTA_UNSUPPORTED_TRANSACTION_RETENTION`.
pub(crate) fn check_writable(
    protocol: &Protocol,
    metadata: &Metadata,
    schema: &StructType,
) -> Result<()> {
    check_readable(protocol, metadata)?;
    if protocol.min_writer_version > 7 {
        return Err(unsupported(&format!("writer version {}", protocol.min_writer_version)));
    }
    let all = protocol.writer_features.iter().chain(&protocol.reader_features).flatten();
    for feature in all {
        if !WRITABLE.contains(&feature.as_str()) {
            return Err(unsupported(feature));
        }
    }
    check_usage(protocol, metadata, schema)?;
    properties::check_transaction_retention(&metadata.configuration)
}

/// Refuses what an append would break: constraints that it does not evaluate, columns that it
/// does not compute.
fn check_usage(protocol: &Protocol, metadata: &Metadata, schema: &StructType) -> Result<()> {
    for (key, value) in &metadata.configuration {
        let on = value.trim().eq_ignore_ascii_case("true");
        let key = key.to_ascii_lowercase();
        if key.starts_with("delta.constraints.") {
            return Err(unsupported(&format!("checkConstraints (property {key})")));
        }
        match key.as_str() {
            "delta.enablerowtracking" if on => return Err(unsupported("rowTracking")),
            "delta.enableincommittimestamps" if on => {
                return Err(unsupported("inCommitTimestamp"));
            }
            "delta.enabletypewidening" if on => return Err(unsupported("typeWidening")),
            "delta.checkpointpolicy" if !value.trim().eq_ignore_ascii_case("classic") => {
                return Err(unsupported("v2Checkpoint (property delta.checkpointPolicy)"));
            }
            _ if key.starts_with("delta.enableiceberg") && on => {
                return Err(unsupported("icebergCompat"));
            }
            _ => {}
        }
    }
    if protocol.min_writer_version < 7
        || protocol.writer_features.iter().flatten().all(|f| f != TIMESTAMP_NTZ)
    {
        // A column of this type without its feature cannot come from a correct writer.
        if uses_timestamp_ntz(schema) {
            return Err(unsupported("timestampNtz (a column uses it, the protocol lacks it)"));
        }
    }
    check_fields(&schema.fields)
}

fn check_fields(fields: &[StructField]) -> Result<()> {
    for field in fields {
        for key in field.metadata.keys() {
            let feature = match key.as_str() {
                "delta.generationExpression" => "generatedColumns",
                "delta.invariants" => "invariants",
                "CURRENT_DEFAULT" | "EXISTS_DEFAULT" => "allowColumnDefaults",
                "delta.typeChanges" => "typeWidening",
                "__CHAR_VARCHAR_TYPE_STRING" => "CHAR and VARCHAR columns",
                _ if key.starts_with("delta.identity.") => "identityColumns",
                _ => continue,
            };
            return Err(unsupported(&format!("{feature} (column `{}`)", field.name)));
        }
        check_nested(&field.data_type)?;
    }
    Ok(())
}

fn check_nested(data_type: &DataType) -> Result<()> {
    match data_type {
        DataType::Struct(inner) => check_fields(&inner.fields),
        DataType::Array { element, .. } => check_nested(element),
        DataType::Map { key, value, .. } => {
            check_nested(key)?;
            check_nested(value)
        }
        _ => Ok(()),
    }
}

fn check_column_mapping(metadata: &Metadata) -> Result<()> {
    match metadata.configuration.get("delta.columnMapping.mode").map(|mode| mode.trim()) {
        None => Ok(()),
        Some(mode) if mode.eq_ignore_ascii_case("none") || mode.is_empty() => Ok(()),
        Some(mode) => Err(unsupported(&format!("columnMapping (mode {mode})"))),
    }
}

/// The error for a feature that this crate does not have.
pub(crate) fn unsupported(feature: &str) -> Error {
    Error::invalid(
        "DELTA_UNSUPPORTED_FEATURE",
        format!("The table needs a Delta feature that Millstream does not have: {feature}."),
    )
    .cure("Use a table without it; nothing was changed.")
}
