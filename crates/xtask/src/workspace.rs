//! Where the workspace lies and which files belong to it.

use std::path::{Path, PathBuf};

/// The workspace's root directory.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// A file of the workspace, read whole.
#[derive(Debug, Clone)]
pub struct File {
    /// Path from the root, with forward slashes.
    pub path: String,
    /// Content.
    pub text: String,
}

/// Directories that hold no source of ours.
const SKIPPED: [&str; 5] = [".git", "target", ".venv", "node_modules", "book-out"];

/// All text files under `folder` whose names end in one of `endings`, sorted by path.
pub fn files(root: &Path, folder: &str, endings: &[&str]) -> Vec<File> {
    let mut found = Vec::new();
    walk(&root.join(folder), &mut |path| {
        let name = path.to_string_lossy();
        if !endings.iter().any(|e| name.ends_with(e)) {
            return;
        }
        if let Ok(text) = std::fs::read_to_string(path) {
            let relative = path.strip_prefix(root).unwrap_or(path);
            found.push(File { path: relative.to_string_lossy().replace('\\', "/"), text });
        }
    });
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The Rust sources of the product: `crates/*/src`, without files that hold only tests.
pub fn product_sources(root: &Path) -> Vec<File> {
    files(root, "crates", &[".rs"]).into_iter().filter(|f| is_product(&f.path)).collect()
}

fn is_product(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let dev_only = matches!(parts.get(1), Some(&"bench" | &"campaign" | &"testkit" | &"xtask"));
    let file = parts.last().copied().unwrap_or_default();
    let test_file = file == "tests.rs" || file.ends_with("_tests.rs");
    parts.get(2) == Some(&"src") && !dev_only && !parts.contains(&"tests") && !test_file
}

fn walk(folder: &Path, visit: &mut dyn FnMut(&Path)) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if !SKIPPED.contains(&name.to_string_lossy().as_ref()) {
                walk(&path, visit);
            }
        } else {
            visit(&path);
        }
    }
}
