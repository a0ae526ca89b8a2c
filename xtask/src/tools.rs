//! What must be on the machine before anything else, each with one line that says what to do.

use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};

use crate::process::{on_path, output};

/// Oldest Python that JupyterHub 6 runs on.
const PYTHON_MIN: (u32, u32) = (3, 10);

/// Oldest Node that Vite, which builds the page, runs on.
const NODE_MIN: (u32, u32) = (20, 19);

/// Minor versions tried by name where `python3` is too old.
const PYTHON_NAMES: [&str; 6] = [
    "python3",
    "python3.14",
    "python3.13",
    "python3.12",
    "python3.11",
    "python3.10",
];

/// Names under which a Chromium is found, the best first.
const CHROMIUM_NAMES: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];

/// What was found.
pub(crate) struct Tools {
    /// A Python that is new enough and can make virtual environments.
    pub(crate) python: String,
    /// Its version, as it says it.
    pub(crate) python_version: String,
    /// Node's version, as it says it.
    pub(crate) node_version: String,
}

/// Finds everything, or says everything that is missing.
pub(crate) fn find() -> Result<Tools> {
    let mut missing = Vec::new();
    let python = python()
        .map_err(|error| missing.push(error.to_string()))
        .ok();
    let node_version = node().map_err(|error| missing.push(error.to_string())).ok();
    if let Err(error) = c_compiler() {
        missing.push(error.to_string());
    }
    match (python, node_version) {
        (Some((python, python_version)), Some(node_version)) if missing.is_empty() => Ok(Tools {
            python,
            python_version,
            node_version,
        }),
        _ => bail!("{}", missing.join("\n")),
    }
}

/// The C compiler that the bundled SQLite and zstd need.
pub(crate) fn c_compiler() -> Result<()> {
    if on_path("cc")
        .or_else(|| std::env::var_os("CC").map(PathBuf::from))
        .is_none()
    {
        bail!(
            "no C compiler found: install gcc or clang (Debian, Ubuntu: apt install build-essential)"
        );
    }
    Ok(())
}

/// A Chromium: `HUBMETER_CHROMIUM`, else by name on PATH.
pub(crate) fn chromium() -> Option<PathBuf> {
    std::env::var_os("HUBMETER_CHROMIUM")
        .map(PathBuf::from)
        .or_else(|| CHROMIUM_NAMES.iter().find_map(|name| on_path(name)))
}

fn python() -> Result<(String, String)> {
    let mut seen = None;
    for name in PYTHON_NAMES {
        let Some(version) = output(
            name,
            &["-c", "import platform; print(platform.python_version())"],
        ) else {
            continue;
        };
        if parse(&version).is_some_and(|found| found >= PYTHON_MIN) {
            if output(name, &["-c", "import venv, ensurepip"]).is_none() {
                bail!(
                    "{name} {version} cannot make virtual environments: \
                     install its venv module (Debian, Ubuntu: apt install python3-venv)"
                );
            }
            return Ok((name.to_owned(), version));
        }
        seen.get_or_insert(version);
    }
    Err(match seen {
        Some(version) => anyhow!("Python {version} is too old: install Python 3.10 or newer"),
        None => anyhow!("no python3 found: install Python 3.10 or newer"),
    })
}

fn node() -> Result<String> {
    let Some(version) = output("node", &["--version"]) else {
        bail!("no node found: install Node 20.19 or newer (https://nodejs.org)");
    };
    if parse(version.trim_start_matches('v')).is_none_or(|found| found < NODE_MIN) {
        bail!("Node {version} is too old: install Node 20.19 or newer (https://nodejs.org)");
    }
    if output("npm", &["--version"]).is_none() {
        bail!("node is there but npm is not: install npm (Debian, Ubuntu: apt install npm)");
    }
    Ok(version)
}

fn parse(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number_not_by_letter() {
        assert!(parse("3.9.2").unwrap() < PYTHON_MIN);
        assert!(parse("3.14.0rc1").unwrap() > PYTHON_MIN);
        assert_eq!(parse("nonsense"), None);
    }
}
