//! SQL: pipeline files, queries, expressions. Whatever is wrong has a place in the text.

use crate::input::Input;
use millstream_core::options::OptionMap;
use millstream_sql::{
    Diagnostic, Span, parse_expression, parse_query, parse_script, parse_select_item,
};
use std::fmt::Debug;

const LOOKS: u8 = 4;

/// One execution.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let kind = input.byte();
    let Some(text) = input.text() else { return };
    // Looking at every place of a tree takes longer than parsing it.
    let looks = kind & LOOKS != 0;
    match kind & 3 {
        0 => script(text, looks),
        1 => one(text, looks, parse_query(text)),
        2 => one(text, looks, parse_expression(text)),
        _ => one(text, looks, parse_select_item(text)),
    }
}

fn script(text: &str, looks: bool) {
    let overrides = OptionMap::from_iter([("given", "7")]);
    let script = parse_script(text, &overrides);
    assert!(script.statements.len() + script.mistakes.len() <= text.matches(';').count() + 1);
    script.mistakes.iter().for_each(|mistake| check_mistake(text, mistake));
    for statement in &script.statements {
        check_span(text, statement.span);
    }
    if looks {
        check_tree(text, &script.statements);
    }
}

fn one<T: Debug>(text: &str, looks: bool, outcome: Result<T, Diagnostic>) {
    match outcome {
        Ok(tree) if looks => check_tree(text, &tree),
        Ok(_) => {}
        Err(mistake) => check_mistake(text, &mistake),
    }
}

fn check_mistake(text: &str, mistake: &Diagnostic) {
    check_span(text, mistake.span);
    assert!(!mistake.code.is_empty() && !mistake.message.is_empty());
    let (line, column) = mistake.span.line_and_column(text).unwrap();
    assert!(mistake.render(text).starts_with(&format!("{line}:{column}: [{}]", mistake.code)));
}

fn check_span(text: &str, span: Span) {
    assert_ne!(span, Span::NONE, "everything parsed has a place");
    assert!(span.start <= span.end && span.end <= text.len(), "{span:?} of {}", text.len());
    let (line, column) = span.line_and_column(text).unwrap();
    assert!(line <= text.matches('\n').count() + 1 && column <= text.len() + 1);
}

/// Every place in a tree lies in the text; read off the tree's debug form, which has them all.
fn check_tree(text: &str, tree: &impl Debug) {
    const START: &str = "Span { start: ";
    let shown = format!("{tree:?}");
    for (at, _) in shown.match_indices(START) {
        let numbers = &shown[at + START.len()..];
        let Some((start, rest)) = numbers.split_once(", end: ") else { continue };
        let Some((end, _)) = rest.split_once(" }") else { continue };
        // Text inside a literal may look like a place, but not one of these numbers.
        let (Ok(start), Ok(end)) = (start.parse(), end.parse()) else { continue };
        let span = Span { start, end };
        if span != Span::NONE && !text.contains("Span") {
            check_span(text, span);
        }
    }
}
