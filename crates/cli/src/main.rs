//! The `millstream` binary: arguments, signals, logs and exit statuses around the engine.
//!
//! Logs and errors go to stderr, answers to stdout. The exit status says what kind of error ended
//! the command ([`millstream_core::ErrorKind::exit_status`]).
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod args;
mod commands;
mod demo;
mod environment;
mod logging;
mod progress;
mod signals;

use args::{Cli, Command};
use clap::Parser;
use millstream_core::{Error, Result};
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;

/// Exit status of a command that a signal ended, as shells report it.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match start(&cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.kind().exit_status())
        }
    }
}

fn start(cli: &Cli) -> Result<ExitCode> {
    logging::install(&cli.log)?;
    environment::arm_fault()?;
    #[cfg(feature = "planted-mistakes")]
    environment::plant_mistake()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::internal("The runtime could not be started.").caused_by(e))?;
    let code = runtime.block_on(run(cli));
    // Tasks that still wait for a broker must not hold the process back.
    runtime.shutdown_background();
    code
}

async fn run(cli: &Cli) -> Result<ExitCode> {
    let stop = match &cli.command {
        // It runs no batch that would have to be finished: a signal ends it as it ends any program.
        Command::Check(_) => CancellationToken::new(),
        _ => signals::listen()?,
    };
    match &cli.command {
        Command::Run(args) => commands::run::run(args, stop).await,
        Command::Check(args) => commands::check::run(args),
        Command::Sql(args) => unless_stopped(stop, commands::sql::run(args)).await,
        Command::Verify(args) => unless_stopped(stop, commands::verify::run(args)).await,
        Command::Checkpoint { command } => commands::checkpoint::run(command).await,
        Command::Demo(args) => demo::run(args, stop).await,
        Command::Broker(args) => commands::broker::run(args, stop).await,
    }
}

/// Commands that only read end with the first signal.
async fn unless_stopped(
    stop: CancellationToken,
    command: impl Future<Output = Result<ExitCode>>,
) -> Result<ExitCode> {
    tokio::select! {
        outcome = command => outcome,
        () = stop.cancelled() => Ok(ExitCode::from(INTERRUPTED)),
    }
}
