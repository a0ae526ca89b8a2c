//! What the Jupyter Server extension tells: exact pids, names, notebooks, states.
//!
//! The body of `PUT /v1/kernels` on the local socket. It comes from a process of the user, so
//! every list and string has a bound; what is beyond it is refused, not cut, because a cut list
//! would silently move processes to another workload.

use hubmeter_proto::limits;
use serde::Deserialize;

use crate::{person::InputKind, sample::WorkloadState};

/// Kernels in one message: four times what a sample can carry.
pub const KERNELS_MAX: usize = 4 * limits::WORKLOADS_PER_SAMPLE_MAX;

/// Terminals in one message: the same.
pub const TERMINALS_MAX: usize = KERNELS_MAX;

/// Proxied apps in one message: the same.
pub const APPS_MAX: usize = KERNELS_MAX;

/// Ends in one message: the same.
pub const ENDED_MAX: usize = KERNELS_MAX;

/// Bytes of an id or name as told; what leaves the agent is shortened to `LABEL_BYTES_MAX`.
pub const TOLD_LABEL_BYTES_MAX: usize = 256;

/// Bytes of a notebook path as told: the longest path Linux has.
pub const TOLD_NOTEBOOK_BYTES_MAX: usize = 4096;

/// Bytes of the whole body, on the socket and here: room for every kernel with a path of ordinary
/// length.
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
    /// Applications that the server started to pass requests on to.
    #[serde(default)]
    pub apps: Vec<ToldApp>,
    /// Kernels' processes that are over, for a minute or so.
    #[serde(default)]
    pub ended: Vec<ToldEnd>,
    /// How long ago a person last did something, milliseconds; absent where nobody knows.
    #[serde(default)]
    pub input_ms: Option<u64>,
    /// What that was.
    #[serde(default)]
    pub input_kind: Option<InputKind>,
    /// Episodes of notices that were shown in a visible tab since the message before.
    #[serde(default)]
    pub shown: Vec<String>,
    /// For how long the user has asked something else to keep the server; absent for not at all.
    #[serde(default)]
    pub kept_ms: Option<u64>,
    /// Whether a page is open that may show notices; absent where nobody knows.
    #[serde(default)]
    pub page_open: Option<bool>,
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
    /// Path of its notebook, from the server's root folder.
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

/// One proxied application.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ToldApp {
    /// Its name, as in the URL.
    pub name: String,
    /// Its process.
    pub pid: u32,
}

/// One kernel's process that is over.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ToldEnd {
    /// Kernel id.
    pub id: String,
    /// The process; the kernel may have another by now.
    pub pid: u32,
    /// Somebody asked for it: shut down, restarted, culled.
    #[serde(default)]
    pub asked: bool,
    /// The signal it died of, where the server waited for it.
    #[serde(default)]
    pub signal: Option<u8>,
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
        bound("apps", told.apps.len(), APPS_MAX)?;
        bound("ended", told.ended.len(), ENDED_MAX)?;
        bound("shown", told.shown.len(), limits::SHOWN_MAX)?;
        let episode_bytes = longest(&told.shown, |episode| episode);
        bound("shown[]", episode_bytes, limits::EPISODE_BYTES_MAX)?;
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
        let labels = [
            ("terminals[].name", longest(&told.terminals, |t| &t.name)),
            ("apps[].name", longest(&told.apps, |app| &app.name)),
            ("ended[].id", longest(&told.ended, |end| &end.id)),
        ];
        for (field, len) in labels {
            bound(field, len, TOLD_LABEL_BYTES_MAX)?;
        }
        Ok(told)
    }
}

fn longest<T>(items: &[T], label: fn(&T) -> &String) -> usize {
    let lengths = items.iter().map(|item| label(item).len());
    lengths.max().unwrap_or(0)
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
    fn apps_and_ends_are_taken_and_bounded_like_the_rest() {
        let told = Told::from_json(
            br#"{"apps":[{"name":"code-server","pid":7}],"ended":[{"id":"k1","pid":8,"signal":9},{"id":"k2","pid":9,"asked":true}]}"#,
        )
        .unwrap();
        assert_eq!(told.apps[0].pid, 7);
        assert_eq!(
            (told.ended[0].asked, told.ended[0].signal),
            (false, Some(9))
        );
        assert!(told.ended[1].asked);
        let ends = vec![r#"{"id":"k","pid":1}"#; ENDED_MAX + 1].join(",");
        let error = Told::from_json(format!(r#"{{"ended":[{ends}]}}"#).as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "ended has 257, at most 256 are taken");
        let long = "x".repeat(300);
        let body = format!(r#"{{"apps":[{{"name":"{long}","pid":1}}]}}"#);
        let error = Told::from_json(body.as_bytes()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "apps[].name has 300, at most 256 are taken"
        );
    }

    #[test]
    fn what_the_person_did_and_saw_is_taken_and_bounded_and_may_be_missing_or_null() {
        let told =
            Told::from_json(br#"{"input_ms":5,"input_kind":"save","shown":["a1"],"kept_ms":null}"#)
                .unwrap();
        assert_eq!((told.input_ms, told.kept_ms), (Some(5), None));
        assert_eq!(told.input_kind, Some(InputKind::Save));
        assert_eq!(told.shown, ["a1"]);
        let none = Told::from_json(br#"{"input_ms":null,"input_kind":null}"#).unwrap();
        assert_eq!(none, Told::default());
        let refused = |episodes: Vec<String>| {
            let body = serde_json::json!({ "shown": episodes }).to_string();
            Told::from_json(body.as_bytes()).unwrap_err().to_string()
        };
        let many = refused(vec!["a".to_owned(); 33]);
        assert_eq!(many, "shown has 33, at most 32 are taken");
        let long = refused(vec!["x".repeat(65)]);
        assert_eq!(long, "shown[] has 65, at most 64 are taken");
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
