//! Where things are: the checkout and its target folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folders everything else is named from, absolute.
pub(crate) struct Workspace {
    /// The checkout.
    pub(crate) root: PathBuf,
    /// Cargo's target folder: all that we make lies in it.
    pub(crate) target: PathBuf,
    /// Logs of steps.
    pub(crate) logs: PathBuf,
}

// === impl Workspace ===

impl Workspace {
    /// The workspace this program was built from.
    pub(crate) fn here() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest
            .parent()
            .context("xtask lies outside a workspace")?
            .to_owned();
        let target = match std::env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty()) {
            Some(dir) => std::path::absolute(dir)?,
            None => root.join("target"),
        };
        let logs = target.join("logs");
        Ok(Self { root, target, logs })
    }
}
