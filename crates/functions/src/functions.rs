//! The set of functions of one session, and the builders of typed expressions.
//!
//! Every builder answers an expression whose arguments already have the types that the operation
//! needs, so DataFusion's own type coercion has nothing left to decide.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::registry::FunctionRegistry;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, ScalarUDF, lit};

use crate::cast::{self, CastContext, OnFailure};
use crate::coercion::{self, is_integral, type_name};
use crate::def::{Def, SparkFunction};
use crate::error::spark_error;
use crate::settings::FunctionSettings;
use crate::{catalog, special};

/// The functions of one session.
#[derive(Debug, Clone)]
pub struct Functions {
    settings: Arc<FunctionSettings>,
    by_name: Arc<HashMap<&'static str, Entry>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) udf: Arc<ScalarUDF>,
    def: DefRef,
}

#[derive(Clone, Copy)]
struct DefRef(Def);

impl std::fmt::Debug for DefRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name)
    }
}

/// The functions of a session with these settings.
///
/// # Errors
/// `INVALID_CONF_VALUE.TIME_ZONE` for an unknown session time zone.
pub fn register(settings: &FunctionSettings) -> Result<Functions> {
    settings.zone()?;
    let settings = Arc::new(settings.clone());
    let mut config = ConfigOptions::default();
    config.execution.enable_ansi_mode = settings.ansi;
    config.execution.time_zone = Some(settings.time_zone.clone());
    let config = Arc::new(config);
    let mut by_name = HashMap::new();
    for def in catalog::all() {
        let udf = Arc::new(ScalarUDF::new_from_impl(SparkFunction::new(*def, &settings, &config)));
        for name in std::iter::once(&def.name).chain(def.aliases) {
            by_name.insert(*name, Entry { udf: Arc::clone(&udf), def: DefRef(*def) });
        }
    }
    Ok(Functions { settings, by_name: Arc::new(by_name) })
}

impl Functions {
    /// The settings that these functions follow.
    pub fn settings(&self) -> &FunctionSettings {
        &self.settings
    }

    /// Whether a scalar function of this name exists, in any case.
    pub fn knows(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        self.by_name.contains_key(name.as_str()) || special::is_special(&name)
    }

    /// Registers every function with a session, so that stored plans find them by name.
    ///
    /// # Errors
    /// Whatever the registry reports.
    pub fn install(&self, registry: &mut dyn FunctionRegistry) -> Result<()> {
        for entry in self.by_name.values() {
            registry.register_udf(Arc::clone(&entry.udf))?;
        }
        Ok(())
    }

    /// Every scalar function, once.
    pub fn scalar_udfs(&self) -> Vec<Arc<ScalarUDF>> {
        let mut udfs: Vec<Arc<ScalarUDF>> = self
            .by_name
            .iter()
            .filter(|(name, entry)| **name == entry.udf.name())
            .map(|(_, entry)| Arc::clone(&entry.udf))
            .collect();
        udfs.sort_by(|a, b| a.name().cmp(b.name()));
        udfs
    }

    /// A call of a scalar function; the name's case does not matter.
    ///
    /// # Errors
    /// `UNRESOLVED_ROUTINE`, `WRONG_NUM_ARGS.*`, `DATATYPE_MISMATCH.*`.
    pub fn call(&self, name: &str, args: Vec<Expr>, schema: &DFSchema) -> Result<Expr> {
        let name = name.to_ascii_lowercase();
        if special::is_special(&name) {
            return special::call(self, &name, args, schema);
        }
        self.plain(&name, args, schema)
    }

    /// A call that is exactly one function of the catalogue.
    pub(crate) fn plain(&self, name: &str, args: Vec<Expr>, schema: &DFSchema) -> Result<Expr> {
        let entry = self.by_name.get(name).ok_or_else(|| {
            spark_error(
                "UNRESOLVED_ROUTINE",
                format!(
                    "Cannot resolve routine `{name}` on search path [`system`.`builtin`, \
                     `system`.`session`, `spark_catalog`.`default`]."
                ),
            )
        })?;
        let types = self.types(&args, schema)?;
        let wanted = entry.def.0.coerce(&types, &self.settings)?;
        let args = args
            .into_iter()
            .zip(&types)
            .zip(&wanted)
            .map(|((arg, from), to)| self.cast_between(arg, from, to))
            .collect::<Result<Vec<Expr>>>()?;
        let call = Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&entry.udf), args));
        // Asking for the type reports wrong arguments here and not in a later phase.
        call.get_type(schema)?;
        Ok(call)
    }

    /// Types of several expressions.
    pub(crate) fn types(&self, args: &[Expr], schema: &DFSchema) -> Result<Vec<DataType>> {
        args.iter().map(|arg| arg.get_type(schema)).collect()
    }

    /// An implicit cast to an Arrow type, where one is needed.
    ///
    /// # Errors
    /// `DATATYPE_MISMATCH.CAST_*` for types that Spark does not cast.
    pub fn coerce(&self, expr: Expr, to: &DataType, schema: &DFSchema) -> Result<Expr> {
        let from = expr.get_type(schema)?;
        self.cast_between(expr, &from, to)
    }

    /// The common type of several, as CASE, UNION and `coalesce` need it.
    ///
    /// # Errors
    /// `DATATYPE_MISMATCH.DATA_DIFF_TYPES`.
    pub fn common_type(&self, types: &[DataType]) -> Result<DataType> {
        coercion::common_type(types, &self.settings)
    }

    /// `CAST(expr AS to)`.
    ///
    /// # Errors
    /// `DATATYPE_MISMATCH.CAST_*` for types that Spark does not cast.
    pub fn cast(
        &self,
        expr: Expr,
        to: &millstream_types::DataType,
        schema: &DFSchema,
    ) -> Result<Expr> {
        self.coerce(expr, &to.to_arrow(), schema)
    }

    /// `TRY_CAST(expr AS to)`.
    ///
    /// # Errors
    /// `DATATYPE_MISMATCH.CAST_*` for types that Spark does not cast.
    pub fn try_cast(
        &self,
        expr: Expr,
        to: &millstream_types::DataType,
        schema: &DFSchema,
    ) -> Result<Expr> {
        let from = expr.get_type(schema)?;
        self.cast_with(expr, &from, &to.to_arrow(), OnFailure::Null)
    }

    pub(crate) fn on_failure(&self) -> OnFailure {
        if self.settings.ansi { OnFailure::Error } else { OnFailure::Legacy }
    }

    pub(crate) fn cast_between(&self, expr: Expr, from: &DataType, to: &DataType) -> Result<Expr> {
        self.cast_with(expr, from, to, self.on_failure())
    }

    fn cast_with(
        &self,
        expr: Expr,
        from: &DataType,
        to: &DataType,
        on_failure: OnFailure,
    ) -> Result<Expr> {
        if from == to {
            return Ok(expr);
        }
        cast::check(from, to, on_failure)?;
        if let Expr::Literal(value, _) = &expr
            && let Some(folded) = self.fold(value, from, to, on_failure)
        {
            return Ok(Expr::Literal(folded, None));
        }
        if is_lossless(from, to) {
            return Ok(Expr::Cast(Cast::new(Box::new(expr), to.clone())));
        }
        let name = if on_failure == OnFailure::Null { "spark_try_cast" } else { "spark_cast" };
        let target = millstream_types::DataType::from_arrow(to).map_err(|_| {
            spark_error(
                "DATATYPE_MISMATCH.CAST_WITHOUT_SUGGESTION",
                format!("Cannot cast \"{}\" to \"{}\".", type_name(from), type_name(to)),
            )
        })?;
        let udf = self.udf(name)?;
        Ok(Expr::ScalarFunction(ScalarFunction::new_udf(udf, vec![expr, lit(target.sql())])))
    }

    /// The value of a cast of a literal, unless it fails: then the failure belongs to execution.
    fn fold(
        &self,
        value: &ScalarValue,
        from: &DataType,
        to: &DataType,
        on_failure: OnFailure,
    ) -> Option<ScalarValue> {
        let array: ArrayRef = value.to_array_of_size(1).ok()?;
        if array.data_type() != from {
            return None;
        }
        let zone = self.settings.zone().ok()?;
        let cast = cast::cast_array(&array, &CastContext { from, to, on_failure, zone }).ok()?;
        ScalarValue::try_from_array(&cast, 0).ok()
    }

    pub(crate) fn udf(&self, name: &str) -> Result<Arc<ScalarUDF>> {
        self.by_name.get(name).map(|entry| Arc::clone(&entry.udf)).ok_or_else(|| {
            datafusion::common::DataFusionError::Internal(format!("function {name} is missing"))
        })
    }
}

/// Casts that neither lose nor fail, which DataFusion may do itself.
fn is_lossless(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Utf8, DataType::Binary) | (DataType::Float32, DataType::Float64) => true,
        (DataType::Int8 | DataType::Int16 | DataType::Int32, DataType::Float64) => true,
        (from, to) if is_integral(from) && is_integral(to) => {
            from.primitive_width() < to.primitive_width()
        }
        _ => false,
    }
}

/// Spark's store assignment (ANSI): the cast of a query's column to the type of a table's column.
///
/// # Errors
/// `INCOMPATIBLE_DATA_FOR_TABLE.CANNOT_SAFELY_CAST` for pairs that store assignment refuses.
pub fn store_assign(
    expr: Expr,
    to: &DataType,
    schema: &DFSchema,
    functions: &Functions,
) -> Result<Expr> {
    let from = expr.get_type(schema)?;
    if !can_store(&from, to) {
        return Err(spark_error(
            "INCOMPATIBLE_DATA_FOR_TABLE.CANNOT_SAFELY_CAST",
            format!("Cannot safely cast \"{}\" to \"{}\".", type_name(&from), type_name(to)),
        ));
    }
    functions.cast_with(expr, &from, to, OnFailure::Error)
}

fn can_store(from: &DataType, to: &DataType) -> bool {
    use DataType::{Binary, Boolean, Date32, List, Map, Null, Struct, Utf8};
    if from == to {
        return true;
    }
    match (from, to) {
        (Null, _) => true,
        (from, to) if coercion::is_numeric(from) && coercion::is_numeric(to) => true,
        (Binary, Utf8) => false,
        (from, Utf8) => !matches!(from, List(_) | Map(..) | Struct(_)),
        (Boolean | Utf8 | Binary, _) | (_, Boolean | Binary) => false,
        (Date32, to) | (to, Date32) => coercion::is_timestamp(to),
        (from, to) if coercion::is_timestamp(from) && coercion::is_timestamp(to) => true,
        (List(a), List(b)) => can_store(a.data_type(), b.data_type()),
        (Struct(a), Struct(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|(x, y)| can_store(x.data_type(), y.data_type()))
        }
        (Map(..), Map(..)) => match (coercion::map_types(from), coercion::map_types(to)) {
            (Some((fk, fv)), Some((tk, tv))) => can_store(&fk, &tk) && can_store(&fv, &tv),
            _ => false,
        },
        _ => false,
    }
}
