//! Expressions, with Spark's precedence (`SqlBaseParser.g4`, `valueExpression`).

use crate::ast::{BinaryOp, CastMode, Expr, ExprKind, Ident, LikeOp, Literal, UnaryOp};
use crate::cursor::{Cursor, Parse};
use crate::diagnostic::{Diagnostic, Span};
use crate::number::{invalid_literal, number};
use crate::token::TokenKind;

/// Words that end an expression, so that they are never taken for a column or an alias.
pub(crate) const CLAUSE_WORDS: &[&str] = &[
    "FROM",
    "WHERE",
    "GROUP",
    "HAVING",
    "ORDER",
    "LIMIT",
    "OFFSET",
    "UNION",
    "INTERSECT",
    "EXCEPT",
    "MINUS",
    "LATERAL",
    "JOIN",
    "INNER",
    "LEFT",
    "RIGHT",
    "FULL",
    "CROSS",
    "SEMI",
    "ANTI",
    "NATURAL",
    "ON",
    "USING",
    "WINDOW",
    "SORT",
    "CLUSTER",
    "DISTRIBUTE",
    "QUALIFY",
    "SELECT",
];

/// Clause words that Spark does not reserve (its keyword table, default mode): where an expression
/// begins they are columns, as Kafka's `offset` is.
const COLUMN_WORDS: &[&str] = &["OFFSET", "WINDOW", "SORT", "CLUSTER", "DISTRIBUTE", "QUALIFY"];

impl Cursor<'_> {
    /// An expression.
    pub(crate) fn expr(&mut self) -> Parse<Expr> {
        self.nested(|c| c.or_expr())
    }

    fn or_expr(&mut self) -> Parse<Expr> {
        let (mut left, mut count) = (self.and_expr()?, 0);
        while self.eat_word("OR") {
            self.one_more(&mut count)?;
            let right = self.and_expr()?;
            left = binary(BinaryOp::Or, left, right);
        }
        Ok(left)
    }

    fn and_expr(&mut self) -> Parse<Expr> {
        let (mut left, mut count) = (self.not_expr()?, 0);
        while self.eat_word("AND") {
            self.one_more(&mut count)?;
            let right = self.not_expr()?;
            left = binary(BinaryOp::And, left, right);
        }
        Ok(left)
    }

    fn not_expr(&mut self) -> Parse<Expr> {
        let span = self.span();
        if self.eat_word("NOT") || self.eat_symbol("!") {
            let inner = self.nested(|c| c.not_expr())?;
            let span = span.to(inner.span);
            return Ok(Expr { kind: ExprKind::Unary(UnaryOp::Not, Box::new(inner)), span });
        }
        self.predicate()
    }

    fn predicate(&mut self) -> Parse<Expr> {
        let left = self.comparison()?;
        let negated = self.is_word("NOT")
            && ["BETWEEN", "IN", "LIKE", "ILIKE", "RLIKE", "REGEXP"]
                .iter()
                .any(|w| self.is_word_at(1, w));
        if negated {
            self.advance();
        }
        // One predicate to a value, as in Spark's grammar; more need brackets.
        if self.eat_word("BETWEEN") {
            self.between(left, negated)
        } else if self.is_word("IN") && self.is_symbol_at(1, "(") {
            self.advance();
            self.in_list(left, negated)
        } else if let Some(op) = self.like_op() {
            self.like(op, left, negated)
        } else if self.eat_word("IS") {
            self.is_predicate(left)
        } else {
            Ok(left)
        }
    }

    fn between(&mut self, expr: Expr, negated: bool) -> Parse<Expr> {
        let low = self.comparison()?;
        self.expect_word("AND")?;
        let high = self.comparison()?;
        let span = expr.span.to(high.span);
        let kind = ExprKind::Between {
            expr: Box::new(expr),
            low: Box::new(low),
            high: Box::new(high),
            negated,
        };
        Ok(Expr { kind, span })
    }

    fn in_list(&mut self, expr: Expr, negated: bool) -> Parse<Expr> {
        self.expect_symbol("(")?;
        if self.is_any_word(&["SELECT", "WITH"]) {
            return Err(self.not_yet("Subqueries in IN are", self.span()));
        }
        let list = self.expr_list(")")?;
        let span = expr.span.to(self.expect_symbol(")")?);
        Ok(Expr { kind: ExprKind::InList { expr: Box::new(expr), list, negated }, span })
    }

    fn like_op(&mut self) -> Option<LikeOp> {
        for (word, op) in [
            ("LIKE", LikeOp::Like),
            ("ILIKE", LikeOp::ILike),
            ("RLIKE", LikeOp::RLike),
            ("REGEXP", LikeOp::RLike),
        ] {
            if self.eat_word(word) {
                return Some(op);
            }
        }
        None
    }

    fn like(&mut self, op: LikeOp, expr: Expr, negated: bool) -> Parse<Expr> {
        if self.is_any_word(&["ANY", "ALL", "SOME"]) && self.is_symbol_at(1, "(") {
            return Err(self.not_yet("LIKE ANY, LIKE ALL and LIKE SOME are", self.span()));
        }
        let pattern = self.comparison()?;
        let mut escape = None;
        if self.eat_word("ESCAPE") {
            let span = self.span();
            let text = self.string("an escape character")?;
            let mut chars = text.chars();
            escape = match (chars.next(), chars.next()) {
                (Some(c), None) => Some(c),
                _ => {
                    return Err(Diagnostic::new(
                        "INVALID_ESC",
                        format!(
                            "Found an invalid escape string: '{text}'. The escape string must \
                             contain only one character."
                        ),
                        span,
                    ));
                }
            };
        }
        let span = expr.span.to(self.previous_span());
        let (expr, pattern) = (Box::new(expr), Box::new(pattern));
        Ok(Expr { kind: ExprKind::Like { op, expr, pattern, escape, negated }, span })
    }

    fn is_predicate(&mut self, expr: Expr) -> Parse<Expr> {
        let negated = self.eat_word("NOT");
        let expr = Box::new(expr);
        let kind = if self.eat_word("NULL") {
            ExprKind::IsNull { expr, negated }
        } else if self.eat_word("TRUE") {
            ExprKind::IsBoolean { expr, value: Some(true), negated }
        } else if self.eat_word("FALSE") {
            ExprKind::IsBoolean { expr, value: Some(false), negated }
        } else if self.eat_word("UNKNOWN") {
            ExprKind::IsBoolean { expr, value: None, negated }
        } else if self.eat_words(&["DISTINCT", "FROM"]) {
            let right = self.comparison()?;
            let span = expr.span.to(right.span);
            let same = ExprKind::Binary(BinaryOp::NullSafeEqual, expr, Box::new(right));
            let same = Expr { kind: same, span };
            if negated {
                return Ok(same);
            }
            return Ok(Expr { kind: ExprKind::Unary(UnaryOp::Not, Box::new(same)), span });
        } else {
            return Err(self.unexpected(&["NULL", "TRUE", "FALSE", "UNKNOWN", "DISTINCT"]));
        };
        let start = match &kind {
            ExprKind::IsNull { expr, .. } | ExprKind::IsBoolean { expr, .. } => expr.span,
            _ => Span::NONE,
        };
        Ok(Expr { kind, span: start.to(self.previous_span()) })
    }

    fn comparison(&mut self) -> Parse<Expr> {
        const OPS: &[(&str, BinaryOp)] = &[
            ("=", BinaryOp::Equal),
            ("==", BinaryOp::Equal),
            ("<=>", BinaryOp::NullSafeEqual),
            ("<>", BinaryOp::NotEqual),
            ("!=", BinaryOp::NotEqual),
            ("<", BinaryOp::Less),
            ("<=", BinaryOp::LessOrEqual),
            (">", BinaryOp::Greater),
            (">=", BinaryOp::GreaterOrEqual),
        ];
        self.left_associative(OPS, |c| c.bit_or())
    }

    fn bit_or(&mut self) -> Parse<Expr> {
        self.left_associative(&[("|", BinaryOp::BitOr)], |c| c.bit_xor())
    }

    fn bit_xor(&mut self) -> Parse<Expr> {
        self.left_associative(&[("^", BinaryOp::BitXor)], |c| c.bit_and())
    }

    fn bit_and(&mut self) -> Parse<Expr> {
        self.left_associative(&[("&", BinaryOp::BitAnd)], |c| c.shift())
    }

    fn shift(&mut self) -> Parse<Expr> {
        let left = self.additive()?;
        if ["<<", ">>", ">>>"].iter().any(|s| self.is_symbol(s)) {
            let cure = "Use shiftleft, shiftright or shiftrightunsigned.";
            return Err(self.not_yet("Shift operators are", self.span()).cure(cure));
        }
        Ok(left)
    }

    fn additive(&mut self) -> Parse<Expr> {
        const OPS: &[(&str, BinaryOp)] =
            &[("+", BinaryOp::Add), ("-", BinaryOp::Subtract), ("||", BinaryOp::Concat)];
        self.left_associative(OPS, |c| c.multiplicative())
    }

    fn multiplicative(&mut self) -> Parse<Expr> {
        let (mut left, mut count) = (self.unary()?, 0);
        loop {
            self.one_more(&mut count)?;
            let op = if self.eat_symbol("*") {
                BinaryOp::Multiply
            } else if self.eat_symbol("/") {
                BinaryOp::Divide
            } else if self.eat_symbol("%") {
                BinaryOp::Modulo
            } else if self.eat_word("DIV") {
                BinaryOp::IntegralDivide
            } else {
                return Ok(left);
            };
            let right = self.unary()?;
            left = binary(op, left, right);
        }
    }

    fn left_associative(
        &mut self,
        ops: &[(&'static str, BinaryOp)],
        next: impl Fn(&mut Self) -> Parse<Expr>,
    ) -> Parse<Expr> {
        let (mut left, mut count) = (next(self)?, 0);
        'more: loop {
            self.one_more(&mut count)?;
            for (symbol, op) in ops {
                if self.eat_symbol(symbol) {
                    let right = next(self)?;
                    left = binary(*op, left, right);
                    continue 'more;
                }
            }
            return Ok(left);
        }
    }

    fn unary(&mut self) -> Parse<Expr> {
        let span = self.span();
        // Spark folds the sign into a number literal, which is how the smallest INT is written.
        if self.is_symbol("-") && matches!(self.peek_at(1), TokenKind::Number(_)) {
            self.advance();
            let TokenKind::Number(text) = self.peek().clone() else {
                return Err(self.unexpected(&["a number"]));
            };
            let span = span.to(self.advance().span);
            let kind = ExprKind::Literal(number(&format!("-{text}"), span)?);
            return self.postfix(Expr { kind, span });
        }
        for (symbol, op) in [("-", UnaryOp::Minus), ("+", UnaryOp::Plus), ("~", UnaryOp::BitNot)] {
            if self.eat_symbol(symbol) {
                let inner = self.nested(|c| c.unary())?;
                let span = span.to(inner.span);
                return Ok(Expr { kind: ExprKind::Unary(op, Box::new(inner)), span });
            }
        }
        let primary = self.primary()?;
        self.postfix(primary)
    }

    fn postfix(&mut self, mut expr: Expr) -> Parse<Expr> {
        let mut count = 0;
        loop {
            self.one_more(&mut count)?;
            if self.eat_symbol("[") {
                let index = self.expr()?;
                let span = expr.span.to(self.expect_symbol("]")?);
                expr = Expr { kind: ExprKind::Index(Box::new(expr), Box::new(index)), span };
            } else if self.is_symbol(".") && !self.is_symbol_at(1, "*") {
                self.advance();
                let field = self.identifier("a field")?;
                let span = expr.span.to(field.span);
                expr = Expr { kind: ExprKind::Field(Box::new(expr), field), span };
            } else if self.eat_symbol("::") {
                let to = self.type_text()?;
                let span = expr.span.to(to.span);
                let mode = CastMode::Cast;
                expr = Expr { kind: ExprKind::Cast { expr: Box::new(expr), to, mode }, span };
            } else if self.is_symbol(":") {
                let cure = "Use get_json_object(column, '$.path').";
                return Err(self.not_yet("JSON paths after `:` are", self.span()).cure(cure));
            } else {
                return Ok(expr);
            }
        }
    }

    fn primary(&mut self) -> Parse<Expr> {
        let span = self.span();
        match self.peek().clone() {
            TokenKind::Number(text) => {
                self.advance();
                Ok(Expr { kind: ExprKind::Literal(number(&text, span)?), span })
            }
            TokenKind::String(_) => {
                let text = self.string("a string")?;
                let span = span.to(self.previous_span());
                Ok(Expr { kind: ExprKind::Literal(Literal::String(text)), span })
            }
            TokenKind::Symbol("(") => self.parenthesised(),
            TokenKind::Symbol("*") => {
                self.advance();
                self.star(Vec::new(), span)
            }
            TokenKind::Symbol("?") => Err(self.not_yet("Query parameters are", span)),
            TokenKind::Symbol(":") => Err(self.not_yet("Query parameters are", span)),
            TokenKind::Word(word) => self.word(&word, span),
            TokenKind::Quoted(_) => self.name_or_call(),
            _ => Err(self.unexpected(&["an expression"])),
        }
    }

    fn parenthesised(&mut self) -> Parse<Expr> {
        let start = self.expect_symbol("(")?;
        if self.is_any_word(&["SELECT", "WITH"]) {
            return Err(self.not_yet("Subqueries as values are", start));
        }
        let mut inner = self.expr()?;
        if self.eat_symbol(",") {
            // `(a, b)` is a struct, as `struct(a, b)`.
            let mut args = vec![inner];
            args.extend(self.expr_list(")")?);
            let span = start.to(self.expect_symbol(")")?);
            let name = Ident { name: "struct".to_owned(), span: start };
            let kind = ExprKind::Function { name, args, distinct: false };
            return Ok(Expr { kind, span });
        }
        inner.span = start.to(self.expect_symbol(")")?);
        Ok(inner)
    }

    fn star(&mut self, qualifier: Vec<Ident>, span: Span) -> Parse<Expr> {
        let mut except = Vec::new();
        if self.is_word("EXCEPT") && self.is_symbol_at(1, "(") && !self.is_word_at(2, "SELECT") {
            self.advance();
            except = self.identifier_list()?;
        }
        let span = span.to(self.previous_span());
        Ok(Expr { kind: ExprKind::Star { qualifier, except }, span })
    }

    fn word(&mut self, word: &str, span: Span) -> Parse<Expr> {
        let upper = word.to_ascii_uppercase();
        let literal = |c: &mut Self, literal| {
            c.advance();
            Ok(Expr { kind: ExprKind::Literal(literal), span })
        };
        let next_is_string = matches!(self.peek_at(1), TokenKind::String(_));
        let next_is_call = self.is_symbol_at(1, "(");
        match upper.as_str() {
            "NULL" => literal(self, Literal::Null),
            "TRUE" => literal(self, Literal::Boolean(true)),
            "FALSE" => literal(self, Literal::Boolean(false)),
            "CASE" => self.case(),
            "CAST" | "TRY_CAST" if next_is_call => self.cast(upper == "TRY_CAST"),
            "DATE" | "TIMESTAMP" | "TIMESTAMP_NTZ" | "TIMESTAMP_LTZ" if next_is_string => {
                self.advance();
                let text = self.string("a literal")?;
                let kind = ExprKind::Literal(Literal::Typed(upper, text));
                Ok(Expr { kind, span: span.to(self.previous_span()) })
            }
            "X" if next_is_string => self.hex(span),
            "INTERVAL" if next_is_string || matches!(self.peek_at(1), TokenKind::Number(_)) => {
                self.interval(span)
            }
            "EXISTS" if next_is_call && self.is_word_at(2, "SELECT") => {
                Err(self.not_yet("EXISTS subqueries are", span))
            }
            "EXTRACT" if next_is_call => self.extract(span),
            "CURRENT_TIMESTAMP" | "CURRENT_DATE" if !next_is_call => {
                let name = self.identifier("a function")?;
                let kind = ExprKind::Function { name, args: Vec::new(), distinct: false };
                Ok(Expr { kind, span })
            }
            "TRIM" | "POSITION" | "OVERLAY" if next_is_call => self.special_call(&upper),
            _ if CLAUSE_WORDS.contains(&upper.as_str())
                && !COLUMN_WORDS.contains(&upper.as_str())
                && !next_is_call =>
            {
                Err(self.unexpected(&["an expression"]))
            }
            _ => self.name_or_call(),
        }
    }

    /// Calls with keywords among their arguments: only their plain form is offered.
    fn special_call(&mut self, upper: &str) -> Parse<Expr> {
        let call = self.name_or_call();
        call.map_err(|mut e| {
            e.cure = Some(format!("Call {} with a comma-separated list.", upper.to_lowercase()));
            e
        })
    }

    /// `EXTRACT(field FROM source)`, which Spark reads as `date_part('field', source)`.
    fn extract(&mut self, span: Span) -> Parse<Expr> {
        self.advance();
        self.expect_symbol("(")?;
        let field = self.identifier("a field")?;
        self.expect_word("FROM")?;
        let source = self.expr()?;
        let end = self.expect_symbol(")")?;
        let text = Expr { kind: ExprKind::Literal(Literal::String(field.name)), span: field.span };
        let name = Ident { name: "extract".to_owned(), span };
        let args = vec![text, source];
        let kind = ExprKind::Function { name, args, distinct: false };
        Ok(Expr { kind, span: span.to(end) })
    }

    fn hex(&mut self, span: Span) -> Parse<Expr> {
        self.advance();
        let text = self.string("hexadecimal digits")?;
        let span = span.to(self.previous_span());
        let padded = if text.len() % 2 == 1 { format!("0{text}") } else { text.clone() };
        let bytes = padded
            .as_bytes()
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).ok().and_then(|p| u8::from_str_radix(p, 16).ok()))
            .collect::<Option<Vec<u8>>>();
        match bytes {
            Some(bytes) => Ok(Expr { kind: ExprKind::Literal(Literal::Binary(bytes)), span }),
            None => Err(invalid_literal("X", &text, span)),
        }
    }

    fn interval(&mut self, span: Span) -> Parse<Expr> {
        self.advance();
        let mut text = String::new();
        if let TokenKind::String(_) = self.peek() {
            text = self.string("an interval")?;
        }
        while let TokenKind::Number(n) = self.peek().clone() {
            self.advance();
            let unit = self.identifier("a unit of time")?;
            text = format!("{text} {n} {}", unit.name);
        }
        const UNITS: &[&str] = &[
            "YEAR",
            "YEARS",
            "MONTH",
            "MONTHS",
            "WEEK",
            "WEEKS",
            "DAY",
            "DAYS",
            "HOUR",
            "HOURS",
            "MINUTE",
            "MINUTES",
            "SECOND",
            "SECONDS",
            "MILLISECOND",
            "MILLISECONDS",
            "MICROSECOND",
            "MICROSECONDS",
        ];
        if self.is_any_word(UNITS) {
            let unit = self.identifier("a unit of time")?;
            text = format!("{text} {}", unit.name);
        }
        let kind = ExprKind::Literal(Literal::Interval(text.trim().to_owned()));
        Ok(Expr { kind, span: span.to(self.previous_span()) })
    }

    fn case(&mut self) -> Parse<Expr> {
        let start = self.advance().span;
        let operand = if self.is_word("WHEN") { None } else { Some(Box::new(self.expr()?)) };
        let mut branches = Vec::new();
        while self.eat_word("WHEN") {
            let condition = self.expr()?;
            self.expect_word("THEN")?;
            branches.push((condition, self.expr()?));
        }
        if branches.is_empty() {
            return Err(self.unexpected(&["WHEN"]));
        }
        let otherwise = if self.eat_word("ELSE") { Some(Box::new(self.expr()?)) } else { None };
        let end = match self.is_word("END") {
            true => self.advance().span,
            false => return Err(self.unexpected(&["WHEN", "ELSE", "END"])),
        };
        Ok(Expr { kind: ExprKind::Case { operand, branches, otherwise }, span: start.to(end) })
    }

    fn cast(&mut self, tries: bool) -> Parse<Expr> {
        let start = self.advance().span;
        self.expect_symbol("(")?;
        let expr = Box::new(self.expr()?);
        self.expect_word("AS")?;
        let to = self.type_text()?;
        let end = self.expect_symbol(")")?;
        let mode = if tries { CastMode::Try } else { CastMode::Cast };
        Ok(Expr { kind: ExprKind::Cast { expr, to, mode }, span: start.to(end) })
    }

    fn name_or_call(&mut self) -> Parse<Expr> {
        let first = self.identifier("a name")?;
        if self.is_symbol("->") {
            return Err(self.not_yet("Lambda functions are", first.span));
        }
        if self.is_symbol("(") {
            return self.call(first);
        }
        let start = first.span;
        let (mut parts, mut count) = (vec![first], 0);
        while self.is_symbol(".") {
            self.one_more(&mut count)?;
            if self.is_symbol_at(1, "*") {
                self.advance();
                self.advance();
                let span = start.to(self.previous_span());
                return self.star(parts, span);
            }
            self.advance();
            parts.push(self.identifier("a field")?);
        }
        if self.is_symbol("(") {
            let end = parts.last().map_or(start, |p| p.span);
            return Err(self.not_yet("Functions with a schema name are", start.to(end)));
        }
        let span = start.to(self.previous_span());
        Ok(Expr { kind: ExprKind::Column(parts), span })
    }

    fn call(&mut self, name: Ident) -> Parse<Expr> {
        self.expect_symbol("(")?;
        let distinct = self.eat_word("DISTINCT");
        let args = self.expr_list(")")?;
        let end = self.expect_symbol(")")?;
        if self.is_word("FILTER") && self.is_symbol_at(1, "(") {
            return Err(self.not_yet("FILTER clauses of aggregates are", self.span()));
        }
        if self.is_word("OVER") {
            let span = name.span.to(self.span());
            return Err(Diagnostic::new(
                "NON_TIME_WINDOW_NOT_SUPPORTED_IN_STREAMING",
                "Window functions with OVER are not supported yet.",
                span,
            ));
        }
        let span = name.span.to(end);
        Ok(Expr { kind: ExprKind::Function { name, args, distinct }, span })
    }

    /// Expressions up to `close`, which stays; `x AS name` is allowed inside.
    pub(crate) fn expr_list(&mut self, close: &'static str) -> Parse<Vec<Expr>> {
        let mut out = Vec::new();
        if self.is_symbol(close) {
            return Ok(out);
        }
        loop {
            let mut expr = self.expr()?;
            if self.eat_word("AS") {
                let alias = self.identifier("a name")?;
                let span = expr.span.to(alias.span);
                expr = Expr { kind: ExprKind::Alias(Box::new(expr), alias), span };
            }
            out.push(expr);
            if !self.eat_symbol(",") {
                return if self.is_symbol(close) {
                    Ok(out)
                } else {
                    Err(self.unexpected(&[",", close]))
                };
            }
        }
    }
}

fn binary(op: BinaryOp, left: Expr, right: Expr) -> Expr {
    let span = left.span.to(right.span);
    Expr { kind: ExprKind::Binary(op, Box::new(left), Box::new(right)), span }
}
