//! What the collector owes the people it knows and whoever runs it: who is who, and orders.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Core, RunError};
use crate::{
    causes::chain,
    control::{self, Control},
    limits,
    pipeline::{census::Census, hub_list::HubList, people::HubPeople},
};

// === impl Core ===

impl Core {
    /// Takes orders of whoever runs the collector.
    pub(super) fn orders(
        &self,
        stopping: watch::Receiver<bool>,
    ) -> Result<impl Future<Output = Result<(), RunError>> + use<>, RunError> {
        let listener = control::bind(&self.config.data_dir).map_err(|source| RunError::System {
            what: "listen on control.sock in the data directory",
            source,
        })?;
        let control = Control {
            people: self.people.clone(),
            state: self.state.clone(),
        };
        let refusals = self.sessions.refusals().clone();
        Ok(async move {
            control::serve(listener, control, refusals, stopping).await;
            Ok(())
        })
    }

    /// Takes names of notebooks out of verdicts whose time is over, for ever.
    pub(super) fn names(&self) -> impl Future<Output = ()> + use<> {
        let (registry, clock) = (self.registry.clone(), self.clock.clone());
        let kept_ms = self.config.policy.names_kept_ms;
        async move {
            loop {
                let (registry, before_ms) = (registry.clone(), clock.now_ms() - kept_ms);
                let dropped = tokio::task::spawn_blocking(move || registry.drop_titles(before_ms));
                if let Ok(Err(error)) = dropped.await {
                    let error = chain(&error);
                    tracing::error!(error, "names of notebooks stay in state.db");
                }
                tokio::time::sleep(limits::NAMES_LOOK_INTERVAL).await;
            }
        }
    }

    /// Follows who becomes whom at the hub and who is active, also when somebody new comes to the door.
    pub(super) fn people_of(&self, list: &HubList) -> HubPeople {
        let hub = list.hub.clone();
        let interval = hub.settings().people_interval;
        let census = Census {
            registry: self.registry.clone(),
            newest: self.activity.clone(),
            clock: self.clock.clone(),
        };
        let (people, stats) = (self.people.clone(), self.stats.clone());
        let people = HubPeople::new(hub, people, census, stats, interval);
        list.identify.ask_who_is_who(Arc::new(people.clone()));
        people
    }
}
