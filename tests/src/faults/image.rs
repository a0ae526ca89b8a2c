//! What a power cut leaves of a disk: what was flushed, and any part of what was not.
//!
//! The model is that of a journaling file system. A flush of a file brings its bytes and its name
//! to the disk; a flush of a folder brings the names in it. What was done since may be there or
//! not, each deed for itself and in any combination, and a write may be torn between sectors. A
//! flush that failed leaves its bytes there or not, and no later flush mends that.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::{record::Deed, slots};

/// What a disk writes at once.
const SECTOR_BYTES: usize = 512;

/// A disk in the middle of being written.
#[derive(Default)]
pub struct Disk {
    files: Vec<Content>,
    /// Names as the programs see them.
    names: BTreeMap<PathBuf, usize>,
    /// Names on the disk.
    safe_names: BTreeMap<PathBuf, usize>,
    dirs: Vec<PathBuf>,
}

#[derive(Default)]
struct Content {
    safe: Vec<u8>,
    pending: Vec<Change>,
}

enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

// === impl Disk ===

impl Disk {
    /// One more deed; a flush that fails asks `random` what it brought to the disk.
    pub fn take(&mut self, deed: &Deed, random: &mut fastrand::Rng) {
        match deed.did {
            slots::DID_OPEN if !self.names.contains_key(&deed.path) => {
                self.names.insert(deed.path.clone(), self.files.len());
                self.files.push(Content::default());
            }
            slots::DID_WRITE => self.change(deed, Change::Write(deed.offset, deed.bytes.clone())),
            slots::DID_TRUNCATE => self.change(deed, Change::Truncate(deed.offset)),
            slots::DID_SYNC => self.sync(&deed.path),
            slots::DID_FAIL_SYNC => {
                if let Some(file) = self.file(&deed.path) {
                    file.settle(Fate::One(2), random);
                }
            }
            slots::DID_UNLINK => drop(self.names.remove(&deed.path)),
            slots::DID_MKDIR => self.dirs.push(deed.path.clone()),
            _ => {}
        }
    }

    /// Writes what a power cut leaves into `dir`, which is empty.
    ///
    /// # Errors
    /// The files cannot be made.
    pub fn cut(&mut self, dir: &Path, random: &mut fastrand::Rng) -> Result<()> {
        fs::create_dir_all(dir)?;
        for folder in &self.dirs {
            fs::create_dir_all(dir.join(folder))?;
        }
        let fate = match random.u8(..4) {
            0 => Fate::None,
            1 => Fate::All,
            _ => Fate::One(random.u32(1..8)),
        };
        let mut paths: Vec<PathBuf> = self.names.keys().cloned().collect();
        paths.extend(self.safe_names.keys().cloned());
        paths.sort();
        paths.dedup();
        for path in paths {
            let (seen, safe) = (self.names.get(&path), self.safe_names.get(&path));
            let left = if seen == safe || random.bool() {
                seen
            } else {
                safe
            };
            let Some(file) = left.copied().and_then(|place| self.files.get_mut(place)) else {
                continue;
            };
            file.settle(fate, random);
            fs::write(dir.join(&path), &file.safe)?;
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> Option<&mut Content> {
        let place = self.names.get(path)?;
        self.files.get_mut(*place)
    }

    fn change(&mut self, deed: &Deed, change: Change) {
        if let Some(file) = self.file(&deed.path) {
            file.pending.push(change);
        }
    }

    fn sync(&mut self, path: &Path) {
        if let Some(place) = self.names.get(path).copied() {
            self.files[place].settle(Fate::All, &mut fastrand::Rng::with_seed(0));
            self.safe_names.insert(path.to_owned(), place);
            return;
        }
        // A folder.
        let within = |name: &PathBuf| name.parent() == Some(path);
        self.safe_names.retain(|name, _| !within(name));
        let names = self.names.iter().filter(|(name, _)| within(name));
        self.safe_names
            .extend(names.map(|(name, place)| (name.clone(), *place)));
    }
}

/// What becomes of changes that were not flushed.
#[derive(Clone, Copy)]
enum Fate {
    None,
    All,
    /// One in so many is lost, and as many are torn.
    One(u32),
}

// === impl Content ===

impl Content {
    fn settle(&mut self, fate: Fate, random: &mut fastrand::Rng) {
        for change in std::mem::take(&mut self.pending) {
            let one_in = match fate {
                Fate::None => continue,
                Fate::All => u32::MAX,
                Fate::One(in_so_many) => in_so_many.max(2),
            };
            if one_in < u32::MAX && random.u32(..one_in) == 0 {
                continue;
            }
            match change {
                Change::Truncate(length) => self.safe.resize(length, 0),
                Change::Write(offset, bytes) => {
                    let torn = one_in < u32::MAX && random.u32(..one_in) == 0;
                    let length = match torn {
                        true => random.usize(..bytes.len().max(1)) / SECTOR_BYTES * SECTOR_BYTES,
                        false => bytes.len(),
                    };
                    let end = offset + length;
                    if self.safe.len() < end {
                        self.safe.resize(end, 0);
                    }
                    self.safe[offset..end].copy_from_slice(&bytes[..length]);
                }
            }
        }
    }
}
