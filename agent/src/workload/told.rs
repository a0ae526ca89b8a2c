//! What the Jupyter Server extension tells: exact pids, names, notebooks, states.
//!
//! The body of `PUT /v1/kernels` on the local socket. It comes from a process of the user, so
//! every list and string has a bound; what is beyond it is refused, not cut, because a cut list
//! would silently move processes to another workload.

use hubmeter_proto::limits;
use serde::Deserialize;

use crate::sample::WorkloadState;

/// Kernels in one message: four times what a sample can carry.
pub const KERNELS_MAX: usize = 4 * limits::WORKLOADS_PER_SAMPLE_MAX;

/// Terminals in one message: the same.
pub const TERMINALS_MAX: usize = KERNELS_MAX;

/// Bytes of an id or name as told; what leaves the agent is shortened to `LABEL_BYTES_MAX`.
pub const TOLD_LABEL_BYTES_MAX: usize = 256;

/// Bytes of a notebook path as told: the longest path Linux has.
pub const TOLD_NOTEBOOK_BYTES_MAX: usize = 4096;

/// Bytes of the whole body: room for every kernel with a path of ordinary length.
pub const TOLD_BODY_BYTES_MAX: usize = 256 * 1024;

/// All that the server extension knows now; replaces what it told before.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Told {
    /// Kernels, those that run elsewhere included.
    #[serde(default)]
    pub kernels: Vec<ToldKernel>,
    /// Terminals.
    #[serde(default)]
    pub terminals: Vec<ToldTerminal>,
}

/// One kernel.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ToldKernel {
    /// Kernel id.
    pub id: String,
    /// Its process; absent for a kernel that runs elsewhere.
    #[serde(default)]
    pub pid: Option<u32>,
    /// The kernel's spec.
    #[serde(default)]
    pub name: String,
    /// Path of its notebook.
    #[serde(default)]
    pub notebook: Option<String>,
    /// What it does.
    #[serde(default)]
    pub state: Option<WorkloadState>,
    /// How long ago it last did what its owner asked for, milliseconds.
    #[serde(default)]
    pub idle_ms: Option<u64>,
}

/// One terminal.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ToldTerminal {
    /// Its name, as in the URL.
    pub name: String,
    /// Its shell.
    #[serde(default)]
    pub pid: Option<u32>,
}

/// Why a message was refused.
#[derive(Debug, thiserror::Error)]
pub enum ToldError {
    /// Not JSON of this shape.
    #[error("body is not what PUT /v1/kernels takes: {0}")]
    Shape(#[from] serde_json::Error),
    /// Something is longer than its bound.
    #[error("{field} has {len}, at most {max} are taken")]
    TooLong {
        /// Which field.
        field: &'static str,
        /// How much came.
        len: usize,
        /// How much may come.
        max: usize,
    },
}

// === impl Told ===

impl Told {
    /// Reads a body and holds it to the bounds.
    ///
    /// # Errors
    /// When it is no JSON of this shape, or too long anywhere.
    pub fn from_json(body: &[u8]) -> Result<Self, ToldError> {
        bound("body", body.len(), TOLD_BODY_BYTES_MAX)?;
        let told: Self = serde_json::from_slice(body)?;
        bound("kernels", told.kernels.len(), KERNELS_MAX)?;
        bound("terminals", told.terminals.len(), TERMINALS_MAX)?;
        for kernel in &told.kernels {
            bound("kernels[].id", kernel.id.len(), TOLD_LABEL_BYTES_MAX)?;
            bound("kernels[].name", kernel.name.len(), TOLD_LABEL_BYTES_MAX)?;
            let notebook_bytes = kernel.notebook.as_ref().map_or(0, String::len);
            bound(
                "kernels[].notebook",
                notebook_bytes,
                TOLD_NOTEBOOK_BYTES_MAX,
            )?;
        }
        for terminal in &told.terminals {
            bound(
                "terminals[].name",
                terminal.name.len(),
                TOLD_LABEL_BYTES_MAX,
            )?;
        }
        Ok(told)
    }
}

fn bound(field: &'static str, len: usize, max: usize) -> Result<(), ToldError> {
    if len > max {
        return Err(ToldError::TooLong { field, len, max });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_a_pid_runs_elsewhere_and_is_taken() {
        let told = Told::from_json(
            br#"{"kernels":[{"id":"k1","name":"python3","notebook":"a/b.ipynb","state":"busy","idle_ms":5},{"id":"k2"}]}"#,
        )
        .unwrap();
        assert_eq!(told.kernels[0].state, Some(WorkloadState::Busy));
        assert_eq!(told.kernels[1].pid, None);
        assert!(told.terminals.is_empty());
    }

    #[test]
    fn a_message_beyond_a_bound_is_refused_by_name() {
        let body = format!(r#"{{"terminals":[{{"name":"{}"}}]}}"#, "x".repeat(257));
        let error = Told::from_json(body.as_bytes()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "terminals[].name has 257, at most 256 are taken"
        );
    }
}
