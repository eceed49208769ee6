//! What must hold after any damage: the undamaged result, or a refusal by name that lost nothing.

use super::stage::{CHECKPOINT, File, Stage, remove, tree};
use crate::Ended;
use crate::lake::names;
use millstream_core::log::{Identity, Record as _};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Names under which an error may speak of what is damaged.
pub(super) type Names = Vec<String>;

/// How far a cell is followed after a refusal that the doctor does not cure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// The refusal left everything as it was, which the other cells show to be enough.
    Unchanged,
    /// The doctor is called as well.
    Doctor,
    /// The file is put back, and the stream goes on.
    PutBack,
}

/// Where a difference of the rows is no broken promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Excuse {
    /// Nowhere.
    None,
    /// A table lost what only `verify`, or a reader, can see.
    OfTables,
    /// A digit of Spark's that nothing repeats.
    NothingRepeats,
}

/// Runs the stream on a damaged stage; the class of what happened, or what was broken.
///
/// # Errors
/// The broken promise.
pub(super) fn judge(
    stage: &Stage<'_>,
    file: Option<&File>,
    names: &Names,
    after: After,
    excuse: Excuse,
) -> Result<String, String> {
    let before = tree(&stage.lake.storage());
    let ended = stage.lake.run(None);
    if ended.is_success() {
        return match excuse {
            Excuse::None => succeeded(stage, "the undamaged result"),
            Excuse::OfTables => table_damage_is_not_silent(stage),
            Excuse::NothingRepeats => Ok(nothing_repeats(stage).to_owned()),
        };
    }
    let code = refusal(&ended, names)?;
    unchanged(&before, &tree(&stage.lake.storage()))?;
    if after == After::Unchanged {
        return Ok(format!("{code}, and nothing is changed"));
    }
    let examined = examine(stage);
    let is_of_tables = excuse == Excuse::OfTables;
    if is_of_tables && !examined.is_sound && !examined.codes.contains(&code) {
        return Ok(format!("{code}, and nothing is changed; the doctor names something else"));
    }
    // Whether a table suits the plan is not for the doctor to say, who does not know the plan; and
    // what a commit meets in the table is not to be seen before it.
    if is_of_tables && ["DELTA_SCHEMA_MISMATCH", "DELTA_METADATA_CHANGED"].contains(&&*code) {
        return Ok(format!("{code}, and nothing is changed"));
    }
    // Nothing repeats what another engine planned but the brokers, whom the doctor does not ask.
    if code.starts_with("KAFKA_") && file.is_some_and(|file| file.role.starts_with("offsets/")) {
        return Ok(format!("{code}, and nothing is changed"));
    }
    if !examined.codes.contains(&code) {
        return Err(format!("run: {}; doctor: {}", ended.words(), examined.text));
    }
    if examined.is_sound {
        let again = stage.lake.run(None);
        if !again.is_success() {
            return Err(format!("{}; after its cure: {}", examined.text, again.words()));
        }
        let class = format!("{code}, cured by the doctor");
        return succeeded(stage, &class).map_err(|e| format!("{}: {e}", examined.text));
    }
    let class = format!("{code}, and nothing is changed; the doctor says the same");
    if let Some(file) = file
        && (after == After::PutBack || examined.has_repaired)
    {
        stage.put_back(file);
        let again = stage.lake.run(None);
        if !again.is_success() {
            return Err(format!("{}; put back: {}", examined.text, again.words()));
        }
        return succeeded(stage, &format!("{code}, goes on with the file put back"));
    }
    Ok(class)
}

/// The run does not read what batches before wrote. Where that is damaged, `verify` names it.
fn table_damage_is_not_silent(stage: &Stage<'_>) -> Result<String, String> {
    // The reader takes a pointer to a checkpoint that is not there for the end of the world; for
    // the format it is a hint.
    for table in stage.lake.tables() {
        remove(&table.join("_delta_log/_last_checkpoint"));
    }
    let Err(what) = stage.lake.audit_rows() else {
        return Ok("the undamaged result".to_owned());
    };
    if stage.lake.verify().is_err() {
        return Ok("the run goes on, `verify` names what the table lost".to_owned());
    }
    Err(format!("SILENT, verify is content: {what}"))
}

/// The known limit: Spark's `offsets/N` has no checksum, and nothing of ours knows this batch.
fn nothing_repeats(stage: &Stage<'_>) -> &'static str {
    match (stage.lake.audit_rows(), stage.lake.verify()) {
        (Ok(()), _) => "the undamaged result",
        (Err(_), Err(_)) => "a changed digit that nothing repeats: other rows, `verify` names it",
        (Err(_), Ok(())) => "a changed digit that nothing repeats: other rows, nobody can tell",
    }
}

/// Rows after a run that ended well.
fn succeeded(stage: &Stage<'_>, class: &str) -> Result<String, String> {
    match stage.lake.audit_rows() {
        Ok(()) => Ok(class.to_owned()),
        Err(what) => match stage.lake.verify() {
            Ok(()) => Err(format!("SILENT, verify is content: {what}")),
            Err(verify) => Err(format!("SILENT, verify says {}: {what}", first_words(&verify))),
        },
    }
}

fn first_words(text: &str) -> String {
    let lines = text.lines().filter(|line| line.contains("violation") || line.contains("error"));
    lines.take(3).collect::<Vec<_>>().join(" / ")
}

/// The code of a refusal that is what a refusal must be.
fn refusal(ended: &Ended, names: &Names) -> Result<String, String> {
    let text = &ended.stderr;
    if ended.status.is_none() {
        return Err(format!("it hangs: {}", ended.words()));
    }
    let code = ended.code().filter(|_| !ended.was_killed() && !text.contains("panicked"));
    let Some(code) = code.filter(|code| code != "INTERNAL" && !code.ends_with("_INTERNAL")) else {
        return Err(format!("it ends without an error of its own: {}", ended.words()));
    };
    // A cause may have several lines; the cure is at the end of the last.
    let line = text.rfind("error: [").and_then(|at| text.get(at..)).unwrap_or_default();
    if !names.iter().any(|name| line.contains(name.as_str())) {
        return Err(format!("the error names none of {names:?}: {line}"));
    }
    const CURES: [&str; 12] = [
        "Run ",
        "Restore ",
        "Use ",
        "Give ",
        "Choose ",
        "Undo ",
        "Check ",
        "Start ",
        "Either ",
        "In one ",
        "restore ",
        "set the option",
    ];
    if !CURES.iter().any(|cure| line.contains(cure)) {
        return Err(format!("the error has no cure: {line}"));
    }
    Ok(code)
}

/// A refused run leaves its claim behind, and nothing else.
fn unchanged(
    before: &BTreeMap<PathBuf, Vec<u8>>,
    after: &BTreeMap<PathBuf, Vec<u8>>,
) -> Result<(), String> {
    let ours = Path::new(CHECKPOINT).join("millstream");
    let is_claim = |path: &Path| path.starts_with(ours.join("lease")) || path == ours.join("lock");
    let is_sweepings = |path: &Path| path.extension().is_some_and(|e| e == "tmp");
    let all = before.keys().chain(after.keys());
    let changed = all
        .filter(|path| !is_claim(path) && !is_sweepings(path))
        .find(|path| before.get(*path) != after.get(*path));
    match changed {
        None => Ok(()),
        // What was added since (a table's id) may be remembered before the refusal.
        Some(path) if path.to_string_lossy().contains("identity") && !before.contains_key(path) => {
            Ok(())
        }
        Some(path) => Err(format!("a refused run changed `{}`", path.display())),
    }
}

/// Whether the newest identity may be read.
fn knows_its_tables(checkpoint: &Path) -> bool {
    let ours = checkpoint.join("millstream");
    let newest = names(&ours).into_iter().filter(|name| name.starts_with("identity")).max();
    let bytes = newest.and_then(|name| std::fs::read(ours.join(name)).ok());
    bytes.is_some_and(|bytes| Identity::decode(&bytes).is_ok())
}

/// What the doctor said and did.
struct Examined {
    is_sound: bool,
    has_repaired: bool,
    codes: Vec<String>,
    text: String,
}

fn examine(stage: &Stage<'_>) -> Examined {
    let checkpoint = stage.lake.checkpoint();
    let mut arguments = vec!["doctor".as_ref(), "--apply".as_ref(), checkpoint.as_os_str()];
    let tables = stage.lake.tables();
    // Without an identity the doctor has to be told of dead letters with a name of their own.
    if !knows_its_tables(&checkpoint) {
        let existing = tables.iter().filter(|table| table.join("_delta_log").is_dir());
        arguments.extend(existing.flat_map(|table| ["--table".as_ref(), table.as_os_str()]));
    }
    let output = stage.lake.checkpoint_command(&arguments);
    let said = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&said).into_owned();
    let code = |line: &str| {
        let found = line.strip_prefix("finding     ").or_else(|| line.strip_prefix("error: ["))?;
        found.split([':', ']']).next().map(str::to_owned)
    };
    Examined {
        is_sound: output.status.success(),
        has_repaired: text.contains("\ndone  "),
        codes: text.lines().filter_map(code).collect(),
        text,
    }
}
