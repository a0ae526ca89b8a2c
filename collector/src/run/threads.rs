//! The stages with threads of their own: started, watched, joined.

use std::thread::JoinHandle;

use tokio::{sync::mpsc, time::timeout};

use super::RunError;
use crate::limits;

/// The stages with threads of their own.
pub(super) struct Threads {
    /// Names of stages that ended.
    pub(super) ended: mpsc::Receiver<&'static str>,
    ending: mpsc::Sender<&'static str>,
    handles: Vec<(&'static str, JoinHandle<()>)>,
}

// === impl Threads ===

impl Threads {
    pub(super) fn new() -> Self {
        let (ending, ended) = mpsc::channel(8);
        Self {
            ended,
            ending,
            handles: Vec::new(),
        }
    }

    pub(super) fn spawn(
        &mut self,
        name: &'static str,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<(), RunError> {
        /// Tells also when the thread panics.
        struct Ending(mpsc::Sender<&'static str>, &'static str);
        impl Drop for Ending {
            fn drop(&mut self) {
                let _ = self.0.try_send(self.1);
            }
        }
        let ending = Ending(self.ending.clone(), name);
        let handle = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _ending = ending;
                run();
            })
            .map_err(|source| RunError::System {
                what: "start a thread",
                source,
            })?;
        self.handles.push((name, handle));
        Ok(())
    }

    /// Waits for the thread `name` to end.
    pub(super) async fn join(&mut self, name: &'static str) {
        if let Some(at) = self.handles.iter().position(|(known, _)| *known == name) {
            let (_, handle) = self.handles.swap_remove(at);
            let joined = tokio::task::spawn_blocking(move || handle.join());
            if timeout(limits::SHUTDOWN_TIMEOUT, joined).await.is_err() {
                tracing::error!(name, "a stage does not end; its work is replayed next time");
            }
        }
    }
}
