//! Writes a file anew with all its mutants in it, each chosen at run time.
//!
//! An expression becomes `(if mutant 7 { the mutant } else { the expression })`, a function begins
//! with `if mutant 7 { return the mutant; }`, a deleted arm gets a guard.

use crate::places::{Bytes, Places};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// A mutant, as `cargo mutants --list --json` says it.
#[derive(Debug, Clone, Deserialize)]
pub struct Mutant {
    /// Path from the root of the repository.
    pub file: String,
    /// Which sort of change.
    pub genre: String,
    /// What stands there instead.
    pub replacement: String,
    /// What is replaced.
    pub span: Span,
}

/// A range of a file.
#[derive(Debug, Clone, Deserialize)]
pub struct Span {
    /// Its first character.
    pub start: Position,
    /// The character after its last one.
    pub end: Position,
}

/// A place in a file.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

/// Where a mutant stands in the file that was written, so that a compiler's error finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Written {
    /// The file.
    pub file: String,
    /// The bytes of the mutant itself.
    pub mutant: Bytes,
    /// The bytes of what it may replace, original included.
    pub whole: Bytes,
}

/// Why a mutant is not in the file that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Absent {
    /// It would not compile: `let` beside `||`.
    Unviable,
    /// It is computed while compiling.
    Constant,
    /// Only a build with another feature has it.
    Feature,
    /// There is no form for it here.
    Unknown,
}

/// One file with its mutants in it.
#[derive(Debug, Default)]
pub struct Merged {
    /// The text.
    pub text: String,
    /// The mutants in it, by number.
    pub written: BTreeMap<usize, Written>,
    /// The others.
    pub absent: BTreeMap<usize, Absent>,
}

/// A change of the text that leaves the original reachable.
#[derive(Debug)]
enum Edit {
    /// Text at a place; `owner` is what the mutant replaces.
    Insert { text: String, number: usize, owner: Bytes },
    /// An expression, or one of these.
    Choice { alternatives: Vec<(usize, String)> },
}

/// The order of edits; at one place, insertions come first, and then what encloses the rest.
type Order = (usize, bool, Reverse<usize>, usize);

/// All edits of a file.
type Edits = BTreeMap<Order, Edit>;

/// Puts `mutants` (with their numbers), all of one file, into its `text`.
///
/// # Errors
/// If the text is not Rust.
pub fn merge(text: &str, mutants: &[(usize, &Mutant)]) -> syn::Result<Merged> {
    let places = Places::of(text)?;
    let lines = line_starts(text);
    let mut merged = Merged::default();
    let mut edits = Edits::new();
    for (number, mutant) in mutants {
        let start = byte(text, &lines, mutant.span.start);
        let end = byte(text, &lines, mutant.span.end);
        // A function may begin with a constant of its own: what counts is what encloses its body.
        let enclosed = if mutant.genre == "FnValue" { start.saturating_sub(1) } else { start };
        let edit = if places.is_featured(start) {
            Err(Absent::Feature)
        } else if places.is_constant(enclosed) {
            Err(Absent::Constant)
        } else {
            edit(text, &places, *number, mutant, start..end)
        };
        match edit {
            Ok((at, edit)) => add(&mut edits, at, edit),
            Err(why) => {
                merged.absent.insert(*number, why);
            }
        }
    }
    let file = mutants.first().map(|(_, mutant)| mutant.file.clone()).unwrap_or_default();
    let mut writer = Writer { text, file, edits: edits.into_iter().collect(), next: 0, merged };
    writer.write(0..text.len());
    Ok(writer.merged)
}

/// How a mutant is put into the text, and where.
fn edit(
    text: &str,
    places: &Places,
    number: usize,
    mutant: &Mutant,
    span: Bytes,
) -> Result<(Bytes, Edit), Absent> {
    let instead = |whole: &Bytes, new: String| {
        Ok((whole.clone(), Edit::Choice { alternatives: vec![(number, new)] }))
    };
    let insert =
        |at: usize, text: String| Ok((at..at, Edit::Insert { text, number, owner: span.clone() }));
    match mutant.genre.as_str() {
        "FnValue" => insert(
            span.start,
            format!("if {} {{ return {}; }}\n", asked(number), mutant.replacement),
        ),
        "BinaryOperator" => {
            let binary = places.binaries.get(&span.start).ok_or(Absent::Unknown)?;
            if binary.binds {
                return Err(Absent::Unviable);
            }
            let (left, right) = (&text[binary.left.clone()], &text[binary.right.clone()]);
            instead(&binary.whole, format!("{left} {} {right}", mutant.replacement))
        }
        "UnaryOperator" => {
            let (whole, operand) = places.unaries.get(&span.start).ok_or(Absent::Unknown)?;
            instead(whole, text[operand.clone()].to_owned())
        }
        "MatchArmGuard" => {
            let guard = places.guards.get(&span.start).ok_or(Absent::Unknown)?;
            match mutant.replacement.as_str() {
                new if !guard.binds => instead(&guard.whole, new.to_owned()),
                "false" => insert(guard.whole.start, format!("!{} && ", asked(number))),
                _ => Err(Absent::Unknown),
            }
        }
        "MatchArm" => {
            let arm = places.arms.get(&span.start).ok_or(Absent::Unknown)?;
            match &arm.guard {
                None => insert(arm.pattern_end, format!(" if !{}", asked(number))),
                Some(guard) if guard.binds => {
                    insert(guard.whole.start, format!("!{} && ", asked(number)))
                }
                Some(guard) => instead(&guard.whole, "false".to_owned()),
            }
        }
        "StructField" => {
            let place = places.fields.get(&span.start).ok_or(Absent::Unknown)?;
            let before = &text[place.whole.start..place.field.start];
            let after = &text[place.field.end..place.whole.end];
            instead(&place.whole, format!("{before}{after}"))
        }
        _ => Err(Absent::Unknown),
    }
}

/// The question whether a mutant was chosen; the function is written by `scripts/mutants.py`.
fn asked(number: usize) -> String {
    format!("crate::mutant_is({number})")
}

/// Alternatives of the same expression become one choice.
fn add(edits: &mut Edits, at: Bytes, edit: Edit) {
    match edit {
        Edit::Insert { .. } => {
            edits.insert((at.start, false, Reverse(at.end), edits.len()), edit);
        }
        Edit::Choice { alternatives: more } => {
            let none = Edit::Choice { alternatives: Vec::new() };
            let place = edits.entry((at.start, true, Reverse(at.end), 0)).or_insert(none);
            if let Edit::Choice { alternatives } = place {
                alternatives.extend(more);
            }
        }
    }
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

fn byte(text: &str, lines: &[usize], position: Position) -> usize {
    let start = lines[position.line - 1];
    let line = &text[start..];
    start + line.char_indices().nth(position.column - 1).map_or(line.len(), |(at, _)| at)
}

struct Writer<'a> {
    text: &'a str,
    file: String,
    edits: Vec<(Order, Edit)>,
    /// The first edit that is not written yet.
    next: usize,
    merged: Merged,
}

impl Writer<'_> {
    /// Writes a range of the original with the edits inside it.
    fn write(&mut self, range: Bytes) {
        let mut at = range.start;
        while self.next < self.edits.len() && self.edits[self.next].0.0 < range.end {
            let place = self.next;
            self.next += 1;
            let (start, _, Reverse(end), _) = self.edits[place].0;
            self.push(at..start);
            at = end;
            match &mut self.edits[place].1 {
                Edit::Insert { text, number, owner } => {
                    let (text, number, owner) = (std::mem::take(text), *number, owner.clone());
                    let from = self.merged.text.len();
                    self.merged.text.push_str(&text);
                    let mutant = from..self.merged.text.len();
                    // What it replaces follows, a little longer than it was.
                    let whole = from..mutant.end + owner.len();
                    self.found(number, mutant, whole);
                }
                Edit::Choice { alternatives } => {
                    let alternatives = std::mem::take(alternatives);
                    self.choice(start..end, alternatives);
                }
            }
        }
        self.push(at..range.end);
    }

    fn choice(&mut self, original: Bytes, alternatives: Vec<(usize, String)>) {
        let from = self.merged.text.len();
        self.merged.text.push('(');
        let mut found = Vec::new();
        for (number, new) in alternatives {
            let start = self.merged.text.len();
            self.merged.text.push_str(&format!("if {} {{ ({new}) }} else ", asked(number)));
            found.push((number, start..self.merged.text.len()));
        }
        self.merged.text.push_str("{ (");
        self.write(original);
        self.merged.text.push_str(") })");
        let whole = from..self.merged.text.len();
        for (number, mutant) in found {
            self.found(number, mutant, whole.clone());
        }
    }

    fn push(&mut self, range: Bytes) {
        self.merged.text.push_str(&self.text[range]);
    }

    fn found(&mut self, number: usize, mutant: Bytes, whole: Bytes) {
        let written = Written { file: self.file.clone(), mutant, whole };
        self.merged.written.insert(number, written);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mutant of the first `old` in `text`.
    fn mutant(text: &str, genre: &str, old: &str, new: &str) -> Mutant {
        let at = text.find(old).unwrap();
        let position = |at: usize| {
            let before = &text[..at];
            let line_start = before.rfind('\n').map_or(0, |found| found + 1);
            let column = before[line_start..].chars().count() + 1;
            Position { line: before.matches('\n').count() + 1, column }
        };
        Mutant {
            file: "a.rs".to_owned(),
            genre: genre.to_owned(),
            replacement: new.to_owned(),
            span: Span { start: position(at), end: position(at + old.len()) },
        }
    }

    fn merged(text: &str, mutants: &[(&str, &str, &str)]) -> Merged {
        let mutants: Vec<Mutant> =
            mutants.iter().map(|(genre, old, new)| mutant(text, genre, old, new)).collect();
        let numbered: Vec<_> = mutants.iter().enumerate().collect();
        merge(text, &numbered).unwrap()
    }

    #[test]
    fn nothing_is_changed_without_mutants() {
        let text = "fn f() -> bool { 1 < 2 }";
        assert_eq!(merged(text, &[]).text, text);
    }

    #[test]
    fn operators_inside_each_other_stay_reachable() {
        let text = "fn f(a: i8) -> bool { /* ä */ a + 1 == 2 && !g(a) }";
        let merged = merged(
            text,
            &[
                ("BinaryOperator", "&&", "||"),
                ("BinaryOperator", "==", "!="),
                ("BinaryOperator", "+", "-"),
                ("UnaryOperator", "!", ""),
            ],
        );
        let expected = "fn f(a: i8) -> bool { /* ä */ \
            (if crate::mutant_is(0) { (a + 1 == 2 || !g(a)) } else { (\
            (if crate::mutant_is(1) { (a + 1 != 2) } else { (\
            (if crate::mutant_is(2) { (a - 1) } else { (a + 1) }) == 2) }) && \
            (if crate::mutant_is(3) { (g(a)) } else { (!g(a)) })) }) }";
        assert_eq!(merged.text, expected);
        assert!(merged.text[merged.written[&3].mutant.clone()].contains("mutant_is(3)"));
    }

    #[test]
    fn a_function_returns_before_its_first_expression() {
        let text = "fn f(a: i8) -> bool { a == 1 }";
        let merged = merged(text, &[("BinaryOperator", "==", "!="), ("FnValue", "a == 1", "true")]);
        let expected = "fn f(a: i8) -> bool { if crate::mutant_is(1) { return true; }\n\
            (if crate::mutant_is(0) { (a != 1) } else { (a == 1) }) }";
        assert_eq!(merged.text, expected);
    }

    #[test]
    fn a_function_may_begin_with_a_constant() {
        let text = "fn f() -> i8 { const A: i8 = 1; A } const fn g() -> i8 { 2 }";
        let merged = merged(text, &[("FnValue", "const A: i8 = 1; A", "0"), ("FnValue", "2", "0")]);
        let expected = "fn f() -> i8 { if crate::mutant_is(0) { return 0; }\n\
            const A: i8 = 1; A } const fn g() -> i8 { 2 }";
        assert_eq!(merged.text, expected);
        assert_eq!(merged.absent[&1], Absent::Constant);
    }

    #[test]
    fn arms_and_guards_are_left_by_a_guard() {
        let text = "fn f(a: i8) { match a { 1 => g(), x if x < 2 => h(), _ => {} } }";
        let merged = merged(
            text,
            &[
                ("MatchArm", "1 => g(),", ""),
                ("MatchArmGuard", "x < 2", "true"),
                ("BinaryOperator", "<", "<="),
            ],
        );
        let expected = "fn f(a: i8) { match a { 1 if !crate::mutant_is(0) => g(), x if \
            (if crate::mutant_is(1) { (true) } else if crate::mutant_is(2) { (x <= 2) } \
            else { (x < 2) }) => h(), _ => {} } }";
        assert_eq!(merged.text, expected);
    }

    #[test]
    fn a_field_is_left_to_the_base() {
        let text = "fn f() -> A { A { b: 1, c, ..A::new() } }";
        let merged = merged(text, &[("StructField", "c,", "")]);
        let expected = "fn f() -> A { (if crate::mutant_is(0) { (A { b: 1,  ..A::new() }) } \
            else { (A { b: 1, c, ..A::new() }) }) }";
        assert_eq!(merged.text, expected);
    }

    #[test]
    fn what_cannot_be_chosen_at_run_time_is_named() {
        let text = "const A: i8 = 1 + 2; fn f() { if let Some(a) = g() && a { } } \
            #[cfg(feature = \"b\")] mod m { fn h() -> bool { true } }";
        let mutants = [
            ("BinaryOperator", "+", "-"),
            ("BinaryOperator", "&&", "||"),
            ("FnValue", "true", "false"),
        ];
        let merged = merged(text, &mutants);
        assert_eq!(merged.text, text);
        assert_eq!(merged.absent[&0], Absent::Constant);
        assert_eq!(merged.absent[&1], Absent::Unviable);
        assert_eq!(merged.absent[&2], Absent::Feature);
    }
}
