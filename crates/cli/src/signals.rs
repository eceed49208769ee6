//! SIGINT and SIGTERM: the first asks for an orderly stop, the second ends the process at once.
//! Ending at once is safe, because every moment of a batch is one at which a crash is safe.

use millstream_core::{Error, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit status after a second signal, as shells report an interrupt.
pub const EXIT_INTERRUPTED: i32 = 130;

/// Starts listening; the token is cancelled by the first signal.
///
/// # Errors
/// `SIGNALS_UNAVAILABLE` where the system refuses to deliver signals.
pub fn listen() -> Result<CancellationToken> {
    let mut interrupt = handler(SignalKind::interrupt())?;
    let mut terminate = handler(SignalKind::terminate())?;
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        wait(&mut interrupt, &mut terminate).await;
        tracing::info!("stopping after the batch in flight; a second signal stops at once");
        stop.cancel();
        wait(&mut interrupt, &mut terminate).await;
        tracing::warn!("stopped at once; the next run finishes the batch in flight");
        std::process::exit(EXIT_INTERRUPTED);
    });
    Ok(token)
}

async fn wait(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => (),
        _ = terminate.recv() => (),
    }
}

fn handler(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(|e| {
        Error::unavailable("SIGNALS_UNAVAILABLE", "Signals cannot be received.").caused_by(e)
    })
}
