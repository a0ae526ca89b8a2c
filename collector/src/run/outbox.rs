//! Who tells people, set up.

use std::sync::Arc;

use super::RunError;
use crate::{
    clock::Clock,
    config::Config,
    history::History,
    hub::client::HubClient,
    notice::{KeptScenes, Outbox},
    pipeline::{SharedState, desk::Desk},
    registry::Registry,
    stats::Stats,
};

/// Tells as `config` says, with pictures of what `history` and `state` know, and says at the desk who
/// was warned.
pub(super) fn outbox(
    config: &Config,
    (registry, history, state): (&Registry, &History, &SharedState),
    clock: &Arc<dyn Clock>,
    stats: &Stats,
) -> Result<(Arc<Outbox>, Desk), RunError> {
    let desk = Desk::new(registry, state, clock, stats);
    let outbox = Outbox::new(
        &config.notice,
        registry.clone(),
        clock.clone(),
        stats.clone(),
    )?;
    let outbox = outbox
        .with_desk(desk.clone())
        .with_scenes(Arc::new(KeptScenes {
            history: history.clone(),
            state: state.clone(),
        }));
    let outbox = match &config.hub {
        Some(hub) => outbox.with_hub(&HubClient::new(hub.clone())?),
        None => outbox,
    };
    Ok((Arc::new(outbox), desk))
}
