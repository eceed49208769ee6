//! Analysis: syntax trees to DataFusion's logical plan with Spark's rules for names, types and
//! result-column names.
//!
//! Names are resolved here, without regard to case, and never again: the plan that comes out
//! refers to columns by internal names that are unique within each operator. Types are made equal
//! by explicit casts, so that DataFusion's own coercion finds nothing to do.

mod aggregate;
mod attribute;
mod call;
mod constructors;
mod expr;
mod generator;
mod literal;
mod operators;
mod projection;
mod query;
mod rel;
mod relation;
mod typed;

pub(crate) use attribute::Attribute;
pub(crate) use expr::data_type;
pub(crate) use rel::Rel;
pub(crate) use relation::{rename_columns, stream_rel, table_rel};
pub(crate) use typed::Typed;

use crate::session::Session;
use datafusion::common::DFSchema;
use millstream_functions::Functions;
use millstream_sql::{Diagnostic, Span};
use millstream_types::DataType;
use std::sync::Arc;

/// Outcome of an analysis step.
pub(crate) type Analysis<T> = Result<T, Diagnostic>;

/// Analyses against one session.
pub(crate) struct Analyzer<'a> {
    pub(crate) session: &'a Session,
    /// Spark's functions under the session's settings.
    pub(crate) functions: Arc<Functions>,
}

impl<'a> Analyzer<'a> {
    /// Analyses with the settings that are in force.
    pub(crate) fn new(session: &'a Session) -> Self {
        Analyzer { session, functions: session.functions() }
    }
}

/// What expressions may refer to.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) attributes: &'a [Attribute],
    pub(crate) schema: &'a DFSchema,
}

/// DataFusion's refusal as a mistake at `span`.
pub(crate) fn refused(error: datafusion::error::DataFusionError, span: Span) -> Diagnostic {
    Diagnostic::from_error(&super::error::from_datafusion(error), span)
}

/// A mistake that names a type problem, as Spark classes it.
pub(crate) fn mismatch(name: &str, why: impl Into<String>, span: Span) -> Diagnostic {
    let why: String = why.into();
    let message = format!("Cannot resolve \"{name}\" due to data type mismatch: {why}.");
    Diagnostic::new("DATATYPE_MISMATCH", message, span)
}

/// A type as error messages quote it.
pub(crate) fn quoted(data_type: &DataType) -> String {
    format!("\"{}\"", data_type.sql())
}
