//! `from_json` as a function of the plan: schema and options are part of the function itself, so
//! the decoder is built once.

use crate::session::Conf;
use arrow::datatypes::{DataType as ArrowType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use millstream_core::options::OptionMap;
use millstream_core::{Error, Result};
use millstream_json::{FromJson, FromJsonOptions, Mode, Report, SessionFormat};
use millstream_types::DataType;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// `from_json` with one schema and one set of options.
#[derive(Clone)]
pub(crate) struct FromJsonCall {
    decoder: Arc<FromJson>,
    data_type: DataType,
    /// Schema and options as text: two calls with the same text are the same function.
    key: String,
    fail_fast: bool,
    signature: Signature,
}

/// The function for one call.
///
/// # Errors
/// What the options say about themselves, and schemas that cannot be decoded.
pub(crate) fn function(
    data_type: &DataType,
    options: &OptionMap,
    conf: &Conf,
) -> Result<ScalarUDF> {
    let session = SessionFormat {
        time_zone: conf.time_zone.clone(),
        corrupt_column_default: conf.corrupt_column.clone(),
    };
    let parsed = FromJsonOptions::parse(options, &session)?;
    let fail_fast = parsed.mode() == Mode::FailFast;
    let decoder = Arc::new(FromJson::new(data_type, &parsed)?);
    let pairs: Vec<String> = options.iter().map(|(n, v)| format!("{n}={v}")).collect();
    let key = format!(
        "{}; {}; {}; {}",
        data_type.sql(),
        pairs.join(", "),
        session.time_zone,
        session.corrupt_column_default
    );
    Ok(ScalarUDF::new_from_impl(FromJsonCall {
        decoder,
        data_type: data_type.clone(),
        key,
        fail_fast,
        signature: Signature::any(1, Volatility::Immutable),
    }))
}

impl FromJsonCall {
    /// The call behind an expression, and its argument.
    pub(crate) fn of(expr: &Expr) -> Option<(&FromJsonCall, &Expr)> {
        let Expr::ScalarFunction(call) = expr else { return None };
        let this = call.func.inner().downcast_ref::<FromJsonCall>()?;
        Some((this, call.args.first()?))
    }

    pub(crate) fn decoder(&self) -> &Arc<FromJson> {
        &self.decoder
    }

    pub(crate) fn is_fail_fast(&self) -> bool {
        self.fail_fast
    }

    /// Type of the decoded column.
    pub(crate) fn arrow_type(&self) -> ArrowType {
        self.data_type.to_arrow()
    }
}

impl fmt::Debug for FromJsonCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromJsonCall").field("key", &self.key).finish_non_exhaustive()
    }
}

impl PartialEq for FromJsonCall {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for FromJsonCall {}

impl Hash for FromJsonCall {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl ScalarUDFImpl for FromJsonCall {
    fn name(&self) -> &str {
        "from_json"
    }

    fn display_name(&self, args: &[Expr]) -> DfResult<String> {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        Ok(format!("from_json({}, {})", args.join(", "), self.key))
    }

    fn schema_name(&self, args: &[Expr]) -> DfResult<String> {
        self.display_name(args)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[ArrowType]) -> DfResult<ArrowType> {
        Ok(self.arrow_type())
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs<'_>) -> DfResult<FieldRef> {
        Ok(Arc::new(Field::new("from_json", self.arrow_type(), true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let Some(input) = args.args.first() else {
            return Err(DataFusionError::Internal("from_json has no argument".to_owned()));
        };
        let scalar = matches!(input, ColumnarValue::Scalar(_));
        let rows = if scalar { 1 } else { args.number_rows };
        let input = input.to_array(rows)?;
        let decoded = self
            .decoder
            .decode(&input, Report::None)
            .map_err(|e| DataFusionError::External(Box::new(Error::from(e))))?;
        if scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&decoded.array, 0)?));
        }
        Ok(ColumnarValue::Array(decoded.array))
    }
}
