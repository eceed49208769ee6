//! A file of statements that reads: settings, views, and one query at its end.

use crate::dataframe::DataFrame;
use crate::session::Session;
use millstream_core::options::OptionMap;
use millstream_core::{Error, Result};
use millstream_sql::ast::StatementKind;
use millstream_sql::parse_script;

impl Session {
    /// The query of `text`, after its settings and views. `overrides` win over the file's `SET`.
    ///
    /// # Errors
    /// The first mistake, with line and column; `SQL_NO_QUERY`.
    pub fn query_script(&self, text: &str, overrides: &OptionMap) -> Result<DataFrame> {
        for (name, value) in overrides.iter() {
            self.set(name, value)?;
        }
        let script = parse_script(text, overrides);
        if let Some(mistake) = script.mistakes.first() {
            return Err(mistake.to_error(text));
        }
        let mut query = None;
        for statement in &script.statements {
            if query.is_some() {
                return Err(Error::invalid("SQL_NO_QUERY", "Something follows the query.")
                    .cure("Put settings and views first, and one query last."));
            }
            let data = self.run_statement(statement).map_err(|d| d.to_error(text))?;
            if matches!(statement.kind, StatementKind::Query(_)) {
                query = Some(data);
            }
        }
        query.ok_or_else(|| {
            Error::invalid("SQL_NO_QUERY", "There is no query to run.")
                .cure("Write SELECT .. at the end.")
        })
    }
}
