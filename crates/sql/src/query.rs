//! Queries and the relations in their FROM clauses.

use crate::ast::{
    Argument, Expr, Ident, JoinKind, LateralView, Query, ReadAs, Relation, Select, SelectItem,
    SetExpr, SetOp, SortKey,
};
use crate::cursor::{Cursor, Parse};
use crate::diagnostic::{Diagnostic, Span};
use crate::expr::CLAUSE_WORDS;
use crate::token::TokenKind;

impl Cursor<'_> {
    /// `[WITH ..] body [ORDER BY ..] [LIMIT ..] [OFFSET ..]`
    pub(crate) fn query(&mut self) -> Parse<Query> {
        self.nested(|c| c.query_inner())
    }

    fn query_inner(&mut self) -> Parse<Query> {
        let start = self.span();
        let mut with = Vec::new();
        if self.eat_word("WITH") {
            if self.is_word("RECURSIVE") {
                return Err(self.not_yet("Recursive queries are", self.span()));
            }
            loop {
                let name = self.identifier("a name")?;
                self.eat_word("AS");
                self.expect_symbol("(")?;
                let query = self.query()?;
                self.expect_symbol(")")?;
                with.push((name, query));
                if !self.eat_symbol(",") {
                    break;
                }
            }
        }
        let body = self.set_expr()?;
        let order_by =
            if self.eat_words(&["ORDER", "BY"]) { self.sort_keys()? } else { Vec::new() };
        for (words, what) in [
            (["SORT", "BY"], "SORT BY is"),
            (["CLUSTER", "BY"], "CLUSTER BY is"),
            (["DISTRIBUTE", "BY"], "DISTRIBUTE BY is"),
        ] {
            if self.is_words(&words) {
                return Err(self.not_yet(what, self.span()));
            }
        }
        if self.is_word("WINDOW") {
            return Err(self.not_yet("WINDOW clauses are", self.span()));
        }
        let mut limit = None;
        if self.eat_word("LIMIT") {
            limit = if self.eat_word("ALL") { None } else { Some(self.expr()?) };
        }
        let offset = if self.eat_word("OFFSET") { Some(self.expr()?) } else { None };
        let span = start.to(self.previous_span());
        Ok(Query { with, body, order_by, limit, offset, span })
    }

    fn sort_keys(&mut self) -> Parse<Vec<SortKey>> {
        let mut keys = Vec::new();
        loop {
            let expr = self.expr()?;
            let descending = self.eat_word("DESC");
            if !descending {
                self.eat_word("ASC");
            }
            let nulls_first = if self.eat_words(&["NULLS", "FIRST"]) {
                Some(true)
            } else if self.eat_words(&["NULLS", "LAST"]) {
                Some(false)
            } else {
                None
            };
            keys.push(SortKey { expr, descending, nulls_first });
            if !self.eat_symbol(",") {
                return Ok(keys);
            }
        }
    }

    fn set_expr(&mut self) -> Parse<SetExpr> {
        let (mut left, mut count) = (self.set_intersect()?, 0);
        loop {
            self.one_more(&mut count)?;
            let span = self.span();
            let op = if self.eat_word("UNION") {
                SetOp::Union
            } else if self.eat_word("EXCEPT") || self.eat_word("MINUS") {
                SetOp::Except
            } else {
                return Ok(left);
            };
            let all = self.set_quantifier();
            let right = self.set_intersect()?;
            left = SetExpr::Set { op, all, left: Box::new(left), right: Box::new(right), span };
        }
    }

    fn set_intersect(&mut self) -> Parse<SetExpr> {
        let mut left = self.set_primary()?;
        loop {
            let span = self.span();
            if !self.eat_word("INTERSECT") {
                return Ok(left);
            }
            let all = self.set_quantifier();
            let right = self.set_primary()?;
            let op = SetOp::Intersect;
            left = SetExpr::Set { op, all, left: Box::new(left), right: Box::new(right), span };
        }
    }

    fn set_quantifier(&mut self) -> bool {
        let all = self.eat_word("ALL");
        if !all {
            self.eat_word("DISTINCT");
        }
        all
    }

    fn set_primary(&mut self) -> Parse<SetExpr> {
        let span = self.span();
        if self.eat_symbol("(") {
            let query = self.query()?;
            self.expect_symbol(")")?;
            return Ok(SetExpr::Query(Box::new(query)));
        }
        if self.eat_word("VALUES") {
            let rows = self.value_rows()?;
            return Ok(SetExpr::Values(rows, span.to(self.previous_span())));
        }
        if self.is_word("SELECT") {
            return Ok(SetExpr::Select(Box::new(self.select()?)));
        }
        if self.eat_word("TABLE") {
            let name = self.name_parts("a table")?;
            let relation = Relation::Table {
                span: span.to(self.previous_span()),
                name,
                read_as: ReadAs::Batch,
                alias: None,
            };
            return Ok(SetExpr::Select(Box::new(select_all(relation, span))));
        }
        Err(self.unexpected(&["SELECT", "VALUES", "("]))
    }

    fn value_rows(&mut self) -> Parse<Vec<Vec<Expr>>> {
        let mut rows = Vec::new();
        loop {
            if self.eat_symbol("(") {
                rows.push(self.expr_list(")")?);
                self.expect_symbol(")")?;
            } else {
                rows.push(vec![self.expr()?]);
            }
            if !self.eat_symbol(",") {
                return Ok(rows);
            }
        }
    }

    fn select(&mut self) -> Parse<Select> {
        let start = self.expect_word("SELECT")?;
        let distinct = self.eat_word("DISTINCT");
        if !distinct {
            self.eat_word("ALL");
        }
        let items = self.select_items()?;
        let from = if self.eat_word("FROM") { Some(self.from()?) } else { None };
        let mut lateral_views = Vec::new();
        while self.is_words(&["LATERAL", "VIEW"]) {
            lateral_views.push(self.lateral_view()?);
        }
        let filter = if self.eat_word("WHERE") { Some(self.expr()?) } else { None };
        let (mut group_by, mut group_by_all) = (Vec::new(), false);
        if self.eat_words(&["GROUP", "BY"]) {
            if self.is_any_word(&["ROLLUP", "CUBE", "GROUPING"]) {
                return Err(self.not_yet("ROLLUP, CUBE and GROUPING SETS are", self.span()));
            }
            if self.eat_word("ALL") {
                group_by_all = true;
            } else {
                group_by.push(self.expr()?);
                while self.eat_symbol(",") {
                    group_by.push(self.expr()?);
                }
            }
        }
        let having = if self.eat_word("HAVING") { Some(self.expr()?) } else { None };
        if self.is_word("QUALIFY") {
            return Err(self.not_yet("QUALIFY is", self.span()));
        }
        let span = start.to(self.previous_span());
        Ok(Select {
            distinct,
            items,
            from,
            lateral_views,
            filter,
            group_by,
            group_by_all,
            having,
            span,
        })
    }

    fn select_items(&mut self) -> Parse<Vec<SelectItem>> {
        let mut items = vec![self.select_item()?];
        while self.eat_symbol(",") {
            items.push(self.select_item()?);
        }
        Ok(items)
    }

    /// `expr [[AS] name]`
    pub(crate) fn select_item(&mut self) -> Parse<SelectItem> {
        let expr = self.expr()?;
        if self.is_word("AS") && self.is_symbol_at(1, "(") {
            return Err(self.not_yet("Lists of aliases are", self.span()));
        }
        let alias = self.alias()?;
        Ok(SelectItem { expr, alias })
    }

    /// `[AS] name`, where a bare name may not be a keyword that goes on with the query.
    fn alias(&mut self) -> Parse<Option<Ident>> {
        if self.eat_word("AS") {
            return self.identifier("a name").map(Some);
        }
        match self.peek() {
            TokenKind::Quoted(_) => self.identifier("a name").map(Some),
            TokenKind::Word(w) if !CLAUSE_WORDS.iter().any(|c| c.eq_ignore_ascii_case(w)) => {
                self.refuse_misspelt_clause(w)?;
                self.identifier("a name").map(Some)
            }
            _ => Ok(None),
        }
    }

    /// `FROM t WERE a > 1`: no alias stands before an expression.
    fn refuse_misspelt_clause(&self, word: &str) -> Parse<()> {
        const CLAUSES: &[&str] = &["FROM", "WHERE", "HAVING", "LIMIT", "UNION"];
        let clause = |w: &str| CLAUSE_WORDS.iter().any(|c| c.eq_ignore_ascii_case(w));
        let expression_follows = match self.peek_at(1) {
            // OFFSET is a column of Kafka's rows as well.
            TokenKind::Word(next) => !clause(next) || next.eq_ignore_ascii_case("offset"),
            TokenKind::Quoted(_) | TokenKind::Number(_) => true,
            _ => false,
        };
        let near = millstream_core::options::did_you_mean(word, CLAUSES.iter().copied());
        match near.filter(|_| expression_follows && word.len() > 3) {
            Some(near) => Err(self.unexpected(CLAUSES).cure(format!("Did you mean `{near}`?"))),
            None => Ok(()),
        }
    }

    fn lateral_view(&mut self) -> Parse<LateralView> {
        self.eat_words(&["LATERAL", "VIEW"]);
        let outer = self.eat_word("OUTER");
        let generator = self.expr()?;
        let table = if self.is_word("AS") { None } else { self.alias()? };
        let mut columns = Vec::new();
        if self.eat_word("AS") {
            columns.push(self.identifier("a name")?);
            while self.eat_symbol(",") {
                columns.push(self.identifier("a name")?);
            }
        }
        Ok(LateralView { outer, generator, table, columns })
    }

    fn from(&mut self) -> Parse<Relation> {
        let (mut left, mut count) = (self.joins()?, 0);
        while self.is_symbol(",") {
            self.one_more(&mut count)?;
            let span = self.advance().span;
            let right = self.joins()?;
            left = Relation::Join {
                left: Box::new(left),
                right: Box::new(right),
                kind: JoinKind::Cross,
                on: None,
                using: Vec::new(),
                span,
            };
        }
        Ok(left)
    }

    fn joins(&mut self) -> Parse<Relation> {
        let (mut left, mut count) = (self.relation()?, 0);
        loop {
            self.one_more(&mut count)?;
            let span = self.span();
            let Some(kind) = self.join_kind()? else { return Ok(left) };
            let right = self.relation()?;
            let (mut on, mut using) = (None, Vec::new());
            if self.eat_word("ON") {
                on = Some(self.expr()?);
            } else if self.eat_word("USING") {
                using = self.identifier_list()?;
            }
            let (left_side, right) = (Box::new(left), Box::new(right));
            left = Relation::Join { left: left_side, right, kind, on, using, span };
        }
    }

    fn join_kind(&mut self) -> Parse<Option<JoinKind>> {
        if self.is_word("NATURAL") {
            return Err(self.not_yet("NATURAL JOIN is", self.span()));
        }
        const KINDS: &[(&[&str], JoinKind)] = &[
            (&["JOIN"], JoinKind::Inner),
            (&["INNER", "JOIN"], JoinKind::Inner),
            (&["CROSS", "JOIN"], JoinKind::Cross),
            (&["LEFT", "JOIN"], JoinKind::Left),
            (&["LEFT", "OUTER", "JOIN"], JoinKind::Left),
            (&["LEFT", "SEMI", "JOIN"], JoinKind::LeftSemi),
            (&["SEMI", "JOIN"], JoinKind::LeftSemi),
            (&["LEFT", "ANTI", "JOIN"], JoinKind::LeftAnti),
            (&["ANTI", "JOIN"], JoinKind::LeftAnti),
            (&["RIGHT", "JOIN"], JoinKind::Right),
            (&["RIGHT", "OUTER", "JOIN"], JoinKind::Right),
            (&["FULL", "JOIN"], JoinKind::Full),
            (&["FULL", "OUTER", "JOIN"], JoinKind::Full),
        ];
        for (words, kind) in KINDS {
            if self.eat_words(words) {
                return Ok(Some(*kind));
            }
        }
        Ok(None)
    }

    fn relation(&mut self) -> Parse<Relation> {
        let start = self.span();
        let streamed = self.is_word("STREAM")
            && (self.is_symbol_at(1, "(")
                || matches!(self.peek_at(1), TokenKind::Word(_) | TokenKind::Quoted(_)));
        let read_as = if streamed {
            self.advance();
            ReadAs::Stream
        } else {
            ReadAs::Batch
        };
        if self.is_word("LATERAL") {
            return Err(self.not_yet("LATERAL in FROM is", self.span()));
        }
        if self.is_symbol("(") {
            return if streamed { self.stream_in_brackets(start) } else { self.subquery() };
        }
        if self.is_word("VALUES") {
            return self.inline_values();
        }
        if matches!(self.peek(), TokenKind::Word(_)) && self.is_symbol_at(1, "(") {
            return self.table_function(read_as, start);
        }
        let name = self.name_parts("a table")?;
        let span = start.to(self.previous_span());
        self.refuse_table_clauses()?;
        let alias = self.alias()?;
        Ok(Relation::Table { name, read_as, alias, span })
    }

    /// `STREAM(t)`, `STREAM(read_kafka(..))`
    fn stream_in_brackets(&mut self, start: Span) -> Parse<Relation> {
        self.expect_symbol("(")?;
        let relation = if self.is_symbol_at(1, "(") {
            self.table_function(ReadAs::Stream, start)?
        } else {
            let name = self.name_parts("a table")?;
            let span = start.to(self.previous_span());
            Relation::Table { name, read_as: ReadAs::Stream, alias: None, span }
        };
        self.expect_symbol(")")?;
        self.refuse_table_clauses()?;
        let alias = self.alias()?;
        Ok(with_alias(relation, alias))
    }

    fn subquery(&mut self) -> Parse<Relation> {
        self.expect_symbol("(")?;
        if !self.is_any_word(&["SELECT", "WITH", "VALUES", "TABLE"]) && !self.is_symbol("(") {
            let inner = self.from()?;
            self.expect_symbol(")")?;
            let alias = self.alias()?;
            return Ok(with_alias(inner, alias));
        }
        let query = Box::new(self.query()?);
        self.expect_symbol(")")?;
        let alias = self.alias()?;
        let columns = match alias.is_some() && self.is_symbol("(") {
            true => self.identifier_list()?,
            false => Vec::new(),
        };
        Ok(Relation::Subquery { query, alias, columns })
    }

    /// `VALUES (1, 'a') AS t(x, y)` in FROM
    fn inline_values(&mut self) -> Parse<Relation> {
        let span = self.span();
        let body = self.set_primary()?;
        let alias = self.alias()?;
        let columns = match alias.is_some() && self.is_symbol("(") {
            true => self.identifier_list()?,
            false => Vec::new(),
        };
        let query = Query {
            with: Vec::new(),
            body,
            order_by: Vec::new(),
            limit: None,
            offset: None,
            span: span.to(self.previous_span()),
        };
        Ok(Relation::Subquery { query: Box::new(query), alias, columns })
    }

    fn table_function(&mut self, read_as: ReadAs, start: Span) -> Parse<Relation> {
        let name = self.identifier("a table function")?;
        self.expect_symbol("(")?;
        let mut args = Vec::new();
        while !self.is_symbol(")") {
            let named = matches!(self.peek(), TokenKind::Word(_) | TokenKind::Quoted(_))
                && self.is_symbol_at(1, "=>");
            let arg_name = if named {
                let name = self.identifier("an option")?;
                self.advance();
                Some(name)
            } else {
                self.refuse_dotted_option()?;
                None
            };
            args.push(Argument { name: arg_name, value: self.expr()? });
            if !self.eat_symbol(",") && !self.is_symbol(")") {
                return Err(self.unexpected(&[",", ")"]));
            }
        }
        let span = start.to(self.expect_symbol(")")?);
        self.refuse_table_clauses()?;
        let alias = self.alias()?;
        Ok(Relation::Function { name, args, read_as, alias, span })
    }

    /// `kafka.group.id => ..` without backquotes: the commonest slip with options.
    fn refuse_dotted_option(&mut self) -> Parse<()> {
        let start = self.span();
        let dotted = self.attempt(|c| {
            let parts = c.name_parts("an option")?;
            c.expect_symbol("=>")?;
            Ok(parts)
        });
        match dotted {
            Some(parts) => {
                let name: Vec<String> = parts.into_iter().map(|p| p.name).collect();
                let name = name.join(".");
                Err(Diagnostic::new(
                    "PARSE_SYNTAX_ERROR",
                    "Syntax error: an option name with dots needs backquotes.",
                    start,
                )
                .cure(format!("Write `{name}` in backquotes.")))
            }
            None => Ok(()),
        }
    }

    /// Clauses after a table that Spark or Databricks have and we do not, yet.
    fn refuse_table_clauses(&mut self) -> Parse<()> {
        for (words, what) in [
            (&["WATERMARK"][..], "WATERMARK clauses are"),
            (&["VERSION", "AS", "OF"], "Time travel is"),
            (&["TIMESTAMP", "AS", "OF"], "Time travel is"),
            (&["FOR", "VERSION"], "Time travel is"),
            (&["FOR", "TIMESTAMP"], "Time travel is"),
            (&["TABLESAMPLE"], "TABLESAMPLE is"),
            (&["PIVOT"], "PIVOT is"),
            (&["UNPIVOT"], "UNPIVOT is"),
            (&["CHANGES", "FROM"], "CHANGES FROM is"),
            (&["IDENTIFIED", "BY"], "Naming a source with IDENTIFIED BY is"),
        ] {
            if self.is_words(words) {
                return Err(self.not_yet(what, self.span()));
            }
        }
        if self.is_symbol("@") {
            return Err(self.not_yet("Time travel is", self.span()));
        }
        if self.is_word("WITH") && self.is_symbol_at(1, "(") {
            let cure = "Give options as arguments: read_kafka(name => value).";
            return Err(self.not_yet("WITH (..) after a table is", self.span()).cure(cure));
        }
        Ok(())
    }
}

fn with_alias(relation: Relation, new: Option<Ident>) -> Relation {
    if new.is_none() {
        return relation;
    }
    match relation {
        Relation::Table { name, read_as, span, .. } => {
            Relation::Table { name, read_as, alias: new, span }
        }
        Relation::Function { name, args, read_as, span, .. } => {
            Relation::Function { name, args, read_as, alias: new, span }
        }
        Relation::Subquery { query, columns, .. } => {
            Relation::Subquery { query, alias: new, columns }
        }
        join @ Relation::Join { .. } => {
            let span = match &join {
                Relation::Join { span, .. } => *span,
                _ => Span::NONE,
            };
            let body = SetExpr::Select(Box::new(select_all(join, span)));
            let query =
                Query { with: vec![], body, order_by: vec![], limit: None, offset: None, span };
            Relation::Subquery { query: Box::new(query), alias: new, columns: vec![] }
        }
    }
}

/// `SELECT * FROM relation`
fn select_all(relation: Relation, span: Span) -> Select {
    let kind = crate::ast::ExprKind::Star { qualifier: vec![], except: vec![] };
    Select {
        distinct: false,
        items: vec![SelectItem { expr: Expr { kind, span }, alias: None }],
        from: Some(relation),
        lateral_views: vec![],
        filter: None,
        group_by: vec![],
        group_by_all: false,
        having: None,
        span,
    }
}
