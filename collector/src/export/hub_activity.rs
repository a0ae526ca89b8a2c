//! `export hub-activity`: how many people were active, as `hub-activity.csv`.

use std::io;

use clap::{Args, ValueEnum};

use super::source::Source;
use crate::{
    causes::chain,
    cli::Failure,
    clock::{Clock as _, SystemClock},
    registry::read_activity,
    report::{
        ReportError,
        hub_activity::{AGE_MS_MAX, Form},
    },
};

/// Which table.
#[derive(Debug, Args)]
pub(super) struct HubActivity {
    /// A row each for a day, a week and a month, or distinct people of a month.
    #[arg(long, value_enum, default_value_t)]
    form: FormWord,
    #[command(flatten)]
    source: Source,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum FormWord {
    #[default]
    Scales,
    Unique,
}

// === impl HubActivity ===

impl HubActivity {
    pub(super) fn run(
        self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), Failure> {
        let settings = self.source.settings(environment)?;
        let dir = settings.data_dir.display();
        let counted = read_activity(&settings.data_dir).map_err(|e| Failure::Failed(chain(&e)))?;
        let Some((activity, labels)) = counted else {
            return Err(Failure::Failed(format!(
                "{dir}: no collector has asked a hub here who was active"
            )));
        };
        if SystemClock.now_ms().saturating_sub(activity.counted_ms) > AGE_MS_MAX {
            return Err(Failure::Failed(format!(
                "{dir}: the hub last told who was active more than a day ago"
            )));
        }
        let form = match self.form {
            FormWord::Scales => Form::Scales,
            FormWord::Unique => Form::Unique,
        };
        match activity.write(&labels, form, io::stdout()) {
            Err(ReportError::Write(e)) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|e| Failure::Failed(chain(&e))),
        }
    }
}
