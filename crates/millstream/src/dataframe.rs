//! Spark's DataFrame verbs. Each builds the same syntax trees as SQL and analyses them at once, so
//! the same query written both ways is the same plan.

use crate::column::{Column, Condition};
use crate::plan::analyze::{Analyzer, Rel};
use crate::plan::{DeadLetterRequest, FlowPlan, error};
use crate::session::Session;
use crate::writer::DataStreamWriter;
use arrow::array::RecordBatch;
use datafusion::logical_expr::LogicalPlanBuilder;
use millstream_core::{Error, Result};
use millstream_sql::ast::{Expr, ExprKind, Ident, SelectItem, SetOp};
use millstream_sql::{Diagnostic, Span, parse_select_item};
use millstream_types::StructType;

/// A query under construction, over streams or over tables.
///
/// ```
/// use millstream::Session;
/// use millstream::functions::{col, lit};
///
/// # #[tokio::main]
/// # async fn main() -> millstream::Result<()> {
/// let session = Session::builder().build()?;
/// let orders = session
///     .sql("SELECT 'a' AS id, 5 AS amount UNION ALL SELECT 'b', -1")?
///     .filter("amount > 0")?
///     .with_column("gross", col("amount") * 2)?
///     .with_column_renamed("amount", "net")?
///     .select_expr(["id", "net", "gross - net AS tax"])?
///     .drop(["net"])?;
/// assert_eq!(orders.columns(), ["id", "tax"]);
/// assert_eq!(orders.schema()?.fields[1].data_type.sql(), "INT");
///
/// orders.create_or_replace_temp_view("orders");
/// let both = session.sql("SELECT * FROM orders")?.union(orders.select([lit("c"), lit(0)])?)?;
/// let rows = both.alias("o").select(["o.id"])?.collect().await?;
/// assert_eq!(rows.iter().map(|batch| batch.num_rows()).sum::<usize>(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DataFrame {
    session: Session,
    rel: Rel,
}

impl DataFrame {
    pub(crate) fn new(session: Session, rel: Rel) -> Self {
        DataFrame { session, rel }
    }

    /// No columns and no rows: the result of statements.
    pub(crate) fn empty(session: Session) -> Result<Self, Diagnostic> {
        let plan = LogicalPlanBuilder::empty(false)
            .build()
            .map_err(|e| crate::plan::analyze::refused(e, Span::NONE))?;
        Ok(DataFrame { session, rel: Rel { plan, attributes: Vec::new(), streaming: false } })
    }

    /// The session it belongs to.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Whether it reads a stream.
    pub fn is_streaming(&self) -> bool {
        self.rel.streaming
    }

    /// Names and types of the columns.
    ///
    /// # Errors
    /// `SCHEMA_UNSUPPORTED_TYPE` where a column has a type that Spark does not have.
    pub fn schema(&self) -> Result<StructType> {
        self.rel.schema()
    }

    /// Names of the columns.
    pub fn columns(&self) -> Vec<String> {
        self.rel.attributes.iter().map(|a| a.name.clone()).collect()
    }

    /// Prints the schema as a tree.
    ///
    /// # Errors
    /// As [`DataFrame::schema`].
    #[allow(clippy::print_stdout)]
    pub fn print_schema(&self) -> Result<()> {
        println!("{}", self.schema()?.tree_string());
        Ok(())
    }

    /// `SELECT columns`
    ///
    /// # Errors
    /// Names that do not resolve, types that do not fit.
    pub fn select<C: Into<Column>>(self, columns: impl IntoIterator<Item = C>) -> Result<Self> {
        let items: Vec<SelectItem> = columns.into_iter().map(|c| c.into().into_item()).collect();
        self.apply(|analyzer, rel| analyzer.projection(rel, &items, Span::NONE))
    }

    /// `SELECT expressions`, each as SQL text.
    ///
    /// # Errors
    /// Mistakes in the text, with their column; names that do not resolve, types that do not fit.
    pub fn select_expr<E: AsRef<str>>(self, exprs: impl IntoIterator<Item = E>) -> Result<Self> {
        let mut frame_items = Vec::new();
        let mut texts = String::new();
        for expr in exprs {
            let text = expr.as_ref();
            frame_items.push(parse_select_item(text).map_err(|d| d.to_error(text))?);
            if !texts.is_empty() {
                texts.push_str(", ");
            }
            texts.push_str(text);
        }
        let DataFrame { session, rel } = self;
        let rel = Analyzer::new(&session)
            .projection(rel, &frame_items, Span::NONE)
            .map_err(|d| Diagnostic { span: Span::NONE, ..d }.to_error("").context(texts))?;
        Ok(DataFrame { session, rel })
    }

    /// `WHERE condition`; the condition as SQL text, or as a [`Column`].
    ///
    /// ```
    /// use millstream::Session;
    /// use millstream::functions::col;
    ///
    /// # fn main() -> millstream::Result<()> {
    /// let orders = Session::builder().build()?.sql("SELECT 'a' AS id, 5 AS amount")?;
    /// let text = orders.clone().filter("amount > 0 AND id IS NOT NULL")?;
    /// let column = orders.clone().filter(col("amount").gt(0).and(col("id").is_not_null()))?;
    /// assert_eq!(text.columns(), column.columns());
    ///
    /// let refused = orders.filter("amont > 0").err().expect("there is no such column");
    /// assert_eq!(refused.code(), "UNRESOLVED_COLUMN");
    /// assert!(refused.message().starts_with("line 1, column 1: "), "{refused}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Mistakes in the text, with their place; names that do not resolve, conditions that are not
    /// BOOLEAN.
    pub fn filter(self, condition: impl Into<Condition>) -> Result<Self> {
        let (condition, text) = condition.into().parse()?;
        let DataFrame { session, rel } = self;
        let analyzer = Analyzer::new(&session);
        let filtered = {
            let scope = rel.scope();
            analyzer.expr(&condition, scope).and_then(|p| analyzer.condition(p, "WHERE", scope))
        };
        let rel = filtered
            .and_then(|predicate| rel.filter(predicate, condition.span))
            .map_err(|d| d.to_error(&text))?;
        Ok(DataFrame { session, rel })
    }

    /// The same as [`DataFrame::filter`].
    ///
    /// # Errors
    /// As [`DataFrame::filter`].
    pub fn where_(self, condition: impl Into<Condition>) -> Result<Self> {
        self.filter(condition)
    }

    /// Adds a column, or replaces the one of the same name (in any case).
    ///
    /// # Errors
    /// As [`DataFrame::select`].
    pub fn with_column(self, name: &str, value: impl Into<Column>) -> Result<Self> {
        let value = value.into().alias(name);
        let mut items = Vec::new();
        let mut replaced = false;
        for attribute in &self.rel.attributes {
            if same(&attribute.name, name) {
                replaced = true;
                items.push(value.clone().into_item());
            } else {
                items.push(plain(&attribute.name));
            }
        }
        if !replaced {
            items.push(value.into_item());
        }
        self.apply(|analyzer, rel| analyzer.projection(rel, &items, Span::NONE))
    }

    /// Renames a column; does nothing where there is no such column, as Spark.
    ///
    /// # Errors
    /// As [`DataFrame::select`].
    pub fn with_column_renamed(self, old: &str, new: &str) -> Result<Self> {
        let items: Vec<SelectItem> = self
            .rel
            .attributes
            .iter()
            .map(|a| {
                let mut item = plain(&a.name);
                if same(&a.name, old) {
                    item.alias = Some(Ident::new(new));
                }
                item
            })
            .collect();
        self.apply(|analyzer, rel| analyzer.projection(rel, &items, Span::NONE))
    }

    /// Leaves columns out; names without a column are passed over, as Spark does.
    ///
    /// # Errors
    /// `EMPTY_PROJECTION` where nothing would be left.
    pub fn drop<N: AsRef<str>>(self, names: impl IntoIterator<Item = N>) -> Result<Self> {
        let names: Vec<String> = names.into_iter().map(|n| n.as_ref().to_owned()).collect();
        let items: Vec<SelectItem> = self
            .rel
            .attributes
            .iter()
            .filter(|a| !names.iter().any(|n| same(n, &a.name)))
            .map(|a| plain(&a.name))
            .collect();
        if items.is_empty() {
            return Err(Error::invalid("EMPTY_PROJECTION", "No column would be left."));
        }
        self.apply(|analyzer, rel| analyzer.projection(rel, &items, Span::NONE))
    }

    /// Gives the relation a name, so that `name.column` resolves.
    #[must_use]
    pub fn alias(self, name: &str) -> Self {
        DataFrame { rel: self.rel.aliased(name), ..self }
    }

    /// All rows of both, by position (`UNION ALL`).
    ///
    /// # Errors
    /// `NUM_COLUMNS_MISMATCH`, `INCOMPATIBLE_COLUMN_TYPE`, a stream beside a table.
    pub fn union(self, other: DataFrame) -> Result<Self> {
        self.apply(|analyzer, rel| {
            analyzer.set_operation(SetOp::Union, true, rel, other.rel, Span::NONE)
        })
    }

    /// Gives the query a name for SQL, replacing an earlier one.
    pub fn create_or_replace_temp_view(&self, name: &str) {
        self.session.register_view(name, self.rel.clone());
    }

    /// Where the stream goes, as in Spark.
    pub fn write_stream(self) -> DataStreamWriter {
        DataStreamWriter::new(self)
    }

    /// The checked streaming plan. `dead_letter` is what the writer's options of that name ask for.
    ///
    /// # Errors
    /// Everything Spark refuses before the first batch.
    pub fn flow_plan(&self, dead_letter: Option<&DeadLetterRequest>) -> Result<FlowPlan> {
        match dead_letter {
            None => FlowPlan::new(&self.rel),
            Some(request) => {
                FlowPlan::new(&crate::plan::with_dead_letters(self.rel.clone(), request)?)
            }
        }
    }

    /// Runs a batch query and returns its rows.
    ///
    /// # Errors
    /// `STREAMING_QUERY_NEEDS_WRITER` for streams; what reading and calculating report.
    pub async fn collect(self) -> Result<Vec<RecordBatch>> {
        if self.rel.streaming {
            return Err(Error::invalid(
                "STREAMING_QUERY_NEEDS_WRITER",
                "Queries with streaming sources must be executed with writeStream.start().",
            )
            .cure("Use write_stream(), or leave STREAM out."));
        }
        let micros = self.session.env().now_ms().saturating_mul(1_000);
        let plan = self.rel.named_plan()?;
        let plan = millstream_functions::bind_logical_batch_time(plan, micros)
            .map_err(error::from_datafusion)?;
        let state = self.session.batch_state();
        let physical = state.create_physical_plan(&plan).await.map_err(error::from_datafusion)?;
        datafusion::physical_plan::collect(physical, state.task_ctx())
            .await
            .map_err(error::from_datafusion)
    }

    fn apply(
        self,
        change: impl FnOnce(&Analyzer<'_>, Rel) -> Result<Rel, Diagnostic>,
    ) -> Result<Self> {
        let DataFrame { session, rel } = self;
        let rel = change(&Analyzer::new(&session), rel)
            .map_err(|d| Diagnostic { span: Span::NONE, ..d }.to_error(""))?;
        Ok(DataFrame { session, rel })
    }
}

fn same(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

fn plain(name: &str) -> SelectItem {
    let kind = ExprKind::Column(vec![Ident::new(name)]);
    SelectItem { expr: Expr::new(kind), alias: None }
}
