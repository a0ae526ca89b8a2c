//! How the programs of this crate speak and end.

use std::io::Write as _;

use anyhow::{Result, bail};

/// Fails unless every promise was kept.
///
/// # Errors
/// One was not.
pub fn clean(is_clean: bool) -> Result<()> {
    if !is_clean {
        bail!("a promise was broken");
    }
    Ok(())
}

/// Writes `text` to standard output, at once.
///
/// # Errors
/// It cannot be written.
pub fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
