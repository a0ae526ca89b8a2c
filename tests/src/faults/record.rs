//! What was done to a disk, as the shim wrote it down.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// One of the deeds of [`super::slots`].
    pub did: u8,
    /// To which file, below the folder that counts.
    pub path: PathBuf,
    /// Where in it, or how long it became.
    pub offset: usize,
    /// What was written, or the new path.
    pub bytes: Vec<u8>,
}

/// Reads the record at `path`, of files under `dir`.
///
/// # Errors
/// It is no record.
pub fn read(path: &Path, dir: &Path) -> Result<Vec<Deed>> {
    let all = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut rest = &all[..];
    let mut deeds = Vec::new();
    while !rest.is_empty() {
        let Some(deed) = take(&mut rest, dir) else {
            bail!("{} ends in the middle of a deed", path.display());
        };
        deeds.push(deed);
    }
    Ok(deeds)
}

fn take(rest: &mut &[u8], dir: &Path) -> Option<Deed> {
    let did = *rest.split_off_first()?;
    let length = u16::from_le_bytes(number(rest)?);
    let path = rest.split_off(..usize::from(length))?;
    let offset = i64::from_le_bytes(number(rest)?);
    let length = u32::from_le_bytes(number(rest)?);
    let bytes = rest.split_off(..usize::try_from(length).ok()?)?;
    let path = Path::new(OsStr::from_bytes(path));
    Some(Deed {
        did,
        path: path.strip_prefix(dir).unwrap_or(path).to_owned(),
        offset: usize::try_from(offset).ok()?,
        bytes: bytes.to_vec(),
    })
}

fn number<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    rest.split_off(..N)?.try_into().ok()
}
