//! A pipeline file: its settings, views, tables and flows, resolved against a session.
//!
//! [`Pipeline::load`] goes on after a mistake, so that one look shows them all. What it yields for
//! a file without mistakes is ready to run ([`PipelineFlow::start`]) or to be shown
//! ([`PipelineFlow::report`]). Nothing here needs a broker.

mod check;
mod flow;
mod places;
mod table;

pub use check::{FlowReport, Guarantee, Mistake, SourceReport};
pub use flow::PipelineFlow;
pub(crate) use places::overlap;
pub use places::{check_history, check_places, flows_of_other_tables};
pub use table::PipelineTable;

use crate::dataframe::DataFrame;
use crate::plan::analyze::Analyzer;
use crate::session::{Outcome, Session};
use millstream_core::options::OptionMap;
use millstream_sql::ast::{Ident, Query, Statement, StatementKind};
use millstream_sql::{Diagnostic, Span, parse_script};
use std::sync::Arc;

/// A pipeline file, analysed.
pub struct Pipeline {
    /// Flows in the order of the file; those with mistakes are missing.
    pub flows: Vec<PipelineFlow>,
    /// Everything that is wrong, in the order of the file.
    pub mistakes: Vec<Mistake>,
    /// What has no effect and should be known.
    pub warnings: Vec<Mistake>,
}

impl Pipeline {
    /// Analyses `text` against `session`, whose settings and views the file changes. `overrides`
    /// (from `--set`) win over the file's `SET`.
    pub fn load(session: &Session, text: &str, overrides: &OptionMap) -> Pipeline {
        let mut loader = Loader {
            session,
            tables: Vec::new(),
            flows: Vec::new(),
            mistakes: Vec::new(),
            warnings: Vec::new(),
            broken_views: Vec::new(),
        };
        for (name, value) in overrides.iter() {
            loader.set(&Ident::new(name), value);
        }
        let script = parse_script(text, overrides);
        loader.mistakes.extend(script.mistakes);
        for statement in &script.statements {
            loader.statement(statement);
        }
        loader.finish(text)
    }
}

struct Loader<'a> {
    session: &'a Session,
    tables: Vec<(Arc<PipelineTable>, Span)>,
    flows: Vec<(PipelineFlow, Span)>,
    mistakes: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    /// Views whose own mistake is reported: that they are missing is not another one.
    broken_views: Vec<String>,
}

impl Loader<'_> {
    fn statement(&mut self, statement: &Statement) {
        match &statement.kind {
            StatementKind::Set { name, value } => self.set(name, value),
            StatementKind::CreateView { name, .. } => {
                if let Err(mistake) = self.session.create_view(statement) {
                    self.broken_views.extend(name.last().map(|n| n.name.to_lowercase()));
                    self.report(mistake);
                }
            }
            StatementKind::CreateStreamingTable(create) => {
                let table = match table::define(create) {
                    Ok(table) => Arc::new(table),
                    Err(mistake) => return self.report(mistake),
                };
                let span = create.name.last().map_or(statement.span, |n| n.span);
                if self.tables.iter().any(|(t, _)| same(&t.name, &table.name)) {
                    let message = format!("The table `{}` is defined twice.", table.name);
                    self.report(Diagnostic::new("TABLE_OR_VIEW_ALREADY_EXISTS", message, span));
                    return;
                }
                self.tables.push((Arc::clone(&table), span));
                if let Some(query) = &create.query {
                    let name = table.name.clone();
                    self.flow(table, name, query, Some(create));
                }
            }
            StatementKind::CreateFlow { name, target, query } => {
                self.create_flow(name, target, query);
            }
            StatementKind::Query(query) => {
                let message = "A query by itself has no effect in a pipeline.";
                let cure = "Write CREATE OR REFRESH STREAMING TABLE t AS SELECT .., or run it \
                            with `millstream sql`.";
                self.report(Diagnostic::new("QUERY_WITHOUT_TABLE", message, query.span).cure(cure));
            }
        }
    }

    fn set(&mut self, name: &Ident, value: &str) {
        match self.session.set(&name.name, value) {
            Ok(Outcome::Honoured) => {}
            Ok(Outcome::Ignored(why)) => {
                self.warnings.push(Diagnostic::new("CONF_IGNORED", why, name.span));
            }
            Err(error) => self.report(Diagnostic::from_error(&error, name.span)),
        }
    }

    fn create_flow(&mut self, name: &Ident, target: &[Ident], query: &Query) {
        let wanted: Vec<&str> = target.iter().map(|t| t.name.as_str()).collect();
        let span = target.first().zip(target.last()).map_or(name.span, |(a, b)| a.span.to(b.span));
        let wanted = wanted.join(".");
        let found = self.tables.iter().find(|(t, _)| same(&t.name, &wanted));
        let Some((table, _)) = found else {
            let message = format!("The table `{wanted}` cannot be found.");
            let names: Vec<String> = self.tables.iter().map(|(t, _)| t.name.clone()).collect();
            let mistake = Diagnostic::new("TABLE_OR_VIEW_NOT_FOUND", message, span)
                .suggest(&wanted, names.iter().map(String::as_str));
            let mistake = match mistake.cure {
                Some(_) => mistake,
                None => mistake.cure(format!("Write CREATE STREAMING TABLE {wanted}; before.")),
            };
            return self.report(mistake);
        };
        let table = Arc::clone(table);
        if !table::is_directory_name(&name.name) {
            let message = format!("`{}` cannot be a flow's name: it names a directory.", name.name);
            return self.report(Diagnostic::new("INVALID_FLOW_NAME", message, name.span));
        }
        let taken = self
            .flows
            .iter()
            .any(|(f, _)| same(&f.name, &name.name) && same(&f.table.name, &table.name));
        if taken {
            let message = format!("The flow `{}` is defined twice.", name.name);
            return self.report(Diagnostic::new("DUPLICATE_FLOW_NAME", message, name.span));
        }
        self.flow(table, name.name.clone(), query, None);
    }

    fn flow(
        &mut self,
        table: Arc<PipelineTable>,
        name: String,
        query: &Query,
        create: Option<&millstream_sql::ast::CreateStreamingTable>,
    ) {
        let rel = match Analyzer::new(self.session).query(query, &Vec::new()) {
            Ok(rel) => rel,
            Err(mistake) => return self.report(mistake),
        };
        let data = DataFrame::new(self.session.clone(), rel);
        let plan = match data.flow_plan(None) {
            Ok(plan) => plan,
            Err(error) => return self.report(Diagnostic::from_error(&error, query.span)),
        };
        if let Err(mistake) = table::check_schema(&table, &plan.schema, query.span, create) {
            return self.report(mistake);
        }
        let first = query.span;
        self.flows.push((PipelineFlow { name, table, data, plan }, first));
    }

    fn report(&mut self, mistake: Diagnostic) {
        let follows = mistake.code == "TABLE_OR_VIEW_NOT_FOUND"
            && self
                .broken_views
                .iter()
                .any(|v| mistake.message.to_lowercase().contains(&format!("`{v}`")));
        if !follows {
            self.mistakes.push(mistake);
        }
    }

    fn finish(mut self, text: &str) -> Pipeline {
        let unfed: Vec<Diagnostic> = self
            .tables
            .iter()
            .filter(|(t, _)| !self.flows.iter().any(|(f, _)| f.table.name == t.name))
            .map(|(t, span)| {
                let message = format!("No flow writes to the table `{}`.", t.name);
                Diagnostic::new("TABLE_WITHOUT_FLOW", message, *span)
                    .cure("Give it AS SELECT .., or write CREATE FLOW .. AS INSERT INTO it.")
            })
            .collect();
        // A flow with a mistake may be the one that is missing.
        if self.mistakes.is_empty() {
            self.mistakes.extend(unfed);
            if self.flows.is_empty() && self.mistakes.is_empty() {
                let span = Span { start: 0, end: text.len() };
                let message = "The file defines no flow, so there is nothing to run.";
                self.mistakes.push(Diagnostic::new("PIPELINE_EMPTY", message, span).cure(
                    "Write CREATE OR REFRESH STREAMING TABLE t AS SELECT .. FROM STREAM \
                     read_kafka(..).",
                ));
            }
        }
        self.mistakes.sort_by_key(|m| m.span.start);
        Pipeline {
            flows: self.flows.into_iter().map(|(flow, _)| flow).collect(),
            mistakes: self.mistakes.iter().map(|m| Mistake::of(m, text)).collect(),
            warnings: self.warnings.iter().map(|m| Mistake::of(m, text)).collect(),
        }
    }
}

fn same(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}
