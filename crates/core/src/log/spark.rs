//! Spark's own files, byte for byte as Spark 4.2 writes them.

use super::{IntentRef, damaged, newer, strict, torn};
use crate::contract::Position;
use crate::error::Result;
use crate::ids::QueryId;
use serde_json::{Map, Value};
use uuid::Uuid;

/// The one conf key of `offsets/N` that is ours. Other engines ignore it, and drop it in batches
/// of their own, which tells who planned a batch.
pub const INTENT_KEY: &str = "millstream.intent";

/// What Spark writes for a source that has no offset yet.
const VOID_OFFSET: &str = "-";
/// Field of the metadata line of version 2.
const SOURCE_INFO: &str = "sourceMetadataInfo";
/// Newest version of `offsets/N` that is read.
const OFFSETS_VERSION_MAX: u64 = 2;
/// Newest version of `commits/N` that is read.
const COMMITS_VERSION_MAX: u64 = 3;

/// The name of the checksum file that Hadoop's local file system keeps beside `name`. A stale one
/// makes Spark fail, so whoever creates or deletes a file deletes its twin.
pub fn hadoop_twin(name: &str) -> String {
    format!(".{name}.crc")
}

/// `metadata`: the query's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// The query's id, for the life of the checkpoint.
    pub id: QueryId,
}

impl Metadata {
    /// `{"id":"<uuid>"}`.
    pub fn encode(&self) -> Vec<u8> {
        format!("{{\"id\":\"{}\"}}", self.id).into_bytes()
    }

    /// Reads the file. The id must be a UUID in its usual form: sinks compare it as text.
    ///
    /// # Errors
    /// `CHECKPOINT_FILE_TORN`, `CHECKPOINT_FILE_DAMAGED`.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let text = utf8(bytes)?;
        let value = json(text, "the id")?;
        let id = value.get("id").and_then(Value::as_str).ok_or_else(|| damaged("no `id`"))?;
        match Uuid::try_parse(id) {
            Ok(uuid) if uuid.to_string() == id => Ok(Metadata { id: QueryId(uuid) }),
            _ => Err(damaged(format_args!("`{}` is not a query id", id.escape_debug()))),
        }
    }
}

/// The confs that Spark pins for the life of a checkpoint, in the order they were written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conf(Vec<(String, String)>);

impl Conf {
    /// What Spark 4.2 writes for a new query with its defaults and this number of shuffle
    /// partitions. Every key is there: an absent one would mean its legacy default.
    pub fn spark(shuffle_partitions: u32) -> Self {
        const STREAMING: &str = "spark.sql.streaming.";
        const PROVIDER: &str =
            "org.apache.spark.sql.execution.streaming.state.HDFSBackedStateStoreProvider";
        let shuffle_partitions = shuffle_partitions.to_string();
        let streaming = |key: &str, value: &str| (format!("{STREAMING}{key}"), value.to_owned());
        let other = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        Conf(vec![
            streaming("stateStore.providerClass", PROVIDER),
            streaming("stateStore.rocksdb.mergeOperatorVersion", "2"),
            streaming("stateStore.rocksdb.formatVersion", "5"),
            streaming("queryEvolution.enableSourceEvolution", "false"),
            streaming("stateStore.encodingFormat", "unsaferow"),
            streaming("statefulOperator.useStrictDistribution", "true"),
            streaming("flatMapGroupsWithState.stateFormatVersion", "2"),
            streaming("multipleWatermarkPolicy", "min"),
            streaming("stateStore.rowChecksum.enabled", "false"),
            streaming("aggregation.stateFormatVersion", "2"),
            other("spark.sql.function.protobufExtensions.enabled", "false"),
            other("spark.sql.shuffle.partitions", &shuffle_partitions),
            streaming("join.stateFormatVersion", "2"),
            streaming("stateStore.compression.codec", "lz4"),
            other("spark.sql.optimizer.pruneFiltersCanPruneStreamingSubplan", "false"),
        ])
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Sets `key`, in its old place or at the end.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        match self.0.iter_mut().find(|(k, _)| k == key) {
            Some((_, slot)) => *slot = value.into(),
            None => self.0.push((key.to_owned(), value.into())),
        }
    }

    /// Takes `key` out.
    pub fn remove(&mut self, key: &str) {
        self.0.retain(|(k, _)| k != key);
    }

    /// Keys and values in the order they were written.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    fn to_value(&self) -> Value {
        Value::Object(self.0.iter().map(|(k, v)| (k.clone(), Value::from(v.as_str()))).collect())
    }

    fn from_value(value: &Value) -> Result<Self> {
        let map = value.as_object().ok_or_else(|| damaged("`conf` is not an object"))?;
        map.iter()
            .map(|(k, v)| match v.as_str() {
                // Spark pins its own confs only; a misspelt key of ours would hide the intent.
                _ if !k.starts_with("spark.") && k != INTENT_KEY => {
                    Err(damaged(format_args!("it has an unknown conf `{}`", k.escape_debug())))
                }
                Some(text) => Ok((k.clone(), text.to_owned())),
                None => Err(damaged(format_args!("the conf `{k}` is not a string"))),
            })
            .collect::<Result<_>>()
            .map(Conf)
    }
}

/// Line 2 of `offsets/N`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OffsetsMetadata {
    /// The watermark that the batch uses.
    pub watermark_ms: i64,
    /// When the batch was planned; what `current_timestamp()` answers in it.
    pub timestamp_ms: i64,
    /// Pinned confs.
    pub conf: Conf,
    /// `sourceMetadataInfo` of version 2, kept as it is.
    pub source_info: Option<Value>,
}

/// `offsets/N`: what Spark keeps of an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetsFile {
    /// 1, or 2 for logs with named sources.
    pub version: u64,
    /// `None` for the empty line of continuous mode and very old checkpoints.
    pub metadata: Option<OffsetsMetadata>,
    /// The end of every source, in the order of the plan; `None` for a source without offsets.
    pub sources: Vec<Option<Position>>,
    /// Names of the sources in version 2, one each; empty in version 1.
    pub names: Vec<String>,
}

impl OffsetsFile {
    /// A version-1 file.
    pub fn new(metadata: OffsetsMetadata, sources: Vec<Option<Position>>) -> Self {
        OffsetsFile { version: 1, metadata: Some(metadata), sources, names: Vec::new() }
    }

    /// The intent that the file names; `None` if another engine planned the batch.
    ///
    /// # Errors
    /// `CHECKPOINT_FILE_DAMAGED` if the value is not a name and a digest.
    pub fn intent(&self) -> Result<Option<IntentRef>> {
        let Some(text) = self.metadata.as_ref().and_then(|m| m.conf.get(INTENT_KEY)) else {
            return Ok(None);
        };
        IntentRef::parse(text)
            .map(Some)
            .ok_or_else(|| damaged(format_args!("`{INTENT_KEY}` is not a name and a digest")))
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = format!("v{}\n", self.version);
        if let Some(metadata) = &self.metadata {
            let mut map = Map::new();
            map.insert("batchWatermarkMs".into(), metadata.watermark_ms.into());
            map.insert("batchTimestampMs".into(), metadata.timestamp_ms.into());
            map.insert("conf".into(), metadata.conf.to_value());
            map.extend(metadata.source_info.iter().map(|v| (SOURCE_INFO.into(), v.clone())));
            out.push_str(&Value::Object(map).to_string());
        }
        for (at, source) in self.sources.iter().enumerate() {
            out.push('\n');
            if let Some(name) = self.names.get(at) {
                out.push_str(name);
                out.push(':');
            }
            match source {
                Some(position) => out.push_str(&position.0.to_string()),
                None => out.push_str(VOID_OFFSET),
            }
        }
        out.into_bytes()
    }

    /// Reads the file, version 1 or 2.
    ///
    /// # Errors
    /// `CHECKPOINT_FILE_TORN`, `CHECKPOINT_FILE_DAMAGED`, `CHECKPOINT_VERSION_NEWER`.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let (version, rest) = version_line(utf8(bytes)?, OFFSETS_VERSION_MAX)?;
        let mut lines = rest.split('\n');
        let metadata = match lines.next() {
            None | Some("") if version == 1 => None,
            None | Some("") => return Err(damaged("version 2 needs its metadata line")),
            Some(line) => Some(offsets_metadata(line)?),
        };
        let mut sources = Vec::new();
        let mut names = Vec::new();
        for line in lines {
            let text = if version == 1 {
                line
            } else {
                let (name, text) =
                    line.split_once(':').ok_or_else(|| torn("a source line has no name"))?;
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
                if name.is_empty() || !name.chars().all(plain) || names.iter().any(|n| n == name) {
                    return Err(damaged(format_args!(
                        "`{}` names no source, or one twice",
                        name.escape_debug()
                    )));
                }
                names.push(name.to_owned());
                text
            };
            sources.push(position(text)?);
        }
        if sources.is_empty() {
            return Err(torn("it has no line for any source"));
        }
        Ok(OffsetsFile { version, metadata, sources, names })
    }
}

/// `commits/N`: batch N is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitFile {
    /// 1; 2 and 3 are Spark's for state store format 2 and for sink evolution.
    pub version: u64,
    /// The watermark after the batch; 0 in files of very old checkpoints, which have none.
    pub next_watermark_ms: i64,
    /// Fields that this release does not know, kept as they are.
    pub rest: Map<String, Value>,
}

impl CommitFile {
    /// A version-1 file.
    pub fn new(next_watermark_ms: i64) -> Self {
        CommitFile { version: 1, next_watermark_ms, rest: Map::new() }
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut map = Map::new();
        map.insert("nextBatchWatermarkMs".into(), self.next_watermark_ms.into());
        map.extend(self.rest.iter().map(|(k, v)| (k.clone(), v.clone())));
        format!("v{}\n{}", self.version, Value::Object(map)).into_bytes()
    }

    /// Reads the file. `{}` means a watermark of 0.
    ///
    /// # Errors
    /// `CHECKPOINT_FILE_TORN`, `CHECKPOINT_FILE_DAMAGED`, `CHECKPOINT_VERSION_NEWER`.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let (version, text) = version_line(utf8(bytes)?, COMMITS_VERSION_MAX)?;
        let Value::Object(mut rest) = json(text, "the watermark")? else {
            return Err(damaged("it holds no JSON object"));
        };
        let next_watermark_ms = match rest.is_empty() {
            true => 0,
            false => take_long(&mut rest, "nextBatchWatermarkMs")?,
        };
        Ok(CommitFile { version, next_watermark_ms, rest })
    }
}

/// `sources/<i>/0`: where a source began. A zero byte comes first (a relic of Spark 2.1 that
/// readers insist on).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceStart {
    /// The source's initial position.
    pub position: Position,
}

impl SourceStart {
    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        format!("\0v1\n{}", self.position.0).into_bytes()
    }

    /// Reads the file.
    ///
    /// # Errors
    /// `CHECKPOINT_FILE_TORN`, `CHECKPOINT_FILE_DAMAGED`, `CHECKPOINT_VERSION_NEWER`.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let text = utf8(bytes)?;
        let text = text.strip_prefix('\0').ok_or_else(|| damaged("its zero byte is missing"))?;
        let (_, text) = version_line(text, 1)?;
        let position = Position(json(text, "the offsets")?);
        Ok(SourceStart { position })
    }
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    if bytes.is_empty() {
        return Err(torn("it is empty"));
    }
    if bytes.iter().all(|b| *b == 0) {
        return Err(torn("it holds zeros only"));
    }
    std::str::from_utf8(bytes).map_err(|_| damaged("it is not UTF-8"))
}

fn version_line(text: &str, known: u64) -> Result<(u64, &str)> {
    let Some((line, rest)) = text.split_once('\n') else {
        return Err(if text.starts_with('v') || text.is_empty() {
            torn("it ends in its version line")
        } else {
            damaged("it has no version line")
        });
    };
    let digits = line.strip_prefix('v').filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
    match digits.and_then(|d| d.parse::<u64>().ok()) {
        Some(version) if version > known => Err(newer(version, known)),
        Some(version) if version > 0 && line == format!("v{version}") => Ok((version, rest)),
        _ => Err(damaged(format_args!("`{}` is no version", line.escape_debug()))),
    }
}

fn json(text: &str, what: &str) -> Result<Value> {
    strict::parse(text).map_err(|e| {
        if e.is_eof() { torn(format_args!("it ends inside {what}")) } else { damaged(e) }
    })
}

fn position(line: &str) -> Result<Option<Position>> {
    if line == VOID_OFFSET { Ok(None) } else { json(line, "an offset").map(|v| Some(Position(v))) }
}

fn offsets_metadata(line: &str) -> Result<OffsetsMetadata> {
    let Value::Object(mut rest) = json(line, "its metadata")? else {
        return Err(damaged("its second line is not an object"));
    };
    let watermark_ms = take_long(&mut rest, "batchWatermarkMs")?;
    let timestamp_ms = take_long(&mut rest, "batchTimestampMs")?;
    let conf = match rest.shift_remove("conf") {
        Some(conf) => Conf::from_value(&conf)?,
        None => Conf::default(),
    };
    let source_info = rest.shift_remove(SOURCE_INFO);
    // A misspelt key would quietly turn what it held into a default.
    if let Some(key) = rest.keys().next() {
        return Err(damaged(format_args!("it has an unknown field `{}`", key.escape_debug())));
    }
    Ok(OffsetsMetadata { watermark_ms, timestamp_ms, conf, source_info })
}

/// A whole number. Spark reads an absent one as 0 but always writes it.
fn take_long(map: &mut Map<String, Value>, key: &str) -> Result<i64> {
    map.shift_remove(key)
        .and_then(|value| value.as_i64())
        .ok_or_else(|| damaged(format_args!("`{key}` is not there as a whole number")))
}
