//! Spark's data types (`org.apache.spark.sql.types`): DDL strings, StructType JSON, printed names,
//! and the Arrow types that Millstream uses for them.
//!
//! Invariants: whatever is parsed nests at most [`NESTING_MAX`] deep, so that every recursion over
//! a type is bounded; names keep their case; a type printed with [`DataType::sql`] or
//! [`StructType::to_json`] parses back to the same type.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod arrow_form;
mod ddl;
mod lexer;
mod print;
mod struct_json;
#[cfg(test)]
mod tests;

pub use arrow_form::TIMESTAMP_ZONE;
pub use print::quoted_if_needed;

use millstream_core::{Error, Result};
use serde_json::Value;

/// How deep types may nest in a schema.
pub const NESTING_MAX: usize = 100;

/// The largest precision of `DECIMAL`.
pub const DECIMAL_PRECISION_MAX: u8 = 38;

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
    pub metadata: serde_json::Map<String, Value>,
}

/// Fields in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StructType {
    /// The fields.
    pub fields: Vec<StructField>,
}

impl DataType {
    /// An array whose elements may be null.
    pub fn array(element: DataType) -> Self {
        DataType::Array { element: Box::new(element), contains_null: true }
    }

    /// A map whose values may be null.
    pub fn map(key: DataType, value: DataType) -> Self {
        DataType::Map { key: Box::new(key), value: Box::new(value), value_contains_null: true }
    }

    /// Parses a type as SQL writes it (`BIGINT`, `ARRAY<STRUCT<a: INT>>`).
    ///
    /// # Errors
    /// `SCHEMA_INVALID` with line and column, `SCHEMA_UNSUPPORTED_TYPE` for a type by name.
    pub fn parse_ddl(text: &str) -> Result<Self> {
        ddl::parse_type(text)
    }

    /// Parses a type in any of the forms that Spark takes for a schema argument: JSON, a type, or
    /// a list of columns, which stands for a struct.
    ///
    /// # Errors
    /// `SCHEMA_INVALID`, `SCHEMA_UNSUPPORTED_TYPE`.
    pub fn parse(text: &str) -> Result<Self> {
        if text.trim_start().starts_with(['{', '"']) {
            return struct_json::parse_type(text);
        }
        if ddl::starts_as_type(text) {
            ddl::parse_type(text)
        } else {
            ddl::parse_columns(text).map(DataType::Struct)
        }
    }

    /// The same type with everything inside it nullable, as Spark reads data it does not control.
    #[must_use]
    pub fn as_nullable(&self) -> Self {
        match self {
            DataType::Array { element, .. } => DataType::array(element.as_nullable()),
            DataType::Map { key, value, .. } => {
                DataType::map(key.as_nullable(), value.as_nullable())
            }
            DataType::Struct(fields) => DataType::Struct(fields.as_nullable()),
            other => other.clone(),
        }
    }

    /// Whether the type is made of other types.
    pub fn is_nested(&self) -> bool {
        matches!(self, DataType::Array { .. } | DataType::Map { .. } | DataType::Struct(_))
    }
}

impl StructField {
    /// A field without metadata.
    pub fn new(name: impl Into<String>, data_type: DataType, nullable: bool) -> Self {
        StructField { name: name.into(), data_type, nullable, metadata: serde_json::Map::default() }
    }

    /// The comment, which Spark keeps in the metadata.
    pub fn comment(&self) -> Option<&str> {
        self.metadata.get("comment").and_then(Value::as_str)
    }

    /// Sets the comment.
    #[must_use]
    pub fn with_comment(mut self, comment: impl Into<String>) -> Self {
        self.metadata.insert("comment".into(), Value::String(comment.into()));
        self
    }
}

impl StructType {
    /// A struct of these fields.
    pub fn new(fields: Vec<StructField>) -> Self {
        StructType { fields }
    }

    /// Parses a list of columns (`a INT, b STRING NOT NULL COMMENT 'x'`). The colon of struct
    /// fields (`a: INT`) is accepted here as Spark does.
    ///
    /// # Errors
    /// `SCHEMA_INVALID` with line and column, `SCHEMA_UNSUPPORTED_TYPE` for a type by name.
    pub fn parse_ddl(text: &str) -> Result<Self> {
        ddl::parse_columns(text)
    }

    /// Parses a struct written as StructType JSON, as a list of columns, or as `STRUCT<..>`.
    ///
    /// # Errors
    /// `SCHEMA_INVALID` (also when the text is a type other than a struct),
    /// `SCHEMA_UNSUPPORTED_TYPE`.
    pub fn parse(text: &str) -> Result<Self> {
        match DataType::parse(text)? {
            DataType::Struct(fields) => Ok(fields),
            other => Err(Error::invalid(
                "SCHEMA_INVALID",
                format!("The schema must be a struct, but it is {}.", other.sql()),
            )),
        }
    }

    /// Parses Spark's JSON form of a struct.
    ///
    /// # Errors
    /// `SCHEMA_INVALID`, `SCHEMA_UNSUPPORTED_TYPE`.
    pub fn from_json(text: &str) -> Result<Self> {
        match struct_json::parse_type(text)? {
            DataType::Struct(fields) => Ok(fields),
            other => Err(Error::invalid(
                "SCHEMA_INVALID",
                format!("The JSON schema must be a struct, but it is {}.", other.sql()),
            )),
        }
    }

    /// Spark's JSON form, compact, keys in Spark's order.
    pub fn to_json(&self) -> String {
        struct_json::struct_value(self).to_string()
    }

    /// Position of the field of exactly this name.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|f| f.name == name)
    }

    /// Position of the only field of this name without regard to case; `None` also when several
    /// fields match.
    pub fn index_of_ignoring_case(&self, name: &str) -> Option<usize> {
        let wanted = name.to_lowercase();
        let mut hits =
            self.fields.iter().enumerate().filter(|(_, f)| f.name.to_lowercase() == wanted);
        match (hits.next(), hits.next()) {
            (Some((at, _)), None) => Some(at),
            _ => None,
        }
    }

    /// The field of exactly this name.
    pub fn field(&self, name: &str) -> Option<&StructField> {
        self.fields.iter().find(|f| f.name == name)
    }

    /// The same fields, all nullable, at every level.
    #[must_use]
    pub fn as_nullable(&self) -> Self {
        let fields = self.fields.iter().map(|f| StructField {
            name: f.name.clone(),
            data_type: f.data_type.as_nullable(),
            nullable: true,
            metadata: f.metadata.clone(),
        });
        StructType { fields: fields.collect() }
    }
}

impl FromIterator<StructField> for StructType {
    fn from_iter<I: IntoIterator<Item = StructField>>(fields: I) -> Self {
        StructType { fields: fields.into_iter().collect() }
    }
}
