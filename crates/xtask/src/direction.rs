//! Which crate may depend on which: the walls of ARCHITECTURE.md, read from `cargo metadata`.

use std::path::Path;
use std::process::Command;

/// Product crates and what they may depend on. Dev-dependencies are free.
pub const ALLOWED: &[(&str, &[&str])] = &[
    ("millstream-core", &[]),
    ("millstream-store", &["millstream-core"]),
    ("millstream-types", &["millstream-core"]),
    ("millstream-wire", &["millstream-core"]),
    ("millstream-broker", &["millstream-core", "millstream-wire", "millstream-store"]),
    ("millstream-kafka", &["millstream-core", "millstream-wire"]),
    ("millstream-delta", &["millstream-core", "millstream-store", "millstream-types"]),
    ("millstream-json", &["millstream-core", "millstream-types"]),
    ("millstream-functions", &["millstream-core", "millstream-types", "millstream-json"]),
    ("millstream-sql", &["millstream-core", "millstream-types"]),
    (
        "millstream",
        &[
            "millstream-core",
            "millstream-types",
            "millstream-store",
            "millstream-kafka",
            "millstream-delta",
            "millstream-json",
            "millstream-functions",
            "millstream-sql",
        ],
    ),
    (
        "millstream-cli",
        &[
            "millstream",
            "millstream-broker",
            "millstream-core",
            "millstream-delta",
            "millstream-kafka",
            "millstream-sql",
            "millstream-store",
            "millstream-types",
            "millstream-wire",
        ],
    ),
];

/// Crates for development; no product crate may depend on them.
pub const DEV_ONLY: &[&str] =
    &["millstream-bench", "millstream-campaign", "millstream-testkit", "xtask"];

/// Outside crates that only some of ours may know, and which.
pub const KEPT_OUT: &[(&str, &[&str])] = &[
    ("datafusion", &["millstream", "millstream-functions", "millstream-sql", "millstream-cli"]),
    (
        "arrow",
        &[
            "millstream",
            "millstream-types",
            "millstream-json",
            "millstream-kafka",
            "millstream-delta",
            "millstream-functions",
            "millstream-cli",
        ],
    ),
    ("kafka-protocol", &["millstream-kafka", "millstream-broker", "millstream-cli"]),
    ("clap", &["millstream-cli"]),
];

/// A dependency, as `cargo metadata` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// The crate that depends.
    pub from: String,
    /// What it depends on.
    pub to: String,
}

/// The normal and build dependencies of the workspace's crates.
///
/// # Errors
/// A sentence where `cargo metadata` cannot be run or read.
pub fn dependencies(root: &Path) -> Result<Vec<Dependency>, String> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked", "--offline"])
        .current_dir(root)
        .output()
        .map_err(|e| format!("cargo metadata: {e}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())?;
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            if dependency["kind"].as_str() == Some("dev") {
                continue;
            }
            let name = |v: &serde_json::Value| v["name"].as_str().unwrap_or_default().to_owned();
            found.push(Dependency { from: name(package), to: name(dependency) });
        }
    }
    Ok(found)
}

/// The dependencies that break a wall, one sentence each.
pub fn violations(dependencies: &[Dependency]) -> Vec<String> {
    dependencies.iter().filter_map(violation).collect()
}

fn violation(dependency: &Dependency) -> Option<String> {
    let Dependency { from, to } = dependency;
    if DEV_ONLY.contains(&from.as_str()) {
        return None;
    }
    if let Some((_, knowing)) = KEPT_OUT.iter().find(|(name, _)| name == to)
        && !knowing.contains(&from.as_str())
    {
        return Some(format!("{from} must not know {to}"));
    }
    let ours = to.starts_with("millstream") || to == "xtask";
    let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| name == from) else {
        return Some(format!("{from} is missing in the table of allowed dependencies"));
    };
    (ours && !allowed.contains(&to.as_str())).then(|| format!("{from} must not depend on {to}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: &str, to: &str) -> bool {
        violations(&[Dependency { from: from.into(), to: to.into() }]).is_empty()
    }

    #[test]
    fn walls_hold_in_both_directions() {
        assert!(check("millstream", "millstream-kafka"));
        assert!(!check("millstream-kafka", "millstream"));
        assert!(!check("millstream-kafka", "datafusion"));
        assert!(!check("millstream-core", "arrow"));
        assert!(!check("millstream", "millstream-testkit"));
        assert!(!check("millstream-new", "serde"), "a new crate must be placed");
    }
}
