//! What the server may use: the smallest of every cgroup's limit above it, what its environment
//! says, and the machine.

use std::path::Path;

use super::{
    Text,
    cgroup::Group,
    faults::{self, Fault},
    file::{field_kb, is_gone, read_strings, read_text},
    kernels::variable,
    own::has_others,
    tree::Tree,
};

/// What the spawner put into the environment: advice that nobody enforces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EnvLimits {
    /// `MEM_LIMIT`.
    pub memory_limit_bytes: Option<u64>,
    /// `MEM_GUARANTEE`.
    pub memory_guarantee_bytes: Option<u64>,
    /// `CPU_LIMIT`, thousandths of a core.
    pub cpu_limit_millicores: Option<u32>,
    /// `CPU_GUARANTEE`, thousandths of a core.
    pub cpu_guarantee_millicores: Option<u32>,
}

/// The machine's own bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) swap_bytes: Option<u64>,
}

/// The limit in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) bytes: u64,
    /// `cgroup2:<path>`, `cgroup1:<path>`, `env` or `machine`.
    pub(crate) source: Text,
    /// Whether passing it kills.
    pub(crate) enforced: bool,
    /// Whether others use it up, too.
    pub(crate) shared: bool,
    /// The cgroup that sets it, if one does.
    pub(crate) group: Option<Group>,
}

// === impl EnvLimits ===

impl EnvLimits {
    /// From this process' own environment.
    #[must_use]
    pub fn own() -> Self {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// From an environment block.
    pub(crate) fn from_block(environ: &[u8]) -> Self {
        Self::from_lookup(|name| {
            variable(environ, name).map(|value| String::from_utf8_lossy(value).into_owned())
        })
    }

    /// From the environment of the process under `proc_root`, and from `fallback` what that does
    /// not say.
    pub(crate) fn of_process(proc_root: &Path, pid: u32, fallback: Self) -> Self {
        let path = proc_root.join(pid.to_string()).join("environ");
        let environ = faults::noted(&path, read_strings(&path));
        let theirs = Self::from_block(&environ.unwrap_or_default());
        Self {
            memory_limit_bytes: theirs.memory_limit_bytes.or(fallback.memory_limit_bytes),
            memory_guarantee_bytes: theirs
                .memory_guarantee_bytes
                .or(fallback.memory_guarantee_bytes),
            cpu_limit_millicores: theirs
                .cpu_limit_millicores
                .or(fallback.cpu_limit_millicores),
            cpu_guarantee_millicores: theirs
                .cpu_guarantee_millicores
                .or(fallback.cpu_guarantee_millicores),
        }
    }

    fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let bytes = |name: &str| parse_bytes(&lookup(name)?);
        let millicores = |name: &str| parse_millicores(&lookup(name)?);
        Self {
            memory_limit_bytes: bytes("MEM_LIMIT"),
            memory_guarantee_bytes: bytes("MEM_GUARANTEE"),
            cpu_limit_millicores: millicores("CPU_LIMIT"),
            cpu_guarantee_millicores: millicores("CPU_GUARANTEE"),
        }
    }
}

/// JupyterHub writes plain bytes; hand-written ones carry K, M, G or T (of 1024). Zero is none.
fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, shift) = match text.char_indices().next_back()? {
        (at, 'K' | 'k') => (text.get(..at)?, 10),
        (at, 'M' | 'm') => (text.get(..at)?, 20),
        (at, 'G' | 'g') => (text.get(..at)?, 30),
        (at, 'T' | 't') => (text.get(..at)?, 40),
        _ => (text, 0),
    };
    let bytes = match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(1 << shift)?,
        Err(_) => {
            let bytes = number.parse::<f64>().ok()? * f64::from(1_u32 << (shift / 2)).powi(2);
            const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // held to range
            (0.0..=EXACT_MAX).contains(&bytes).then_some(bytes as u64)?
        }
    };
    (bytes > 0).then_some(bytes)
}

/// Cores as a decimal number; zero is none.
fn parse_millicores(text: &str) -> Option<u32> {
    const CORES_MAX: f64 = 1_000_000.0;
    let cores: f64 = text.trim().parse().ok()?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // held to range
    (0.0..=CORES_MAX)
        .contains(&cores)
        .then_some((cores * 1000.0).round() as u32)
        .filter(|&millicores| millicores > 0)
}

// === impl Machine ===

impl Machine {
    pub(crate) fn read(proc_root: &Path) -> Self {
        let path = proc_root.join("meminfo");
        let read = read_text(&path);
        if read.as_ref().is_err_and(is_gone) {
            faults::note_as(Fault::Missing, &path);
        }
        let text = faults::noted(&path, read).unwrap_or_default();
        let memory_bytes = field_kb(&text, "MemTotal:");
        if memory_bytes.is_none() && !text.is_empty() {
            faults::note_as(Fault::Malformed, &path);
        }
        Self {
            memory_bytes,
            swap_bytes: field_kb(&text, "SwapTotal:"),
        }
    }
}

// === impl Limit ===

impl Limit {
    /// The smallest; of equals one that is enforced, and of those the one that others share, else
    /// the nearest to the server.
    pub(crate) fn find(
        group: Option<&Group>,
        own: Option<&Group>,
        env: &EnvLimits,
        machine: &Machine,
        tree: &Tree,
    ) -> Option<Self> {
        let mut smallest = group.and_then(|group| Self::of_groups(group, own, tree));
        let others = [
            (env.memory_limit_bytes, "env", false),
            (machine.memory_bytes, "machine", true),
        ];
        for (bytes, source, enforced) in others {
            let Some(bytes) = bytes else { continue };
            if smallest.as_ref().is_none_or(|limit| bytes < limit.bytes) {
                smallest = Some(Self {
                    bytes,
                    source: source.into(),
                    enforced,
                    shared: false,
                    group: None,
                });
            }
        }
        smallest
    }

    fn of_groups(group: &Group, own: Option<&Group>, tree: &Tree) -> Option<Self> {
        let mut smallest: Option<(u64, Vec<Group>)> = None;
        for up in group.up() {
            if let Some(bytes) = up.memory_limit() {
                match &mut smallest {
                    Some((least, equals)) if bytes == *least => equals.push(up.clone()),
                    Some((least, _)) if bytes > *least => {}
                    _ => smallest = Some((bytes, vec![up.clone()])),
                }
            }
            if !up.inherits_limits() {
                break;
            }
        }
        let (bytes, equals) = smallest?;
        // Below or at the server's own cgroup nobody else can be. Of equals (Slurm sets the job's
        // on its steps, too) the one above is reached first if others are in it.
        let others = |group: &&Group| {
            !own.is_some_and(|own| group.is_at_or_below(own)) && has_others(group, tree)
        };
        let above = equals.iter().rev().find(others).cloned();
        let shared = above.is_some();
        let limiting = above.or_else(|| equals.into_iter().next())?;
        Some(Self {
            bytes,
            source: limiting.source().into(),
            enforced: true,
            shared,
            group: Some(limiting),
        })
    }
}

/// The CPU quota in force: the environment's or the smallest above the server.
pub(crate) fn cpu_limit_millicores(group: Option<&Group>, env: &EnvLimits) -> Option<u32> {
    let groups = group.into_iter().flat_map(Group::up);
    groups
        .filter_map(|up| up.cpu_limit_millicores())
        .chain(env.cpu_limit_millicores)
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_read_as_jupyterhub_writes_it_and_as_people_do() {
        let limits = EnvLimits::from_block(
            b"MEM_LIMIT=8589934592\0MEM_GUARANTEE=1.5G\0CPU_LIMIT=4.0\0CPU_GUARANTEE=1.75\0",
        );
        assert_eq!(
            limits,
            EnvLimits {
                memory_limit_bytes: Some(8 << 30),
                memory_guarantee_bytes: Some(3 << 29),
                cpu_limit_millicores: Some(4000),
                cpu_guarantee_millicores: Some(1750),
            }
        );
    }

    #[test]
    fn zero_and_nonsense_are_no_limit() {
        for text in ["0", "", "none", "-1", "nan", "1e300", "0G", "99999999999T"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
        for text in ["0", "", "all", "-1", "inf"] {
            assert_eq!(parse_millicores(text), None, "{text}");
        }
        assert_eq!(parse_bytes("512M"), Some(512 << 20));
    }
}
