//! `export`: what is kept, as files for people's own tools.
//!
//! It reads the data directory beside a running collector or without one: no lock is taken and
//! nothing is written there.

mod hub_activity;
mod samples;
mod source;
mod usage;

use clap::{Args, Subcommand};

use crate::cli::Failure;

/// What to write out.
#[derive(Debug, Args)]
pub struct Export {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What one server used, a row for each sample, to standard output.
    Samples(samples::Samples),
    /// What users or groups used, measured, per day, week or month, as CSV to standard output.
    Usage(usage::Usage),
    /// How many people were active on the hub, as CSV to standard output.
    HubActivity(hub_activity::HubActivity),
}

// === impl Export ===

impl Export {
    /// Writes it to standard output.
    pub(crate) fn run(
        self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), Failure> {
        match self.what {
            What::Samples(samples) => samples.run(environment),
            What::Usage(usage) => usage.run(environment),
            What::HubActivity(activity) => activity.run(environment),
        }
    }
}
