//! What a query does, as text that the checkpoint keeps, and the difference between two of them.

use super::stream::StreamDefinition;
use datafusion::logical_expr::LogicalPlan;
use std::sync::Arc;

/// Version of the text's form; another version is never compared.
const HEADER: &str = "plan v1";

/// The fingerprint of an analysed plan.
pub(crate) fn of(plan: &LogicalPlan, streams: &[Arc<StreamDefinition>]) -> String {
    let mut out = format!("{HEADER}\n");
    for (index, stream) in streams.iter().enumerate() {
        out.push_str(&format!("source {index}: {} {}\n", stream.format, stream.identity));
        if let Some(request) = &stream.dead_letter {
            out.push_str(&format!("source {index} dead letters: {}\n", request.target));
            if !request.casts.is_empty() {
                let casts = request.casts.join(", ");
                out.push_str(&format!("source {index} dead letters of casts: {casts}\n"));
            }
        }
    }
    out.push_str(&plan.display_indent().to_string());
    out
}

/// The lines that differ between two fingerprints, `-` before the old ones and `+` before the new
/// ones; empty where they are the same.
pub fn fingerprint_diff(old: &str, new: &str) -> String {
    if old == new {
        return String::new();
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let mut out = String::new();
    for step in diff(&old, &new) {
        match step {
            Step::Gone(line) => out.push_str(&format!("- {line}\n")),
            Step::Added(line) => out.push_str(&format!("+ {line}\n")),
        }
    }
    out
}

enum Step<'a> {
    Gone(&'a str),
    Added(&'a str),
}

/// Lines outside a longest common subsequence. Fingerprints are tens of lines.
fn diff<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Step<'a>> {
    let width = new.len() + 1;
    let mut common = vec![0usize; (old.len() + 1) * width];
    let at = |common: &[usize], i: usize, j: usize| common.get(i * width + j).copied().unwrap_or(0);
    for (i, old_line) in old.iter().enumerate().rev() {
        for (j, new_line) in new.iter().enumerate().rev() {
            let value = if old_line == new_line {
                at(&common, i + 1, j + 1) + 1
            } else {
                at(&common, i + 1, j).max(at(&common, i, j + 1))
            };
            if let Some(slot) = common.get_mut(i * width + j) {
                *slot = value;
            }
        }
    }
    let (mut i, mut j, mut steps) = (0, 0, Vec::new());
    loop {
        match (old.get(i), new.get(j)) {
            (Some(a), Some(b)) if a == b => (i, j) = (i + 1, j + 1),
            (Some(a), Some(_)) if at(&common, i + 1, j) >= at(&common, i, j + 1) => {
                steps.push(Step::Gone(a));
                i += 1;
            }
            (_, Some(b)) => {
                steps.push(Step::Added(b));
                j += 1;
            }
            (Some(a), None) => {
                steps.push(Step::Gone(a));
                i += 1;
            }
            (None, None) => return steps,
        }
    }
}
