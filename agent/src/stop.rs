//! The wish to stop, heard by every part.

use tokio::sync::watch;

/// Hears the wish. Whoever could have it being gone counts as the wish itself.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

/// Has the wish, once.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

// === impl Stop ===

impl Stop {
    /// Returns when everything is to end; at once from then on. Dropped halfway, nothing is lost.
    pub async fn asked(&mut self) {
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

// === impl Stopper ===

impl Default for Stopper {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Stopper {
    /// One more who hears.
    #[must_use]
    pub fn heard_by(&self) -> Stop {
        Stop(self.0.subscribe())
    }

    /// Ends everything.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}
