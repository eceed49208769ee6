//! Schema-directed decoding of JSON bytes into Arrow columns with Spark's rules, and the other
//! JSON functions over Arrow columns.
//!
//! [`FromJson`] has two parsers. The fast one reads each record once and writes straight into the
//! columns; it takes only records about which there is nothing to say. The exact one behaves, and
//! misbehaves, as the parser that Spark uses, and takes all the others. Where both can read a
//! record they agree, which tests check over generated and damaged documents.
//!
//! Reading order: [`FromJson`] (`decode`), `fast`, `pull`, `convert`, `column`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod column;
mod convert;
pub mod datetime;
mod decode;
mod fast;
mod get;
mod infer;
mod number;
mod options;
pub mod pattern;
mod plan;
mod pull;
mod rules;
mod scan;
mod text;
mod write;
mod zone;

pub use convert::{FIELD_TYPE_MISMATCH, MALFORMED_JSON, ROOT_TYPE_MISMATCH, Reason};
pub use decode::{BadRow, DecodeError, Decoded, FromJson, Report};
pub use get::{JsonPath, get_json_object, json_array_length, json_object_keys, json_tuple, quoted};
pub use infer::schema_of_json;
pub use number::decimal;
pub use options::{
    FROM_JSON_OPTIONS, FromJsonOptions, Mode, SCHEMA_OF_JSON_OPTIONS, SchemaOfJsonOptions,
    SessionFormat, TO_JSON_OPTIONS, ToJsonOptions,
};
pub use write::to_json;
pub use zone::Zone;
