//! Spark's data types (`org.apache.spark.sql.types`): DDL strings, StructType JSON, printed names,
//! and the Arrow types that Millstream uses for them.

/// A Spark SQL data type.
#[derive(Debug, Clone, PartialEq)]
pub enum DataType {
    /// `VOID`
    Null,
    /// `BOOLEAN`
    Boolean,
    /// `TINYINT`
    Byte,
    /// `SMALLINT`
    Short,
    /// `INT`
    Integer,
    /// `BIGINT`
    Long,
    /// `FLOAT`
    Float,
    /// `DOUBLE`
    Double,
    /// `DECIMAL(precision, scale)`
    Decimal(u8, i8),
    /// `STRING`
    String,
    /// `BINARY`
    Binary,
    /// `DATE`
    Date,
    /// `TIMESTAMP`: an instant, microseconds since the epoch
    Timestamp,
    /// `TIMESTAMP_NTZ`: wall-clock microseconds
    TimestampNtz,
    /// `ARRAY<element>`
    Array {
        /// Element type.
        element: Box<DataType>,
        /// Whether elements may be null.
        contains_null: bool,
    },
    /// `MAP<key, value>`
    Map {
        /// Key type; keys are never null.
        key: Box<DataType>,
        /// Value type.
        value: Box<DataType>,
        /// Whether values may be null.
        value_contains_null: bool,
    },
    /// `STRUCT<..>`
    Struct(StructType),
}

/// One field of a struct.
#[derive(Debug, Clone, PartialEq)]
pub struct StructField {
    /// Name, case preserved.
    pub name: String,
    /// Type.
    pub data_type: DataType,
    /// Whether it may be null.
    pub nullable: bool,
    /// Metadata of the field (comment, generation expressions, ...).
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// Fields in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StructType {
    /// The fields.
    pub fields: Vec<StructField>,
}
