//! Names of types as Spark prints them.

use crate::{DataType, StructField, StructType};
use std::fmt;

impl DataType {
    /// The lower-case name, as `printSchema` of nested types and Spark's errors show it
    /// (`bigint`, `struct<a:int>`). Wide structs are printed whole.
    pub fn simple_string(&self) -> String {
        match self {
            DataType::Array { element, .. } => format!("array<{}>", element.simple_string()),
            DataType::Map { key, value, .. } => {
                format!("map<{},{}>", key.simple_string(), value.simple_string())
            }
            DataType::Struct(fields) => fields.simple_string(),
            other => other.sql().to_lowercase(),
        }
    }

    /// The SQL name (`BIGINT`, `STRUCT<a: INT>`), which parses back to the same type.
    pub fn sql(&self) -> String {
        match self {
            DataType::Null => "VOID".into(),
            DataType::Boolean => "BOOLEAN".into(),
            DataType::Byte => "TINYINT".into(),
            DataType::Short => "SMALLINT".into(),
            DataType::Integer => "INT".into(),
            DataType::Long => "BIGINT".into(),
            DataType::Float => "FLOAT".into(),
            DataType::Double => "DOUBLE".into(),
            DataType::Decimal(precision, scale) => format!("DECIMAL({precision},{scale})"),
            DataType::String => "STRING".into(),
            DataType::Binary => "BINARY".into(),
            DataType::Date => "DATE".into(),
            DataType::Timestamp => "TIMESTAMP".into(),
            DataType::TimestampNtz => "TIMESTAMP_NTZ".into(),
            DataType::Array { element, .. } => format!("ARRAY<{}>", element.sql()),
            DataType::Map { key, value, .. } => format!("MAP<{}, {}>", key.sql(), value.sql()),
            DataType::Struct(fields) => {
                let fields: Vec<_> = fields.fields.iter().map(|f| f.written(": ")).collect();
                format!("STRUCT<{}>", fields.join(", "))
            }
        }
    }
}

impl StructType {
    /// The lower-case name (`struct<a:int,b:string>`).
    pub fn simple_string(&self) -> String {
        let fields: Vec<_> = self
            .fields
            .iter()
            .map(|f| format!("{}:{}", f.name, f.data_type.simple_string()))
            .collect();
        format!("struct<{}>", fields.join(","))
    }

    /// The fields as a list of columns, which parses back to the same struct.
    pub fn to_ddl(&self) -> String {
        let fields: Vec<_> = self.fields.iter().map(|f| f.written(" ")).collect();
        fields.join(",")
    }

    /// Spark's `printSchema` tree.
    pub fn tree_string(&self) -> String {
        let mut out = String::from("root\n");
        tree_fields(self, " |", &mut out);
        out
    }
}

impl StructField {
    fn written(&self, between: &str) -> String {
        let mut out = format!("{}{between}{}", quoted_if_needed(&self.name), self.data_type.sql());
        if !self.nullable {
            out.push_str(" NOT NULL");
        }
        if let Some(comment) = self.comment() {
            out.push_str(" COMMENT '");
            out.push_str(&comment.replace('\\', "\\\\").replace('\'', "\\'"));
            out.push('\'');
        }
        out
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.simple_string())
    }
}

impl fmt::Display for StructType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.simple_string())
    }
}

/// `name`, in backquotes unless it is a plain identifier.
pub fn quoted_if_needed(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let starts_plain = name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    if starts_plain && name.bytes().all(plain) {
        name.into()
    } else {
        format!("`{}`", name.replace('`', "``"))
    }
}

fn tree_fields(fields: &StructType, prefix: &str, out: &mut String) {
    for field in &fields.fields {
        let name = type_name(&field.data_type);
        out.push_str(&format!(
            "{prefix}-- {}: {name} (nullable = {})\n",
            field.name, field.nullable
        ));
        tree_inside(&field.data_type, &format!("{prefix}    |"), out);
    }
}

fn tree_inside(data_type: &DataType, prefix: &str, out: &mut String) {
    let deeper = format!("{prefix}    |");
    match data_type {
        DataType::Array { element, contains_null } => {
            let name = type_name(element);
            out.push_str(&format!("{prefix}-- element: {name} (containsNull = {contains_null})\n"));
            tree_inside(element, &deeper, out);
        }
        DataType::Map { key, value, value_contains_null } => {
            out.push_str(&format!("{prefix}-- key: {}\n", type_name(key)));
            tree_inside(key, &deeper, out);
            out.push_str(&format!(
                "{prefix}-- value: {} (valueContainsNull = {value_contains_null})\n",
                type_name(value)
            ));
            tree_inside(value, &deeper, out);
        }
        DataType::Struct(fields) => tree_fields(fields, prefix, out),
        _ => {}
    }
}

fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Array { .. } => "array".into(),
        DataType::Map { .. } => "map".into(),
        DataType::Struct(_) => "struct".into(),
        other => crate::struct_json::primitive_name(other),
    }
}
