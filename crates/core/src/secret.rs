//! Values that must never be printed or stored.

use std::fmt;

/// A secret: no `Debug`, `Display` or `Serialize` shows it; only [`Secret::expose`] does.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `value`.
    pub fn new(value: impl Into<String>) -> Self {
        Secret(value.into())
    }

    /// The value itself, to be handed to the service that asks for it and to nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("*********(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_exposed_and_never_printed() {
        let secret = Secret::new("hidden");
        assert_eq!(secret.expose(), "hidden");
        assert_eq!(format!("{secret:?}"), "*********(redacted)");
    }
}
