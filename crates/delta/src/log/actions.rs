//! The actions of the Delta log as lenient records: what is not known is ignored, as the protocol
//! demands, and what is known keeps Spark's field names and order.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The reader version from which a protocol names its reader features.
const READER_FEATURES_FROM: i32 = 3;
/// The writer version from which a protocol names its writer features.
const WRITER_FEATURES_FROM: i32 = 7;

/// `protocol`: what a reader and a writer must be able to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "ProtocolFields")]
pub struct Protocol {
    /// Lowest reader version.
    pub min_reader_version: i32,
    /// Lowest writer version.
    pub min_writer_version: i32,
    /// Named reader features, from reader version 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reader_features: Option<Vec<String>>,
    /// Named writer features, from writer version 7.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writer_features: Option<Vec<String>>,
}

/// A `protocol` as it is written, whose versions and features may contradict one another.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProtocolFields {
    min_reader_version: i32,
    min_writer_version: i32,
    reader_features: Option<Vec<String>>,
    writer_features: Option<Vec<String>>,
}

impl TryFrom<ProtocolFields> for Protocol {
    type Error = String;

    /// Features are there from certain versions on, and never before (Delta protocol, "Protocol
    /// Evolution"). A feature list that is missing would be read as one that asks for nothing.
    fn try_from(fields: ProtocolFields) -> Result<Self, String> {
        let ProtocolFields { min_reader_version, min_writer_version, .. } = fields;
        for (kind, version, from, features) in [
            ("reader", min_reader_version, READER_FEATURES_FROM, &fields.reader_features),
            ("writer", min_writer_version, WRITER_FEATURES_FROM, &fields.writer_features),
        ] {
            if version == from && features.is_none() {
                return Err(format!("{kind} version {version} without `{kind}Features`"));
            }
            if version < from && features.as_ref().is_some_and(|list| !list.is_empty()) {
                return Err(format!("`{kind}Features` with {kind} version {version}"));
            }
        }
        Ok(Protocol {
            min_reader_version,
            min_writer_version,
            reader_features: fields.reader_features,
            writer_features: fields.writer_features,
        })
    }
}

/// The file format of a table's data; always Parquet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// `parquet`.
    pub provider: String,
    /// Options of the format; empty.
    pub options: BTreeMap<String, String>,
}

impl Default for Format {
    fn default() -> Self {
        Format { provider: "parquet".to_owned(), options: BTreeMap::new() }
    }
}

/// `metaData`: schema, partitioning and properties.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The table's id.
    pub id: String,
    /// Name given by a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Comment given by a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Format of the data files.
    pub format: Format,
    /// The schema as Spark's StructType JSON.
    pub schema_string: String,
    /// Partition columns, in order.
    pub partition_columns: Vec<String>,
    /// Table properties.
    pub configuration: BTreeMap<String, String>,
    /// Milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_time: Option<i64>,
}

/// `txn`: how far an application has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Txn {
    /// The application.
    pub app_id: String,
    /// Its own version.
    pub version: i64,
    /// Milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_updated: Option<i64>,
}

/// Which rows of a file are deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeletionVector {
    /// `u`, `i` or `p`.
    pub storage_type: String,
    /// Where the vector is, or the vector itself.
    pub path_or_inline_dv: String,
    /// Where it starts in its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<i32>,
    /// Its size.
    pub size_in_bytes: i32,
    /// Number of deleted rows.
    pub cardinality: i64,
}

impl DeletionVector {
    fn unique_id(&self) -> String {
        match self.offset {
            Some(offset) => format!("{}{}@{offset}", self.storage_type, self.path_or_inline_dv),
            None => format!("{}{}", self.storage_type, self.path_or_inline_dv),
        }
    }
}

/// Partition column to value; a null and an empty string are both `None`.
pub type PartitionValues = BTreeMap<String, Option<String>>;

/// `add`: a data file of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddFile {
    /// Relative to the table, URL-encoded; see [`AddFile::local_path`].
    pub path: String,
    /// Values of the partition columns.
    pub partition_values: PartitionValues,
    /// Bytes.
    pub size: i64,
    /// Milliseconds since the epoch.
    pub modification_time: i64,
    /// Whether the file changes the table's rows, rather than how they are laid out.
    pub data_change: bool,
    /// Statistics as a JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, Option<String>>>,
    /// Deleted rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_vector: Option<DeletionVector>,
}

/// `remove`: a file that left the table, kept as a tombstone for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoveFile {
    /// As in the `add`.
    pub path: String,
    /// Milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<i64>,
    /// Whether rows were removed.
    #[serde(default = "yes")]
    pub data_change: bool,
    /// Whether the fields below are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extended_file_metadata: Option<bool>,
    /// Values of the partition columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_values: Option<PartitionValues>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, Option<String>>>,
    /// Deleted rows of the removed file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_vector: Option<DeletionVector>,
}

fn yes() -> bool {
    true
}

/// What makes a file of the log one file: its path and its deletion vector.
pub(crate) type FileKey = (String, Option<String>);

impl AddFile {
    pub(crate) fn key(&self) -> FileKey {
        (self.path.clone(), self.deletion_vector.as_ref().map(DeletionVector::unique_id))
    }
}

impl RemoveFile {
    pub(crate) fn key(&self) -> FileKey {
        (self.path.clone(), self.deletion_vector.as_ref().map(DeletionVector::unique_id))
    }
}

/// An action to write: one line of a log entry.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Action<'a> {
    CommitInfo(&'a Value),
    MetaData(&'a Metadata),
    Protocol(&'a Protocol),
    Txn(&'a Txn),
    Add(&'a AddFile),
}

/// One row of a checkpoint, or one line of an entry, as it is read. All fields but one are empty.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub txn: Option<Txn>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add: Option<AddFile>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remove: Option<RemoveFile>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta_data: Option<Metadata>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    #[serde(default, skip_serializing)]
    pub commit_info: Option<Value>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_file_is_its_path_and_its_deletion_vector() {
        let vector = |storage: &str, path: &str, offset: Option<i32>| {
            let offset = offset.map_or(Value::Null, Value::from);
            json!({"storageType": storage, "pathOrInlineDv": path, "offset": offset,
                "sizeInBytes": 1, "cardinality": 1})
        };
        let file = |vector: Value| {
            json!({"path": "a", "partitionValues": {}, "size": 1, "modificationTime": 1, "dataChange": true,
                "deletionVector": vector})
        };
        for (vector, id) in [
            (Value::Null, None),
            (vector("u", "x", Some(7)), Some("ux@7")),
            (vector("i", "x", None), Some("ix")),
        ] {
            let key = ("a".to_owned(), id.map(str::to_owned));
            let add: AddFile = serde_json::from_value(file(vector.clone())).unwrap();
            let remove: RemoveFile = serde_json::from_value(file(vector)).unwrap();
            assert_eq!((add.key(), remove.key()), (key.clone(), key));
        }
    }

    #[test]
    fn a_protocol_that_contradicts_itself_is_damage() {
        let read =
            |json: Value| serde_json::from_value::<Protocol>(json).map_err(|e| e.to_string());
        let none: [&str; 0] = [];
        for sound in [
            json!({"minReaderVersion": 1, "minWriterVersion": 2}),
            json!({"minReaderVersion": 2, "minWriterVersion": 6, "writerFeatures": none}),
            json!({"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["appendOnly"]}),
            json!({"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": none,
                "writerFeatures": none}),
            // What a later version asks for is nobody's to know.
            json!({"minReaderVersion": 4, "minWriterVersion": 8}),
        ] {
            let protocol = read(sound.clone()).unwrap();
            assert_eq!(serde_json::to_value(&protocol).unwrap(), sound);
        }
        for (damaged, why) in [
            (
                json!({"minReaderVersion": 1, "minWriterVersion": 7}),
                "writer version 7 without `writerFeatures`",
            ),
            (
                json!({"minReaderVersion": 3, "minWriterVersion": 7, "writerFeatures": none}),
                "reader version 3 without `readerFeatures`",
            ),
            (
                json!({"minReaderVersion": 1, "minWriterVersion": 6, "writerFeatures": ["x"]}),
                "`writerFeatures` with writer version 6",
            ),
            (
                json!({"minReaderVersion": 2, "minWriterVersion": 7, "readerFeatures": ["x"],
                    "writerFeatures": ["x"]}),
                "`readerFeatures` with reader version 2",
            ),
        ] {
            assert_eq!(read(damaged).unwrap_err(), why);
        }
    }

    #[test]
    fn what_the_protocol_asks_of_metadata_is_asked() {
        let whole = json!({"id": "i", "format": {"provider": "parquet", "options": {}},
            "schemaString": "{}", "partitionColumns": [], "configuration": {}});
        let read = |json: &Value| serde_json::from_value::<Metadata>(json.clone());
        assert_eq!(serde_json::to_value(read(&whole).unwrap()).unwrap(), whole);
        for field in ["id", "format", "schemaString", "partitionColumns", "configuration"] {
            let mut damaged = whole.clone();
            damaged.as_object_mut().unwrap().remove(field);
            let why = read(&damaged).unwrap_err().to_string();
            assert_eq!(why, format!("missing field `{field}`"));
        }
        let mut damaged = whole;
        damaged["format"].as_object_mut().unwrap().remove("options");
        assert_eq!(read(&damaged).unwrap_err().to_string(), "missing field `options`");
    }

    #[test]
    fn a_file_that_is_removed_takes_its_rows_unless_it_says_otherwise() {
        let remove: RemoveFile = serde_json::from_value(json!({"path": "a"})).unwrap();
        assert!(remove.data_change);
    }
}
