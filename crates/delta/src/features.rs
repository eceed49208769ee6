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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn protocol(reader: i32, writer: i32, features: [&[&str]; 2]) -> Protocol {
        let [readers, writers] =
            features.map(|names| names.iter().map(ToString::to_string).collect());
        Protocol {
            min_reader_version: reader,
            min_writer_version: writer,
            reader_features: Some(readers),
            writer_features: Some(writers),
        }
    }

    fn metadata(configuration: &[(&str, &str)]) -> Metadata {
        let configuration: serde_json::Map<String, Value> =
            configuration.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
        let metadata = json!({"id": "t", "format": {"provider": "parquet", "options": {}},
            "schemaString": "", "partitionColumns": [], "configuration": configuration});
        serde_json::from_value(metadata).unwrap()
    }

    /// What an append is refused for; nothing if it is not.
    fn refused(protocol: &Protocol, properties: &[(&str, &str)], schema: &StructType) -> String {
        match check_writable(protocol, &metadata(properties), schema) {
            Ok(()) => String::new(),
            Err(error) => error.message().rsplit_once(": ").unwrap().1.to_owned(),
        }
    }

    fn ddl(text: &str) -> StructType {
        StructType::parse_ddl(text).unwrap()
    }

    #[test]
    fn protocols_are_refused_by_version_and_by_feature() {
        let id = ddl("id BIGINT");
        let check =
            |reader, writer, features| refused(&protocol(reader, writer, features), &[], &id);
        assert_eq!(check(3, 7, [&["deletionVectors"], &["deletionVectors", "appendOnly"]]), "");
        assert_eq!(check(1, 2, [&[], &[]]), "");
        assert_eq!(check(4, 7, [&[], &[]]), "reader version 4.");
        assert_eq!(check(3, 8, [&[], &[]]), "writer version 8.");
        assert_eq!(check(3, 7, [&["later"], &[]]), "later.");
        assert_eq!(check(3, 7, [&[], &["rowTracking"]]), "rowTracking.");
    }

    #[test]
    fn properties_that_an_append_would_break_are_refused_where_they_are_on() {
        let (plain, id) = (protocol(1, 7, [&[], &[]]), ddl("id BIGINT"));
        for (property, feature) in [
            ("delta.enableRowTracking", "rowTracking."),
            ("delta.enableInCommitTimestamps", "inCommitTimestamp."),
            ("delta.enableTypeWidening", "typeWidening."),
            ("delta.enableIcebergCompatV1", "icebergCompat."),
        ] {
            assert_eq!(refused(&plain, &[(property, " TRUE ")], &id), feature);
            assert_eq!(refused(&plain, &[(property, "false")], &id), "", "{property}");
        }
        for (property, value, feature) in [
            ("delta.checkpointPolicy", "classic", ""),
            ("delta.checkpointPolicy", "v2", "v2Checkpoint (property delta.checkpointPolicy)."),
            ("delta.columnMapping.mode", " None ", ""),
            ("delta.columnMapping.mode", " ", ""),
            ("delta.columnMapping.mode", "id", "columnMapping (mode id)."),
            (
                "delta.constraints.positive",
                "id > 0",
                "checkConstraints (property delta.constraints.positive).",
            ),
            ("owner", "true", ""),
            ("delta.appendOnly", "true", ""),
        ] {
            assert_eq!(refused(&plain, &[(property, value)], &id), feature, "{property} {value}");
        }
    }

    #[test]
    fn columns_that_an_append_would_have_to_compute_are_found_at_any_depth() {
        let plain = protocol(1, 7, [&[], &[]]);
        let schema = |data_type: Value, metadata: Value| {
            let field =
                json!({"name": "c", "type": data_type, "nullable": true, "metadata": metadata});
            json!({"type": "struct", "fields": [field]})
        };
        let parse = |schema: &Value| StructType::from_json(&schema.to_string()).unwrap();
        for (key, feature) in [
            ("delta.generationExpression", "generatedColumns"),
            ("delta.invariants", "invariants"),
            ("CURRENT_DEFAULT", "allowColumnDefaults"),
            ("EXISTS_DEFAULT", "allowColumnDefaults"),
            ("delta.typeChanges", "typeWidening"),
            ("__CHAR_VARCHAR_TYPE_STRING", "CHAR and VARCHAR columns"),
            ("delta.identity.start", "identityColumns"),
        ] {
            let inner = schema(json!("long"), json!({"comment": "x", key: "1"}));
            let expected = format!("{feature} (column `c`).");
            let array = json!({"type": "array", "elementType": inner, "containsNull": true});
            let map = |key: &Value, value: &Value| {
                json!({"type": "map", "keyType": key, "valueType": value,
                    "valueContainsNull": true})
            };
            let long = json!("long");
            for outer in [&inner, &array, &map(&inner, &long), &map(&long, &inner)] {
                let found = refused(&plain, &[], &parse(&schema(outer.clone(), json!({}))));
                assert_eq!(found, expected, "{outer}");
            }
            assert_eq!(refused(&plain, &[], &parse(&inner)), expected);
        }
        let harmless = parse(&schema(json!("long"), json!({"comment": "x"})));
        assert_eq!(refused(&plain, &[], &harmless), "");
    }

    #[test]
    fn timestamps_without_a_zone_need_their_feature_at_any_depth() {
        for columns in [
            "c TIMESTAMP_NTZ",
            "c STRUCT<at: TIMESTAMP_NTZ>",
            "c ARRAY<TIMESTAMP_NTZ>",
            "c MAP<TIMESTAMP_NTZ, INT>",
            "c MAP<INT, TIMESTAMP_NTZ>",
        ] {
            let schema = ddl(columns);
            let made = protocol_for(&schema, false);
            assert_eq!(json!(made.reader_features), json!(["timestampNtz"]), "{columns}");
            assert_eq!(refused(&made, &[], &schema), "", "{columns}");
            let named: [&[&str]; 2] = [&[TIMESTAMP_NTZ], &[TIMESTAMP_NTZ]];
            let none: [&[&str]; 2] = [&[], &["appendOnly"]];
            for lacking in [protocol(3, 7, none), protocol(1, 6, named)] {
                let found = refused(&lacking, &[], &schema);
                assert!(found.starts_with("timestampNtz ("), "{columns}: {found}");
            }
        }
        let without = protocol_for(&ddl("c TIMESTAMP, d ARRAY<INT>, e MAP<INT, INT>"), true);
        assert_eq!((without.min_reader_version, without.reader_features), (1, None));
        let writer = json!(["appendOnly", "invariants", "changeDataFeed"]);
        assert_eq!(json!(without.writer_features), writer);
    }
}
