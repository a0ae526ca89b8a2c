//! What is true before the journal is read: what small state remembers.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::{
    config::Config,
    fact::ServerKey,
    limits,
    pipeline::SharedState,
    registry::{Registry, RegistryError},
    state::State,
};

/// Nothing known but what small state remembers; the journal tells the rest.
pub(super) fn state(
    config: &Config,
    registry: &Registry,
    idle_marks: Vec<(ServerKey, i64)>,
    now_ms: i64,
) -> Result<SharedState, RegistryError> {
    let policy = config.policy.clone();
    let mut state = match config.hub {
        Some(_) => State::with_hub(policy),
        None => State::new(policy),
    };
    state.cull = Arc::new(config.cull.policy.clone());
    let open = registry.open_episodes(limits::OPEN_EPISODES_MAX)?;
    state.recall(open, idle_marks);
    state.recall_promises(registry.holds(now_ms)?, registry.warned()?);
    Ok(Arc::new(RwLock::new(state)))
}
