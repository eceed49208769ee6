//! Spark's functions for the DataFrame interface. Every function of SQL is also there by name
//! through [`call_function`].

use crate::column::{Column, lit};
use millstream_sql::ast::{ExprKind, Ident};

pub use crate::column::{col, expr, lit as literal};

/// A call of any function of SQL.
pub fn call_function<C: Into<Column>>(name: &str, args: impl IntoIterator<Item = C>) -> Column {
    let args = args.into_iter().map(|a| a.into().into_argument()).collect();
    Column::of(ExprKind::Function { name: Ident::new(name), args, distinct: false })
}

/// `from_json(column, schema)`; the schema as DDL or as StructType JSON.
pub fn from_json(column: impl Into<Column>, schema: &str) -> Column {
    call_function("from_json", [column.into(), lit(schema)])
}

/// `from_json(column, schema, map(options))`
pub fn from_json_with_options<'a>(
    column: impl Into<Column>,
    schema: &str,
    options: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Column {
    let pairs = options.into_iter().flat_map(|(name, value)| [lit(name), lit(value)]);
    let map = call_function("map", pairs.collect::<Vec<_>>());
    call_function("from_json", [column.into(), lit(schema), map])
}

/// `struct(columns)`
pub fn struct_<C: Into<Column>>(columns: impl IntoIterator<Item = C>) -> Column {
    call_function("struct", columns)
}

/// `coalesce(columns)`
pub fn coalesce<C: Into<Column>>(columns: impl IntoIterator<Item = C>) -> Column {
    call_function("coalesce", columns)
}

/// `concat(columns)`
pub fn concat<C: Into<Column>>(columns: impl IntoIterator<Item = C>) -> Column {
    call_function("concat", columns)
}

/// `current_timestamp()`: the time of the batch, the same for all its rows.
pub fn current_timestamp() -> Column {
    call_function("current_timestamp", Vec::<Column>::new())
}

/// `current_date()`: the date of the batch in the session's time zone.
pub fn current_date() -> Column {
    call_function("current_date", Vec::<Column>::new())
}

/// `date_format(column, pattern)`
pub fn date_format(column: impl Into<Column>, pattern: &str) -> Column {
    call_function("date_format", [column.into(), lit(pattern)])
}

/// `get_json_object(column, path)`
pub fn get_json_object(column: impl Into<Column>, path: &str) -> Column {
    call_function("get_json_object", [column.into(), lit(path)])
}

macro_rules! of_one_column {
    ($($name:ident),* $(,)?) => {$(
        #[doc = concat!("`", stringify!($name), "(column)`")]
        pub fn $name(column: impl Into<Column>) -> Column {
            call_function(stringify!($name), [column.into()])
        }
    )*};
}

of_one_column!(
    to_json,
    upper,
    lower,
    trim,
    length,
    to_date,
    to_timestamp,
    year,
    month,
    hour,
    minute,
    abs,
    explode,
    explode_outer,
    size,
    unix_timestamp,
);

/// `dayofmonth(column)`
pub fn day(column: impl Into<Column>) -> Column {
    call_function("dayofmonth", [column.into()])
}
