//! Function calls: special forms first, then the registry of Spark-named functions.

use super::expr::is_null;
use super::{Analysis, Analyzer, Scope, Typed, literal, mismatch};
use millstream_sql::ast::{Expr, ExprKind, Ident, UnaryOp};
use millstream_sql::{Diagnostic, Span};

/// Functions that are casts: `int(x)`.
const CASTS: &[&str] = &[
    "boolean",
    "tinyint",
    "smallint",
    "int",
    "bigint",
    "float",
    "double",
    "string",
    "binary",
    "date",
    "timestamp",
    "decimal",
];

/// Handled here, not by the registry; listed for "did you mean".
const SPECIAL: &[&str] = &[
    "from_json",
    "to_json",
    "schema_of_json",
    "current_timestamp",
    "current_date",
    "now",
    "if",
    "struct",
    "named_struct",
    "array",
    "map",
    "isnull",
    "isnotnull",
    "like",
    "ilike",
    "rlike",
    "regexp",
    "regexp_like",
    "explode",
    "explode_outer",
    "posexplode",
    "posexplode_outer",
    "count",
    "sum",
    "avg",
    "min",
    "max",
];

impl Analyzer<'_> {
    /// `name(args)`
    pub(crate) fn call(
        &self,
        name: &Ident,
        args: &[Expr],
        distinct: bool,
        scope: Scope<'_>,
        span: Span,
    ) -> Analysis<Typed> {
        let lower = name.name.to_lowercase();
        if super::aggregate::is_aggregate(&lower) {
            let message = format!("The aggregate function `{lower}` cannot be used here.");
            return Err(Diagnostic::new("MISPLACED_AGGREGATE", message, span)
                .cure("Aggregates belong into a SELECT list or HAVING."));
        }
        if distinct {
            let message = format!("The function `{lower}` does not support DISTINCT.");
            return Err(Diagnostic::new("INVALID_SQL_SYNTAX", message, span));
        }
        if lower == "count" || args.iter().any(|a| matches!(a.kind, ExprKind::Star { .. })) {
            return self.call_over_star(&lower, args, scope, span);
        }
        self.reject_unsafe_in_streams(&lower, span)?;
        if lower == "from_json" {
            return self.json_decoder(args, scope, span);
        }
        let args: Analysis<Vec<Typed>> = args.iter().map(|a| self.expr(a, scope)).collect();
        self.call_resolved(&lower, name, args?, scope, span)
    }

    /// `struct(*)`: the star becomes the columns.
    fn call_over_star(
        &self,
        lower: &str,
        args: &[Expr],
        scope: Scope<'_>,
        span: Span,
    ) -> Analysis<Typed> {
        let mut all = Vec::new();
        for arg in args {
            match &arg.kind {
                ExprKind::Star { qualifier, except } => {
                    for (mut typed, name) in self.star(qualifier, except, scope, arg.span)? {
                        typed.name = Some(name);
                        all.push(typed);
                    }
                }
                _ => all.push(self.expr(arg, scope)?),
            }
        }
        self.call_resolved(lower, &Ident { name: lower.to_owned(), span }, all, scope, span)
    }

    fn reject_unsafe_in_streams(&self, lower: &str, span: Span) -> Analysis<()> {
        const UNSTABLE: &[&str] =
            &["rand", "randn", "random", "uuid", "shuffle", "randstr", "uniform"];
        const UNSUPPORTED: &[&str] =
            &["monotonically_increasing_id", "spark_partition_id", "input_file_name"];
        if UNSTABLE.contains(&lower) {
            let message = format!(
                "`{lower}` gives another answer each time a batch is executed, so a batch that is \
                 repeated after a crash would differ; it is not supported yet."
            );
            return Err(Diagnostic::new("NON_DETERMINISTIC_FUNCTION", message, span)
                .cure("Use a hash of the record's topic, partition and offset instead."));
        }
        if UNSUPPORTED.contains(&lower) {
            let message = format!("`{lower}` is not supported yet.");
            return Err(Diagnostic::new("UNSUPPORTED_FUNCTION", message, span));
        }
        Ok(())
    }

    fn call_resolved(
        &self,
        lower: &str,
        name: &Ident,
        args: Vec<Typed>,
        scope: Scope<'_>,
        span: Span,
    ) -> Analysis<Typed> {
        if CASTS.contains(&lower) {
            let [operand] = exactly(args, lower, span)?;
            let column = operand.name.clone();
            let expr = self.functions.call(lower, vec![operand.expr], scope.schema);
            let target = lower.to_uppercase();
            let text = format!("CAST({} AS {target})", operand.text);
            return Ok(Typed::new(expr, text, scope, span)?.named(column));
        }
        match lower {
            "unix_timestamp" if args.is_empty() => {
                let now = self.functions.call("current_timestamp", Vec::new(), scope.schema);
                let now = now.map_err(|e| super::refused(e, span))?;
                let expr = self.functions.call("unix_timestamp", vec![now], scope.schema);
                let text = "unix_timestamp(current_timestamp(), yyyy-MM-dd HH:mm:ss)";
                Typed::new(expr, text, scope, span)
            }
            "struct" => self.struct_call(args, scope, span),
            "isnull" | "isnotnull" => {
                let [operand] = exactly(args, lower, span)?;
                is_null(operand, lower == "isnotnull", scope, span)
            }
            "not" => {
                let [operand] = exactly(args, lower, span)?;
                self.unary(UnaryOp::Not, operand, scope, span)
            }
            "explode" | "explode_outer" | "posexplode" | "posexplode_outer" | "inline" => {
                let message =
                    format!("The generator `{lower}` is not supported inside an expression.");
                Err(Diagnostic::new("UNSUPPORTED_GENERATOR", message, span)
                    .cure("Let it stand alone in the SELECT list."))
            }
            _ => self.registered(lower, name, args, scope, span),
        }
    }

    fn registered(
        &self,
        lower: &str,
        name: &Ident,
        args: Vec<Typed>,
        scope: Scope<'_>,
        span: Span,
    ) -> Analysis<Typed> {
        if !self.functions.knows(lower) {
            let message = format!("Cannot resolve routine `{}` on search path.", name.name);
            let udfs = self.functions.scalar_udfs();
            let known = udfs.iter().flat_map(|u| {
                std::iter::once(u.name()).chain(u.aliases().iter().map(String::as_str))
            });
            return Err(Diagnostic::new("UNRESOLVED_ROUTINE", message, name.span)
                .suggest(&name.name, known.chain(SPECIAL.iter().copied())));
        }
        let text = call_text(lower, &args);
        let args = args.into_iter().map(|a| a.expr).collect();
        Typed::new(self.functions.call(lower, args, scope.schema), text, scope, span)
    }
}

/// Exactly `N` arguments, or Spark's refusal.
pub(crate) fn exactly<const N: usize>(
    args: Vec<Typed>,
    name: &str,
    span: Span,
) -> Analysis<[Typed; N]> {
    args.try_into().map_err(|args: Vec<Typed>| wrong_number(name, &N.to_string(), args.len(), span))
}

pub(crate) fn wrong_number(name: &str, expected: &str, actual: usize, span: Span) -> Diagnostic {
    let message =
        format!("The `{name}` requires {expected} parameters but the actual number is {actual}.");
    Diagnostic::new("WRONG_NUM_ARGS", message, span)
}

/// A call as Spark prints it: lower case, defaults that Spark adds included.
fn call_text(lower: &str, args: &[Typed]) -> String {
    const DEFAULTS: &[(&str, usize, &str)] = &[
        ("round", 1, "0"),
        ("bround", 1, "0"),
        ("split", 2, "-1"),
        ("regexp_replace", 3, "1"),
        ("regexp_extract", 2, "1"),
        ("regexp_extract_all", 2, "1"),
        ("lpad", 2, " "),
        ("rpad", 2, " "),
    ];
    // Spark's classes for these print the SQL name in capitals.
    const CAPITALS: &[&str] = &[
        "power", "ceil", "floor", "sqrt", "exp", "log10", "log2", "log1p", "expm1", "cbrt", "sin",
        "cos", "tan", "cot", "asin", "acos", "atan", "sinh", "cosh", "tanh", "degrees", "radians",
        "signum", "atan2", "hypot", "rint",
    ];
    let mut parts: Vec<&str> = args.iter().map(|a| a.text.as_str()).collect();
    let default = DEFAULTS.iter().find(|(n, given, _)| *n == lower && *given == args.len());
    parts.extend(default.map(|(_, _, default)| *default));
    let parts = parts.join(", ");
    match lower {
        "if" | "iff" => format!("(IF({parts}))"),
        "ceiling" => format!("CEIL({parts})"),
        _ if CAPITALS.contains(&lower) => format!("{}({parts})", lower.to_uppercase()),
        _ => format!("{lower}({parts})"),
    }
}

/// The literal text of an argument, which has to be one.
pub(crate) fn literal_text<'t>(typed: &'t Typed, what: &str) -> Analysis<&'t str> {
    literal::as_string(&typed.expr).ok_or_else(|| {
        let why = format!("{what} needs to be a literal string, got {}", typed.type_name());
        mismatch(&typed.text, why, typed.span)
    })
}
