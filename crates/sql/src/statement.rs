//! Statements of a pipeline file.

use crate::ast::{ColumnDef, CreateStreamingTable, Ident, Query, Statement, StatementKind};
use crate::cursor::{Cursor, Parse, not_yet};
use crate::diagnostic::{Diagnostic, Span};
use crate::token::TokenKind;

/// Statements of Spark or Databricks that are known and not offered yet.
const NOT_YET: &[(&[&str], &str)] = &[
    (&["MERGE"], "MERGE is"),
    (&["INSERT"], "INSERT outside CREATE FLOW is"),
    (&["UPDATE"], "UPDATE is"),
    (&["DELETE"], "DELETE is"),
    (&["ALTER"], "ALTER is"),
    (&["DROP"], "DROP is"),
    (&["OPTIMIZE"], "OPTIMIZE is"),
    (&["VACUUM"], "VACUUM is"),
    (&["RESTORE"], "RESTORE is"),
    (&["DESCRIBE"], "DESCRIBE is"),
    (&["DESC"], "DESCRIBE is"),
    (&["SHOW"], "SHOW is"),
    (&["EXPLAIN"], "EXPLAIN is"),
    (&["USE"], "USE is"),
    (&["CACHE"], "CACHE is"),
    (&["REFRESH"], "REFRESH is"),
    (&["TRUNCATE"], "TRUNCATE is"),
    (&["COPY"], "COPY INTO is"),
    (&["DECLARE"], "DECLARE is"),
    (&["APPLY", "CHANGES"], "APPLY CHANGES INTO is"),
    (&["AUTO", "CDC"], "AUTO CDC INTO is"),
];

const STARTS: &[&str] = &["SET", "CREATE", "SELECT", "WITH", "VALUES"];

impl Cursor<'_> {
    /// One statement, to its end.
    pub(crate) fn statement(&mut self) -> Parse<Statement> {
        let start = self.span();
        for (words, what) in NOT_YET {
            if self.is_words(words) {
                return Err(self.not_yet(what, start));
            }
        }
        let kind = if self.eat_word("CREATE") {
            self.create(start)?
        } else if self.is_any_word(&["SELECT", "WITH", "VALUES", "TABLE"]) || self.is_symbol("(") {
            StatementKind::Query(self.query()?)
        } else {
            return Err(self.unexpected(STARTS));
        };
        self.end_of_statement()?;
        Ok(Statement { kind, span: start.to(self.previous_span()) })
    }

    /// Nothing may follow; what follows is most often a misspelt clause.
    pub(crate) fn end_of_statement(&mut self) -> Parse<()> {
        if self.at_end() {
            return Ok(());
        }
        Err(self.unexpected(&[
            "FROM",
            "WHERE",
            "GROUP BY",
            "HAVING",
            "ORDER BY",
            "LIMIT",
            "UNION",
            "end of input",
        ]))
    }

    fn create(&mut self, start: Span) -> Parse<StatementKind> {
        let or_replace = self.eat_words(&["OR", "REPLACE"]);
        let or_refresh = !or_replace && self.eat_words(&["OR", "REFRESH"]);
        for (words, what) in [
            (&["MATERIALIZED"][..], "Materialized views are"),
            (&["LIVE"], "LIVE tables are"),
            (&["TABLE"], "CREATE TABLE without STREAMING is"),
            (&["SINK"], "CREATE SINK is"),
            (&["FUNCTION"], "CREATE FUNCTION is"),
            (&["TEMPORARY", "FUNCTION"], "CREATE FUNCTION is"),
            (&["GLOBAL"], "Global temporary views are"),
            (&["VIEW"], "Views that are not TEMPORARY are"),
            (&["TEMPORARY", "STREAMING"], "Temporary streaming tables are"),
            (&["PRIVATE"], "Private streaming tables are"),
            (&["DATABASE"], "CREATE DATABASE is"),
            (&["SCHEMA"], "CREATE SCHEMA is"),
        ] {
            if self.is_words(words) {
                let error = self.not_yet(what, start.to(self.span()));
                return Err(match words {
                    ["TABLE"] => error.cure("Write CREATE OR REFRESH STREAMING TABLE."),
                    ["VIEW"] => error.cure("Write CREATE TEMPORARY VIEW."),
                    _ => error,
                });
            }
        }
        if self.eat_words(&["STREAMING", "TABLE"]) {
            if or_replace {
                let cure = "Write CREATE OR REFRESH STREAMING TABLE.";
                return Err(self.not_yet("OR REPLACE of a streaming table is", start).cure(cure));
            }
            return self.streaming_table(or_refresh);
        }
        if !or_refresh && (self.is_word("TEMPORARY") || self.is_word("TEMP")) {
            self.advance();
            self.expect_word("VIEW")?;
            return self.view(or_replace);
        }
        if !or_refresh && !or_replace && self.eat_word("FLOW") {
            return self.flow();
        }
        let expected: &[&str] = match (or_refresh, or_replace) {
            (true, _) => &["STREAMING"],
            (_, true) => &["TEMPORARY"],
            _ => &["OR", "STREAMING", "TEMPORARY", "FLOW"],
        };
        Err(self.unexpected(expected))
    }

    fn view(&mut self, or_replace: bool) -> Parse<StatementKind> {
        let name = self.name_parts("a view")?;
        let columns = if self.is_symbol("(") { self.identifier_list()? } else { Vec::new() };
        while self.is_any_word(&["COMMENT", "TBLPROPERTIES"]) {
            if self.eat_word("COMMENT") {
                self.string("a comment")?;
            } else {
                self.properties()?;
            }
        }
        self.expect_word("AS")?;
        let query = self.query()?;
        Ok(StatementKind::CreateView { name, or_replace, columns, query })
    }

    fn flow(&mut self) -> Parse<StatementKind> {
        let name = self.identifier("a flow")?;
        if self.eat_word("COMMENT") {
            self.string("a comment")?;
        }
        self.expect_word("AS")?;
        if self.is_words(&["AUTO", "CDC"]) {
            return Err(self.not_yet("AUTO CDC INTO is", self.span()));
        }
        self.expect_word("INSERT")?;
        self.expect_word("INTO")?;
        if self.is_word("ONCE") {
            return Err(self.not_yet("INSERT INTO ONCE is", self.span()));
        }
        let target = self.name_parts("a table")?;
        let place = self.span();
        if !self.eat_words(&["BY", "NAME"]) {
            let error = self.unexpected(&["BY NAME"]);
            return Err(error.at(place).cure("Write INSERT INTO t BY NAME SELECT .."));
        }
        let query = self.query()?;
        Ok(StatementKind::CreateFlow { name, target, query })
    }

    fn streaming_table(&mut self, or_refresh: bool) -> Parse<StatementKind> {
        let if_not_exists = self.eat_words(&["IF", "NOT", "EXISTS"]);
        let name = self.name_parts("a table")?;
        let columns = if self.is_symbol("(") { self.column_defs()? } else { Vec::new() };
        let mut table = CreateStreamingTable {
            name,
            or_refresh,
            if_not_exists,
            columns,
            using: None,
            partitioned_by: None,
            location: None,
            comment: None,
            properties: Vec::new(),
            query: None,
        };
        let mut seen: Vec<&'static str> = Vec::new();
        while self.table_clause(&mut table, &mut seen)? {}
        Ok(StatementKind::CreateStreamingTable(Box::new(table)))
    }

    /// One clause after the name; `false` at the end.
    fn table_clause(
        &mut self,
        table: &mut CreateStreamingTable,
        seen: &mut Vec<&'static str>,
    ) -> Parse<bool> {
        let span = self.span();
        let mut once = |clause: &'static str| {
            if seen.contains(&clause) {
                let message = format!("Found duplicate clauses: {clause}.");
                return Err(Diagnostic::new("DUPLICATE_CLAUSES", message, span));
            }
            seen.push(clause);
            Ok(())
        };
        if self.is_words(&["CLUSTER", "BY"]) {
            return Err(self.not_yet("CLUSTER BY is", span));
        }
        if self.is_any_word(&["SCHEDULE", "TRIGGER"]) {
            return Err(self.not_yet("Schedules of tables are", span));
        }
        if self.is_word("CONSTRAINT") {
            return Err(expectations(span));
        }
        if self.eat_word("USING") {
            once("USING")?;
            table.using = Some(self.identifier("a format")?);
        } else if self.eat_words(&["PARTITIONED", "BY"]) {
            once("PARTITIONED BY")?;
            table.partitioned_by = Some(self.partition_columns()?);
        } else if self.eat_word("LOCATION") {
            once("LOCATION")?;
            table.location = Some(self.string("a path")?);
        } else if self.eat_word("COMMENT") {
            once("COMMENT")?;
            table.comment = Some(self.string("a comment")?);
        } else if self.is_word("TBLPROPERTIES") {
            once("TBLPROPERTIES")?;
            table.properties = self.properties()?;
        } else if self.is_word("OPTIONS") {
            let cure = "Give options to read_kafka(..) or in TBLPROPERTIES.";
            return Err(self.not_yet("OPTIONS clauses are", span).cure(cure));
        } else if self.eat_word("AS") {
            let query: Query = self.query()?;
            table.query = Some(query);
            return Ok(false);
        } else if self.is_any_word(&["SELECT", "WITH"]) {
            table.query = Some(self.query()?);
            return Ok(false);
        } else if self.at_end() {
            return Ok(false);
        } else {
            return Err(self.unexpected(&[
                "USING",
                "PARTITIONED",
                "LOCATION",
                "COMMENT",
                "TBLPROPERTIES",
                "AS",
            ]));
        }
        Ok(true)
    }

    fn partition_columns(&mut self) -> Parse<Vec<Ident>> {
        self.expect_symbol("(")?;
        let mut out = Vec::new();
        loop {
            let name = self.identifier("a column")?;
            if self.is_symbol("(") {
                let what = "Partition transforms are";
                return Err(self.not_yet(what, name.span).cure("Name a column of the table."));
            }
            out.push(name);
            if !self.eat_symbol(",") {
                break;
            }
        }
        self.expect_symbol(")")?;
        Ok(out)
    }

    fn column_defs(&mut self) -> Parse<Vec<ColumnDef>> {
        self.expect_symbol("(")?;
        let mut out = Vec::new();
        loop {
            if self.is_word("CONSTRAINT") {
                return Err(expectations(self.span()));
            }
            if self.is_words(&["PRIMARY", "KEY"]) || self.is_words(&["FOREIGN", "KEY"]) {
                return Err(self.not_yet("Key constraints are", self.span()));
            }
            let name = self.identifier("a column")?;
            let data_type = self.type_text()?;
            let (mut nullable, mut comment) = (true, None);
            loop {
                if self.eat_words(&["NOT", "NULL"]) {
                    nullable = false;
                } else if self.eat_word("COMMENT") {
                    comment = Some(self.string("a comment")?);
                } else if self.is_any_word(&["DEFAULT", "GENERATED", "MASK"]) {
                    return Err(
                        self.not_yet("Defaults, generated columns and masks are", self.span())
                    );
                } else {
                    break;
                }
            }
            out.push(ColumnDef { name, data_type, nullable, comment });
            if !self.eat_symbol(",") {
                break;
            }
        }
        if !self.is_symbol(")") {
            return Err(self.unexpected(&[",", ")", "NOT", "COMMENT"]));
        }
        self.advance();
        Ok(out)
    }

    /// `TBLPROPERTIES ('a' = 'b', c.d = 1, 'e' 'f')`
    fn properties(&mut self) -> Parse<Vec<(Ident, String)>> {
        self.expect_word("TBLPROPERTIES")?;
        self.expect_symbol("(")?;
        let mut out: Vec<(Ident, String)> = Vec::new();
        loop {
            let span = self.span();
            let name = match self.peek() {
                TokenKind::String(_) => self.string("a property")?,
                _ => {
                    let parts = self.name_parts("a property")?;
                    parts.into_iter().map(|p| p.name).collect::<Vec<_>>().join(".")
                }
            };
            let span = span.to(self.previous_span());
            if !self.eat_symbol("=") {
                self.eat_symbol("==");
            }
            let value = self.property_value()?;
            if out.iter().any(|(n, _)| n.name == name) {
                let message = format!("Found duplicate keys `{name}`.");
                return Err(Diagnostic::new("DUPLICATE_KEY", message, span));
            }
            out.push((Ident { name, span }, value));
            if !self.eat_symbol(",") {
                break;
            }
        }
        self.expect_symbol(")")?;
        Ok(out)
    }

    fn property_value(&mut self) -> Parse<String> {
        match self.peek().clone() {
            TokenKind::String(_) => self.string("a value"),
            TokenKind::Number(text) | TokenKind::Word(text) => {
                self.advance();
                Ok(text)
            }
            _ => Err(self.unexpected(&["a value"])),
        }
    }
}

fn expectations(span: Span) -> Diagnostic {
    not_yet("Expectations (CONSTRAINT .. EXPECT) are", span).cure(
        "Filter with WHERE, or send bad records to dead letters with read_kafka(deadLetter => ..).",
    )
}
