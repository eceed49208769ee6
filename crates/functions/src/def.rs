//! How one function is described, and the `ScalarUDF` made of the description.
//!
//! Arguments reach a function already cast to the types its [`Params`] ask for, because
//! [`crate::Functions::call`] inserts Spark's implicit casts when the expression is built.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array,
    ListArray, MapArray, StringArray, StructArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TypeSignature, Volatility,
};

use crate::coercion;
use crate::error::spark_error;
use crate::settings::FunctionSettings;
use crate::zone::Zone;

/// The Arrow form of TIMESTAMP.
pub(crate) fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from(millstream_types::TIMESTAMP_ZONE)))
}

/// The Arrow form of TIMESTAMP_NTZ.
pub(crate) const NTZ: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// The Arrow form of a day-time interval.
pub(crate) const DAY_TIME: DataType = DataType::Duration(TimeUnit::Microsecond);

/// What one parameter accepts; other types are cast implicitly or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Param {
    /// STRING.
    Str,
    /// STRING or BINARY as it is, anything else as STRING.
    StrOrBin,
    /// BINARY.
    Bin,
    /// INT.
    Int,
    /// BIGINT.
    Long,
    /// DOUBLE.
    Double,
    /// BOOLEAN.
    Bool,
    /// DATE.
    Date,
    /// TIMESTAMP.
    Timestamp,
    /// TIMESTAMP or TIMESTAMP_NTZ as it is, anything else as TIMESTAMP.
    AnyTimestamp,
    /// A number as it is, STRING as DOUBLE.
    Number,
    /// An array of any element.
    Array,
    /// A map.
    Map,
    /// Anything.
    Any,
}

/// The parameters of a function.
#[derive(Clone, Copy)]
pub(crate) enum Params {
    /// Exactly these.
    Exact(&'static [Param]),
    /// The first `usize` of these are required.
    Optional(usize, &'static [Param]),
    /// At least `usize`, all of one kind.
    Variadic(usize, Param),
    /// At least `usize`, all cast to their common type.
    Common(usize),
    /// Decided by the function.
    Custom(fn(&[DataType], &FunctionSettings) -> Result<Vec<DataType>>),
}

/// What is known of a call before it runs.
pub(crate) struct Sig<'a> {
    pub(crate) types: &'a [DataType],
    pub(crate) literals: &'a [Option<&'a ScalarValue>],
    pub(crate) settings: &'a FunctionSettings,
}

impl Sig<'_> {
    /// Type of argument `index`, VOID when there is none.
    pub(crate) fn data_type(&self, index: usize) -> DataType {
        self.types.get(index).cloned().unwrap_or(DataType::Null)
    }

    /// The text of a literal argument.
    pub(crate) fn text(&self, index: usize) -> Option<&str> {
        self.literals.get(index).copied().flatten().and_then(|v| v.try_as_str().flatten())
    }
}

/// One evaluation: the arguments as arrays of one length.
pub(crate) struct Call<'a> {
    pub(crate) args: Vec<ArrayRef>,
    pub(crate) rows: usize,
    pub(crate) return_type: &'a DataType,
    pub(crate) settings: &'a FunctionSettings,
}

macro_rules! typed_argument {
    ($name:ident, $array:ty) => {
        pub(crate) fn $name(&self, index: usize) -> Result<&$array> {
            let array = self.array(index)?;
            array.as_any().downcast_ref::<$array>().ok_or_else(|| {
                DataFusionError::Internal(format!(
                    "argument {index} is {} and not {}",
                    array.data_type(),
                    stringify!($array)
                ))
            })
        }
    };
}

impl Call<'_> {
    /// Argument `index`.
    pub(crate) fn array(&self, index: usize) -> Result<&ArrayRef> {
        self.args
            .get(index)
            .ok_or_else(|| DataFusionError::Internal(format!("argument {index} is missing")))
    }

    /// Whether argument `index` was given.
    pub(crate) fn has(&self, index: usize) -> bool {
        index < self.args.len()
    }

    /// The session time zone.
    pub(crate) fn zone(&self) -> Result<Zone> {
        self.settings.zone()
    }

    /// An all-null result.
    pub(crate) fn nulls(&self) -> ArrayRef {
        new_null_array(self.return_type, self.rows)
    }

    typed_argument!(strings, StringArray);
    typed_argument!(binaries, BinaryArray);
    typed_argument!(booleans, BooleanArray);
    typed_argument!(ints, Int32Array);
    typed_argument!(longs, Int64Array);
    typed_argument!(doubles, Float64Array);
    typed_argument!(dates, Date32Array);
    typed_argument!(timestamps, TimestampMicrosecondArray);
    typed_argument!(lists, ListArray);
    typed_argument!(maps, MapArray);
    typed_argument!(structs, StructArray);
}

/// Who computes a function.
#[derive(Clone, Copy)]
pub(crate) enum Eval {
    /// Our own code, with the rule for its result type.
    Own(fn(&Sig) -> Result<DataType>, fn(&Call) -> Result<ArrayRef>),
    /// A function of DataFusion or datafusion-spark whose answers are Spark's.
    Of(fn() -> Arc<ScalarUDF>),
    /// Our own code that takes literals as they are.
    Columnar(fn(&Sig) -> Result<DataType>, fn(&ColumnarCall) -> Result<ColumnarValue>),
}

/// One evaluation with literals not yet repeated for every row.
pub(crate) struct ColumnarCall<'a> {
    pub(crate) args: &'a [ColumnarValue],
    pub(crate) return_type: &'a DataType,
    pub(crate) settings: &'a FunctionSettings,
}

/// One function.
#[derive(Clone, Copy)]
pub(crate) struct Def {
    pub(crate) name: &'static str,
    pub(crate) aliases: &'static [&'static str],
    pub(crate) params: Params,
    pub(crate) eval: Eval,
    /// Off for functions whose answer differs from row to row or run to run.
    pub(crate) immutable: bool,
}

/// A function in our own code.
pub(crate) const fn own(
    name: &'static str,
    aliases: &'static [&'static str],
    params: Params,
    returns: fn(&Sig) -> Result<DataType>,
    eval: fn(&Call) -> Result<ArrayRef>,
) -> Def {
    Def { name, aliases, params, eval: Eval::Own(returns, eval), immutable: true }
}

/// A function of DataFusion under Spark's name and with Spark's parameters.
pub(crate) const fn reuse(
    name: &'static str,
    aliases: &'static [&'static str],
    params: Params,
    of: fn() -> Arc<ScalarUDF>,
) -> Def {
    Def { name, aliases, params, eval: Eval::Of(of), immutable: true }
}

impl Def {
    /// The types the arguments are cast to.
    pub(crate) fn coerce(
        &self,
        types: &[DataType],
        settings: &FunctionSettings,
    ) -> Result<Vec<DataType>> {
        let wrong = || wrong_count(self.name, self.params, types.len());
        match self.params {
            Params::Exact(params) if params.len() == types.len() => self.each(params, types),
            Params::Optional(least, params) if (least..=params.len()).contains(&types.len()) => {
                self.each(params, types)
            }
            Params::Variadic(least, param) if types.len() >= least => {
                types.iter().map(|t| coercion::implicit(self.name, param, t)).collect()
            }
            Params::Common(least) if types.len() >= least => {
                let common = coercion::common_type(types, settings)?;
                Ok(vec![common; types.len()])
            }
            Params::Custom(coerce) => coerce(types, settings),
            _ => Err(wrong()),
        }
    }

    fn each(&self, params: &[Param], types: &[DataType]) -> Result<Vec<DataType>> {
        params
            .iter()
            .zip(types)
            .map(|(param, t)| coercion::implicit(self.name, *param, t))
            .collect()
    }
}

pub(crate) fn wrong_count(name: &str, params: Params, given: usize) -> DataFusionError {
    let wanted = match params {
        Params::Exact(params) => params.len().to_string(),
        Params::Optional(least, params) => {
            (least..=params.len()).map(|n| n.to_string()).collect::<Vec<_>>().join(", ")
        }
        Params::Variadic(least, _) | Params::Common(least) => format!("> {}", least.max(1) - 1),
        Params::Custom(_) => "another number of".to_owned(),
    };
    spark_error(
        "WRONG_NUM_ARGS.WITHOUT_SUGGESTION",
        format!(
            "The `{name}` requires {wanted} parameters but the actual number is {given}. Please, \
             refer to the function's documentation."
        ),
    )
}

/// Text in Spark's one Arrow form.
fn plain_text(data_type: DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        other => other,
    }
}

/// The UDF of a [`Def`] under one session's settings.
#[derive(Clone)]
pub(crate) struct SparkFunction {
    def: Def,
    settings: Arc<FunctionSettings>,
    config: Arc<ConfigOptions>,
    inner: Option<Arc<ScalarUDF>>,
    signature: Signature,
    aliases: Vec<String>,
}

impl SparkFunction {
    pub(crate) fn new(
        def: Def,
        settings: &Arc<FunctionSettings>,
        config: &Arc<ConfigOptions>,
    ) -> Self {
        let inner = match def.eval {
            Eval::Of(of) => Some(of()),
            Eval::Own(..) | Eval::Columnar(..) => None,
        };
        let volatility = if def.immutable { Volatility::Immutable } else { Volatility::Volatile };
        SparkFunction {
            def,
            settings: Arc::clone(settings),
            config: Arc::clone(config),
            inner,
            signature: Signature::one_of(
                vec![TypeSignature::Nullary, TypeSignature::VariadicAny],
                volatility,
            ),
            aliases: def.aliases.iter().map(|a| (*a).to_owned()).collect(),
        }
    }
}

impl SparkFunction {
    /// The function's own name.
    pub(crate) fn name(&self) -> &'static str {
        self.def.name
    }

    /// The settings it follows.
    pub(crate) fn settings(&self) -> &FunctionSettings {
        &self.settings
    }
}

impl std::fmt::Debug for SparkFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SparkFunction").field("name", &self.def.name).finish_non_exhaustive()
    }
}

impl PartialEq for SparkFunction {
    fn eq(&self, other: &Self) -> bool {
        self.def.name == other.def.name && self.settings == other.settings
    }
}

impl Eq for SparkFunction {}

impl Hash for SparkFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.def.name.hash(state);
        self.settings.hash(state);
    }
}

impl ScalarUDFImpl for SparkFunction {
    fn name(&self) -> &str {
        self.def.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let literals = vec![None; types.len()];
        match self.def.eval {
            Eval::Own(returns, _) | Eval::Columnar(returns, _) => {
                returns(&Sig { types, literals: &literals, settings: &self.settings })
            }
            Eval::Of(of) => of().return_type(types),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        if let Some(inner) = &self.inner {
            let field = inner.return_field_from_args(args)?;
            let data_type = plain_text(field.data_type().clone());
            return Ok(Arc::new(Field::new(self.def.name, data_type, true)));
        }
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let data_type = match self.def.eval {
            Eval::Own(returns, _) | Eval::Columnar(returns, _) => returns(&Sig {
                types: &types,
                literals: args.scalar_arguments,
                settings: &self.settings,
            })?,
            Eval::Of(of) => of().return_type(&types)?,
        };
        Ok(Arc::new(Field::new(self.def.name, data_type, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if let Eval::Columnar(_, eval) = self.def.eval {
            return eval(&ColumnarCall {
                args: &args.args,
                return_type: args.return_field.data_type(),
                settings: &self.settings,
            });
        }
        let Eval::Own(_, eval) = self.def.eval else {
            let Some(inner) = &self.inner else {
                return Err(DataFusionError::Internal("a reused function is missing".to_owned()));
            };
            let config_options = Arc::clone(&self.config);
            let wanted = args.return_field.data_type().clone();
            let value = inner.invoke_with_args(ScalarFunctionArgs { config_options, ..args })?;
            return if value.data_type() == wanted {
                Ok(value)
            } else {
                value.cast_to(&wanted, None)
            };
        };
        let scalar =
            self.def.immutable && args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { args.number_rows };
        let arrays = args
            .args
            .iter()
            .map(|value| value.to_array(rows))
            .collect::<Result<Vec<ArrayRef>>>()?;
        let call = Call {
            args: arrays,
            rows,
            return_type: args.return_field.data_type(),
            settings: &self.settings,
        };
        let result = eval(&call)?;
        if scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}
