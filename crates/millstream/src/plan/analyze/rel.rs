//! A relation: a plan, its columns as Spark sees them, and whether it is a stream.

use super::{Analysis, Attribute, Scope, Typed, refused};
use crate::plan::error::from_datafusion;
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use millstream_core::Result;
use millstream_sql::Span;
use millstream_types::{DataType, StructField, StructType};

/// A relation under analysis.
#[derive(Debug, Clone)]
pub(crate) struct Rel {
    pub(crate) plan: LogicalPlan,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) streaming: bool,
}

impl Rel {
    /// A plan whose columns are named as in its schema.
    pub(crate) fn from_plan(
        plan: LogicalPlan,
        qualifier: Option<&str>,
        streaming: bool,
    ) -> Result<Self> {
        let mut attributes = Vec::with_capacity(plan.schema().fields().len());
        for (relation, field) in plan.schema().iter() {
            attributes.push(Attribute {
                qualifier: qualifier.map(str::to_owned),
                name: field.name().clone(),
                column: Column::new(relation.cloned(), field.name()),
                data_type: DataType::from_arrow(field.data_type())?,
            });
        }
        Ok(Rel { plan, attributes, streaming })
    }

    pub(crate) fn scope(&self) -> Scope<'_> {
        Scope { attributes: &self.attributes, schema: self.plan.schema() }
    }

    /// The same columns under one table alias.
    #[must_use]
    pub(crate) fn aliased(mut self, alias: &str) -> Self {
        for attribute in &mut self.attributes {
            attribute.qualifier = Some(alias.to_owned());
        }
        self
    }

    /// The same columns under other names, in order.
    #[must_use]
    pub(crate) fn renamed(mut self, names: &[String]) -> Self {
        for (attribute, name) in self.attributes.iter_mut().zip(names) {
            attribute.name.clone_from(name);
        }
        self
    }

    /// A projection to `columns`, each with the name it shall have.
    pub(crate) fn project(self, columns: Vec<(Typed, String)>, span: Span) -> Analysis<Rel> {
        let mut attributes = Vec::with_capacity(columns.len());
        let mut exprs = Vec::with_capacity(columns.len());
        let mut taken: Vec<String> = Vec::with_capacity(columns.len());
        for (typed, name) in columns {
            let internal = unique(&name, &mut taken);
            let data_type = typed.data_type()?;
            exprs.push(typed.expr.alias(internal.clone()));
            attributes.push(Attribute {
                qualifier: None,
                name,
                column: Column::new_unqualified(internal),
                data_type,
            });
        }
        let plan = LogicalPlanBuilder::from(self.plan)
            .project(exprs)
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| refused(e, span))?;
        Ok(Rel { plan, attributes, streaming: self.streaming })
    }

    /// A filter; `predicate` is BOOLEAN.
    pub(crate) fn filter(self, predicate: Expr, span: Span) -> Analysis<Rel> {
        let plan = LogicalPlanBuilder::from(self.plan)
            .filter(predicate)
            .and_then(LogicalPlanBuilder::build)
            .map_err(|e| refused(e, span))?;
        Ok(Rel { plan, ..self })
    }

    /// Names and types of the columns, in order.
    pub(crate) fn schema(&self) -> Result<StructType> {
        let nullable = |a: &Attribute| {
            self.plan
                .schema()
                .qualified_field_from_column(&a.column)
                .map(|(_, f)| f.is_nullable())
                .unwrap_or(true)
        };
        Ok(self
            .attributes
            .iter()
            .map(|a| StructField::new(&a.name, a.data_type.clone(), nullable(a)))
            .collect())
    }

    /// The plan with its columns under the names that users see. Names that repeat get a number
    /// in the plan only.
    pub(crate) fn named_plan(&self) -> Result<LogicalPlan> {
        let as_they_are = self
            .attributes
            .iter()
            .zip(self.plan.schema().iter())
            .all(|(a, (relation, field))| relation.is_none() && field.name() == &a.name);
        if as_they_are && self.plan.schema().fields().len() == self.attributes.len() {
            return Ok(self.plan.clone());
        }
        let mut taken = Vec::new();
        let exprs: Vec<Expr> = self
            .attributes
            .iter()
            .map(|a| Expr::Column(a.column.clone()).alias(unique(&a.name, &mut taken)))
            .collect();
        LogicalPlanBuilder::from(self.plan.clone())
            .project(exprs)
            .and_then(LogicalPlanBuilder::build)
            .map_err(from_datafusion)
    }

    /// The attribute as an expression.
    pub(crate) fn column(attribute: &Attribute, span: Span) -> Typed {
        Typed {
            expr: Expr::Column(attribute.column.clone()),
            arrow: attribute.data_type.to_arrow(),
            text: attribute.name.clone(),
            name: None,
            span,
        }
    }
}

/// `name`, or `name` with a number where it is taken.
pub(crate) fn unique(name: &str, taken: &mut Vec<String>) -> String {
    let mut candidate = name.to_owned();
    let mut number = 1;
    while taken.contains(&candidate) {
        number += 1;
        candidate = format!("{name}#{number}");
    }
    taken.push(candidate.clone());
    candidate
}
