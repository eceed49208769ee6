//! `from_json` as a function of the plan: schema and options are part of the function itself, so
//! the decoder is built once.

use crate::session::Conf;
use arrow::datatypes::{DataType as ArrowType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, lit,
};
use millstream_core::options::OptionMap;
use millstream_core::{Error, Result};
use millstream_json::{FromJson, FromJsonOptions, Mode, Report, SessionFormat};
use millstream_types::DataType;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Everything that decides what a call decodes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Definition {
    /// The type as SQL writes it.
    schema: String,
    options: Vec<(String, String)>,
    time_zone: String,
    corrupt_column: String,
    /// Positions of the top-level fields that are wanted, if not all.
    fields: Option<Vec<usize>>,
}

/// `from_json` with one schema and one set of options.
#[derive(Clone)]
pub(crate) struct FromJsonCall {
    definition: Definition,
    decoder: Arc<FromJson>,
    /// The definition as text: two calls with the same text are the same function. It is also
    /// the second argument of the call, where explain and the fingerprint show it.
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
) -> Result<FromJsonCall> {
    FromJsonCall::new(Definition {
        schema: data_type.sql(),
        options: options.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
        time_zone: conf.time_zone.clone(),
        corrupt_column: conf.corrupt_column.clone(),
        fields: None,
    })
}

impl FromJsonCall {
    /// The call of a definition.
    ///
    /// # Errors
    /// As [`function`].
    pub(crate) fn new(definition: Definition) -> Result<Self> {
        let session = SessionFormat {
            time_zone: definition.time_zone.clone(),
            corrupt_column_default: definition.corrupt_column.clone(),
        };
        let options: OptionMap = definition.options.iter().cloned().collect();
        let parsed = FromJsonOptions::parse(&options, &session)?;
        let data_type = DataType::parse_ddl(&definition.schema)?;
        let decoder = FromJson::new(&data_type, &parsed)?;
        let decoder = match &definition.fields {
            Some(fields) => decoder.with_projection(fields)?,
            None => decoder,
        };
        let pairs: Vec<String> =
            definition.options.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let mut key = format!(
            "{}; options: {}; zone: {}; corrupt: {}",
            definition.schema,
            pairs.join(", "),
            definition.time_zone,
            definition.corrupt_column
        );
        if definition.fields.is_some() {
            key.push_str(&format!("; only: {}", decoder.data_type().sql()));
        }
        Ok(FromJsonCall {
            definition,
            decoder: Arc::new(decoder),
            key,
            fail_fast: parsed.mode() == Mode::FailFast,
            signature: Signature::any(2, Volatility::Immutable),
        })
    }

    pub(crate) fn definition(&self) -> &Definition {
        &self.definition
    }

    /// The call behind an expression, and its argument.
    pub(crate) fn of(expr: &Expr) -> Option<(&FromJsonCall, &Expr)> {
        let Expr::ScalarFunction(call) = expr else { return None };
        let this = call.func.inner().downcast_ref::<FromJsonCall>()?;
        Some((this, call.args.first()?))
    }

    /// Schema and options as text.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The call for an input of STRING or BINARY.
    pub(crate) fn call(self, input: Expr) -> Expr {
        let key = lit(self.key.clone());
        ScalarUDF::new_from_impl(self).call(vec![input, key])
    }

    /// The same call giving only these top-level fields; `None` where that is all of them, or the
    /// result is no struct.
    ///
    /// # Errors
    /// Only defects.
    pub(crate) fn reduced_to(&self, fields: &BTreeSet<String>) -> Result<Option<FromJsonCall>> {
        let (DataType::Struct(schema), None) = (self.decoder.data_type(), &self.definition.fields)
        else {
            return Ok(None);
        };
        let chosen: Vec<usize> = (0..schema.fields.len())
            .filter(|at| schema.fields.get(*at).is_some_and(|f| fields.contains(&f.name)))
            .collect();
        if chosen.len() == schema.fields.len() || chosen.len() < fields.len() {
            return Ok(None);
        }
        FromJsonCall::new(Definition { fields: Some(chosen), ..self.definition.clone() }).map(Some)
    }

    /// As [`FromJsonCall::key`], for these fields alone: other fields of the schema leave no trace.
    pub(crate) fn key_of_field(&self, fields: &BTreeSet<String>) -> String {
        let reduced = self.reduced_to(fields).ok().flatten();
        let decoder = reduced.as_ref().map_or(&self.decoder, |r| &r.decoder);
        let options = &self.definition.options;
        let pairs: Vec<String> = options.iter().map(|(n, v)| format!("{n}={v}")).collect();
        format!(
            "{}; options: {}; zone: {}; corrupt: {}",
            decoder.data_type().sql(),
            pairs.join(", "),
            self.definition.time_zone,
            self.definition.corrupt_column
        )
    }

    pub(crate) fn decoder(&self) -> &Arc<FromJson> {
        &self.decoder
    }

    pub(crate) fn is_fail_fast(&self) -> bool {
        self.fail_fast
    }

    /// Type of the decoded column.
    pub(crate) fn arrow_type(&self) -> ArrowType {
        self.decoder.data_type().to_arrow()
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
        // The second argument is constant and already part of the decoder.
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
