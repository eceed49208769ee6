//! The one place that reads environment variables.

use millstream_core::fault::{self, Action, Fault};
use millstream_core::{Error, Result};

/// Variable that arms a fault point, for tests of recovery.
pub const FAULT: &str = "MILLSTREAM_FAULT";

/// Arms the fault point that the environment names, if any.
///
/// # Errors
/// `FAULT_INVALID` where the value is no fault point.
#[allow(clippy::disallowed_methods, reason = "the binary is where the environment is read")]
pub fn arm_fault() -> Result<()> {
    let Some(text) = std::env::var_os(FAULT) else { return Ok(()) };
    let text = text.to_string_lossy();
    let Some(armed) = Fault::parse(&text) else {
        return Err(Error::invalid("FAULT_INVALID", format!("{FAULT}={text} is no fault point."))
            .cure("Write STEP:before|inside|after[:BATCH][:hold], for example P11:before:3."));
    };
    tracing::warn!(point = %text, "a fault point is armed: this process will end or wait there");
    fault::arm(armed, happen);
    Ok(())
}

/// Plants the mistake that the environment of a test build names, if any.
///
/// # Errors
/// `MISTAKE_INVALID` where there is no such mistake.
#[cfg(feature = "planted-mistakes")]
#[allow(clippy::disallowed_methods, reason = "the binary is where the environment is read")]
pub fn plant_mistake() -> Result<()> {
    use millstream_core::planted::{Mistake, plant};
    let Some(name) = std::env::var_os("MILLSTREAM_MISTAKE") else { return Ok(()) };
    let found = Mistake::ALL.iter().find(|(known, _)| name == *known);
    let Some((name, mistake)) = found else {
        return Err(Error::invalid(
            "MISTAKE_INVALID",
            format!("{} is no mistake.", name.display()),
        ));
    };
    eprintln!("this test build makes a mistake on purpose: {name}");
    plant(*mistake);
    Ok(())
}

/// Says on stderr that the armed point is reached; then ends the process, or waits for a line on
/// stdin before it goes on.
fn happen(fault: &Fault) {
    eprintln!("fault point {fault} reached");
    match fault.action {
        Action::Abort => std::process::abort(),
        Action::Hold => {
            let _ = std::io::stdin().read_line(&mut String::new());
        }
    }
}
