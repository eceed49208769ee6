//! `cargo run -p xtask -- generate` writes the generated documents; `-- check` names those that
//! are out of step with the code.

use std::process::ExitCode;
use xtask::{documents, workspace};

fn main() -> ExitCode {
    let command = std::env::args().nth(1).unwrap_or_default();
    let outcome = match command.as_str() {
        "generate" => documents::write_all(&workspace::root()),
        "check" => documents::check_all(&workspace::root()),
        _ => Err("usage: cargo run -p xtask -- generate|check".to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
