//! Stamps: what was built from which sources, so that a second start does not build again.
//!
//! By content, not by time: a fresh checkout, a branch switched back, a copied folder all count as
//! what they hold.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Folders that hold results or caches, never sources.
const SKIPPED: [&str; 11] = [
    "node_modules",
    "dist",
    "lib",
    "target",
    "bin",
    "__pycache__",
    ".pytest_cache",
    ".ruff_cache",
    "test-results",
    "playwright-report",
    "coverage",
];

/// Names one result and the state of what it is made from.
pub(crate) struct Stamp {
    file: PathBuf,
    value: String,
}

// === impl Stamp ===

impl Stamp {
    /// The stamp `name` for all files under `sources` and for `extra` words (versions, settings).
    pub(crate) fn of(
        target: &Path,
        name: &str,
        sources: &[PathBuf],
        extra: &[&str],
    ) -> Result<Self> {
        let mut hasher = DefaultHasher::new();
        extra.hash(&mut hasher);
        for source in sources {
            hash_tree(source, &mut hasher)?;
        }
        Ok(Self {
            file: target.join("stamps").join(name),
            value: format!("{:016x}\n", hasher.finish()),
        })
    }

    /// Whether the result is there and made from exactly this.
    pub(crate) fn is_fresh(&self, result: &Path) -> bool {
        result.try_exists().unwrap_or(false)
            && fs::read_to_string(&self.file).is_ok_and(|old| old == self.value)
    }

    /// Remembers that the result is made from this.
    pub(crate) fn set(&self) -> Result<()> {
        if let Some(dir) = self.file.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::write(&self.file, &self.value)
            .with_context(|| format!("cannot write {}", self.file.display()))
    }

    /// Forgets: the result is about to be replaced.
    pub(crate) fn clear(&self) {
        let _ = fs::remove_file(&self.file);
    }
}

fn hash_tree(path: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    let kind =
        fs::symlink_metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if kind.is_file() {
        path.file_name().hash(hasher);
        fs::read(path)?.hash(hasher);
    } else if kind.is_dir() {
        let mut entries: Vec<PathBuf> = fs::read_dir(path)?
            .map(|entry| entry.map(|e| e.path()))
            .collect::<Result<_, _>>()?;
        entries.retain(|entry| !is_skipped(entry));
        entries.sort();
        for entry in entries {
            entry.file_name().hash(hasher);
            hash_tree(&entry, hasher)?;
        }
    }
    Ok(())
}

fn is_skipped(path: &Path) -> bool {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    // `hubmeter/labextension` is the built extension inside the Python package.
    SKIPPED.contains(&name)
        || name.ends_with(".egg-info")
        || name.ends_with(".tsbuildinfo")
        || (name == "labextension"
            && path.join("package.json").is_file()
            && path.join("static").is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir =
            std::env::temp_dir().join(format!("hubmeter-stamp-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("src/node_modules")).unwrap();
        fs::write(dir.join("src/a.ts"), "one").unwrap();
        fs::write(dir.join("result"), "").unwrap();
        dir
    }

    fn stamp(dir: &Path) -> Stamp {
        Stamp::of(dir, "page", &[dir.join("src")], &["v1"]).unwrap()
    }

    #[test]
    fn a_result_is_fresh_until_a_source_changes() {
        let dir = scratch("changes");
        assert!(!stamp(&dir).is_fresh(&dir.join("result")));
        stamp(&dir).set().unwrap();
        assert!(stamp(&dir).is_fresh(&dir.join("result")));
        fs::write(dir.join("src/a.ts"), "two").unwrap();
        assert!(!stamp(&dir).is_fresh(&dir.join("result")));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn caches_do_not_count_as_sources_and_a_missing_result_is_never_fresh() {
        let dir = scratch("caches");
        stamp(&dir).set().unwrap();
        fs::write(dir.join("src/node_modules/x.js"), "").unwrap();
        assert!(stamp(&dir).is_fresh(&dir.join("result")));
        fs::remove_file(dir.join("result")).unwrap();
        assert!(!stamp(&dir).is_fresh(&dir.join("result")));
        fs::remove_dir_all(dir).unwrap();
    }
}
