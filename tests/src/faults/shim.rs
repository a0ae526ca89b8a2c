//! Steers the shim, of this process or of another.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::slots;

/// The numbers that steer a shim.
#[derive(Debug)]
pub struct Shim {
    numbers: File,
}

/// What fails, when, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// One of the kinds of [`slots`].
    pub kind: u64,
    /// Which call of the kind's class, from 1.
    pub at: u64,
    /// How many of them in a row; [`FOR_EVER`] for every one after it.
    pub lasts: u64,
}

/// A fault that does not end.
pub const FOR_EVER: u64 = u64::MAX;

// === impl Shim ===

impl Shim {
    /// That of this process, started with [`environment`]'s variables.
    ///
    /// # Errors
    /// It was not.
    pub fn of_this_process() -> Result<Self> {
        let path = std::env::var_os(slots::CONTROL_VARIABLE)
            .with_context(|| format!("{} is not set", slots::CONTROL_VARIABLE))?;
        Self::open(Path::new(&path))
    }

    /// One that is steered by the file at `path`, which is made if need be.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn open(path: &Path) -> Result<Self> {
        let numbers = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        numbers.set_len(slots::CONTROL_BYTES as u64)?;
        Ok(Self { numbers })
    }

    /// Writes one number.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set(&self, slot: usize, number: u64) -> Result<()> {
        let at = slot as u64 * 8;
        Ok(self.numbers.write_all_at(&number.to_le_bytes(), at)?)
    }

    /// Reads one number.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn get(&self, slot: usize) -> Result<u64> {
        let mut number = [0; 8];
        self.numbers.read_exact_at(&mut number, slot as u64 * 8)?;
        Ok(u64::from_le_bytes(number))
    }

    /// Counts from nothing, with a fault or without.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn arm(&self, fault: Option<Fault>) -> Result<()> {
        self.set(slots::ARMED, 0)?;
        for class in 0..slots::CLASSES {
            self.set(slots::COUNTED + class, 0)?;
        }
        self.set(slots::FAILED, 0)?;
        self.set(slots::KIND, fault.map_or(0, |fault| fault.kind))?;
        self.set(slots::FAIL_AT, fault.map_or(0, |fault| fault.at))?;
        self.set(slots::LASTS, fault.map_or(0, |fault| fault.lasts))?;
        self.set(slots::ARMED, 1)
    }

    /// The disk works again; nothing is counted.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn disarm(&self) -> Result<()> {
        self.set(slots::ARMED, 0)
    }

    /// Calls of a class since it was armed.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn counted(&self, class: usize) -> Result<u64> {
        self.get(slots::COUNTED + class)
    }
}

/// What a program must be started with, for its calls on files under `dir` to be steered by the
/// file `control` and written down in the file `record`.
///
/// # Errors
/// The shim was not built.
pub fn environment(
    control: &Path,
    dir: &Path,
    record: Option<&Path>,
) -> Result<Vec<(&'static str, OsString)>> {
    let mut all = vec![
        ("LD_PRELOAD", library()?.into_os_string()),
        (slots::CONTROL_VARIABLE, control.into()),
        (slots::DIR_VARIABLE, dir.into()),
    ];
    if let Some(record) = record {
        File::create(record).with_context(|| format!("cannot make {}", record.display()))?;
        all.push((slots::RECORD_VARIABLE, record.into()));
    }
    Ok(all)
}

/// The shim, beside this program or beside the folder of tests that it is in.
fn library() -> Result<PathBuf> {
    beside("libhubmeter_shim.so", "hubmeter-shim")
}

/// A file that was built beside this program, as part of `package`.
///
/// # Errors
/// It was not built.
pub fn beside(name: &str, package: &str) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let near = here.ancestors().skip(1).take(2);
    let found = near.map(|dir| dir.join(name)).find(|path| path.is_file());
    found.with_context(|| {
        format!(
            "no {name} beside {}: build it first, cargo build -p {package}",
            here.display()
        )
    })
}
