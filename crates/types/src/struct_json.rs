//! Spark's JSON form of types, as `StructType.json` writes it and Delta's log keeps it.

use crate::{DataType, NESTING_MAX, StructField, StructType, ddl};
use millstream_core::{Error, Result};
use serde_json::{Map, Value, json};

/// Parses a type written as JSON.
pub(crate) fn parse_type(text: &str) -> Result<DataType> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        Error::invalid("SCHEMA_INVALID", "The schema is not valid JSON").caused_by(error)
    })?;
    from_value(&value, &mut Path::default())
}

/// The JSON form of a struct.
pub(crate) fn struct_value(fields: &StructType) -> Value {
    let fields: Vec<Value> = fields
        .fields
        .iter()
        .map(|f| {
            json!({
                "name": f.name,
                "type": type_value(&f.data_type),
                "nullable": f.nullable,
                "metadata": f.metadata,
            })
        })
        .collect();
    json!({ "type": "struct", "fields": fields })
}

/// Spark's `typeName` of a type that is not nested.
pub(crate) fn primitive_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Byte => "byte".into(),
        DataType::Short => "short".into(),
        DataType::Integer => "integer".into(),
        DataType::Long => "long".into(),
        other => other.simple_string(),
    }
}

fn type_value(data_type: &DataType) -> Value {
    match data_type {
        DataType::Array { element, contains_null } => json!({
            "type": "array",
            "elementType": type_value(element),
            "containsNull": contains_null,
        }),
        DataType::Map { key, value, value_contains_null } => json!({
            "type": "map",
            "keyType": type_value(key),
            "valueType": type_value(value),
            "valueContainsNull": value_contains_null,
        }),
        DataType::Struct(fields) => struct_value(fields),
        other => Value::String(primitive_name(other)),
    }
}

/// Where in the schema the parser is, for messages.
#[derive(Default)]
struct Path(Vec<String>);

impl Path {
    fn error(&self, cause: impl std::fmt::Display) -> Error {
        let place = if self.0.is_empty() { "its root".into() } else { self.0.join(".") };
        Error::invalid(
            "SCHEMA_INVALID",
            format!("The JSON schema is not valid at {place}: {cause}."),
        )
    }

    fn inside<T>(&mut self, name: &str, work: impl FnOnce(&mut Path) -> Result<T>) -> Result<T> {
        if self.0.len() >= NESTING_MAX {
            return Err(self.error(format_args!("types nest deeper than {NESTING_MAX}")));
        }
        self.0.push(name.into());
        let done = work(self);
        self.0.pop();
        done
    }
}

fn from_value(value: &Value, path: &mut Path) -> Result<DataType> {
    let object = match value {
        Value::String(name) => return named(name, path),
        Value::Object(object) => object,
        _ => return Err(path.error("expected a type name or an object")),
    };
    match member(object, "type", path)?.as_str() {
        Some("struct") => Ok(DataType::Struct(structure(object, path)?)),
        Some("array") => {
            let element = member(object, "elementType", path)?;
            Ok(DataType::Array {
                element: Box::new(path.inside("element", |p| from_value(element, p))?),
                contains_null: flag(object, "containsNull", path)?,
            })
        }
        Some("map") => {
            let key = member(object, "keyType", path)?;
            let value = member(object, "valueType", path)?;
            Ok(DataType::Map {
                key: Box::new(path.inside("key", |p| from_value(key, p))?),
                value: Box::new(path.inside("value", |p| from_value(value, p))?),
                value_contains_null: flag(object, "valueContainsNull", path)?,
            })
        }
        Some("udt") => Err(Error::invalid(
            "SCHEMA_UNSUPPORTED_TYPE",
            "User-defined types in a JSON schema are not supported.",
        )),
        _ => Err(path.error("`type` must be struct, array or map")),
    }
}

fn structure(object: &Map<String, Value>, path: &mut Path) -> Result<StructType> {
    let Value::Array(listed) = member(object, "fields", path)? else {
        return Err(path.error("`fields` must be an array"));
    };
    listed.iter().map(|field| structure_field(field, path)).collect()
}

fn structure_field(value: &Value, path: &mut Path) -> Result<StructField> {
    let Value::Object(object) = value else {
        return Err(path.error("a field must be an object"));
    };
    let Some(name) = member(object, "name", path)?.as_str() else {
        return Err(path.error("the name of a field must be a string"));
    };
    path.inside(name, |path| {
        // As in Spark, which reads nothing else: a key that is not known is damage, or means what a
        // reader must not overlook.
        let known = ["name", "type", "nullable", "metadata"];
        if let Some(other) = object.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(path.error(format_args!("`{other}` is no key of a field")));
        }
        let data_type = from_value(member(object, "type", path)?, path)?;
        let metadata = match object.get("metadata") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(metadata)) => metadata.clone(),
            Some(_) => return Err(path.error("`metadata` must be an object")),
        };
        Ok(StructField {
            name: name.into(),
            data_type,
            nullable: flag(object, "nullable", path)?,
            metadata,
        })
    })
}

fn member<'a>(object: &'a Map<String, Value>, name: &str, path: &Path) -> Result<&'a Value> {
    object.get(name).ok_or_else(|| path.error(format_args!("`{name}` is missing")))
}

/// Absent means true, as Spark's readers of old schemas take it.
fn flag(object: &Map<String, Value>, name: &str, path: &Path) -> Result<bool> {
    match object.get(name) {
        None => Ok(true),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(path.error(format_args!("`{name}` must be true or false"))),
    }
}

fn named(name: &str, path: &Path) -> Result<DataType> {
    Ok(match name {
        "void" | "null" => DataType::Null,
        "boolean" => DataType::Boolean,
        "byte" | "tinyint" => DataType::Byte,
        "short" | "smallint" => DataType::Short,
        "integer" | "int" => DataType::Integer,
        "long" | "bigint" => DataType::Long,
        "float" => DataType::Float,
        "double" => DataType::Double,
        "string" => DataType::String,
        "binary" => DataType::Binary,
        "date" => DataType::Date,
        "timestamp" | "timestamp_ltz" => DataType::Timestamp,
        "timestamp_ntz" => DataType::TimestampNtz,
        "decimal" => DataType::Decimal(10, 0),
        other => return decimal_or_refusal(other, path),
    })
}

fn decimal_or_refusal(name: &str, path: &Path) -> Result<DataType> {
    let parameters = name.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')'));
    if let Some((precision, scale)) = parameters.and_then(|p| p.split_once(',')) {
        let parsed = (precision.trim().parse(), scale.trim().parse());
        if let (Ok(precision), Ok(scale)) = parsed {
            return ddl::decimal(precision, scale).map_err(|cause| path.error(cause));
        }
    }
    let word = name.split(['(', ' ']).next().unwrap_or(name);
    if let Some(cure) = ddl::known_but_unsupported(word) {
        let error = Error::invalid(
            "SCHEMA_UNSUPPORTED_TYPE",
            format!("The type {name} in the JSON schema is not supported."),
        );
        return Err(error.cure(cure));
    }
    Err(path.error(format_args!("unknown type `{name}`")))
}
