//! Reading a pipeline file, for all commands that take one.

use crate::args::PipelineArgs;
use millstream::Session;
use millstream::batch::LakeCatalog;
use millstream::pipeline::{Pipeline, check_places};
use millstream_core::options::OptionMap;
use millstream_core::trigger::Trigger;
use millstream_core::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A pipeline without mistakes, and where it lies.
pub struct Loaded {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// Directory of tables and checkpoints, absolute.
    pub storage: PathBuf,
}

/// Reads the file; mistakes and warnings go to stderr, each with its place.
///
/// # Errors
/// `FILE_UNREADABLE`; `PIPELINE_INVALID` where there are mistakes.
pub fn load(args: &PipelineArgs) -> Result<Loaded> {
    let text = read(&args.file)?;
    let storage = storage(&args.storage)?;
    let session = session(&storage)?;
    let pipeline = Pipeline::load(&session, &text, &overrides(&args.set));
    let file = args.file.display();
    for warning in &pipeline.warnings {
        eprintln!("{file}:{warning} (warning)");
    }
    for name in unused(&text, &args.set) {
        eprintln!("{file}: `--set {name}` changes nothing: the file does not use it (warning)");
    }
    if pipeline.mistakes.is_empty() {
        check_places(&pipeline.flows, &storage)?;
        return Ok(Loaded { pipeline, storage });
    }
    for mistake in &pipeline.mistakes {
        eprintln!("{file}:{mistake}");
    }
    let count = pipeline.mistakes.len();
    let what = if count == 1 { "a mistake".to_owned() } else { format!("{count} mistakes") };
    Err(Error::invalid("PIPELINE_INVALID", format!("`{file}` has {what}; see above.")))
}

/// A session over the tables of `storage`.
///
/// # Errors
/// Where a default of the session cannot be set.
pub fn session(storage: &Path) -> Result<Session> {
    Session::builder().catalog(Arc::new(LakeCatalog::new(storage))).build()
}

/// The values of `--set`.
pub fn overrides(set: &[(String, String)]) -> OptionMap {
    set.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// Variables of `--set` that the file does not use. Settings have a period in their names, and are
/// known or not without the file.
fn unused<'a>(text: &str, set: &'a [(String, String)]) -> Vec<&'a str> {
    let values = set.iter().map(|(_, value)| value.as_str());
    let places = [text].into_iter().chain(values).collect::<Vec<_>>().join("\n").to_lowercase();
    let is_used = |name: &str| {
        let name = name.to_lowercase();
        name.contains('.') || places.contains(&format!("${{{name}"))
    };
    set.iter().map(|(name, _)| name.as_str()).filter(|name| !is_used(name)).collect()
}

/// The trigger of `--trigger`. A number without a unit would be milliseconds, as in Spark, which
/// hardly anybody means on a command line.
///
/// # Errors
/// `INTERVAL_INVALID`, `TRIGGER_WITHOUT_UNIT`.
pub fn trigger(text: Option<&str>) -> Result<Trigger> {
    let Some(text) = text else { return Ok(Trigger::default()) };
    if text.trim().parse::<u64>().is_ok_and(|number| number > 0) {
        return Err(Error::invalid("TRIGGER_WITHOUT_UNIT", format!("`{text}` has no unit."))
            .cure("Write an interval with its unit, such as `10 seconds` or `500 ms`."));
    }
    Trigger::parse(text)
}

/// The text of a file.
///
/// # Errors
/// `FILE_UNREADABLE`.
pub fn read(file: &Path) -> Result<String> {
    let text = std::fs::read_to_string(file).map_err(|e| {
        let not_text = e.kind() == std::io::ErrorKind::InvalidData;
        let error =
            Error::invalid("FILE_UNREADABLE", format!("`{}` cannot be read.", file.display()))
                .caused_by(e);
        if not_text { error.cure("Save it as UTF-8 text.") } else { error }
    })?;
    // Editors on Windows put a byte order mark first.
    Ok(text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned))
}

/// The directory that `--storage` means: a path or a `file:` URL, from the root.
///
/// # Errors
/// `DELTA_UNSUPPORTED_LOCATION` for other URLs.
pub fn storage(path: &Path) -> Result<PathBuf> {
    let path = match path.to_str() {
        Some(text) => millstream_delta::table_path(text)?,
        None => path.to_path_buf(),
    };
    absolute(&path)
}

/// `path` from the root, so that it means the same for the whole life of the process.
///
/// # Errors
/// `FILE_UNREADABLE` where there is no current directory.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|e| {
        Error::invalid("FILE_UNREADABLE", format!("`{}` cannot be resolved.", path.display()))
            .caused_by(e)
    })
}
