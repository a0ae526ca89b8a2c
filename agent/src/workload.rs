//! Readings → workloads: every process of the tree is in exactly one.

pub mod told;

/// How much of a workload's name may leave the agent (`HUBMETER_NAMES`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Names {
    /// Kernel specs and notebooks' file names, without folders.
    #[default]
    Base,
    /// Notebooks with their whole path.
    Full,
    /// No names at all: kinds and ids only.
    None,
}
