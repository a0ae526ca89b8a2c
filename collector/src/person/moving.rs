//! Fates on their way through the stages.

use std::{fmt, sync::Arc};

use tokio::sync::watch;

use super::Fates;

/// What becomes of users, on its way through the stages. Clones share it.
#[derive(Clone)]
pub struct PeopleMove(Arc<(Fates, watch::Sender<Met>)>);

/// How far a move is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Met {
    done: bool,
    failed: bool,
}

// === impl PeopleMove ===

impl PeopleMove {
    /// Not met anywhere yet.
    #[must_use]
    pub fn new(fates: Fates) -> Self {
        Self(Arc::new((fates, watch::Sender::new(Met::default()))))
    }

    /// Who becomes what.
    #[must_use]
    pub fn fates(&self) -> &Fates {
        &self.0.0
    }

    /// A stage could not meet them: what is written down is to be done again.
    pub fn failed(&self) {
        self.0.1.send_modify(|met| met.failed = true);
    }

    /// The last stage is through with them.
    pub fn done(&self) {
        self.0.1.send_modify(|met| met.done = true);
    }

    /// Returns once the last stage is through; whether every stage met them.
    pub async fn met(&self) -> bool {
        let mut met = self.0.1.subscribe();
        let met = met.wait_for(|met| met.done).await;
        met.is_ok_and(|met| !met.failed)
    }
}

impl PartialEq for PeopleMove {
    fn eq(&self, other: &Self) -> bool {
        self.fates() == other.fates()
    }
}

impl fmt::Debug for PeopleMove {
    /// Without names: whoever is forgotten must not come back through a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeopleMove").finish_non_exhaustive()
    }
}
