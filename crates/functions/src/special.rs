//! Calls that become expressions: those that must not evaluate every argument, casts under the
//! name of a type, and those whose meaning depends on the types of the arguments.

use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::{Expr, ExprSchemable, lit};

use crate::catalog::FunctionInfo;
use crate::coercion::type_name;
use crate::def::{Param, Params, wrong_count};
use crate::error::spark_error;
use crate::functions::Functions;
use crate::operators::Op;
use crate::{format, json};

const CONDITIONS: &[&str] = &[
    "assert_true",
    "coalesce",
    "equal_null",
    "if",
    "ifnull",
    "isnotnull",
    "isnull",
    "nullif",
    "nullifzero",
    "nvl",
    "nvl2",
    "zeroifnull",
];
const STRUCTS: &[&str] = &["struct"];
const ARITHMETIC: &[&str] = &[
    "div",
    "mod",
    "pmod",
    "positive",
    "try_add",
    "try_divide",
    "try_mod",
    "try_multiply",
    "try_subtract",
];
const OTHERS: &[&str] = &["decode", "typeof"];
const CASTS: &[&str] = &[
    "bigint",
    "binary",
    "boolean",
    "date",
    "decimal",
    "double",
    "float",
    "int",
    "smallint",
    "string",
    "timestamp",
    "tinyint",
];

/// Whether calls of this name are built here.
pub(crate) fn is_special(name: &str) -> bool {
    [CONDITIONS, STRUCTS, ARITHMETIC, OTHERS, CASTS, format::NAMES, json::NAMES]
        .iter()
        .any(|names| names.contains(&name))
}

/// The book's lines of these functions.
pub(crate) fn documentation() -> impl Iterator<Item = FunctionInfo> {
    [
        ("Conditions and NULL", CONDITIONS),
        ("Structs, arrays and maps", STRUCTS),
        ("Arithmetic", &["positive"]),
        ("Other", &["typeof"]),
        ("JSON", &["schema_of_json"]),
        ("Casts", CASTS),
        ("Dates and times", format::NAMES),
    ]
    .into_iter()
    .flat_map(|(group, names)| {
        names.iter().map(move |name| FunctionInfo { group, name, aliases: Vec::new() })
    })
}

/// Builds a call.
pub(crate) fn call(
    functions: &Functions,
    name: &str,
    args: Vec<Expr>,
    schema: &DFSchema,
) -> Result<Expr> {
    if CASTS.contains(&name) {
        let [arg] = exactly::<1>(name, args)?;
        let target = millstream_types::DataType::parse_ddl(name)
            .map_err(|error| datafusion::common::DataFusionError::External(Box::new(error)))?;
        return functions.cast(arg, &target, schema);
    }
    if format::NAMES.contains(&name) {
        return format::call(functions, name, args, schema);
    }
    if json::NAMES.contains(&name) {
        return json::call(functions, name, args, schema);
    }
    built(functions, name, args, schema)
}

/// Calls that are expressions of other calls.
fn built(functions: &Functions, name: &str, args: Vec<Expr>, schema: &DFSchema) -> Result<Expr> {
    match name {
        "if" => {
            let [condition, yes, no] = exactly::<3>(name, args)?;
            functions.case(None, vec![(null_as_boolean(condition), yes)], Some(no), schema)
        }
        "nvl2" => {
            let [value, yes, no] = exactly::<3>(name, args)?;
            let condition = Expr::IsNotNull(Box::new(value));
            functions.case(None, vec![(condition, yes)], Some(no), schema)
        }
        "coalesce" => coalesce(functions, args, schema),
        "nvl" | "ifnull" => {
            let args = exactly::<2>(name, args)?;
            coalesce(functions, args.into(), schema)
        }
        "zeroifnull" => {
            let [arg] = exactly::<1>(name, args)?;
            coalesce(functions, vec![arg, lit(0i32)], schema)
        }
        "nullif" => {
            let [value, other] = exactly::<2>(name, args)?;
            nullif(functions, value, other, schema)
        }
        "nullifzero" => {
            let [value] = exactly::<1>(name, args)?;
            nullif(functions, value, lit(0i32), schema)
        }
        "isnull" => exactly::<1>(name, args).map(|[arg]| Expr::IsNull(Box::new(arg))),
        "isnotnull" => exactly::<1>(name, args).map(|[arg]| Expr::IsNotNull(Box::new(arg))),
        "equal_null" => {
            let [left, right] = exactly::<2>(name, args)?;
            functions.binary(Op::NullSafeEqual, left, right, schema)
        }
        "assert_true" => assert_true(functions, args, schema),
        "typeof" => {
            let [arg] = exactly::<1>(name, args)?;
            let data_type = arg.get_type(schema)?;
            let text = match millstream_types::DataType::from_arrow(&data_type) {
                Ok(spark) => spark.simple_string(),
                Err(_) => type_name(&data_type).to_lowercase(),
            };
            Ok(lit(text))
        }
        "decode" if args.len() > 2 => decode_cases(functions, args, schema),
        "struct" => structure(functions, args, schema),
        "positive" => {
            let [arg] = exactly::<1>(name, args)?;
            Ok(arg)
        }
        "mod" | "pmod" | "div" | "try_add" | "try_subtract" | "try_multiply" | "try_divide"
        | "try_mod" => {
            let [left, right] = exactly::<2>(name, args)?;
            functions.arithmetic(name, left, right, schema)
        }
        other => functions.plain(other, args, schema),
    }
}

fn exactly<const N: usize>(name: &str, args: Vec<Expr>) -> Result<[Expr; N]> {
    const ANY: [Param; 4] = [Param::Any; 4];
    let given = args.len();
    <[Expr; N]>::try_from(args)
        .map_err(|_| wrong_count(name, Params::Exact(ANY.get(..N).unwrap_or(&[])), given))
}

fn null_as_boolean(expr: Expr) -> Expr {
    match expr {
        Expr::Literal(ScalarValue::Null, _) => Expr::Literal(ScalarValue::Boolean(None), None),
        other => other,
    }
}

fn coalesce(functions: &Functions, args: Vec<Expr>, schema: &DFSchema) -> Result<Expr> {
    if args.is_empty() {
        return Err(wrong_count("coalesce", Params::Common(1), 0));
    }
    let types = functions.types(&args, schema)?;
    let common = functions.common_type(&types)?;
    let mut args = args
        .into_iter()
        .map(|arg| functions.coerce(arg, &common, schema))
        .collect::<Result<Vec<Expr>>>()?;
    let last = args.pop();
    if args.is_empty() {
        return last.ok_or_else(|| wrong_count("coalesce", Params::Common(1), 0));
    }
    let branches =
        args.into_iter().map(|arg| (Expr::IsNotNull(Box::new(arg.clone())), arg)).collect();
    functions.case(None, branches, last, schema)
}

/// `decode(x, a, 1, b, 2, otherwise)`: NULL equals NULL here.
fn decode_cases(functions: &Functions, args: Vec<Expr>, schema: &DFSchema) -> Result<Expr> {
    let mut args = args.into_iter();
    let Some(value) = args.next() else {
        return Err(wrong_count("decode", Params::Variadic(2, Param::Any), 0));
    };
    let mut branches = Vec::new();
    let mut otherwise = None;
    while let Some(wanted) = args.next() {
        match args.next() {
            Some(result) => {
                let equal = functions.binary(Op::NullSafeEqual, value.clone(), wanted, schema)?;
                branches.push((equal, result));
            }
            None => otherwise = Some(wanted),
        }
    }
    functions.case(None, branches, otherwise, schema)
}

fn nullif(functions: &Functions, value: Expr, other: Expr, schema: &DFSchema) -> Result<Expr> {
    let data_type = value.get_type(schema)?;
    let equal = functions.binary(Op::Equal, value.clone(), other, schema)?;
    let null = Expr::Literal(ScalarValue::try_from(&data_type)?, None);
    functions.case(None, vec![(equal, null)], Some(value), schema)
}

fn assert_true(functions: &Functions, args: Vec<Expr>, schema: &DFSchema) -> Result<Expr> {
    let mut args = args.into_iter();
    let Some(condition) = args.next() else {
        return Err(wrong_count("assert_true", Params::Exact(&[Param::Bool]), 0));
    };
    let message = args.next().unwrap_or_else(|| lit("the asserted condition is not true"));
    let raise = functions.plain("raise_error", vec![message], schema)?;
    let null = Expr::Literal(ScalarValue::Null, None);
    functions.case(None, vec![(null_as_boolean(condition), null)], Some(raise), schema)
}

/// `struct(a, b + 1, c AS d)`: fields named after columns and aliases, else `col1`, `col2`, ...
fn structure(functions: &Functions, args: Vec<Expr>, schema: &DFSchema) -> Result<Expr> {
    if args.is_empty() {
        return Err(spark_error(
            "WRONG_NUM_ARGS.WITHOUT_SUGGESTION",
            "The `struct` requires > 0 parameters but the actual number is 0.",
        ));
    }
    let mut named = Vec::with_capacity(args.len() * 2);
    for (index, arg) in args.into_iter().enumerate() {
        let (name, value) = match arg {
            Expr::Alias(alias) => (alias.name, *alias.expr),
            Expr::Column(column) => (column.name.clone(), Expr::Column(column)),
            Expr::ScalarFunction(call) if call.func.name() == "struct_field" => {
                let name = match call.args.get(1) {
                    Some(Expr::Literal(ScalarValue::Utf8(Some(name)), _)) => name.clone(),
                    _ => format!("col{}", index + 1),
                };
                (name, Expr::ScalarFunction(call))
            }
            other => (format!("col{}", index + 1), other),
        };
        named.push(lit(name));
        named.push(value);
    }
    functions.plain("named_struct", named, schema)
}
