//! Facts in, in order; state, history, verdicts and notices out.

use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::broadcast;

use crate::state::{Changed, State};

/// What is true now: written by the pipeline's thread alone, read by everybody who answers.
pub type SharedState = Arc<RwLock<State>>;

/// What each fact changed, for those who tell. A reader that lags learns so and reads the state
/// afresh.
pub type Changes = broadcast::Sender<Arc<Changed>>;
