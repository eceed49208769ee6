//! JSON functions over `millstream-json`.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListBuilder, StringBuilder};
use arrow::datatypes::{DataType, Field};
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, Expr, ExprSchemable, lit};
use millstream_core::options::OptionMap;
use millstream_json::{
    FromJson, FromJsonOptions, JsonPath, Report, SchemaOfJsonOptions, SessionFormat, ToJsonOptions,
};

use crate::coercion::list_of;
use crate::def::{Call, ColumnarCall, Def, Eval, Param, Params, Sig, own};
use crate::error::spark_error;
use crate::functions::Functions;
use crate::settings::FunctionSettings;

pub(crate) const DEFS: &[Def] = &[
    columnar("from_json", Eval::Columnar(from_json_type, from_json)),
    columnar("to_json", Eval::Columnar(to_json_type, to_json)),
    own("get_json_object", &[], Params::Exact(&[Param::Str, Param::Str]), text, get_json_object),
    own("json_array_length", &[], Params::Exact(&[Param::Str]), int, array_length),
    own("json_object_keys", &[], Params::Exact(&[Param::Str]), texts, object_keys),
];

/// Names built by [`call`].
pub(crate) const NAMES: &[&str] = &["from_json", "schema_of_json", "to_json"];

fn text(_: &Sig) -> Result<DataType> {
    Ok(DataType::Utf8)
}

fn texts(_: &Sig) -> Result<DataType> {
    Ok(list_of(DataType::Utf8))
}

fn int(_: &Sig) -> Result<DataType> {
    Ok(DataType::Int32)
}

const fn columnar(name: &'static str, eval: Eval) -> Def {
    Def { name, aliases: &[], params: Params::Custom(as_given), eval, immutable: true }
}

fn as_given(types: &[DataType], _: &FunctionSettings) -> Result<Vec<DataType>> {
    Ok(types.to_vec())
}

fn external(error: millstream_core::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn session(settings: &FunctionSettings) -> SessionFormat {
    SessionFormat { time_zone: settings.time_zone.clone(), ..SessionFormat::default() }
}

/// A literal text.
fn literal(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_owned),
        _ => None,
    }
}

/// Builds a call: the options map becomes literal texts behind the other arguments.
pub(crate) fn call(f: &Functions, name: &str, args: Vec<Expr>, schema: &DFSchema) -> Result<Expr> {
    let mut args = args;
    let fixed = if name == "from_json" { 2 } else { 1 };
    if args.len() < fixed || args.len() > fixed + 1 {
        return Err(spark_error(
            "WRONG_NUM_ARGS.WITHOUT_SUGGESTION",
            format!(
                "The `{name}` requires [{fixed}, {}] parameters but the actual number is {}.",
                fixed + 1,
                args.len()
            ),
        ));
    }
    let options = if args.len() > fixed { args.pop() } else { None };
    if let Some(options) = options {
        for text in pairs(&options)? {
            args.push(lit(text));
        }
    }
    match name {
        "from_json" => return from_json_call(f, args, schema),
        "schema_of_json" => return schema_of_json(&args),
        _ => {}
    }
    f.plain(name, args, schema)
}

fn from_json_call(f: &Functions, mut args: Vec<Expr>, schema: &DFSchema) -> Result<Expr> {
    let text = args.get(1).and_then(literal).ok_or_else(|| {
        spark_error(
            "INVALID_SCHEMA.NON_STRING_LITERAL",
            "The input schema is not a valid schema string: it must be a string literal.",
        )
    })?;
    // The schema is kept as JSON, which is what every way to write one has in common.
    let parsed = millstream_types::DataType::parse(&text).map_err(external)?;
    let value = args.remove(0);
    let value = match value.get_type(schema)? {
        DataType::Binary => value,
        DataType::Null => f.cast_between(value, &DataType::Null, &DataType::Utf8)?,
        DataType::Utf8 => through_cast(value, schema)?,
        other => {
            return Err(spark_error(
                "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
                format!(
                    "Cannot resolve \"from_json\" due to data type mismatch: the first parameter \
                     requires the \"STRING\" type, however it has the type \"{}\".",
                    crate::coercion::type_name(&other)
                ),
            ));
        }
    };
    let mut all = vec![value, lit(parsed.sql())];
    all.extend(args.into_iter().skip(1));
    f.plain("from_json", all, schema)
}

/// The bytes under `CAST(binary AS STRING)`: the decoder reads them without a copy.
fn through_cast(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    if let Expr::ScalarFunction(call) = &expr
        && call.func.name() == "spark_cast"
        && let Some(inner) = call.args.first()
        && matches!(inner.get_type(schema)?, DataType::Binary)
    {
        return Ok(inner.clone());
    }
    Ok(expr)
}

/// Keys and values of `map('a', 'b')`.
fn pairs(options: &Expr) -> Result<Vec<String>> {
    let refused = || {
        spark_error(
            "INVALID_OPTIONS.NON_MAP_FUNCTION",
            "Invalid options: Must use the `map()` function with literal strings for options.",
        )
    };
    match options {
        Expr::ScalarFunction(call) if call.func.name() == "map" => {
            call.args.iter().map(|arg| literal(arg).ok_or_else(refused)).collect()
        }
        _ => Err(refused()),
    }
}

/// The options of a call, from the texts behind the first `fixed` arguments.
fn options(literals: &[Option<String>], fixed: usize) -> OptionMap {
    let texts: Vec<&str> =
        literals.iter().skip(fixed).map(|t| t.as_deref().unwrap_or("")).collect();
    texts
        .chunks(2)
        .filter_map(|pair| match pair {
            [key, value] => Some(((*key).to_owned(), (*value).to_owned())),
            _ => None,
        })
        .collect()
}

/// The schema of a literal document, known when the query is planned.
fn schema_of_json(args: &[Expr]) -> Result<Expr> {
    let texts: Vec<Option<String>> = args.iter().map(literal).collect();
    let Some(Some(document)) = texts.first() else {
        return Err(spark_error(
            "DATATYPE_MISMATCH.NON_FOLDABLE_INPUT",
            "Cannot resolve \"schema_of_json\" due to data type mismatch: the input `json` should \
             be a foldable \"STRING\" expression.",
        ));
    };
    let options = SchemaOfJsonOptions::parse(&options(&texts, 1)).map_err(external)?;
    let inferred = millstream_json::schema_of_json(document, &options).map_err(external)?;
    Ok(lit(inferred.sql()))
}

fn to_json_type(sig: &Sig) -> Result<DataType> {
    match sig.data_type(0) {
        DataType::Struct(_) | DataType::List(_) | DataType::Map(..) => Ok(DataType::Utf8),
        other => Err(spark_error(
            "DATATYPE_MISMATCH.INVALID_JSON_SCHEMA",
            format!(
                "Input schema \"{}\" must be a struct, an array, a map or a variant.",
                crate::coercion::type_name(&other)
            ),
        )),
    }
}

fn to_json(call: &ColumnarCall) -> Result<ColumnarValue> {
    let options = options(&literals(call), 1);
    let options = ToJsonOptions::parse(&options, &session(call.settings)).map_err(external)?;
    let write = |array: &ArrayRef| millstream_json::to_json(array, &options).map_err(external);
    match call.args.first() {
        Some(ColumnarValue::Array(array)) => Ok(ColumnarValue::Array(Arc::new(write(array)?))),
        Some(ColumnarValue::Scalar(value)) => {
            let written = write(&value.to_array_of_size(1)?)?;
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&written, 0)?))
        }
        None => Err(DataFusionError::Internal("to_json without a value".to_owned())),
    }
}

fn get_json_object(call: &Call) -> Result<ArrayRef> {
    let mut last: Option<(String, Option<JsonPath>)> = None;
    call.texts(|row| {
        let (Some(json), Some(path)) = (call.str(0, row)?, call.str(1, row)?) else {
            return Ok(None);
        };
        if last.as_ref().is_none_or(|(text, _)| text != path) {
            last = Some((path.to_owned(), JsonPath::parse(path)));
        }
        let path = last.as_ref().and_then(|(_, path)| path.as_ref());
        Ok(path.and_then(|path| path.get(json)))
    })
}

fn array_length(call: &Call) -> Result<ArrayRef> {
    call.int_values(|row| Ok(call.str(0, row)?.and_then(millstream_json::json_array_length)))
}

fn object_keys(call: &Call) -> Result<ArrayRef> {
    let field = Field::new("element", DataType::Utf8, true);
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(field);
    for row in 0..call.rows {
        match call.str(0, row)?.and_then(millstream_json::json_object_keys) {
            Some(keys) => builder.append_value(keys.into_iter().map(Some)),
            None => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// Literal texts by position.
fn literals(call: &ColumnarCall) -> Vec<Option<String>> {
    call.args
        .iter()
        .map(|arg| match arg {
            ColumnarValue::Scalar(value) => value.try_as_str().flatten().map(str::to_owned),
            ColumnarValue::Array(_) => None,
        })
        .collect()
}

fn decoder(literals: &[Option<String>], settings: &FunctionSettings) -> Result<FromJson> {
    let schema = literals.get(1).and_then(|t| t.as_deref()).unwrap_or_default();
    let schema = millstream_types::DataType::parse(schema).map_err(external)?;
    let options = FromJsonOptions::parse(&options(literals, 2), &session(settings));
    FromJson::new(&schema, &options.map_err(external)?).map_err(external)
}

fn from_json_type(sig: &Sig) -> Result<DataType> {
    let literals: Vec<Option<String>> =
        (0..sig.types.len()).map(|index| sig.text(index).map(str::to_owned)).collect();
    Ok(decoder(&literals, sig.settings)?.data_type().to_arrow())
}

fn from_json(call: &ColumnarCall) -> Result<ColumnarValue> {
    let decoder = decoder(&literals(call), call.settings)?;
    let decode = |array: &ArrayRef| {
        decoder.decode(array, Report::None).map_err(|error| external(error.into()))
    };
    match call.args.first() {
        Some(ColumnarValue::Array(array)) => Ok(ColumnarValue::Array(decode(array)?.array)),
        Some(ColumnarValue::Scalar(value)) => {
            let decoded = decode(&value.to_array_of_size(1)?)?;
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&decoded.array, 0)?))
        }
        None => Err(DataFusionError::Internal("from_json without a value".to_owned())),
    }
}
