//! A schema prepared for decoding.

use millstream_types::{DataType, StructType};
use std::collections::HashMap;

/// What a value is read as.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Null,
    Boolean,
    Byte,
    Short,
    Integer,
    Long,
    Float,
    Double,
    Decimal(u8, i8),
    Text,
    Binary,
    Date,
    Timestamp,
    TimestampNtz,
    List(Box<Kind>),
    Map(Box<Kind>),
    Struct(StructPlan),
}

/// The fields of a struct and the way to find them by name.
#[derive(Debug, Clone)]
pub(crate) struct StructPlan {
    pub(crate) fields: Vec<FieldPlan>,
    /// Only for structs with many fields; few are found faster by looking at each.
    by_name: Option<HashMap<Vec<u8>, usize>>,
}

/// One field.
#[derive(Debug, Clone)]
pub(crate) struct FieldPlan {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Name, quotes and colon as most producers write them; empty if the name needs escapes.
    pub(crate) quoted: Vec<u8>,
}

const FIELDS_SEARCHED_MAX: usize = 12;

impl Kind {
    pub(crate) fn new(data_type: &DataType) -> Kind {
        match data_type {
            DataType::Null => Kind::Null,
            DataType::Boolean => Kind::Boolean,
            DataType::Byte => Kind::Byte,
            DataType::Short => Kind::Short,
            DataType::Integer => Kind::Integer,
            DataType::Long => Kind::Long,
            DataType::Float => Kind::Float,
            DataType::Double => Kind::Double,
            DataType::Decimal(precision, scale) => Kind::Decimal(*precision, *scale),
            DataType::String => Kind::Text,
            DataType::Binary => Kind::Binary,
            DataType::Date => Kind::Date,
            DataType::Timestamp => Kind::Timestamp,
            DataType::TimestampNtz => Kind::TimestampNtz,
            DataType::Array { element, .. } => Kind::List(Box::new(Kind::new(element))),
            DataType::Map { value, .. } => Kind::Map(Box::new(Kind::new(value))),
            DataType::Struct(fields) => Kind::Struct(StructPlan::new(fields)),
        }
    }

    /// Whether a value that does not fit can make Spark lose its way in the rest of the record: an
    /// object given for VOID, text that is not base64 for BINARY. A field with one of them cannot
    /// be passed over unseen.
    pub(crate) fn can_mislead(&self) -> bool {
        match self {
            Kind::Null | Kind::Binary => true,
            Kind::List(inner) | Kind::Map(inner) => inner.can_mislead(),
            Kind::Struct(plan) => plan.fields.iter().any(|f| f.kind.can_mislead()),
            _ => false,
        }
    }

    /// The SQL name of the type, for messages.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Kind::Null => "VOID",
            Kind::Boolean => "BOOLEAN",
            Kind::Byte => "TINYINT",
            Kind::Short => "SMALLINT",
            Kind::Integer => "INT",
            Kind::Long => "BIGINT",
            Kind::Float => "FLOAT",
            Kind::Double => "DOUBLE",
            Kind::Decimal(..) => "DECIMAL",
            Kind::Text => "STRING",
            Kind::Binary => "BINARY",
            Kind::Date => "DATE",
            Kind::Timestamp => "TIMESTAMP",
            Kind::TimestampNtz => "TIMESTAMP_NTZ",
            Kind::List(_) => "ARRAY",
            Kind::Map(_) => "MAP",
            Kind::Struct(_) => "STRUCT",
        }
    }
}

impl StructPlan {
    pub(crate) fn new(fields: &StructType) -> Self {
        let plans = fields.fields.iter().map(|f| FieldPlan::new(&f.name, Kind::new(&f.data_type)));
        Self::of(plans.collect())
    }

    pub(crate) fn of(fields: Vec<FieldPlan>) -> Self {
        let names = || fields.iter().enumerate().map(|(i, f)| (f.name.clone().into_bytes(), i));
        let by_name = (fields.len() > FIELDS_SEARCHED_MAX).then(|| names().collect());
        StructPlan { fields, by_name }
    }

    /// The field of a name. Of several with the same name it is the last, as in Spark.
    pub(crate) fn find(&self, name: &[u8]) -> Option<usize> {
        match &self.by_name {
            Some(by_name) => by_name.get(name).copied(),
            None => self.fields.iter().rposition(|f| f.name.as_bytes() == name),
        }
    }
}

impl FieldPlan {
    pub(crate) fn new(name: &str, kind: Kind) -> Self {
        let plain = name.bytes().all(|b| b >= b' ' && b != b'"' && b != b'\\');
        // Another field of the same name may come later in the struct, so only `find` decides.
        let quoted = if plain { format!("\"{name}\":").into_bytes() } else { Vec::new() };
        FieldPlan { name: name.into(), kind, quoted }
    }
}
